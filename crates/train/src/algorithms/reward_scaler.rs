//! Brings rewards to about unit size, whatever the environment pays in: log returns of a bar are of the
//! order of 1e-4, and a value network that starts at random would drown them.

use serde::{Deserialize, Serialize};

/// Scaled rewards stay within this.
const BOUND: f64 = 10.0;

/// Divides rewards by the root mean square of the discounted return so far. Nothing is subtracted, so the
/// sign of a reward, and which policy is best, stay what they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RewardScaler {
    discount: f64,
    discounted: Vec<f64>,
    sum_of_squares: f64,
    count: f64,
}

impl RewardScaler {
    /// A scaler for `n_envs` environments that has seen nothing.
    pub fn new(n_envs: usize, discount: f64) -> Self {
        Self { discount, discounted: vec![0.0; n_envs], sum_of_squares: 0.0, count: 0.0 }
    }

    /// What rewards are divided by now.
    pub fn scale(&self) -> f64 {
        if self.sum_of_squares > 0.0 { (self.sum_of_squares / self.count).sqrt() } else { 1.0 }
    }

    /// Learns from one step's rewards and writes them, scaled, to `scaled`.
    pub fn apply(&mut self, rewards: &[f32], ended: impl Fn(usize) -> bool, scaled: &mut [f32]) {
        for (discounted, &reward) in self.discounted.iter_mut().zip(rewards) {
            *discounted = self.discount * *discounted + f64::from(reward);
            self.sum_of_squares += *discounted * *discounted;
        }
        self.count += rewards.len() as f64;
        let scale = self.scale();
        for (env, (slot, &reward)) in scaled.iter_mut().zip(rewards).enumerate() {
            *slot = (f64::from(reward) / scale).clamp(-BOUND, BOUND) as f32;
            if ended(env) {
                self.discounted[env] = 0.0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_are_divided_by_the_root_mean_square_of_discounted_returns() {
        let mut scaler = RewardScaler::new(2, 0.5);
        let mut scaled = [0.0; 2];
        scaler.apply(&[1.0, -2.0], |env| env == 0, &mut scaled);
        let scale = 2.5_f64.sqrt();
        assert_eq!(scaled, [(1.0 / scale) as f32, (-2.0 / scale) as f32]);
        // The first environment starts anew: its return is 3, the second's 0.5 × −2 + 1 = 0.
        scaler.apply(&[3.0, 1.0], |_| false, &mut scaled);
        assert_eq!(scaler.scale(), ((1.0_f64 + 4.0 + 9.0 + 0.0) / 4.0).sqrt());
    }

    #[test]
    fn constant_zero_rewards_stay_zero() {
        let mut scaler = RewardScaler::new(1, 0.99);
        let mut scaled = [1.0];
        scaler.apply(&[0.0], |_| false, &mut scaled);
        assert_eq!(scaled, [0.0]);
    }
}
