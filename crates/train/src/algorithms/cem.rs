//! The cross-entropy method with noise (Szita and Lörincz 2006): members drawn around the policy, each parameter
//! with a deviation of its own; the best of them are what the next ones are drawn around.

use crate::algorithms::evolution::space::Space;
use crate::algorithms::evolution::{Settings, Shown, Strategy, best_first};
use crate::algorithms::hyper::hyper_parameters;
use crate::algorithms::schedule::Schedule;

hyper_parameters! {
    /// The hyper-parameters. Those that are a schedule take a number, or a range such as `0.1..0`.
    pub struct CemConfig, CemFlags {
        /// Episodes of each member in a generation; ENVS / EPISODES members make a population.
        episodes: usize = 1_usize,
        /// Steps of an episode, at most; 0 leaves its end to the environment.
        step_limit: u64 = 0_u64,
        /// How far the first members stand from the centre.
        sigma: f64 = 0.3,
        /// The part of the members that the next ones are drawn around.
        elite: f64 = 0.2,
        /// Deviation that is added to that of the best, so that it does not vanish too soon; FROM..TO changes.
        extra_sigma: Schedule = (0.1, 0.0),
        /// Whether observations are brought to mean 0 and deviation 1 by what was seen so far.
        normalize_observation: bool = true,
        /// Megabytes of perturbations to keep; what does not fit is made anew wherever it is needed.
        noise_megabytes: usize = 1024_usize,
    }
}

impl CemConfig {
    /// What makes no sense, naming the flag.
    ///
    /// # Errors
    /// With the first value that is out of its range.
    pub fn check(&self) -> Result<(), &'static str> {
        let checks = [
            (self.episodes > 0, "--episodes must be at least 1"),
            (self.sigma > 0.0 && self.sigma.is_finite(), "--sigma must be above 0"),
            (self.elite > 0.0 && self.elite <= 1.0, "--elite must be above 0 and at most 1"),
            (self.extra_sigma.all(|x| x >= 0.0 && x.is_finite()), "--extra-sigma must not be below 0"),
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
pub struct Cem<'a> {
    config: &'a CemConfig,
    variance: Vec<f32>,
}

impl<'a> Cem<'a> {
    /// In `space`.
    pub fn new(config: &'a CemConfig, space: &Space) -> Self {
        Self { config, variance: space.filled((config.sigma * config.sigma) as f32) }
    }
}

impl Strategy for Cem<'_> {
    fn deviation(&self, space: &Space, done: f64) -> Vec<f32> {
        let extra = space.filled(self.config.extra_sigma.at(done).powi(2) as f32);
        self.variance.iter().zip(extra).map(|(variance, extra)| (variance + extra).sqrt()).collect()
    }

    fn learn(&mut self, centre: &mut [f32], shown: &Shown<'_>) -> Vec<(&'static str, f64)> {
        let n_elite = (shown.fitness.len() as f64 * self.config.elite).ceil();
        // Of a pair, how many of the best stand at centre + δ less those at centre − δ, and how many there are.
        let (mut sides, mut counts) =
            (vec![0.0; shown.fitness.len() / 2], vec![0.0; shown.fitness.len() / 2]);
        for member in best_first(shown.fitness).into_iter().take(n_elite as usize) {
            sides[member / 2] += if member % 2 == 0 { 1.0 } else { -1.0 } / n_elite;
            counts[member / 2] += 1.0 / n_elite;
        }
        let moves = shown.population.weighted_sum(&sides, |delta| delta);
        let squares = shown.population.weighted_sum(&counts, |delta| delta * delta);
        for ((x, variance), (moved, square)) in
            centre.iter_mut().zip(&mut self.variance).zip(moves.iter().zip(squares))
        {
            *x += moved;
            *variance = (square - moved * moved).max(0.0);
        }
        let norm = moves.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
        let mean_square = |values: &[f32]| values.iter().map(|&x| f64::from(x)).sum::<f64>();
        let parameters = shown.deviation.iter().filter(|x| **x > 0.0).count().max(1) as f64;
        vec![
            ("losses/grad_norm", norm),
            ("evolution/sigma", (mean_square(&self.variance) / parameters).sqrt()),
        ]
    }

    fn kept(&mut self) -> Vec<(&'static str, &mut Vec<f32>)> {
        vec![("variance", &mut self.variance)]
    }
}
