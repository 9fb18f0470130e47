//! Gates: what takes minutes. Learning reaches a known score, and a run killed at any moment leaves a
//! checkpoint that loads. Run by `make gates`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use pipe_tests::{Place, Run, bin, until};
use random::{Purpose, Stream};
use serde_json::Value;

/// Trains on a known-answer environment and gives its metrics, a line a value.
fn metrics_of(environment: &str, seed: u64, flags: &str) -> Vec<Value> {
    let place = Place::new();
    let (out, envpool, seed) = (place.text("runs"), bin("envpool").display().to_string(), seed.to_string());
    Run::new("train")
        .args(["ppo", "--quiet", "--out", &out, "--device", "cpu", "--seed", &seed])
        .words(flags)
        .args(["--", &envpool, "--envs", "256", "--env", environment])
        .succeeds();
    let text = fs::read_to_string(format!("{out}/latest/metrics.jsonl")).expect("metrics");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn last_return(metrics: &[Value]) -> f64 {
    let returns = metrics.iter().rev().filter_map(|line| line["charts/episodic_return"].as_f64());
    returns.into_iter().next().expect("a return")
}

#[test]
fn cartpole_is_solved_within_300_000_steps_by_every_seed() {
    let flags = "--timesteps 300000 --envs 64 --rollout 32 --minibatches 8 --epochs 8 --learning-rate 1e-3";
    for seed in 1..=5 {
        let metrics = metrics_of("cartpole", seed, flags);
        // The mean return of the last 100 episodes, at its best along the way.
        let best = metrics
            .iter()
            .filter_map(|line| line["charts/episodic_return"].as_f64())
            .fold(f64::NEG_INFINITY, f64::max);
        println!("cartpole seed {seed}: best {best:.1}, last {:.1}", last_return(&metrics));
        assert!(best >= 475.0, "seed {seed}: {best}");
    }
}

/// The best mean reward a step of the Ornstein-Uhlenbeck market at cost `c`, by value iteration over a grid.
fn ou_optimum(rho: f64, cost: f64) -> f64 {
    let n = 401_usize;
    let (low, high) = (-6.0, 6.0);
    let width = (high - low) / (n - 1) as f64;
    let grid: Vec<f64> = (0..n).map(|i| low + width * i as f64).collect();
    let sigma = (1.0 - rho * rho).sqrt();
    // Transition probabilities: normal densities on the grid, normalised.
    let rows: Vec<Vec<f64>> = grid
        .iter()
        .map(|&x| {
            let density: Vec<f64> =
                grid.iter().map(|&y| (-0.5 * ((y - rho * x) / sigma).powi(2)).exp()).collect();
            let sum: f64 = density.iter().sum();
            density.into_iter().map(|p| p / sum).collect()
        })
        .collect();
    // Relative value iteration over (x, q).
    let mut value = vec![[0.0_f64; 3]; n];
    // The value of the centre without a position is held at 0, so what it gains in a sweep is the gain a step.
    let mut gain = 0.0;
    for _ in 0..600 {
        let expected: Vec<[f64; 3]> = rows
            .iter()
            .map(|row| {
                let mut sum = [0.0; 3];
                for (p, v) in row.iter().zip(&value) {
                    (0..3).for_each(|q| sum[q] += p * v[q]);
                }
                sum
            })
            .collect();
        let mut next = vec![[0.0_f64; 3]; n];
        for i in 0..n {
            let drift = (rho - 1.0) * grid[i];
            for q in 0..3 {
                let of = |target: usize| {
                    let (from, to) = (q as f64 - 1.0, target as f64 - 1.0);
                    to * drift - cost * (to - from).abs() + expected[i][target]
                };
                next[i][q] = of(0).max(of(1)).max(of(2));
            }
        }
        gain = next[n / 2][1];
        next.iter_mut().flatten().for_each(|v| *v -= gain);
        value = next;
    }
    gain
}

#[test]
fn the_mean_reverting_market_is_traded_nearly_as_well_as_can_be() {
    // The published values, as a check of the check.
    for (cost, known) in [(0.0, 0.03990), (0.1, 0.03174), (0.5, 0.0180)] {
        let optimum = ou_optimum(0.95, cost);
        assert!((optimum / known - 1.0).abs() < 0.01, "cost {cost}: {optimum} instead of {known}");
    }
    let flags = "--timesteps 2000000 --envs 256 --rollout 32 --minibatches 8 --learning-rate 1e-3";
    let metrics = metrics_of("ou:rho=0.95,cost=0.1", 1, flags);
    // The mean over the last fifth of training, in rewards a step.
    let tail: Vec<f64> = metrics
        .iter()
        .skip(metrics.len() * 4 / 5)
        .filter_map(|line| {
            Some(line["charts/episodic_return"].as_f64()? / line["charts/episodic_length"].as_f64()?)
        })
        .collect();
    let reached = tail.iter().sum::<f64>() / tail.len() as f64 / ou_optimum(0.95, 0.1);
    println!("ou at cost 0.1: {:.1} % of the optimum while still exploring", 100.0 * reached);
    assert!(reached >= 0.96, "{reached}");
}

#[test]
fn each_probe_is_learnt() {
    let flags = "--timesteps 60000 --envs 16 --rollout 32 --learning-rate 3e-3";
    // The best return of an episode of each probe.
    for probe in 1..=5 {
        let metrics = metrics_of(&format!("probe:{probe}"), 1, flags);
        let explained =
            metrics.iter().rev().find_map(|line| line["losses/value_loss"].as_f64()).expect("a value loss");
        println!("probe {probe}: return {:.3}, value loss {explained:.5}", last_return(&metrics));
        assert!(explained < 0.05, "probe {probe}: the value is not learnt: {explained}");
        if probe >= 4 {
            assert!(last_return(&metrics) > 0.9, "probe {probe}: {}", last_return(&metrics));
        }
    }
}

#[test]
fn a_run_killed_at_any_moment_leaves_a_checkpoint_that_loads() {
    let place = Place::new();
    let features = place.features("BPCL", 20);
    let envpool = bin("envpool").display().to_string();
    let server = ["--", envpool.as_str(), "--test-days", "5", "--envs", "16", "--market", "nse", &features];
    let mut stream = Stream::new(1, Purpose::Test, 0, 0);
    for round in 0..20 {
        let out = place.text(&format!("runs{round}"));
        let mut training =
            Run::endless_training(&out).words("--rollout 16 --checkpoint-every 2000").args(server).start();
        let checkpoints = PathBuf::from(&out).join("latest/checkpoints");
        until("a checkpoint stands", || steps(&checkpoints).next().is_some());
        sleep(Duration::from_millis(stream.below(1500)));
        training.signal(rustix::process::Signal::KILL);
        training.wait(Duration::from_secs(20));
        // Every directory with a number is whole, not only the newest.
        for step in steps(&checkpoints) {
            let step = step.display().to_string();
            Run::new("train").args(["eval", "--checkpoint", &step]).args(server).succeeds();
        }
    }
}

fn steps(checkpoints: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(checkpoints).ok().into_iter().flatten();
    entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        path.file_name()?.to_str()?.parse::<u64>().ok().map(|_| path.clone())
    })
}
