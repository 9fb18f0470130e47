//! One step of many environments: in blocks, and over the rayon pool.

use super::chosen::Chosen;
use super::{Actions, Autoreset, Outputs, Tally};
use crate::environment::{
    BLOCK_LEN, Block, BlockOutputs, Environment, EpisodeKey, EpisodeStatistics, TraceRow,
};

/// What the tasks of one step share.
pub(super) struct Stepper<'a, E> {
    pub(super) environment: &'a E,
    pub(super) autoreset: Autoreset,
    pub(super) seed: u64,
    pub(super) observation_len: usize,
    pub(super) action_len: usize,
}

/// Environments that stand side by side, the first of which is environment `first_env`.
pub(super) struct Run<'a, S> {
    pub(super) first_env: usize,
    pub(super) states: &'a mut [S],
    pub(super) tallies: &'a mut [Tally],
}

/// Places of the states of one block.
struct Places {
    places: [u32; BLOCK_LEN],
    len: usize,
}

impl<'a, S> Run<'a, S> {
    /// Those before environment `env`, and those from it on.
    fn split_at(self, env: usize) -> (Run<'a, S>, Run<'a, S>) {
        let at = env - self.first_env;
        let (states_left, states_right) = self.states.split_at_mut(at);
        let (tallies_left, tallies_right) = self.tallies.split_at_mut(at);
        (
            Run { first_env: self.first_env, states: states_left, tallies: tallies_left },
            Run { first_env: env, states: states_right, tallies: tallies_right },
        )
    }
}

impl Places {
    /// Those of the environments from `first` on in `chosen`, as many as a block has.
    fn new<C: Chosen>(chosen: C, first: usize, first_env: usize) -> Self {
        let len = chosen.len().saturating_sub(first).min(BLOCK_LEN);
        let mut places = [0; BLOCK_LEN];
        for (at, place) in places[..len].iter_mut().enumerate() {
            *place = (chosen.env(first + at) - first_env) as u32;
        }
        Self { places, len }
    }

    fn get(&self) -> &[u32] {
        &self.places[..self.len]
    }
}

impl<E: Environment> Stepper<'_, E> {
    /// Steps the `chosen` of a run. Halves the work until a task has at most `envs_per_task`.
    pub(super) fn step_split<C: Chosen>(
        &self,
        chosen: C,
        run: Run<'_, E::State>,
        actions: Actions<'_>,
        outputs: Outputs<'_>,
        envs_per_task: usize,
    ) {
        let n = chosen.len();
        if n <= envs_per_task {
            self.step_task(chosen, run, actions, outputs);
            return;
        }
        // Cut at a whole number of tasks, so that a task is as large as it was found to be best.
        let n_tasks = n.div_ceil(envs_per_task);
        let middle = (n_tasks / 2) * envs_per_task;
        let (run_left, run_right) = run.split_at(chosen.env(middle));
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
        mut run: Run<'_, E::State>,
        mut actions: Actions<'_>,
        mut outputs: Outputs<'_>,
    ) {
        let mut places = Places::new(chosen, 0, run.first_env);
        // From then on, each block asks for what the next one needs.
        self.environment.prefetch(run.states, places.get());
        let mut first = 0;
        while places.len > 0 {
            first += places.len;
            let upcoming = Places::new(chosen, first, run.first_env);
            let (now, later) = outputs.split_at(places.len, self.observation_len);
            let (actions_now, actions_later) = actions.split_at(places.len, self.action_len);
            let block = Block {
                places: places.get(),
                upcoming: upcoming.get(),
                actions: actions_now,
                action_len: self.action_len,
            };
            self.step_block(&mut run, &block, now);
            (outputs, actions, places) = (later, actions_later, upcoming);
        }
    }

    fn step_block(&self, run: &mut Run<'_, E::State>, block: &Block<'_>, mut out: Outputs<'_>) {
        let mut rewards = [0.0; BLOCK_LEN];
        let rewards = &mut rewards[..block.places.len()];
        let waits = |place: u32| run.tallies[place as usize].ended.is_some();
        let some_wait =
            self.autoreset != Autoreset::SameStep && block.places.iter().any(|&place| waits(place));
        if some_wait || !out.trace.is_empty() {
            for (at, reward) in rewards.iter_mut().enumerate() {
                self.step_one(run, block, at, reward, &mut out);
            }
        } else {
            let mut block_outputs = BlockOutputs {
                rewards,
                terminated: out.terminated,
                truncated: out.truncated,
                observations: out.observations,
            };
            self.environment.step_block(run.states, block, &mut block_outputs);
            for (at, &place) in block.places.iter().enumerate() {
                let tally = &mut run.tallies[place as usize];
                tally.return_sum += rewards[at];
                tally.length += 1;
                out.rewards[at] = rewards[at] as f32;
                out.finished[at] = out.terminated[at] | out.truncated[at];
            }
        }
        if out.finished.iter().fold(0, |any, &finished| any | finished) != 0 {
            for at in 0..block.places.len() {
                if out.finished[at] == 1 {
                    self.finish(run, block.places[at], at, &mut out);
                }
            }
        }
    }

    /// Plays one environment's step, of one that may have ended or with its trace.
    fn step_one(
        &self,
        run: &mut Run<'_, E::State>,
        block: &Block<'_>,
        at: usize,
        reward: &mut f64,
        out: &mut Outputs<'_>,
    ) {
        let place = block.places[at] as usize;
        let (state, tally) = (&mut run.states[place], &mut run.tallies[place]);
        let mut row = TraceRow::default();
        let (terminated, truncated) = if let Some(ended) = tally.ended {
            out.finished[at] = 0;
            if self.autoreset == Autoreset::NextStep {
                self.restart(state, tally, run.first_env + place);
                (false, false)
            } else {
                ended
            }
        } else {
            let action = block.actions.at(at, block.action_len);
            let transition;
            (transition, row) = if out.trace.is_empty() {
                (self.environment.step(state, action), row)
            } else {
                self.environment.step_traced(state, action)
            };
            *reward = transition.reward;
            tally.return_sum += transition.reward;
            tally.length += 1;
            out.finished[at] = (transition.terminated || transition.truncated).into();
            (transition.terminated, transition.truncated)
        };
        out.rewards[at] = *reward as f32;
        out.terminated[at] = terminated.into();
        out.truncated[at] = truncated.into();
        if let Some(trace) = out.trace.get_mut(at) {
            *trace = row;
        }
        let observation = &mut out.observations[at * self.observation_len..][..self.observation_len];
        self.environment.observe(&run.states[place], observation);
    }

    /// Tells what there is to tell of an episode that ended with this step, whose observation is written.
    #[inline(never)]
    fn finish(&self, run: &mut Run<'_, E::State>, place: u32, at: usize, out: &mut Outputs<'_>) {
        let place = place as usize;
        let (state, tally) = (&mut run.states[place], &mut run.tallies[place]);
        out.statistics[at] = EpisodeStatistics {
            return_sum: tally.return_sum,
            length: tally.length,
            account: self.environment.account(state),
        };
        let row = at * self.observation_len..(at + 1) * self.observation_len;
        let observation = &mut out.observations[row.clone()];
        out.final_observations[row].copy_from_slice(observation);
        match self.autoreset {
            Autoreset::SameStep => {
                self.restart(state, tally, run.first_env + place);
                self.environment.observe(state, observation);
            }
            Autoreset::NextStep | Autoreset::Disabled => {
                tally.ended = Some((out.terminated[at] == 1, out.truncated[at] == 1));
            }
        }
    }

    fn restart(&self, state: &mut E::State, tally: &mut Tally, env: usize) {
        *tally = Tally::start(tally.episode + 1);
        let key = EpisodeKey { seed: self.seed, env: env as u64, episode: tally.episode };
        self.environment.restart(state, key);
    }
}
