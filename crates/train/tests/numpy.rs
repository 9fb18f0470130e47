//! PPO's arithmetic against an independent one in numpy (`ppo_reference.py`), to 1e-5: advantages, losses, and a
//! whole update with its minibatches, clipped gradients and Adam.

mod python;

use random::{Purpose, Stream};
use serde_json::{Map, Value, json};
use train::algorithms::ppo::{PpoConfig, Rates, learn};
use train::algorithms::rollout::Rollout;
use train::networks::device::Placement;
use train::networks::learner::{Learner, Policy};
use train::networks::network::{Activation, Distribution, NetworkShape};
use train::networks::torch::TorchLearner;
use train::training::stop::Stop;

const TOLERANCE: f64 = 1e-5;
const OBSERVATION_LEN: usize = 6;

/// Numbers compared one by one; how far apart they are at most.
fn check(what: &str, found: &[f32], expected: &Value) {
    let expected = expected.as_array().expect("numbers");
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let expected = expected.as_f64().expect("a number");
        assert!(
            (f64::from(*found) - expected).abs() < TOLERANCE,
            "{what} {i}: {found} instead of {expected}"
        );
    }
}

fn random_rollout(distribution: Distribution, stream: &mut Stream) -> Rollout {
    let (steps, n_envs) = (16, 8);
    let mut rollout = Rollout::new(steps, n_envs, OBSERVATION_LEN, distribution.action_len());
    let mut draw = |scale: f64| (scale * stream.normal()) as f32;
    for step in 0..steps {
        let seen: Vec<f32> = (0..n_envs * OBSERVATION_LEN).map(|_| draw(1.0)).collect();
        rollout.observe(step, (&seen[..]).into());
    }
    for row in 0..rollout.rows() {
        (rollout.rewards[row], rollout.values[row]) = (draw(1.0), draw(0.5));
        rollout.ended[row] = row % 11 == 3;
        rollout.final_values[row] = if row % 2 == 0 { 0.0 } else { draw(0.5) };
        for slot in &mut rollout.actions[row * distribution.action_len()..][..distribution.action_len()] {
            *slot = match distribution {
                Distribution::Categorical { n } => (row % n) as f32,
                Distribution::Gaussian { .. } => draw(1.0),
            };
        }
        // Around those of a fresh policy, so that ratios fall on both sides of both bounds.
        rollout.log_probabilities[row] = match distribution {
            Distribution::Categorical { n } => -(n as f32).ln() + draw(0.2),
            Distribution::Gaussian { dimensions } => {
                let z: f32 = rollout.action(row).iter().map(|a| 0.5 * a * a).sum();
                -z - 0.918_938_5 * dimensions as f32 + draw(0.2)
            }
        };
    }
    rollout
}

struct Update {
    config: PpoConfig,
    distribution: Distribution,
    activation: Activation,
    threads: usize,
}

fn named(shape: &NetworkShape, values: &[f32]) -> Map<String, Value> {
    let entry = |entry: train::networks::network::Entry| {
        (entry.name, json!({ "shape": entry.shape, "values": values[entry.range] }))
    };
    shape.layout().entries().into_iter().map(entry).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one case, told from beginning to end")]
fn advantages_losses_and_whole_updates_are_those_of_numpy() {
    let Some(python) = python::with_numpy() else { return };
    let mut stream = Stream::new(11, Purpose::Test, 0, 0);
    let last: Vec<f32> = (0..8).map(|_| stream.normal() as f32).collect();
    let (gamma, lambda) = (0.97_f32, 0.9_f32);
    let mut gae = random_rollout(Distribution::Categorical { n: 3 }, &mut stream);
    gae.estimate_advantages(&last, gamma, lambda);
    let gae_case = json!({
        "steps": gae.steps, "n_envs": gae.n_envs, "gamma": gamma, "lambda": lambda, "rewards": gae.rewards,
        "values": gae.values, "ended": gae.ended, "final_values": gae.final_values, "last_values": last,
    });

    let discrete = Distribution::Categorical { n: 3 };
    let base = PpoConfig { epochs: 3, minibatches: 4, learning_rate: 3e-3.into(), ..PpoConfig::default() };
    let updates = [
        Update { config: base.clone(), distribution: discrete, activation: Activation::Tanh, threads: 1 },
        Update {
            config: PpoConfig {
                value_clip: 0.2,
                entropy_coefficient: 0.05.into(),
                max_grad_norm: 0.05,
                ..base.clone()
            },
            distribution: discrete,
            activation: Activation::Relu,
            threads: 2,
        },
        Update {
            config: base,
            distribution: Distribution::Gaussian { dimensions: 2 },
            activation: Activation::Tanh,
            threads: 2,
        },
    ];
    let (mut cases, mut found) = (Vec::new(), Vec::new());
    for Update { config, distribution, activation, threads } in &updates {
        let shape = NetworkShape {
            observation_len: OBSERVATION_LEN,
            hidden: vec![16, 12],
            activation: *activation,
            distribution: *distribution,
        };
        let mut rollout = random_rollout(*distribution, &mut stream);
        rollout.estimate_advantages(&last, gamma, lambda);
        let placement = Placement { update_threads: *threads, ..Placement::one_thread() };
        let mut learner = TorchLearner::new(&shape, 5, placement).expect("a learner");
        let before = learner.parameters().expect("parameters");
        // The minibatches are drawn as the algorithm says, and handed over as they are.
        let mut minibatches = Vec::new();
        for epoch in 0..config.epochs {
            let mut order: Vec<u32> = (0..rollout.rows() as u32).collect();
            Stream::new(9, Purpose::Shuffle, 4, epoch as u64).shuffle(&mut order);
            minibatches.extend(order.chunks(rollout.rows() / config.minibatches).map(<[u32]>::to_vec));
        }
        let rates = Rates::at(config, 0.0);
        cases.push(json!({
            "parameters": named(&shape, &before),
            "activation": if *activation == Activation::Tanh { "tanh" } else { "relu" },
            "discrete": matches!(distribution, Distribution::Categorical { .. }),
            "observation_len": OBSERVATION_LEN, "observations": rollout.observations(), "actions":
            rollout.actions.chunks(distribution.action_len()).collect::<Vec<_>>(),
            "log_probabilities": rollout.log_probabilities, "values": rollout.values,
            "advantages": rollout.advantages, "returns": rollout.returns, "minibatches": minibatches,
            "learning_rate": rates.learning_rate, "clip": rates.clip, "value_clip": config.value_clip,
            "entropy_coefficient": rates.entropy_coefficient, "value_coefficient": config.value_coefficient,
            "max_grad_norm": config.max_grad_norm,
        }));
        let learnt = learn(config, rates, (9, 4), &rollout, *distribution, &mut learner, &Stop::never());
        found.push((shape, learner, learnt.expect("an update"), before));
    }

    let answer = python::answer(&python, "ppo_reference.py", &json!({ "gae": gae_case, "updates": cases }));
    check("advantage", &gae.advantages, &answer["advantages"]);
    for ((shape, learner, learnt, before), expected) in
        found.iter().zip(answer["updates"].as_array().expect("updates"))
    {
        let after = learner.parameters().expect("parameters");
        let moved = after.iter().zip(before).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(moved > 0.005, "an update that moves nothing proves nothing: {moved}");
        let moments = learner.optimiser().expect("moments");
        for (what, values) in [
            ("parameters", &after),
            ("first_moment", &moments.first_moment),
            ("second_moment", &moments.second_moment),
        ] {
            for (name, value) in named(shape, values) {
                let numbers: Vec<f32> = serde_json::from_value(value["values"].clone()).expect("numbers");
                check(&format!("{what} {name}"), &numbers, &expected[what][&name]);
            }
        }
        let losses = &learnt.losses;
        for (name, value) in [
            ("policy", losses.policy),
            ("value", losses.value),
            ("entropy", losses.entropy),
            ("approx_kl", losses.approx_kl),
            ("clipped", losses.clipped),
        ] {
            let expected = expected["losses"][name].as_f64().expect("a loss");
            assert!((value - expected).abs() < TOLERANCE, "{name}: {value} instead of {expected}");
        }
        let norm = expected["grad_norm"].as_f64().expect("a norm");
        assert!((learnt.grad_norm - norm).abs() < TOLERANCE * norm.max(1.0), "{} {norm}", learnt.grad_norm);
        assert!(losses.clipped > 0.05 && losses.clipped < 0.95, "both sides of the clip: {}", losses.clipped);
    }
}
