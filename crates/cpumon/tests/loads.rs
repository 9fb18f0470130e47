//! Known loads get their verdict, and a parallelism that the kernel's own count confirms. Other processes may be
//! busy on the machine that runs this: where they can change a verdict, it is one of those that then fit.
#![expect(clippy::unwrap_used, reason = "a test program fails where something unexpected is")]

#[allow(dead_code, reason = "each test program uses its part of the harness")]
mod common;

use std::fs;
use std::path::PathBuf;

use common::{BUSY, finding, summary_of, summary_of_command};
use serde_json::Value;

fn number(summary: &Value, name: &str) -> f64 {
    summary[name].as_f64().unwrap_or_else(|| panic!("no {name} in {summary}"))
}

/// Whether the command had the machine to itself, so that the verdict can only be one.
fn was_alone(summary: &Value) -> bool {
    let busy: f64 = summary["core_busy"].as_array().unwrap().iter().map(|core| core.as_f64().unwrap()).sum();
    busy - number(summary, "parallelism") < 0.15 && summary["steal"].as_f64().is_none_or(|steal| steal < 0.05)
}

fn expect(summary: &Value, alone: &[&str], crowded: &[&str]) {
    let found = finding(summary);
    let fits = alone.contains(&found) || (!was_alone(summary) && crowded.contains(&found));
    assert!(fits, "{found} where {alone:?} was expected: {summary}");
    let verdict = &summary["verdict"];
    assert!(verdict["because"].as_str().unwrap().contains(|c: char| c.is_ascii_digit()), "{verdict}");
    assert!(!verdict["advice"].as_str().unwrap().is_empty());
}

/// Several busy shells at once.
fn busy(count: usize) -> String {
    format!("for n in {}; do ({BUSY}) & done; wait", "x ".repeat(count))
}

#[test]
fn one_busy_thread_is_the_limit() {
    let summary = summary_of(BUSY);
    assert!(number(&summary, "parallelism") < 1.05, "{summary}");
    match number(&summary, "effective_cores") {
        ..1.5 => expect(&summary, &["well_used"], &["noisy_neighbour", "oversubscribed"]),
        _ => expect(&summary, &["serial"], &["noisy_neighbour", "waiting"]),
    }
}

#[test]
fn as_many_busy_threads_as_cores_use_them_well() {
    let cores = std::thread::available_parallelism().unwrap().get();
    let summary = summary_of(&busy(cores));
    expect(&summary, &["well_used"], &["noisy_neighbour", "oversubscribed", "serial", "waiting"]);
}

#[test]
fn twice_as_many_are_too_many() {
    let cores = std::thread::available_parallelism().unwrap().get();
    let summary = summary_of(&busy(2 * cores));
    expect(&summary, &["oversubscribed"], &["noisy_neighbour", "well_used"]);
    assert!(summary["run_wait"].is_null() || number(&summary, "run_wait") > 0.2, "{summary}");
}

#[test]
fn a_sleeper_waits() {
    let summary = summary_of("sleep 1");
    assert!(number(&summary, "parallelism") < 0.05, "{summary}");
    // Another process at the disk can make cores idle for it.
    expect(&summary, &["waiting"], &["waiting_for_io"]);
}

#[test]
fn half_a_core_is_half_a_core() {
    // Works and sleeps in turns of some fifty milliseconds each.
    let turn = "i=0; while [ $i -lt 18000 ]; do i=$((i+1)); done; sleep 0.05";
    let summary = summary_of(&format!("for n in 1 2 3 4 5 6 7 8 9 10 11 12; do {turn}; done"));
    let used = number(&summary, "parallelism");
    assert!((0.05..0.75).contains(&used), "{summary}");
    expect(&summary, &["waiting"], &["noisy_neighbour", "waiting_for_io"]);
}

#[test]
fn a_writer_waits_for_the_disk() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = directory.path().join("data");
    let write = format!("dd if=/dev/zero of={} bs=64k count=300 oflag=dsync 2>/dev/null", file.display());
    let summary = summary_of(&format!("{write}; {write}; {write}"));
    // A disk that is memory, or as fast as it, leaves nothing to wait for.
    expect(
        &summary,
        &["waiting_for_io", "waiting", "serial", "too_short"],
        &["noisy_neighbour", "well_used", "oversubscribed"],
    );
    let waited = number(&summary, "parallelism") < 0.5 && summary["iowait"].as_f64().unwrap_or(0.0) > 0.15;
    assert!(!waited || finding(&summary) == "waiting_for_io" || !was_alone(&summary), "{summary}");
}

#[test]
fn threads_that_may_not_use_a_free_core_are_pinned() {
    if !cfg!(target_os = "linux") || std::thread::available_parallelism().unwrap().get() < 2 {
        return;
    }
    let pair = busy(2);
    let crowded = ["noisy_neighbour", "oversubscribed", "well_used"];
    let outside = summary_of_command(&["taskset", "-c", "0"], &pair);
    assert_eq!(number(&outside, "effective_cores"), 1.0);
    expect(&outside, &["pinned"], &crowded);
    let inside = summary_of(&format!("taskset -cp 0 $$ >/dev/null; {pair}"));
    assert_eq!(number(&inside, "allowed_cores"), 1.0, "{inside}");
    expect(&inside, &["pinned"], &crowded);
}

/// A control group of our own, removed in the end.
struct Group(PathBuf);

impl Group {
    /// With a quota of half a core; `None` where that is not allowed.
    fn of_half_a_core() -> Option<Self> {
        let name = format!("cpumon-test-{}", std::process::id());
        for (base, version) in [("/sys/fs/cgroup", 2), ("/sys/fs/cgroup/cpu", 1)] {
            let group = Self(PathBuf::from(base).join(&name));
            // A plain directory is no control group.
            if fs::create_dir(&group.0).is_err() || !group.0.join("cgroup.procs").exists() {
                continue;
            }
            let write = |file: &str, text: &str| fs::write(group.0.join(file), text).is_ok();
            let is_set = match version {
                2 => write("cpu.max", "50000 100000"),
                _ => write("cpu.cfs_period_us", "100000") && write("cpu.cfs_quota_us", "50000"),
            };
            if is_set {
                return Some(group);
            }
        }
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_quota_that_runs_out_throttles() {
    let Some(group) = Group::of_half_a_core() else {
        eprintln!("left out: this system allows no control group");
        return;
    };
    let procs = group.0.join("cgroup.procs");
    let enter = format!("echo $$ > {} && exec \"$@\"", procs.display());
    let summary = summary_of_command(&["sh", "-c", &enter, "enter"], BUSY);
    assert_eq!(number(&summary, "effective_cores"), 0.5, "{summary}");
    assert!(number(&summary, "parallelism") < 0.6, "{summary}");
    expect(&summary, &["throttled"], &["noisy_neighbour"]);
}

#[test]
fn children_that_end_between_samples_are_counted() {
    let summary = summary_of("i=0; while [ $i -lt 5000 ]; do (:); i=$((i+1)); done");
    assert!(number(&summary, "cpu_s") > 0.3, "{summary}");
}

#[test]
fn a_daemon_that_ended_is_counted() {
    if !cfg!(target_os = "linux") {
        return;
    }
    // The busy shell loses its parent at once, and only cpumon can wait for it.
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let done = done.to_str().unwrap();
    let script =
        format!("(sh -c '{BUSY}; echo > {done}' &); while [ ! -e {done} ]; do sleep 0.05; done; sleep 0.2");
    assert!(number(&summary_of(&script), "cpu_s") > 0.1);
}
