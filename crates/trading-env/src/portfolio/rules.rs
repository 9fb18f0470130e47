//! The rules of the account: what an action means, what it may hold, when orders fill and what they cost.

#![expect(clippy::inline_always, reason = "what every step does is to stand in its loop, in registers")]

use std::ops::RangeInclusive;

use crate::EnvError;
use crate::costs::CostModel;
use crate::environment::{Action, ActionSpace};
use crate::reward::Reward;

/// The least that equity counts as, as a fraction of the capital.
pub(super) const EQUITY_FLOOR: f64 = 1e-3;
/// Amounts that a day of trading can neither lift out of what a number can hold nor drop to nothing.
pub(crate) const CAPITAL: RangeInclusive<f64> = 0.01..=1e15;
/// The largest slippage that makes sense.
const MAX_SLIPPAGE_BPS: f64 = 1000.0;
/// The largest leverage that makes sense.
const MAX_LEVERAGE: f64 = 20.0;
/// The dearest borrowing that makes sense.
const MAX_BORROWING_BPS: f64 = 100_000.0;
/// How far a direction must point away from 0 to mean anything: a third of the way.
pub const DIRECTION_THRESHOLD: f64 = 1.0 / 3.0;

/// What an action means. All of them name a target, the position as a multiple of equity times the leverage.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// One of these, ascending within [−1, 1].
    Levels(Vec<f64>),
    /// Any number in [−1, 1], or in [0, 1] without shorts.
    Position,
    /// Two numbers: a direction in [−1, 1] and a size in [0, 1]. A direction beyond a third means the size, long
    /// or short (flat, where shorts are forbidden); one between means what is held.
    DirectionSize,
}

/// When an order fills that was placed at the close of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FillAt {
    /// At the next bar's open.
    NextOpen,
    /// At the next bar's close.
    NextClose,
    /// At the very close that the agent has seen: nobody can trade so, but other environments do.
    SameClose,
}

/// The rules of the account.
#[derive(Debug, Clone, PartialEq)]
pub struct PortfolioRules {
    /// What an action means.
    pub targets: Targets,
    /// Whether a position may be negative.
    pub allows_short: bool,
    /// The position, as a multiple of equity, that target 1 stands for.
    pub leverage: f64,
    /// When orders fill.
    pub fill: FillAt,
    /// What orders are charged.
    pub costs: CostModel,
    /// What a year of borrowing costs, in basis points: of the value of shares sold short, and of money that the
    /// account does not have.
    pub borrowing_bps_per_year: f64,
    /// How much worse than the bar's price fills are, in basis points.
    pub slippage_bps: f64,
    /// Whether positions are closed at each session's last bar.
    pub square_off: bool,
    /// Whether shares come whole.
    pub whole_shares: bool,
    /// Money at the start.
    pub capital: f64,
    /// The fraction of the capital at which the account is ruined.
    pub ruin: f64,
    /// How many rows of features an observation stacks.
    pub window: usize,
    /// What a step pays.
    pub reward: Reward,
}

impl Default for PortfolioRules {
    fn default() -> Self {
        Self {
            targets: Targets::Levels(vec![-1.0, 0.0, 1.0]),
            allows_short: true,
            leverage: 1.0,
            fill: FillAt::NextOpen,
            costs: CostModel::Bps(10.0),
            borrowing_bps_per_year: 0.0,
            slippage_bps: 0.0,
            square_off: false,
            whole_shares: false,
            capital: 100_000.0,
            // A buyer who holds through a fall of half must stay in an evaluation; nobody comes back from a tenth.
            ruin: 0.1,
            window: 1,
            reward: Reward::LogReturn,
        }
    }
}

impl Targets {
    /// Every level that an account may take: short, flat and long, or without the first.
    pub fn default_levels(allows_short: bool) -> Self {
        Self::Levels(if allows_short { vec![-1.0, 0.0, 1.0] } else { vec![0.0, 1.0] })
    }

    /// What the choices of discrete actions mean; nothing for others.
    pub fn levels(&self) -> &[f64] {
        match self {
            Self::Levels(levels) => levels,
            Self::Position | Self::DirectionSize => &[],
        }
    }

    /// The target that `action` means, where `held` is the one held; shorts that are forbidden are flat.
    #[inline(always)]
    pub(super) fn target(&self, action: Action<'_>, held: f64, allows_short: bool) -> f64 {
        match self {
            Self::Levels(levels) => levels[action.choice() as usize],
            Self::Position => f64::from(action.numbers()[0]),
            Self::DirectionSize => {
                let [direction, size] = [0, 1].map(|at| f64::from(action.numbers()[at]));
                if direction > DIRECTION_THRESHOLD {
                    size
                } else if direction >= -DIRECTION_THRESHOLD {
                    held
                } else if allows_short {
                    -size
                } else {
                    0.0
                }
            }
        }
    }

    /// What an action may be.
    pub(super) fn action_space(&self, allows_short: bool) -> ActionSpace {
        let least = if allows_short { -1.0 } else { 0.0 };
        match self {
            Self::Levels(levels) => ActionSpace::Discrete { n_choices: levels.len() as u32 },
            Self::Position => ActionSpace::Box { low: vec![least], high: vec![1.0] },
            Self::DirectionSize => ActionSpace::Box { low: vec![-1.0, 0.0], high: vec![1.0, 1.0] },
        }
    }
}

impl FillAt {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::NextOpen => "next-open",
            Self::NextClose => "next-close",
            Self::SameClose => "same-close",
        }
    }
}

impl PortfolioRules {
    /// What the National Stock Exchange allows: intraday bars pay intraday charges, may be short, and are
    /// squared off; daily bars pay delivery charges and are long only.
    pub fn nse(is_intraday: bool) -> Result<Self, EnvError> {
        Ok(if is_intraday {
            Self { costs: CostModel::nse_intraday()?, square_off: true, ..Self::default() }
        } else {
            Self {
                targets: Targets::default_levels(false),
                allows_short: false,
                costs: CostModel::nse_delivery()?,
                ..Self::default()
            }
        })
    }

    /// The account of somebody who stays out (choice 0) or buys once and holds (choice 1): no square-off, nothing
    /// borrowed, and the market's delivery costs. What the policy may do changes nothing here.
    #[must_use]
    pub fn for_holding(self) -> Self {
        Self {
            targets: Targets::default_levels(false),
            allows_short: false,
            leverage: 1.0,
            square_off: false,
            costs: self.costs.for_holding(),
            reward: Reward::LogReturn,
            ..self
        }
    }

    /// Whether the rules make sense.
    pub fn validate(&self) -> Result<(), EnvError> {
        let require = |holds: bool, text: String| if holds { Ok(()) } else { Err(EnvError::Rule(text)) };
        if let Targets::Levels(levels) = &self.targets {
            let least = if self.allows_short { -1.0 } else { 0.0 };
            require(
                levels.len() >= 2
                    && levels.iter().all(|level| (least..=1.0).contains(level))
                    && levels.windows(2).all(|pair| pair[0] < pair[1]),
                format!("levels {levels:?}: take two or more, ascending, from {least} to 1"),
            )?;
        }
        require(
            self.leverage > 0.0 && self.leverage <= MAX_LEVERAGE,
            format!("a leverage of {} is not above 0 and at most {MAX_LEVERAGE}", self.leverage),
        )?;
        let borrowing = self.borrowing_bps_per_year;
        require(
            (0.0..=MAX_BORROWING_BPS).contains(&borrowing),
            format!("borrowing at {borrowing} basis points a year is not in 0 to {MAX_BORROWING_BPS}"),
        )?;
        require(
            (0.0..=MAX_SLIPPAGE_BPS).contains(&self.slippage_bps),
            format!("slippage of {} basis points is not in 0 to {MAX_SLIPPAGE_BPS}", self.slippage_bps),
        )?;
        require(
            CAPITAL.contains(&self.capital),
            format!("a capital of {:?} is not in {} to {:e}", self.capital, CAPITAL.start(), CAPITAL.end()),
        )?;
        require(
            (EQUITY_FLOOR..1.0).contains(&self.ruin),
            format!("ruin at {} of the capital is not in {EQUITY_FLOOR} to 1", self.ruin),
        )?;
        require(self.window >= 1, "a window of 0 rows shows nothing; take at least 1".into())?;
        self.reward.validate()
    }
}
