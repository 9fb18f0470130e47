//! What is written can be read again: replay, compare, CSV, JSON, and the exit code of --fail-below.
#![expect(clippy::unwrap_used, reason = "a test program fails where something unexpected is")]

#[allow(dead_code, reason = "each test program uses its part of the harness")]
mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use common::{BUSY, around, code_of, cpumon, lines, send};
use serde_json::Value;

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_replay_says_what_the_run_said() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (file, short) = (path("run.jsonl"), path("short.jsonl"));
    let run = around(&["--interval", "100ms", "--output", &file], BUSY);
    let replayed = cpumon(&["replay", &file, "--plot", &path("cores.svg")]).output().unwrap();
    assert!(replayed.status.success());
    assert_eq!(text(replayed.stdout), text(run.stderr));
    assert!(std::fs::read_to_string(path("cores.svg")).unwrap().contains("core 0"));

    // As after a kill in the middle of a line.
    let all = std::fs::read_to_string(&file).unwrap();
    let cut = all.find("\"kind\":\"summary\"").unwrap();
    std::fs::write(&short, &all[..cut]).unwrap();
    let replayed = cpumon(&["replay", "--json", &short]).output().unwrap();
    assert!(text(replayed.stderr).contains("the run was cut off"));
    let of_samples: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    let whole = lines(std::path::Path::new(&file));
    assert_eq!(of_samples["core_busy"], whole.last().unwrap()["core_busy"]);
    assert_eq!(of_samples["samples"], whole.last().unwrap()["samples"]);

    let compared = cpumon(&["compare", &file, &file]).output().unwrap();
    assert!(text(compared.stdout).ends_with("as fast as before, with 1.00 times the CPU time\n"));
    let compared = cpumon(&["compare", "--json", &file, &short]).output().unwrap();
    let compared: Value = serde_json::from_slice(&compared.stdout).unwrap();
    assert_eq!(compared["before"]["wall_s"], whole.last().unwrap()["wall_s"]);

    for wrong in [path("missing"), path("cores.svg")] {
        let output = cpumon(&["replay", &wrong]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(output.stderr).contains(&wrong));
    }
}

#[test]
fn a_table_has_a_row_a_sample() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.csv");
    assert!(
        around(&["--quiet", "--interval", "50ms", "-o", file.to_str().unwrap()], "sleep 0.5")
            .status
            .success()
    );
    let table = std::fs::read_to_string(file).unwrap();
    let widths: Vec<usize> = table.lines().map(|row| row.split(',').count()).collect();
    assert!(widths.len() > 4 && widths.iter().all(|width| *width == widths[0]), "{table}");
    let header: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    assert!(header[0] == "t_s" && header.contains(&"core_0"), "{header:?}");
}

#[test]
fn a_table_is_replayed_and_compared_like_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (table, lines) = (path("run.csv"), path("run.jsonl"));
    for file in [&table, &lines] {
        let run = around(&["--quiet", "--interval", "50ms", "-o", file], &format!("{BUSY}; {BUSY}"));
        assert!(run.status.success());
    }
    let replayed = cpumon(&["replay", "--json", &table]).output().unwrap();
    assert!(replayed.status.success() && replayed.stderr.is_empty());
    let summary: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert!(summary["subject"].as_str().unwrap().starts_with("sh -c i=0"), "{summary}");
    let rows = std::fs::read_to_string(&table).unwrap().lines().count() - 1;
    assert_eq!(summary["samples"].as_u64().unwrap() as usize, rows);
    assert!(summary["parallelism"].as_f64().unwrap() > 0.2, "{summary}");
    let compared = cpumon(&["compare", &table, &lines]).output().unwrap();
    let said = text(compared.stdout);
    assert!(compared.status.success() && !said.contains("different subjects"), "{said}");
}

#[test]
fn a_picture_that_could_not_be_drawn_is_said_before_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let run = around(&["--plot", &path("missing/cores.svg")], &format!("echo > {}", path("ran")));
    assert_eq!(run.status.code(), Some(125));
    assert!(text(run.stderr).contains("cores.svg: cannot be written (--plot)"));
    let run = around(&["--plot", "-"], &format!("echo > {}", path("ran")));
    assert_eq!(run.status.code(), Some(125));
    assert!(text(run.stderr).contains("needs a file of its own (--plot)"));
    assert!(!directory.path().join("ran").exists(), "the command was not started");
}

#[test]
fn a_program_with_an_odd_name_is_shown_and_draws_nothing() {
    use std::os::unix::ffi::OsStrExt;
    let directory = tempfile::tempdir().unwrap();
    // Neither text nor harmless: it would clear the screen.
    let odd = directory.path().join(std::ffi::OsStr::from_bytes(b"a\xff\x1b[2J\nb"));
    std::os::unix::fs::symlink("/bin/sh", &odd).unwrap();
    let file = directory.path().join("run.jsonl");
    let mut command =
        cpumon(&["--interval", "50ms", "--summary", "short", "-o", file.to_str().unwrap(), "--"]);
    let script = format!("{BUSY}; (sleep 20; :) >/dev/null 2>&1 & echo $!");
    let run = command.arg(&odd).args(["-c", &script]).output().unwrap();
    let left: i32 = text(run.stdout).trim().parse().unwrap();
    // SAFETY: kill takes plain numbers; the process is the shell that was left behind above.
    unsafe { libc::kill(left, libc::SIGKILL) };
    let said = text(run.stderr);
    assert!(!said.contains('\x1b') && said.lines().all(|line| line.starts_with('c')), "{said}");
    if cfg!(target_os = "linux") {
        let hottest = lines(&file).last().unwrap()["hottest"]["name"].as_str().unwrap().to_owned();
        assert!(hottest.starts_with('a') && hottest.ends_with('b'), "{hottest:?}");
        assert!(said.contains("outlives the command"), "{said}");
    }
}

#[test]
fn a_summary_in_json_goes_where_words_would_not_disturb() {
    let run = around(&["--json"], "echo data");
    assert_eq!(run.stdout, b"data\n");
    let summary: Value = serde_json::from_slice(&run.stderr).unwrap();
    assert_eq!((&summary["exit_code"], &summary["verdict"]["finding"]), (&0.into(), &"too_short".into()));
    let machine = cpumon(&["--json", "--duration", "250ms"]).output().unwrap();
    let summary: Value = serde_json::from_slice(&machine.stdout).unwrap();
    assert_eq!(summary["subject"], "the machine");
    assert!(machine.stderr.is_empty());
}

#[test]
fn little_use_can_be_made_a_failure() {
    let check = |least: &str, script: &str, code| {
        let run = around(&["--summary", "none", "--fail-below", least], script);
        assert_eq!(run.status.code(), Some(code), "{least} {script}");
        text(run.stderr)
    };
    assert!(check("0.5", "sleep 0.3", 1).contains("less than 0.5 (--fail-below)"));
    assert_eq!(check("0", "sleep 0.3", 0), "");
    // The command's own failure is worth more.
    check("0.5", "sleep 0.3; exit 9", 9);
}

#[test]
fn metrics_are_served_while_the_command_runs() {
    let mut child =
        cpumon(&["--summary", "none", "--interval", "50ms", "--prometheus", "0", "--", "sleep", "30"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address =
        line.trim().strip_prefix("cpumon: metrics at http://").unwrap().strip_suffix("/metrics").unwrap();
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    std::thread::sleep(Duration::from_millis(200));
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(
        answer.contains("\ncpumon_threads 1\n") && answer.contains("cpumon_core_busy_ratio{core=\"0\"}"),
        "{answer}"
    );
    let taken = cpumon(&["--prometheus", address, "--", "true"]).output().unwrap();
    assert_eq!(taken.status.code(), Some(125));
    // A client that says nothing does not keep the run from ending.
    let silent = TcpStream::connect(address).unwrap();
    send(&child, libc::SIGTERM);
    assert_eq!(code_of(child), 128 + libc::SIGTERM);
    drop(silent);
}

#[test]
fn thread_pools_are_named_and_secrets_are_not() {
    let mut command = cpumon(&["threads", "--", "sh", "-c", "sleep 0.4; exit 6"]);
    let run =
        command.env("RAYON_NUM_THREADS", "3").env("OMP_NUM_THREADS", "hush").env("TOKEN", "hush").output();
    let run = run.unwrap();
    let said = text(run.stderr);
    assert_eq!(run.status.code(), Some(6));
    assert!(run.stdout.is_empty() && !said.contains("hush"), "{said}");
    assert!(said.contains("RAYON_NUM_THREADS=3 is set"), "{said}");
    let catalogue = cpumon(&["threads"]).env("TOKEN", "hush").output().unwrap();
    assert!(!text(catalogue.stdout).contains("hush"));
    assert_eq!(cpumon(&["threads", "--", "no-such-command"]).output().unwrap().status.code(), Some(127));
}

#[test]
fn exports_can_be_evaluated() {
    let script = format!(
        "unset OMP_NUM_THREADS; RAYON_NUM_THREADS=7; export RAYON_NUM_THREADS; \
         eval \"$({} threads --export --workers 1000)\"; echo $OMP_NUM_THREADS $RAYON_NUM_THREADS",
        env!("CARGO_BIN_EXE_cpumon")
    );
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(text(output.stdout), "1 7\n");
}
