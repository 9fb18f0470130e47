//! What `featgen` writes, read by the programs that people have; they go into `.venv` when they are first needed.

mod venv;

use pipe_tests::{Place, Run, bin, root};

#[test]
fn pyarrow_pandas_polars_and_duckdb_read_every_format() {
    let packages = root().join("tests/featgen_requirements.txt");
    let modules = ["pyarrow", "pandas", "polars", "duckdb", "numpy"];
    let Some(python) = venv::python(&modules, &packages) else {
        eprintln!("skipped: reading with others' programs needs python3 with venv and pip");
        return;
    };
    let place = Place::new();
    let script = root().join("tests/featgen_readers.py");
    let outcome = Run::program(python).args([script, bin("featgen"), place.path("")]).succeeds();
    eprintln!("{}", outcome.stdout);
    assert!(outcome.stdout.starts_with("15 readings agree in 1200 rows of 15 columns"), "{}", outcome.stdout);
}
