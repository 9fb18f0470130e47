//! The evolution strategy of Salimans et al. (2017), of `OpenAI`: mirrored members around the policy, their fitness by
//! rank, and steps of Adam along the estimate of the fitness's gradient. The hyper-parameters on top, then
//! where members stand and what is learnt of them.

use crate::algorithms::evolution::adam::Adam;
use crate::algorithms::evolution::space::Space;
use crate::algorithms::evolution::{Settings, Shown, Strategy};
use crate::algorithms::hyper::hyper_parameters;
use crate::algorithms::schedule::Schedule;

hyper_parameters! {
    /// The hyper-parameters. The population is as many members as environments, or a part of it with several
    /// episodes a member. Those that are a schedule take a number, or a range such as `0.1..0.02`.
    pub struct OpenEsConfig, OpenEsFlags {
        /// Episodes of each member in a generation; ENVS / EPISODES members make a population.
        episodes: usize = 1_usize,
        /// Steps of an episode, at most; 0 leaves its end to the environment.
        step_limit: u64 = 0_u64,
        /// σ: how far members stand from the centre; FROM..TO changes linearly over the training.
        sigma: Schedule = 0.1,
        /// Step size of Adam; FROM..TO changes linearly over the training.
        learning_rate: Schedule = (0.03, 0.0),
        /// λ: what is added to the gradient of a parameter for its own size, λ x.
        weight_decay: f64 = 0.0,
        /// Whether observations are brought to mean 0 and deviation 1 by what was seen so far.
        normalize_observation: bool = true,
        /// Megabytes of perturbations to keep; what does not fit is made anew wherever it is needed.
        noise_megabytes: usize = 1024_usize,
    }
}

impl OpenEsConfig {
    /// What makes no sense, naming the flag.
    ///
    /// # Errors
    /// With the first value that is out of its range.
    pub fn check(&self) -> Result<(), &'static str> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let not_negative = |value: f64| value >= 0.0 && value.is_finite();
        let checks = [
            (self.episodes > 0, "--episodes must be at least 1"),
            (self.sigma.all(positive), "--sigma must be above 0"),
            (
                positive(self.learning_rate.from) && not_negative(self.learning_rate.to),
                "--learning-rate must be above 0",
            ),
            (not_negative(self.weight_decay), "--weight-decay must not be below 0"),
        ];
        checks.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, text)| Err(text))
    }

    /// What it has in common with others of its kind.
    pub fn settings(&self) -> Settings {
        Settings {
            episodes: self.episodes,
            step_limit: self.step_limit,
            normalize_observation: self.normalize_observation,
            noise_megabytes: self.noise_megabytes,
        }
    }
}

/// The strategy, and what it keeps from generation to generation.
pub struct OpenEs<'a> {
    config: &'a OpenEsConfig,
    adam: Adam,
}

impl<'a> OpenEs<'a> {
    /// In a space of this length.
    pub fn new(config: &'a OpenEsConfig, len: usize) -> Self {
        Self { config, adam: Adam::new(len) }
    }
}

impl Strategy for OpenEs<'_> {
    fn deviation(&self, space: &Space, done: f64) -> Vec<f32> {
        space.filled(self.config.sigma.at(done) as f32)
    }

    fn learn(&mut self, centre: &mut [f32], shown: &Shown<'_>) -> Vec<(&'static str, f64)> {
        let (sigma, learning_rate) =
            (self.config.sigma.at(shown.done), self.config.learning_rate.at(shown.done));
        let weights: Vec<f64> =
            centred_ranks(shown.fitness).chunks_exact(2).map(|pair| pair[0] - pair[1]).collect();
        // δ is σ ε, so that Σ weight · ε / (members · σ) is the sum over δ divided by σ once more.
        let scale = 1.0 / (shown.fitness.len() as f64 * sigma * sigma);
        let sums = shown.population.weighted_sum(&weights, |delta| delta);
        let estimate: Vec<f64> = sums.iter().map(|&sum| f64::from(sum) * scale).collect();
        // Adam goes down; fitness is to go up.
        let gradient: Vec<f64> = centre
            .iter()
            .zip(&estimate)
            .map(|(&x, estimate)| self.config.weight_decay * f64::from(x) - estimate)
            .collect();
        self.adam.step(centre, &gradient, learning_rate, shown.generation + 1);
        let norm = estimate.iter().map(|x| x * x).sum::<f64>().sqrt();
        vec![("losses/grad_norm", norm), ("charts/learning_rate", learning_rate), ("evolution/sigma", sigma)]
    }

    fn kept(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        vec![("first_moment", &mut self.adam.first_moment), ("second_moment", &mut self.adam.second_moment)]
    }
}

/// The rank of each fitness, from −½ for the lowest to ½ for the highest. Equals share the mean of their ranks,
/// so that a generation in which all did the same teaches nothing.
pub fn centred_ranks(fitness: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..fitness.len()).collect();
    order.sort_by(|&a, &b| fitness[a].total_cmp(&fitness[b]));
    let mut ranks = vec![0.0; fitness.len()];
    let mut first = 0;
    for equals in order.chunk_by(|&a, &b| fitness[a] == fitness[b]) {
        let mean = first as f64 + (equals.len() - 1) as f64 / 2.0;
        for &member in equals {
            ranks[member] = mean / (fitness.len() - 1) as f64 - 0.5;
        }
        first += equals.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_go_from_minus_a_half_to_a_half_and_equals_share_theirs() {
        assert_eq!(centred_ranks(&[3.0, -1.0, 10.0, 4.0, 5.0]), [-0.25, -0.5, 0.5, 0.0, 0.25]);
        assert_eq!(centred_ranks(&[7.0, 1.0, 7.0]), [0.25, -0.5, 0.25]);
        assert_eq!(centred_ranks(&[2.0; 4]), [0.0; 4]);
    }
}
