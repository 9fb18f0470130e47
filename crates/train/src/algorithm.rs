//! The algorithms that a run can learn with. Each is one file that knows nothing of run directories,
//! checkpoints or reports; this is the one place that lists them.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::device::Placement;
use crate::network::NetworkShape;
use crate::ppo::{self, PpoConfig};
use crate::task::Task;
use crate::torch::TorchLearner;

/// An algorithm and its hyper-parameters: a table of `config.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Proximal policy optimisation.
    Ppo(PpoConfig),
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
        }
    }

    /// Refuses hyper-parameters that make no sense, naming the flag.
    ///
    /// # Errors
    /// With the first one that is out of its range.
    pub fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Ppo(ppo) => ppo.check(),
        }
    }

    /// Samples of one step of the optimiser with `n_envs` environments.
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
        }
    }

    /// Learns networks of `shape` at `placement`.
    ///
    /// # Errors
    /// If the environments or the device fail, or the task is to stop.
    pub fn train(&self, task: &mut Task<'_>, shape: &NetworkShape, placement: Placement) -> Result<()> {
        match self {
            Self::Ppo(ppo) => {
                let mut learner = TorchLearner::new(shape, task.seed, placement)?;
                ppo::train(ppo, task, &mut learner)
            }
        }
    }
}
