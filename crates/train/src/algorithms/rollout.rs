//! What one update learns from: `steps × n_envs` transitions in buffers made once, row `step × n_envs +
//! env`, and generalised advantage estimation over them (Schulman et al. 2016).

use wire::Observations;

use crate::networks::aligned::AlignedBuffer;

/// Transitions, advantages and returns.
#[derive(Debug)]
pub struct Rollout {
    /// Steps of each environment.
    pub steps: usize,
    /// Environments.
    pub n_envs: usize,
    observation_len: usize,
    action_len: usize,
    /// Those before each step, and those after the last.
    observations: AlignedBuffer,
    /// Actions as sampled, unclipped; a discrete one is its index.
    pub actions: Vec<f32>,
    /// Their log-probabilities when they were sampled.
    pub log_probabilities: Vec<f32>,
    /// Values of the observations when they were seen.
    pub values: Vec<f32>,
    /// Rewards as the learner is to see them.
    pub rewards: Vec<f32>,
    /// Whether an episode ended with the step, for whatever reason.
    pub ended: Vec<bool>,
    /// What is still to come after the step where an episode ended: 0 after a termination, the value of the
    /// true final observation after a truncation.
    pub final_values: Vec<f32>,
    /// Final observations of truncated episodes, one after the other, and their rows.
    truncated_observations: AlignedBuffer,
    truncated_rows: Vec<usize>,
    /// Advantages.
    pub advantages: Vec<f32>,
    /// Advantages plus values: what the value network learns.
    pub returns: Vec<f32>,
}

impl Rollout {
    /// Empty buffers.
    pub fn new(steps: usize, n_envs: usize, observation_len: usize, action_len: usize) -> Self {
        let rows = steps * n_envs;
        Self {
            steps,
            n_envs,
            observation_len,
            action_len,
            observations: AlignedBuffer::zeros((rows + n_envs) * observation_len),
            actions: vec![0.0; rows * action_len],
            log_probabilities: vec![0.0; rows],
            values: vec![0.0; rows],
            rewards: vec![0.0; rows],
            ended: vec![false; rows],
            final_values: vec![0.0; rows],
            truncated_observations: AlignedBuffer::default(),
            truncated_rows: Vec::new(),
            advantages: vec![0.0; rows],
            returns: vec![0.0; rows],
        }
    }

    /// Transitions.
    pub fn rows(&self) -> usize {
        self.steps * self.n_envs
    }

    /// All observations, row by row.
    pub fn observations(&self) -> &[f32] {
        &self.observations[..self.rows() * self.observation_len]
    }

    /// The rows of one step.
    pub fn rows_of(&self, step: usize) -> std::ops::Range<usize> {
        step * self.n_envs..(step + 1) * self.n_envs
    }

    /// Keeps what the environments show before `step`, or after the last one where `step` is the number of
    /// steps, and returns it: the one copy on its way from the memory that the server writes to the networks.
    pub fn observe(&mut self, step: usize, observations: Observations<'_>) -> &[f32] {
        let len = self.n_envs * self.observation_len;
        let slot = &mut self.observations[step * len..][..len];
        observations.copy_to(slot);
        slot
    }

    /// The stored action of a row.
    pub fn action(&self, row: usize) -> &[f32] {
        &self.actions[row * self.action_len..][..self.action_len]
    }

    /// Forgets the truncated episodes of the last rollout.
    pub fn begin(&mut self) {
        self.truncated_rows.clear();
        self.truncated_observations.of_len(0);
    }

    /// The episode of `row` was cut off while it showed `final_observation`.
    pub fn truncate(&mut self, row: usize, final_observation: &[f32]) {
        self.truncated_observations.extend(final_observation);
        self.truncated_rows.push(row);
    }

    /// The final observations of truncated episodes, to be valued by the policy that acted.
    pub fn truncated_observations(&self) -> &[f32] {
        &self.truncated_observations
    }

    /// Takes the values of [`Rollout::truncated_observations`].
    pub fn set_truncated_values(&mut self, values: &[f32]) {
        for (&row, &value) in self.truncated_rows.iter().zip(values) {
            self.final_values[row] = value;
        }
    }

    /// Computes advantages and returns. `last_values` are those of the observations after the last step.
    ///
    /// With `v'` the value of what follows, δ = r + γ v' − v and A = δ + γλ A', where A' is 0 across an end.
    pub fn estimate_advantages(&mut self, last_values: &[f32], gamma: f32, lambda: f32) {
        for row in (0..self.rows()).rev() {
            let follows = row + self.n_envs;
            let (next_value, next_advantage) = if self.ended[row] {
                (self.final_values[row], 0.0)
            } else if follows >= self.rows() {
                (last_values[follows - self.rows()], 0.0)
            } else {
                (self.values[follows], self.advantages[follows])
            };
            let value = self.values[row];
            let advantage = self.rewards[row] + gamma * next_value - value + gamma * lambda * next_advantage;
            self.advantages[row] = advantage;
            self.returns[row] = advantage + value;
        }
    }

    /// The part of the returns' variance that the values explain: 1 is perfect, 0 or less is no better than
    /// a constant.
    pub fn explained_variance(&self) -> f64 {
        let n = self.rows() as f64;
        let variance = |value: &dyn Fn(usize) -> f64| {
            let mean = (0..self.rows()).map(value).sum::<f64>() / n;
            (0..self.rows()).map(|row| (value(row) - mean).powi(2)).sum::<f64>() / n
        };
        let total = variance(&|row| f64::from(self.returns[row]));
        let left = variance(&|row| f64::from(self.returns[row] - self.values[row]));
        if total > 0.0 { 1.0 - left / total } else { f64::NAN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: a sum over all later steps of the episode, in `f64`.
    fn by_definition(
        rollout: &Rollout,
        last: &[f32],
        gamma: f64,
        lambda: f64,
        step: usize,
        env: usize,
    ) -> f64 {
        let (mut sum, mut weight) = (0.0, 1.0);
        for t in step..rollout.steps {
            let row = t * rollout.n_envs + env;
            let next = if rollout.ended[row] {
                rollout.final_values[row]
            } else if t + 1 == rollout.steps {
                last[env]
            } else {
                rollout.values[row + rollout.n_envs]
            };
            let delta =
                f64::from(rollout.rewards[row]) + gamma * f64::from(next) - f64::from(rollout.values[row]);
            sum += weight * delta;
            weight *= gamma * lambda;
            if rollout.ended[row] {
                break;
            }
        }
        sum
    }

    #[test]
    fn advantages_are_those_of_the_definition_across_ends_of_both_kinds() {
        let (steps, n_envs) = (6, 3);
        let mut rollout = Rollout::new(steps, n_envs, 1, 1);
        for row in 0..rollout.rows() {
            rollout.rewards[row] = ((row * 7) % 5) as f32 - 2.0;
            rollout.values[row] = ((row * 3) % 4) as f32 * 0.5;
        }
        rollout.begin();
        // Environment 0 terminates at step 2; environment 1 is cut off at step 3 and at the very last.
        rollout.ended[2 * n_envs] = true;
        for step in [3, 5] {
            rollout.ended[step * n_envs + 1] = true;
            rollout.truncate(step * n_envs + 1, &[step as f32]);
        }
        assert_eq!(rollout.truncated_observations(), [3.0, 5.0]);
        rollout.set_truncated_values(&[1.5, -2.0]);
        let last = [0.4, 9.0, -0.3];
        rollout.estimate_advantages(&last, 0.9, 0.8);
        for step in 0..steps {
            for env in 0..n_envs {
                let row = step * n_envs + env;
                let expected = by_definition(&rollout, &last, 0.9_f32.into(), 0.8_f32.into(), step, env);
                let found = f64::from(rollout.advantages[row]);
                assert!((found - expected).abs() < 1e-5, "step {step} env {env}: {found} {expected}");
                assert!((rollout.returns[row] - rollout.advantages[row] - rollout.values[row]).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn explained_variance_is_one_for_perfect_values_and_zero_for_a_constant() {
        let mut rollout = Rollout::new(2, 2, 1, 1);
        rollout.returns = vec![1.0, 2.0, 3.0, 4.0];
        rollout.values = rollout.returns.clone();
        assert_eq!(rollout.explained_variance(), 1.0);
        rollout.values = vec![5.0; 4];
        assert!(rollout.explained_variance().abs() < 1e-12);
    }
}
