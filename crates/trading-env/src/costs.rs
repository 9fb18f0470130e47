//! What an order costs: nothing, basis points, or the dated charges of an exchange.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use serde::Deserialize;

use crate::EnvError;

/// The embedded charges of the National Stock Exchange of India.
const NSE_RATES: &str = include_str!("../rates/nse-2024-10-01.toml");

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
    /// The distance between the bar's price and the fill.
    pub slippage: f64,
}

impl Costs {
    /// The kinds, in the order of [`Costs::to_array`].
    pub const KINDS: [&str; 5] = ["brokerage", "taxes", "exchange", "depository", "slippage"];

    /// The amounts in the order of [`Costs::KINDS`].
    pub fn to_array(self) -> [f64; 5] {
        [self.brokerage, self.taxes, self.exchange, self.depository, self.slippage]
    }

    /// The amounts that [`Costs::to_array`] gave.
    pub fn from_array([brokerage, taxes, exchange, depository, slippage]: [f64; 5]) -> Self {
        Self { brokerage, taxes, exchange, depository, slippage }
    }

    /// All kinds together.
    pub fn total(self) -> f64 {
        self.charges() + self.slippage
    }

    /// All kinds but slippage, which is paid inside the price rather than beside it.
    pub fn charges(self) -> f64 {
        self.brokerage + self.taxes + self.exchange + self.depository
    }

    fn zip(self, other: Self, combine: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            brokerage: combine(self.brokerage, other.brokerage),
            taxes: combine(self.taxes, other.taxes),
            exchange: combine(self.exchange, other.exchange),
            depository: combine(self.depository, other.depository),
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

/// One column of a rate table; fractions are of the traded value.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    brokerage_fraction: f64,
    brokerage_cap_rupees: f64,
    stt_buy_fraction: f64,
    stt_sell_fraction: f64,
    exchange_fraction: f64,
    sebi_fraction: f64,
    stamp_buy_fraction: f64,
    gst_fraction: f64,
    depository_rupees: f64,
}

/// How orders are charged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CostModel {
    /// Not at all.
    Free,
    /// Basis points of the traded value, on each side.
    Bps(f64),
    /// Shares that are held overnight at the NSE.
    NseDelivery(Rates),
    /// Shares bought and sold within one session at the NSE.
    NseIntraday(Rates),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateFile {
    in_force_since: String,
    delivery: Rates,
    intraday: Rates,
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
        Ok(Self::NseDelivery(nse_rates()?.delivery))
    }

    /// The NSE's charges for shares bought and sold within one session.
    pub fn nse_intraday() -> Result<Self, EnvError> {
        Ok(Self::NseIntraday(nse_rates()?.intraday))
    }

    /// The charges of somebody who buys once and holds in the same market.
    pub fn for_holding(self) -> Result<Self, EnvError> {
        match self {
            Self::NseIntraday(_) => Self::nse_delivery(),
            other => Ok(other),
        }
    }

    /// Since when the rates are in force, for models that have a date.
    pub fn in_force_since(self) -> Option<String> {
        match self {
            Self::Free | Self::Bps(_) => None,
            Self::NseDelivery(_) | Self::NseIntraday(_) => nse_rates().ok().map(|file| file.in_force_since),
        }
    }

    /// What an order of `value` is charged, slippage apart. `sells_held_shares` says whether the depository
    /// charges for it: shares leave the account, for the first time that day.
    #[inline]
    pub fn charge(&self, side: Side, value: f64, sells_held_shares: bool) -> Costs {
        match self {
            Self::Free => Costs::default(),
            Self::Bps(bps) => Costs { brokerage: value * bps * 1e-4, ..Costs::default() },
            Self::NseDelivery(rates) | Self::NseIntraday(rates) => {
                rates.charge(side, value, sells_held_shares)
            }
        }
    }
}

impl Rates {
    fn charge(&self, side: Side, value: f64, sells_held_shares: bool) -> Costs {
        let brokerage = (value * self.brokerage_fraction).min(self.brokerage_cap_rupees);
        let exchange = value * (self.exchange_fraction + self.sebi_fraction);
        let side_taxes = match side {
            Side::Buy => value * (self.stt_buy_fraction + self.stamp_buy_fraction),
            Side::Sell => value * self.stt_sell_fraction,
        };
        Costs {
            brokerage,
            taxes: side_taxes + self.gst_fraction * (brokerage + exchange),
            exchange,
            depository: if sells_held_shares { self.depository_rupees } else { 0.0 },
            slippage: 0.0,
        }
    }
}

impl fmt::Display for CostModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => write!(f, "none"),
            Self::Bps(bps) => write!(f, "bps:{bps}"),
            Self::NseDelivery(_) => write!(f, "nse-delivery"),
            Self::NseIntraday(_) => write!(f, "nse-intraday"),
        }
    }
}

fn nse_rates() -> Result<RateFile, EnvError> {
    toml::from_str(NSE_RATES).map_err(|error| EnvError::RateTable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(model: &str, value: f64) -> f64 {
        let model = CostModel::parse(model).unwrap();
        (model.charge(Side::Buy, value, false) + model.charge(Side::Sell, value, true)).total()
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
        let costs = CostModel::parse("nse-intraday").unwrap().charge(Side::Buy, 100_000.0, true);
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
