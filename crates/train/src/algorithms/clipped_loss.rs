//! The loss of proximal policy optimisation over one minibatch, and its gradients by what the networks put out: the
//! clipped surrogate (Schulman et al. 2017), the squared error of the values, and the entropy.

use crate::algorithms::ppo::{PpoConfig, Rates};
use crate::algorithms::rollout::Rollout;
use crate::networks::functions;
use crate::networks::learner::{HeadGradients, Heads, LossSums};
use crate::networks::network::Distribution;

/// The clipped surrogate, the squared error of the values and the entropy, for one minibatch.
pub struct ClippedLoss<'a> {
    config: &'a PpoConfig,
    rates: Rates,
    distribution: Distribution,
    rollout: &'a Rollout,
    advantage_mean: f32,
    advantage_scale: f32,
    /// One over the samples of the minibatch.
    weight: f32,
}

impl<'a> ClippedLoss<'a> {
    /// The loss over `rows` of `rollout`.
    pub fn new(
        config: &'a PpoConfig,
        rates: Rates,
        distribution: Distribution,
        rollout: &'a Rollout,
        rows: &[u32],
    ) -> Self {
        let n = rows.len() as f64;
        let advantages = || rows.iter().map(|&row| f64::from(rollout.advantages[row as usize]));
        let mean = advantages().sum::<f64>() / n;
        // One sample has no deviation; it is then 0 after centring, and nothing is learnt from it.
        let deviation = (advantages().map(|a| (a - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt();
        Self {
            config,
            rates,
            distribution,
            rollout,
            advantage_mean: mean as f32,
            advantage_scale: (1.0 / (deviation + 1e-8)) as f32,
            weight: (1.0 / n) as f32,
        }
    }

    /// The loss over some of the minibatch's rows, and its gradients; a [`HeadLoss`](crate::networks::learner::HeadLoss).
    pub fn evaluate(&self, rows: &[u32], heads: Heads<'_>, gradients: &mut HeadGradients<'_>) -> LossSums {
        let mut sums = LossSums::default();
        self.evaluate_policy(rows, heads, gradients, &mut sums);
        self.evaluate_values(rows, heads, gradients, &mut sums);
        sums
    }

    fn evaluate_policy(
        &self,
        rows: &[u32],
        heads: Heads<'_>,
        gradients: &mut HeadGradients<'_>,
        sums: &mut LossSums,
    ) {
        let (rollout, clip) = (self.rollout, self.rates.clip as f32);
        let mut actions = Vec::with_capacity(rows.len() * self.distribution.action_len());
        for &row in rows {
            actions.extend_from_slice(rollout.action(row as usize));
        }
        let judged = self.distribution.judge(heads.policy, heads.log_deviation, &actions);
        let was = |&row: &u32| rollout.log_probabilities[row as usize];
        let log_ratios: Vec<f32> =
            judged.log_probabilities.iter().zip(rows).map(|(now, row)| now - was(row)).collect();
        let mut ratios = log_ratios.clone();
        functions::exponentials(&mut ratios);

        let mut slopes = vec![0.0; rows.len()];
        for (i, &row) in rows.iter().enumerate() {
            let ratio = ratios[i];
            let advantage = (rollout.advantages[row as usize] - self.advantage_mean) * self.advantage_scale;
            let unclipped = -advantage * ratio;
            let clipped = -advantage * ratio.clamp(1.0 - clip, 1.0 + clip);
            // Where the clipped term is the larger one it is constant, and its gradient 0.
            slopes[i] = if unclipped >= clipped { self.weight * unclipped } else { 0.0 };

            sums.policy += f64::from(unclipped.max(clipped));
            sums.entropy += f64::from(judged.entropies[i]);
            sums.approx_kl += f64::from(ratio - 1.0 - log_ratios[i]);
            sums.clipped += f64::from(u8::from((ratio - 1.0).abs() > clip));
        }
        self.distribution.gradient(
            &judged,
            (heads.log_deviation, &actions),
            (&slopes, -self.rates.entropy_coefficient as f32 * self.weight),
            gradients.policy,
            gradients.log_deviation,
        );
    }

    fn evaluate_values(
        &self,
        rows: &[u32],
        heads: Heads<'_>,
        gradients: &mut HeadGradients<'_>,
        sums: &mut LossSums,
    ) {
        let (rollout, value_clip) = (self.rollout, self.config.value_clip as f32);
        let scale = self.config.value_coefficient as f32 * self.weight;
        for (i, (&row, &value)) in rows.iter().zip(heads.values).enumerate() {
            let error = value - rollout.returns[row as usize];
            let moved = value - rollout.values[row as usize];
            let bounded = error - moved + moved.clamp(-value_clip, value_clip);
            // The worse of the two counts, and a bounded value is constant. One within its bounds is not bounded,
            // whatever rounding says.
            let is_bounded = value_clip > 0.0 && moved.abs() > value_clip && bounded.abs() > error.abs();
            let (error, slope) = if is_bounded { (bounded, 0.0) } else { (error, error) };
            gradients.values[i] = scale * slope;
            sums.value += f64::from(0.5 * error * error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use random::{Purpose, Stream};

    const TWO_PI: f64 = 2.0 * std::f64::consts::PI;
    const CLIP: f64 = 0.2;
    const ENTROPY: f64 = 0.05;

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
            let surrogate = (ratio * advantage).min(ratio.clamp(1.0 - CLIP, 1.0 + CLIP) * advantage);
            let (old, target) = (f64::from(rollout.values[row]), f64::from(rollout.returns[row]));
            let mut squares = (heads.1[i] - target).powi(2);
            if config.value_clip > 0.0 {
                let moved = (heads.1[i] - old).clamp(-config.value_clip, config.value_clip);
                squares = squares.max((old + moved - target).powi(2));
            }
            loss += -surrogate - ENTROPY * entropy + config.value_coefficient * 0.5 * squares;
        }
        loss / n
    }

    fn check(distribution: Distribution, log_deviation: &[f32], value_clip: f64) {
        let config = PpoConfig {
            entropy_coefficient: ENTROPY.into(),
            clip: CLIP.into(),
            value_clip,
            ..PpoConfig::default()
        };
        let n = 24;
        let mut stream = Stream::new(1, Purpose::Test, 0, 0);
        let mut rollout = Rollout::new(n, 2, 1, distribution.action_len());
        let mut draw = || stream.normal() as f32;
        let outputs: Vec<f32> = (0..n * distribution.outputs()).map(|_| draw()).collect();
        let values: Vec<f32> = (0..n).map(|_| draw()).collect();
        let rows: Vec<u32> = (0..n as u32).map(|i| (i * 5 + 3) % 48).collect();
        for row in 0..rollout.rows() {
            (rollout.advantages[row], rollout.returns[row], rollout.values[row]) = (draw(), draw(), draw());
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
            let judged = distribution.judge(outputs, log_deviation, action);
            rollout.log_probabilities[row as usize] = judged.log_probabilities[0] + 0.25 * draw();
        }
        let mut by_outputs = vec![0.0; outputs.len()];
        let mut by_values = vec![0.0; n];
        let mut by_deviation = vec![0.0; log_deviation.len()];
        let loss = ClippedLoss::new(&config, Rates::at(&config, 0.0), distribution, &rollout, &rows);
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
        let total = mean.policy - ENTROPY * mean.entropy + config.value_coefficient * mean.value;
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
        for value_clip in [0.0, 0.3] {
            check(Distribution::Categorical { n: 3 }, &[], value_clip);
            check(Distribution::Gaussian { dimensions: 2 }, &[0.2, -0.4], value_clip);
        }
    }
}
