//! What a server writes into a slab.

use super::words::Words;
use super::{Finished, SharedWords, Slab, TRACE_COLUMNS};

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
    /// Moves it into memory that the client reads.
    pub fn share(&mut self, words: SharedWords) {
        let mut words = words.0;
        let length = self.words.len().min(words.len());
        words[..length].copy_from_slice(&self.words[..length]);
        self.words = Words::Shared(words);
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
}
