//! As a wrapper cpumon is invisible: exit codes, signals, streams.
#![expect(clippy::unwrap_used, reason = "a test program fails where something unexpected is")]

#[allow(dead_code, reason = "each test program uses its part of the harness")]
mod common;

use std::io::{Read, Write};
use std::process::Stdio;

use common::{around, code_of, cpumon, send, until};

#[test]
fn every_exit_code_is_passed_on() {
    for code in (0..=255).filter(|code| code % 5 != 3) {
        assert_eq!(around(&["--quiet"], &format!("exit {code}")).status.code(), Some(code));
    }
}

#[test]
fn a_signal_that_ends_the_command_is_128_and_its_number() {
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGSEGV, libc::SIGINT] {
        assert_eq!(around(&["--quiet"], &format!("kill -{signal} $$")).status.code(), Some(128 + signal));
    }
}

#[test]
fn a_command_that_cannot_start_has_its_own_codes() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "no program").unwrap();
    let plain = plain.to_str().unwrap();
    let check = |words: &[&str], code, says: &str| {
        let output = cpumon(words).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(says), "{said}");
        assert!(output.stdout.is_empty());
    };
    check(&["--", "no-such-command"], 127, "cpumon: no-such-command: command not found\n");
    check(&["--", plain], 126, "permission denied");
    let below = format!("{plain}/x");
    check(
        &["--output", &below, "--", "true"],
        125,
        &format!("cpumon: {below}: cannot be written (--output)"),
    );
    check(&["--interval", "1ms", "--", "true"], 125, "--interval");
    check(&["--nonsense", "--", "true"], 125, "--nonsense");
    check(&["--nonsense"], 2, "--nonsense");
    check(&["--pid", "4294967290"], 1, "no such process");
}

#[test]
fn no_command_at_all_is_refused() {
    // As from `cpumon -- $COMMAND` with an empty variable.
    for words in [&["--"][..], &["--quiet", "--"], &["threads", "--"]] {
        let output = cpumon(words).output().unwrap();
        assert_eq!(output.status.code(), Some(125), "{words:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("there is no command after --"));
    }
}

#[test]
fn bytes_go_through_untouched_and_standard_error_too() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut child = cpumon(&["--quiet", "--", "sh", "-c", "echo aside >&2; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.stdout == bytes, "{} bytes of {}", output.stdout.len(), bytes.len());
    assert_eq!(output.stderr, b"aside\n");
}

#[test]
fn the_summary_goes_to_standard_error_alone() {
    let output = around(&["--summary", "short"], "echo data");
    assert_eq!(output.stdout, b"data\n");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("cores: ") && said.ends_with("too short to say\n") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn signals_reach_the_command_which_decides() {
    for (signal, name) in
        [(libc::SIGTERM, "TERM"), (libc::SIGHUP, "HUP"), (libc::SIGUSR1, "USR1"), (libc::SIGUSR2, "USR2")]
    {
        let script = format!("trap 'exit 42' {name}; echo ready; while :; do sleep 0.05; done");
        let mut child =
            cpumon(&["--quiet", "--", "sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        send(&child, signal);
        assert_eq!(code_of(child), 42, "SIG{name}");
    }
}

#[test]
fn a_command_that_has_no_terminal_is_interrupted_through_cpumon_once() {
    use std::os::unix::process::CommandExt;
    let script = "trap 'exit 43' INT; echo ready; while :; do sleep 0.05; done";
    // A session of its own has no terminal, so no key can have reached the command.
    let mut command = cpumon(&["--quiet", "--", "sh", "-c", script]);
    // SAFETY: setsid is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    send(&child, libc::SIGINT);
    assert_eq!(code_of(child), 43);
}

#[test]
fn what_the_caller_ignores_stays_ignored() {
    // As under nohup: the signal must reach neither cpumon nor the command.
    let inner =
        format!("{} --quiet -- sh -c 'kill -HUP $PPID $$; sleep 0.2; exit 7'", env!("CARGO_BIN_EXE_cpumon"));
    let output =
        std::process::Command::new("sh").args(["-c", &format!("trap '' HUP; {inner}")]).output().unwrap();
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn the_command_is_in_the_same_process_group() {
    let output = around(
        &["--quiet"],
        "ps -o pgid= -p $$ -p $PPID 2>/dev/null || cut -d' ' -f5 /proc/$$/stat /proc/$PPID/stat",
    );
    let groups: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(|l| l.trim().to_owned()).collect();
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[0], groups[1]);
}

#[test]
fn a_daemon_is_named_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let number = directory.path().join("pid");
    let script = format!("(sleep 20 >/dev/null 2>&1 & echo $! > {})", number.display());
    let said = String::from_utf8(around(&["--summary", "short"], &script).stderr).unwrap();
    let pid: i32 = std::fs::read_to_string(number).unwrap().trim().parse().unwrap();
    // SAFETY: kill takes plain numbers; signal 0 only asks, and the process is the sleep started above.
    let alive = unsafe { libc::kill(pid, 0) } == 0;
    // SAFETY: as above.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    assert!(alive, "the daemon was ended");
    if cfg!(target_os = "linux") {
        assert!(said.contains(&format!("({pid}) outlives the command and was left running")), "{said}");
    }
}

#[test]
fn nothing_that_ended_is_left_unreaped() {
    // Orphans that end before the command must not stay behind as zombies.
    if !cfg!(target_os = "linux") {
        return;
    }
    let script = "for i in 1 2 3 4 5; do (true &) ; done; sleep 0.3; cat /proc/$PPID/task/$PPID/children 2>/dev/null; echo; echo $$";
    let output = String::from_utf8(around(&["--quiet"], script).stdout).unwrap();
    let mut lines = output.lines();
    let (children, own) = (lines.next().unwrap().trim().to_owned(), lines.next().unwrap().to_owned());
    assert!(children.is_empty() || children == own, "{children} beside {own}");
}

#[test]
fn a_closed_standard_error_changes_nothing() {
    let script = format!("{} -- sh -c 'exit 9' 2>&-", env!("CARGO_BIN_EXE_cpumon"));
    let status = std::process::Command::new("sh").args(["-c", &script]).status().unwrap();
    assert_eq!(status.code(), Some(9));
    let mut child = cpumon(&["--", "sh", "-c", "sleep 0.2; exit 8"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    until("the end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(8));
}

#[test]
fn a_reader_of_the_output_that_stops_reading_does_not_hold_up_the_command() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    // Opened for both ends it can be opened at once, and holds 64 kB that nobody takes.
    let holder = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let filled = std::os::fd::AsRawFd::as_raw_fd(&holder);
    let bytes = vec![b'\n'; 4096];
    // SAFETY: the descriptor is open, and the bytes are live.
    unsafe {
        libc::fcntl(filled, libc::F_SETFL, libc::O_NONBLOCK | libc::O_RDWR);
        while libc::write(filled, bytes.as_ptr().cast(), 4096) == 4096 {}
        let mut read = [0_u8; 4096];
        assert_eq!(libc::read(filled, read.as_mut_ptr().cast(), 4096), 4096, "room for the header");
    }
    let words = ["--interval", "50ms", "--summary", "none", "--output", pipe.to_str().unwrap()];
    let mut command = cpumon(&[&words[..], &["--", "sh", "-c", "sleep 2; exit 6"]].concat());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    assert_eq!(code_of(child), 6);
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.contains("its reader takes nothing; the command goes on"), "{said}");
    drop(holder);
}
