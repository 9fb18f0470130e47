//! Splits and bonus issues from an explicit list, and nothing guessed: prices before each are divided by its ratio
//! and volumes multiplied by it, so that the past is told in today's shares. The latest prices stay what they were.

use std::path::Path;

use jiff::civil::Date;
use serde::Serialize;

use crate::digest::hex_sha256;
use crate::error::{Error, Result};
use crate::features::InputFile;
use crate::rows::Row;
use crate::timestamp;

/// One split or bonus issue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Split {
    /// The symbol.
    pub symbol: String,
    /// The first trading date in new shares.
    pub date: Date,
    /// New shares for each old one: 2 for a bonus issue of 1:1, 1.5 for one new share for every two held.
    pub ratio: f64,
}

/// A list of splits and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Splits {
    /// The list's file and its digest.
    pub file: InputFile,
    /// The splits, by symbol and date.
    pub list: Vec<Split>,
}

/// The header row that a list begins with.
const HEADER: &str = "symbol,date,ratio";

impl Splits {
    /// Reads the list in the file `path`: a row `symbol,date,ratio` for each split, below a header row of these
    /// names. A ratio is written as `2` or as `2:1`, new shares before old ones.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| Error::io(path, error))?;
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let file = InputFile { name, sha256: hex_sha256(&bytes) };
        let list = parse(&String::from_utf8_lossy(&bytes)).map_err(|message| {
            Error::content(path, format!("{message} (mend the list given with --splits)"))
        })?;
        Ok(Self { file, list })
    }

    /// The splits of one symbol, oldest first.
    pub fn of<'a>(&'a self, symbol: &'a str) -> impl DoubleEndedIterator<Item = &'a Split> {
        self.list.iter().filter(move |split| split.symbol == symbol)
    }

    /// Tells the rows before each of the symbol's splits in the shares after it. Returns how many rows that were.
    pub fn adjust(&self, symbol: &str, rows: &mut [Row]) -> usize {
        let mut n_adjusted = 0;
        // From the latest split backwards, so that a row is told in today's shares by one division.
        let (mut end, mut ratio) = (rows.len(), 1.0);
        for split in self.of(symbol).rev() {
            let day = timestamp::day_number(split.date);
            let n_before = rows[..end].partition_point(|row| row.day < day);
            if ratio != 1.0 {
                scale(&mut rows[n_before..end], ratio);
                n_adjusted += end - n_before;
            }
            end = n_before;
            ratio *= split.ratio;
        }
        if ratio != 1.0 {
            scale(&mut rows[..end], ratio);
            n_adjusted += end;
        }
        n_adjusted
    }
}

fn scale(rows: &mut [Row], ratio: f64) {
    for row in rows {
        for price in [&mut row.open, &mut row.high, &mut row.low, &mut row.close] {
            *price /= ratio;
        }
        row.volume *= ratio;
    }
}

fn parse(text: &str) -> std::result::Result<Vec<Split>, String> {
    let lines = text.trim_start_matches('\u{feff}').lines().zip(1..);
    let mut rows = lines
        .map(|(line, number)| (line.trim(), number))
        .filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    let header = rows.next().map_or("", |(line, _)| line);
    if !header.replace(' ', "").eq_ignore_ascii_case(HEADER) {
        return Err(format!("begins with \"{header}\", not with the header row {HEADER}"));
    }
    let mut list = Vec::new();
    for (row, line) in rows {
        list.push(split(row).map_err(|problem| format!("line {line}: {problem}"))?);
    }
    list.sort_by(|a: &Split, b: &Split| (&a.symbol, a.date).cmp(&(&b.symbol, b.date)));
    match list.windows(2).find(|pair| (&pair[0].symbol, pair[0].date) == (&pair[1].symbol, pair[1].date)) {
        Some(pair) => Err(format!("names two splits of {} on {}", pair[0].symbol, pair[0].date)),
        None => Ok(list),
    }
}

fn split(row: &str) -> std::result::Result<Split, String> {
    let fields: Vec<&str> = row.split(',').map(str::trim).collect();
    let &[symbol, date, ratio] = fields.as_slice() else {
        return Err(format!("has {} fields where the header has 3", fields.len()));
    };
    if symbol.is_empty() {
        return Err("symbol \"\" is empty".to_owned());
    }
    let Some(timestamp::Stamp::Civil(civil)) = timestamp::parse(date) else {
        return Err(format!("date \"{date}\" is not understood (write it as 2016-07-13)"));
    };
    let parts: Option<Vec<f64>> = ratio.split(':').map(|part| part.trim().parse().ok()).collect();
    let value = match parts.as_deref() {
        Some(&[new]) => new,
        Some(&[new, old]) => new / old,
        _ => f64::NAN,
    };
    if !(1e-4..=1e4).contains(&value) {
        return Err(format!(
            "ratio \"{ratio}\" is not understood (new shares for each old one, as 2 or 2:1)"
        ));
    }
    Ok(Split { symbol: symbol.to_owned(), date: civil.date(), ratio: value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(days: &[&str]) -> Vec<Row> {
        let day = |text: &&str| timestamp::day_number(text.parse().unwrap());
        let row = |day| Row {
            stamp: i64::from(day) * 86_400_000_000,
            day,
            line: 0,
            open: 12.0,
            high: 15.0,
            low: 9.0,
            close: 6.0,
            volume: 100.0,
        };
        days.iter().map(day).map(row).collect()
    }

    fn splits(text: &str) -> Splits {
        let file = InputFile { name: String::new(), sha256: String::new() };
        Splits { file, list: parse(&format!("{HEADER}\n{text}")).unwrap() }
    }

    #[test]
    fn rows_before_a_split_are_told_in_new_shares_and_later_ones_stay() {
        // BPCL: one bonus share for each held on 2016-07-13, and one for every two on 2017-07-13.
        let list = splits("BPCL,2017-07-13,3:2\n# note\nBPCL,2016-07-13,2\nITC,2016-07-01,1.5\n");
        let mut bars = rows(&["2016-07-12", "2016-07-13", "2017-07-12", "2017-07-13"]);
        assert_eq!(list.adjust("BPCL", &mut bars), 3);
        let closes: Vec<f64> = bars.iter().map(|row| row.close).collect();
        assert_eq!(closes, [2.0, 4.0, 4.0, 6.0]);
        let first = bars[0];
        assert_eq!((first.open, first.high, first.low, first.volume), (4.0, 5.0, 3.0, 300.0));
        assert_eq!((bars[1].volume, bars[3]), (150.0, rows(&["2017-07-13"])[0]));
        let mut bars = rows(&["2016-07-12"]);
        assert_eq!((list.adjust("TCS", &mut bars), bars[0].close), (0, 6.0));
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said_with_its_line() {
        let check = |text: &str, expected: &str| assert_eq!(parse(text).unwrap_err(), expected);
        check("", "begins with \"\", not with the header row symbol,date,ratio");
        check(
            "BPCL,2016-07-13,2",
            "begins with \"BPCL,2016-07-13,2\", not with the header row symbol,date,ratio",
        );
        let row = |row: &str| format!("Symbol, Date, Ratio\n\n{row}\n");
        check(&row("A,2016-07-13"), "line 3: has 2 fields where the header has 3");
        check(
            &row("A,13/07/2016,2"),
            "line 3: date \"13/07/2016\" is not understood (write it as 2016-07-13)",
        );
        for ratio in ["0", "-2", "two", "1:2:3", "nan", "1:0"] {
            let expected = format!(
                "line 3: ratio \"{ratio}\" is not understood (new shares for each old one, as 2 or 2:1)"
            );
            check(&row(&format!("A,2016-07-13,{ratio}")), &expected);
        }
        check(&row("A,2016-07-13,2\nA,2016-07-13,3"), "names two splits of A on 2016-07-13");
    }
}
