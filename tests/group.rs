//! Several runs as one: `train ppo --seeds` and `--walk-forward`.

use std::fs;
use std::time::Duration;

use pipe_tests::left::{assert_same_bits, checkpoints, newest_checkpoint, report};
use pipe_tests::{Place, Run, bin, until};
use rustix::process::Signal;

#[test]
fn seeds_are_runs_of_their_own_and_the_report_is_of_all() {
    let place = Place::new();
    let (out, alone, envpool) =
        (place.text("runs"), place.text("alone"), bin("envpool").display().to_string());
    let flags = "--quiet --timesteps 2048 --envs 8 --rollout 32 --hidden 16 --device cpu --threads 1";
    let server = ["--", &envpool, "--envs", "8", "--env", "cartpole"];
    let train =
        |more: &[&str]| Run::new("train").args(["ppo"]).words(flags).args(more).args(server).succeeds();
    let summary = train(&["--out", &out, "--seeds", "3", "--seed", "4"]).stdout;
    assert!(summary.starts_with("3 seeds:") && summary.contains("interquartile mean"), "{summary}");
    let group = place.path("runs/latest");
    let found = report(&group);
    assert_eq!(found["seeds"], serde_json::json!([4, 5, 6]));
    assert!(fs::read_to_string(group.join("report.html")).expect("a page").contains("seed-6"));
    // Each is what it would have been by itself.
    train(&["--out", &alone, "--seed", "5"]);
    let own = report(&place.path("alone/latest"));
    assert_eq!(found["runs"][1]["policy"], own["policy"]);
    assert_eq!(report(&group.join("seed-5"))["policy"], own["policy"]);
}

#[test]
fn a_walk_forward_judges_every_held_out_day_once_by_a_policy_that_never_saw_it() {
    let place = Place::new();
    let (features, out) = (place.features("BPCL", 40), place.text("runs"));
    let envpool = bin("envpool").display().to_string();
    let summary = Run::new("train")
        .words("ppo --quiet --timesteps 2048 --envs 8 --rollout 32 --hidden 16 --device cpu --walk-forward 3")
        .args(["--embargo-days", "2", "--out", &out])
        .args(["--", &envpool, "--market", "nse", "--test-days", "12", "--envs", "8", &features])
        .succeeds()
        .stdout;
    assert!(summary.starts_with("Walking forward over 3 windows of SIMULATED data"), "{summary}");
    let group = place.path("runs/latest");
    let mut next_day = None;
    for n in 1..=3 {
        let window = report(&group.join(format!("window-{n}")));
        let market = &window["market"];
        let day = |key: &str, end: &str| market[key][end].as_u64().expect("a day");
        assert_eq!(day("test", "last") - day("test", "first"), 3, "four of twelve days");
        assert_eq!(day("test", "first") - day("train", "last"), 3, "two days of embargo");
        assert_eq!(day("train", "first"), 0, "windows expand");
        assert_eq!(window["seen_days"], 0);
        assert_eq!(window["policy"]["days"], 4);
        assert!(next_day.is_none_or(|day_due| day_due == day("test", "first")));
        next_day = Some(day("test", "last") + 1);
    }
    assert_eq!(next_day, Some(40));
    let compounded = report(&group)["compounded_return"].as_f64().expect("a return");
    let product: f64 = (1..=3)
        .map(|n| {
            1.0 + report(&group.join(format!("window-{n}")))["policy"]["total_return"]
                .as_f64()
                .expect("a return")
        })
        .product();
    assert!((compounded - (product - 1.0)).abs() < 1e-12);
}

#[test]
fn an_interrupted_group_goes_on_whole_and_comes_to_what_it_would_have_come_to() {
    let place = Place::new();
    let (out, whole, log) = (place.text("runs"), place.text("whole"), place.path("log"));
    let (features, envpool) = (place.features("BPCL", 20), bin("envpool").display().to_string());
    let server = ["--", &envpool, "--market", "nse", "--test-days", "5", "--envs", "8", &features];
    let flags = "--quiet --envs 8 --rollout 16 --hidden 16 --device cpu --threads 1 --checkpoint-every 1024 \
                 --learning-rate 0.002 --seeds 3 --seed 4";
    // Without an end, so that no clock decides what is tested; the third run may not have begun.
    let mut group = Run::new("train")
        .args(["ppo", "--out", &out, "--timesteps", "100000000"])
        .words(flags)
        .args(server)
        .start_with_log(&log);
    let directory = place.path("runs/latest");
    until("a run has learnt", || {
        ["seed-4", "seed-5"].iter().any(|seed| checkpoints(&directory.join(seed)).len() > 2)
    });
    group.signal(Signal::TERM);
    assert_eq!(group.wait(Duration::from_secs(60)).code(), Some(143));
    let said = fs::read_to_string(&log).expect("a log");
    assert!(said.contains("(go on with `train ppo --resume"), "{said}");

    let made =
        |seed: u64| checkpoints(&directory.join(format!("seed-{seed}"))).pop().map_or(0, |(step, _)| step);
    let furthest = (4..=6).map(made).max().unwrap_or(0);
    let timesteps = (furthest + 10 * 128).to_string();
    let resume = ["ppo", "--quiet", "--timesteps", &timesteps, "--resume"];
    let summary = Run::new("train").args(resume).args([&directory]).args(server).succeeds().stdout;
    assert!(summary.contains("interquartile mean"), "{summary}");
    Run::new("train")
        .args(["ppo", "--out", &whole, "--timesteps", &timesteps])
        .words(flags)
        .args(server)
        .succeeds();
    let [found, expected] = [directory.clone(), place.path("whole/latest")];
    for seed in ["seed-4", "seed-5", "seed-6"] {
        assert_eq!(newest_checkpoint(&found.join(seed)).0.to_string(), timesteps);
        assert_same_bits(&found.join(seed), &expected.join(seed));
    }
    let [found, expected] = [report(&found), report(&expected)];
    assert_eq!(found["runs"], expected["runs"]);
    // Each is one of three tries on these days.
    for run in found["runs"].as_array().expect("runs") {
        let deflated = &run["deflated_sharpe"];
        assert!(deflated.is_null() || deflated["trials"] == 3, "{deflated}");
    }
    // Nothing is left to be done, and that is quickly reported.
    let again = Run::new("train").args(["ppo", "--quiet", "--resume"]).args([&directory]).succeeds().stdout;
    assert_eq!(again, summary);
    let other = Run::new("train").args(["openes", "--quiet", "--resume"]).args([&directory]);
    assert!(other.fails(2).contains("train ppo"));
}
