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

use std::borrow::Cow;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use crate::layout::SlabLayout;
use crate::observations::Observations;
use crate::shared::mapping::{Mapping, OwnWords};

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

/// The slab that the server writes, mapped to be read.
#[derive(Debug)]
struct Theirs {
    memory: Arc<Mapping>,
    /// The byte of the memory with which the slab begins.
    at: usize,
    /// Whether it is the server's turn, which may be writing.
    is_being_written: bool,
    was_received: bool,
}

/// Memory for a slab that the client of a session has mapped too, to read it there.
#[derive(Debug)]
pub struct SharedWords(pub(crate) OwnWords);

#[derive(Debug)]
enum Words {
    Private(Vec<u64>),
    Shared(OwnWords),
}

impl Deref for Words {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        match self {
            Self::Private(words) => words,
            Self::Shared(words) => words,
        }
    }
}

impl DerefMut for Words {
    fn deref_mut(&mut self) -> &mut [u64] {
        match self {
            Self::Private(words) => words,
            Self::Shared(words) => words,
        }
    }
}

/// The arrays that a server fills, all at once, so that they can be written in parallel.
#[derive(Debug)]
pub struct SlabMut<'a> {
    /// `n_envs × obs_len`.
    pub obs: &'a mut [f32],
    /// `n_envs`.
    pub reward: &'a mut [f32],
    /// `n_envs`.
    pub terminated: &'a mut [u8],
    /// `n_envs`.
    pub truncated: &'a mut [u8],
    /// `n_envs`; empty where a slab describes all environments.
    pub env_id: &'a mut [u32],
    /// `TRACE_COLUMNS × n_envs`, column by column, then `n_envs × costs`; empty without a trace.
    pub trace: &'a mut [f64],
}

impl Slab {
    /// An empty slab.
    pub fn new(layout: SlabLayout) -> Self {
        let words = Words::Private(vec![0; layout.total / 8]);
        Self { layout, words, theirs: None }
    }

    /// A client's: observations are read where the server writes them, in `memory` from byte `at` on; everything
    /// else is copied out of it by [`Slab::receive`] and then checked.
    pub(crate) fn of_server(layout: SlabLayout, memory: Arc<Mapping>, at: usize) -> Self {
        let words = Words::Private(vec![0; (layout.total - layout.reward) / 8]);
        // Nothing has been received yet.
        let theirs = Theirs { memory, at, is_being_written: true, was_received: false };
        Self { layout, words, theirs: Some(theirs) }
    }

    /// Moves it into memory that the client reads.
    pub fn share(&mut self, words: SharedWords) {
        let mut words = words.0;
        let length = self.words.len().min(words.len());
        words[..length].copy_from_slice(&self.words[..length]);
        self.words = Words::Shared(words);
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

    /// Everything that a step writes but the finished records, for the server.
    pub fn split_mut(&mut self) -> SlabMut<'_> {
        let layout = &self.layout;
        let n = layout.n_envs;
        let trace_len =
            if layout.trace.is_some() { n * (TRACE_COLUMNS.len() + layout.n_cost_kinds) } else { 0 };
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.words);
        let (obs, bytes) = bytes.split_at_mut(layout.reward);
        let (reward, bytes) = bytes.split_at_mut(layout.terminated - layout.reward);
        let (terminated, bytes) = bytes.split_at_mut(layout.truncated - layout.terminated);
        let after_ends = layout.trace.unwrap_or(layout.count);
        let env_id_at = layout.env_id.unwrap_or(after_ends);
        let (truncated, bytes) = bytes.split_at_mut(env_id_at - layout.truncated);
        let (env_id, trace) = bytes.split_at_mut(after_ends - env_id_at);
        let n_ids = if layout.env_id.is_some() { n } else { 0 };
        SlabMut {
            obs: bytemuck::cast_slice_mut(&mut obs[..4 * n * layout.obs_len]),
            reward: bytemuck::cast_slice_mut(&mut reward[..4 * n]),
            terminated: &mut terminated[..n],
            truncated: &mut truncated[..n],
            env_id: bytemuck::cast_slice_mut(&mut env_id[..4 * n_ids]),
            trace: bytemuck::cast_slice_mut(&mut trace[..8 * trace_len]),
        }
    }

    /// Forgets the finished records of the last exchange.
    pub fn clear_finished(&mut self) {
        let count_at = self.count_at();
        self.words[count_at] = 0;
    }

    /// Appends the record of an episode that ended.
    ///
    /// # Panics
    /// If there are more records than environments, or `costs` or `final_obs` have another length than the
    /// session's; both are mistakes of the server's code.
    pub fn push_finished(&mut self, record: Finished, costs: &[f64], final_obs: &[f32]) {
        let at = self.n_finished();
        assert!(at < self.layout.n_envs, "an environment finishes once a step");
        let start = self.layout.records + at * self.layout.record_bytes;
        let costs_start = start + size_of::<Finished>();
        let obs_start = costs_start + 8 * self.layout.n_cost_kinds;
        let (n_costs, obs_len) = (self.layout.n_cost_kinds, self.layout.obs_len);
        self.view_mut::<Finished>(start, 1)[0] = record;
        self.view_mut(costs_start, n_costs).copy_from_slice(costs);
        self.view_mut(obs_start, obs_len).copy_from_slice(final_obs);
        let count_at = self.count_at();
        self.words[count_at] = at as u64 + 1;
    }

    /// Takes over the bytes of another slab of this layout, as [`Slab::bytes`] gave them.
    ///
    /// # Errors
    /// If they are none; no episode counts as finished then.
    pub fn take_over(&mut self, bytes: &[u8]) -> Result<(), String> {
        if bytes.len() > self.layout.max_bytes() {
            return Err(format!("a slab of {} bytes", bytes.len()));
        }
        self.body_mut(bytes.len()).copy_from_slice(bytes);
        self.check(bytes.len())
    }

    /// Takes over the bytes of another slab of this layout, as [`Slab::bytes_after_observations`] gave them, for a
    /// server; the observations stay as they are.
    ///
    /// # Errors
    /// If they are none; no episode counts as finished then.
    pub fn take_over_after_observations(&mut self, bytes: &[u8]) -> Result<(), String> {
        let start = self.layout.reward;
        if bytes.len() > self.layout.max_bytes() - start {
            return Err(format!("a slab of {} bytes beside its observations", bytes.len()));
        }
        self.body_mut(start + bytes.len())[start..].copy_from_slice(bytes);
        self.check(start + bytes.len())
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

    /// The buffer for the first `bytes` bytes, for a frame's body to be read into. Call [`Slab::check`] after.
    pub(crate) fn body_mut(&mut self, bytes: usize) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..bytes]
    }

    /// Checks what was read against the layout, so that no accessor can leave the buffer.
    pub(crate) fn check(&mut self, received: usize) -> Result<(), String> {
        let fault = self.fault(received);
        if fault.is_some() {
            self.clear_finished();
        }
        fault.map_or(Ok(()), Err)
    }

    fn fault(&self, received: usize) -> Option<String> {
        let layout = &self.layout;
        if received < layout.records {
            return Some(format!("a slab of {received} bytes, where {} are the least", layout.records));
        }
        let count = self.words[self.count_at()];
        let expected = count
            .checked_mul(layout.record_bytes as u64)
            .and_then(|bytes| bytes.checked_add(layout.records as u64));
        if count > layout.n_envs as u64 || expected != Some(received as u64) {
            return Some(format!("a slab of {received} bytes with {count} finished episodes"));
        }
        let ids = self.env_id();
        if ids.windows(2).any(|pair| pair[0] >= pair[1])
            || ids.last().is_some_and(|&last| last as usize >= layout.n_session_envs)
        {
            return Some("a slab of environments that are not open, or not in order".into());
        }
        let is_there = |env: u32| match ids {
            [] => (env as usize) < layout.n_envs,
            _ => ids.binary_search(&env).is_ok(),
        };
        let stray = self.finished().find(|(record, ..)| !is_there(record.env))?;
        Some(format!("a finished episode of environment {}, which is not among them", stray.0.env))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Open, Opened};

    fn opened(trace: bool) -> Opened {
        Opened { n_envs: 3, obs_len: 5, n_cost_kinds: 2, trace }
    }

    fn filled(trace: bool) -> Slab {
        let mut slab = Slab::new(SlabLayout::new(&opened(trace)));
        let parts = slab.split_mut();
        parts.obs.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
        parts.reward.copy_from_slice(&[0.5, -0.5, 0.25]);
        parts.terminated.copy_from_slice(&[0, 1, 0]);
        parts.truncated.copy_from_slice(&[0, 1, 1]);
        parts.trace.iter_mut().enumerate().for_each(|(i, x)| *x = i as f64);
        slab.clear_finished();
        for env in [1, 2] {
            let record = Finished { env, length: 9, trades: 4, ..Finished::default() };
            slab.push_finished(record, &[1.0, 2.0], &[env as f32; 5]);
        }
        slab
    }

    #[test]
    fn what_one_side_writes_the_other_reads() {
        for trace in [false, true] {
            let sent = filled(trace);
            let mut received = Slab::new(sent.layout().clone());
            let bytes = sent.bytes().to_vec();
            received.body_mut(bytes.len()).copy_from_slice(&bytes);
            received.check(bytes.len()).unwrap();
            assert_eq!(received.observations().to_vec(), sent.observations().to_vec());
            assert_eq!(received.reward(), [0.5, -0.5, 0.25]);
            assert_eq!(received.terminated(), [0, 1, 0]);
            assert_eq!(received.truncated(), [0, 1, 1]);
            let finished: Vec<_> =
                received.finished().map(|(r, c, o)| (r.env, c.to_vec(), o.to_vec())).collect();
            assert_eq!(finished, [(1, vec![1.0, 2.0], vec![1.0; 5]), (2, vec![1.0, 2.0], vec![2.0; 5])]);
            let trace_len = if trace { 3 } else { 0 };
            assert_eq!(received.trace_column(8).len(), trace_len);
            if trace {
                assert_eq!(received.trace_column(1), [3.0, 4.0, 5.0]);
                assert_eq!(received.trace_costs(2), [31.0, 32.0]);
            }
        }
    }

    #[test]
    fn what_the_server_writes_into_shared_memory_is_read_there_between_its_turns() {
        for trace in [false, true] {
            let mut sent = filled(trace);
            let file = tempfile::tempfile().unwrap();
            let total = sent.layout().total_bytes();
            file.set_len(total as u64).unwrap();
            // SAFETY: nobody else writes this file.
            sent.share(SharedWords(unsafe { OwnWords::new(Mapping::read_write(&file, total).unwrap()) }));
            let memory = Arc::new(Mapping::read_only(&file, total).unwrap());
            let mut received = Slab::of_server(sent.layout().clone(), memory, 0);
            assert!(received.observations().is_empty(), "nothing has come yet");
            received.receive().unwrap();
            assert_eq!(received.bytes(), sent.bytes());
            assert_eq!(received.reward(), sent.reward());
            assert_eq!(received.trace_column(1), sent.trace_column(1));
            assert_eq!(received.finished().count(), 2);
            received.hand_over();
            sent.split_mut().obs.fill(9.0);
            sent.split_mut().reward.fill(7.0);
            assert!(received.observations().is_empty(), "it is the server's turn");
            assert_eq!(received.reward(), [0.5, -0.5, 0.25], "what was copied stays");
            received.take_back();
            assert_eq!(received.observations().len(), 15, "it was refused");
            received.hand_over();
            received.receive().unwrap();
            assert_eq!(received.observations().to_vec(), [9.0; 15]);
            assert_eq!(received.reward(), [7.0; 3]);
            let count_at = sent.count_at();
            sent.words[count_at] = 4;
            assert!(received.receive().unwrap_err().contains("4 finished"));
            assert_eq!(received.n_finished(), 0);
        }
    }

    #[test]
    fn a_partial_slab_names_its_environments() {
        let open = Open { batch: 3, ..Open::training(9, 1) };
        let layout = SlabLayout::of(&open, &Opened { n_envs: 9, ..opened(true) });
        let with = |ids: [u32; 3], finished: u32| {
            let mut slab = Slab::new(layout.clone());
            let parts = slab.split_mut();
            parts.obs.fill(1.0);
            parts.trace.fill(2.0);
            parts.truncated.fill(1);
            parts.env_id.copy_from_slice(&ids);
            slab.push_finished(Finished { env: finished, ..Finished::default() }, &[1.0, 2.0], &[3.0; 5]);
            assert_eq!(
                (slab.env_id(), slab.truncated(), slab.trace_costs(2)),
                (&ids[..], &[1; 3][..], &[2.0; 2][..])
            );
            slab.check(slab.bytes().len())
        };
        assert_eq!(with([0, 4, 8], 4), Ok(()));
        for (ids, finished) in [([0, 4, 8], 5), ([0, 4, 9], 4), ([0, 4, 4], 4), ([4, 0, 8], 4)] {
            assert!(with(ids, finished).is_err(), "{ids:?} {finished}");
        }
    }

    #[test]
    fn a_slab_that_lies_about_itself_is_refused() {
        let good = filled(false);
        let len = good.bytes().len();
        let check = |received: usize, spoil: &dyn Fn(&mut Slab)| {
            let mut slab = filled(false);
            spoil(&mut slab);
            slab.check(received)
        };
        assert_eq!(check(len, &|_| ()), Ok(()));
        assert!(check(len - 8, &|_| ()).is_err());
        assert!(check(10, &|_| ()).is_err());
        assert!(check(len, &|slab| slab.words[slab.layout.count / 8] = u64::MAX).is_err());
        assert!(check(len, &|slab| slab.words[slab.layout.records / 8] = 77).is_err());
    }
}
