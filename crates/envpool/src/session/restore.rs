//! A session's whole state in bytes, and the way back to it.

use wire::Slab;
use wire::message::{ErrorCode, Refusal};

use super::{Session, is_mask};
use crate::served::Served;
use crate::snapshot::{self, Parts};

impl Session {
    /// Its whole state.
    pub fn snapshot(&self, served: &Served) -> Result<Vec<u8>, Refusal> {
        let never_reset = self.was_reset.iter().position(|&was_reset| !was_reset);
        if let (true, Some(env)) = (self.open.is_partial(), never_reset) {
            let text = format!("a snapshot before environment {env} was reset (reset all of them first)");
            return Err(Refusal { code: ErrorCode::BadSession, text });
        }
        let batch = self.batch.snapshot();
        let parts = Parts {
            was_reset: never_reset.is_none(),
            slab: self.slab().bytes_after_observations(),
            ends: &self.ends,
            batch: &batch,
        };
        snapshot::join(served, &self.open, &parts)
    }

    /// Goes back to the state of a snapshot; if it is refused, nothing has changed.
    pub fn restore(&mut self, served: &Served, slot: usize, bytes: &[u8]) -> Result<(), Refusal> {
        let refuse = |text: String| Refusal { code: ErrorCode::BadSnapshot, text };
        let parts = snapshot::split(served, &self.open, bytes)?;
        let is_whole = parts.was_reset || !self.open.is_partial();
        if parts.ends.len() != self.ends.len() || !is_mask(parts.ends) || !is_whole {
            return Err(refuse("a snapshot with ends of episodes that are none".into()));
        }
        let mut slab = Slab::new(self.slab().layout().clone());
        slab.take_over_after_observations(parts.slab).map_err(refuse)?;
        self.batch.restore(parts.batch).map_err(|error| refuse(error.to_string()))?;
        if parts.was_reset {
            // As they are not kept: they are nearly all of a slab, and follow from the states.
            let all = 0..self.open.n_envs;
            let envs = if self.open.is_partial() { slab.env_id().to_vec() } else { all.collect() };
            let shown = self.batch.observe_some(&envs, slab.split_mut().obs);
            shown.map_err(|error| refuse(error.to_string()))?;
        }
        self.slabs[slot].take_over(&slab.bytes()).map_err(refuse)?;
        self.ends.copy_from_slice(parts.ends);
        self.was_reset.fill(parts.was_reset);
        self.last = slot;
        Ok(())
    }
}
