//! Many states of one environment, stepped together.
//!
//! A step writes into the caller's slices, one array a quantity, and allocates nothing. Large batches are
//! split over the rayon pool that the caller runs in; every state is stepped by exactly one thread and draws
//! only numbers keyed by its own name, so that the bits are the same for any number of threads.
//!
//! # Layout
//! - [`actions`], [`outputs`]: what goes into a step and what comes out of it.
//! - [`chosen`]: all environments, or those that a list names.
//! - [`tally`]: how far environments have come.
//! - [`step`]: the step itself, over threads.
//! - [`spread`]: whether threads are worth it.
//! - [`saved`]: the batch as a snapshot.

mod actions;
mod chosen;
mod outputs;
mod saved;
mod spread;
mod step;
mod tally;
#[cfg(test)]
mod tests;

pub use actions::Actions;
pub use outputs::Outputs;

use crate::environment::{ActionSpace, BLOCK_LEN, Environment, EpisodeKey, States};
use crate::error::ActionError;
use chosen::{All, Chosen, Listed, check_listed};
use spread::{MIN_ENVS_PER_TASK, Spread, TASKS_PER_THREAD};
use step::{Run, Stepped, Stepper};
use tally::{Tallies, Tally};

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

/// The machine that steps run on, as far as a batch asks for it.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// Tells nanoseconds.
    pub clock: fn() -> u64,
    /// Is told, in the thread that steps, whether the step that is about to be played is spread over the pool.
    pub before_step: fn(bool),
}

/// Many states of one environment.
#[derive(Debug)]
pub struct Batch<E: Environment> {
    environment: E,
    autoreset: Autoreset,
    seed: u64,
    action_space: ActionSpace,
    observation_len: usize,
    n_envs: usize,
    /// Those of the last block's lanes that are not in use are nobody's.
    states: Vec<E::States>,
    tallies: Vec<Tallies>,
    spread: Spread,
}

impl<E: Environment> Batch<E> {
    /// `n_envs` environments that all stand at the start of their episode 0.
    pub fn new(environment: E, n_envs: usize, seed: u64, autoreset: Autoreset) -> Self {
        let action_space = environment.action_space();
        let observation_len = environment.observation_len();
        let key = |env| EpisodeKey { seed, env: env as u64, episode: 0 };
        let states = blocks(n_envs, |first| E::States::from_fn(|lane| environment.reset(key(first + lane))));
        let tallies = blocks(n_envs, |_| Tallies::from_fn(|_| Tally::start(0)));
        let spread = Spread::new();
        Self { environment, autoreset, seed, action_space, observation_len, n_envs, states, tallies, spread }
    }

    /// How many environments there are.
    pub fn n_envs(&self) -> usize {
        self.n_envs
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

    /// What an action may be.
    pub fn action_space(&self) -> &ActionSpace {
        &self.action_space
    }

    /// Starts new episodes where `mask` is not 0, in all environments if it is empty, and writes what every
    /// agent sees. An environment that has not been stepped since its start keeps the episode that it has.
    ///
    /// # Panics
    /// If `mask` is neither empty nor one byte an environment.
    pub fn reset(&mut self, mask: &[u8], observations: &mut [f32]) {
        assert!(mask.is_empty() || mask.len() == self.n_envs(), "mask");
        for env in 0..self.n_envs() {
            if mask.get(env).is_none_or(|&byte| byte != 0) {
                self.restart(env);
            }
        }
        self.observe(observations);
    }

    /// Writes what every agent sees now.
    pub fn observe(&self, observations: &mut [f32]) {
        for (env, row) in (0..self.n_envs).zip(observations.chunks_exact_mut(self.observation_len)) {
            self.observe_one(env, row);
        }
    }

    /// Starts new episodes in the environments `envs` alone, and writes what their agents see: one row an
    /// entry of `envs`, as everywhere where environments are listed. The list is strictly ascending; nothing
    /// changes if it is not. An environment that has not been stepped since its start keeps its episode.
    ///
    /// # Panics
    /// If `observations` does not hold a row for each.
    pub fn reset_some(&mut self, envs: &[u32], observations: &mut [f32]) -> Result<(), ActionError> {
        check_listed(envs, self.n_envs())?;
        for &env in envs {
            self.restart(env as usize);
        }
        self.observe_some(envs, observations)
    }

    /// Writes what the agents of the environments `envs`, strictly ascending, see now.
    ///
    /// # Panics
    /// If `observations` does not hold a row for each.
    pub fn observe_some(&self, envs: &[u32], observations: &mut [f32]) -> Result<(), ActionError> {
        check_listed(envs, self.n_envs())?;
        assert_eq!(observations.len(), envs.len() * self.observation_len, "observations");
        for (&env, row) in envs.iter().zip(observations.chunks_exact_mut(self.observation_len)) {
            self.observe_one(env as usize, row);
        }
        Ok(())
    }

    /// Lets `host` decide whether steps are spread over the rayon pool that they run in: both ways are timed, and the
    /// faster one is kept. Without it, it is decided by what a step usually takes.
    pub fn spread_by(&mut self, host: Host) {
        self.spread.host = Some(host);
    }

    /// Whether the last step was spread over the rayon pool.
    pub fn was_spread(&self) -> bool {
        self.spread.was_parallel
    }

    /// Whether `step` would take these actions; the error names the first environment whose action is wrong.
    pub fn check(&self, actions: Actions<'_>) -> Result<(), ActionError> {
        actions.check(&self.action_space, self.n_envs())
    }

    /// Whether `step_some` would take `envs` and these actions; the error names the first environment that is
    /// wrong, or whose action is.
    pub fn check_some(&self, envs: &[u32], actions: Actions<'_>) -> Result<(), ActionError> {
        check_listed(envs, self.n_envs())?;
        actions.check(&self.action_space, envs.len()).map_err(|error| error.of_listed(envs))
    }

    /// Plays one step of every environment. Nothing changes if an action is refused.
    ///
    /// # Panics
    /// If a slice of `outputs` has another length than [`Outputs`] says.
    pub fn step(&mut self, actions: Actions<'_>, outputs: Outputs<'_>) -> Result<(), ActionError> {
        self.check(actions)?;
        self.step_chosen(All { first: 0, len: self.n_envs() }, actions, outputs);
        Ok(())
    }

    /// Plays one step of the environments `envs`, strictly ascending, and leaves the others as they are: the
    /// bits are those that a step of all would have given them. Actions and outputs have one entry an entry of
    /// `envs`. Nothing changes if the list or an action is refused.
    ///
    /// # Panics
    /// If a slice of `outputs` has another length than that.
    pub fn step_some(
        &mut self,
        envs: &[u32],
        actions: Actions<'_>,
        outputs: Outputs<'_>,
    ) -> Result<(), ActionError> {
        self.check_some(envs, actions)?;
        self.step_chosen(Listed(envs), actions, outputs);
        Ok(())
    }

    fn step_chosen<C: Chosen>(&mut self, chosen: C, actions: Actions<'_>, outputs: Outputs<'_>) {
        let n_chosen = chosen.len();
        outputs.assert_lengths(n_chosen, self.observation_len);
        let n_threads = rayon::current_num_threads();
        let plan = self.spread.plan(n_chosen, self.observation_len, n_threads);
        if let Some(host) = self.spread.host {
            (host.before_step)(plan.is_parallel);
        }
        let clock = self.spread.host.filter(|_| plan.is_timed).map(|host| host.clock);
        let begun = clock.map_or(0, |clock| clock());
        let envs_per_task = if plan.is_parallel {
            let share = n_chosen.div_ceil(TASKS_PER_THREAD * n_threads);
            share.max(MIN_ENVS_PER_TASK).next_multiple_of(BLOCK_LEN)
        } else {
            n_chosen.max(1)
        };
        let stepper = Stepper {
            environment: &self.environment,
            autoreset: self.autoreset,
            seed: self.seed,
            observation_len: self.observation_len,
            action_len: self.action_space.len(),
        };
        let run = Run { first_block: 0, states: &mut self.states, tallies: &mut self.tallies };
        stepper.step_split(chosen, run, actions, outputs, envs_per_task);
        self.spread.took(n_chosen, plan, clock.map_or(0, |clock| clock().saturating_sub(begun)));
    }

    fn observe_one(&self, env: usize, out: &mut [f32]) {
        let states = &self.states[env / BLOCK_LEN];
        states.with(env % BLOCK_LEN, |state| self.environment.observe(state, out));
    }

    /// A new episode, where the one before was begun.
    fn restart(&mut self, env: usize) {
        let (block_idx, lane) = (env / BLOCK_LEN, env % BLOCK_LEN);
        let (states, tallies) = (&mut self.states[block_idx], &mut self.tallies[block_idx]);
        if tallies.get(lane).length > 0 {
            Stepped { block_idx, states, tallies }.restart(&self.environment, self.seed, lane);
        }
    }
}

/// As many blocks as `n_envs` environments take; `block` makes that which begins with an environment.
fn blocks<T>(n_envs: usize, block: impl FnMut(usize) -> T) -> Vec<T> {
    (0..n_envs).step_by(BLOCK_LEN).map(block).collect()
}
