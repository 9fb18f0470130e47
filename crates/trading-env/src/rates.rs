//! Rate cards: what a broker, an exchange and a state charge, by the date since which they do.
//!
//! A card is TOML. One table is written plainly; several stand under `[[rates]]`, each with its date:
//! ```toml
//! in_force_since = "2024-10-01"
//! [delivery]                     # or [intraday], or both; what positions are charged that are held overnight
//! brokerage_fraction = 0.001     # fractions are of the traded value
//! brokerage_cap_rupees = 20.0    # the most an order is charged; `inf` for no bound
//! stt_buy_fraction = 0.001
//! …
//! ```

use serde::Deserialize;

use crate::EnvError;
use crate::costs::{Costs, Side};

/// The embedded charges of the National Stock Exchange of India.
const NSE_RATES: &str = include_str!("../rates/nse-2024-10-01.toml");

/// One column of a rate card; fractions are of the traded value.
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

/// What is charged depends on how long a position is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// Overnight.
    Delivery,
    /// Within one session.
    Intraday,
}

/// The rates of one kind of holding, dates ascending; never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct RateCard {
    name: String,
    holding: Holding,
    dated: Vec<DatedRates>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct DatedRates {
    in_force_since: String,
    delivery: Option<Rates>,
    intraday: Option<Rates>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RateFile {
    in_force_since: Option<String>,
    delivery: Option<Rates>,
    intraday: Option<Rates>,
    #[serde(default)]
    rates: Vec<DatedRates>,
}

impl RateCard {
    /// The NSE's charges.
    pub fn nse(holding: Holding) -> Result<Self, EnvError> {
        Self::parse("nse", NSE_RATES, holding)
    }

    /// The card that `text` is; `name` is what it is called.
    pub fn parse(name: &str, text: &str, holding: Holding) -> Result<Self, EnvError> {
        let wrong = |what: String| EnvError::RateTable(format!("{name}: {what}"));
        let file: RateFile = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let mut dated = file.rates;
        match (file.in_force_since, file.delivery.is_some() || file.intraday.is_some()) {
            (Some(in_force_since), true) if dated.is_empty() => {
                dated.push(DatedRates { in_force_since, delivery: file.delivery, intraday: file.intraday });
            }
            (None, false) if !dated.is_empty() => {}
            _ => {
                return Err(wrong(
                    "take in_force_since with [delivery] or [intraday], or several such tables under [[rates]]".into(),
                ));
            }
        }
        dated.sort_by(|a, b| a.in_force_since.cmp(&b.in_force_since));
        for table in &dated {
            let date = &table.in_force_since;
            if !is_date(date) {
                return Err(wrong(format!("in_force_since {date:?} is not a date like 2024-10-01")));
            }
            for rates in [&table.delivery, &table.intraday].into_iter().flatten() {
                rates.validate().map_err(|what| wrong(format!("rates of {date}: {what}")))?;
            }
        }
        let card = Self { name: name.into(), holding, dated };
        match card.dated.iter().find(|table| table.of(holding).is_none()) {
            None => Ok(card),
            Some(table) => {
                let section = holding.section();
                Err(wrong(format!(
                    "the rates of {} have no [{section}], which these rules need",
                    table.in_force_since
                )))
            }
        }
    }

    /// The same card for positions that are held overnight; as it is if it knows no such rates.
    #[must_use]
    pub fn for_holding(self) -> Self {
        let knows = self.dated.iter().all(|table| table.delivery.is_some());
        Self { holding: if knows { Holding::Delivery } else { self.holding }, ..self }
    }

    /// For which kind of position the rates are.
    pub fn holding(&self) -> Holding {
        self.holding
    }

    /// `nse-delivery` and the like.
    pub fn title(&self) -> String {
        format!("{}-{}", self.name, self.holding.section())
    }

    /// The dates since which its tables are in force.
    pub fn dates(&self) -> impl Iterator<Item = &str> {
        self.dated.iter().map(|table| table.in_force_since.as_str())
    }

    /// The tables, in the order of [`RateCard::dates`].
    pub fn tables(&self) -> impl Iterator<Item = Rates> {
        self.dated.iter().filter_map(|table| table.of(self.holding))
    }

    /// Which of [`RateCard::tables`] is in force on `date` (`YYYY-MM-DD`); the first before all of them.
    pub fn table_on(&self, date: &str) -> usize {
        self.dated.partition_point(|table| table.in_force_since.as_str() <= date).saturating_sub(1)
    }
}

impl DatedRates {
    fn of(&self, holding: Holding) -> Option<Rates> {
        match holding {
            Holding::Delivery => self.delivery,
            Holding::Intraday => self.intraday,
        }
    }
}

impl Holding {
    fn section(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Intraday => "intraday",
        }
    }
}

impl Rates {
    /// What an order of `value` is charged; see [`crate::costs::Charge::of`].
    #[inline]
    pub fn charge(&self, side: Side, value: f64, sells_held_shares: bool) -> Costs {
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
            ..Costs::default()
        }
    }

    fn validate(&self) -> Result<(), String> {
        // More than a tenth of the value is a mistake in the file, such as a percentage written as a fraction.
        for (name, fraction) in [
            ("brokerage_fraction", self.brokerage_fraction),
            ("stt_buy_fraction", self.stt_buy_fraction),
            ("stt_sell_fraction", self.stt_sell_fraction),
            ("exchange_fraction", self.exchange_fraction),
            ("sebi_fraction", self.sebi_fraction),
            ("stamp_buy_fraction", self.stamp_buy_fraction),
        ] {
            if !(0.0..=0.1).contains(&fraction) {
                return Err(format!("{name} {fraction} is not in 0 to 0.1 of the traded value"));
            }
        }
        let is_sound = (0.0..=1.0).contains(&self.gst_fraction)
            && self.brokerage_cap_rupees >= 0.0
            && (0.0..1e6).contains(&self.depository_rupees);
        if is_sound { Ok(()) } else { Err("a tax, a cap or the depository's charge makes no sense".into()) }
    }
}

fn is_date(text: &str) -> bool {
    let is_part = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == 3 && is_part(parts[0], 4) && is_part(parts[1], 2) && is_part(parts[2], 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(brokerage: &str) -> String {
        format!(
            "brokerage_fraction = {brokerage}\nbrokerage_cap_rupees = inf\nstt_buy_fraction = 0.0\n\
             stt_sell_fraction = 0.002\nexchange_fraction = 0.0\nsebi_fraction = 0.0\n\
             stamp_buy_fraction = 0.0\ngst_fraction = 0.0\ndepository_rupees = 0.0\n"
        )
    }

    #[test]
    fn the_table_of_a_trade_is_the_one_in_force_on_its_date() {
        // The later table comes first in the file.
        let text = format!(
            "[[rates]]\nin_force_since = \"2025-01-01\"\n[rates.delivery]\n{}\
             [[rates]]\nin_force_since = \"2020-01-01\"\n[rates.delivery]\n{}",
            table("0.001"),
            table("0.003")
        );
        let card = RateCard::parse("mine", &text, Holding::Delivery).unwrap();
        assert_eq!(card.dates().collect::<Vec<_>>(), ["2020-01-01", "2025-01-01"]);
        let charged = |date: &str, side| {
            let rates = card.tables().nth(card.table_on(date)).unwrap();
            rates.charge(side, 1000.0, false).total()
        };
        for (date, buy) in [
            ("2019-05-05", 3.0),
            ("2020-01-01", 3.0),
            ("2024-12-31", 3.0),
            ("2025-01-01", 1.0),
            ("2030-01-01", 1.0),
        ] {
            assert_eq!((charged(date, Side::Buy), charged(date, Side::Sell)), (buy, buy + 2.0), "{date}");
        }
        assert_eq!(card.title(), "mine-delivery");
    }

    #[test]
    fn a_file_that_makes_no_card_says_what_is_missing() {
        let check = |text: &str, named: &str| {
            let error = RateCard::parse("mine", text, Holding::Intraday).unwrap_err().to_string();
            assert!(error.contains("mine") && error.contains(named), "{error}");
        };
        check("in_force_since = \"2025-01-01\"", "[delivery] or [intraday]");
        check("rates = 3", "rates");
        let delivery = |date: &str, brokerage: &str| {
            format!("in_force_since = \"{date}\"\n[delivery]\n{}", table(brokerage))
        };
        check(&delivery("2025-01-01", "0.001"), "no [intraday]");
        check(&delivery("1 May 2025", "0.001"), "is not a date");
        check(&delivery("2025-01-01", "0.3"), "brokerage_fraction 0.3 is not in 0 to 0.1");
        check(&delivery("2025-01-01", "nan"), "brokerage_fraction");
        check(&delivery("2025-01-01", "0.001").replace("gst", "vat"), "vat_fraction");
    }
}
