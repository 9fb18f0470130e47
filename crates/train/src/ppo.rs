//! Proximal policy optimisation (Schulman et al. 2017), with the details that matter in practice (Huang et
//! al. 2022): the hyper-parameters on top, the loop below, from top to bottom.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use random::{Purpose, Stream};
use serde::{Deserialize, Serialize};
use wire::Actions;
use wire::spec::ActionSpace;

use crate::env::VecEnv;
use crate::learner::{HeadGradients, Heads, Learner, LossSums};
use crate::network::Distribution;
use crate::reward_scaler::RewardScaler;
use crate::rollout::Rollout;

/// The hyper-parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PpoConfig {
    /// Environment steps to learn from, over all environments; rounded up to whole updates.
    pub timesteps: u64,
    /// Steps of each environment between updates.
    pub rollout: usize,
    /// Passes over each rollout.
    pub epochs: usize,
    /// Parts that each pass is split into, one step of Adam each.
    pub minibatches: usize,
    /// Step size of Adam at the start.
    pub learning_rate: f64,
    /// Whether the step size falls linearly to 0 over the training.
    pub anneal_learning_rate: bool,
    /// γ: what a reward one step later is worth.
    pub gamma: f64,
    /// λ of generalised advantage estimation: 0 trusts the value network, 1 the rewards.
    pub gae_lambda: f64,
    /// ε: how far the ratio of new to old probability may go before it earns nothing more.
    pub clip: f64,
    /// Weight of the entropy, which keeps the policy from settling too soon.
    pub entropy_coefficient: f64,
    /// Weight of the value loss.
    pub value_coefficient: f64,
    /// The gradient's norm over all parameters is clipped to this.
    pub max_grad_norm: f64,
    /// Stop the passes over a rollout once the policy has moved 1.5 times this far, in Kullback-Leibler
    /// divergence; 0 never stops.
    pub target_kl: f64,
    /// Whether rewards are divided by the root mean square of the discounted return so far.
    pub normalize_reward: bool,
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            timesteps: 1_000_000,
            rollout: 128,
            epochs: 4,
            minibatches: 4,
            learning_rate: 1e-3,
            anneal_learning_rate: true,
            gamma: 0.99,
            gae_lambda: 0.95,
            clip: 0.2,
            entropy_coefficient: 0.01,
            value_coefficient: 0.5,
            max_grad_norm: 0.5,
            target_kl: 0.0,
            normalize_reward: true,
        }
    }
}

impl PpoConfig {
    /// Updates that the timesteps come to.
    pub fn updates(&self, n_envs: usize) -> u64 {
        self.timesteps.div_ceil((self.rollout * n_envs) as u64)
    }
}

/// Where the time of the loop went.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LoopTimes {
    /// Between sending actions and having the answer.
    pub environment: Duration,
    /// All else of acting: the networks, drawing actions, keeping what came of them.
    pub inference: Duration,
    /// Advantages and all passes over the rollout.
    pub update: Duration,
}

/// What one update says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateReport<'a> {
    /// Updates made, this one included.
    pub update: u64,
    /// Environment steps made.
    pub timesteps: u64,
    /// Step size that it used.
    pub learning_rate: f64,
    /// Losses and their companions, means over the samples of all passes.
    pub losses: LossSums,
    /// See [`Rollout::explained_variance`].
    pub explained_variance: f64,
    /// Mean norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Passes made before the divergence stopped them.
    pub epochs: usize,
    /// Return and length of each episode that ended.
    pub episodes: &'a [(f64, u32)],
    /// Where the time went since the start.
    pub times: LoopTimes,
    /// The reward scaler's state, for a checkpoint.
    pub reward_scaler: &'a RewardScaler,
}

/// Who is told of each update, and may try the policy. An error ends the training.
pub type Observer<'a> = dyn FnMut(&UpdateReport<'_>, &mut dyn Learner) -> Result<()> + 'a;

/// Learns a policy for the environments `env` with actions in `space`.
///
/// # Errors
/// If the environments or the device fail, the gradient is not finite, or the observer says so.
pub fn train(
    config: &PpoConfig,
    seed: u64,
    space: &ActionSpace,
    env: &mut dyn VecEnv,
    learner: &mut dyn Learner,
    observer: &mut Observer<'_>,
) -> Result<()> {
    env.reset().context("resetting the environments")?;
    let (n_envs, observation_len) = (env.slab().layout().n_envs(), env.slab().layout().obs_len());
    let distribution = Distribution::over(space);
    let mut rollout = Rollout::new(config.rollout, n_envs, observation_len, distribution.action_len());
    let mut scaler = RewardScaler::new(n_envs, config.gamma);
    let mut outgoing = Outgoing::new(space);
    let mut order: Vec<u32> = (0..rollout.rows() as u32).collect();
    let mut episodes = Vec::new();
    let mut times = LoopTimes::default();

    let updates = config.updates(n_envs);
    for update in 0..updates {
        let done = if config.anneal_learning_rate { update as f64 / updates as f64 } else { 0.0 };
        let learning_rate = config.learning_rate * (1.0 - done);

        // Act.
        let acting = Instant::now();
        let mut waited = Duration::ZERO;
        rollout.begin();
        episodes.clear();
        for step in 0..config.rollout {
            let mut stream = Stream::new(seed, Purpose::Action, update, step as u64);
            let rows = rollout.rows_of(step);
            let heads = learner.infer(rollout.observe(step, env.slab().obs()))?;
            rollout.values[rows.clone()].copy_from_slice(heads.values);
            for (row, outputs) in rows.clone().zip(heads.policy.chunks_exact(distribution.outputs())) {
                let action = row * distribution.action_len()..(row + 1) * distribution.action_len();
                let action = &mut rollout.actions[action];
                rollout.log_probabilities[row] =
                    distribution.sample(outputs, heads.log_deviation, &mut stream, action);
            }
            let len = distribution.action_len();
            let actions = outgoing.fill(&rollout.actions[rows.start * len..rows.end * len]);
            let sent = Instant::now();
            env.step(actions).context("stepping the environments")?;
            waited += sent.elapsed();

            let slab = env.slab();
            let ended = |env: usize| slab.terminated()[env] | slab.truncated()[env] != 0;
            rows.clone().enumerate().for_each(|(env, row)| rollout.ended[row] = ended(env));
            if config.normalize_reward {
                scaler.apply(slab.reward(), ended, &mut rollout.rewards[rows.clone()]);
            } else {
                rollout.rewards[rows.clone()].copy_from_slice(slab.reward());
            }
            for (record, _, final_observation) in slab.finished() {
                let env = record.env as usize;
                rollout.final_values[rows.start + env] = 0.0;
                // Only the clock ended a truncated episode: what would have come is the value of where it stood.
                if slab.terminated()[env] == 0 {
                    rollout.truncate(rows.start + env, final_observation);
                }
                episodes.push((record.episode_return, record.length));
            }
        }
        let values = learner.infer(rollout.truncated_observations())?.values;
        rollout.set_truncated_values(values);
        let last_values = learner.infer(env.slab().obs())?.values;
        times.environment += waited;
        times.inference += acting.elapsed().saturating_sub(waited);

        // Learn.
        let begun = Instant::now();
        rollout.estimate_advantages(last_values, config.gamma as f32, config.gae_lambda as f32);
        let (mut losses, mut grad_norms, mut samples, mut steps, mut epochs) =
            (LossSums::default(), 0.0, 0, 0, 0);
        for epoch in 0..config.epochs {
            Stream::new(seed, Purpose::Shuffle, update, epoch as u64).shuffle(&mut order);
            let mut kl = 0.0;
            for minibatch in order.chunks(rollout.rows().div_ceil(config.minibatches)) {
                let loss = ClippedLoss::new(config, distribution, &rollout, minibatch);
                let sums =
                    learner.differentiate(rollout.observations(), minibatch, &|rows, heads, gradients| {
                        loss.evaluate(rows, heads, gradients)
                    })?;
                grad_norms += learner.step(learning_rate, config.max_grad_norm)?;
                losses += sums;
                kl += sums.approx_kl;
                samples += minibatch.len();
                steps += 1;
            }
            epochs += 1;
            if config.target_kl > 0.0 && kl / rollout.rows() as f64 > 1.5 * config.target_kl {
                break;
            }
        }
        times.update += begun.elapsed();

        let report = UpdateReport {
            update: update + 1,
            timesteps: (update + 1) * rollout.rows() as u64,
            learning_rate,
            losses: losses.over(samples as f64),
            explained_variance: rollout.explained_variance(),
            grad_norm: grad_norms / f64::from(steps),
            epochs,
            episodes: &episodes,
            times,
            reward_scaler: &scaler,
        };
        observer(&report, learner)?;
    }
    Ok(())
}

/// The clipped surrogate, the squared error of the values and the entropy, for one minibatch.
struct ClippedLoss<'a> {
    config: &'a PpoConfig,
    distribution: Distribution,
    rollout: &'a Rollout,
    advantage_mean: f32,
    advantage_scale: f32,
    /// One over the samples of the minibatch.
    weight: f32,
}

impl<'a> ClippedLoss<'a> {
    fn new(config: &'a PpoConfig, distribution: Distribution, rollout: &'a Rollout, rows: &[u32]) -> Self {
        let n = rows.len() as f64;
        let advantages = || rows.iter().map(|&row| f64::from(rollout.advantages[row as usize]));
        let mean = advantages().sum::<f64>() / n;
        // One sample has no deviation; it is then 0 after centring, and nothing is learnt from it.
        let deviation = (advantages().map(|a| (a - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt();
        Self {
            config,
            distribution,
            rollout,
            advantage_mean: mean as f32,
            advantage_scale: (1.0 / (deviation + 1e-8)) as f32,
            weight: (1.0 / n) as f32,
        }
    }

    fn evaluate(&self, rows: &[u32], heads: Heads<'_>, gradients: &mut HeadGradients<'_>) -> LossSums {
        let (config, rollout, outputs) = (self.config, self.rollout, self.distribution.outputs());
        let clip = config.clip as f32;
        let by_entropy = -config.entropy_coefficient as f32 * self.weight;
        let mut sums = LossSums::default();
        for (i, &row) in rows.iter().enumerate() {
            let row = row as usize;
            let here = i * outputs..(i + 1) * outputs;
            let (action, scratch) = (rollout.action(row), &mut gradients.policy[here.clone()]);
            let (log_probability, entropy) =
                self.distribution.judge(&heads.policy[here], heads.log_deviation, action, scratch);
            let log_ratio = log_probability - rollout.log_probabilities[row];
            let ratio = log_ratio.exp();
            let advantage = (rollout.advantages[row] - self.advantage_mean) * self.advantage_scale;
            let unclipped = -advantage * ratio;
            let clipped = -advantage * ratio.clamp(1.0 - clip, 1.0 + clip);
            // Where the clipped term is the larger one it is constant, and its gradient 0.
            let slope = if unclipped >= clipped { unclipped } else { 0.0 };
            self.distribution.gradient(
                (heads.log_deviation, action, entropy),
                (slope * self.weight, by_entropy),
                scratch,
                gradients.log_deviation,
            );
            let error = heads.values[i] - rollout.returns[row];
            gradients.values[i] = config.value_coefficient as f32 * self.weight * error;

            sums.policy += f64::from(unclipped.max(clipped));
            sums.value += f64::from(0.5 * error * error);
            sums.entropy += f64::from(entropy);
            sums.approx_kl += f64::from(ratio - 1.0 - log_ratio);
            sums.clipped += f64::from(u8::from((ratio - 1.0).abs() > clip));
        }
        sums
    }
}

/// Actions in the form in which they leave: indices, or numbers clipped to the bounds.
pub struct Outgoing {
    bounds: Option<(Vec<f32>, Vec<f32>)>,
    indices: Vec<i32>,
    numbers: Vec<f32>,
}

impl Outgoing {
    /// For actions in `space`.
    pub fn new(space: &ActionSpace) -> Self {
        let bounds = match space {
            ActionSpace::Discrete { .. } => None,
            ActionSpace::Box { low, high } => Some((low.clone(), high.clone())),
        };
        Self { bounds, indices: Vec::new(), numbers: Vec::new() }
    }

    /// The form in which `actions`, as they are stored, leave.
    pub fn fill(&mut self, actions: &[f32]) -> Actions<'_> {
        let Some((low, high)) = &self.bounds else {
            self.indices.clear();
            self.indices.extend(actions.iter().map(|&action| action as i32));
            return Actions::Discrete(&self.indices);
        };
        let bounds = low.iter().zip(high).cycle();
        self.numbers.clear();
        self.numbers
            .extend(actions.iter().zip(bounds).map(|(action, (low, high))| action.max(*low).min(*high)));
        Actions::Continuous(&self.numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_PI: f64 = 2.0 * std::f64::consts::PI;

    /// The loss of a whole minibatch as the papers write it, in `f64`.
    fn textbook(
        config: &PpoConfig,
        distribution: Distribution,
        rollout: &Rollout,
        rows: &[u32],
        heads: (&[f64], &[f64], &[f64]),
    ) -> f64 {
        let n = rows.len() as f64;
        let advantages: Vec<f64> = rows.iter().map(|&row| rollout.advantages[row as usize].into()).collect();
        let mean = advantages.iter().sum::<f64>() / n;
        let deviation = (advantages.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        let mut loss = 0.0;
        for (i, &row) in rows.iter().enumerate() {
            let row = row as usize;
            let outputs = &heads.0[i * distribution.outputs()..][..distribution.outputs()];
            let action = rollout.action(row);
            let (log_probability, entropy) = match distribution {
                Distribution::Categorical { .. } => {
                    let sum: f64 = outputs.iter().map(|x| x.exp()).sum();
                    let p: Vec<f64> = outputs.iter().map(|x| x.exp() / sum).collect();
                    (p[action[0] as usize].ln(), -p.iter().map(|p| p * p.ln()).sum::<f64>())
                }
                Distribution::Gaussian { .. } => {
                    let one = |i: usize| {
                        let deviation = heads.2[i].exp();
                        let z = (f64::from(action[i]) - outputs[i]) / deviation;
                        let log_density = (-0.5 * z * z).exp() / (deviation * TWO_PI.sqrt());
                        (log_density.ln(), 0.5 * (TWO_PI * std::f64::consts::E * deviation * deviation).ln())
                    };
                    (0..outputs.len()).map(one).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1))
                }
            };
            let ratio = (log_probability - f64::from(rollout.log_probabilities[row])).exp();
            let advantage = (advantages[i] - mean) / deviation;
            let surrogate =
                (ratio * advantage).min(ratio.clamp(1.0 - config.clip, 1.0 + config.clip) * advantage);
            let error = heads.1[i] - f64::from(rollout.returns[row]);
            loss += -surrogate - config.entropy_coefficient * entropy
                + config.value_coefficient * 0.5 * error * error;
        }
        loss / n
    }

    fn check(distribution: Distribution, log_deviation: &[f32]) {
        let config = PpoConfig { entropy_coefficient: 0.05, ..PpoConfig::default() };
        let n = 24;
        let mut stream = Stream::new(1, Purpose::Test, 0, 0);
        let mut rollout = Rollout::new(n, 2, 1, distribution.action_len());
        let mut draw = || stream.normal() as f32;
        let outputs: Vec<f32> = (0..n * distribution.outputs()).map(|_| draw()).collect();
        let values: Vec<f32> = (0..n).map(|_| draw()).collect();
        let rows: Vec<u32> = (0..n as u32).map(|i| (i * 5 + 3) % 48).collect();
        for row in 0..rollout.rows() {
            (rollout.advantages[row], rollout.returns[row]) = (draw(), draw());
            let (action, outputs) = (&mut rollout.actions, distribution.outputs());
            for slot in &mut action[row * distribution.action_len()..][..distribution.action_len()] {
                *slot = match distribution {
                    Distribution::Categorical { .. } => (row % outputs) as f32,
                    Distribution::Gaussian { .. } => draw(),
                };
            }
        }
        // Ratios on both sides of both bounds.
        for (outputs, &row) in outputs.chunks_exact(distribution.outputs()).zip(&rows) {
            let action = rollout.action(row as usize);
            let (now, _) = distribution.judge(outputs, log_deviation, action, &mut vec![0.0; outputs.len()]);
            rollout.log_probabilities[row as usize] = now + 0.25 * draw();
        }
        let mut by_outputs = vec![0.0; outputs.len()];
        let mut by_values = vec![0.0; n];
        let mut by_deviation = vec![0.0; log_deviation.len()];
        let loss = ClippedLoss::new(&config, distribution, &rollout, &rows);
        let heads = Heads { policy: &outputs, values: &values, log_deviation };
        let sums = loss.evaluate(
            &rows,
            heads,
            &mut HeadGradients {
                policy: &mut by_outputs,
                values: &mut by_values,
                log_deviation: &mut by_deviation,
            },
        );
        assert!(sums.clipped > 2.0 && sums.clipped < n as f64 - 2.0, "the case is to have both: {sums:?}");

        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let heads = [wide(&outputs), wide(&values), wide(log_deviation)];
        let at = |part: usize, i: usize, offset: f64| {
            let mut moved = heads.clone();
            if let Some(slot) = moved[part].get_mut(i) {
                *slot += offset;
            }
            textbook(&config, distribution, &rollout, &rows, (&moved[0], &moved[1], &moved[2]))
        };
        let mean = sums.over(n as f64);
        let total =
            mean.policy - config.entropy_coefficient * mean.entropy + config.value_coefficient * mean.value;
        assert!((total - at(0, usize::MAX, 0.0)).abs() < 1e-5, "{total}");
        let found: [Vec<f64>; 3] = [wide(&by_outputs), wide(&by_values), by_deviation];
        for (part, gradients) in found.iter().enumerate() {
            for (i, gradient) in gradients.iter().enumerate() {
                let expected = (at(part, i, 1e-6) - at(part, i, -1e-6)) / 2e-6;
                assert!((gradient - expected).abs() < 1e-5, "part {part} number {i}: {gradient} {expected}");
            }
        }
    }

    #[test]
    fn loss_and_gradients_are_those_of_the_papers() {
        check(Distribution::Categorical { n: 3 }, &[]);
        check(Distribution::Gaussian { dimensions: 2 }, &[0.2, -0.4]);
    }

    #[test]
    fn continuous_actions_leave_within_their_bounds_and_stay_unclipped_here() {
        let mut outgoing = Outgoing::new(&ActionSpace::Box { low: vec![-1.0, 0.0], high: vec![1.0, 0.5] });
        let stored = [-3.0, 0.25, 0.5, 0.75];
        assert_eq!(outgoing.fill(&stored), Actions::Continuous(&[-1.0, 0.25, 0.5, 0.5]));
        assert_eq!(
            Outgoing::new(&ActionSpace::Discrete { n: 3, levels: vec![] }).fill(&[2.0, 0.0]),
            Actions::Discrete(&[2, 0])
        );
    }

    #[test]
    fn timesteps_are_rounded_up_to_whole_updates() {
        let config = PpoConfig { timesteps: 1000, rollout: 8, ..PpoConfig::default() };
        assert_eq!((config.updates(16), config.updates(125), config.updates(126)), (8, 1, 1));
    }
}
