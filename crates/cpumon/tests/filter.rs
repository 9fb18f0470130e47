//! In a pipe cpumon changes nothing.
#![expect(clippy::unwrap_used, reason = "a test program fails where something unexpected is")]

#[allow(dead_code, reason = "each test program uses its part of the harness")]
mod common;

use std::process::{Command, Output};
use std::time::Instant;

use common::{BUSY, lines};

const CPUMON: &str = env!("CARGO_BIN_EXE_cpumon");

fn shell(script: &str) -> Output {
    Command::new("sh").args(["-c", script]).output().unwrap()
}

#[test]
fn bytes_go_through_unchanged_from_and_to_anything() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&from, &bytes).unwrap();
    let (from, to) = (from.display(), to.display());
    for script in [
        format!("cat {from} | {CPUMON} - --quiet | cat"),
        format!("{CPUMON} - --quiet < {from} | cat"),
        format!("cat {from} | {CPUMON} - --quiet > {to}; cat {to}"),
        format!("{CPUMON} - --quiet < {from} > {to}; cat {to}"),
    ] {
        let output = shell(&script);
        assert!(output.status.success() && output.stderr.is_empty(), "{script}");
        assert!(output.stdout == bytes, "{script}: {} bytes", output.stdout.len());
    }
}

#[test]
fn the_other_stages_are_watched() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.jsonl");
    let watch = format!("{CPUMON} - --quiet --interval 100ms --output {}", file.display());
    let output = shell(&format!("({BUSY}; echo data) | {watch} | cat"));
    assert_eq!(output.stdout, b"data\n");
    let all = lines(&file);
    let summary = all.last().unwrap();
    assert_eq!(summary["passed_bytes"], 5);
    let parallelism = summary["parallelism"].as_f64().unwrap();
    let own = all.iter().filter_map(|line| line["hottest"]["cores"].as_f64()).fold(0.0, f64::max);
    assert!(parallelism > 0.1 && parallelism < 1.2 && own > 0.2, "{summary}");
}

#[test]
fn what_a_stage_did_up_to_its_end_is_counted() {
    if !cfg!(target_os = "linux") {
        return;
    }
    // The only look before the end is that at the start.
    let directory = tempfile::tempdir().unwrap();
    let (file, times) = (directory.path().join("run.jsonl"), directory.path().join("times"));
    let watch = format!("{CPUMON} - --quiet --interval 1h --output {}", file.display());
    let output = shell(&format!("sh -c '{BUSY}; times > {}' | {watch} | cat", times.display()));
    assert!(output.status.success());
    // `0m0.48s 0m0.01s`, and then the same of its children.
    let text = std::fs::read_to_string(times).unwrap();
    let seconds = |word: &str| word.trim_end_matches('s').split_once('m').unwrap().1.parse::<f64>().unwrap();
    let expected: f64 = text.lines().next().unwrap().split(' ').map(seconds).sum();
    let counted = lines(&file).last().unwrap()["cpu_s"].as_f64().unwrap();
    assert!(expected > 0.1 && (counted - expected).abs() < 0.05, "{counted} instead of {expected}");
}

#[test]
fn a_reader_that_has_had_enough_ends_the_pipe() {
    let start = Instant::now();
    let output = shell(&format!("yes | {CPUMON} - --quiet | head -n 2"));
    assert_eq!(output.stdout, b"y\ny\n");
    assert!(output.stderr.is_empty() && start.elapsed().as_secs() < 5);
}

#[test]
fn a_full_disk_is_said() {
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let output = shell(&format!("echo data | {CPUMON} - --quiet > /dev/full"));
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("passing bytes on failed"));
}
