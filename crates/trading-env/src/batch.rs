//! Many states of one environment, stepped together.
//!
//! A step writes into the caller's slices, one array a quantity, and allocates nothing. Large batches are
//! split over the rayon pool that the caller runs in; every state is stepped by exactly one thread and draws
//! only numbers keyed by its own name, so that the bits are the same for any number of threads.

use crate::environment::{Environment, EpisodeKey, EpisodeStatistics, TraceRow};
use crate::error::{ActionError, EnvError};
use crate::snapshot::{Progress, Reader, Writer};

/// The fewest environments worth handing to another thread.
const MIN_ENVS_PER_TASK: usize = 128;
/// Waking a sleeping core takes tens of microseconds: batches below this many expected nanoseconds stay on
/// one thread.
const MIN_PARALLEL_NS: usize = 40_000;

/// Environments whose next rows are asked of memory before any of them is stepped: several are on their way at
/// once, where one at a time would wait for each.
const ENVS_PER_BLOCK: usize = 32;

/// What happens to an environment whose episode has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Autoreset {
    /// It starts anew within the same step: the observation is the new episode's first one, and the ended
    /// episode's last one goes to the final block.
    SameStep,
    /// It starts anew with the next step, which ignores the action, pays nothing and shows the new episode's
    /// first observation.
    NextStep,
    /// It stays as it ended: zero reward, the last observation and both ends repeated, until the next reset.
    Disabled,
}

/// The actions of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Actions<'a> {
    /// One choice an environment.
    Discrete(&'a [i32]),
}

/// Where one step writes. Every slice has one entry (or one row of `observation_len` numbers) an environment.
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

/// Many states of one environment.
#[derive(Debug)]
pub struct Batch<E: Environment> {
    environment: E,
    autoreset: Autoreset,
    seed: u64,
    n_choices: u32,
    observation_len: usize,
    slots: Vec<Slot<E::State>>,
}

#[derive(Debug, Clone)]
struct Slot<S> {
    state: S,
    episode: u64,
    return_sum: f64,
    length: u32,
    /// How the episode ended, where it did and was not reset.
    ended: Option<(bool, bool)>,
}

impl<E: Environment> Batch<E> {
    /// `n_envs` environments that all stand at the start of their episode 0.
    pub fn new(environment: E, n_envs: usize, seed: u64, autoreset: Autoreset) -> Self {
        let crate::ActionSpace::Discrete { n_choices } = environment.action_space();
        let observation_len = environment.observation_len();
        let slots = (0..n_envs).map(|env| Slot::start(&environment, seed, env, 0)).collect();
        Self { environment, autoreset, seed, n_choices, observation_len, slots }
    }

    /// How many environments there are.
    pub fn n_envs(&self) -> usize {
        self.slots.len()
    }

    /// What every random draw is keyed with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What happens at the end of an episode.
    pub fn autoreset(&self) -> Autoreset {
        self.autoreset
    }

    /// The environment that all states share.
    pub fn environment(&self) -> &E {
        &self.environment
    }

    /// Starts new episodes where `mask` is not 0, in all environments if it is empty, and writes what every
    /// agent sees. An environment that has not been stepped since its start keeps the episode that it has.
    ///
    /// # Panics
    /// If `mask` is neither empty nor one byte an environment.
    pub fn reset(&mut self, mask: &[u8], observations: &mut [f32]) {
        assert!(mask.is_empty() || mask.len() == self.n_envs(), "mask");
        for (env, slot) in self.slots.iter_mut().enumerate() {
            let is_asked = mask.get(env).is_none_or(|&byte| byte != 0);
            if is_asked && slot.length > 0 {
                *slot = Slot::start(&self.environment, self.seed, env, slot.episode + 1);
            }
            let row = env * self.observation_len..(env + 1) * self.observation_len;
            self.environment.observe(&slot.state, &mut observations[row]);
        }
    }

    /// Writes what every agent sees now.
    pub fn observe(&self, observations: &mut [f32]) {
        let rows = observations.chunks_exact_mut(self.observation_len);
        for (slot, row) in self.slots.iter().zip(rows) {
            self.environment.observe(&slot.state, row);
        }
    }

    /// All environments as bytes. [`Batch::restore`] brings them back into a batch of the same kind.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Writer::new();
        let identity = self.identity();
        out.u32(identity.len() as u32);
        for (name, value) in identity {
            out.text(name);
            out.text(&value);
        }
        for slot in &self.slots {
            out.u64(slot.episode);
            out.f64(slot.return_sum);
            out.u32(slot.length);
            out.u8(match slot.ended {
                None => 0,
                Some((terminated, truncated)) => 4 | u8::from(terminated) | u8::from(truncated) << 1,
            });
            self.environment.save(&slot.state, &mut out);
        }
        out.finish()
    }

    /// Puts all environments where they were when `snapshot` was taken, so that the next step gives the bits
    /// that it would have given then. Nothing changes if the snapshot is refused.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(), EnvError> {
        let mut input = Reader::new(snapshot)?;
        let damaged = || EnvError::Snapshot("the snapshot holds what no environment can be in".into());
        let identity = self.identity();
        if input.u32() != Some(identity.len() as u32) {
            return Err(EnvError::Snapshot("the snapshot is of another kind of environment".into()));
        }
        for (name, ours) in &identity {
            let (their_name, theirs) = input.text().zip(input.text()).ok_or_else(damaged)?;
            if their_name != *name || theirs != ours {
                let text = format!(
                    "the snapshot was taken with {their_name} {theirs}, where this session has {name} {ours}"
                );
                return Err(EnvError::Snapshot(text));
            }
        }
        let mut slots = Vec::with_capacity(self.n_envs());
        for env in 0..self.n_envs() {
            slots.push(self.load_slot(env, &mut input).ok_or_else(damaged)?);
        }
        if !input.is_empty() {
            return Err(damaged());
        }
        self.slots = slots;
        Ok(())
    }

    fn identity(&self) -> Vec<(&'static str, String)> {
        let mut identity = self.environment.identity();
        identity.push(("environments", self.n_envs().to_string()));
        identity.push(("seed", self.seed.to_string()));
        identity.push(("autoreset", format!("{:?}", self.autoreset)));
        identity
    }

    fn load_slot(&self, env: usize, input: &mut Reader<'_>) -> Option<Slot<E::State>> {
        let (episode, return_sum, length) = (input.u64()?, input.f64()?, input.u32()?);
        let ended = match input.u8()? {
            0 => None,
            bits @ 5..=7 if self.autoreset != Autoreset::SameStep => Some((bits & 1 == 1, bits & 2 == 2)),
            _ => return None,
        };
        // Episodes are counted up from here.
        let episode = (episode < u64::MAX / 2).then_some(episode)?;
        let key = EpisodeKey { seed: self.seed, env: env as u64, episode };
        let progress = Progress { length, has_ended: ended.is_some() };
        Some(Slot { state: self.environment.load(key, progress, input)?, episode, return_sum, length, ended })
    }

    /// Whether a step is spread over the rayon pool that it runs in.
    pub fn is_parallel(&self) -> bool {
        // About 60 ns for the rules of an environment and an eighth of a nanosecond a number gathered.
        let expected_ns = self.n_envs() * (60 + self.observation_len / 8);
        expected_ns >= MIN_PARALLEL_NS && self.n_envs() > MIN_ENVS_PER_TASK
    }

    /// Whether `step` would take these actions; the error names the first environment whose action is wrong.
    pub fn check(&self, actions: Actions<'_>) -> Result<(), ActionError> {
        let Actions::Discrete(choices) = actions;
        if choices.len() != self.n_envs() {
            return Err(ActionError::Count { got: choices.len(), n_envs: self.n_envs() });
        }
        let n_choices = self.n_choices;
        match choices.iter().position(|&action| !u32::try_from(action).is_ok_and(|c| c < n_choices)) {
            None => Ok(()),
            Some(env) => Err(ActionError::OutOfRange { env, action: choices[env], n_choices }),
        }
    }

    /// Plays one step of every environment. Nothing changes if an action is refused.
    ///
    /// # Panics
    /// If a slice of `outputs` has another length than [`Outputs`] says.
    pub fn step(&mut self, actions: Actions<'_>, outputs: Outputs<'_>) -> Result<(), ActionError> {
        self.check(actions)?;
        let Actions::Discrete(choices) = actions;
        let n_envs = self.n_envs();
        outputs.assert_lengths(n_envs, self.observation_len);
        let stepper = Stepper {
            environment: &self.environment,
            autoreset: self.autoreset,
            seed: self.seed,
            observation_len: self.observation_len,
        };
        let envs_per_task = if self.is_parallel() {
            n_envs.div_ceil(rayon::current_num_threads()).max(MIN_ENVS_PER_TASK)
        } else {
            n_envs
        };
        stepper.step_split(0, &mut self.slots, choices, outputs, envs_per_task);
        Ok(())
    }
}

/// What the tasks of one step share.
struct Stepper<'a, E> {
    environment: &'a E,
    autoreset: Autoreset,
    seed: u64,
    observation_len: usize,
}

impl<E: Environment> Stepper<'_, E> {
    /// Halves the work until a task has at most `envs_per_task`.
    fn step_split(
        &self,
        first_env: usize,
        slots: &mut [Slot<E::State>],
        choices: &[i32],
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
                    self.step_one(first_env + at, &mut slots[at], choices[at] as u32, at, &mut outputs);
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
        let (choices_left, choices_right) = choices.split_at(middle);
        let (outputs_left, outputs_right) = outputs.split_at(middle, self.observation_len);
        rayon::join(
            || self.step_split(first_env, slots_left, choices_left, outputs_left, envs_per_task),
            || self.step_split(first_env + middle, slots_right, choices_right, outputs_right, envs_per_task),
        );
    }

    /// Plays one environment's step: everything but its observation.
    #[inline]
    fn step_one(
        &self,
        env: usize,
        slot: &mut Slot<E::State>,
        choice: u32,
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
        let transition = self.environment.step(&mut slot.state, choice);
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

impl<S> Slot<S> {
    fn start<E: Environment<State = S>>(environment: &E, seed: u64, env: usize, episode: u64) -> Self {
        let key = EpisodeKey { seed, env: env as u64, episode };
        Self { state: environment.reset(key), episode, return_sum: 0.0, length: 0, ended: None }
    }
}

impl<'a> Outputs<'a> {
    fn assert_lengths(&self, n_envs: usize, observation_len: usize) {
        assert_eq!(self.observations.len(), n_envs * observation_len, "observations");
        assert_eq!(self.final_observations.len(), n_envs * observation_len, "final observations");
        assert_eq!(self.rewards.len(), n_envs, "rewards");
        assert_eq!(self.terminated.len(), n_envs, "terminated");
        assert_eq!(self.truncated.len(), n_envs, "truncated");
        assert_eq!(self.finished.len(), n_envs, "finished");
        assert_eq!(self.statistics.len(), n_envs, "statistics");
        assert!(self.trace.is_empty() || self.trace.len() == n_envs, "trace");
    }

    fn split_at(self, env: usize, observation_len: usize) -> (Outputs<'a>, Outputs<'a>) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rollout, rollout};
    use crate::{cartpole::CartPole, ou::OrnsteinUhlenbeck, probe::Probe};

    #[test]
    fn an_ended_episode_is_reset_within_the_step_and_its_last_observation_kept() {
        // Probe 3 shows 0, then 1 at its end.
        let Rollout { observations, finals, rewards, ends, .. } =
            rollout(&mut Batch::new(Probe::new(3).unwrap(), 2, 1, Autoreset::SameStep), 4, |_, _| 0);
        assert_eq!(rewards, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(ends, [(0, 0), (0, 0), (1, 0), (1, 0), (0, 0), (0, 0), (1, 0), (1, 0)]);
        // The reset's observations come first.
        assert_eq!(observations, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(finals, [1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn an_ended_episode_is_reset_by_the_next_step_if_asked_for() {
        // As Gymnasium 1.x's next-step mode: the step after an end ignores its action and pays nothing.
        let Rollout { observations, finals, rewards, ends, statistics, .. } =
            rollout(&mut Batch::new(Probe::new(3).unwrap(), 1, 1, Autoreset::NextStep), 5, |_, _| 0);
        assert_eq!(rewards, [0.0, 1.0, 0.0, 0.0, 1.0]);
        assert_eq!(ends, [(0, 0), (1, 0), (0, 0), (0, 0), (1, 0)]);
        assert_eq!(observations, [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
        assert_eq!((finals, statistics.len(), statistics[1].length), (vec![1.0, 1.0], 2, 2));
    }

    #[test]
    fn a_disabled_batch_stays_where_it_ended() {
        let Rollout { observations, rewards, ends, finals, statistics, .. } =
            rollout(&mut Batch::new(Probe::new(3).unwrap(), 1, 1, Autoreset::Disabled), 4, |_, _| 0);
        assert_eq!(rewards, [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(ends, [(0, 0), (1, 0), (1, 0), (1, 0)]);
        assert_eq!(observations, [0.0, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!((finals.len(), statistics.len(), statistics[0].length), (1, 1, 2));
    }

    #[test]
    fn a_reset_starts_the_next_episode_where_it_is_asked_for() {
        let mut batch = Batch::new(CartPole, 2, 1, Autoreset::Disabled);
        let start = |env, episode| Slot::start(&CartPole, 1, env, episode).state;
        let mut observations = [0.0; 8];
        batch.reset(&[], &mut observations);
        assert_eq!(batch.slots[0].state, start(0, 0), "nothing was played yet");
        rollout(&mut batch, 1, |_, _| 0);
        let played = batch.slots[0].state;
        batch.reset(&[0, 1], &mut observations);
        assert_eq!((batch.slots[0].state, batch.slots[1].state), (played, start(1, 1)));
        batch.reset(&[], &mut observations);
        assert_eq!((batch.slots[0].state, batch.slots[1].state), (start(0, 1), start(1, 1)));
    }

    #[test]
    fn a_wrong_action_names_its_environment_and_changes_nothing() {
        let batch = Batch::new(CartPole, 3, 5, Autoreset::SameStep);
        for (choices, expected) in [
            (vec![0, 1], ActionError::Count { got: 2, n_envs: 3 }),
            (vec![0, 2, 9], ActionError::OutOfRange { env: 1, action: 2, n_choices: 2 }),
            (vec![0, 1, -1], ActionError::OutOfRange { env: 2, action: -1, n_choices: 2 }),
        ] {
            assert_eq!(batch.check(Actions::Discrete(&choices)), Err(expected));
        }
    }

    #[test]
    fn bits_do_not_depend_on_threads_or_on_the_batch_around_an_environment() {
        let run = |threads: usize, n_envs: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let environment = OrnsteinUhlenbeck { length: 20, ..OrnsteinUhlenbeck::default() };
                let mut batch = Batch::new(environment, n_envs, 3, Autoreset::SameStep);
                rollout(&mut batch, 50, |env, step| ((env * 7 + step * 3) % 3) as i32)
            })
        };
        let one = run(1, 1024);
        for threads in [2, 8] {
            assert_eq!(one, run(threads, 1024), "{threads} threads");
        }
        let few = run(1, 10);
        for step in 0..50 {
            assert_eq!(few.rewards[step * 10..][..10], one.rewards[step * 1024..][..10]);
        }
    }
}
