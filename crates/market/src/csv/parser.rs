//! From the fields of a row to a bar, for both ways through a file.

use std::collections::HashMap;

use ::csv::ByteRecord;

use crate::csv::header::Columns;
use crate::load::{BadRows, LoadOptions};
use crate::rows::{Clock, Row, SymbolRows};
use crate::timestamp;

/// Rows for which no room is made beforehand.
const FEW_ROWS: usize = 1 << 15;

/// The fields of one row.
pub trait Fields {
    /// How many there are.
    fn n_fields(&self) -> usize;

    /// One of them; nothing where there are fewer.
    fn field(&self, at: usize) -> &[u8];
}

impl Fields for ByteRecord {
    fn n_fields(&self) -> usize {
        self.len()
    }

    fn field(&self, at: usize) -> &[u8] {
        self.get(at).unwrap_or_default()
    }
}

/// What is known of a file's rows, and what was read of them so far.
#[derive(Debug, Clone)]
pub struct Parser {
    columns: Columns,
    n_fields: usize,
    /// The zone that the rows have shown.
    pub clock: Clock,
    /// The rows of each symbol.
    pub symbols: Vec<SymbolRows>,
    /// How many unusable rows were left out, and what was wrong with the first.
    pub skipped: Option<(usize, String)>,
    places: HashMap<Vec<u8>, usize>,
    /// The name of the latest row's symbol as the file has it, and its place.
    latest: (Vec<u8>, usize),
}

impl Parser {
    /// A parser of rows of so many fields, whose symbol is `symbol` unless a column says more.
    pub fn new(
        mut columns: Columns,
        clock: Clock,
        n_fields: usize,
        symbol: String,
        options: &LoadOptions,
    ) -> Self {
        if options.symbol.is_some() {
            // The user named the symbol, so a column of symbols is not looked at.
            columns.symbol = None;
        }
        Self {
            columns,
            n_fields,
            clock,
            symbols: vec![SymbolRows { symbol, rows: Vec::new() }],
            skipped: None,
            places: HashMap::new(),
            latest: (Vec::new(), 0),
        }
    }

    /// Makes room for so many rows where they all belong to one symbol. Few rows are left to grow as they come: exact
    /// blocks for thousands of small files leave holes between them that the allocator does not fill again.
    pub fn reserve(&mut self, n_rows: usize) {
        if self.columns.symbol.is_none() && n_rows > FEW_ROWS {
            self.symbols[0].rows.reserve_exact(n_rows);
        }
    }

    /// Whether there is a column of volumes.
    pub fn has_volume(&self) -> bool {
        self.columns.volume.is_some()
    }

    /// Takes the row that stands on `line`; counts it, or says what is wrong with it, where it is unusable.
    pub fn row_or_skip(&mut self, line: u64, fields: &impl Fields, bad_rows: BadRows) -> Result<(), String> {
        let Err(problem) = self.row(line, fields) else { return Ok(()) };
        let message = format!("line {line}: {problem}");
        match bad_rows {
            BadRows::Error => Err(format!("{message} (skip bad rows with --bad-rows skip)")),
            BadRows::Skip => {
                self.skipped.get_or_insert((0, message)).0 += 1;
                Ok(())
            }
        }
    }

    fn row(&mut self, line: u64, fields: &impl Fields) -> Result<(), String> {
        if fields.n_fields() != self.n_fields {
            return Err(format!("has {} fields where the header has {}", fields.n_fields(), self.n_fields));
        }
        let (stamp, day) = self.time(fields)?;
        let columns = &self.columns;
        let row = Row {
            stamp,
            day,
            line,
            open: number("open", fields.field(columns.open))?,
            high: number("high", fields.field(columns.high))?,
            low: number("low", fields.field(columns.low))?,
            close: number("close", fields.field(columns.close))?,
            volume: match columns.volume {
                Some(column) => number("volume", fields.field(column))?,
                None => 0.0,
            },
        };
        if let Some(problem) = row.problem() {
            return Err(problem);
        }
        let place = self.place(fields)?;
        self.symbols[place].rows.push(row);
        Ok(())
    }

    fn time(&mut self, fields: &impl Fields) -> Result<(i64, i32), String> {
        let text = std::str::from_utf8(fields.field(self.columns.time)).unwrap_or("");
        let Some(column) = self.columns.time_of_day else {
            return self.clock.place_text(text);
        };
        let stamp = timestamp::parse(text).ok_or_else(|| timestamp::not_understood(text))?;
        let timestamp::Stamp::Civil(date) = stamp else {
            return self.clock.place(stamp).map_err(|problem| format!("time \"{text}\" {problem}"));
        };
        let text = std::str::from_utf8(fields.field(column)).unwrap_or("").trim();
        let time = timestamp::parse_time(text).filter(|(_, rest)| rest.is_empty());
        let (time, _) =
            time.ok_or_else(|| format!("time \"{text}\" is not understood (write it as 09:15:00)"))?;
        let stamp = timestamp::Stamp::Civil(date.date().to_datetime(time));
        self.clock.place(stamp).map_err(|problem| format!("time \"{text}\" {problem}"))
    }

    /// Which symbol's rows this one joins.
    fn place(&mut self, fields: &impl Fields) -> Result<usize, String> {
        let Some(column) = self.columns.symbol else {
            return Ok(0);
        };
        let name = fields.field(column);
        if name == self.latest.0 && !name.is_empty() {
            return Ok(self.latest.1);
        }
        let place = match self.places.get(name) {
            Some(&place) => place,
            None => self.new_place(name)?,
        };
        self.latest = (name.to_owned(), place);
        Ok(place)
    }

    fn new_place(&mut self, name: &[u8]) -> Result<usize, String> {
        let symbol = String::from_utf8_lossy(name).trim().to_owned();
        if symbol.is_empty() {
            return Err("symbol \"\" is empty".to_owned());
        }
        // Place 0 is that of rows without a symbol of their own.
        let known = self.symbols.iter().skip(1).position(|known| known.symbol == symbol);
        let place = known.map_or(self.symbols.len(), |place| place + 1);
        if known.is_none() {
            self.symbols.push(SymbolRows { symbol, rows: Vec::new() });
        }
        self.places.insert(name.to_owned(), place);
        Ok(place)
    }
}

fn number(name: &str, field: &[u8]) -> Result<f64, String> {
    if let Some(value) = plain_number(field) {
        return Ok(value);
    }
    let text = std::str::from_utf8(field).unwrap_or("").trim();
    let parsed = match text.parse::<f64>() {
        Err(_) if has_thousands(text) => text.replace(',', "").parse().ok(),
        parsed => parsed.ok(),
    };
    match parsed {
        Some(value) if value.is_finite() => Ok(value),
        _ => Err(format!("{name} \"{}\" is not a number", String::from_utf8_lossy(field))),
    }
}

/// Whether the commas in a number stand between thousands, or between the lakhs and crores above them: a comma may
/// be a decimal point elsewhere, and must never be taken for nothing then.
fn has_thousands(text: &str) -> bool {
    let whole = text.split('.').next().unwrap_or("").trim_start_matches(['-', '+']);
    let groups: Vec<&str> = whole.split(',').collect();
    let is_group = |group: &&str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_digit())
    };
    let [first, between @ .., last] = &groups[..] else { return false };
    is_group(first, 1..=3) && between.iter().all(|group| is_group(group, 2..=3)) && is_group(last, 3..=3)
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Digits with at most one point among them, no more than a double holds exactly: the quotient of two exact numbers
/// is the nearest double to the number that was written (Clinger 1990), so this is what the library gives, in a
/// third of the time. `None` for anything else.
fn plain_number(field: &[u8]) -> Option<f64> {
    let (mut digits, mut n_digits, mut point) = (0_u64, 0, None);
    for &byte in field {
        match byte {
            b'0'..=b'9' => {
                digits = digits.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                n_digits += 1;
            }
            b'.' if point.is_none() => point = Some(n_digits),
            _ => return None,
        }
    }
    if n_digits == 0 || n_digits >= POWERS.len() {
        return None;
    }
    Some(digits as f64 / POWERS[point.map_or(0, |point| n_digits - point)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_numbers_are_the_nearest_doubles() {
        let mut stream = random::Stream::new(11, random::Purpose::Test, 0, 0);
        for _ in 0..20_000 {
            let n_digits = 1 + stream.below(15) as u32;
            let digits = stream.below(10_u64.pow(n_digits));
            let mut text = digits.to_string();
            let place = stream.below(text.len() as u64 + 2) as usize;
            if place <= text.len() {
                text.insert(place, '.');
            }
            let expected: f64 = text.parse().unwrap();
            assert_eq!(plain_number(text.as_bytes()).map(f64::to_bits), Some(expected.to_bits()), "{text}");
        }
    }

    #[test]
    fn all_other_spellings_are_left_to_the_library() {
        for text in ["", ".", "-1", "1e5", "1,000", " 1", "1 ", "nan", "1.2.3", "1234567890.123456"] {
            assert_eq!(plain_number(text.as_bytes()), None, "{text}");
        }
        assert_eq!(number("close", b" 1,648.90 "), Ok(1648.9));
        assert_eq!(number("close", b"-1e3"), Ok(-1000.0));
        assert!(number("close", b"n/a").is_err());
    }
}
