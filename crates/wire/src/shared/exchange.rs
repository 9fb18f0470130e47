//! The piece of memory in which both sides tell each other whose turn it is, and where the actions lie.
//!
//! | byte | written by | word (u32) |
//! |---|---|---|
//! | 0 | client | requests posted |
//! | 64 | client | 1: it sleeps and is to be woken |
//! | 128 | server | requests answered: the number of the last one |
//! | 192 | server | how: 0 in the slab, 1 by a frame on the stream |
//! | 256 | server, and the client when it wakes it | 1: it sleeps and is to be woken |
//! | 512 | client | the actions, 4 bytes each |
//!
//! Each side stores its counter, then looks whether the other sleeps; and stores that it sleeps, then looks at
//! the other's counter once more. With sequentially consistent operations at least one of them sees the other.

use std::sync::atomic::{AtomicU32, Ordering};

use super::mapping::Mapping;

const ACTIONS_AT: usize = 512;

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerKind {
    /// The slab has it.
    Slab,
    /// A frame on the stream has it: a refusal.
    Frame,
}

/// One session's counters and actions.
#[derive(Debug)]
pub(crate) struct Exchange {
    mapping: Mapping,
    n_values: usize,
}

impl Exchange {
    /// Bytes for `n_values` 4-byte values of actions.
    pub(crate) fn bytes(n_values: usize) -> usize {
        ACTIONS_AT + (4 * n_values).next_multiple_of(8)
    }

    /// The exchange in `mapping`, which must have [`Exchange::bytes`] bytes.
    pub(crate) fn new(mapping: Mapping, n_values: usize) -> Self {
        Self { mapping, n_values }
    }

    fn posted(&self) -> &AtomicU32 {
        self.mapping.word(0)
    }

    fn client_sleeps(&self) -> &AtomicU32 {
        self.mapping.word(64)
    }

    fn answered(&self) -> &AtomicU32 {
        self.mapping.word(128)
    }

    fn answer_kind(&self) -> &AtomicU32 {
        self.mapping.word(192)
    }

    fn server_sleeps(&self) -> &AtomicU32 {
        self.mapping.word(256)
    }

    /// Bytes of actions.
    pub(crate) fn action_bytes(&self) -> usize {
        4 * self.n_values
    }

    /// Client: writes actions, [`Exchange::action_bytes`] of them.
    pub(crate) fn write_actions(&self, actions: &[u8]) {
        for (i, value) in actions.chunks_exact(4).enumerate() {
            let value = u32::from_ne_bytes([value[0], value[1], value[2], value[3]]);
            self.mapping.word(ACTIONS_AT + 4 * i).store(value, Ordering::Relaxed);
        }
    }

    /// Server: the actions, copied before anything looks at them.
    pub(crate) fn copy_actions(&self, out: &mut [u64]) {
        self.mapping.copy_out(ACTIONS_AT, &mut out[..self.action_bytes().div_ceil(8)]);
    }

    /// Client: posts request `number`. Whether the server sleeps, and is now to be woken by a frame.
    pub(crate) fn post(&self, number: u32) -> bool {
        self.posted().store(number, Ordering::SeqCst);
        take(self.server_sleeps())
    }

    /// Server: the number of the last request.
    pub(crate) fn last_posted(&self) -> u32 {
        self.posted().load(Ordering::SeqCst)
    }

    /// Server: answers request `number`. Whether the client sleeps, and is now to be woken by a frame; never
    /// where the answer is a frame, which wakes it.
    pub(crate) fn answer(&self, number: u32, kind: AnswerKind) -> bool {
        self.answer_kind().store(kind as u32, Ordering::Relaxed);
        self.answered().store(number, Ordering::SeqCst);
        kind == AnswerKind::Slab && take(self.client_sleeps())
    }

    /// Client: whether request `number` has been answered, and how.
    pub(crate) fn answer_to(&self, number: u32) -> Option<AnswerKind> {
        (self.answered().load(Ordering::SeqCst) == number).then(|| {
            if self.answer_kind().load(Ordering::Relaxed) == 0 { AnswerKind::Slab } else { AnswerKind::Frame }
        })
    }

    /// Client: says that it sleeps from now on.
    pub(crate) fn client_falls_asleep(&self) {
        self.client_sleeps().store(1, Ordering::SeqCst);
    }

    /// Client: says that it is awake. Whether a frame to wake it is under way nevertheless.
    pub(crate) fn client_wakes(&self) -> bool {
        !take(self.client_sleeps())
    }

    /// Server: says that it sleeps from now on.
    pub(crate) fn server_falls_asleep(&self) {
        self.server_sleeps().store(1, Ordering::SeqCst);
    }

    /// Server: says that it is awake. Whether a frame to wake it is under way nevertheless.
    pub(crate) fn server_wakes(&self) -> bool {
        !take(self.server_sleeps())
    }
}

/// Whether a flag was up, which it no longer is. A look first, for a swap takes the line from the other side.
fn take(flag: &AtomicU32) -> bool {
    flag.load(Ordering::SeqCst) == 1 && flag.swap(0, Ordering::SeqCst) == 1
}
