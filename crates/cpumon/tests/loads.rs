//! Known loads get their verdict, and a parallelism that the kernel's own count confirms. Other processes may be
//! busy on the machine that runs this: where they can change a verdict, it is one of those that then fit.
//! `cargo test --release -p cpumon --test loads -- --nocapture` prints each load's numbers.
#![expect(clippy::unwrap_used, reason = "a test program fails where something unexpected is")]

#[allow(dead_code, reason = "each test program uses its part of the harness")]
mod common;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

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
        _ => expect(&summary, &["serial"], &["noisy_neighbour"]),
    }
}

#[test]
fn as_many_busy_threads_as_cores_use_them_well() {
    let cores = std::thread::available_parallelism().unwrap().get();
    // For a second each: of loops that count, one ends early where its core is the faster one.
    let load = this_program("the_load_of_a_second", "");
    let summary = summary_of(&format!("for n in {}; do ({load}) & done; wait", "x ".repeat(cores)));
    expect(&summary, &["well_used"], &["noisy_neighbour", "oversubscribed", "too_few_threads"]);
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
    expect(&summary, &["waiting"], &["waiting", "waiting_for_io"]);
}

#[test]
fn half_a_core_is_half_a_core() {
    let summary = summary_of(&this_program("the_load_of_half_a_core", ""));
    let used = number(&summary, "parallelism");
    assert!(used < 0.55 && (used > 0.45 || !was_alone(&summary)), "{summary}");
    expect(&summary, &["waiting"], &["noisy_neighbour"]);
}

/// Works for a second.
#[test]
#[ignore = "a load for another test"]
fn the_load_of_a_second() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        std::hint::spin_loop();
    }
}

/// Works for 20 ms and sleeps for 20 ms, in turns.
#[test]
#[ignore = "a load for another test"]
fn the_load_of_half_a_core() {
    const TURN: Duration = Duration::from_millis(20);
    let start = Instant::now();
    let mut turn_ends = start;
    while start.elapsed() < Duration::from_secs(2) {
        turn_ends += TURN;
        while Instant::now() < turn_ends {
            std::hint::spin_loop();
        }
        turn_ends += TURN;
        std::thread::sleep(turn_ends.saturating_duration_since(Instant::now()));
    }
}

#[test]
fn a_writer_waits_for_the_disk() {
    if !cfg!(target_os = "linux") {
        eprintln!("left out: this system does not tell who waits for a disk");
        return;
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (file, share) = (directory.path().join("data"), directory.path().join("share"));
    let variables = format!("LOAD_FILE={} LOAD_SHARE={}", file.display(), share.display());
    let summary = summary_of(&this_program("the_load_of_a_writer", &variables));
    let worked: f64 = fs::read_to_string(share).unwrap().parse().unwrap();
    if worked > 0.5 {
        eprintln!("left out: the disk is as fast as memory, as writing takes {worked:.2} of a core");
        return;
    }
    let waited_for_cores = number(&summary, "run_wait") > 0.5 && !was_alone(&summary);
    if waited_for_cores && finding(&summary) == "noisy_neighbour" {
        eprintln!("left out: other processes have the cores, so that the writer waits for these, too");
        return;
    }
    expect(&summary, &["waiting_for_io"], &["waiting_for_io"]);
}

/// Writes to the disk itself, past the memory that would hide it, and says which share of a core that took.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "a load for another test"]
fn the_load_of_a_writer() {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    // Pages are what such writes must be aligned to.
    const PAGE: usize = 4096;
    const PIECE: usize = 8 << 20;
    let (Ok(file), Ok(share)) = (std::env::var("LOAD_FILE"), std::env::var("LOAD_SHARE")) else { return };
    let bytes = vec![7_u8; PIECE + PAGE];
    let aligned = bytes.as_ptr().align_offset(PAGE);
    let open = |flags| fs::OpenOptions::new().write(true).create(true).custom_flags(flags).open(&file);
    let out = open(libc::O_DIRECT | libc::O_DSYNC).or_else(|_| open(libc::O_DSYNC)).unwrap();
    // Where that is allowed, busy neighbours do not keep the writer from its disk.
    // SAFETY: setpriority takes plain numbers; a refusal changes nothing.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) };
    let start = Instant::now();
    for piece in 0_u64.. {
        out.write_all_at(&bytes[aligned..aligned + PIECE], piece % 8 * PIECE as u64).unwrap();
        if start.elapsed() >= Duration::from_secs(2) {
            break;
        }
    }
    fs::write(share, (common::own_cpu_s() / start.elapsed().as_secs_f64()).to_string()).unwrap();
}

/// A shell's words for one of the loads of this program.
fn this_program(load: &str, variables: &str) -> String {
    let program = std::env::current_exe().unwrap();
    format!("{variables} {} --exact {load} --ignored >/dev/null", program.display())
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

/// A control group of our own with a quota of half a core, and in it another one, which has none of its own.
struct Group(PathBuf);

impl Group {
    /// `None` where that is not allowed. Both versions of control groups are tried.
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
            if is_set && fs::create_dir(group.inner()).is_ok() {
                eprintln!("a quota by control groups of version {version}");
                return Some(group);
            }
        }
        None
    }

    fn inner(&self) -> PathBuf {
        self.0.join("inner")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.inner());
        let _ = fs::remove_dir(&self.0);
    }
}

/// Whether systemd gives a command a quota, where control groups are not to be made by hand.
fn systemd_limits() -> Option<Vec<&'static str>> {
    let system = vec!["systemd-run", "--scope", "--quiet", "--property=CPUQuota=50%"];
    let user = [&["systemd-run", "--user"], &system[1..]].concat();
    [system, user].into_iter().find(|words| {
        let mut command = std::process::Command::new(words[0]);
        command.args(&words[1..]).arg("true").stderr(std::process::Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

#[test]
fn a_quota_that_runs_out_throttles() {
    let group = Group::of_half_a_core();
    let summary = if let Some(group) = &group {
        let enter = format!("echo $$ > {} && exec \"$@\"", group.inner().join("cgroup.procs").display());
        summary_of_command(&["sh", "-c", &enter, "enter"], BUSY)
    } else if let Some(limited) = systemd_limits() {
        summary_of_command(&limited, BUSY)
    } else {
        eprintln!("left out: neither control groups nor systemd give a quota here");
        return;
    };
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
