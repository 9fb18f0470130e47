//! Runs the real binary, with an end to every wait.

use std::mem::MaybeUninit;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// About a second of work for a shell.
pub const BUSY: &str = "i=0; while [ $i -lt 500000 ]; do i=$((i+1)); done";

/// A command line of cpumon.
pub fn cpumon(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cpumon"));
    command.args(words).stdin(Stdio::null());
    command
}

/// Runs `sh -c script` in cpumon with `options` and collects what comes out.
pub fn around(options: &[&str], script: &str) -> Output {
    cpumon(&[options, &["--", "sh", "-c", script]].concat()).output().unwrap()
}

/// What a run took, as the kernel counted it for cpumon and everything below.
pub struct Usage {
    pub code: i32,
    pub wall_s: f64,
    pub cpu_s: f64,
}

/// Runs a command line of cpumon and has the kernel count.
#[allow(clippy::zombie_processes, reason = "wait4 waits for it, and gives its usage too")]
pub fn measured(mut command: Command) -> Usage {
    let start = Instant::now();
    let child = command.spawn().unwrap();
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both pointers are to live values of the right type, and the child is not waited for elsewhere.
    let usage = unsafe {
        assert_eq!(libc::wait4(child.id() as i32, &raw mut status, 0, usage.as_mut_ptr()), child.id() as i32);
        usage.assume_init()
    };
    let wall_s = start.elapsed().as_secs_f64();
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Usage {
        code: libc::WEXITSTATUS(status),
        wall_s,
        cpu_s: seconds(usage.ru_utime) + seconds(usage.ru_stime),
    }
}

/// CPU time of this process so far.
pub fn own_cpu_s() -> f64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills the structure, which is plain numbers and valid when zeroed.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Every line of a file of JSON lines.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'), "the last line is whole");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The lines of one kind.
pub fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

/// Waits until `done`, for ten seconds at most.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen within ten seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for a child and gives its exit code, or kills it after ten seconds.
pub fn code_of(mut child: Child) -> i32 {
    let mut code = None;
    let deadline = Instant::now() + Duration::from_secs(10);
    while code.is_none() && Instant::now() < deadline {
        code = child.try_wait().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    code.expect("the process ended by itself").code().expect("no signal ended it")
}

/// Sends a signal to a process that this test started.
pub fn send(child: &Child, signal: i32) {
    // SAFETY: kill takes plain numbers; the child has not been waited for, so the number is its own.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

/// Runs a script and gives the summary line, after comparing its parallelism with the kernel's.
pub fn summary_of(script: &str) -> Value {
    summary_of_command(&[], script)
}

/// The same, with cpumon itself behind `before`, such as `taskset -c 0`.
pub fn summary_of_command(before: &[&str], script: &str) -> Value {
    // Loads beside each other would be each other's neighbours.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.jsonl");
    let program = env!("CARGO_BIN_EXE_cpumon");
    let mine = [program, "--quiet", "--interval", "100ms", "--output", file.to_str().unwrap(), "--"];
    let words = [before, &mine, &["sh", "-c", script]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    let usage = measured(command);
    assert_eq!(usage.code, 0);
    let all = lines(&file);
    assert_eq!((&all[0]["kind"], &all[0]["schema"]), (&"header".into(), &1.into()));
    let summary = (*of_kind(&all, "summary").last().unwrap()).clone();
    let own_cpu_s = summary["own_cpu_s"].as_f64().unwrap();
    let expected = (usage.cpu_s - own_cpu_s) / usage.wall_s;
    let parallelism = summary["parallelism"].as_f64().unwrap();
    let load = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("{load}: parallelism {parallelism:.3}, by wait4 {expected:.3}, {}", finding(&summary));
    assert!((parallelism - expected).abs() <= expected * 0.05 + 0.01, "{parallelism} instead of {expected}");
    summary
}

/// What was found.
pub fn finding(summary: &Value) -> &str {
    summary["verdict"]["finding"].as_str().unwrap()
}
