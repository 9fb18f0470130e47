//! `train ppo --resume`: an interrupted and resumed run is to the bit the one that was never interrupted, clocks
//! apart; a disk that takes no checkpoint stops nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pipe_tests::left::{assert_same_bits, checkpoints, metrics, newest_checkpoint, report, timeless_metrics};
use pipe_tests::{Place, Run, bin, root, until};
use rustix::process::Signal;
use serde_json::{Map, Value};

/// Interrupts a run by each of `signals` in turn and resumes it every time; then runs as many steps again without
/// an interruption, and compares what both left. Gives both directories.
fn check_that_interruptions_change_nothing(
    place: &Place,
    server: &[&str],
    signals: &[Signal],
) -> [PathBuf; 2] {
    let (broken, whole) = (place.text("broken"), place.text("whole"));
    let flags = "--quiet --envs 16 --rollout 16 --minibatches 2 --epochs 3 --hidden 16,16 --device cpu --threads 1 \
                 --seed 7 --learning-rate 0.002 --eval-every 3 --checkpoint-every 1500 --keep 2";
    let run = PathBuf::from(&broken).join("latest");
    // A run without an end is interrupted where it happens to be, so that no clock decides what is tested.
    let mut training = Run::new("train")
        .args(["ppo", "--out", &broken, "--timesteps", "100000000"])
        .words(flags)
        .args(server)
        .start();
    let mut seen = 0;
    for &signal in signals {
        // Checkpoints are written beside the training, by a thread that comes last where all cores are busy: a run that
        // is killed before the first has nothing to go on from.
        training.until("it has made some updates and a checkpoint", || {
            metrics(&run).len() >= seen + 20 && !checkpoints(&run).is_empty()
        });
        training.signal(signal);
        let status = training.wait(Duration::from_secs(60));
        if signal == Signal::KILL {
            assert!(status.code().is_none());
        } else {
            let expected = if signal == Signal::TERM { 143 } else { 130 };
            assert_eq!(status.code(), Some(expected), "{signal:?}");
            // What it had learnt up to the last whole update is kept.
            let last = metrics(&run).last().expect("a line")["step"].as_u64().expect("a step");
            assert!(newest_checkpoint(&run).0 + 256 >= last, "{last}");
        }
        seen = metrics(&run).len();
        training = Run::new("train").args(["ppo", "--quiet", "--resume"]).args([&run]).args(server).start();
    }
    training.until("it goes on", || metrics(&run).len() >= seen + 5);
    training.signal(Signal::KILL);
    training.wait(Duration::from_secs(20));

    let timesteps = (newest_checkpoint(&run).0 + 25 * 256).to_string();
    let resume = ["ppo", "--quiet", "--timesteps", &timesteps, "--resume"];
    Run::new("train").args(resume).args([&run]).args(server).succeeds();
    Run::new("train")
        .args(["ppo", "--out", &whole, "--timesteps", &timesteps])
        .words(flags)
        .args(server)
        .succeeds();
    let whole = fs::canonicalize(PathBuf::from(&whole).join("latest")).expect("a run");
    let broken = fs::canonicalize(run).expect("a run");
    assert_same_bits(&broken, &whole);
    [broken, whole]
}

/// A Python with the real TensorBoard, made on demand.
fn python_with_tensorboard() -> Option<PathBuf> {
    let python = root().join(".venv/bin/python");
    let works = |arguments: &[&str]| {
        Command::new(&python).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if !works(&["-c", ""]) {
        let venv = Command::new("python3").args(["-m", "venv"]).arg(root().join(".venv")).output();
        venv.ok().filter(|output| output.status.success())?;
    }
    let read = ["-c", "import tensorboard.backend.event_processing.event_accumulator"];
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "tensorboard==2.21.0"];
    (works(&read) || works(&install) && works(&read)).then_some(python)
}

/// What TensorBoard reads out of a run's directory, as JSON: tag to steps and values.
const READ_EVENTS: &str = "
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0}).Reload()
tags = events.Tags()['scalars']
print(json.dumps({tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}))
";

#[test]
fn a_killed_run_goes_on_as_if_it_had_never_stopped_and_tensorboard_reads_it() {
    let place = Place::new();
    let envpool = bin("envpool").display().to_string();
    let server = ["--", &envpool, "--envs", "16", "--env", "cartpole"];
    let runs =
        check_that_interruptions_change_nothing(&place, &server, &[Signal::KILL, Signal::TERM, Signal::KILL]);

    let Some(python) = python_with_tensorboard() else {
        eprintln!("skipped: reading events back needs Python with tensorboard");
        return;
    };
    for run in runs {
        let read = Run::program(&python).args(["-c", READ_EVENTS]).args([&run]).succeeds().stdout;
        let read: Map<String, Value> = serde_json::from_str(&read).expect("JSON");
        let lines = timeless_metrics(&run);
        for tag in ["charts/episodic_return", "losses/value_loss", "losses/approx_kl", "charts/learning_rate"]
        {
            let expected: Vec<(u64, f32)> = lines
                .iter()
                .filter_map(|line| Some((line["step"].as_u64()?, line.get(tag)?.as_f64()? as f32)))
                .collect();
            let found: Vec<(u64, f32)> = serde_json::from_value(read[tag].clone()).expect("steps and values");
            assert_eq!(found, expected, "{tag}");
        }
        assert!(read.contains_key("charts/SPS") && read.contains_key("time/update"));
    }
}

#[test]
fn a_market_with_validation_days_goes_on_as_if_it_had_never_stopped() {
    let place = Place::new();
    let features = place.features("BPCL", 30);
    let envpool = bin("envpool").display().to_string();
    let server = [
        "--",
        &envpool,
        "--market",
        "nse",
        "--test-days",
        "5",
        "--validation-days",
        "3",
        "--envs",
        "16",
        &features,
    ];
    let runs = check_that_interruptions_change_nothing(&place, &server, &[Signal::INT, Signal::KILL]);
    let reports = runs.map(|run| report(&run));
    // The same policy was chosen among the same ones, and judged alike.
    for key in ["policy", "baselines", "validation", "timesteps"] {
        assert!(!reports[0][key].is_null(), "no {key}");
        assert_eq!(reports[0][key], reports[1][key], "{key}");
    }
}

#[test]
fn only_a_run_can_be_resumed_and_only_as_it_is() {
    let place = Place::new();
    let (out, envpool) = (place.text("runs"), bin("envpool").display().to_string());
    let server = ["--", &envpool, "--envs", "8", "--env", "cartpole"];
    let train =
        |flags: &[&str]| Run::new("train").args([&["ppo", "--quiet"][..], flags].concat()).args(server);
    train(&["--out", &out, "--timesteps", "512", "--envs", "8", "--rollout", "16"]).succeeds();
    let latest = format!("{out}/latest");
    let said = train(&["--resume", &latest, "--gamma", "0.5"]).fails(2);
    assert!(said.contains("--timesteps"), "{said}");
    assert!(train(&["--resume", &place.text("nothing")]).fails(1).contains("nothing"));
    let other = ["--", &envpool, "--envs", "8", "--env", "ou"];
    let said = Run::new("train").args(["ppo", "--quiet", "--resume", &latest]).args(other).fails(1);
    assert!(said.contains('2'), "{said}");
    let said = Run::new("train").args(["ppo", "--quiet", "--resume", &latest, "--timesteps", "1"]).fails(2);
    assert!(said.contains("--timesteps 1: the run has made"), "{said}");
    // A run that is over goes on if it is told to.
    train(&["--resume", &latest, "--timesteps", "1024"]).succeeds();
    assert_eq!(newest_checkpoint(Path::new(&latest)).0, 1024);
}

#[test]
fn the_configuration_of_a_run_that_was_extended_repeats_it() {
    let place = Place::new();
    let (out, again, envpool) =
        (place.text("runs"), place.text("again"), bin("envpool").display().to_string());
    let server = ["--", &envpool, "--envs", "8", "--env", "cartpole"];
    // Everything that changes over a training does.
    let flags = "--quiet --envs 8 --rollout 16 --hidden 16 --device cpu --threads 1 --learning-rate 0.003..0 \
                 --clip 0.3..0.1 --entropy-coefficient 0.02..0";
    let first = ["ppo", "--out", &out, "--timesteps", "1280"];
    Run::new("train").args(first).words(flags).args(server).succeeds();
    let run = place.path("runs/latest");
    for timesteps in ["2560", "3200"] {
        let on = ["ppo", "--quiet", "--timesteps", timesteps, "--resume"];
        Run::new("train").args(on).args([&run]).args(server).succeeds();
    }
    let config = run.join("config.toml").display().to_string();
    Run::new("train").args(["ppo", "--quiet", "--config", &config, "--out", &again]).succeeds();
    assert_same_bits(&place.path("again/latest"), &run);
    let rate = |line: usize| metrics(&run)[line]["charts/learning_rate"].as_f64().expect("a rate");
    assert!(
        rate(9) < 0.0004 && rate(10) > 0.001,
        "the schedule begins to fall again where the end was moved"
    );
}

#[test]
fn a_full_disk_is_reported_and_training_goes_on() {
    let place = Place::new();
    let (out, envpool) = (place.text("runs"), bin("envpool").display().to_string());
    let train = bin("train").display().to_string();
    // No file may grow beyond 128 KiB: the weights do not fit, everything else does.
    let script = "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"";
    let blocks = if cfg!(target_os = "linux") { "128" } else { "256" };
    let outcome = Run::program("bash")
        .args([
            "-c", script, "limited", blocks, &train, "ppo", "--out", &out, "--hidden", "256,256", "--device",
            "cpu",
        ])
        .args(["--timesteps", "4096", "--envs", "8", "--rollout", "64", "--checkpoint-every", "1024"])
        .args(["--", &envpool, "--envs", "8", "--env", "cartpole"])
        .ends();
    // It learns to its end and judges the policy, but a policy that is nowhere is no success.
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.stderr);
    for words in ["checkpoint", "training goes on", "could not be written, and is lost"] {
        assert!(outcome.stderr.contains(words), "{words}: {}", outcome.stderr);
    }
    assert!(outcome.stdout.starts_with("cartpole:"), "{}", outcome.stdout);
    let run = PathBuf::from(&out).join("latest");
    assert_eq!(metrics(&run).last().expect("a line")["step"], 4096);
    assert_eq!(
        fs::read_dir(run.join("checkpoints")).expect("a directory").count(),
        0,
        "none is half written"
    );
}

#[test]
fn a_server_that_is_stopped_keeps_nobody_from_stopping_the_training() {
    let place = Place::new();
    let (out, log, address) = (place.text("runs"), place.path("log"), format!("unix:{}", place.text("s")));
    let server =
        Run::new("envpool").args(["--listen", &address, "--envs", "16", "--env", "cartpole"]).start();
    until("it listens", || place.path("s").exists());
    let run = place.path("runs/latest");
    let mut training = Run::endless_training(&out).args(["--connect", &address]).start_with_log(&log);
    training.until("it has made some updates", || metrics(&run).len() >= 20);
    server.signal(Signal::STOP);
    // Whatever was on its way has arrived; then nothing comes any more.
    let mut seen = 0;
    until("it waits for the server", || {
        std::thread::sleep(Duration::from_millis(500));
        let before = std::mem::replace(&mut seen, metrics(&run).len());
        before == seen
    });
    training.signal(Signal::TERM);
    // The answer of a slow server would be waited for for a minute.
    let status = training.wait(Duration::from_secs(30));
    assert_eq!(status.code(), Some(143));
    let said = fs::read_to_string(&log).expect("a log");
    assert!(
        said.starts_with("train: interrupted; what was learnt is in") && said.lines().count() == 1,
        "{said}"
    );
    // Where it is the environments' snapshot that the server did not give any more, it is the update before.
    let lines = metrics(&run);
    let [.., before, last] = &lines[..] else { panic!("two updates") };
    let [before, last] = [before, last].map(|line| line["step"].as_u64().expect("a step"));
    let kept = newest_checkpoint(&run).0;
    assert!(kept == last || kept == before, "{kept} of {last}: the last whole update is kept");
    server.signal(Signal::CONT);
    let on = ["ppo", "--quiet", "--timesteps", &(last + 1).to_string(), "--resume"];
    Run::new("train").args(on).args([&run]).args(["--connect", &address]).succeeds();
}
