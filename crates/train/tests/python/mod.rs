//! Asks a script in Python what the numbers should be.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// A Python with numpy: that of `.venv`, or else the system's. Says so where there is none.
pub fn with_numpy() -> Option<String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python").display().to_string();
    let works = |python: &String| {
        let found = Command::new(python).args(["-c", "import numpy"]).output();
        found.is_ok_and(|output| output.status.success())
    };
    let found = [own, "python3".to_owned()].into_iter().find(works);
    if found.is_none() {
        eprintln!("skipped: there is no Python with numpy (make test brings one where there is a network)");
    }
    found
}

/// What `script`, beside this folder, answers to `document`.
///
/// # Panics
/// If it fails.
pub fn answer(python: &str, script: &str, document: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let child = Command::new(python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.expect("python starts");
    child.stdin.take().expect("stdin").write_all(document.to_string().as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).expect("JSON")
}
