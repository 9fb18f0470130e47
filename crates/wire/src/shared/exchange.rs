//! The piece of memory in which both sides tell each other whose turn it is, and where the actions lie.
//!
//! | byte | written by | word (u32) |
//! |---|---|---|
//! | 0 | client | requests posted |
//! | 4 | client | nanoseconds from the last answer to this request; 0: it does not tell |
//! | 64 | client | 1: it sleeps and is to be woken |
//! | 128 | server | requests answered: the number of the last one |
//! | 132 | server | nanoseconds that the answer took |
//! | 192 | server | how: 0 in the slab, 1 by a frame on the stream |
//! | 256 | server, and the client when it wakes it | 1: it sleeps and is to be woken |
//! | 512 | client | the actions, 4 bytes each |
//!
//! With partial batches several requests may be in flight, each in a slot of its own, which begins at a multiple
//! of 64 bytes after byte 512:
//!
//! | byte | written by | word (u32) |
//! |---|---|---|
//! | 0 | server | how it was answered, in place of byte 192 above |
//! | 64 | client | the environments' numbers, then their actions, 4 bytes each |
//!
//! Each side stores its counter, then looks whether the other sleeps; and stores that it sleeps, then looks at
//! the other's counter once more. With sequentially consistent operations at least one of them sees the other.

use std::sync::atomic::{AtomicU32, Ordering};

use super::mapping::Mapping;
use crate::message::Open;

const ACTIONS_AT: usize = 512;
const LINE: usize = 64;

/// Where requests lie in an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slots {
    /// 4-byte values in a request.
    n_values: usize,
    count: usize,
    is_ring: bool,
}

impl Slots {
    /// Those of a session, whose environments' actions have `values_per_env` values each.
    pub(crate) fn of(open: &Open, values_per_env: usize) -> Self {
        let is_partial = open.is_partial();
        let n_values = open.n_rows() as usize * (values_per_env + usize::from(is_partial));
        Self { n_values, count: open.max_in_flight() as usize, is_ring: is_partial }
    }

    /// How many requests may be in flight.
    pub(crate) fn len(self) -> usize {
        self.count
    }

    /// Whether they are numbered one by one, which is so where several may be in flight.
    pub(crate) fn is_ring(self) -> bool {
        self.is_ring
    }

    /// Bytes of what a client writes for one request.
    pub(crate) fn request_bytes(self) -> usize {
        4 * self.n_values
    }

    /// Bytes of the exchange.
    pub(crate) fn exchange_bytes(self) -> usize {
        if self.is_ring {
            ACTIONS_AT + self.count * self.slot_bytes()
        } else {
            ACTIONS_AT + self.request_bytes().next_multiple_of(8)
        }
    }

    fn slot_bytes(self) -> usize {
        LINE + self.request_bytes().next_multiple_of(LINE)
    }

    fn request_at(self, slot: usize) -> usize {
        if self.is_ring { ACTIONS_AT + slot * self.slot_bytes() + LINE } else { ACTIONS_AT }
    }

    fn answer_kind_at(self, slot: usize) -> usize {
        if self.is_ring { ACTIONS_AT + slot * self.slot_bytes() } else { 192 }
    }
}

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
    slots: Slots,
}

impl Exchange {
    /// The exchange in `mapping`, which must have [`Slots::exchange_bytes`] bytes.
    pub(crate) fn new(mapping: Mapping, slots: Slots) -> Self {
        Self { mapping, slots }
    }

    /// Where requests lie in it.
    pub(crate) fn slots(&self) -> Slots {
        self.slots
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

    fn answer_kind(&self, slot: usize) -> &AtomicU32 {
        self.mapping.word(self.slots.answer_kind_at(slot))
    }

    fn server_sleeps(&self) -> &AtomicU32 {
        self.mapping.word(256)
    }

    /// Client: writes a request, [`Slots::request_bytes`] in all, one part after the other.
    pub(crate) fn write_request(&mut self, slot: usize, parts: [&[u8]; 2]) {
        let at = self.slots.request_at(slot);
        self.mapping.copy_in(at, parts[0]);
        self.mapping.copy_in(at + parts[0].len(), parts[1]);
    }

    /// Server: a request, copied before anything looks at it.
    pub(crate) fn copy_request(&self, slot: usize, out: &mut [u64]) {
        let n_words = self.slots.request_bytes().div_ceil(8);
        self.mapping.copy_out(self.slots.request_at(slot), &mut out[..n_words]);
    }

    /// Client: posts request `number`, `pause` nanoseconds after the last answer. Whether the server sleeps, and is now
    /// to be woken by a frame.
    pub(crate) fn post(&self, number: u32, pause: u32) -> bool {
        self.mapping.word(4).store(pause, Ordering::Relaxed);
        self.posted().store(number, Ordering::SeqCst);
        take(self.server_sleeps())
    }

    /// Server: the number of the last request.
    pub(crate) fn last_posted(&self) -> u32 {
        self.posted().load(Ordering::SeqCst)
    }

    /// Server: how long the client paused before it posted, in nanoseconds.
    pub(crate) fn pause(&self) -> u32 {
        self.mapping.word(4).load(Ordering::Relaxed)
    }

    /// Server: the answer that is about to be given took so many nanoseconds.
    pub(crate) fn set_took(&self, nanoseconds: u32) {
        self.mapping.word(132).store(nanoseconds, Ordering::Relaxed);
    }

    /// Server: answers request `number`, which lies in `slot`. Whether the client sleeps, and is now to be woken by
    /// a frame; never where the answer is a frame, which wakes it.
    pub(crate) fn answer(&self, number: u32, slot: usize, kind: AnswerKind) -> bool {
        self.answer_kind(slot).store(kind as u32, Ordering::Relaxed);
        self.answered().store(number, Ordering::SeqCst);
        kind == AnswerKind::Slab && take(self.client_sleeps())
    }

    /// Client: whether request `number`, which lies in `slot`, has been answered, and how.
    pub(crate) fn answer_to(&self, number: u32, slot: usize) -> Option<AnswerKind> {
        // Later ones may have been answered too.
        let later = self.answered().load(Ordering::SeqCst).wrapping_sub(number);
        ((later as usize) < self.slots.count).then(|| {
            let kind = self.answer_kind(slot).load(Ordering::Relaxed);
            if kind == 0 { AnswerKind::Slab } else { AnswerKind::Frame }
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

    /// Client: how long the last answer took, in nanoseconds.
    pub(crate) fn took(&self) -> u32 {
        self.mapping.word(132).load(Ordering::Relaxed)
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
