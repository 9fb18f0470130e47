//! The arrays of one exchange in one buffer, the same on both sides, so that nothing is encoded or decoded.
//!
//! For `n` environments the buffer holds, each section starting at a multiple of 64 bytes:
//!
//! | section | type | meaning |
//! |---|---|---|
//! | observations | f32 × n × `obs_len` | what each agent sees now |
//! | rewards | f32 × n | of the step just made; 0 after a reset |
//! | terminated | u8 × n | 1 where the episode ended by the rules |
//! | truncated | u8 × n | 1 where it ended by a limit or the end of the data; both may be 1 |
//! | env id | u32 × n | only with partial batches: which environments these are, ascending |
//! | trace | [`TRACE_COLUMNS`] × f64 × n, then f64 × n × costs | only if the session asked for it |
//! | count | u64 | how many finished records follow |
//! | finished | [`Finished`] + costs f64 + observation f32, padded to 8 bytes, × count | one for each episode that ended |
//!
//! A frame carries the buffer up to its last finished record, so an exchange in which nothing ends pays
//! nothing for final observations.
//!
//! # Layout
//! - `fill`: what a server writes; `receive`: what a client gets of it in shared memory.
//! - `check`: bytes that came from elsewhere are a slab, or refused.
//! - `words`: the memory itself.

mod check;
mod fill;
mod receive;
#[cfg(test)]
mod tests;
mod words;

use std::borrow::Cow;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::layout::SlabLayout;
use crate::observations::Observations;
pub use fill::SlabMut;
use receive::Theirs;
pub use words::SharedWords;
use words::Words;

/// The f64 columns of a trace, before the costs by kind.
pub const TRACE_COLUMNS: [&str; 9] = [
    "ts",
    "symbol",
    "close",
    "open_fill_price",
    "open_fill_shares",
    "close_fill_price",
    "close_fill_shares",
    "shares",
    "equity",
];

/// The fixed part of the record of an episode that has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Finished {
    /// Which environment.
    pub env: u32,
    /// Steps in the episode.
    pub length: u32,
    /// Sum of its rewards.
    pub episode_return: f64,
    /// Equity at its end in the market's currency; 0 where there is no account.
    pub final_equity: f64,
    /// Value traded, as a multiple of the starting capital.
    pub turnover: f64,
    /// The deepest fall of equity from its peak, as a fraction of the peak.
    pub max_drawdown: f64,
    /// Fills.
    pub trades: u64,
}

/// One session's buffer. All accessors are views; nothing is copied.
#[derive(Debug)]
pub struct Slab {
    layout: SlabLayout,
    // Words, so that every section is aligned for its type.
    words: Words,
    /// A client's: where the server writes the observations. `words` begin with the rewards then.
    theirs: Option<Theirs>,
}

impl Slab {
    /// An empty slab.
    pub fn new(layout: SlabLayout) -> Self {
        let words = Words::Private(vec![0; layout.total / 8]);
        Self { layout, words, theirs: None }
    }

    /// Where everything is.
    pub fn layout(&self) -> &SlabLayout {
        &self.layout
    }

    /// Observations, `n_envs × obs_len`, where they lie. In shared memory there are none (the length is 0)
    /// from the moment in which actions are sent until their answer is received, as the server writes then.
    pub fn observations(&self) -> Observations<'_> {
        let len = self.layout.n_envs * self.layout.obs_len;
        match &self.theirs {
            None => self.view(0, len).into(),
            Some(theirs) if theirs.is_being_written => (&[][..]).into(),
            Some(theirs) => theirs.memory.observations(theirs.at, len),
        }
    }

    /// Rewards, one an environment.
    pub fn reward(&self) -> &[f32] {
        self.view(self.layout.reward, self.layout.n_envs)
    }

    /// 1 where an episode ended by the rules.
    pub fn terminated(&self) -> &[u8] {
        self.view(self.layout.terminated, self.layout.n_envs)
    }

    /// 1 where an episode ended by a limit or the end of the data.
    pub fn truncated(&self) -> &[u8] {
        self.view(self.layout.truncated, self.layout.n_envs)
    }

    /// Which environments it describes, ascending; empty where it describes all of them.
    pub fn env_id(&self) -> &[u32] {
        self.layout.env_id.map_or(&[], |start| self.view(start, self.layout.n_envs))
    }

    /// One column of the trace, by its position in [`TRACE_COLUMNS`]; empty without a trace.
    pub fn trace_column(&self, column: usize) -> &[f64] {
        let n = self.layout.n_envs;
        self.layout.trace.map_or(&[], |start| self.view(start + 8 * n * column, n))
    }

    /// The costs of environment `env` in this step by kind; empty without a trace.
    pub fn trace_costs(&self, env: usize) -> &[f64] {
        let (n, kinds) = (self.layout.n_envs, self.layout.n_cost_kinds);
        self.layout
            .trace
            .map_or(&[], |start| self.view(start + 8 * (n * TRACE_COLUMNS.len() + env * kinds), kinds))
    }

    /// How many episodes ended.
    pub fn n_finished(&self) -> usize {
        self.words[self.count_at()] as usize
    }

    /// The episodes that ended: their record, costs by kind, and final observation.
    pub fn finished(&self) -> impl Iterator<Item = (Finished, &[f64], &[f32])> {
        (0..self.n_finished()).map(|i| {
            let start = self.layout.records + i * self.layout.record_bytes;
            let costs = start + size_of::<Finished>();
            let obs = costs + 8 * self.layout.n_cost_kinds;
            (
                self.view::<Finished>(start, 1)[0],
                self.view(costs, self.layout.n_cost_kinds),
                self.view(obs, self.layout.obs_len),
            )
        })
    }

    /// The bytes that a frame carries; of a client's slab in shared memory, a copy.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        let end = self.layout.records + self.n_finished() * self.layout.record_bytes;
        let held = &bytemuck::cast_slice(&self.words)[..end - self.first()];
        if self.theirs.is_none() {
            return Cow::Borrowed(held);
        }
        let mut bytes = bytemuck::cast_slice(&self.observations().to_vec()).to_vec();
        bytes.resize(self.first(), 0);
        bytes.extend_from_slice(held);
        Cow::Owned(bytes)
    }

    /// The bytes that a frame carries after the observations, which whoever has the environments can show again.
    pub fn bytes_after_observations(&self) -> &[u8] {
        let end = self.layout.records + self.n_finished() * self.layout.record_bytes;
        &bytemuck::cast_slice(&self.words)[self.layout.reward - self.first()..end - self.first()]
    }

    /// The byte of the slab with which `words` begin.
    fn first(&self) -> usize {
        if self.theirs.is_some() { self.layout.reward } else { 0 }
    }

    /// The word that counts the finished records.
    fn count_at(&self) -> usize {
        (self.layout.count - self.first()) / 8
    }

    fn range<T>(&self, start: usize, len: usize) -> Range<usize> {
        let start = start - self.first();
        start..start + len * size_of::<T>()
    }

    fn view<T: Pod>(&self, start: usize, len: usize) -> &[T] {
        let bytes: &[u8] = bytemuck::cast_slice(&self.words);
        bytemuck::cast_slice(&bytes[self.range::<T>(start, len)])
    }

    fn view_mut<T: Pod>(&mut self, start: usize, len: usize) -> &mut [T] {
        let range = self.range::<T>(start, len);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.words);
        bytemuck::cast_slice_mut(&mut bytes[range])
    }
}
