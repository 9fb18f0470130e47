//! What the members of one generation play: each its episodes, all of them at once, to their end or a limit.

use std::time::{Duration, Instant};

use anyhow::Result;
use wire::spec::ActionSpace;

use super::Settings;
use super::normaliser::Scaling;
use super::population::Population;
use super::space::Space;
use crate::algorithms::env::{Outgoing, VecEnv};
use crate::algorithms::task::LoopTimes;
use crate::networks::network::Distribution;
use crate::training::stop::Stop;

/// The episodes of a generation, in buffers made once.
pub struct Generation {
    settings: Settings,
    distribution: Distribution,
    outgoing: Outgoing,
    is_playing: Vec<bool>,
    observations: Vec<f32>,
    outputs: Vec<f32>,
    actions: Vec<f32>,
    /// Return and length so far, environment by environment.
    episodes: Vec<(f64, u32)>,
    fitness: Vec<f64>,
    /// Steps of the environments that played, and all that were asked for.
    steps: u64,
    exchanged: u64,
}

impl Generation {
    /// Of so many members.
    pub fn new(action_space: &ActionSpace, members: usize, settings: Settings, space: &Space) -> Self {
        let n_envs = members * settings.episodes;
        let distribution = Distribution::over(action_space);
        Self {
            settings,
            distribution,
            outgoing: Outgoing::new(action_space),
            is_playing: vec![true; n_envs],
            observations: Vec::new(),
            outputs: vec![0.0; n_envs * space.outputs()],
            actions: vec![0.0; n_envs * distribution.action_len()],
            episodes: vec![(0.0, 0); n_envs],
            fitness: vec![0.0; members],
            steps: 0,
            exchanged: 0,
        }
    }

    /// Lets the members play from the first observations that `env` shows; it shows new ones in the end.
    ///
    /// # Errors
    /// If the environments fail, or it is to stop.
    pub fn play(
        &mut self,
        population: &mut Population,
        scaling: &Scaling,
        env: &mut dyn VecEnv,
        stop: &Stop,
    ) -> Result<LoopTimes> {
        let begun = Instant::now();
        let mut times = LoopTimes::default();
        let limit = if self.settings.step_limit == 0 { u64::MAX } else { self.settings.step_limit };
        self.is_playing.fill(true);
        self.episodes.fill((0.0, 0));
        (self.steps, self.exchanged) = (0, 0);
        let mut playing = self.is_playing.len();
        for _ in 0..limit {
            stop.check()?;
            let seen = (scaling, self.settings.normalize_observation);
            env.slab().observations().copy_into(&mut self.observations);
            population.act(&self.observations, &self.is_playing, seen, &mut self.outputs);
            let rows = self.outputs.chunks_exact(self.distribution.outputs());
            for (outputs, action) in rows.zip(self.actions.chunks_exact_mut(self.distribution.action_len())) {
                self.distribution.mode(outputs, action);
            }
            let actions = self.outgoing.fill(&self.actions);
            let sent = Instant::now();
            env.step(actions)?;
            times.environment += sent.elapsed();

            self.steps += playing as u64;
            self.exchanged += self.is_playing.len() as u64;
            let slab = env.slab();
            let ended = slab.terminated().iter().zip(slab.truncated());
            let running = self.is_playing.iter_mut().zip(&mut self.episodes);
            for (((is_playing, (sum, length)), &reward), (terminated, truncated)) in
                running.zip(slab.reward()).zip(ended).filter(|(((is_playing, _), _), _)| **is_playing)
            {
                *sum += f64::from(reward);
                *length += 1;
                if terminated | truncated != 0 {
                    *is_playing = false;
                    playing -= 1;
                }
            }
            if playing == 0 {
                break;
            }
        }
        for (fitness, episodes) in
            self.fitness.iter_mut().zip(self.episodes.chunks_exact(self.settings.episodes))
        {
            *fitness = episodes.iter().map(|(sum, _)| sum).sum::<f64>() / episodes.len() as f64;
        }
        let resetting = Instant::now();
        env.reset()?;
        times.environment += resetting.elapsed();
        times.inference = begun.elapsed().saturating_sub(times.environment);
        Ok(times)
    }

    /// The mean return of each member's episodes.
    pub fn fitness(&self) -> &[f64] {
        &self.fitness
    }

    /// Environment steps that were played.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Return and length of each episode.
    pub fn episodes(&self) -> &[(f64, u32)] {
        &self.episodes
    }

    /// What is said of a generation that took `elapsed`.
    pub fn scalars(&self, elapsed: Duration) -> Vec<(&'static str, f64)> {
        let n = self.fitness.len() as f64;
        let mean = self.fitness.iter().sum::<f64>() / n;
        let variance = self.fitness.iter().map(|fitness| (fitness - mean).powi(2)).sum::<f64>() / n;
        vec![
            ("evolution/fitness_mean", mean),
            ("evolution/fitness_best", self.fitness.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            ("evolution/fitness_spread", variance.sqrt()),
            ("evolution/evaluations_per_second", n / elapsed.as_secs_f64()),
            ("evolution/masked_share", 1.0 - self.steps as f64 / self.exchanged as f64),
        ]
    }
}
