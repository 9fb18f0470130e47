//! Python with what a test needs, in `.venv`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use pipe_tests::{Run, root};
use rustix::fs::{FlockOperation, flock};

/// Python with these modules, out of the packages that the file `requirements` lists; `None` where there is no Python
/// or pip at all. One test at a time makes it.
pub fn python(modules: &[&str], requirements: &Path) -> Option<PathBuf> {
    let lock = File::open(root().join("tests")).expect("the folder of the tests");
    flock(&lock, FlockOperation::LockExclusive).expect("a lock");
    let folder = root().join(".venv");
    let python = folder.join("bin/python");
    let imports: Vec<String> = modules.iter().map(|module| format!("import {module}")).collect();
    if works(&python, &["-c", &imports.join("; ")]) {
        return Some(python);
    }
    if !works(Path::new("python3"), &["-c", "import venv, ensurepip"]) {
        return None;
    }
    Run::program("python3").args(["-m", "venv"]).args([&folder]).succeeds();
    Run::program(&python).args(["-m", "pip", "install", "--quiet", "-r"]).args([requirements]).succeeds();
    Some(python)
}

fn works(program: &Path, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}
