//! Several runs as one: `train ppo --seeds` and `--walk-forward`.

use std::fs;

use pipe_tests::left::report;
use pipe_tests::{Place, Run, bin};

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
