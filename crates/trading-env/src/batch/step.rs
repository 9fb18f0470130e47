//! One step of many environments, split over the rayon pool.

use super::chosen::Chosen;
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
    /// Steps the `chosen` of `slots`, which begin with environment `first_env`. Halves the work until a task
    /// has at most `envs_per_task`.
    pub(super) fn step_split<C: Chosen>(
        &self,
        chosen: C,
        first_env: usize,
        slots: &mut [Slot<E::State>],
        actions: Actions<'_>,
        mut outputs: Outputs<'_>,
        envs_per_task: usize,
    ) {
        let n = chosen.len();
        if n <= envs_per_task {
            for first in (0..n).step_by(ENVS_PER_BLOCK) {
                let block = first..n.min(first + ENVS_PER_BLOCK);
                let touched: f32 = block
                    .clone()
                    .map(|at| self.environment.touch(&slots[chosen.env(at) - first_env].state))
                    .sum();
                std::hint::black_box(touched);
                for at in block.clone() {
                    let env = chosen.env(at);
                    let action = actions.at(at, self.action_len);
                    self.step_one(env, &mut slots[env - first_env], action, at, &mut outputs);
                }
                let rows = outputs.observations.chunks_exact_mut(self.observation_len);
                for (at, row) in block.zip(rows.skip(first)) {
                    self.environment.observe(&slots[chosen.env(at) - first_env].state, row);
                }
            }
            return;
        }
        // Cut at a whole number of tasks, so that as few tasks as threads come out of it.
        let n_tasks = n.div_ceil(envs_per_task);
        let middle = (n_tasks / 2) * envs_per_task;
        let middle_env = chosen.env(middle);
        let (chosen_left, chosen_right) = chosen.split_at(middle);
        let (slots_left, slots_right) = slots.split_at_mut(middle_env - first_env);
        let (actions_left, actions_right) = actions.split_at(middle, self.action_len);
        let (outputs_left, outputs_right) = outputs.split_at(middle, self.observation_len);
        rayon::join(
            || self.step_split(chosen_left, first_env, slots_left, actions_left, outputs_left, envs_per_task),
            || {
                self.step_split(
                    chosen_right,
                    middle_env,
                    slots_right,
                    actions_right,
                    outputs_right,
                    envs_per_task,
                );
            },
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
