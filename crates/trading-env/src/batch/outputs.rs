//! Where one step writes: one array a quantity, the caller's own.

use crate::environment::{EpisodeStatistics, TraceRow};

/// Where one step writes. Every slice has one entry (or one row of `observation_len` numbers) an environment
/// that is stepped.
#[derive(Debug)]
pub struct Outputs<'a> {
    /// What the agents see next.
    pub observations: &'a mut [f32],
    /// The rewards.
    pub rewards: &'a mut [f32],
    /// 1 where the rules ended the episode.
    pub terminated: &'a mut [u8],
    /// 1 where a limit cut the episode.
    pub truncated: &'a mut [u8],
    /// 1 where an episode ended in this very step; the next two are written only there.
    pub finished: &'a mut [u8],
    /// The last observations of the episodes that ended.
    pub final_observations: &'a mut [f32],
    /// The statistics of the episodes that ended.
    pub statistics: &'a mut [EpisodeStatistics],
    /// What the step did, if asked for: empty, or one an environment.
    pub trace: &'a mut [TraceRow],
}

impl<'a> Outputs<'a> {
    /// Whether every slice has the length that it must have.
    ///
    /// # Panics
    /// If one has not.
    pub(super) fn assert_lengths(&self, n_envs: usize, observation_len: usize) {
        assert_eq!(self.observations.len(), n_envs * observation_len, "observations");
        assert_eq!(self.final_observations.len(), n_envs * observation_len, "final observations");
        assert_eq!(self.rewards.len(), n_envs, "rewards");
        assert_eq!(self.terminated.len(), n_envs, "terminated");
        assert_eq!(self.truncated.len(), n_envs, "truncated");
        assert_eq!(self.finished.len(), n_envs, "finished");
        assert_eq!(self.statistics.len(), n_envs, "statistics");
        assert!(self.trace.is_empty() || self.trace.len() == n_envs, "trace");
    }

    /// The part before `env`, and the part from it on.
    pub(super) fn split_at(self, env: usize, observation_len: usize) -> (Outputs<'a>, Outputs<'a>) {
        let (observations_left, observations_right) = self.observations.split_at_mut(env * observation_len);
        let (final_left, final_right) = self.final_observations.split_at_mut(env * observation_len);
        let (rewards_left, rewards_right) = self.rewards.split_at_mut(env);
        let (terminated_left, terminated_right) = self.terminated.split_at_mut(env);
        let (truncated_left, truncated_right) = self.truncated.split_at_mut(env);
        let (finished_left, finished_right) = self.finished.split_at_mut(env);
        let (statistics_left, statistics_right) = self.statistics.split_at_mut(env);
        let (trace_left, trace_right) = self.trace.split_at_mut(env.min(self.trace.len()));
        (
            Outputs {
                observations: observations_left,
                rewards: rewards_left,
                terminated: terminated_left,
                truncated: truncated_left,
                finished: finished_left,
                final_observations: final_left,
                statistics: statistics_left,
                trace: trace_left,
            },
            Outputs {
                observations: observations_right,
                rewards: rewards_right,
                terminated: terminated_right,
                truncated: truncated_right,
                finished: finished_right,
                final_observations: final_right,
                statistics: statistics_right,
                trace: trace_right,
            },
        )
    }
}
