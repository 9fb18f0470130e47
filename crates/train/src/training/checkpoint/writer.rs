//! Writes checkpoints on a thread of its own, so that the training waits for no disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::keeper::Kept;
use super::{BEST, background, list};

/// A checkpoint to be written, and whether it is the best so far.
type Job = (Arc<Kept>, bool);

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
            background::give_way();
            for (kept, is_best) in checkpoints {
                let written = kept.wait().and_then(|checkpoint| checkpoint.write(&run));
                // Its memory can be copied over again.
                drop(kept);
                let written = written.and_then(|path| if is_best { point(&path) } else { Ok(()) });
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
    pub fn offer(&self, kept: Arc<Kept>, is_best: bool) -> bool {
        let sent = self.queue.as_ref().map(|queue| queue.try_send((kept, is_best)));
        !matches!(sent, None | Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))))
    }

    /// What went wrong since this was last asked.
    pub fn faults(&self) -> Vec<String> {
        self.faults.try_iter().collect()
    }

    /// Writes the best checkpoint, if it is still to be written, and the last one, waits for all of them, and
    /// returns what went wrong.
    pub fn finish(mut self, best: Option<Arc<Kept>>, last: Arc<Kept>) -> Vec<String> {
        let deadline = Instant::now() + LAST_WRITE_LIMIT;
        for job in best.map(|best| (best, true)).into_iter().chain([(last, false)]) {
            let mut waiting = Some(job);
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
///
/// # Errors
/// If the disk does not take the link.
pub fn point(checkpoint: &Path) -> Result<()> {
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
mod tests {
    use super::*;
    use crate::training::checkpoint::Checkpoint;

    fn checkpoint(timesteps: u64) -> Arc<Kept> {
        Arc::new(Kept::ready(crate::training::checkpoint::tests::checkpoint(timesteps)))
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
        let judged = || Checkpoint::read(run.path()).unwrap().state.timesteps;
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
}
