//! What an environment is: a small trait that [`crate::Batch`] steps many times over.
//!
//! An environment holds what all of its episodes share and never changes; a state holds what one running
//! episode remembers. So one environment serves any number of states from any number of threads, with
//! nothing locked.
//!
//! # Layout
//! - [`block`]: environments that stand side by side and are stepped together.

mod block;

pub(crate) use block::step_each;
pub use block::{BLOCK_LEN, Block, BlockOutputs, Lanes, States};

use random::{Purpose, Stream};

use crate::costs::Costs;
use crate::snapshot::{Progress, Reader, Writer};

/// The name of one episode. All that is random in it follows from this key alone, so that an episode has
/// the same bits for any number of threads and any batch around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpisodeKey {
    /// The session's seed.
    pub seed: u64,
    /// Which environment of the session plays it.
    pub env: u64,
    /// How many episodes that environment played before.
    pub episode: u64,
}

impl EpisodeKey {
    /// The episode's own random numbers.
    pub fn stream(self) -> Stream {
        Stream::new(self.seed, Purpose::Episode, self.env, self.episode)
    }
}

/// What an action may be.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ActionSpace {
    /// One of `0..n_choices`.
    Discrete {
        /// How many choices there are.
        n_choices: u32,
    },
    /// Real numbers, each between two bounds.
    Box {
        /// The least that each may be.
        low: Vec<f32>,
        /// The most that each may be.
        high: Vec<f32>,
    },
}

impl ActionSpace {
    /// How many numbers an action consists of.
    pub fn len(&self) -> usize {
        match self {
            Self::Discrete { .. } => 1,
            Self::Box { low, .. } => low.len(),
        }
    }

    /// Whether an action consists of nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One environment's action, of the kind that its [`ActionSpace`] has and within its bounds: the batch has
/// checked it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action<'a> {
    /// For [`ActionSpace::Discrete`].
    Choice(u32),
    /// For [`ActionSpace::Box`].
    Numbers(&'a [f32]),
}

impl<'a> Action<'a> {
    /// The choice.
    ///
    /// # Panics
    /// If the action space is not discrete, which is a mistake in an environment's code.
    #[inline]
    pub fn choice(self) -> u32 {
        match self {
            Self::Choice(choice) => choice,
            Self::Numbers(_) => unreachable!("the batch lets only choices through"),
        }
    }

    /// The numbers.
    ///
    /// # Panics
    /// If the action space is discrete, which is a mistake in an environment's code.
    #[inline]
    pub fn numbers(self) -> &'a [f32] {
        match self {
            Self::Numbers(numbers) => numbers,
            Self::Choice(_) => unreachable!("the batch lets only numbers through"),
        }
    }
}

/// What one step led to. The two ends are independent: both may be true.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transition {
    /// The reward.
    pub reward: f64,
    /// Whether the rules ended the episode, so that nothing is to be expected after it.
    pub terminated: bool,
    /// Whether the episode was cut at a limit, so that its value after the cut is still to be estimated.
    pub truncated: bool,
}

/// What an account went through in one episode; zeros where an environment has no account.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AccountSummary {
    /// Which symbol was traded.
    pub symbol_idx: u32,
    /// Equity at the first decision.
    pub initial_equity: f64,
    /// Equity after the last step, net of every cost.
    pub final_equity: f64,
    /// What trading cost, by kind.
    pub costs: Costs,
    /// How many orders were filled.
    pub n_trades: u32,
    /// The value of all that was bought and sold, as a multiple of the starting capital.
    pub turnover: f64,
    /// The largest fall from a peak of equity, as a fraction of the peak, from close to close.
    pub max_drawdown: f64,
}

/// What is told of an episode when it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EpisodeStatistics {
    /// The sum of rewards in double precision.
    pub return_sum: f64,
    /// The number of steps.
    pub length: u32,
    /// What happened to the account.
    pub account: AccountSummary,
}

/// One fill: shares bought (positive) or sold (negative) at a price.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fill {
    /// Shares that changed hands; 0 if there was no order.
    pub shares: f64,
    /// The price paid or received, slippage included; 0 if there was no order.
    pub price: f64,
}

/// What one step did, for lists of trades and positions.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TraceRow {
    /// When the bar that the step ended with closed: microseconds since 1970 in UTC.
    pub ts: i64,
    /// When the bar before it closed, which is when the order was placed.
    pub order_ts: i64,
    /// Which symbol.
    pub symbol_idx: u32,
    /// The fill at the bar's open; of orders that fill at the close at which they are placed, that fill.
    pub entry: Fill,
    /// The fill at the bar's close: square-off, the end of an evaluation, or orders that fill there.
    pub exit: Fill,
    /// Shares held after the step.
    pub shares: f64,
    /// Their value at the close as a fraction of equity.
    pub position: f64,
    /// The bar's close.
    pub close: f64,
    /// Equity at the close, net of every cost.
    pub equity: f64,
    /// What this step's fills cost, by kind.
    pub costs: Costs,
}

/// The rules of one kind of environment.
pub trait Environment: Send + Sync {
    /// What one running episode remembers.
    type State;
    /// What the running episodes of a block remember: an array of states, if nothing is gained by another order.
    type States: States<State = Self::State>;

    /// Its name on the command line.
    fn name(&self) -> String;
    /// The name of each number of an observation, in order.
    fn observation_names(&self) -> Vec<String>;
    /// How many numbers an observation has.
    fn observation_len(&self) -> usize;
    /// What an action may be.
    fn action_space(&self) -> ActionSpace;
    /// Starts the episode named by `key`.
    fn reset(&self, key: EpisodeKey) -> Self::State;
    /// Plays one step. The batch has checked that the action is in the action space.
    fn step(&self, state: &mut Self::State, action: Action<'_>) -> Transition;
    /// The same, and what the step did.
    fn step_traced(&self, state: &mut Self::State, action: Action<'_>) -> (Transition, TraceRow) {
        (self.step(state, action), TraceRow::default())
    }
    /// Asks memory for what the next step of these states will read.
    fn prefetch(&self, _states: &Self::States) {}
    /// Plays one step of some states of a block and shows what it led to. An environment overrides it to work on
    /// several states at once; the bits must be those of [`Environment::step`] and [`Environment::observe`].
    fn step_block(
        &self,
        states: &mut Self::States,
        block: &Block<'_, Self::States>,
        out: &mut BlockOutputs<'_>,
    ) {
        step_each(self, states, block, out);
    }
    /// Writes what the agent sees into `out`, which has [`Environment::observation_len`] numbers.
    fn observe(&self, state: &Self::State, out: &mut [f32]);
    /// What the account went through since the reset.
    fn account(&self, _state: &Self::State) -> AccountSummary {
        AccountSummary::default()
    }
    /// All that decides what a step does, each part with its name: a snapshot fits where every part is equal.
    fn identity(&self) -> Vec<(&'static str, String)> {
        vec![("environment", self.name())]
    }
    /// Writes what `state` remembers beyond its episode's key and its progress.
    fn save(&self, state: &Self::State, out: &mut Writer);
    /// The state of the episode named by `key` after `progress`, as [`Environment::save`] wrote it; none if
    /// the bytes hold no state that could be stepped.
    fn load(&self, key: EpisodeKey, progress: Progress, input: &mut Reader<'_>) -> Option<Self::State>;
}
