//! The numbers are true: compared with what the kernel counts for the same run.
#![expect(clippy::unwrap_used, reason = "a test program fails where something unexpected is")]

#[allow(dead_code, reason = "each test program uses its part of the harness")]
mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use common::{BUSY, code_of, cpumon, lines, measured, of_kind, send, until};
use serde_json::Value;

#[test]
fn samples_add_up_to_the_total() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.jsonl");
    let words = ["--quiet", "--interval", "50ms", "--output", file.to_str().unwrap(), "--", "sh", "-c", BUSY];
    assert_eq!(measured(cpumon(&words)).code, 0);
    let all = lines(&file);
    let samples = of_kind(&all, "sample");
    let sum: f64 =
        samples.iter().map(|s| s["parallelism"].as_f64().unwrap() * s["interval_s"].as_f64().unwrap()).sum();
    let total = all.last().unwrap()["cpu_s"].as_f64().unwrap();
    // A part of an interval may be missing at the end, and the kernel counts in ticks of 10 ms.
    assert!((sum - total).abs() < 0.1, "{sum} of {total}");
    let busy_sum =
        |s: &Value| s["cores"].as_array().unwrap().iter().map(|c| c.as_f64().unwrap()).sum::<f64>();
    let machine: f64 = samples.iter().map(|s| busy_sum(s) * s["interval_s"].as_f64().unwrap()).sum();
    assert!(
        machine > total * 0.85,
        "the cores of the machine did at least what the command did: {machine} of {total}"
    );
    assert!(samples.is_sorted_by(|a, b| a["t_s"].as_f64() < b["t_s"].as_f64()));
}

fn sample_count(file: &Path) -> usize {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.matches("\"kind\":\"sample\"").count()
}

#[test]
fn a_run_that_is_ended_or_killed_leaves_a_valid_file() {
    for (signal, code) in [(libc::SIGTERM, Some(128 + libc::SIGTERM)), (libc::SIGKILL, None)] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("run.jsonl");
        let words = ["--quiet", "--interval", "50ms", "--output", file.to_str().unwrap(), "--", "sleep", "3"];
        let mut child = cpumon(&words).stdout(Stdio::null()).spawn().unwrap();
        until("three samples", || sample_count(&file) >= 3);
        send(&child, signal);
        if let Some(code) = code {
            assert_eq!(code_of(child), code);
        } else {
            child.wait().unwrap();
        }
        let all = lines(&file);
        assert_eq!(all[0]["kind"], "header");
        assert!(of_kind(&all, "sample").len() >= 3);
        assert_eq!(of_kind(&all, "summary").len(), usize::from(code.is_some()));
    }
}

#[test]
fn a_full_disk_does_not_touch_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.jsonl");
    // The limit on the size of files stands in for the disk; the header fits, and some samples do.
    let inner = "sleep 0.6; exit 5";
    let script = format!(
        "ulimit -f 4; exec {} --interval 50ms --summary none --output {} -- sh -c '{inner}'",
        env!("CARGO_BIN_EXE_cpumon"),
        file.display()
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.matches("writing stops here").count(), 1, "{said}");
    assert!(said.contains("the command goes on"), "{said}");
}

#[test]
fn a_process_is_followed_to_its_end() {
    let mut subject = Command::new("sh").args(["-c", BUSY]).spawn().unwrap();
    let pid = subject.id().to_string();
    // Whoever started it has to reap it, or it would stay a zombie; cpumon must take that for the end, too.
    let output = cpumon(&["--pid", &pid, "--interval", "100ms", "--summary", "short"]).output().unwrap();
    subject.wait().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("cores: "));
    assert!(!output.stdout.is_empty());
}

#[test]
fn the_machine_is_watched_for_as_long_as_asked() {
    let start = Instant::now();
    let output = cpumon(&["--duration", "750ms", "--interval", "200ms", "--output", "-"]).output().unwrap();
    assert!(output.status.success() && start.elapsed().as_secs_f64() >= 0.75);
    let text = String::from_utf8(output.stdout).unwrap();
    let all: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(of_kind(&all, "sample").len(), 4, "{text}");
    let summary = all.last().unwrap();
    assert_eq!(summary["kind"], "summary");
    let mean: f64 = summary["core_busy"].as_array().unwrap().iter().map(|core| core.as_f64().unwrap()).sum();
    assert!((summary["parallelism"].as_f64().unwrap() - mean).abs() < 0.001, "{summary}");
}

#[test]
fn a_reader_that_goes_away_ends_the_watching_quietly() {
    let script = format!("{} --interval 50ms --duration 9s | head -n 1", env!("CARGO_BIN_EXE_cpumon"));
    let start = Instant::now();
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert!(output.status.success() && start.elapsed().as_secs_f64() < 5.0);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_picture_is_drawn() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cores.svg");
    let words = ["--quiet", "--interval", "50ms", "--plot", file.to_str().unwrap(), "--", "sleep", "0.4"];
    assert_eq!(measured(cpumon(&words)).code, 0);
    assert!(std::fs::read_to_string(file).unwrap().contains("core 0"));
}
