//! The flags that say what an account may do, what that costs, and what it earns.

use clap::{Args, ValueEnum};

/// Whose rules an account follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RuleSet {
    /// Target positions in one symbol; the reward is what the account gains.
    Portfolio,
    /// The account, the observation and the reward of the Python environment of that name.
    #[value(name = "stock-trading-env2")]
    StockTradingEnv2,
}

/// A market whose rules are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MarketName {
    /// National Stock Exchange of India: intraday bars pay intraday charges, may be short and are squared off;
    /// daily bars pay delivery charges and are long only.
    Nse,
    /// 10 basis points an order, short positions allowed.
    None,
}

/// Whether positions may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Short {
    /// They may.
    Allow,
    /// They may not.
    Forbid,
}

/// What an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ActionKind {
    /// One of the target positions in --levels.
    Discrete,
    /// Any target position from -1 (0 without shorts) to 1.
    Position,
    /// Two numbers: a direction from -1 to 1, and a size from 0 to 1. A direction beyond a third is a target of that
    /// size, long or short; one between leaves the position as it is.
    DirectionSize,
}

/// When an order fills that was placed at a bar's close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fill {
    /// At the next bar's open.
    NextOpen,
    /// At the next bar's close.
    NextClose,
    /// At that very close, which nobody can do: for comparison with environments that assume it.
    SameClose,
}

/// What a step pays; all of it net of every cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RewardKind {
    /// The logarithm of equity over equity a bar before.
    LogReturn,
    /// How much that return moves the Sharpe ratio of the latest returns (Moody and Saffell 2001).
    DifferentialSharpe,
    /// That return, less --drawdown-penalty times the part of it that deepens the drawdown.
    DrawdownPenalised,
}

/// Where training episodes start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StartKind {
    /// Anywhere in the days.
    Random,
    /// At the first decision of the days.
    First,
    /// Before the first bar of a session, drawn among all of them.
    EverySession,
}

/// What an account may do, what that costs, and what it earns.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Rules")]
pub struct RuleArguments {
    /// Whose rules the account follows.
    #[arg(long = "rules", value_enum, default_value_t = RuleSet::Portfolio)]
    pub rule_set: RuleSet,

    /// Take the rules and costs of a market; options below overrule it.
    #[arg(long, value_enum, default_value_t = MarketName::None)]
    pub market: MarketName,

    /// What an action is [default: discrete].
    #[arg(long, value_enum)]
    pub actions: Option<ActionKind>,

    /// Target positions of discrete actions, ascending from -1 to 1 [default: -1,0,1, or 0,1 without shorts].
    ///
    /// As fractions of equity, times --leverage.
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_hyphen_values = true)]
    pub levels: Option<Vec<f64>>,

    /// The position, as a multiple of equity, that a target of 1 stands for [default: 1].
    #[arg(long, value_name = "MULTIPLE", allow_negative_numbers = true)]
    pub leverage: Option<f64>,

    /// When orders fill [default: next-open].
    #[arg(long, value_enum)]
    pub fill: Option<Fill>,

    /// What orders are charged: none, bps:N, nse-delivery, nse-intraday, or a rate card [default: bps:10, or the
    /// market's; none for stock-trading-env2].
    ///
    /// A rate card is a TOML file like crates/trading-env/rates/nse-2024-10-01.toml: rates for delivery, intraday or
    /// both, and the date since which they are in force; several such tables stand under [[rates]]. Accounts that
    /// square off pay the intraday rates.
    #[arg(long, value_name = "MODEL|FILE")]
    pub costs: Option<String>,

    /// How much worse than the bar's price fills are, in basis points [default: 0].
    #[arg(long, value_name = "BPS", allow_negative_numbers = true)]
    pub slippage_bps: Option<f64>,

    /// What a year of borrowing costs, in basis points, of shares sold short and of money beyond the account's own
    /// [default: 0].
    #[arg(long, value_name = "BPS", allow_negative_numbers = true)]
    pub borrow_bps_per_year: Option<f64>,

    /// Whether positions may be negative [default: allow, or the market's].
    #[arg(long, value_enum)]
    pub short: Option<Short>,

    /// Close positions at each session's last bar.
    #[arg(long, overrides_with = "no_square_off")]
    pub square_off: bool,

    /// Keep positions overnight, whatever the market's rule.
    #[arg(long, overrides_with = "square_off")]
    pub no_square_off: bool,

    /// Trade whole shares only.
    #[arg(long)]
    pub whole_shares: bool,

    /// Money at the start of an episode.
    #[arg(long, value_name = "AMOUNT", default_value_t = 100_000.0, allow_negative_numbers = true)]
    pub capital: f64,

    /// The fraction of the capital at which an account is ruined and its episode ends [default: 0.1].
    #[arg(long, value_name = "FRACTION", allow_negative_numbers = true)]
    pub ruin: Option<f64>,

    /// What a step pays [default: log-return].
    #[arg(long, value_enum)]
    pub reward: Option<RewardKind>,

    /// The weight of the latest return in the moments of differential-sharpe [default: 0.01].
    #[arg(long, value_name = "ETA", allow_negative_numbers = true)]
    pub sharpe_rate: Option<f64>,

    /// How much dearer losses that deepen the drawdown are to drawdown-penalised [default: 1].
    #[arg(long, value_name = "WEIGHT", allow_negative_numbers = true)]
    pub drawdown_penalty: Option<f64>,

    /// stock-trading-env2: the largest value of shares sold short [default: the capital].
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    pub short_limit: Option<f64>,

    /// stock-trading-env2: the direction from which on shares are bought [default: 0.3].
    #[arg(long, value_name = "DIRECTION", allow_negative_numbers = true)]
    pub buy_threshold: Option<f64>,

    /// stock-trading-env2: the direction down from which shares are sold [default: -0.3].
    #[arg(long, value_name = "DIRECTION", allow_negative_numbers = true)]
    pub sell_threshold: Option<f64>,

    /// stock-trading-env2: how many rows before the present one an observation shows [default: 5].
    #[arg(long, value_name = "ROWS")]
    pub lags: Option<u32>,

    /// stock-trading-env2: the price that is traded at: open, high, low, close or a feature [default: close].
    #[arg(long, value_name = "COLUMN")]
    pub price_column: Option<String>,
}
