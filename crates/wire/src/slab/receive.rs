//! What a client receives: a slab that the server writes into memory that this process reads.

use std::sync::Arc;

use super::Slab;
use super::words::Words;
use crate::layout::SlabLayout;
use crate::shared::mapping::Mapping;

/// The slab that the server writes, mapped to be read.
#[derive(Debug)]
pub(super) struct Theirs {
    pub(super) memory: Arc<Mapping>,
    /// The byte of the memory with which the slab begins.
    pub(super) at: usize,
    /// Whether it is the server's turn, which may be writing.
    pub(super) is_being_written: bool,
    was_received: bool,
}

impl Slab {
    /// A client's: observations are read where the server writes them, in `memory` from byte `at` on; everything
    /// else is copied out of it by [`Slab::receive`] and then checked.
    pub(crate) fn of_server(layout: SlabLayout, memory: Arc<Mapping>, at: usize) -> Self {
        let words = Words::Private(vec![0; (layout.total - layout.reward) / 8]);
        // Nothing has been received yet.
        let theirs = Theirs { memory, at, is_being_written: true, was_received: false };
        Self { layout, words, theirs: Some(theirs) }
    }

    /// It is the server's turn: it may write from now on.
    pub(crate) fn hand_over(&mut self) {
        if let Some(theirs) = &mut self.theirs {
            theirs.is_being_written = true;
        }
    }

    /// The server has refused what it was asked, and written nothing.
    pub(crate) fn take_back(&mut self) {
        if let Some(theirs) = &mut self.theirs {
            theirs.is_being_written = !theirs.was_received;
        }
    }

    /// The server has written into shared memory: copies everything but the observations, and checks it as
    /// [`Slab::check`] does.
    pub(crate) fn receive(&mut self) -> Result<(), String> {
        let (first, records, count_at) = (self.first(), self.layout.records, self.count_at());
        let Some(theirs) = &mut self.theirs else { return Err("a slab without a body".into()) };
        let small = (records - first) / 8;
        theirs.memory.copy_out(theirs.at + first, &mut self.words[..small]);
        let n_finished = (self.words[count_at] as usize).min(self.layout.n_envs);
        let end = records + n_finished * self.layout.record_bytes;
        theirs.memory.copy_out(theirs.at + records, &mut self.words[small..(end - first) / 8]);
        (theirs.is_being_written, theirs.was_received) = (false, true);
        self.check(end)
    }

    /// Whether the server writes it where this process reads it.
    pub(crate) fn is_of_server(&self) -> bool {
        self.theirs.is_some()
    }
}
