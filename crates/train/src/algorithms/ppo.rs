//! Proximal policy optimisation (Schulman et al. 2017), with the details that matter in practice (Huang et
//! al. 2022). The hyper-parameters on top, then the loop and its two halves, in the order in which they happen; the
//! loss is [`ClippedLoss`].

use std::time::Instant;

use anyhow::Result;
use random::{Purpose, Stream};
use serde::{Deserialize, Serialize};
use wire::spec::ActionSpace;

use crate::algorithms::clipped_loss::ClippedLoss;
use crate::algorithms::env::Outgoing;
use crate::algorithms::hyper::hyper_parameters;
use crate::algorithms::reward_scaler::RewardScaler;
use crate::algorithms::rollout::Rollout;
use crate::algorithms::schedule::Schedule;
use crate::algorithms::task::{LoopTimes, Memory, Task, UpdateReport};
use crate::networks::learner::{HeadGradients, Heads, Learner, LossSums};
use crate::networks::network::Distribution;
use crate::training::stop::Stop;

hyper_parameters! {
    /// The hyper-parameters. Those that are a schedule take a number, or a range such as `0.001..0`, over
    /// which they go linearly in the course of the training.
    pub struct PpoConfig, PpoFlags {
        /// Steps of each environment between updates.
        rollout: usize = 128_usize,
        /// Passes over each rollout.
        epochs: usize = 4_usize,
        /// Parts that each pass is split into, one step of Adam each.
        minibatches: usize = 4_usize,
        /// Step size of Adam; FROM..TO changes linearly over the training; from 0.003 where actions are a direction
        /// and a size.
        learning_rate: Schedule = (1e-3, 0.0),
        /// γ: what a reward one step later is worth.
        gamma: f64 = 0.99,
        /// λ of generalised advantage estimation: 0 trusts the value network, 1 the rewards.
        gae_lambda: f64 = 0.95,
        /// ε: how far the ratio of new to old probability may go before it earns nothing more; FROM..TO changes.
        clip: Schedule = 0.2,
        /// The same for how far a value may go from its old one, after rewards are scaled; 0 is no bound.
        value_clip: f64 = 0.0,
        /// Weight of the entropy, which keeps the policy from settling too soon; FROM..TO changes.
        entropy_coefficient: Schedule = 0.01,
        /// Logarithm of the deviation with which actions that are numbers are first drawn; 0.5 where they are
        /// positions, or a direction and a size.
        initial_log_deviation: f64 = 0.0,
        /// Weight of the value loss.
        value_coefficient: f64 = 0.5,
        /// The gradient's norm over all parameters is clipped to this.
        max_grad_norm: f64 = 0.5,
        /// Stop the passes over a rollout once the policy has moved 1.5 times this far, in Kullback-Leibler
        /// divergence; 0 never stops.
        target_kl: f64 = 0.0,
        /// Whether rewards are divided by the root mean square of the discounted return so far.
        normalize_reward: bool = true,
    }
}

impl PpoConfig {
    /// Updates that so many environment steps come to: whole ones, so rounded up.
    pub fn updates(&self, timesteps: u64, n_envs: usize) -> u64 {
        timesteps.div_ceil((self.rollout * n_envs) as u64)
    }

    /// What makes no sense, naming the flag.
    ///
    /// # Errors
    /// With the first value that is out of its range.
    pub fn check(&self) -> Result<(), &'static str> {
        let unit = 0.0..=1.0;
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let not_negative = |value: f64| value >= 0.0 && value.is_finite();
        let checks = [
            (self.rollout > 0, "--rollout must be at least 1"),
            (self.epochs > 0, "--epochs must be at least 1"),
            (self.minibatches > 0, "--minibatches must be at least 1"),
            (
                positive(self.learning_rate.from) && not_negative(self.learning_rate.to),
                "--learning-rate must be above 0",
            ),
            (unit.contains(&self.gamma), "--gamma must lie between 0 and 1"),
            (unit.contains(&self.gae_lambda), "--gae-lambda must lie between 0 and 1"),
            (positive(self.clip.from) && not_negative(self.clip.to), "--clip must be above 0"),
            (not_negative(self.value_clip), "--value-clip must not be below 0"),
            (self.entropy_coefficient.all(not_negative), "--entropy-coefficient must not be below 0"),
            (
                (-5.0..=2.0).contains(&self.initial_log_deviation),
                "--initial-log-deviation must lie between -5 and 2",
            ),
            (not_negative(self.value_coefficient), "--value-coefficient must not be below 0"),
            (positive(self.max_grad_norm), "--max-grad-norm must be above 0"),
            (not_negative(self.target_kl), "--target-kl must not be below 0"),
        ];
        checks.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, text)| Err(text))
    }
}

impl PpoFlags {
    /// What is taken in place of the defaults, unless it is given, for the actions in `space`.
    ///
    /// The best position is mostly one of the bounds: who draws widely around a mean finds it, and who draws
    /// narrowly stays with small positions. First deviations of e^-1, 1 and e^0.5 earned 94, 97 and 99 % of what the
    /// mean-reverting market pays; of the entropy's weight it is enough that it does not shrink them too soon. With a
    /// direction and a size, small directions do nothing, and it takes larger steps to leave them: from 0.001 hardly
    /// a trade was left after three million steps on the sample, from 0.003 the return was six times as large.
    pub fn preset(space: &ActionSpace) -> Self {
        let widely = Self { initial_log_deviation: Some(0.5), ..Self::default() };
        match space {
            ActionSpace::Discrete { .. } => Self::default(),
            ActionSpace::Box { low, .. } if low.len() == 1 => widely,
            ActionSpace::Box { .. } => Self { learning_rate: Some((3e-3, 0.0).into()), ..widely },
        }
    }
}

/// What is kept from update to update beside the learner's own state.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    optimiser_steps: u64,
    reward_scaler: RewardScaler,
}

/// Learns a policy for the environments of `task`.
///
/// # Errors
/// If the environments or the device fail, the gradient is not finite, or the task is to stop.
pub fn train(config: &PpoConfig, task: &mut Task<'_>, learner: &mut dyn Learner) -> Result<()> {
    let (n_envs, observation_len) = (task.env.slab().layout().n_envs(), task.env.slab().layout().obs_len());
    let distribution = Distribution::over(task.space);
    let mut rollout = Rollout::new(config.rollout, n_envs, observation_len, distribution.action_len());
    let new = State { optimiser_steps: 0, reward_scaler: RewardScaler::new(n_envs, config.gamma) };
    let mut state = task.recall(new)?;
    if let Some(start) = &task.start {
        start.put_into(learner, state.optimiser_steps)?;
    }
    let memory = Memory::of(learner, &state)?;
    task.listener.begun(task.env, learner, memory)?;

    let updates = config.updates(task.timesteps, n_envs);
    for update in task.updates_made()..updates {
        let end = config.updates(task.end_at(update * rollout.rows() as u64), n_envs);
        let rates = Rates::at(config, update as f64 / end as f64);
        let (mut times, episodes) =
            act(config, update, task, &mut rollout, &mut state.reward_scaler, learner)?;
        let begun = Instant::now();
        let learnt = learn(config, rates, (task.seed, update), &rollout, distribution, learner, task.stop)?;
        times.update = begun.elapsed();

        state.optimiser_steps += learnt.steps;
        let report = UpdateReport {
            update: update + 1,
            timesteps: (update + 1) * rollout.rows() as u64,
            scalars: vec![
                ("charts/learning_rate", rates.learning_rate),
                ("losses/policy_loss", learnt.losses.policy),
                ("losses/value_loss", learnt.losses.value),
                ("losses/entropy", learnt.losses.entropy),
                ("losses/approx_kl", learnt.losses.approx_kl),
                ("losses/clipfrac", learnt.losses.clipped),
                ("losses/explained_variance", rollout.explained_variance()),
                ("losses/grad_norm", learnt.grad_norm),
                ("charts/epochs", learnt.epochs as f64),
            ],
            episodes: &episodes,
            times,
        };
        let memory = Memory::of(learner, &state)?;
        task.listener.updated(&report, task.env, learner, memory)?;
    }
    Ok(())
}

/// The first half of an update: fills `rollout` with what the policy does, and judges it. Gives the time it
/// took, and the return and length of each episode that ended.
fn act(
    config: &PpoConfig,
    update: u64,
    task: &mut Task<'_>,
    rollout: &mut Rollout,
    scaler: &mut RewardScaler,
    learner: &mut dyn Learner,
) -> Result<(LoopTimes, Vec<(f64, u32)>)> {
    let begun = Instant::now();
    let (mut times, mut episodes) = (LoopTimes::default(), Vec::new());
    let (seed, env) = (task.seed, &mut *task.env);
    let distribution = Distribution::over(task.space);
    let len = distribution.action_len();
    let mut outgoing = Outgoing::new(task.space);
    rollout.begin();
    for step in 0..config.rollout {
        task.stop.check()?;
        let mut stream = Stream::new(seed, Purpose::Action, update, step as u64);
        let rows = rollout.rows_of(step);
        let heads = learner.infer(rollout.observe(step, env.slab().observations()))?;
        rollout.values[rows.clone()].copy_from_slice(heads.values);
        for (row, outputs) in rows.clone().zip(heads.policy.chunks_exact(distribution.outputs())) {
            let action = &mut rollout.actions[row * len..(row + 1) * len];
            rollout.log_probabilities[row] =
                distribution.sample(outputs, heads.log_deviation, &mut stream, action);
        }
        let actions = outgoing.fill(&rollout.actions[rows.start * len..rows.end * len]);
        let sent = Instant::now();
        env.step(actions)?;
        times.environment += sent.elapsed();

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
    let last = rollout.observe(config.rollout, env.slab().observations());
    let last_values = learner.infer(last)?.values;
    rollout.estimate_advantages(last_values, config.gamma as f32, config.gae_lambda as f32);
    times.inference = begun.elapsed().saturating_sub(times.environment);
    Ok((times, episodes))
}

/// What the schedules come to at one update.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Step size of Adam.
    pub learning_rate: f64,
    /// ε.
    pub clip: f64,
    /// Weight of the entropy.
    pub entropy_coefficient: f64,
}

impl Rates {
    /// The rates when `done`, a fraction, of the training is over.
    pub fn at(config: &PpoConfig, done: f64) -> Self {
        Self {
            learning_rate: config.learning_rate.at(done),
            clip: config.clip.at(done),
            entropy_coefficient: config.entropy_coefficient.at(done),
        }
    }
}

/// What the second half of an update says about itself.
#[derive(Debug, Clone, Copy)]
pub struct Learnt {
    /// Losses and their companions, means over the samples of all passes.
    pub losses: LossSums,
    /// Mean norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Passes made before the divergence stopped them.
    pub epochs: usize,
    /// Steps of Adam.
    pub steps: u64,
}

/// The second half of an update: passes over `rollout`, each in minibatches of its own shuffling.
///
/// # Errors
/// If the device fails, the gradient is not finite, or it is to stop.
pub fn learn(
    config: &PpoConfig,
    rates: Rates,
    (seed, update): (u64, u64),
    rollout: &Rollout,
    distribution: Distribution,
    learner: &mut dyn Learner,
    stop: &Stop,
) -> Result<Learnt> {
    let (mut losses, mut grad_norms, mut samples, mut steps, mut epochs) =
        (LossSums::default(), 0.0, 0, 0, 0);
    let mut order: Vec<u32> = (0..rollout.rows() as u32).collect();
    for epoch in 0..config.epochs {
        // From the same order every time, so that an update does not depend on those before it.
        order.iter_mut().zip(0..).for_each(|(slot, row)| *slot = row);
        Stream::new(seed, Purpose::Shuffle, update, epoch as u64).shuffle(&mut order);
        let mut kl = 0.0;
        for minibatch in order.chunks(rollout.rows().div_ceil(config.minibatches)) {
            stop.check()?;
            let loss = ClippedLoss::new(config, rates, distribution, rollout, minibatch);
            let evaluate = |rows: &[u32], heads: Heads<'_>, gradients: &mut HeadGradients<'_>| {
                loss.evaluate(rows, heads, gradients)
            };
            let sums = learner.differentiate(rollout.observations(), minibatch, &evaluate)?;
            grad_norms += learner.step(rates.learning_rate, config.max_grad_norm)?;
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
    Ok(Learnt { losses: losses.over(samples as f64), grad_norm: grad_norms / steps as f64, epochs, steps })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timesteps_are_rounded_up_to_whole_updates() {
        let config = PpoConfig { rollout: 8, ..PpoConfig::default() };
        let updates = |n_envs| config.updates(1000, n_envs);
        assert_eq!((updates(16), updates(125), updates(126)), (8, 1, 1));
    }
}
