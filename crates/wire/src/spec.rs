//! The specification document: all that a learner needs to know about the environments behind a connection,
//! so that it never opens the data. It travels as JSON; unknown fields are ignored and new ones have
//! defaults, so that both sides may be of different age within one protocol version.

use serde::{Deserialize, Serialize};

/// What a server serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// The environment: `portfolio`, `cartpole`, `ou`, `probe`.
    pub environment: String,
    /// What an agent sees.
    pub observation: Observation,
    /// What it can do.
    pub action: ActionSpace,
    /// The seed given to the server, the default for sessions.
    pub seed: u64,
    /// The number of environments in a session by default, and the most that one session may have.
    pub max_envs: u32,
    /// The most sessions that one client may have open.
    pub max_sessions: u32,
    /// How many environments one exchange should be about where a client can have it so: its default for
    /// [`crate::Open::batch`]. 0: all of them.
    #[serde(default)]
    pub batch: u32,
    /// The kinds of costs, in the order of every list of costs: `brokerage`, `stt`, …, `slippage`.
    #[serde(default)]
    pub cost_kinds: Vec<String>,
    /// The market behind the environment; none for environments with a known answer.
    #[serde(default)]
    pub market: Option<Market>,
}

/// What an agent sees: `window` rows of features, oldest first, then the account. If `feature_major`, the
/// `window` values of each feature stand together instead, oldest first, one feature after another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// Values in one observation: `window × features + account`.
    pub len: u32,
    /// Stacked rows.
    pub window: u32,
    /// Names of the values in one row.
    pub features: Vec<String>,
    /// Names of the values that describe the account.
    #[serde(default)]
    pub account: Vec<String>,
    /// Whether the values of a feature stand together, rather than those of a row.
    #[serde(default)]
    pub feature_major: bool,
}

/// What an agent can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ActionSpace {
    /// One of `n` choices.
    Discrete {
        /// How many.
        n: u32,
        /// What each choice means, where it is a target position as a fraction of equity (times the rules'
        /// leverage).
        #[serde(default)]
        levels: Vec<f64>,
    },
    /// Real numbers between bounds.
    Box {
        /// Lower bounds.
        low: Vec<f32>,
        /// Upper bounds.
        high: Vec<f32>,
    },
}

impl ActionSpace {
    /// 4-byte values that one environment's action takes on the wire.
    pub fn values_per_env(&self) -> usize {
        match self {
            Self::Discrete { .. } => 1,
            Self::Box { low, .. } => low.len(),
        }
    }
}

/// The market behind an environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Market {
    /// The symbols, in the order of their numbers in traces.
    pub symbols: Vec<Symbol>,
    /// Trading dates as `YYYY-MM-DD`; a session is an index into them.
    pub calendar: Vec<String>,
    /// Seconds from bar to bar; 86,400 for daily bars.
    pub bar_seconds: u32,
    /// Bars in a year, to annualise with.
    pub bars_per_year: f64,
    /// IANA name or fixed offset of the exchange's time zone.
    pub timezone: String,
    /// SHA-256 of the feature tables.
    pub data_digest: String,
    /// The feature specification, such as `core`.
    pub feature_specification: String,
    /// Where the bars come from.
    pub provenance: Provenance,
    /// The days for training.
    pub train: Days,
    /// The last days of the training part, kept apart to choose among policies; none if not asked for.
    #[serde(default)]
    pub validation: Option<Days>,
    /// The days held out; none if not asked for.
    #[serde(default)]
    pub test: Option<Days>,
    /// What features are scaled with; fitted on the training days alone.
    #[serde(default)]
    pub scaler: Option<Scaler>,
    /// The rules of the account.
    pub rules: Rules,
}

/// One symbol of a market.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbol {
    /// Its name.
    pub name: String,
    /// Its bars.
    pub rows: u64,
}

/// Trading dates of a calendar by ordinal, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Days {
    /// First ordinal.
    pub first: u32,
    /// Last ordinal.
    pub last: u32,
}

impl Days {
    /// How many.
    pub fn count(self) -> u32 {
        self.last - self.first + 1
    }
}

/// Where bars come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// `simulated`, `real` or `unlabelled`.
    pub kind: String,
    /// The whole label for people: generator and seed, or the source.
    pub label: String,
}

/// A z-score that is clipped: `(x − mean) / deviation`, then to `±clip`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scaler {
    /// Means, one a feature.
    pub mean: Vec<f64>,
    /// Standard deviations, one a feature.
    pub deviation: Vec<f64>,
    /// The bound.
    pub clip: f64,
}

/// The rules of the account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// The rule set: `portfolio` or `stock-trading-env2`.
    pub name: String,
    /// When orders fill: `next-open`, `next-close` or `same-close`.
    pub fill: String,
    /// The cost table in words: `nse-intraday, rates of 2024-10-01`.
    pub costs: String,
    /// The cost table of an account that holds for good: what buy and hold pays.
    pub hold_costs: String,
    /// What each fill loses against the price, in basis points.
    pub slippage_bps: f64,
    /// What a year of borrowing shares or money costs, in basis points.
    #[serde(default)]
    pub borrow_bps_per_year: f64,
    /// The position, as a multiple of equity, that a target of 1 stands for.
    #[serde(default = "one")]
    pub leverage: f64,
    /// Whether positions may be negative.
    pub short: bool,
    /// Whether positions are closed at each session's last bar.
    pub square_off: bool,
    /// Whether shares come whole.
    pub whole_shares: bool,
    /// Starting capital in the market's currency.
    pub capital: f64,
    /// The currency: `INR`.
    pub currency: String,
    /// The fraction of the capital at which the account is ruined and the episode terminates.
    pub ruin: f64,
    /// The reward: `log-return`, or another with its parameter, as `differential-sharpe, rate 0.01`.
    pub reward: String,
}

fn one() -> f64 {
    1.0
}

impl Spec {
    /// The document as JSON.
    ///
    /// # Errors
    /// If a number is not finite.
    pub fn to_json(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|error| error.to_string())
    }

    /// The document that `text` is.
    ///
    /// # Errors
    /// If it is not one.
    pub fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}
