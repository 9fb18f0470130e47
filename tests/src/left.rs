//! What a run of `train` leaves in its directory.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// The lines of `metrics.jsonl` that are whole; none before the first.
pub fn metrics(run: &Path) -> Vec<Map<String, Value>> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The same without what a clock says.
pub fn timeless_metrics(run: &Path) -> Vec<Map<String, Value>> {
    let is_clock = |key: &str| {
        key == "seconds" || key == "charts/SPS" || key.ends_with("_per_second") || key.starts_with("time/")
    };
    let mut lines = metrics(run);
    for line in &mut lines {
        line.retain(|key, _| !is_clock(key));
    }
    lines
}

/// The checkpoints by their steps, oldest first; none before the first.
pub fn checkpoints(run: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))).collect();
    found.sort();
    found
}

/// Steps of the newest checkpoint, and where it is.
///
/// # Panics
/// If there is none.
pub fn newest_checkpoint(run: &Path) -> (u64, PathBuf) {
    checkpoints(run).pop().expect("a checkpoint")
}

/// `report.json` in `directory`.
///
/// # Panics
/// If it is not there, or no JSON.
pub fn report(directory: &Path) -> Value {
    let path = directory.join("report.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Checks that two runs left the same, clocks apart: metrics and the files of their newest checkpoints.
///
/// # Panics
/// If they did not, or left nothing.
pub fn assert_same_bits(found: &Path, expected: &Path) {
    let [found_lines, expected_lines] = [found, expected].map(timeless_metrics);
    assert!(!expected_lines.is_empty(), "{} has no metrics", expected.display());
    assert_eq!(found_lines.len(), expected_lines.len(), "{}", found.display());
    for (found, expected) in found_lines.iter().zip(&expected_lines) {
        assert_eq!(found, expected);
    }
    let [found, expected] = [found, expected].map(newest_checkpoint);
    assert_eq!(found.0, expected.0);
    for file in ["policy.safetensors", "optimiser.safetensors", "environments.bin"] {
        let bytes = |checkpoint: &Path| fs::read(checkpoint.join(file)).expect("a file");
        assert!(bytes(&found.1) == bytes(&expected.1), "{}: {file} differs", found.1.display());
    }
}
