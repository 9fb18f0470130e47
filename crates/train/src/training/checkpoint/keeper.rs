//! Copies the numbers of a checkpoint on a thread of its own, while the training, which lent them, goes on acting.
//! What is no longer needed is copied over, so that no memory is asked of the system after the first few.

use std::collections::BTreeMap;
use std::mem::take;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Result, anyhow};

use super::{Checkpoint, Fixed, State, background};
use crate::algorithms::task::Memory;
use crate::networks::lent::Lent;

/// A checkpoint that stands in memory, or is about to.
#[derive(Debug)]
pub struct Kept {
    timesteps: u64,
    slot: Mutex<Option<Result<Arc<Checkpoint>, String>>>,
    filled: Condvar,
}

/// Everything of a checkpoint, its numbers still on loan.
#[derive(Debug)]
pub struct Unkept {
    /// What is the same in every checkpoint of the training.
    pub fixed: Arc<Fixed>,
    /// All parameters.
    pub parameters: Lent,
    /// What else the algorithm needs; its values are part of `state`.
    pub memory: Memory<Lent>,
    /// Counters and the like.
    pub state: State,
    /// What the environments need to go on.
    pub environments: Vec<u8>,
}

/// Copies checkpoints one after the other.
#[derive(Debug)]
pub struct Keeper {
    queue: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    unkept: Unkept,
    promise: Promise,
    spare: Option<Arc<Kept>>,
}

/// A checkpoint that is waited for; it fails if nothing comes of it.
struct Promise(Arc<Kept>);

impl Kept {
    fn awaited(timesteps: u64) -> Self {
        Self { timesteps, slot: Mutex::default(), filled: Condvar::new() }
    }

    /// One that is there already.
    pub fn ready(checkpoint: Checkpoint) -> Self {
        let kept = Self::awaited(checkpoint.state.timesteps);
        kept.fill(Ok(Arc::new(checkpoint)));
        kept
    }

    /// Environment steps made before it.
    pub fn timesteps(&self) -> u64 {
        self.timesteps
    }

    /// The checkpoint, once its numbers are copied.
    ///
    /// # Errors
    /// If they could not be.
    pub fn wait(&self) -> Result<Arc<Checkpoint>> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*slot {
                Some(Ok(checkpoint)) => return Ok(Arc::clone(checkpoint)),
                Some(Err(what)) => return Err(anyhow!("{what}")),
                None => slot = self.filled.wait(slot).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn fill(&self, outcome: Result<Arc<Checkpoint>, String>) {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(outcome);
        self.filled.notify_all();
    }

    /// The checkpoint, if nobody else has it.
    fn reclaim(self: Arc<Self>) -> Option<Checkpoint> {
        let slot = Arc::into_inner(self)?.slot.into_inner().unwrap_or_else(PoisonError::into_inner);
        Arc::into_inner(slot?.ok()?)
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.fill(Err("a checkpoint was given up before it was copied".into()));
    }
}

impl Keeper {
    /// One with nothing to do.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start() -> Result<Self> {
        let (queue, jobs) = sync_channel::<Job>(1);
        let work = move || {
            background::give_way();
            for Job { unkept, promise, spare } in jobs {
                let spare = spare.and_then(Kept::reclaim);
                let copied = unkept.copy_over(spare).map(Arc::new);
                promise.0.fill(copied.map_err(|error| format!("{error:#}")));
            }
        };
        let thread = std::thread::Builder::new().name("copies".into()).spawn(work)?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Has a checkpoint copied, over `spare` if nobody else has that.
    pub fn keep(&self, unkept: Unkept, spare: Option<Arc<Kept>>) -> Arc<Kept> {
        let kept = Arc::new(Kept::awaited(unkept.state.timesteps));
        let job = Job { unkept, promise: Promise(Arc::clone(&kept)), spare };
        // A job that is not taken is dropped, and its promise with it.
        if let Some(queue) = &self.queue {
            let _ = queue.send(job);
        }
        kept
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.queue = None;
        // What is left to be done takes no longer than a copy.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Unkept {
    /// The checkpoint, in the memory of `spare`.
    fn copy_over(self, spare: Option<Checkpoint>) -> Result<Checkpoint> {
        let (mut parameters, mut old) =
            spare.map_or_else(Default::default, |spare| (spare.parameters, spare.vectors));
        self.parameters.copy_to(&mut parameters)?;
        let mut vectors = BTreeMap::new();
        for (name, lent) in self.memory.vectors {
            let mut values = old.get_mut(&name).map(take).unwrap_or_default();
            lent.copy_to(&mut values)?;
            vectors.insert(name, values);
        }
        let Self { fixed, state, environments, .. } = self;
        Ok(Checkpoint { fixed, parameters, vectors, state, environments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::checkpoint::tests::checkpoint;

    fn lend(checkpoint: Checkpoint) -> Unkept {
        let Checkpoint { fixed, parameters, vectors, state, environments } = checkpoint;
        let vectors = vectors.into_iter().map(|(name, values)| (name, values.into())).collect();
        let memory = Memory { vectors, values: state.algorithm.clone() };
        Unkept { fixed, parameters: parameters.into(), memory, state, environments }
    }

    #[test]
    fn copies_are_what_was_lent_and_are_made_over_what_nobody_needs() {
        let keeper = Keeper::start().unwrap();
        let first = keeper.keep(lend(checkpoint(1)), None);
        let memory = first.wait().unwrap().parameters.as_ptr() as usize;
        let second = keeper.keep(lend(checkpoint(2)), Some(first));
        assert_eq!(*second.wait().unwrap(), checkpoint(2));
        assert_eq!(second.wait().unwrap().parameters.as_ptr() as usize, memory);
        // One that somebody still has stays as it is.
        let held = second.wait().unwrap();
        let third = keeper.keep(lend(checkpoint(3)), Some(second));
        assert_eq!((*third.wait().unwrap() == checkpoint(3), *held == checkpoint(2)), (true, true));
    }

    #[test]
    fn a_copy_that_fails_is_an_error_and_not_a_wait() {
        let keeper = Keeper::start().unwrap();
        let broken = |parameters| keeper.keep(Unkept { parameters, ..lend(checkpoint(1)) }, None).wait();
        let error = broken(Lent::new(1, |_| Err(anyhow!("the device is gone")))).unwrap_err();
        assert_eq!(error.to_string(), "the device is gone");
        assert_eq!(*keeper.keep(lend(checkpoint(2)), None).wait().unwrap(), checkpoint(2));
        let panics = broken(Lent::new(1, |_| panic!("on purpose"))).unwrap_err();
        assert!(panics.to_string().contains("given up"), "{panics}");
        // The thread is gone, and says so in the same words.
        assert!(keeper.keep(lend(checkpoint(2)), None).wait().is_err());
    }
}
