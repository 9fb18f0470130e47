//! Checkpoints: a directory a step, each whole or absent. A thread writes them to another name, syncs them,
//! and renames; the training loop only pays for a copy of the numbers.
//!
//! A checkpoint holds `policy.safetensors` and `network.json`, enough for another program to run the policy;
//! `scaler.json`, what its observations were scaled with; and `optimiser.safetensors` and `state.json`, what
//! going on from here needs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use wire::Spec;
use wire::spec::{ActionSpace, Observation, Scaler};

use crate::learner::OptimiserState;
use crate::network::NetworkShape;
use crate::origin::Origin;
use crate::reward_scaler::RewardScaler;

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

/// `state.json`: counters and what else is not a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// The seed of the run.
    pub seed: u64,
    /// Updates made.
    pub update: u64,
    /// Environment steps made.
    pub timesteps: u64,
    /// Steps of the optimiser.
    pub optimiser_steps: u64,
    /// What rewards were scaled with; none before the first update.
    pub reward_scaler: Option<RewardScaler>,
    /// What the policy learnt from; none where there is no market.
    pub origin: Option<Origin>,
}

/// Everything of one checkpoint, in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Layers and their meaning.
    pub network: Network,
    /// All parameters, laid out as [`crate::network::Layout`] says.
    pub parameters: Vec<f32>,
    /// Moments of Adam.
    pub optimiser: OptimiserState,
    /// Counters.
    pub counters: Counters,
    /// What observations are scaled with.
    pub scaler: Option<Scaler>,
}

impl Network {
    /// The network of `shape` for what `spec` serves.
    pub fn new(shape: NetworkShape, spec: &Spec) -> Self {
        Self { shape, observation: spec.observation.clone(), action: spec.action.clone() }
    }
}

impl Checkpoint {
    /// Reads the checkpoint in `directory`, or the best or else the newest one of the run in it.
    ///
    /// # Errors
    /// If there is none, or a file is missing or damaged.
    pub fn read(directory: &Path) -> Result<Self> {
        let directory = resolve(directory)?;
        let context = || format!("checkpoint {}", directory.display());
        Self::read_exactly(&directory).with_context(context)
    }

    fn read_exactly(directory: &Path) -> Result<Self> {
        let network: Network = read_json(&directory.join("network.json"))?;
        let counters: Counters = read_json(&directory.join("state.json"))?;
        let layout = network.shape.layout();
        let mut parameters = vec![0.0; layout.len];
        let bytes = read(&directory.join("policy.safetensors"))?;
        let tensors = SafeTensors::deserialize(&bytes).context("policy.safetensors")?;
        for entry in layout.entries() {
            let tensor = tensors.tensor(&entry.name).context("policy.safetensors")?;
            ensure!(tensor.shape() == entry.shape, "policy.safetensors: {} has another shape", entry.name);
            copy_floats(&tensor, &mut parameters[entry.range])?;
        }
        let bytes = read(&directory.join("optimiser.safetensors"))?;
        let tensors = SafeTensors::deserialize(&bytes).context("optimiser.safetensors")?;
        let moment = |name: &str| -> Result<Vec<f32>> {
            let mut values = vec![0.0; layout.len];
            copy_floats(&tensors.tensor(name).context("optimiser.safetensors")?, &mut values)?;
            Ok(values)
        };
        let optimiser = OptimiserState {
            first_moment: moment("first_moment")?,
            second_moment: moment("second_moment")?,
            steps: counters.optimiser_steps,
        };
        let scaler = read_json(&directory.join("scaler.json"))?;
        Ok(Self { network, parameters, optimiser, counters, scaler })
    }

    /// The files, by name.
    fn files(&self) -> Result<BTreeMap<&'static str, Vec<u8>>> {
        let layout = self.network.shape.layout();
        let policy = layout.entries().into_iter().map(|entry| {
            let values = &self.parameters[entry.range.clone()];
            (entry.name, entry.shape, values)
        });
        let moments = [
            ("first_moment", &self.optimiser.first_moment),
            ("second_moment", &self.optimiser.second_moment),
        ];
        let moments = moments.map(|(name, values)| (name.to_owned(), vec![values.len()], values.as_slice()));
        Ok(BTreeMap::from([
            ("network.json", serde_json::to_vec_pretty(&self.network)?),
            ("state.json", serde_json::to_vec_pretty(&self.counters)?),
            ("scaler.json", serde_json::to_vec(&self.scaler)?),
            ("policy.safetensors", safetensors_of(policy)?),
            ("optimiser.safetensors", safetensors_of(moments.into_iter())?),
        ]))
    }

    /// Writes `checkpoints/STEP` under `run`, whole or not at all.
    ///
    /// # Errors
    /// If the disk does not take it.
    pub fn write(&self, run: &Path) -> Result<PathBuf> {
        let target = run.join("checkpoints").join(self.counters.timesteps.to_string());
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

/// The link to the best checkpoint, beside the checkpoints.
const BEST: &str = "best";

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

fn copy_floats(tensor: &TensorView<'_>, values: &mut [f32]) -> Result<()> {
    let bytes = tensor.data();
    if tensor.dtype() != Dtype::F32 || bytes.len() != 4 * values.len() {
        bail!(
            "a tensor of {} bytes of {:?} where {} floats were due",
            bytes.len(),
            tensor.dtype(),
            values.len()
        );
    }
    for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    Ok(())
}

fn safetensors_of<'a>(tensors: impl Iterator<Item = (String, Vec<usize>, &'a [f32])>) -> Result<Vec<u8>> {
    let bytes: Vec<_> = tensors
        .map(|(name, shape, values)| {
            (name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
        })
        .collect();
    let views: Result<Vec<_>, _> = bytes
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect();
    let views = views.map_err(|error: safetensors::SafeTensorError| anyhow!("{error}"))?;
    safetensors::serialize(views, None).map_err(|error| anyhow!("{error}"))
}

/// A checkpoint to be written, and whether it is the best so far.
type Job = (Box<Checkpoint>, bool);

/// Writes checkpoints on a thread of its own, and forgets all but the newest, the first and the best, which
/// the link `checkpoints/best` points to.
#[derive(Debug)]
pub struct Writer {
    queue: Option<SyncSender<Job>>,
    faults: Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

/// How long the end of a run waits for a disk that does not answer.
const LAST_WRITE_LIMIT: Duration = Duration::from_secs(60);

impl Writer {
    /// A writer for the run in `run` that keeps `keep` checkpoints beside the first.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(run: &Path, keep: usize) -> Result<Self> {
        let (queue, checkpoints) = sync_channel::<Job>(1);
        let (tell, faults) = sync_channel(64);
        let run = run.to_owned();
        let work = move || {
            for (checkpoint, is_best) in checkpoints {
                let written =
                    checkpoint.write(&run).and_then(|path| if is_best { point(&path) } else { Ok(()) });
                let outcome = written.map(|()| forget_old(&run, keep));
                if let Err(error) = outcome {
                    // A reader that is far behind has heard the same before.
                    let _ = tell.try_send(format!("{error:#}; training goes on"));
                }
            }
        };
        let thread = std::thread::Builder::new().name("checkpoints".into()).spawn(work)?;
        Ok(Self { queue: Some(queue), faults, thread: Some(thread) })
    }

    /// Hands over a checkpoint to be written. If the disk is so slow that two others are still waiting, this
    /// one is dropped rather than waited for; returns whether it was taken.
    pub fn offer(&self, checkpoint: Checkpoint, is_best: bool) -> bool {
        let sent = self.queue.as_ref().map(|queue| queue.try_send((Box::new(checkpoint), is_best)));
        !matches!(sent, None | Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))))
    }

    /// What went wrong since this was last asked.
    pub fn faults(&self) -> Vec<String> {
        self.faults.try_iter().collect()
    }

    /// Writes the best checkpoint, if it is still to be written, and the last one, waits for all of them, and
    /// returns what went wrong.
    pub fn finish(mut self, best: Option<Checkpoint>, last: Checkpoint) -> Vec<String> {
        let deadline = Instant::now() + LAST_WRITE_LIMIT;
        for job in best.map(|best| (best, true)).into_iter().chain([(last, false)]) {
            let mut waiting = Some((Box::new(job.0), job.1));
            while let (Some(job), Some(queue)) = (waiting.take(), &self.queue) {
                match queue.try_send(job) {
                    Err(TrySendError::Full(back)) if Instant::now() < deadline => waiting = Some(back),
                    _ => {}
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.queue = None;
        let mut faults = Vec::new();
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            if !thread.is_finished() {
                faults.push("the disk has not taken the last checkpoint within a minute".into());
            }
        }
        faults.extend(self.faults());
        faults
    }
}

/// Points `best` beside `checkpoint` to it, in one step.
fn point(checkpoint: &Path) -> Result<()> {
    let name = checkpoint.file_name().context("a checkpoint has a name")?;
    let new = checkpoint.with_file_name(".best");
    let _ = fs::remove_file(&new);
    std::os::unix::fs::symlink(name, &new)
        .and_then(|()| fs::rename(&new, checkpoint.with_file_name(BEST)))
        .with_context(|| format!("{} as the best", checkpoint.display()))
}

/// Removes all checkpoints but the first, the best and the `keep` newest. One that cannot be removed is of no
/// harm.
fn forget_old(run: &Path, keep: usize) {
    let best = fs::read_link(run.join("checkpoints").join(BEST)).ok();
    let mut found = list(run);
    found.retain(|(_, path)| best.as_deref().is_none_or(|best| path.file_name() != Some(best.as_os_str())));
    let old = found.len().saturating_sub(keep);
    for (step, path) in &found[..old] {
        if *step > 0 {
            // Renamed first, so that nobody meets half of one.
            let doomed = run.join(".old-checkpoint");
            let _ = fs::remove_dir_all(&doomed);
            if fs::rename(path, &doomed).is_ok() {
                let _ = fs::remove_dir_all(&doomed);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::network::{Activation, Distribution};

    pub fn checkpoint(timesteps: u64) -> Checkpoint {
        let shape = NetworkShape {
            observation_len: 3,
            hidden: vec![4],
            activation: Activation::Relu,
            distribution: Distribution::Gaussian { dimensions: 2 },
        };
        let parameters = shape.initial_parameters(timesteps);
        let moment = |sign: f32| parameters.iter().map(|p| sign * p).collect::<Vec<_>>();
        let mut reward_scaler = RewardScaler::new(2, 0.99);
        reward_scaler.apply(&[1e-4, -3e-4], |_| false, &mut [0.0; 2]);
        Checkpoint {
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
            optimiser: OptimiserState { first_moment: moment(0.5), second_moment: moment(2.0), steps: 17 },
            parameters,
            counters: Counters {
                seed: 3,
                update: 2,
                timesteps,
                optimiser_steps: 17,
                reward_scaler: Some(reward_scaler),
                origin: Some(Origin::of(&crate::summary::tests::market())),
            },
            scaler: Some(Scaler { mean: vec![0.1, 1.0 / 3.0], deviation: vec![2.0, 3.0], clip: 5.0 }),
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
    fn the_writer_keeps_the_first_and_the_newest() {
        let run = tempfile::tempdir().unwrap();
        fs::create_dir(run.path().join("checkpoints")).unwrap();
        let writer = Writer::start(run.path(), 2).unwrap();
        for step in [0, 10, 20, 30] {
            while !writer.offer(checkpoint(step), false) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        assert_eq!(writer.finish(None, checkpoint(40)), Vec::<String>::new());
        let steps: Vec<u64> = list(run.path()).into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps, [0, 30, 40]);
    }

    #[test]
    fn the_best_is_kept_and_stands_for_the_run_until_a_better_one_comes() {
        let run = tempfile::tempdir().unwrap();
        fs::create_dir(run.path().join("checkpoints")).unwrap();
        let steps = || list(run.path()).into_iter().map(|(step, _)| step).collect::<Vec<u64>>();
        let judged = || Checkpoint::read(run.path()).unwrap().counters.timesteps;
        let write = |best: &[u64], steps: &[u64], last: u64| {
            let writer = Writer::start(run.path(), 1).unwrap();
            for step in steps {
                while !writer.offer(checkpoint(*step), best.contains(step)) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            assert_eq!(writer.finish(None, checkpoint(last)), Vec::<String>::new());
        };
        write(&[10], &[0, 10, 20], 30);
        assert_eq!((steps(), judged()), (vec![0, 10, 30], 10));
        // The last may be the best, and is then written under one name only.
        write(&[40], &[40], 40);
        assert_eq!((steps(), judged()), (vec![0, 30, 40], 40));
        let faults = Writer::start(run.path(), 1).unwrap().finish(Some(checkpoint(50)), checkpoint(60));
        assert_eq!((faults, steps(), judged()), (vec![], vec![0, 50, 60], 50));
    }

    #[test]
    fn what_the_disk_refuses_is_reported_and_leaves_nothing() {
        let run = tempfile::tempdir().unwrap();
        // A file where the directory of checkpoints should be.
        fs::write(run.path().join("checkpoints"), "").unwrap();
        let faults = Writer::start(run.path(), 2).unwrap().finish(None, checkpoint(5));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("checkpoints/5") && faults[0].contains("training goes on"), "{faults:?}");
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
