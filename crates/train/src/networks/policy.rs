//! Distributions over actions, from what the policy network puts out: draw, judge, differentiate. Plain
//! arithmetic on one row at a time; the randomness comes from our own generator.

use random::Stream;

use crate::networks::network::Distribution;

const HALF_LOG_TWO_PI: f32 = 0.918_938_5;

impl Distribution {
    /// Draws an action into `action` and returns its log-probability. A continuous action is unclipped:
    /// the log-probability belongs to it, and only what goes to the environment is clipped.
    pub fn sample(
        self,
        outputs: &[f32],
        log_deviation: &[f32],
        stream: &mut Stream,
        action: &mut [f32],
    ) -> f32 {
        match self {
            Self::Categorical { n } => {
                let (max, sum) = log_sum(outputs);
                let mut left = stream.uniform() as f32 * sum;
                // Rounding may leave a crumb after the last choice, which then gets it.
                let mut choice = n - 1;
                for (i, &logit) in outputs.iter().enumerate() {
                    left -= (logit - max).exp();
                    if left < 0.0 {
                        choice = i;
                        break;
                    }
                }
                action[0] = choice as f32;
                outputs[choice] - max - sum.ln()
            }
            Self::Gaussian { .. } => {
                let mut log_probability = 0.0;
                for ((slot, &mean), &log_deviation) in action.iter_mut().zip(outputs).zip(log_deviation) {
                    let z = stream.normal() as f32;
                    *slot = mean + log_deviation.exp() * z;
                    log_probability -= 0.5 * z * z + log_deviation + HALF_LOG_TWO_PI;
                }
                log_probability
            }
        }
    }

    /// The likeliest action: what an evaluation plays.
    pub fn mode(self, outputs: &[f32], action: &mut [f32]) {
        match self {
            Self::Categorical { .. } => {
                let best =
                    (1..outputs.len()).fold(0, |best, i| if outputs[i] > outputs[best] { i } else { best });
                action[0] = best as f32;
            }
            Self::Gaussian { .. } => action.copy_from_slice(outputs),
        }
    }

    /// The log-probability of `action`, and the entropy. Leaves in `scratch`, of the length of `outputs`,
    /// what [`Distribution::gradient`] needs.
    pub fn judge(
        self,
        outputs: &[f32],
        log_deviation: &[f32],
        action: &[f32],
        scratch: &mut [f32],
    ) -> (f32, f32) {
        match self {
            Self::Categorical { .. } => {
                let (max, sum) = log_sum(outputs);
                let log_sum = max + sum.ln();
                let mut entropy = 0.0;
                for (slot, &logit) in scratch.iter_mut().zip(outputs) {
                    *slot = logit - log_sum;
                    entropy -= *slot * slot.exp();
                }
                (scratch[action[0] as usize], entropy)
            }
            Self::Gaussian { .. } => {
                let (mut log_probability, mut entropy) = (0.0, 0.0);
                for (i, slot) in scratch.iter_mut().enumerate() {
                    *slot = (action[i] - outputs[i]) * (-log_deviation[i]).exp();
                    log_probability -= 0.5 * *slot * *slot + log_deviation[i] + HALF_LOG_TWO_PI;
                    entropy += log_deviation[i] + 0.5 + HALF_LOG_TWO_PI;
                }
                (log_probability, entropy)
            }
        }
    }

    /// Turns `scratch` into the gradient, by `outputs`, of `by_log_probability · ln π(action) +
    /// by_entropy · entropy`, and adds the one by the log deviations.
    pub fn gradient(
        self,
        (log_deviation, action, entropy): (&[f32], &[f32], f32),
        (by_log_probability, by_entropy): (f32, f32),
        scratch: &mut [f32],
        log_deviation_gradient: &mut [f64],
    ) {
        match self {
            Self::Categorical { .. } => {
                for (i, slot) in scratch.iter_mut().enumerate() {
                    let (log_p, p) = (*slot, slot.exp());
                    let chosen = if i == action[0] as usize { 1.0 } else { 0.0 };
                    *slot = by_log_probability * (chosen - p) - by_entropy * p * (log_p + entropy);
                }
            }
            Self::Gaussian { .. } => {
                for (i, slot) in scratch.iter_mut().enumerate() {
                    let z = *slot;
                    *slot = by_log_probability * z * (-log_deviation[i]).exp();
                    log_deviation_gradient[i] += f64::from(by_log_probability * (z * z - 1.0) + by_entropy);
                }
            }
        }
    }
}

/// The largest logit, and the sum of exponentials of the distances to it.
fn log_sum(logits: &[f32]) -> (f32, f32) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (max, logits.iter().map(|logit| (logit - max).exp()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use random::Purpose;

    /// Compares [`Distribution::gradient`] with central differences in `f64` of the textbook formulas.
    fn check(distribution: Distribution, outputs: &[f32], log_deviation: &[f32], action: &[f32]) {
        let value = |outputs: &[f64], deviations: &[f64]| -> (f64, f64) {
            if let Distribution::Categorical { .. } = distribution {
                let sum: f64 = outputs.iter().map(|x| x.exp()).sum();
                let p: Vec<f64> = outputs.iter().map(|x| x.exp() / sum).collect();
                (p[action[0] as usize].ln(), -p.iter().map(|p| p * p.ln()).sum::<f64>())
            } else {
                let two_pi = 2.0 * std::f64::consts::PI;
                let mut result = (0.0, 0.0);
                for i in 0..outputs.len() {
                    let deviation = deviations[i].exp();
                    let density = (-0.5 * ((f64::from(action[i]) - outputs[i]) / deviation).powi(2)).exp()
                        / (deviation * two_pi.sqrt());
                    result.0 += density.ln();
                    result.1 += 0.5 * (two_pi * std::f64::consts::E * deviation * deviation).ln();
                }
                result
            }
        };
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let (outputs_64, deviations_64) = (wide(outputs), wide(log_deviation));
        let mut scratch = vec![0.0; outputs.len()];
        let (log_probability, entropy) = distribution.judge(outputs, log_deviation, action, &mut scratch);
        let expected = value(&outputs_64, &deviations_64);
        assert!((f64::from(log_probability) - expected.0).abs() < 1e-5);
        assert!((f64::from(entropy) - expected.1).abs() < 1e-5);

        let (a, b) = (0.7_f32, -0.3_f32);
        let mut by_deviation = vec![0.0; log_deviation.len()];
        distribution.gradient((log_deviation, action, entropy), (a, b), &mut scratch, &mut by_deviation);
        let total = |outputs: &[f64], deviations: &[f64]| {
            let (log_probability, entropy) = value(outputs, deviations);
            f64::from(a) * log_probability + f64::from(b) * entropy
        };
        let slope = |vector: &[f64], i: usize, f: &dyn Fn(&[f64]) -> f64| {
            let mut moved = vector.to_vec();
            moved[i] += 1e-5;
            let above = f(&moved);
            moved[i] -= 2e-5;
            (above - f(&moved)) / 2e-5
        };
        for (i, &gradient) in scratch.iter().enumerate() {
            let expected = slope(&outputs_64, i, &|x| total(x, &deviations_64));
            assert!((f64::from(gradient) - expected).abs() < 1e-4, "output {i}: {gradient} {expected}");
        }
        for (i, &gradient) in by_deviation.iter().enumerate() {
            let expected = slope(&deviations_64, i, &|x| total(&outputs_64, x));
            assert!((gradient - expected).abs() < 1e-4, "deviation {i}: {gradient} {expected}");
        }
    }

    #[test]
    fn judgements_and_gradients_are_those_of_the_formulas() {
        check(Distribution::Categorical { n: 3 }, &[0.3, -1.2, 0.8], &[], &[1.0]);
        check(Distribution::Categorical { n: 2 }, &[5.0, -5.0], &[], &[0.0]);
        check(Distribution::Gaussian { dimensions: 2 }, &[0.3, -1.2], &[0.1, -0.7], &[0.9, -1.0]);
    }

    #[test]
    fn draws_have_the_frequencies_and_log_probabilities_of_their_distribution() {
        let mut stream = Stream::new(1, Purpose::Test, 0, 0);
        let distribution = Distribution::Categorical { n: 3 };
        let logits = [0.1_f32.ln(), 0.6_f32.ln(), 0.3_f32.ln()];
        let mut counts = [0_u32; 3];
        for _ in 0..50_000 {
            let mut action = [0.0];
            let log_probability = distribution.sample(&logits, &[], &mut stream, &mut action);
            let choice = action[0] as usize;
            assert!((log_probability - logits[choice]).abs() < 1e-5);
            counts[choice] += 1;
        }
        for (count, expected) in counts.iter().zip([5_000.0, 30_000.0, 15_000.0]) {
            assert!((f64::from(*count) - expected).abs() < 500.0, "{counts:?}");
        }
    }
}
