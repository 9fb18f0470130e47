//! One batch of environments and the slabs that its exchanges fill.
//!
//! # Layout
//! - `allowed`: what a client may ask a session to be.
//! - `reset`, `step`: the two requests that play, each of a whole batch or of the environments that it names.
//! - `restore`: the whole state in bytes, and the way back to it.

mod allowed;
mod reset;
mod restore;
mod step;
#[cfg(test)]
mod tests;

use trading_env::{AnyBatch, Autoreset, EpisodeStatistics, Host, TraceRow};
use wire::message::{Opened, Refusal};
use wire::slab::SharedWords;
use wire::{Open, Slab, SlabLayout};

use crate::served::Served;
use crate::{clock, cores, watch};
use allowed::{check_memory, check_size};

/// One session of a client.
///
/// Where a request names some of the environments, each request that may be in flight in shared memory has a slab of
/// its own, a *slot*; whoever carries the requests says which. Requests are played in the order in which they came.
#[derive(Debug)]
pub struct Session {
    batch: AnyBatch,
    open: Open,
    opened: Opened,
    slabs: Vec<Slab>,
    /// The slot of the last exchange.
    last: usize,
    was_reset: Vec<bool>,
    /// How each environment's last step ended, two bytes each: terminated, truncated. Empty where the slab, which
    /// describes all environments, has it.
    ends: Vec<u8>,
    finished: Vec<u8>,
    final_observations: Vec<f32>,
    statistics: Vec<EpisodeStatistics>,
    trace: Vec<TraceRow>,
}

impl Session {
    /// The session that `open` asks for; nothing is allocated before it is found to be allowed.
    pub fn open(served: &Served, open: &Open) -> Result<Self, Refusal> {
        check_size(served, open)?;
        let autoreset = match open.autoreset {
            wire::Autoreset::SameStep => Autoreset::SameStep,
            wire::Autoreset::Disabled => Autoreset::Disabled,
            wire::Autoreset::NextStep => Autoreset::NextStep,
        };
        let (n_envs, n_rows) = (open.n_envs as usize, open.n_rows() as usize);
        let obs_len = served.spec.observation.len as usize;
        let opened = Opened {
            n_envs: open.n_envs,
            obs_len: obs_len as u32,
            n_cost_kinds: served.spec.cost_kinds.len() as u32,
            trace: open.trace,
        };
        check_memory(&SlabLayout::of(open, &opened), open)?;
        let mut batch = served.environment(open)?.batch(n_envs, open.seed, autoreset);
        cores::prepare();
        watch::prepare();
        batch.spread_by(Host { clock: clock::nanoseconds, before_step });
        Ok(Self {
            batch,
            open: open.clone(),
            slabs: vec![Slab::new(SlabLayout::of(open, &opened))],
            opened,
            last: 0,
            was_reset: vec![false; n_envs],
            ends: if open.is_partial() { vec![0; 2 * n_envs] } else { Vec::new() },
            finished: vec![0; n_rows],
            final_observations: vec![0.0; n_rows * obs_len],
            statistics: vec![EpisodeStatistics::default(); n_rows],
            trace: if open.trace { vec![TraceRow::default(); n_rows] } else { Vec::new() },
        })
    }

    /// What was asked for.
    pub fn asked(&self) -> &Open {
        &self.open
    }

    /// How its slabs are laid out.
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// What the last exchange brought.
    pub fn slab(&self) -> &Slab {
        &self.slabs[self.last]
    }

    /// Whether its last step was spread over the pool that it was made in.
    pub fn was_spread(&self) -> bool {
        self.batch.was_spread()
    }

    /// Moves the slabs into memory that the client reads: one piece a slot.
    pub fn share(&mut self, words: Vec<SharedWords>) {
        let layout = self.slab().layout().clone();
        self.slabs.resize_with(words.len().max(1), || Slab::new(layout.clone()));
        for (slab, words) in self.slabs.iter_mut().zip(words) {
            slab.share(words);
        }
    }
}

/// What a step finds as it begins, if it is spread: the threads that `client` keeps awake are free for it, each on its
/// core.
fn before_step(is_spread: bool) {
    if is_spread {
        watch::end();
    }
    cores::keep_while_spread(is_spread);
}

/// Whether each byte says yes or no.
fn is_mask(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte <= 1)
}
