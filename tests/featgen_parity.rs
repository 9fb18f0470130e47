//! Every function of TA-Lib against its own wheel, which goes into `.venv` when it is first needed.

use std::path::{Path, PathBuf};
use std::process::Command;

use pipe_tests::{Place, Run, bin, root};

/// The wheel that the tests are held to: it carries TA-Lib 0.8.1, and other releases have other defaults.
const PACKAGES: [&str; 3] = ["TA-Lib==0.8.2", "numpy", "pyarrow"];

/// Python with the packages, or `None` where there is no Python or pip at all.
fn python() -> Option<PathBuf> {
    let folder = root().join(".venv");
    let python = folder.join("bin/python");
    let has = |module: &str| works(&python, &["-c", &format!("import {module}")]);
    if ["talib", "numpy", "pyarrow"].into_iter().all(has) {
        return Some(python);
    }
    if !works(Path::new("python3"), &["-c", "import venv, ensurepip"]) {
        return None;
    }
    Run::program("python3").args(["-m", "venv"]).args([&folder]).succeeds();
    Run::program(&python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES).succeeds();
    Some(python)
}

fn works(program: &Path, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

#[test]
fn every_function_of_talib_equals_its_wheel() {
    let Some(python) = python() else {
        eprintln!("skipped: every_function_of_talib_equals_its_wheel needs python3 with venv and pip");
        return;
    };
    let place = Place::new();
    let script = root().join("tests/featgen_parity.py");
    let outcome = Run::program(python).args([script, bin("featgen"), place.path("")]).succeeds();
    eprintln!("{}", outcome.stdout);
    assert!(outcome.stdout.contains(" 0 beyond "), "{}", outcome.stdout);
}
