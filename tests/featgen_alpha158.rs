//! The preset alpha158 against Qlib's formulas, written out once more in Python.

mod venv;

use pipe_tests::{Place, Run, bin, root};

#[test]
fn alpha158_equals_the_formulas_that_qlib_publishes() {
    let packages = root().join("tests/featgen_requirements.txt");
    let Some(python) = venv::python(&["pandas", "numpy", "pyarrow"], &packages) else {
        eprintln!(
            "skipped: alpha158_equals_the_formulas_that_qlib_publishes needs python3 with venv and pip"
        );
        return;
    };
    let place = Place::new();
    let script = root().join("tests/featgen_alpha158.py");
    let outcome = Run::program(python).args([script, bin("featgen"), place.path("")]).succeeds();
    eprintln!("{}", outcome.stdout);
    assert!(outcome.stdout.contains("948 columns of 400 rows, 0 beyond "), "{}", outcome.stdout);
}
