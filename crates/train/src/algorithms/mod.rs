//! The algorithms that a run can learn with. Each is one file that knows nothing of run directories,
//! checkpoints or reports; this is the one place that lists them.
//!
//! # Layout
//! - [`ppo`]: proximal policy optimisation; [`clipped_loss`]: its loss; [`rollout`]: the transitions of one update,
//!   and their advantages; [`reward_scaler`]: brings rewards to unit size.
//! - [`openes`]: the evolution strategy of Salimans et al.; [`cem`]: the cross-entropy method; [`ars`]: augmented
//!   random search; [`evolution`]: all that these three share.
//! - [`task`]: what a run and an algorithm say to each other; [`env`]: the environments as an algorithm sees them.
//! - [`hyper`]: how an algorithm declares its part of the configuration; [`schedule`]: values that change over a
//!   training.
pub mod ars;
pub mod cem;
pub mod clipped_loss;
pub mod env;
pub mod evolution;
pub mod hyper;
pub mod openes;
pub mod ppo;
pub mod reward_scaler;
pub mod rollout;
pub mod schedule;
pub mod task;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::algorithms::ars::{Ars, ArsConfig, ArsFlags};
use crate::algorithms::cem::{Cem, CemConfig, CemFlags};
use crate::algorithms::evolution::space::Space;
use crate::algorithms::evolution::{Settings, Strategy};
use crate::algorithms::openes::{OpenEs, OpenEsConfig, OpenEsFlags};
use crate::algorithms::ppo::{PpoConfig, PpoFlags};
use crate::algorithms::task::Task;
use crate::networks::device::Placement;
use crate::networks::network::NetworkShape;
use crate::networks::torch::TorchLearner;
use wire::Open;
use wire::message::Autoreset;
use wire::spec::ActionSpace;

/// An algorithm and its hyper-parameters: a table of `config.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Proximal policy optimisation.
    Ppo(PpoConfig),
    /// The evolution strategy of Salimans et al. 2017.
    OpenEs(OpenEsConfig),
    /// The cross-entropy method.
    Cem(CemConfig),
    /// Augmented random search.
    Ars(ArsConfig),
}

impl Default for Algorithm {
    fn default() -> Self {
        Self::Ppo(PpoConfig::default())
    }
}

impl Algorithm {
    /// Its command.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ppo(_) => "ppo",
            Self::OpenEs(_) => "openes",
            Self::Cem(_) => "cem",
            Self::Ars(_) => "ars",
        }
    }

    /// Refuses hyper-parameters that make no sense, naming the flag.
    ///
    /// # Errors
    /// With the first one that is out of its range.
    pub fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Ppo(ppo) => ppo.check(),
            Self::OpenEs(openes) => openes.check(),
            Self::Cem(cem) => cem.check(),
            Self::Ars(ars) => ars.check(),
        }
    }

    /// Takes what suits the actions in `space` in place of the defaults, but for the hyper-parameters whose names were
    /// `given`.
    pub fn suit(&mut self, space: &ActionSpace, given: &BTreeSet<String>) {
        if let Self::Ppo(ppo) = self {
            PpoFlags::preset(space).without(given).lay_over(ppo);
        }
    }

    /// How a strategy that evolves lets its members play; none for one that learns by gradients.
    pub fn evolution(&self) -> Option<Settings> {
        match self {
            Self::Ppo(_) => None,
            Self::OpenEs(openes) => Some(openes.settings()),
            Self::Cem(cem) => Some(cem.settings()),
            Self::Ars(ars) => Some(ars.settings()),
        }
    }

    /// The session that it learns in: `open` but for what happens to an episode that has ended.
    pub fn session(&self, open: Open) -> Open {
        match self.evolution() {
            None => open,
            // Members that have finished wait for the others, and cost nothing.
            Some(_) => Open { autoreset: Autoreset::Disabled, ..open },
        }
    }

    /// Samples that are held at once with `n_envs` environments.
    pub fn samples_at_once(&self, n_envs: usize) -> u128 {
        let steps = if let Self::Ppo(ppo) = self { ppo.rollout } else { 1 };
        steps as u128 * n_envs as u128
    }

    /// Samples of one step of the optimiser with `n_envs` environments, all of whose samples fit into memory.
    ///
    /// # Errors
    /// If the environments' steps cannot be split so.
    pub fn minibatch_rows(&self, n_envs: usize) -> Result<usize> {
        match self {
            Self::Ppo(ppo) => {
                let rows = n_envs * ppo.rollout;
                ensure!(
                    rows < u32::MAX as usize && rows >= ppo.minibatches,
                    "a rollout of {rows} samples cannot be split into {} minibatches (change --rollout, --envs or \
                     --minibatches)",
                    ppo.minibatches
                );
                Ok(rows.div_ceil(ppo.minibatches))
            }
            Self::OpenEs(OpenEsConfig { episodes, .. })
            | Self::Cem(CemConfig { episodes, .. })
            | Self::Ars(ArsConfig { episodes, .. }) => evolution::pairs(n_envs, *episodes).map(|_| n_envs),
        }
    }

    /// Learns networks of `shape` at `placement`.
    ///
    /// # Errors
    /// If the environments or the device fail, or the task is to stop.
    pub fn train(&self, task: &mut Task<'_>, shape: &NetworkShape, placement: Placement) -> Result<()> {
        match self {
            Self::Ppo(ppo) => {
                let mut parameters = first_parameters(task, shape, placement.threads_to_start())?;
                parameters[shape.layout().log_deviation].fill(ppo.initial_log_deviation as f32);
                ppo::train(ppo, task, &mut TorchLearner::starting_at(shape, &parameters, placement)?)
            }
            Self::OpenEs(openes) => evolve(
                openes.settings(),
                &mut OpenEs::new(openes, Space::new(shape).len),
                task,
                shape,
                placement,
            ),
            Self::Cem(cem) => {
                evolve(cem.settings(), &mut Cem::new(cem, &Space::new(shape)), task, shape, placement)
            }
            Self::Ars(ars) => evolve(ars.settings(), &mut Ars(ars), task, shape, placement),
        }
    }
}

/// The parameters that a training starts with; to make those of wide networks takes a while, in which it can be
/// stopped.
fn first_parameters(task: &Task<'_>, shape: &NetworkShape, threads: usize) -> Result<Vec<f32>> {
    match &task.start {
        Some(start) => Ok(start.parameters.clone()),
        None => shape.initial_parameters(task.seed, threads, task.stop),
    }
}

/// Evolves on the processor's threads; the policy is shown, and judged, on one.
fn evolve(
    settings: Settings,
    strategy: &mut dyn Strategy,
    task: &mut Task<'_>,
    shape: &NetworkShape,
    placement: Placement,
) -> Result<()> {
    let parameters = first_parameters(task, shape, placement.inference_threads)?;
    let mut policy = TorchLearner::starting_at(shape, &parameters, Placement::one_thread())?;
    evolution::train(settings, strategy, task, (shape, placement.inference_threads), &mut policy)
}

/// The flags of one algorithm.
pub trait AlgorithmFlags: Args + Default + PartialEq {
    /// Its command.
    const NAME: &'static str;

    /// The names of the hyper-parameters that were given.
    fn given(&self) -> BTreeSet<String>;

    /// Makes `algorithm` this one, with the values of the flags that were given.
    fn choose(&self, algorithm: &mut Algorithm);
}

macro_rules! algorithm_flags {
    ($($flags:ty, $variant:ident, $config:ty, $name:literal;)+) => {$(
        impl AlgorithmFlags for $flags {
            const NAME: &'static str = $name;

            fn given(&self) -> BTreeSet<String> {
                self.given()
            }

            fn choose(&self, algorithm: &mut Algorithm) {
                let mut config = match algorithm {
                    Algorithm::$variant(config) => config.clone(),
                    _ => <$config>::default(),
                };
                self.lay_over(&mut config);
                *algorithm = Algorithm::$variant(config);
            }
        }
    )+};
}

algorithm_flags! {
    PpoFlags, Ppo, PpoConfig, "ppo";
    OpenEsFlags, OpenEs, OpenEsConfig, "openes";
    CemFlags, Cem, CemConfig, "cem";
    ArsFlags, Ars, ArsConfig, "ars";
}
