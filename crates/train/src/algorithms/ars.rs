//! Augmented random search (Mania, Guy and Recht 2018, version V2-t): plain steps along the directions whose
//! better side did best, in units of how much their returns differ; observations are scaled.

use crate::algorithms::evolution::space::Space;
use crate::algorithms::evolution::{Settings, Shown, Strategy, best_first};
use crate::algorithms::hyper::hyper_parameters;
use crate::algorithms::schedule::Schedule;

hyper_parameters! {
    /// The hyper-parameters. Those that are a schedule take a number, or a range such as `0.1..0`.
    pub struct ArsConfig, ArsFlags {
        /// Episodes of each member in a generation; ENVS / EPISODES members make a population.
        episodes: usize = 1_usize,
        /// Steps of an episode, at most; 0 leaves its end to the environment.
        step_limit: u64 = 0_u64,
        /// ν: how far members stand from the centre; FROM..TO changes linearly over the training.
        sigma: Schedule = 0.1,
        /// α: step size; FROM..TO changes linearly over the training.
        learning_rate: Schedule = (0.1, 0.0),
        /// The part of the pairs that count: those whose better member did best.
        top: f64 = 0.5,
        /// Whether observations are brought to mean 0 and deviation 1 by what was seen so far.
        normalize_observation: bool = true,
        /// Megabytes of perturbations to keep; what does not fit is made anew wherever it is needed.
        noise_megabytes: usize = 1024_usize,
    }
}

impl ArsConfig {
    /// What makes no sense, naming the flag.
    ///
    /// # Errors
    /// With the first value that is out of its range.
    pub fn check(&self) -> Result<(), &'static str> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let (from, to) = (self.learning_rate.from, self.learning_rate.to);
        let checks = [
            (self.episodes > 0, "--episodes must be at least 1"),
            (self.sigma.all(positive), "--sigma must be above 0"),
            (positive(from) && to >= 0.0 && to.is_finite(), "--learning-rate must be above 0"),
            (self.top > 0.0 && self.top <= 1.0, "--top must be above 0 and at most 1"),
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

/// The strategy; it keeps nothing.
pub struct Ars<'a>(pub &'a ArsConfig);

impl Strategy for Ars<'_> {
    fn deviation(&self, space: &Space, done: f64) -> Vec<f32> {
        space.filled(self.0.sigma.at(done) as f32)
    }

    fn learn(&mut self, centre: &mut [f32], shown: &Shown<'_>) -> Vec<(&'static str, f64)> {
        let (sigma, learning_rate) = (self.0.sigma.at(shown.done), self.0.learning_rate.at(shown.done));
        let pairs: Vec<[f64; 2]> = shown.fitness.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
        let better: Vec<f64> = pairs.iter().map(|pair| pair[0].max(pair[1])).collect();
        let n_top = (pairs.len() as f64 * self.0.top).ceil();
        let top = || best_first(&better).into_iter().take(n_top as usize);
        let mean = top().flat_map(|pair| pairs[pair]).sum::<f64>() / (2.0 * n_top);
        let variance =
            top().flat_map(|pair| pairs[pair]).map(|x| (x - mean).powi(2)).sum::<f64>() / (2.0 * n_top);
        // Members that all did the same point nowhere.
        let unit = if variance > 0.0 { n_top * variance.sqrt() * sigma } else { f64::INFINITY };
        let mut weights = vec![0.0; pairs.len()];
        top().for_each(|pair| weights[pair] = (pairs[pair][0] - pairs[pair][1]) / unit);
        // δ is ν times the paper's; `unit` has taken that off.
        let estimate = shown.population.weighted_sum(&weights, |delta| delta);
        centre.iter_mut().zip(&estimate).for_each(|(x, along)| *x += learning_rate as f32 * along);
        let norm = estimate.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
        vec![("losses/grad_norm", norm), ("charts/learning_rate", learning_rate), ("evolution/sigma", sigma)]
    }
}
