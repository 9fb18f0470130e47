//! `train` where something is wrong with what it is given, or with what becomes of it: one line that says what,
//! and nothing left behind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pipe_tests::{Place, Run, bin, until};
use rustix::process::Signal;
use serde_json::Value;

const SHORT: &str = "--quiet --timesteps 1000 --envs 16 --rollout 8 --hidden 8 --device cpu --threads 1";

fn cartpole() -> [String; 5] {
    let envpool = bin("envpool").display().to_string();
    ["--".into(), envpool, "--envs=16".into(), "--env".into(), "cartpole".into()]
}

fn train_ppo(place: &Place, flags: &str) -> Run {
    Run::new("train").args(["ppo", "--out", &place.text("runs")]).words(SHORT).words(flags)
}

#[test]
fn what_no_machine_can_hold_is_named_before_anything_is_made_of_it() {
    let place = Place::new();
    // The last one is a rollout of eight samples to whoever multiplies in 64 bits.
    for flag in ["--hidden 65536,65536,65536", "--rollout 10000000000", "--rollout 2305843009213693953"] {
        let line = Run::new("train")
            .args(["ppo", "--quiet", "--device", "cpu", "--out", &place.text("runs")])
            .words(flag)
            .args(cartpole())
            .fails(1);
        assert!(line.contains("memory") && line.contains("--hidden") && line.contains("--rollout"), "{line}");
    }
    assert!(!place.path("runs").exists(), "nothing was begun");
    Run::new("train").words("devices --hidden 65536,65536,65536").fails(1);
    assert_eq!(Run::new("train").words("devices --hidden 0").ends().status.code(), Some(2));
}

#[test]
fn a_finished_run_is_judged_again_though_its_last_update_went_beyond_its_timesteps() {
    let place = Place::new();
    train_ppo(&place, "").args(cartpole()).succeeds();
    let run = place.path("runs/latest");
    let read = |file: &str| fs::read_to_string(run.join(file)).expect("a file");
    let policy = || serde_json::from_str::<Value>(&read("report.json")).expect("JSON")["policy"].clone();
    let (metrics, judged) = (read("metrics.jsonl"), policy());
    assert!(metrics.contains("\"step\":1024"), "1000 steps are eight updates of 128: {metrics}");
    fs::remove_file(run.join("report.json")).expect("it was there");
    Run::new("train").args(["ppo", "--quiet", "--resume"]).args([&run]).succeeds();
    assert_eq!((read("metrics.jsonl"), policy()), (metrics, judged));
    let fewer = ["ppo", "--timesteps", "1000", "--resume"];
    let line = Run::new("train").args(fewer).args([&run]).fails(2);
    assert!(line.contains("1024 steps already"), "{line}");
}

#[test]
fn seeds_that_no_configuration_can_hold_are_refused() {
    let place = Place::new();
    for flags in ["--seed 9223372036854775808", "--seeds 3 --seed 9223372036854775806"] {
        let line = train_ppo(&place, flags).args(cartpole()).fails(2);
        assert!(line.contains("--seed"), "{line}");
    }
    assert!(!place.path("runs").exists(), "nothing was begun");
}

#[test]
fn runs_that_begin_in_the_same_second_have_directories_of_their_own() {
    let place = Place::new();
    let mut runs: Vec<_> = (0..4).map(|_| train_ppo(&place, "").args(cartpole()).start()).collect();
    for run in &mut runs {
        assert!(run.wait(Duration::from_secs(120)).success());
    }
    let entries = fs::read_dir(place.path("runs")).expect("runs").flatten();
    let names: Vec<_> = entries.map(|entry| entry.file_name()).filter(|name| name != "latest").collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn a_group_without_held_out_days_says_that_nothing_is_judged() {
    let place = Place::new();
    let (features, envpool) = (place.features("BPCL", 10), bin("envpool").display().to_string());
    let server = ["--", &envpool, "--market", "nse", "--envs", "16", &features];
    let text = train_ppo(&place, "--seeds 2").args(server).succeeds().stdout;
    assert!(text.starts_with("2 seeds, NOT JUDGED") && !text.contains("NaN"), "{text}");
}

#[test]
fn a_limit_on_the_size_of_files_is_reported_as_a_full_disk_is() {
    let place = Place::new();
    // Nobody ignores its signal here. No file may grow beyond 128 KiB: the weights do not fit.
    let blocks = if cfg!(target_os = "linux") { "128" } else { "256" };
    let outcome = Run::program("bash")
        .args(["-c", "ulimit -f \"$1\"; shift; exec \"$@\"", "limited", blocks])
        .args([&bin("train").display().to_string(), "ppo", "--out", &place.text("runs")])
        .words(SHORT)
        .words("--hidden 256,256")
        .args(cartpole())
        .ends();
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.stderr);
    for words in ["File too large", "training goes on", "could not be written, and is lost"] {
        assert!(outcome.stderr.contains(words), "{words}: {}", outcome.stderr);
    }
    assert!(outcome.stdout.starts_with("cartpole:"), "{}", outcome.stdout);
}

#[test]
fn a_run_with_threads_that_were_measured_is_repeated_without_measuring() {
    let place = Place::new();
    let short = "--timesteps 1000 --rollout 8 --hidden 8";
    let said = Run::new("train")
        .args(["ppo", "--device", "cpu", "--out", &place.text("runs")])
        .words(short)
        .args(cartpole())
        .succeeds()
        .stderr;
    // A single core leaves nothing to be measured.
    let cores = std::thread::available_parallelism().expect("a number of cores").get();
    assert_eq!(said.contains("measured: acting on cpu"), cores > 1, "{said}");
    let read = |run: &str, file: &str| fs::read_to_string(place.path(run).join(file)).expect("a file");
    let config = read("runs/latest", "config.toml");
    assert!(!config.contains("update_threads = 0") && !config.contains("inference_threads = 0"), "{config}");
    let again = ["--config", &place.text("runs/latest/config.toml"), "--out", &place.text("again")];
    let said = Run::new("train").args(["ppo"]).args(again).succeeds().stderr;
    assert!(!said.contains("measured"), "{said}");
    assert_eq!(read("again/latest", "config.toml"), config);
    let weights = |run: &str| {
        fs::read(place.path(run).join("latest/checkpoints/1024/policy.safetensors")).expect("a policy")
    };
    assert!(weights("again") == weights("runs"), "the same bits");
}

/// Whether a training is at work in the directory `run`: it is what refuses to go on there.
fn is_at_work(run: &Path) -> bool {
    let go_on = ["ppo", "--quiet", "--timesteps", "1", "--resume"];
    Run::new("train").args(go_on).args([run]).ends().stderr.contains("at work")
}

#[test]
fn no_run_outlives_its_group_however_that_ended() {
    for signals in [&[Signal::KILL][..], &[Signal::HUP], &[Signal::INT, Signal::INT, Signal::INT]] {
        let place = Place::new();
        let out = place.text("runs");
        let mut group = Run::endless_training(&out).words("--seeds 2 --threads 1").args(cartpole()).start();
        let trains = |seed: &str| place.path("runs/latest").join(seed).join("metrics.jsonl").exists();
        until("its runs learn", || trains("seed-1"));
        for signal in signals {
            // It may be gone before the last of them.
            let gone = group.child.try_wait().expect("a child").is_some();
            if !gone {
                group.signal(*signal);
            }
        }
        group.wait(Duration::from_secs(60));
        let member = |seed: &str| place.path("runs/latest").join(seed);
        until("its runs have ended", || !is_at_work(&member("seed-1")) && !is_at_work(&member("seed-2")));
        let run = fs::canonicalize(place.path("runs/latest/seed-1")).expect("a run");
        assert!(has_checkpoint(&run), "what it had learnt is kept");
    }
}

fn has_checkpoint(run: &Path) -> bool {
    fs::read_dir(run.join("checkpoints")).is_ok_and(|mut entries| entries.next().is_some())
}
