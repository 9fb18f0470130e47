//! The whole pipe, as people use it: bars to features, features to a server, a server to a learner.

use std::fs;
use std::path::PathBuf;

use pipe_tests::left::{self, newest_checkpoint};
use pipe_tests::{Place, Run, bin, until};
use serde_json::Value;

/// The one run directory under `out`.
fn run_directory(out: &str) -> PathBuf {
    let latest = fs::canonicalize(format!("{out}/latest")).expect("`latest` points to the run");
    assert!(latest.join("config.toml").exists(), "{} has no config.toml", latest.display());
    latest
}

fn report(out: &str) -> Value {
    left::report(&run_directory(out))
}

/// `train ppo` with little to do, up to the `--`.
fn short_training(out: &str) -> Run {
    Run::new("train").args([
        "ppo",
        "--quiet",
        "--out",
        out,
        "--timesteps",
        "16384",
        "--envs",
        "16",
        "--rollout",
        "64",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--seed",
        "5",
    ])
}

#[test]
fn bars_become_a_policy_that_is_judged_on_days_it_never_saw() {
    let place = Place::new();
    let (features, out, cpu) = (place.features("BPCL", 40), place.text("runs"), place.text("cpu.jsonl"));
    let train = bin("train").display().to_string();
    let envpool = bin("envpool").display().to_string();
    let outcome = Run::new("cpumon")
        .args(["--summary", "short", "--output", &cpu, "--", &train, "ppo", "--quiet", "--out", &out])
        .args(["--timesteps", "16384", "--envs", "16", "--rollout", "64", "--device", "cpu", "--"])
        .args([&envpool, "--market", "nse", "--test-days", "10", "--envs", "16", &features])
        .succeeds();

    // The summary that a person sees.
    let summary = outcome.stdout;
    assert!(summary.lines().count() < 25, "{summary}");
    for expected in ["SIMULATED", "buy and hold", "flat", "random", "steps", "report.html", "checkpoint"] {
        assert!(summary.to_lowercase().contains(&expected.to_lowercase()), "no {expected:?} in:\n{summary}");
    }
    assert!(outcome.stderr.contains("cores"), "cpumon's line is missing:\n{}", outcome.stderr);

    // The report that programs read.
    let report = report(&out);
    for key in ["provenance", "policy", "baselines", "steps_per_second", "time_split", "seeds", "config"] {
        assert!(!report[key].is_null(), "report.json has no {key}");
    }
    assert_eq!(report["provenance"]["kind"], "simulated");
    let directory = run_directory(&out);
    for file in ["metrics.jsonl", "report.html", "trades.csv", "positions.csv"] {
        assert!(fs::metadata(directory.join(file)).is_ok_and(|m| m.len() > 0), "no {file}");
    }
    assert!(directory.join("checkpoints").read_dir().expect("checkpoints").count() >= 2);
    let html = fs::read_to_string(directory.join("report.html")).expect("a report");
    assert!(html.contains("SIMULATED"), "a report on simulated data must say so");
    assert!(!html.contains("http://") || html.contains("www.w3.org"), "the report must not need a network");

    // Every line that cpumon wrote is JSON.
    let samples = fs::read_to_string(cpu).expect("samples");
    assert!(samples.lines().count() > 1);
    assert!(samples.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{samples}");
}

#[test]
fn a_policy_that_loses_to_buy_and_hold_says_so_first() {
    let place = Place::new();
    let (features, out) = (place.features("BPCL", 30), place.text("runs"));
    let envpool = bin("envpool").display().to_string();
    // 500 basis points a side: whoever trades loses, and sixteen steps teach nobody to stay flat.
    let args =
        ["--", &envpool, "--costs", "bps:500", "--square-off", "--test-days", "5", "--envs", "16", &features];
    let outcome = short_training(&out).args(args).succeeds();
    let report = report(&out);
    let total = |account: &Value| account["total_return"].as_f64().expect("a total return");
    let policy = total(&report["policy"]);
    let hold = report["baselines"]
        .as_object()
        .and_then(|baselines| baselines.get("buy_and_hold"))
        .map(total)
        .expect("buy and hold among the baselines");
    let first = outcome.stdout.lines().next().unwrap_or_default().to_lowercase();
    let says_so = first.contains("does not beat buy and hold");
    assert_eq!(says_so, policy <= hold, "policy {policy}, buy and hold {hold}, first line {first:?}");
    // The cheap way out for this test would be a policy that wins: make sure that the case is the losing one.
    assert!(policy <= hold, "a cost of 5 % a side was meant to lose: policy {policy}, hold {hold}");
}

#[test]
fn training_over_a_socket_equals_training_over_a_pipe() {
    let place = Place::new();
    let features = place.features("BPCL", 30);
    let socket = format!("unix:{}", place.text("envpool.sock"));
    let server_args = ["--test-days", "5", "--envs", "16", "--market", "nse"];
    let mut server = Run::new("envpool").args(server_args).args(["--listen", &socket, &features]).start();

    let (piped, connected) = (place.text("piped"), place.text("connected"));
    let envpool = bin("envpool").display().to_string();
    short_training(&connected).args(["--connect", &socket]).succeeds();
    short_training(&piped).args(["--", &envpool]).args(server_args).args([&features]).succeeds();
    assert_eq!(report(&piped)["policy"], report(&connected)["policy"], "the transport must not change a bit");

    server.signal(rustix::process::Signal::TERM);
    assert!(server.wait(std::time::Duration::from_secs(20)).success(), "SIGTERM is a clean end");
    assert!(!place.path("envpool.sock").exists(), "the socket goes with the server");
}

#[test]
fn days_that_were_trained_on_are_never_called_unseen() {
    let place = Place::new();
    let (features, out) = (place.features("BPCL", 30), place.text("runs"));
    let envpool = bin("envpool").display().to_string();
    let server = |days: &'static str| {
        ["--", &envpool, "--market", "nse", "--test-days", days, &features].map(String::from)
    };
    short_training(&out).args(server("5")).succeeds();
    let first_line = |days| {
        let judged =
            Run::new("train").args(["eval", "--checkpoint", &format!("{out}/latest")]).args(server(days));
        judged.succeeds().stdout.lines().next().unwrap_or_default().to_owned()
    };
    assert!(first_line("5").contains("that it never saw"), "{}", first_line("5"));
    let seen = first_line("20");
    assert!(seen.starts_with("NOT HELD OUT, 15 of 20 days were learnt from"), "{seen}");
    assert!(!seen.contains("never saw"), "{seen}");
}

#[test]
fn baselines_do_not_depend_on_what_the_policy_may_do() {
    let place = Place::new();
    let features = place.features("BPCL", 30);
    let envpool = bin("envpool").display().to_string();
    let baselines = |levels: &str| {
        let out = place.text(&format!("runs{levels}"));
        let server = ["--", &envpool, "--market", "nse", "--test-days", "10", levels, &features];
        short_training(&out).args(server).succeeds();
        report(&out)["baselines"].clone()
    };
    let (all, short_only) = (baselines("--levels=-1,0,1"), baselines("--levels=-1,-0.5"));
    for name in ["flat", "buy_and_hold", "always_short"] {
        assert!(all[name].is_object(), "no {name}");
        assert_eq!(all[name], short_only[name], "{name}");
    }
    assert_eq!(all["flat"]["trades"], 0);
    assert!(short_only["long_every_day"].is_null(), "a position that cannot be taken is no baseline");
}

#[test]
fn what_suits_the_actions_is_in_the_configuration_unless_something_else_was_given() {
    let place = Place::new();
    let (features, envpool) = (place.features("BPCL", 20), bin("envpool").display().to_string());
    let began = |actions: &str, flags: &[&str]| {
        let out = place.text(&[actions, &flags.concat()].concat());
        Run::new("train")
            .args(["ppo", "--quiet", "--out", &out, "--timesteps", "256", "--envs", "8", "--rollout", "16"])
            .args(flags)
            .args(["--", &envpool, "--envs", "8", "--test-days", "2", "--actions", actions, &features])
            .succeeds();
        let config = fs::read_to_string(run_directory(&out).join("config.toml")).expect("a configuration");
        let value = |key: &str| {
            let line = config.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_prefix("= "));
            line.unwrap_or_else(|| panic!("no {key} in {config}")).to_owned()
        };
        [value("initial_log_deviation"), value("learning_rate")]
    };
    let usual = "\"0.001..0\"";
    assert_eq!(began("discrete", &[]), ["0.0", usual]);
    assert_eq!(began("position", &[]), ["0.5", usual]);
    assert_eq!(began("direction-size", &[]), ["0.5", "\"0.003..0\""]);
    assert_eq!(began("position", &["--initial-log-deviation", "-1"]), ["-1.0", usual]);
    assert_eq!(began("direction-size", &["--learning-rate", "0.002"]), ["0.5", "0.002"]);
}

#[test]
fn equal_configurations_give_equal_bits() {
    let place = Place::new();
    let features = place.features("BPCL", 30);
    let envpool = bin("envpool").display().to_string();
    let weights = |name: &str| {
        let out = place.text(name);
        let args = ["--", &envpool, "--test-days", "5", "--envs", "16", "--market", "nse", &features];
        short_training(&out).args(args).succeeds();
        let (_, step) = newest_checkpoint(&run_directory(&out));
        fs::read(step.join("policy.safetensors")).expect("a policy")
    };
    assert_eq!(weights("one"), weights("two"));
}

#[test]
fn a_killed_run_leaves_a_checkpoint_that_loads() {
    let place = Place::new();
    let (features, out) = (place.features("BPCL", 30), place.text("runs"));
    let envpool = bin("envpool").display().to_string();
    let server = ["--", envpool.as_str(), "--test-days", "5", "--envs", "16", "--market", "nse", &features];
    let mut training = Run::endless_training(&out).args(server).start();
    let checkpoints = place.path("runs/latest/checkpoints");
    until("a checkpoint stands", || checkpoints.read_dir().is_ok_and(|steps| steps.count() > 0));
    training.signal(rustix::process::Signal::KILL);
    training.wait(std::time::Duration::from_secs(20));

    let checkpoint = newest_checkpoint(&run_directory(&out)).1.display().to_string();
    let judged = Run::new("train").args(["eval", "--checkpoint", &checkpoint]).args(server).succeeds();
    assert!(judged.stdout.to_lowercase().contains("buy and hold"), "{}", judged.stdout);
}

/// A browser that runs without a screen, where one is installed.
fn browser() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].into_iter().find(|name| {
        let said = std::process::Command::new(name).arg("--version").output();
        said.is_ok_and(|output| output.status.success())
    })
}

#[test]
fn the_report_opens_in_a_browser_without_a_network() {
    let place = Place::new();
    let (features, out, cpu) = (place.features("BPCL", 40), place.text("runs"), place.text("cpu.jsonl"));
    let envpool = bin("envpool").display().to_string();
    let sample = |t: f64| format!("{{\"kind\":\"sample\",\"t_s\":{t},\"cores\":[0.5,1.0]}}\n");
    fs::write(&cpu, (1..9).map(|t| sample(0.5 * f64::from(t))).collect::<String>()).expect("a log");
    let server = ["--", &envpool, "--market", "nse", "--test-days", "10", "--envs", "16", &features];
    short_training(&out).args(["--cpu-log", &cpu]).args(server).succeeds();
    let page = run_directory(&out).join("report.html");
    let Some(browser) = browser() else {
        eprintln!("skipped: there is no browser to open the report in");
        return;
    };
    let picture = place.text("report.png");
    let headless = |flags: &[&str]| {
        let profile = format!("--user-data-dir={}", place.text("profile"));
        Run::program(browser)
            .words("--headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1000,4200")
            .args(["--host-resolver-rules=MAP * ~NOTFOUND", &profile])
            .args(flags)
            .args([format!("file://{}", page.display())])
            .succeeds()
    };
    let dom = headless(&["--dump-dom"]).stdout;
    for expected in [
        "<h1>The policy",
        "SIMULATED",
        "Return since the first held-out bar",
        "Drawdown",
        "Where the time went",
        "Held by the policy",
        "What the cores did",
        "latest 100 episodes",
    ] {
        assert!(dom.contains(expected), "no {expected:?}");
    }
    assert!(dom.matches("<svg").count() >= 7, "{} charts", dom.matches("<svg").count());
    assert!(!dom.contains("could not be drawn"));
    headless(&[&format!("--screenshot={picture}")]);
    let png = fs::read(&picture).expect("a picture");
    assert!(png.starts_with(b"\x89PNG") && png.len() > 50_000, "{} bytes of picture", png.len());
}

#[test]
fn a_silent_server_is_waited_for_with_a_word() {
    let place = Place::new();
    let outcome = Run::new("train").args(["ppo", "--out", &place.text("runs"), "--", "sleep", "4"]).ends();
    assert_eq!(outcome.status.code(), Some(1));
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert!(lines[0].starts_with("train: waiting for sleep to be ready"), "{}", outcome.stderr);
    assert!(lines[1].contains("sleep") && lines.len() == 2, "{}", outcome.stderr);
    assert!(!place.path("runs").exists(), "no run has begun");
}
