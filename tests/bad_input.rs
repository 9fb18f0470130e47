//! What people get wrong: each is one line that names the object and the way out, a non-zero exit, nothing
//! half-written, and nobody left running.

use std::fs;
use std::time::{Duration, Instant};

use pipe_tests::{Place, Run, bin, until};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

const HEADER: &str = "datetime,open,high,low,close,volume\n";

fn bars(rows: &[&str]) -> String {
    format!("{HEADER}{}\n", rows.join("\n"))
}

/// `featgen` on `content` fails in one line that holds all of `expected`, and leaves nothing behind.
fn featgen_refuses(content: Option<&str>, expected: &[&str]) {
    let place = Place::new();
    let input = content.map_or_else(|| place.text("X.csv"), |content| place.write("X.csv", content));
    let line = Run::new("featgen").args(["--quiet", &input, "-o", &place.text("out.parquet")]).fails(1);
    for part in expected {
        assert!(line.contains(part), "no {part:?} in: {line}");
    }
    assert!(line.starts_with("featgen: ") && line.contains("X.csv"), "{line}");
    let left: Vec<_> = place.names().into_iter().filter(|name| name != "X.csv").collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[test]
fn featgen_names_what_is_wrong_with_a_file() {
    featgen_refuses(None, &["No such file"]);
    featgen_refuses(Some(""), &["empty"]);
    featgen_refuses(Some(HEADER), &["no bars"]);
    featgen_refuses(
        Some("datetime,open,high,low,volume\n2024-01-01 09:15:00+05:30,1,1,1,5\n"),
        &["no close column"],
    );
    let good = "2024-01-01 09:15:00+05:30,100,101,99,100,5";
    let word = "2024-01-01 09:20:00+05:30,100,101,99,n/a,5";
    featgen_refuses(Some(&bars(&[good, word])), &["line 3", "close", "n/a", "--bad-rows"]);
    let later = "2024-01-01 09:25:00+05:30,100,101,99,100,5";
    let early = "2024-01-01 09:20:00+05:30,100,101,99,100.5,5";
    featgen_refuses(Some(&bars(&[good, later, early])), &["line 4", "--sort"]);
    let other = "2024-01-01 09:15:00+05:30,100,101,99,100.5,5";
    featgen_refuses(Some(&bars(&[good, other])), &["line 3", "--dedup"]);
}

#[test]
fn featgen_names_a_feature_that_does_not_exist() {
    let place = Place::new();
    let two = ["2024-01-01 09:15:00+05:30,100,101,99,100,5", "2024-01-01 09:20:00+05:30,100,101,99,100,5"];
    let input = place.write("X.csv", &bars(&two));
    let out = place.text("out.parquet");
    let line = Run::new("featgen").args(["--features", "rsj:14", &input, "-o", &out]).fails(2);
    assert!(line.contains("rsj") && line.contains("rsi"), "{line}");
    let line = Run::new("featgen").args(["--quiet", &input, "-o", &place.text("X.csv/out.parquet")]).fails(1);
    assert!(line.contains("X.csv/out.parquet"), "{line}");
    assert_eq!(place.names(), ["X.csv"]);
}

#[test]
fn featgen_writes_over_neither_its_input_nor_what_is_no_file() {
    let place = Place::new();
    let rows = ["2024-01-01 09:15:00+05:30,100,101,99,100,5", "2024-01-01 09:20:00+05:30,100,101,99,100,5"];
    let input = place.write("X.csv", &bars(&rows));
    let line = Run::new("featgen").args(["--quiet", &input, "-o", &input]).fails(2);
    assert!(line.contains("X.csv") && line.contains("-o"), "{line}");
    std::os::unix::fs::symlink(&input, place.path("link")).expect("a link");
    for output in [place.text("link"), "/dev/null".to_owned()] {
        let outcome = Run::new("featgen").args(["--quiet", &input, "-o", &output]).ends();
        assert!(
            !outcome.status.success() && outcome.stderr.lines().count() == 1,
            "{output}: {}",
            outcome.stderr
        );
    }
    assert_eq!(fs::read_to_string(&input).expect("the bars are still there"), bars(&rows));
    assert!(place.path("link").is_symlink());
}

#[test]
fn envpool_names_a_file_that_is_no_feature_file() {
    let place = Place::new();
    let missing = place.text("missing.parquet");
    let line = Run::new("envpool").args([&missing]).fails(1);
    assert!(line.contains("missing.parquet"), "{line}");
    let text = place.write("text.parquet", "datetime,open\n");
    let line = Run::new("envpool").args([&text]).fails(1);
    assert!(line.contains("text.parquet") && line.contains("featgen"), "{line}");
}

#[test]
fn envpool_says_how_many_days_there_are_to_hold_out() {
    let place = Place::new();
    let features = place.features("BPCL", 10);
    for days in ["10", "400"] {
        let line = Run::new("envpool").args(["--test-days", days, &features]).fails(2);
        assert!(line.contains("--test-days") && line.contains("10"), "{line}");
    }
}

#[test]
fn a_live_socket_is_not_taken_and_a_stale_one_is_replaced() {
    let place = Place::new();
    let features = place.features("BPCL", 10);
    let address = format!("unix:{}", place.text("s"));
    let serve = || Run::new("envpool").args(["--test-days", "2", "--listen", &address, &features]);
    let listens = || std::os::unix::net::UnixStream::connect(place.path("s")).is_ok();
    let mut first = serve().start();
    until("the socket listens", listens);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(place.path("s")).expect("a socket").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "others must not reach the socket");
    let line = serve().fails(1);
    assert!(line.contains(&place.text("s")), "{line}");
    first.signal(Signal::KILL);
    first.wait(Duration::from_secs(20));
    assert!(place.path("s").exists(), "a killed server leaves its socket");
    let mut second = serve().start();
    until("the stale socket is replaced", listens);
    second.signal(Signal::TERM);
    assert!(second.wait(Duration::from_secs(20)).success());
}

#[test]
fn train_says_that_nobody_listens() {
    let place = Place::new();
    let (socket, out) = (format!("unix:{}", place.text("s")), place.text("runs"));
    let begun = Instant::now();
    let line = Run::new("train").args(["ppo", "--quiet", "--out", &out, "--connect", &socket]).fails(1);
    assert!(line.contains(&socket) && line.contains("nobody listens"), "{line}");
    assert!(begun.elapsed() >= Duration::from_secs(9), "it waits for a server that is still starting");
    assert!(!place.path("runs").exists(), "a run that never began leaves no directory");
}

#[test]
fn train_passes_on_why_its_server_did_not_start() {
    let place = Place::new();
    let (out, envpool) = (place.text("runs"), bin("envpool").display().to_string());
    let train = ["ppo", "--quiet", "--out", out.as_str(), "--"];
    let outcome = Run::new("train").args(train).args([&envpool, &place.text("none.parquet")]).ends();
    assert_eq!(outcome.status.code(), Some(1));
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert!(lines[0].contains("none.parquet"), "the server's own line comes first: {lines:?}");
    assert!(lines.len() == 2 && lines[1].starts_with("train: envpool went away"), "{lines:?}");
    assert!(!place.path("runs").exists());
}

/// A file, and a shell command that writes its process id there and then becomes the server.
fn server_that_tells_its_pid(place: &Place, features: &str) -> (String, String) {
    let (file, envpool) = (place.text("pid"), bin("envpool"));
    let command = format!("echo $$ > {file}; exec {} --test-days 5 --envs 16 {features}", envpool.display());
    (file, command)
}

fn pid_in(file: &str) -> Pid {
    let text = fs::read_to_string(file).expect("a file with a process id");
    Pid::from_raw(text.trim().parse().expect("a number")).expect("a process id")
}

#[test]
fn an_envpool_that_dies_in_the_middle_ends_the_training_with_one_line() {
    let place = Place::new();
    let (features, out) = (place.features("BPCL", 20), place.text("runs"));
    let (pid_file, become_server) = server_that_tells_its_pid(&place, &features);
    let training = Run::endless_training(&out).args(["--", "sh", "-c", &become_server]);
    let killer = std::thread::spawn({
        let checkpoints = place.path("runs/latest/checkpoints");
        move || {
            until("training is under way", || checkpoints.read_dir().is_ok_and(|steps| steps.count() > 0));
            kill_process(pid_in(&pid_file), Signal::KILL).expect("the server is there");
        }
    });
    let line = training.fails(1);
    killer.join().expect("the server was killed");
    assert!(line.contains("went away") && line.contains("signal: 9"), "{line}");
}

#[test]
fn killing_the_learner_ends_its_server() {
    let place = Place::new();
    let (features, out) = (place.features("BPCL", 20), place.text("runs"));
    let (pid_file, become_server) = server_that_tells_its_pid(&place, &features);
    let mut training = Run::endless_training(&out).args(["--", "sh", "-c", &become_server]).start();
    let checkpoints = place.path("runs/latest/checkpoints");
    until("training is under way", || checkpoints.read_dir().is_ok_and(|steps| steps.count() > 0));
    let pid = pid_in(&pid_file);
    training.signal(Signal::KILL);
    training.wait(Duration::from_secs(20));
    until("the server has gone too", || test_kill_process(pid).is_err());
}

#[test]
fn an_existing_run_is_not_written_over_and_a_bad_flag_is_a_usage_error() {
    let place = Place::new();
    let file = place.write("a-file", "");
    let envpool = bin("envpool").display().to_string();
    let line = Run::new("train").args(["ppo", "--quiet", "--out", &file, "--", &envpool, "x"]).fails(1);
    assert!(line.contains("a-file"), "{line}");
    for (tool, args) in [
        ("train", ["ppo", "--envs=0"]),
        ("envpool", ["--envs=0", "x"]),
        ("featgen", ["--threads=none", "x"]),
        // Around a command, 2 could be the command's own code.
        ("cpumon", ["--interval=soon", "--"]),
    ] {
        let outcome = Run::new(tool).args(args).ends();
        let code = if tool == "cpumon" { 125 } else { 2 };
        assert_eq!(outcome.status.code(), Some(code), "{tool}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    }
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let featgen = bin("featgen");
    for reader in ["true", "head -1"] {
        let script = format!("{} list | {reader} > /dev/null; exit ${{PIPESTATUS[0]}}", featgen.display());
        let outcome = Run::program("bash").args(["-c", &script]).succeeds();
        assert_eq!(outcome.stderr, "");
    }
}
