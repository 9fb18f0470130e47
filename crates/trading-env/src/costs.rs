//! What an order costs: nothing, basis points, or the dated charges of an exchange.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use crate::EnvError;
use crate::rates::{Holding, RateCard, Rates};

/// Amounts of money by what they were paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Costs {
    /// The broker; `bps:N` counts here.
    pub brokerage: f64,
    /// Securities transaction tax, stamp duty, goods and services tax.
    pub taxes: f64,
    /// The exchange and its regulator.
    pub exchange: f64,
    /// The depository.
    pub depository: f64,
    /// Whoever lends shares to sell, or money to buy with.
    pub borrowing: f64,
    /// The distance between the bar's price and the fill.
    pub slippage: f64,
}

impl Costs {
    /// The kinds, in the order of [`Costs::to_array`].
    pub const KINDS: [&str; 6] = ["brokerage", "taxes", "exchange", "depository", "borrowing", "slippage"];

    /// The amounts in the order of [`Costs::KINDS`].
    pub fn to_array(self) -> [f64; 6] {
        [self.brokerage, self.taxes, self.exchange, self.depository, self.borrowing, self.slippage]
    }

    /// The amounts that [`Costs::to_array`] gave.
    pub fn from_array([brokerage, taxes, exchange, depository, borrowing, slippage]: [f64; 6]) -> Self {
        Self { brokerage, taxes, exchange, depository, borrowing, slippage }
    }

    /// All kinds together.
    pub fn total(self) -> f64 {
        self.charges() + self.slippage
    }

    /// All kinds but slippage, which is paid inside the price rather than beside it.
    pub fn charges(self) -> f64 {
        self.brokerage + self.taxes + self.exchange + self.depository + self.borrowing
    }

    fn zip(self, other: Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            brokerage: combine(self.brokerage, other.brokerage),
            taxes: combine(self.taxes, other.taxes),
            exchange: combine(self.exchange, other.exchange),
            depository: combine(self.depository, other.depository),
            borrowing: combine(self.borrowing, other.borrowing),
            slippage: combine(self.slippage, other.slippage),
        }
    }
}

impl Add for Costs {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

impl AddAssign for Costs {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Costs {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
}

/// Whether an order buys or sells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Shares come in.
    Buy,
    /// Shares go out.
    Sell,
}

/// How orders are charged.
#[derive(Debug, Clone, PartialEq)]
pub enum CostModel {
    /// Not at all.
    Free,
    /// Basis points of the traded value, on each side.
    Bps(f64),
    /// By a rate card, whose tables have dates.
    Card(RateCard),
}

/// How orders are charged on one day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Charge {
    /// Not at all.
    Free,
    /// Basis points of the traded value, on each side.
    Bps(f64),
    /// By the table in force.
    Rates(Rates),
}

impl CostModel {
    /// Reads `none`, `bps:N`, `nse-delivery` or `nse-intraday`.
    pub fn parse(text: &str) -> Result<Self, EnvError> {
        let unknown = || EnvError::CostModel(text.to_owned());
        match text {
            "none" => Ok(Self::Free),
            "nse-delivery" => Self::nse_delivery(),
            "nse-intraday" => Self::nse_intraday(),
            _ => {
                let bps: f64 =
                    text.strip_prefix("bps:").ok_or_else(unknown)?.parse().map_err(|_| unknown())?;
                if (0.0..=1000.0).contains(&bps) { Ok(Self::Bps(bps)) } else { Err(unknown()) }
            }
        }
    }

    /// The NSE's charges for shares that are held overnight.
    pub fn nse_delivery() -> Result<Self, EnvError> {
        Ok(Self::Card(RateCard::nse(Holding::Delivery)?))
    }

    /// The NSE's charges for shares bought and sold within one session.
    pub fn nse_intraday() -> Result<Self, EnvError> {
        Ok(Self::Card(RateCard::nse(Holding::Intraday)?))
    }

    /// The charges of somebody who buys once and holds in the same market.
    #[must_use]
    pub fn for_holding(self) -> Self {
        match self {
            Self::Card(card) => Self::Card(card.for_holding()),
            other => other,
        }
    }

    /// The name, and since when its rates are in force, for models that have dates.
    pub fn in_words(&self) -> String {
        match self {
            Self::Card(card) => format!("{self}, rates of {}", card.dates().collect::<Vec<_>>().join(", ")),
            _ => self.to_string(),
        }
    }

    /// Every way in which it charges, dates ascending.
    pub fn charges(&self) -> Vec<Charge> {
        match self {
            Self::Free => vec![Charge::Free],
            Self::Bps(bps) => vec![Charge::Bps(*bps)],
            Self::Card(card) => card.tables().map(Charge::Rates).collect(),
        }
    }

    /// Which of [`CostModel::charges`] applies on `date` (`YYYY-MM-DD`).
    pub fn charge_on(&self, date: &str) -> usize {
        match self {
            Self::Card(card) => card.table_on(date),
            _ => 0,
        }
    }
}

impl Charge {
    /// What an order of `value` is charged, slippage apart. `sells_held_shares` says whether the depository
    /// charges for it: shares leave the account, for the first time that day.
    #[inline]
    pub fn of(&self, side: Side, value: f64, sells_held_shares: bool) -> Costs {
        match self {
            Self::Free => Costs::default(),
            Self::Bps(bps) => Costs { brokerage: value * bps * 1e-4, ..Costs::default() },
            Self::Rates(rates) => rates.charge(side, value, sells_held_shares),
        }
    }
}

impl fmt::Display for CostModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => write!(f, "none"),
            Self::Bps(bps) => write!(f, "bps:{bps}"),
            Self::Card(card) => write!(f, "{}", card.title()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(model: &str, value: f64) -> f64 {
        let charge = CostModel::parse(model).unwrap().charges()[0];
        (charge.of(Side::Buy, value, false) + charge.of(Side::Sell, value, true)).total()
    }

    #[test]
    fn round_trips_cost_what_the_exchange_and_the_broker_charge() {
        // Delivery: STT 200.00, exchange 6.14, SEBI 0.20, stamp 15.00, GST 1.1412, depository 15.34.
        assert!((round_trip("nse-delivery", 100_000.0) - 237.8212).abs() < 1e-9);
        // The flat charge weighs on small orders: 53 basis points of 5,000 rupees.
        assert!((round_trip("nse-delivery", 5_000.0) / 5_000.0 * 1e4 - 52.93).abs() < 0.01);
        // Intraday: brokerage 40.00, STT 25.00, exchange 6.14, SEBI 0.20, stamp 3.00, GST 8.3412.
        assert!((round_trip("nse-intraday", 100_000.0) - 82.6812).abs() < 1e-9);
        // Below 66,667 rupees the brokerage is 0.03 % rather than its cap: 3.00 a side of 10,000.
        // 6.00 + 2.50 + 0.614 + 0.02 + 0.30 + 0.18 × 6.634 = 10.62812.
        assert!((round_trip("nse-intraday", 10_000.0) - 10.62812).abs() < 1e-9);
        assert_eq!(round_trip("none", 1e5), 0.0);
        assert!((round_trip("bps:10", 1e5) - 200.0).abs() < 1e-9);
    }

    #[test]
    fn costs_are_filed_under_their_kind() {
        let costs = CostModel::parse("nse-intraday").unwrap().charges()[0].of(Side::Buy, 100_000.0, true);
        assert_eq!(costs.brokerage, 20.0);
        assert!((costs.exchange - 3.17).abs() < 1e-12);
        assert!((costs.taxes - (3.0 + 0.18 * 23.17)).abs() < 1e-12);
        assert_eq!(costs.depository, 0.0);
        assert_eq!(costs.to_array().len(), Costs::KINDS.len());
    }

    #[test]
    fn names_are_read_back_and_others_refused() {
        for name in ["none", "bps:2.5", "nse-delivery", "nse-intraday"] {
            assert_eq!(CostModel::parse(name).unwrap().to_string(), name);
        }
        for wrong in ["", "bps:", "bps:-1", "bps:nan", "bps:x", "nse"] {
            assert!(CostModel::parse(wrong).is_err(), "{wrong}");
        }
    }
}
