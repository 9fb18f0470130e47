//! Distributions over actions, from what the policy network puts out: draw, judge, differentiate. Plain
//! arithmetic; the randomness comes from our own generator.

use random::Stream;

use crate::networks::functions;
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

    /// What the policy makes of `actions`, a row each: see [`Judgement`].
    pub fn judge(self, outputs: &[f32], log_deviation: &[f32], actions: &[f32]) -> Judgement {
        let rows = outputs.len() / self.outputs();
        let mut judged = Judgement {
            log_probabilities: vec![0.0; rows],
            entropies: vec![0.0; rows],
            scores: outputs.to_vec(),
            probabilities: Vec::new(),
        };
        match self {
            Self::Categorical { n } => judged.judge_choices(n, actions),
            Self::Gaussian { dimensions } => {
                let entropy: f32 = log_deviation.iter().map(|log| log + 0.5 + HALF_LOG_TWO_PI).sum();
                judged.entropies.fill(entropy);
                let rows = judged.scores.chunks_exact_mut(dimensions).zip(actions.chunks_exact(dimensions));
                for ((scores, actions), log_probability) in rows.zip(&mut judged.log_probabilities) {
                    for ((z, action), log_deviation) in scores.iter_mut().zip(actions).zip(log_deviation) {
                        *z = (action - *z) * (-log_deviation).exp();
                        *log_probability -= 0.5 * *z * *z + log_deviation + HALF_LOG_TWO_PI;
                    }
                }
            }
        }
        judged
    }

    /// The gradient of `by_log_probability · ln π(action) + by_entropy · entropy` summed over rows, `judged` being
    /// what [`Distribution::judge`] made of them: by the outputs into `gradient`, and by the log deviations added to
    /// `log_deviation_gradient`.
    pub fn gradient(
        self,
        judged: &Judgement,
        (log_deviation, actions): (&[f32], &[f32]),
        (by_log_probability, by_entropy): (&[f32], f32),
        gradient: &mut [f32],
        log_deviation_gradient: &mut [f64],
    ) {
        let outputs = self.outputs();
        let rows = judged.scores.chunks_exact(outputs).zip(gradient.chunks_exact_mut(outputs));
        for (row, ((scores, slots), &by_log_probability)) in rows.zip(by_log_probability).enumerate() {
            match self {
                Self::Categorical { n } => {
                    let (probabilities, entropy) = (&judged.probabilities[row * n..], judged.entropies[row]);
                    for ((slot, log_p), p) in slots.iter_mut().zip(scores).zip(probabilities) {
                        *slot = -p * (by_log_probability + by_entropy * (log_p + entropy));
                    }
                    slots[actions[row] as usize] += by_log_probability;
                }
                Self::Gaussian { .. } => {
                    for (i, (slot, &z)) in slots.iter_mut().zip(scores).enumerate() {
                        *slot = by_log_probability * z * (-log_deviation[i]).exp();
                        log_deviation_gradient[i] +=
                            f64::from(by_log_probability * (z * z - 1.0) + by_entropy);
                    }
                }
            }
        }
    }
}

/// What a policy makes of actions, a row each.
#[derive(Debug)]
pub struct Judgement {
    /// The logarithm of the probability, or of its density.
    pub log_probabilities: Vec<f32>,
    /// The entropy of the distribution.
    pub entropies: Vec<f32>,
    /// Logarithms of all choices' probabilities, or how many deviations the action is from the mean.
    scores: Vec<f32>,
    /// All choices' probabilities.
    probabilities: Vec<f32>,
}

impl Judgement {
    /// Turns `scores` from logits into logarithms of probabilities, and the rest into what follows. One pass over
    /// all rows for each function that has to be computed, so that it is computed for many at once.
    fn judge_choices(&mut self, n: usize, actions: &[f32]) {
        for logits in self.scores.chunks_exact_mut(n) {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            for logit in logits {
                *logit -= max;
            }
        }
        self.probabilities.extend_from_slice(&self.scores);
        functions::exponentials(&mut self.probabilities);
        let mut log_sums: Vec<f32> = self.probabilities.chunks_exact(n).map(|e| e.iter().sum()).collect();
        for (exponentials, sum) in self.probabilities.chunks_exact_mut(n).zip(&log_sums) {
            let scale = 1.0 / sum;
            for exponential in exponentials {
                *exponential *= scale;
            }
        }
        functions::logarithms(&mut log_sums);
        let rows = self.scores.chunks_exact_mut(n).zip(self.probabilities.chunks_exact(n));
        for (row, (scores, probabilities)) in rows.enumerate() {
            let mut entropy = 0.0;
            for (score, p) in scores.iter_mut().zip(probabilities) {
                *score -= log_sums[row];
                entropy -= *score * p;
            }
            self.entropies[row] = entropy;
            self.log_probabilities[row] = scores[actions[row] as usize];
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
        // Among others, which are not to be taken for it.
        let repeated = |values: &[f32]| values.repeat(3);
        let judged = distribution.judge(&repeated(outputs), log_deviation, &repeated(action));
        let (log_probability, entropy) = (judged.log_probabilities[1], judged.entropies[1]);
        let expected = value(&outputs_64, &deviations_64);
        assert!((f64::from(log_probability) - expected.0).abs() < 1e-5);
        assert!((f64::from(entropy) - expected.1).abs() < 1e-5);

        let (a, b) = (0.7_f32, -0.3_f32);
        let mut by_deviation = vec![0.0; log_deviation.len()];
        let mut scratch = repeated(outputs);
        let actions = repeated(action);
        distribution.gradient(
            &judged,
            (log_deviation, &actions),
            (&[0.0, a, 0.0], b),
            &mut scratch,
            &mut by_deviation,
        );
        // The other rows have the entropy's part alone.
        for gradient in &mut by_deviation {
            *gradient -= 2.0 * f64::from(b);
        }
        let scratch = &scratch[outputs.len()..2 * outputs.len()];
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
