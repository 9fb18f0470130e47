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

    /// What makes the row unusable: a price that is not positive, a high below the low, or a negative volume. The text names the
    /// column and the value.
    pub fn problem(&self) -> Option<String> {
        let prices = [("open", self.open), ("high", self.high), ("low", self.low), ("close", self.close)];
        for (name, price) in prices {
            if !price.is_finite() || price <= 0.0 {
                return Some(format!("{name} {price} is not a positive price"));
            }
        }
        if self.high < self.low {
            return Some(format!("high {} is below low {}", self.high, self.low));
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
#[derive(Debug, Clone)]
pub struct Clock {
    given: Option<(String, TimeZone)>,
    home: TimeZone,
    offset: Option<Offset>,
    assumed: bool,
    known: Option<KnownDay>,
}

/// A day whose stamps were read before: others of the same day and spelling differ in the time of day alone.
#[derive(Debug, Clone, Copy)]
struct KnownDay {
    date: [u8; DATE_BYTES],
    /// What stands between date and time, and behind the time, such as a blank and `+05:30`.
    separator: u8,
    suffix: [u8; LONGEST_SUFFIX],
    n_suffix: usize,
    n_text: usize,
    /// Microseconds since 1970 in UTC at which the day begins, with the suffix taken into account.
    midnight: i64,
    day: i32,
}

const DATE_BYTES: usize = 10;
const LONGEST_SUFFIX: usize = 8;
const MICROS_PER_SECOND: i64 = 1_000_000;

impl KnownDay {
    fn place(&self, text: &[u8]) -> Option<(i64, i32)> {
        if text.len() != self.n_text || text[..DATE_BYTES] != self.date {
            return None;
        }
        if text.len() == DATE_BYTES {
            return Some((self.midnight, self.day));
        }
        let end = self.n_text - self.n_suffix;
        if text[DATE_BYTES] != self.separator || text[end..] != self.suffix[..self.n_suffix] {
            return None;
        }
        let seconds = timestamp::seconds_of_day(&text[DATE_BYTES + 1..end])?;
        Some((self.midnight + seconds * MICROS_PER_SECOND, self.day))
    }
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
        Ok(Self { given, home, offset: None, assumed: false, known: None })
    }

    /// The instant and the trading date of the text of a stamp. The error names the text.
    pub fn place_text(&mut self, text: &str) -> Result<(i64, i32), String> {
        if let Some(placed) = self.known.and_then(|known| known.place(text.as_bytes())) {
            return Ok(placed);
        }
        let stamp = timestamp::parse(text).ok_or_else(|| timestamp::not_understood(text))?;
        let placed = self.place(stamp).map_err(|problem| format!("time \"{text}\" {problem}"))?;
        self.known = self.learn(text.as_bytes(), stamp, placed);
        Ok(placed)
    }

    /// Whether another clock of the same file has seen the same zone. What both have seen is kept.
    pub fn agrees_with(&mut self, other: &Self) -> bool {
        self.assumed |= other.assumed;
        match (self.offset, other.offset) {
            (Some(ours), Some(theirs)) => ours == theirs,
            (ours, theirs) => {
                self.offset = ours.or(theirs);
                true
            }
        }
    }

    /// The day of a stamp, if its others can be placed by their time of day: not on a day on which clocks change.
    fn learn(&self, text: &[u8], stamp: Stamp, (micros, day): (i64, i32)) -> Option<KnownDay> {
        let (civil, zone) = match stamp {
            Stamp::Civil(civil) => (civil, self.home.clone()),
            Stamp::Offset(civil, offset) if self.given.is_none() && offset != Offset::UTC => {
                (civil, TimeZone::fixed(offset))
            }
            Stamp::Offset(..) | Stamp::Instant(_) => return None,
        };
        let date = *text.first_chunk::<DATE_BYTES>()?;
        let n_time = match text.len() {
            DATE_BYTES => 0,
            _ if text.get(DATE_BYTES + 6) == Some(&b':') => 9,
            _ => 6,
        };
        let suffix_text = text.get(DATE_BYTES + n_time..)?;
        let mut suffix = [0; LONGEST_SUFFIX];
        suffix.get_mut(..suffix_text.len())?.copy_from_slice(suffix_text);
        let seconds = match n_time {
            0 => 0,
            _ => timestamp::seconds_of_day(&text[DATE_BYTES + 1..DATE_BYTES + n_time])?,
        };
        let midnight = micros - seconds * MICROS_PER_SECOND;
        let start_of = |date: jiff::civil::Date| timestamp::civil_to_micros(date.at(0, 0, 0, 0), &zone);
        let (starts, ends) = (start_of(civil.date())?, start_of(civil.date().tomorrow().ok()?)?);
        let fraction = midnight - starts;
        let is_even =
            ends - starts == 86_400 * MICROS_PER_SECOND && (0..MICROS_PER_SECOND).contains(&fraction);
        is_even.then_some(KnownDay {
            date,
            separator: text.get(DATE_BYTES).copied().unwrap_or_default(),
            suffix,
            n_suffix: suffix_text.len(),
            n_text: text.len(),
            midnight,
            day,
        })
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
    fn a_day_that_is_known_places_its_stamps_as_if_it_were_not() {
        let zones = [None, Some("Asia/Kolkata"), Some("America/New_York")];
        let spellings =
            ["", " 09:15", "T09:15:30", " 09:15:30.250", " 09:15:30+05:30", " 09:15+0530", "T09:15:30Z"];
        // Two days on which clocks change in New York, and two on which they do not.
        let days = ["2024-03-10", "2024-11-03", "2024-11-04", "2023-07-03"];
        for zone in zones {
            let mut clock = Clock::new(zone).unwrap();
            for (day, spelling) in days.iter().flat_map(|day| spellings.iter().map(move |s| (day, s))) {
                // The first of them may teach the clock something, and the others follow it.
                for hour in ["09", "00", "23", "02", "24", "0x"] {
                    let text = format!("{day}{}", spelling.replace("09", hour));
                    let mut fresh = Clock::new(zone).unwrap();
                    let expected = fresh.place_text(&text);
                    let mut known = clock.clone();
                    known.offset = None;
                    assert_eq!(known.place_text(&text), expected, "{text} in {zone:?}");
                    clock.offset = None;
                    let _ = clock.place_text(&text);
                }
            }
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
