//! Gates of the evolution strategies: learning without gradients reaches a known score. Run by `make gates`.

use pipe_tests::{Place, Run, bin, left};
use serde_json::Value;

/// Evolves a policy with the default hyper-parameters, and gives its report.
fn report_of(algorithm: &str, environment: &str, timesteps: &str, seed: u64) -> Value {
    let place = Place::new();
    let (out, envpool, seed) = (place.text("runs"), bin("envpool").display().to_string(), seed.to_string());
    Run::new("train")
        .args([algorithm, "--quiet", "--out", &out, "--timesteps", timesteps, "--seed", &seed, "--"])
        .args([&envpool, "--envs", "256", "--env", environment])
        .succeeds();
    left::report(&place.path("runs/latest"))
}

/// The mean of a policy's evaluation episodes, thousands of them, of 500 steps at most.
#[expect(clippy::print_stdout, reason = "a gate shows its figures")]
fn cartpole(algorithm: &str, timesteps: &str, seed: u64) -> f64 {
    let report = report_of(algorithm, "cartpole", timesteps, seed);
    let mean = report["policy"]["mean_episode_return"].as_f64().expect("episodes");
    println!("{algorithm} on cartpole, seed {seed}, {timesteps} steps: {mean:.1}");
    mean
}

#[test]
fn cartpole_is_solved_by_every_seed_of_openes_in_a_third_of_its_10_000_000_steps() {
    for seed in 1..=5 {
        let mean = cartpole("openes", "3000000", seed);
        assert!(mean >= 475.0, "seed {seed}: {mean}");
    }
}

#[test]
fn cartpole_is_solved_by_cem_and_ars() {
    for algorithm in ["cem", "ars"] {
        let mean = cartpole(algorithm, "3000000", 1);
        assert!(mean >= 475.0, "{algorithm}: {mean}");
    }
}

/// The best mean reward a step at cost 0.1, by dynamic programming; `gates.rs` computes it anew.
const OU_OPTIMUM: f64 = 0.03174;

#[test]
fn the_mean_reverting_market_is_traded_nearly_as_well_as_can_be() {
    let report = report_of("openes", "ou:rho=0.95,cost=0.1", "10000000", 1);
    let reached = report["policy"]["mean_reward_per_step"].as_f64().expect("a reward") / OU_OPTIMUM;
    println!("openes on ou at cost 0.1: {:.1} % of the optimum in 10,000,000 steps", 100.0 * reached);
    assert!(reached >= 0.95, "{reached}");
}
