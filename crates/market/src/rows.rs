//! Bars as a file holds them, before order, duplicates, sessions and the meaning of a stamp are settled.

use jiff::tz::{Offset, TimeZone};

use crate::Provenance;
use crate::timestamp::{self, Stamp};

/// The zone of a text without an offset when nobody names another: the home of NSE and BSE.
pub const DEFAULT_TIMEZONE: &str = "Asia/Kolkata";

/// One bar as read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The stamp in microseconds since 1970 in UTC, whatever it means.
    pub stamp: i64,
    /// The exchange's date of the stamp, in days since 1970.
    pub day: i32,
    /// The line (or row) of the file, for messages.
    pub line: u64,
    /// First price.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Last price.
    pub close: f64,
    /// Shares traded.
    pub volume: f64,
}

impl Row {
    /// Whether two rows say the same of the same time.
    pub fn same_values(&self, other: &Self) -> bool {
        let values = |row: &Self| [row.open, row.high, row.low, row.close, row.volume].map(f64::to_bits);
        values(self) == values(other)
    }

    /// What makes the row unusable: a price that is not positive, or a negative volume. The text names the
    /// column and the value.
    pub fn problem(&self) -> Option<String> {
        let prices = [("open", self.open), ("high", self.high), ("low", self.low), ("close", self.close)];
        for (name, price) in prices {
            if !price.is_finite() || price <= 0.0 {
                return Some(format!("{name} {price} is not a positive price"));
            }
        }
        (!self.volume.is_finite() || self.volume < 0.0)
            .then(|| format!("volume {} is not a number of shares", self.volume))
    }
}

/// The rows of one symbol in one file, in the file's order.
#[derive(Debug, Clone, PartialEq)]
pub struct SymbolRows {
    /// The symbol.
    pub symbol: String,
    /// The rows.
    pub rows: Vec<Row>,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct FileRows {
    /// Its symbols, in order of appearance.
    pub symbols: Vec<SymbolRows>,
    /// What its label says.
    pub provenance: Provenance,
    /// Its time zone by name or fixed offset.
    pub timezone: String,
    /// Whether the zone was neither in the file nor named by the user.
    pub timezone_assumed: bool,
    /// Whether it says how many shares were traded.
    pub has_volume: bool,
    /// How many unusable rows were left out, and what was wrong with the first.
    pub skipped: Option<(usize, String)>,
}

/// Turns stamps into instants and trading dates, and finds out which zone a file is in.
#[derive(Debug)]
pub struct Clock {
    given: Option<(String, TimeZone)>,
    home: TimeZone,
    offset: Option<Offset>,
    assumed: bool,
}

impl Clock {
    /// A clock for one file; `given` is the zone that the user named.
    pub fn new(given: Option<&str>) -> Result<Self, String> {
        let zone = |name: &str| {
            timestamp::zone_by_name(name).ok_or_else(|| {
                format!("--timezone: \"{name}\" is neither a zone such as Asia/Kolkata nor an offset such as +05:30")
            })
        };
        let given = given.map(|name| zone(name).map(|zone| (name.to_owned(), zone))).transpose()?;
        let home = match &given {
            Some((_, zone)) => zone.clone(),
            None => zone(DEFAULT_TIMEZONE)?,
        };
        Ok(Self { given, home, offset: None, assumed: false })
    }

    /// The instant and the trading date of a stamp.
    pub fn place(&mut self, stamp: Stamp) -> Result<(i64, i32), String> {
        let out_of_range = || "is out of the range of dates".to_owned();
        match stamp {
            Stamp::Civil(civil) => {
                self.assumed = true;
                let micros = timestamp::civil_to_micros(civil, &self.home).ok_or_else(out_of_range)?;
                Ok((micros, timestamp::day_number(civil.date())))
            }
            Stamp::Offset(civil, offset) if self.given.is_none() && offset != Offset::UTC => {
                if let Some(first) = self.offset.filter(|&first| first != offset) {
                    return Err(format!(
                        "has the offset {offset} after rows with {first} (name the exchange's zone with --timezone)"
                    ));
                }
                self.offset = Some(offset);
                let micros = timestamp::offset_to_micros(civil, offset).ok_or_else(out_of_range)?;
                Ok((micros, timestamp::day_number(civil.date())))
            }
            Stamp::Offset(civil, offset) => {
                let micros = timestamp::offset_to_micros(civil, offset).ok_or_else(out_of_range)?;
                self.place(Stamp::Instant(micros))
            }
            Stamp::Instant(micros) => {
                self.assumed = true;
                let civil = timestamp::micros_to_civil(micros, &self.home).ok_or_else(out_of_range)?;
                Ok((micros, timestamp::day_number(civil.date())))
            }
        }
    }

    /// The zone's name, and whether it was merely assumed.
    pub fn zone(&self) -> (String, bool) {
        match (&self.given, self.offset) {
            (Some((name, _)), _) => (name.clone(), false),
            (None, Some(offset)) => (offset_name(offset), false),
            (None, None) => (DEFAULT_TIMEZONE.to_owned(), self.assumed),
        }
    }
}

/// An offset as `+05:30`.
fn offset_name(offset: Offset) -> String {
    let minutes = offset.seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(clock: &mut Clock, text: &str) -> Result<(i64, i32), String> {
        clock.place(timestamp::parse(text).unwrap())
    }

    #[test]
    fn the_offset_in_the_text_is_the_zone() {
        let mut clock = Clock::new(None).unwrap();
        let (micros, day) = place(&mut clock, "2023-07-03 09:15:00+05:30").unwrap();
        assert_eq!((micros, day), (1_688_355_900_000_000, 19_541));
        assert_eq!(clock.zone(), ("+05:30".to_owned(), false));
        assert!(place(&mut clock, "2023-07-03 09:15:00+05:45").unwrap_err().contains("--timezone"));
    }

    #[test]
    fn text_without_an_offset_and_instants_are_taken_for_indian_time() {
        for text in ["2023-07-03 09:15", "2023-07-03T03:45:00Z", "1688355900"] {
            let mut clock = Clock::new(None).unwrap();
            assert_eq!(place(&mut clock, text).unwrap(), (1_688_355_900_000_000, 19_541), "{text}");
            assert_eq!(clock.zone(), (DEFAULT_TIMEZONE.to_owned(), true));
        }
    }

    #[test]
    fn a_named_zone_decides_the_trading_date() {
        let mut clock = Clock::new(Some("America/New_York")).unwrap();
        let (_, day) = place(&mut clock, "2023-07-03 02:00:00+05:30").unwrap();
        assert_eq!(timestamp::day_date(day).to_string(), "2023-07-02");
        assert_eq!(clock.zone(), ("America/New_York".to_owned(), false));
        assert!(Clock::new(Some("Mumbai")).unwrap_err().starts_with("--timezone"));
    }
}
