//! Environments with a known answer, for tests: each fails if one part of the learner is wrong, and the
//! list of those that fail says which.

use anyhow::Result;
use wire::message::Opened;
use wire::slab::{Finished, Slab};
use wire::spec::ActionSpace;
use wire::{Actions, SlabLayout};

use crate::algorithms::env::VecEnv;

/// What is asked of the learner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Reward 1 whatever happens: the value of one observation.
    ConstantReward,
    /// Reward ±1 as the observation says: values that differ.
    RewardByObservation,
    /// Reward 1 on the second and last step: discounting.
    DelayedReward,
    /// Reward ±1 by the action: the policy's gradient.
    RewardByAction,
    /// Reward ±1 by whether action and observation agree: both together.
    RewardByBoth,
    /// Reward 1 a step, for ever, cut off at random: values across truncations.
    Endless,
    /// Reward −(a − x)² for a number a and the observation x: continuous actions.
    Match,
}

/// A batch of one probe.
pub struct ProbeEnv {
    probe: Probe,
    slab: Slab,
    second: Vec<bool>,
    random: random::Stream,
}

impl ProbeEnv {
    /// `n_envs` of them.
    pub fn new(probe: Probe, n_envs: u32) -> Self {
        let opened = Opened { n_envs, obs_len: 1, n_cost_kinds: 0, trace: false };
        let random = random::Stream::new(5, random::Purpose::Test, n_envs.into(), 0);
        let slab = Slab::new(SlabLayout::new(&opened));
        Self { probe, slab, second: vec![false; n_envs as usize], random }
    }

    /// Its actions.
    pub fn space(probe: Probe) -> ActionSpace {
        match probe {
            Probe::Match => ActionSpace::Box { low: vec![-2.0], high: vec![2.0] },
            _ => ActionSpace::Discrete { n: 2, levels: vec![] },
        }
    }

    fn first_observation(&mut self) -> f32 {
        match self.probe {
            Probe::ConstantReward | Probe::RewardByAction | Probe::Endless => 0.0,
            Probe::DelayedReward => -1.0,
            Probe::RewardByObservation | Probe::RewardByBoth => [-1.0, 1.0][self.random.below(2) as usize],
            Probe::Match => self.random.uniform() as f32 * 2.0 - 1.0,
        }
    }
}

impl VecEnv for ProbeEnv {
    fn reset(&mut self) -> Result<()> {
        self.slab.clear_finished();
        for env in 0..self.second.len() {
            self.slab.split_mut().obs[env] = self.first_observation();
        }
        Ok(())
    }

    fn step(&mut self, actions: Actions<'_>) -> Result<()> {
        self.slab.clear_finished();
        for env in 0..self.second.len() {
            let action = match actions {
                Actions::Discrete(actions) => actions[env] as f32,
                Actions::Continuous(actions) => actions[env],
            };
            let sign = 2.0 * action - 1.0;
            let observation = self.slab.split_mut().obs[env];
            let delayed = self.probe == Probe::DelayedReward;
            let reward = match self.probe {
                Probe::ConstantReward | Probe::Endless => 1.0,
                Probe::RewardByObservation => observation,
                Probe::DelayedReward => f32::from(u8::from(self.second[env])),
                Probe::RewardByAction => sign,
                Probe::RewardByBoth => sign * observation,
                Probe::Match => -(action - observation).powi(2),
            };
            let cut = self.probe == Probe::Endless && self.random.below(8) == 0;
            let terminated = self.probe != Probe::Endless && (!delayed || self.second[env]);
            let next = if terminated { self.first_observation() } else { f32::from(u8::from(delayed)) };
            self.second[env] = delayed && !self.second[env];
            let slab = self.slab.split_mut();
            slab.reward[env] = reward;
            slab.terminated[env] = terminated.into();
            slab.truncated[env] = cut.into();
            slab.obs[env] = next;
            if terminated || cut {
                let record = Finished {
                    env: env as u32,
                    length: 1 + u32::from(delayed),
                    episode_return: reward.into(),
                    ..Finished::default()
                };
                self.slab.push_finished(record, &[], &[next]);
            }
        }
        Ok(())
    }

    fn slab(&self) -> &Slab {
        &self.slab
    }

    fn snapshot(&mut self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn restore(&mut self, _: &[u8]) -> Result<()> {
        anyhow::bail!("a probe is not resumed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithms::ppo::{self, PpoConfig};
    use crate::algorithms::task::{Task, tests::Deaf};
    use crate::networks::device::Placement;
    use crate::networks::learner::{Heads, Policy};
    use crate::networks::network::{Activation, Distribution, NetworkShape};
    use crate::networks::torch::TorchLearner;
    use crate::training::stop::Stop;

    fn learner(probe: Probe, seed: u64, update: usize) -> TorchLearner {
        let shape = NetworkShape {
            observation_len: 1,
            hidden: vec![16, 16],
            activation: Activation::Tanh,
            distribution: Distribution::over(&ProbeEnv::space(probe)),
        };
        let placement = Placement { update_threads: update, ..Placement::one_thread() };
        TorchLearner::new(&shape, seed, placement).unwrap()
    }

    fn trained(probe: Probe, seed: u64, update: usize) -> TorchLearner {
        let config = PpoConfig {
            rollout: 16,
            learning_rate: (5e-3, 0.0).into(),
            gamma: 0.5,
            normalize_reward: false,
            ..PpoConfig::default()
        };
        let mut learner = learner(probe, seed, update);
        let mut env = ProbeEnv::new(probe, 16);
        env.reset().unwrap();
        let mut task = Task {
            seed,
            timesteps: 30_000,
            earlier_ends: &[],
            space: &ProbeEnv::space(probe),
            env: &mut env,
            start: None,
            stop: &Stop::never(),
            listener: &mut Deaf,
        };
        ppo::train(&config, &mut task, &mut learner).unwrap();
        learner
    }

    /// Trains, and checks value and policy outputs for one observation each.
    fn check(probe: Probe, expected: &[(f32, f32)], outputs: impl Fn(f32, Heads<'_>) -> Result<(), String>) {
        for seed in [1, 2] {
            let mut learner = trained(probe, seed, 1);
            for &(observation, value) in expected {
                let heads = learner.infer(&[observation]).unwrap();
                let found = heads.values[0];
                assert!((found - value).abs() < 0.1, "{probe:?}: v({observation}) = {found}, not {value}");
                outputs(observation, heads).unwrap_or_else(|e| panic!("{probe:?} at {observation}: {e}"));
            }
        }
    }

    fn likes(action: usize, heads: Heads<'_>) -> Result<(), String> {
        let margin = heads.policy[action] - heads.policy[1 - action];
        // A probability above 95 %.
        if margin > 3.0 { Ok(()) } else { Err(format!("logits {:?}", heads.policy)) }
    }

    #[test]
    fn values_of_constant_observed_and_delayed_rewards() {
        check(Probe::ConstantReward, &[(0.0, 1.0)], |_, _| Ok(()));
        check(Probe::RewardByObservation, &[(-1.0, -1.0), (1.0, 1.0)], |_, _| Ok(()));
        check(Probe::DelayedReward, &[(-1.0, 0.5), (1.0, 1.0)], |_, _| Ok(()));
    }

    #[test]
    fn truncations_are_bootstrapped_from_the_final_observation() {
        // 1 / (1 − γ). Taking cut-offs for ends would give about 1.8.
        check(Probe::Endless, &[(0.0, 2.0)], |_, _| Ok(()));
    }

    #[test]
    fn policies_by_action_and_by_observation() {
        check(Probe::RewardByAction, &[(0.0, 1.0)], |_, heads| likes(1, heads));
        check(Probe::RewardByBoth, &[(-1.0, 1.0), (1.0, 1.0)], |x, heads| likes(usize::from(x > 0.0), heads));
    }

    #[test]
    fn a_continuous_policy_finds_the_best_number() {
        let mut learner = trained(Probe::Match, 1, 1);
        for observation in [-0.8, 0.0, 0.5] {
            let heads = learner.infer(&[observation]).unwrap();
            assert!((heads.policy[0] - observation).abs() < 0.1, "{observation}: {:?}", heads.policy);
            assert!(heads.log_deviation[0] < -0.5, "the deviation has not shrunk: {:?}", heads.log_deviation);
        }
    }

    #[test]
    fn equal_configurations_give_equal_bits_for_one_replica_and_for_two() {
        for update in [1, 2] {
            let [a, b] = [0, 1].map(|_| trained(Probe::RewardByBoth, 3, update).parameters().unwrap());
            assert_eq!(a, b);
        }
    }
}
