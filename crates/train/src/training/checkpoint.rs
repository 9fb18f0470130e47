//! Checkpoints: a directory a step, each whole or absent: written to another name, synced, renamed.
//!
//! A checkpoint holds `policy.safetensors` and `network.json`, enough for another program to run the policy;
//! `scaler.json`, what its observations were scaled with; and what going on from here needs:
//! `optimiser.safetensors`, `state.json` and `environments.bin`.
//!
//! # Layout
//! - [`tensors`]: safetensors files.
//! - [`keeper`]: the thread that copies what is to be written.
//! - [`writer`]: the thread that writes, and which checkpoints are kept.
//! - [`background`]: both go behind the threads that learn.
mod background;
pub mod keeper;
mod tensors;
pub mod writer;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::Spec;
use wire::spec::{ActionSpace, Observation, Scaler};

use crate::algorithms::task::{Memory, Start};
use crate::judgement::origin::Origin;
use crate::networks::network::NetworkShape;
use crate::report::TimeSplit;
use crate::training::memory;
use crate::training::metrics::LatestEpisodes;
use crate::training::validation::Score;

/// `network.json`: all that another program needs beside the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Layers, activation, distribution. A network is `y = W x + b` layer by layer, the activation after
    /// each but the last; tensors are `policy.LAYER.weight` and so on.
    pub shape: NetworkShape,
    /// What its inputs are.
    pub observation: Observation,
    /// What its outputs decide.
    pub action: ActionSpace,
}

/// What stays the same over a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Fixed {
    /// Layers and their meaning.
    pub network: Network,
    /// What observations are scaled with.
    pub scaler: Option<Scaler>,
}

/// `state.json`: counters and what else is not a tensor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The seed of the run.
    pub seed: u64,
    /// Updates made.
    pub update: u64,
    /// Environment steps made.
    pub timesteps: u64,
    /// What the policy learnt from; none where there is no market.
    pub origin: Option<Origin>,
    /// What the algorithm keeps.
    #[serde(default)]
    pub algorithm: Value,
    /// The episodes that the next metrics are means of.
    #[serde(default)]
    pub episodes: LatestEpisodes,
    /// Looks at the validation days.
    #[serde(default)]
    pub validation: Vec<Score>,
    /// Seconds of learning.
    #[serde(default)]
    pub seconds: f64,
    /// Where they went.
    #[serde(default)]
    pub time_split: TimeSplit,
}

/// Everything of one checkpoint, in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// What is the same in every checkpoint of the training.
    pub fixed: Arc<Fixed>,
    /// All parameters, laid out as [`crate::networks::network::Layout`] says.
    pub parameters: Vec<f32>,
    /// The algorithm's long vectors, such as the moments of Adam.
    pub vectors: BTreeMap<String, Vec<f32>>,
    /// Counters and the like.
    pub state: State,
    /// What the environments need to go on.
    pub environments: Vec<u8>,
}

impl Network {
    /// The network of `shape` for what `spec` serves.
    pub fn new(shape: NetworkShape, spec: &Spec) -> Self {
        Self { shape, observation: spec.observation.clone(), action: spec.action.clone() }
    }
}

impl Checkpoint {
    /// What an algorithm needs to go on from here.
    pub fn start(&self) -> Start {
        let memory = Memory { vectors: self.vectors.clone(), values: self.state.algorithm.clone() };
        Start { update: self.state.update, parameters: self.parameters.clone(), memory }
    }

    /// Reads the checkpoint in `directory`, or the best or else the newest one of the run in it.
    ///
    /// # Errors
    /// If there is none, or a file is missing or damaged.
    pub fn read(directory: &Path) -> Result<Self> {
        let directory = resolve(directory)?;
        let context = || format!("checkpoint {}", directory.display());
        Self::read_exactly(&directory).with_context(context)
    }

    /// Reads the newest checkpoint of the run in the directory `run`: where it can go on.
    ///
    /// # Errors
    /// If there is none, or a file is missing or damaged.
    pub fn newest(run: &Path) -> Result<Self> {
        let newest = list(run).pop().map(|(_, path)| path);
        let newest = newest
            .with_context(|| format!("{}: no run with a checkpoint (--resume takes a run)", run.display()))?;
        Self::read_exactly(&newest).with_context(|| format!("checkpoint {}", newest.display()))
    }

    fn read_exactly(directory: &Path) -> Result<Self> {
        let network: Network = read_json(&directory.join("network.json"))?;
        let state: State = read_json(&directory.join("state.json"))?;
        memory::check(&network.shape, 0)?;
        let (inputs, seen) = (network.shape.observation_len, network.observation.len as usize);
        ensure!(inputs == seen, "network.json: networks of {inputs} inputs for observations of {seen}");
        let layout = network.shape.layout();
        let mut parameters = vec![0.0; layout.len];
        let bytes = read(&directory.join(POLICY))?;
        let tensors = SafeTensors::deserialize(&bytes).context(POLICY)?;
        for entry in layout.entries() {
            let tensor = tensors.tensor(&entry.name).context(POLICY)?;
            ensure!(tensor.shape() == entry.shape, "{POLICY}: {} has another shape", entry.name);
            tensors::copy_floats(&tensor, &mut parameters[entry.range]).context(POLICY)?;
        }
        let bytes = read(&directory.join(OPTIMISER))?;
        let tensors = SafeTensors::deserialize(&bytes).context(OPTIMISER)?;
        let mut vectors = BTreeMap::new();
        for (name, tensor) in tensors.tensors() {
            let mut values = vec![0.0; tensor.shape().iter().product()];
            tensors::copy_floats(&tensor, &mut values).context(OPTIMISER)?;
            vectors.insert(name, values);
        }
        let scaler = read_json(&directory.join("scaler.json"))?;
        // Needed to go on, not to judge.
        let environments = fs::read(directory.join(ENVIRONMENTS)).unwrap_or_default();
        Ok(Self { fixed: Arc::new(Fixed { network, scaler }), parameters, vectors, state, environments })
    }

    /// The files, by name.
    fn files(&self) -> Result<BTreeMap<&'static str, Vec<u8>>> {
        let Fixed { network, scaler } = &*self.fixed;
        let policy = network.shape.layout().entries().into_iter().map(|entry| {
            let values = &self.parameters[entry.range.clone()];
            (entry.name, entry.shape, values)
        });
        let vectors =
            self.vectors.iter().map(|(name, values)| (name.clone(), vec![values.len()], values.as_slice()));
        Ok(BTreeMap::from([
            ("network.json", serde_json::to_vec_pretty(network)?),
            ("state.json", serde_json::to_vec_pretty(&self.state)?),
            ("scaler.json", serde_json::to_vec(scaler)?),
            (POLICY, tensors::to_bytes(policy)?),
            (OPTIMISER, tensors::to_bytes(vectors)?),
            (ENVIRONMENTS, self.environments.clone()),
        ]))
    }

    /// Writes `checkpoints/STEP` under `run`, whole or not at all.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn write(&self, run: &Path) -> Result<PathBuf> {
        let target = path(run, self.state.timesteps);
        // Outside of `checkpoints`, so that whoever lists that sees whole ones alone.
        let unfinished = run.join(".unfinished-checkpoint");
        let written = self.write_to(&unfinished, &target);
        if written.is_err() {
            let _ = fs::remove_dir_all(&unfinished);
        }
        written.with_context(|| format!("checkpoint {}", target.display()))?;
        Ok(target)
    }

    fn write_to(&self, unfinished: &Path, target: &Path) -> Result<()> {
        // The same step of the same run is the same checkpoint, and what is there is whole.
        if target.exists() {
            return Ok(());
        }
        if unfinished.exists() {
            fs::remove_dir_all(unfinished)?;
        }
        fs::create_dir_all(unfinished)?;
        for (name, bytes) in self.files()? {
            let mut file = File::create(unfinished.join(name))?;
            file.write_all(&bytes)?;
            file.sync_all()?;
        }
        File::open(unfinished)?.sync_all()?;
        fs::rename(unfinished, target)?;
        let parent = target.parent().context("a checkpoint lies in a directory")?;
        Ok(File::open(parent)?.sync_all()?)
    }
}

const POLICY: &str = "policy.safetensors";
const OPTIMISER: &str = "optimiser.safetensors";
const ENVIRONMENTS: &str = "environments.bin";

/// The link to the best checkpoint, beside the checkpoints.
const BEST: &str = "best";

/// Where the checkpoint of the run in the directory `run` after so many steps is.
pub fn path(run: &Path, timesteps: u64) -> PathBuf {
    run.join("checkpoints").join(timesteps.to_string())
}

/// The checkpoints under `run`, oldest first.
pub fn list(run: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    let mut found: Vec<_> =
        entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))).collect();
    found.sort();
    found
}

/// `directory` itself if it is a checkpoint, or the best checkpoint of the run in it, or else the newest.
fn resolve(directory: &Path) -> Result<PathBuf> {
    ensure!(
        directory.is_dir(),
        "{}: no such directory (--checkpoint takes a checkpoint or a run)",
        directory.display()
    );
    if directory.join("network.json").exists() {
        return Ok(directory.to_owned());
    }
    let best = directory.join("checkpoints").join(BEST);
    if best.join("network.json").exists() {
        return Ok(best);
    }
    let newest = list(directory).pop().map(|(_, path)| path);
    newest.ok_or_else(|| {
        anyhow!(
            "{}: neither a checkpoint nor a run with one (--checkpoint takes either)",
            directory.display()
        )
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read(path)?).with_context(|| path.display().to_string())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::networks::network::{Activation, Distribution};
    use crate::training::stop::Stop;

    pub fn checkpoint(timesteps: u64) -> Checkpoint {
        let shape = NetworkShape {
            observation_len: 3,
            hidden: vec![4],
            activation: Activation::Relu,
            distribution: Distribution::Gaussian { dimensions: 2 },
        };
        let parameters = shape.initial_parameters(timesteps, 1, &Stop::never()).unwrap();
        let moment = |sign: f32| parameters.iter().map(|p| sign * p).collect::<Vec<_>>();
        let fixed = Fixed {
            network: Network {
                shape,
                observation: Observation {
                    feature_major: false,
                    len: 3,
                    window: 1,
                    features: vec!["rsi_14".into(), "atr_14".into()],
                    account: vec!["position".into()],
                },
                action: ActionSpace::Box { low: vec![-1.0; 2], high: vec![1.0; 2] },
            },
            scaler: Some(Scaler { mean: vec![0.1, 1.0 / 3.0], deviation: vec![2.0, 3.0], clip: 5.0 }),
        };
        Checkpoint {
            fixed: Arc::new(fixed),
            vectors: BTreeMap::from([("a".to_owned(), moment(0.5)), ("b".to_owned(), moment(2.0))]),
            parameters,
            state: State {
                seed: 3,
                update: 2,
                timesteps,
                origin: Some(Origin::of(&crate::report::summary::tests::market())),
                algorithm: serde_json::json!({ "sum_of_squares": 1e-7 / 3.0 }),
                validation: vec![Score { timesteps: 7, total_return: 0.1 }],
                ..State::default()
            },
            environments: vec![1, 2, 255],
        }
    }

    #[test]
    fn a_checkpoint_reads_back_to_the_bit_by_itself_and_as_the_newest_of_its_run() {
        let run = tempfile::tempdir().unwrap();
        fs::create_dir(run.path().join("checkpoints")).unwrap();
        let older = checkpoint(900).write(run.path()).unwrap();
        checkpoint(1000).write(run.path()).unwrap();
        assert_eq!(Checkpoint::read(&older).unwrap(), checkpoint(900));
        assert_eq!(Checkpoint::read(run.path()).unwrap(), checkpoint(1000));
        assert!(!run.path().join(".unfinished-checkpoint").exists());
    }

    #[test]
    fn a_damaged_checkpoint_is_named() {
        let run = tempfile::tempdir().unwrap();
        fs::create_dir(run.path().join("checkpoints")).unwrap();
        let path = checkpoint(7).write(run.path()).unwrap();
        let policy = path.join("policy.safetensors");
        let bytes = fs::read(&policy).unwrap();
        fs::write(&policy, &bytes[..bytes.len() - 4]).unwrap();
        let error = format!("{:#}", Checkpoint::read(&path).unwrap_err());
        assert!(error.contains("checkpoints/7") && error.contains("policy.safetensors"), "{error}");
    }
}
