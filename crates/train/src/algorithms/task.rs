//! What a run and an algorithm say to each other. A run lends environments and tells where to go on from; an
//! algorithm tells, update by update, what it did and what it would need to go on. Everything else (the run
//! directory, checkpoints, metrics, validation, progress) is the run's, whatever the algorithm.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wire::spec::ActionSpace;

use crate::algorithms::env::VecEnv;
use crate::config::EarlierEnd;
use crate::networks::learner::{Learner, OptimiserState, Policy};
use crate::networks::lent::Lent;
use crate::training::stop::Stop;

/// What a run lends to an algorithm.
pub struct Task<'a> {
    /// Keys everything drawn at random.
    pub seed: u64,
    /// Environment steps to learn from, over all environments.
    pub timesteps: u64,
    /// Where it was to end before, if that was changed on its way.
    pub earlier_ends: &'a [EarlierEnd],
    /// What can be done in the environments.
    pub space: &'a ActionSpace,
    /// The environments; they already show their first observations, or those to go on from.
    pub env: &'a mut dyn VecEnv,
    /// Where to go on from; none for a new training.
    pub start: Option<Start>,
    /// To be checked at least once a step and a minibatch.
    pub stop: &'a Stop,
    /// Who is told.
    pub listener: &'a mut dyn Listener,
}

/// Where an interrupted training goes on from.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// Updates made.
    pub update: u64,
    /// The parameters of the policy.
    pub parameters: Vec<f32>,
    /// What the algorithm kept.
    pub memory: Memory,
}

/// What an algorithm needs beside the policy's parameters to go on as if it had never stopped; on loan from a
/// training that goes on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory<V = Vec<f32>> {
    /// Long vectors by name, such as the moments of Adam.
    pub vectors: BTreeMap<String, V>,
    /// Everything else.
    pub values: Value,
}

/// What one update says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateReport<'a> {
    /// Updates made, this one included.
    pub update: u64,
    /// Environment steps made.
    pub timesteps: u64,
    /// What people watch, under the names that they look for.
    pub scalars: Vec<(&'static str, f64)>,
    /// Return and length of each episode that ended.
    pub episodes: &'a [(f64, u32)],
    /// Where the time of this update went.
    pub times: LoopTimes,
}

/// Where the time of a loop went.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LoopTimes {
    /// Between sending actions and having the answer.
    pub environment: Duration,
    /// All else of acting: the networks, drawing actions, keeping what came of them.
    pub inference: Duration,
    /// Learning from it.
    pub update: Duration,
}

/// Who is told of a training's progress. An error ends the training.
pub trait Listener {
    /// A training stands before its next update, new or resumed.
    ///
    /// # Errors
    /// If the environments or the device fail.
    fn begun(&mut self, env: &mut dyn VecEnv, policy: &mut dyn Policy, memory: Memory<Lent>) -> Result<()>;

    /// An update was made. The policy may be tried; it must be left as it is.
    ///
    /// # Errors
    /// If the environments or the device fail.
    fn updated(
        &mut self,
        report: &UpdateReport<'_>,
        env: &mut dyn VecEnv,
        policy: &mut dyn Policy,
        memory: Memory<Lent>,
    ) -> Result<()>;
}

impl Task<'_> {
    /// What the algorithm kept of itself when the training was interrupted; `new` at its first beginning.
    ///
    /// # Errors
    /// If it is not what this algorithm keeps.
    pub fn recall<T: DeserializeOwned>(&self, new: T) -> Result<T> {
        match &self.start {
            None => Ok(new),
            Some(start) => serde_json::from_value(start.memory.values.clone())
                .context("the checkpoint is not one of this algorithm"),
        }
    }

    /// The end by which schedules go once `made` steps are made.
    pub fn end_at(&self, made: u64) -> u64 {
        EarlierEnd::at(self.earlier_ends, made, self.timesteps)
    }

    /// Updates made before this part of the training.
    pub fn updates_made(&self) -> u64 {
        self.start.as_ref().map_or(0, |start| start.update)
    }
}

const FIRST_MOMENT: &str = "first_moment";
const SECOND_MOMENT: &str = "second_moment";

impl Memory<Lent> {
    /// What a learner with Adam and `values` need.
    ///
    /// # Errors
    /// If a value cannot be written as JSON.
    pub fn of(learner: &dyn Learner, values: &impl Serialize) -> Result<Self> {
        let names = [FIRST_MOMENT, SECOND_MOMENT].map(str::to_owned);
        let vectors = names.into_iter().zip(learner.lend_moments()).collect();
        Ok(Self { vectors, values: serde_json::to_value(values)? })
    }
}

impl Start {
    /// Puts parameters and moments back into `learner`, whose optimiser had made `optimiser_steps`.
    ///
    /// # Errors
    /// If they are not there or of another length, or the device fails.
    pub fn put_into(&self, learner: &mut dyn Learner, optimiser_steps: u64) -> Result<()> {
        let vector = |name: &str| {
            let found = self.memory.vectors.get(name).cloned();
            found.with_context(|| format!("the checkpoint holds no {name}"))
        };
        learner.set_parameters(&self.parameters)?;
        learner.set_optimiser(&OptimiserState {
            first_moment: vector(FIRST_MOMENT)?,
            second_moment: vector(SECOND_MOMENT)?,
            steps: optimiser_steps,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Hears nothing.
    pub struct Deaf;

    impl Listener for Deaf {
        fn begun(&mut self, _: &mut dyn VecEnv, _: &mut dyn Policy, _: Memory<Lent>) -> Result<()> {
            Ok(())
        }

        fn updated(
            &mut self,
            _: &UpdateReport<'_>,
            _: &mut dyn VecEnv,
            _: &mut dyn Policy,
            _: Memory<Lent>,
        ) -> Result<()> {
            Ok(())
        }
    }
}
