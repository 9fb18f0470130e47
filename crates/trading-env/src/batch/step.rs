//! One step of many environments, split over the rayon pool.

use super::{Actions, Autoreset, Outputs, Slot};
use crate::environment::{Action, Environment, EpisodeStatistics, TraceRow};

/// Environments whose next rows are asked of memory before any of them is stepped: several are on their way at
/// once, where one at a time would wait for each.
const ENVS_PER_BLOCK: usize = 32;

/// What the tasks of one step share.
pub(super) struct Stepper<'a, E> {
    pub(super) environment: &'a E,
    pub(super) autoreset: Autoreset,
    pub(super) seed: u64,
    pub(super) observation_len: usize,
    pub(super) action_len: usize,
}

impl<E: Environment> Stepper<'_, E> {
    /// Halves the work until a task has at most `envs_per_task`.
    pub(super) fn step_split(
        &self,
        first_env: usize,
        slots: &mut [Slot<E::State>],
        actions: Actions<'_>,
        mut outputs: Outputs<'_>,
        envs_per_task: usize,
    ) {
        if slots.len() <= envs_per_task {
            for first in (0..slots.len()).step_by(ENVS_PER_BLOCK) {
                let block = first..slots.len().min(first + ENVS_PER_BLOCK);
                let touched: f32 =
                    slots[block.clone()].iter().map(|slot| self.environment.touch(&slot.state)).sum();
                std::hint::black_box(touched);
                for at in block.clone() {
                    self.step_one(
                        first_env + at,
                        &mut slots[at],
                        actions.at(at, self.action_len),
                        at,
                        &mut outputs,
                    );
                }
                let rows = outputs.observations.chunks_exact_mut(self.observation_len);
                for (slot, row) in slots[block].iter().zip(rows.skip(first)) {
                    self.environment.observe(&slot.state, row);
                }
            }
            return;
        }
        // Cut at a whole number of tasks, so that as few tasks as threads come out of it.
        let n_tasks = slots.len().div_ceil(envs_per_task);
        let middle = (n_tasks / 2) * envs_per_task;
        let (slots_left, slots_right) = slots.split_at_mut(middle);
        let (actions_left, actions_right) = actions.split_at(middle, self.action_len);
        let (outputs_left, outputs_right) = outputs.split_at(middle, self.observation_len);
        rayon::join(
            || self.step_split(first_env, slots_left, actions_left, outputs_left, envs_per_task),
            || self.step_split(first_env + middle, slots_right, actions_right, outputs_right, envs_per_task),
        );
    }

    /// Plays one environment's step: everything but its observation.
    #[inline]
    fn step_one(
        &self,
        env: usize,
        slot: &mut Slot<E::State>,
        action: Action<'_>,
        at: usize,
        outputs: &mut Outputs<'_>,
    ) {
        outputs.finished[at] = 0;
        if let Some((mut terminated, mut truncated)) = slot.ended {
            if self.autoreset == Autoreset::NextStep {
                *slot = Slot::start(self.environment, self.seed, env, slot.episode + 1);
                (terminated, truncated) = (false, false);
            }
            outputs.rewards[at] = 0.0;
            outputs.terminated[at] = terminated.into();
            outputs.truncated[at] = truncated.into();
            if let Some(trace) = outputs.trace.get_mut(at) {
                *trace = TraceRow::default();
            }
            return;
        }
        let transition = self.environment.step(&mut slot.state, action);
        slot.return_sum += transition.reward;
        slot.length += 1;
        outputs.rewards[at] = transition.reward as f32;
        outputs.terminated[at] = transition.terminated.into();
        outputs.truncated[at] = transition.truncated.into();
        if let Some(trace) = outputs.trace.get_mut(at) {
            *trace = self.environment.trace(&slot.state);
        }
        if transition.terminated || transition.truncated {
            outputs.finished[at] = 1;
            outputs.statistics[at] = EpisodeStatistics {
                return_sum: slot.return_sum,
                length: slot.length,
                account: self.environment.account(&slot.state),
            };
            let row = at * self.observation_len..(at + 1) * self.observation_len;
            self.environment.observe(&slot.state, &mut outputs.final_observations[row]);
            match self.autoreset {
                Autoreset::SameStep => {
                    *slot = Slot::start(self.environment, self.seed, env, slot.episode + 1);
                }
                Autoreset::NextStep | Autoreset::Disabled => {
                    slot.ended = Some((transition.terminated, transition.truncated));
                }
            }
        }
    }
}
