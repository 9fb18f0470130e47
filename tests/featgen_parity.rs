//! Every function of TA-Lib against its own wheel, which goes into `.venv` when it is first needed.

mod venv;

use pipe_tests::{Place, Run, bin, root};

#[test]
fn every_function_of_talib_equals_its_wheel() {
    let packages = root().join("tests/featgen_requirements.txt");
    let Some(python) = venv::python(&["talib", "numpy", "pyarrow"], &packages) else {
        eprintln!("skipped: every_function_of_talib_equals_its_wheel needs python3 with venv and pip");
        return;
    };
    let place = Place::new();
    let script = root().join("tests/featgen_parity.py");
    let outcome = Run::program(python).args([script, bin("featgen"), place.path("")]).succeeds();
    eprintln!("{}", outcome.stdout);
    assert!(outcome.stdout.contains(" 0 beyond "), "{}", outcome.stdout);
}
