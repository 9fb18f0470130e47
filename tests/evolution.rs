//! `train openes`, `cem` and `ars` from outside: equal bits for any number of threads, whatever is kept in memory,
//! and through interruptions; what is refused.

use std::path::PathBuf;
use std::time::Duration;

use pipe_tests::left::{assert_same_bits, metrics, newest_checkpoint};
use pipe_tests::{Place, Run, bin, until};
use rustix::process::Signal;

/// Trains on three threads without room for perturbations, interrupted twice, and on one thread with them kept
/// and in one go, and compares what both left.
fn check_that_nothing_but_the_seed_matters(algorithm: &str, server: &[&str], own: &str) {
    let place = Place::new();
    let (broken, whole) = (place.text("broken"), place.text("whole"));
    let flags = format!("--quiet --hidden 16,16 --seed 7 --checkpoint-every 1 --step-limit 40 {own}");
    let run = PathBuf::from(&broken).join("latest");
    let mut training = Run::new("train")
        .args([algorithm, "--out", &broken, "--timesteps", "100000000", "--threads", "3"])
        .words(&flags)
        .args(["--noise-megabytes", "0"])
        .args(server)
        .start();
    for signal in [Signal::TERM, Signal::KILL] {
        let seen = metrics(&run).len();
        until("it has made some updates", || metrics(&run).len() >= seen + 5);
        training.signal(signal);
        let status = training.wait(Duration::from_secs(60));
        assert_eq!(status.code(), (signal == Signal::TERM).then_some(143));
        training =
            Run::new("train").args([algorithm, "--quiet", "--resume"]).args([&run]).args(server).start();
    }
    training.signal(Signal::KILL);
    training.wait(Duration::from_secs(20));

    let timesteps = (newest_checkpoint(&run).0 + 2000).to_string();
    let resume = [algorithm, "--quiet", "--timesteps", &timesteps, "--resume"];
    Run::new("train").args(resume).args([&run]).args(server).succeeds();
    Run::new("train")
        .args([algorithm, "--out", &whole, "--timesteps", &timesteps, "--threads", "1"])
        .words(&flags)
        .args(server)
        .succeeds();
    let [broken, whole] = [run, PathBuf::from(&whole).join("latest")];
    assert_same_bits(&broken, &whole);
}

#[test]
fn neither_threads_nor_memory_nor_interruptions_change_a_bit() {
    let place = Place::new();
    let (features, envpool) = (place.features("BPCL", 20), bin("envpool").display().to_string());
    let market = ["--", &envpool, "--envs", "24", "--market", "nse", "--test-days", "5", &features];
    let cartpole = ["--", &envpool, "--envs", "24", "--env", "cartpole"];
    check_that_nothing_but_the_seed_matters("openes", &market, "--learning-rate 0.02 --episodes 2");
    check_that_nothing_but_the_seed_matters("openes", &cartpole, "--learning-rate 0.02 --weight-decay 0.01");
    check_that_nothing_but_the_seed_matters("cem", &cartpole, "--extra-sigma 0.1");
    check_that_nothing_but_the_seed_matters(
        "ars",
        &cartpole,
        "--learning-rate 0.02 --normalize-observation false",
    );
}

#[test]
fn what_makes_no_sense_is_refused_in_one_line_that_names_the_way_out() {
    let place = Place::new();
    let (out, envpool) = (place.text("runs"), bin("envpool").display().to_string());
    let train = |words: &str| {
        let server = ["--", &envpool, "--envs", "32", "--env", "cartpole"];
        Run::new("train").words(words).args(["--quiet", "--out", &out]).args(server)
    };
    assert!(train("openes --envs 30 --episodes 4").fails(1).contains("multiple of 8"));
    assert!(train("openes --device cuda").fails(2).contains("--device"));
    assert!(train("openes --sigma 0").fails(2).contains("--sigma"));
    assert!(train("cem --elite 1.5").fails(2).contains("--elite"));
    assert!(train("ars --top 0").fails(2).contains("--top"));
    train("ars --timesteps 1000").succeeds();
    let run = format!("{out}/latest");
    let other = Run::new("train").args(["openes", "--resume", &run, "--connect", "unix:nowhere"]);
    assert!(other.fails(2).contains("train ars"));
}
