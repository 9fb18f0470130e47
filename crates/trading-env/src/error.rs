//! What can be wrong with a specification or an action.

use crate::episodes::SessionRange;

/// Rules, ranges or data that make no environment.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EnvError {
    /// A cost model that is none.
    #[error("{0:?} is not a cost model (none, bps:N up to 1000, nse-delivery, nse-intraday, or a file)")]
    CostModel(String),
    /// A rate card that cannot be used.
    #[error("rate card {0}")]
    RateTable(String),
    /// A known-answer environment that does not exist, or has no such parameter.
    #[error("{0:?} is not an environment (cartpole, ou:rho=0.95,cost=0.1, probe:1 to probe:5)")]
    UnknownEnvironment(String),
    /// A rule of the portfolio outside its domain.
    #[error("{0}")]
    Rule(String),
    /// More days held out than there are.
    #[error(
        "{held_out} days held out ({validation_days} for validation, {test_days} for test, an embargo of {embargo_days} before each) leave none to train on: the data has {n_sessions} sessions"
    )]
    HeldOut {
        /// All held-out days.
        held_out: u64,
        /// Of them for validation.
        validation_days: u32,
        /// Of them for the test.
        test_days: u32,
        /// Days left out before each held-out part.
        embargo_days: u32,
        /// Sessions in the calendar.
        n_sessions: usize,
    },
    /// A range outside the calendar.
    #[error("sessions {} to {} are not all in the calendar, which has {n_sessions}", range.first, range.last)]
    OutsideCalendar {
        /// The range asked for.
        range: SessionRange,
        /// Sessions in the calendar.
        n_sessions: usize,
    },
    /// Days that are to be played in one piece, with a row in their midst that cannot be shown.
    #[error(
        "{symbol}: row {row} between sessions {} and {} lacks a feature, so that these days cannot be judged in one piece (leave out that feature, or the bad bar)", range.first, range.last
    )]
    Interrupted {
        /// Whose row it is.
        symbol: String,
        /// The first row that cannot be shown, counted from 0.
        row: u32,
        /// The range asked for.
        range: SessionRange,
    },
    /// A snapshot that is none, or of something else; nothing has changed.
    #[error("{0}")]
    Snapshot(String),
    /// A range without a single step.
    #[error(
        "sessions {} to {} have no two bars in a row with every feature known ({n_rows} rows, {n_complete} of them complete); take more bars, or features with shorter lookbacks", range.first, range.last
    )]
    NothingToPlay {
        /// The range asked for.
        range: SessionRange,
        /// Rows in it.
        n_rows: usize,
        /// Rows in it without a null.
        n_complete: usize,
    },
}

/// An action that the batch refuses; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ActionError {
    /// Not one action an environment.
    #[error("{got} actions for {n_envs} environments")]
    Count {
        /// How many came.
        got: usize,
        /// How many there must be.
        n_envs: usize,
    },
    /// Not as many numbers as the actions of all environments have.
    #[error("{got} numbers as the actions of {n_envs} environments, which take {len} each")]
    NumberCount {
        /// How many came.
        got: usize,
        /// How many environments there are.
        n_envs: usize,
        /// How many numbers an action has.
        len: usize,
    },
    /// Choices where numbers are taken, or the other way round.
    #[error("the actions are {got}, and this environment takes {wanted}")]
    Kind {
        /// What came.
        got: &'static str,
        /// What is taken.
        wanted: &'static str,
    },
    /// An action outside the action space.
    #[error("environment {env}: action {action} is not in 0..{n_choices}")]
    OutOfRange {
        /// Whose action.
        env: usize,
        /// What came.
        action: i32,
        /// How many choices there are.
        n_choices: u32,
    },
    /// A list of environments that does not ascend.
    #[error("environment {env} is listed after environment {before} (list each once, ascending)")]
    EnvOrder {
        /// The one that comes too late.
        env: u32,
        /// The one listed just before it.
        before: u32,
    },
    /// A listed environment that does not exist.
    #[error("environment {env} is not in 0..{n_envs}")]
    EnvOutOfRange {
        /// The first such one.
        env: u32,
        /// How many environments there are.
        n_envs: usize,
    },
    /// A number outside its bounds, or none at all.
    #[error("environment {env}: action number {at} is {value}, which is not in {low} to {high}")]
    OutOfBounds {
        /// Whose action.
        env: usize,
        /// Which number of it, from 0.
        at: usize,
        /// What came.
        value: f32,
        /// The least it may be.
        low: f32,
        /// The most it may be.
        high: f32,
    },
}

impl ActionError {
    /// The same of actions that are those of the environments `envs`: a position in the list becomes the
    /// environment that stands there.
    pub(crate) fn of_listed(self, envs: &[u32]) -> Self {
        let listed = |at: usize| envs.get(at).map_or(at, |&env| env as usize);
        match self {
            Self::OutOfRange { env, action, n_choices } => {
                Self::OutOfRange { env: listed(env), action, n_choices }
            }
            Self::OutOfBounds { env, at, value, low, high } => {
                Self::OutOfBounds { env: listed(env), at, value, low, high }
            }
            other => other,
        }
    }
}
