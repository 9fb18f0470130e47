//! Where the arrays of one exchange lie in their buffer; the table is [`crate::slab`]'s.

use crate::message::{Open, Opened};
use crate::slab::{Finished, TRACE_COLUMNS};

/// The most that one environment's state takes in a snapshot; a running episode takes a few hundred bytes.
const MAX_STATE_BYTES: usize = 4096;
/// The most that a snapshot says about its session.
const MAX_SNAPSHOT_HEAD_BYTES: usize = 4096;

/// Where everything is in a session's slab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlabLayout {
    /// Environments that a slab describes: all of the session's, or a partial batch of them.
    pub(crate) n_envs: usize,
    pub(crate) n_session_envs: usize,
    pub(crate) obs_len: usize,
    pub(crate) n_cost_kinds: usize,
    pub(crate) reward: usize,
    pub(crate) terminated: usize,
    pub(crate) truncated: usize,
    pub(crate) env_id: Option<usize>,
    pub(crate) trace: Option<usize>,
    pub(crate) count: usize,
    pub(crate) records: usize,
    pub(crate) record_bytes: usize,
    pub(crate) total: usize,
}

impl SlabLayout {
    /// The layout of a session whose slabs describe all of its environments.
    pub fn new(opened: &Opened) -> Self {
        Self::sections(opened, opened.n_envs, false)
    }

    /// The layout of the session that `open` asked for.
    pub fn of(open: &Open, opened: &Opened) -> Self {
        Self::sections(opened, open.n_rows(), open.is_partial())
    }

    fn sections(opened: &Opened, n_rows: u32, is_partial: bool) -> Self {
        let n_envs = n_rows as usize;
        let obs_len = opened.obs_len as usize;
        let n_cost_kinds = opened.n_cost_kinds as usize;
        let mut end = 0;
        let mut section = |bytes: usize| {
            let start = end;
            end = (start + bytes).next_multiple_of(64);
            start
        };
        section(4 * n_envs * obs_len);
        let reward = section(4 * n_envs);
        let terminated = section(n_envs);
        let truncated = section(n_envs);
        let env_id = is_partial.then(|| section(4 * n_envs));
        let trace = opened.trace.then(|| section(8 * n_envs * (TRACE_COLUMNS.len() + n_cost_kinds)));
        let count = section(8);
        let record_bytes = size_of::<Finished>() + 8 * n_cost_kinds + (4 * obs_len).next_multiple_of(8);
        let records = section(n_envs * record_bytes);
        Self {
            n_envs,
            n_session_envs: opened.n_envs as usize,
            obs_len,
            n_cost_kinds,
            reward,
            terminated,
            truncated,
            env_id,
            trace,
            count,
            records,
            record_bytes,
            total: end,
        }
    }

    /// How many environments a slab describes.
    pub fn n_envs(&self) -> usize {
        self.n_envs
    }

    /// Values in one observation.
    pub fn obs_len(&self) -> usize {
        self.obs_len
    }

    /// The largest body of a frame with this layout.
    pub fn max_bytes(&self) -> usize {
        self.records + self.n_envs * self.record_bytes
    }

    /// The size of the buffer.
    pub(crate) fn total_bytes(&self) -> usize {
        self.total
    }

    /// The largest snapshot of a session with this layout.
    pub fn max_snapshot_bytes(&self) -> usize {
        MAX_SNAPSHOT_HEAD_BYTES + self.n_session_envs * MAX_STATE_BYTES + self.max_bytes()
    }
}
