//! One step of many environments: in blocks, and over the rayon pool.

use super::chosen::Chosen;
use super::tally::{Tallies, Tally};
use super::{Actions, Autoreset, Outputs};
use crate::environment::{
    Action, BLOCK_LEN, Block, BlockOutputs, Environment, EpisodeKey, EpisodeStatistics, States, TraceRow,
};

/// What the tasks of one step share.
pub(super) struct Stepper<'a, E> {
    pub(super) environment: &'a E,
    pub(super) autoreset: Autoreset,
    pub(super) seed: u64,
    pub(super) observation_len: usize,
    pub(super) action_len: usize,
}

/// Blocks that stand side by side, the first of which is block `first_block`.
pub(super) struct Run<'a, S> {
    pub(super) first_block: usize,
    pub(super) states: &'a mut [S],
    pub(super) tallies: &'a mut [Tallies],
}

/// One block, of which some environments are stepped.
pub(super) struct Stepped<'a, S> {
    pub(super) block_idx: usize,
    pub(super) states: &'a mut S,
    pub(super) tallies: &'a mut Tallies,
}

impl<S: States> Stepped<'_, S> {
    /// The next episode of the environment in `lane`.
    pub(super) fn restart<E>(&mut self, environment: &E, seed: u64, lane: usize)
    where
        E: Environment<State = S::State, States = S>,
    {
        let env = (self.block_idx * BLOCK_LEN + lane) as u64;
        let episode = self.tallies.get(lane).episode + 1;
        self.tallies.set(lane, Tally::start(episode));
        let key = EpisodeKey { seed, env, episode };
        self.states.with_mut(lane, |state| *state = environment.reset(key));
    }
}

impl<'a, S> Run<'a, S> {
    /// The blocks before block `block_idx`, and those from it on.
    fn split_at(self, block_idx: usize) -> (Run<'a, S>, Run<'a, S>) {
        let at = block_idx - self.first_block;
        let (states_left, states_right) = self.states.split_at_mut(at);
        let (tallies_left, tallies_right) = self.tallies.split_at_mut(at);
        (
            Run { first_block: self.first_block, states: states_left, tallies: tallies_left },
            Run { first_block: block_idx, states: states_right, tallies: tallies_right },
        )
    }
}

impl<E: Environment> Stepper<'_, E> {
    /// Steps the `chosen` of a run. Halves the work until a task has at most `envs_per_task`, or one block.
    pub(super) fn step_split<C: Chosen>(
        &self,
        chosen: C,
        run: Run<'_, E::States>,
        actions: Actions<'_>,
        outputs: Outputs<'_>,
        envs_per_task: usize,
    ) {
        let n = chosen.len();
        // Cut at a whole number of tasks, so that a task is as large as it was found to be best.
        let n_tasks = n.div_ceil(envs_per_task);
        let middle = if n_tasks > 1 { chosen.seam((n_tasks / 2) * envs_per_task) } else { 0 };
        if middle == 0 {
            self.step_task(chosen, run, actions, outputs);
            return;
        }
        let (run_left, run_right) = run.split_at(chosen.block(middle).0);
        let (chosen_left, chosen_right) = chosen.split_at(middle);
        let (actions_left, actions_right) = actions.split_at(middle, self.action_len);
        let (outputs_left, outputs_right) = outputs.split_at(middle, self.observation_len);
        rayon::join(
            || self.step_split(chosen_left, run_left, actions_left, outputs_left, envs_per_task),
            || self.step_split(chosen_right, run_right, actions_right, outputs_right, envs_per_task),
        );
    }

    fn step_task<C: Chosen>(
        &self,
        chosen: C,
        run: Run<'_, E::States>,
        mut actions: Actions<'_>,
        mut outputs: Outputs<'_>,
    ) {
        let Run { first_block, states, tallies } = run;
        let n = chosen.len();
        let mut at = 0;
        let mut next = (n > 0).then(|| chosen.block(0));
        if let Some((block_idx, _)) = next {
            // From then on, a block may ask for what the next one needs.
            self.environment.prefetch(&states[block_idx - first_block]);
        }
        while let Some((block_idx, lanes)) = next {
            at += lanes.len();
            next = (at < n).then(|| chosen.block(at));
            let (now, later) = outputs.split_at(lanes.len(), self.observation_len);
            let (actions_now, actions_later) = actions.split_at(lanes.len(), self.action_len);
            (outputs, actions) = (later, actions_later);
            let (before, after) = states.split_at_mut(block_idx - first_block + 1);
            let Some(its_states) = before.last_mut() else { return };
            let block = Block {
                lanes,
                is_whole: C::IS_WHOLE,
                upcoming: next.map(|(next_idx, _)| &after[next_idx - block_idx - 1]),
                actions: actions_now,
                action_len: self.action_len,
            };
            let its_tallies = &mut tallies[block_idx - first_block];
            self.step_block(
                &mut Stepped { block_idx, states: its_states, tallies: its_tallies },
                &block,
                now,
            );
        }
    }

    fn step_block(
        &self,
        stepped: &mut Stepped<'_, E::States>,
        block: &Block<'_, E::States>,
        mut out: Outputs<'_>,
    ) {
        let n = block.lanes.len();
        let mut rewards = [0.0; BLOCK_LEN];
        let some_wait = self.autoreset != Autoreset::SameStep
            && block.lanes.iter().any(|lane| stepped.tallies.ended(lane).is_some());
        if some_wait || !out.trace.is_empty() {
            for (at, lane) in block.lanes.iter().enumerate() {
                let action = block.actions.at(at, block.action_len);
                rewards[at] = self.step_one(stepped, lane, action, at, &mut out);
            }
        } else {
            let mut block_outputs = BlockOutputs {
                rewards: &mut rewards[..n],
                terminated: out.terminated,
                truncated: out.truncated,
                observations: out.observations,
            };
            self.environment.step_block(stepped.states, block, &mut block_outputs);
            if block.is_whole {
                // Each lane's reward stands at its own place.
                stepped.tallies.count_all(&rewards);
            } else {
                block
                    .lanes
                    .iter()
                    .zip(rewards)
                    .for_each(|(lane, reward)| stepped.tallies.count(lane, reward));
            }
            let ends = out.terminated.iter().zip(&*out.truncated);
            for (finished, (terminated, truncated)) in out.finished.iter_mut().zip(ends) {
                *finished = terminated | truncated;
            }
        }
        for (out, reward) in out.rewards.iter_mut().zip(rewards) {
            *out = reward as f32;
        }
        if out.finished.iter().fold(0, |any, &finished| any | finished) != 0 {
            for (at, lane) in block.lanes.iter().enumerate() {
                if out.finished[at] == 1 {
                    self.finish(stepped, lane, at, &mut out);
                }
            }
        }
    }

    /// Plays one environment's step, of one that may have ended or with its trace; returns the reward.
    fn step_one(
        &self,
        stepped: &mut Stepped<'_, E::States>,
        lane: usize,
        action: Action<'_>,
        at: usize,
        out: &mut Outputs<'_>,
    ) -> f64 {
        let mut row = TraceRow::default();
        let mut reward = 0.0;
        let (terminated, truncated) = if let Some(ended) = stepped.tallies.ended(lane) {
            out.finished[at] = 0;
            if self.autoreset == Autoreset::NextStep {
                stepped.restart(self.environment, self.seed, lane);
                (false, false)
            } else {
                ended
            }
        } else {
            let transition;
            (transition, row) = stepped.states.with_mut(lane, |state| {
                if out.trace.is_empty() {
                    (self.environment.step(state, action), row)
                } else {
                    self.environment.step_traced(state, action)
                }
            });
            reward = transition.reward;
            stepped.tallies.count(lane, reward);
            out.finished[at] = (transition.terminated || transition.truncated).into();
            (transition.terminated, transition.truncated)
        };
        out.terminated[at] = terminated.into();
        out.truncated[at] = truncated.into();
        if let Some(trace) = out.trace.get_mut(at) {
            *trace = row;
        }
        let observation = &mut out.observations[at * self.observation_len..][..self.observation_len];
        stepped.states.with(lane, |state| self.environment.observe(state, observation));
        reward
    }

    /// Tells what there is to tell of an episode that ended with this step, whose observation is written.
    #[inline(never)]
    fn finish(&self, stepped: &mut Stepped<'_, E::States>, lane: usize, at: usize, out: &mut Outputs<'_>) {
        let tally = stepped.tallies.get(lane);
        out.statistics[at] = EpisodeStatistics {
            return_sum: tally.return_sum,
            length: tally.length,
            account: stepped.states.with(lane, |state| self.environment.account(state)),
        };
        let row = at * self.observation_len..(at + 1) * self.observation_len;
        let observation = &mut out.observations[row.clone()];
        out.final_observations[row].copy_from_slice(observation);
        match self.autoreset {
            Autoreset::SameStep => {
                stepped.restart(self.environment, self.seed, lane);
                stepped.states.with(lane, |state| self.environment.observe(state, observation));
            }
            Autoreset::NextStep | Autoreset::Disabled => {
                let ended = Some((out.terminated[at] == 1, out.truncated[at] == 1));
                stepped.tallies.set(lane, Tally { ended, ..tally });
            }
        }
    }
}
