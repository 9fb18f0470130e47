//! Bars out of CSV in every dialect that brokers, exchanges and download scripts write: columns by name,
//! `#` lines as comments, thousands separators inside quotes, the three header rows of yfinance.

pub mod header;

use std::collections::HashMap;
use std::path::Path;

use ::csv::{ByteRecord, ReaderBuilder};

use crate::csv::header::{Columns, normalise};
use crate::error::{Error, Result};
use crate::load::{BadRows, LoadOptions};
use crate::rows::{Clock, FileRows, Row, SymbolRows};
use crate::{Provenance, timestamp};

/// Reads the bars in `text`, the content of `path`. `symbol` is what they are called where neither the
/// options nor the file say so.
pub fn read(path: &Path, text: &[u8], symbol: &str, options: &LoadOptions) -> Result<FileRows> {
    let fail = |message: String| Error::content(path, message);
    let provenance = Provenance::of_comments(text).map_err(fail)?;
    let header_line = header_line_of(text);
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .delimiter(delimiter_of(header_line))
        .from_reader(text);
    let mut record = ByteRecord::new();
    let mut next = |record: &mut ByteRecord| {
        let more = reader.read_byte_record(record).map_err(|error| fail(error.to_string()))?;
        // A record's own position is that of the comments before it, so its line is counted from its end.
        let end = reader.position();
        let before = usize::try_from(end.byte()).ok().and_then(|byte| text.get(byte.checked_sub(1)?));
        Ok::<_, Error>(more.then(|| end.line() - u64::from(before == Some(&b'\n'))))
    };

    let Some(header_line) = next(&mut record)? else {
        return Err(fail("is empty: no header row and no bars".to_owned()));
    };
    let mut names: Vec<String> =
        record.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    let mut held: Option<u64> = None;
    let mut ticker = None;
    if names.first().is_some_and(|name| normalise(name) == "price") {
        (ticker, held) = finish_yfinance_header(path, &mut names, &mut record, &mut next)?;
    }
    let columns = Columns::recognise(names.iter().map(String::as_str))
        .map_err(|message| fail(format!("line {header_line}: {message}")))?;

    let symbol = options.symbol.clone().or(ticker).unwrap_or_else(|| symbol.to_owned());
    let mut parser = Parser {
        columns,
        clock: Clock::new(options.timezone.as_deref()).map_err(Error::Batch)?,
        n_fields: names.len(),
        symbols: vec![SymbolRows { symbol, rows: Vec::new() }],
        places: HashMap::new(),
        one_symbol: options.symbol.is_some(),
    };
    let mut skipped = None;
    loop {
        let line = match held.take() {
            Some(line) => line,
            None => match next(&mut record)? {
                Some(line) => line,
                None => break,
            },
        };
        if let Err(problem) = parser.row(line, &record) {
            let message = format!("line {line}: {problem}");
            match options.bad_rows {
                BadRows::Error => {
                    return Err(fail(format!("{message} (skip bad rows with --bad-rows skip)")));
                }
                BadRows::Skip => skipped.get_or_insert((0, message)).0 += 1,
            }
        }
    }
    parser.symbols.retain(|symbol| !symbol.rows.is_empty());
    if parser.symbols.is_empty() {
        return Err(fail("has a header row and no bars".to_owned()));
    }
    let (timezone, timezone_assumed) = parser.clock.zone();
    let has_volume = parser.columns.volume.is_some();
    let symbols = parser.symbols;
    Ok(FileRows { symbols, provenance, timezone, timezone_assumed, has_volume, skipped })
}

/// The first line that is neither empty nor a comment.
fn header_line_of(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let is_header = |line: &&[u8]| !line.starts_with(b"#") && !line.iter().all(u8::is_ascii_whitespace);
    text.split(|&byte| byte == b'\n').find(is_header).unwrap_or_default()
}

/// The separator of a header row: comma unless there is none and another there is.
fn delimiter_of(header: &[u8]) -> u8 {
    let has = |byte| header.contains(&byte);
    [b',', b';', b'\t'].into_iter().find(|&byte| has(byte)).unwrap_or(b',')
}

/// The ticker that yfinance names, and the line of the first row that was read and is no header.
type YfinanceHeader = (Option<String>, Option<u64>);

/// yfinance writes `Price,Close,…`, then `Ticker,BPCL.NS,…`, then `Date,,…`: three rows that together make
/// one header. Reads the other two.
fn finish_yfinance_header(
    path: &Path,
    names: &mut [String],
    record: &mut ByteRecord,
    next: &mut impl FnMut(&mut ByteRecord) -> Result<Option<u64>>,
) -> Result<YfinanceHeader> {
    let field =
        |record: &ByteRecord, at| String::from_utf8_lossy(record.get(at).unwrap_or_default()).into_owned();
    let mut ticker = None;
    let mut line = next(record)?;
    if normalise(&field(record, 0)) == "ticker" {
        let first = field(record, 1);
        if let Some(other) = (2..record.len()).map(|at| field(record, at)).find(|other| *other != first) {
            let message =
                format!("holds the tickers {first} and {other} side by side (download one file a symbol)");
            return Err(Error::content(path, message));
        }
        ticker = Some(first).filter(|name| !name.is_empty());
        line = next(record)?;
    }
    names[0].clear();
    if matches!(normalise(&field(record, 0)).as_str(), "date" | "datetime") {
        names[0] = field(record, 0);
        line = None;
    }
    Ok((ticker, line))
}

struct Parser {
    columns: Columns,
    clock: Clock,
    n_fields: usize,
    symbols: Vec<SymbolRows>,
    places: HashMap<Vec<u8>, usize>,
    /// The user named the symbol, so a column of symbols is not looked at.
    one_symbol: bool,
}

impl Parser {
    fn row(&mut self, line: u64, record: &ByteRecord) -> std::result::Result<(), String> {
        if record.len() != self.n_fields {
            return Err(format!("has {} fields where the header has {}", record.len(), self.n_fields));
        }
        let (stamp, day) = self.time(record)?;
        let columns = &self.columns;
        let number = |name, column| number(name, record.get(column).unwrap_or_default());
        let row = Row {
            stamp,
            day,
            line,
            open: number("open", columns.open)?,
            high: number("high", columns.high)?,
            low: number("low", columns.low)?,
            close: number("close", columns.close)?,
            volume: columns.volume.map_or(Ok(0.0), |column| number("volume", column))?,
        };
        if let Some(problem) = row.problem() {
            return Err(problem);
        }
        let place = self.place(record)?;
        self.symbols[place].rows.push(row);
        Ok(())
    }

    fn time(&mut self, record: &ByteRecord) -> std::result::Result<(i64, i32), String> {
        let field = |column| std::str::from_utf8(record.get(column).unwrap_or_default()).unwrap_or("");
        let text = field(self.columns.time);
        let mut stamp = timestamp::parse(text).ok_or_else(|| {
            format!("time \"{text}\" is not understood (write it as 2023-07-03 09:15:00+05:30)")
        })?;
        if let (Some(column), timestamp::Stamp::Civil(civil)) = (self.columns.time_of_day, stamp) {
            let text = field(column).trim();
            let (time, rest) = timestamp::parse_time(text)
                .filter(|(_, rest)| rest.is_empty())
                .ok_or_else(|| format!("time \"{text}\" is not understood (write it as 09:15:00)"))?;
            debug_assert!(rest.is_empty());
            stamp = timestamp::Stamp::Civil(civil.date().to_datetime(time));
        }
        self.clock.place(stamp).map_err(|problem| format!("time \"{text}\" {problem}"))
    }

    /// Which symbol's rows this one joins.
    fn place(&mut self, record: &ByteRecord) -> std::result::Result<usize, String> {
        let Some(column) = self.columns.symbol.filter(|_| !self.one_symbol) else {
            return Ok(0);
        };
        let name = record.get(column).unwrap_or_default();
        if let Some(&place) = self.places.get(name) {
            return Ok(place);
        }
        let symbol = String::from_utf8_lossy(name).trim().to_owned();
        if symbol.is_empty() {
            return Err("symbol \"\" is empty".to_owned());
        }
        self.symbols.push(SymbolRows { symbol, rows: Vec::new() });
        self.places.insert(name.to_owned(), self.symbols.len() - 1);
        Ok(self.symbols.len() - 1)
    }
}

fn number(name: &str, field: &[u8]) -> std::result::Result<f64, String> {
    let text = std::str::from_utf8(field).unwrap_or("").trim();
    let parsed = match text.parse::<f64>() {
        Err(_) if text.contains(',') => text.replace(',', "").parse(),
        parsed => parsed,
    };
    match parsed {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("{name} \"{}\" is not a number", String::from_utf8_lossy(field))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> std::result::Result<FileRows, String> {
        read_with(text, &LoadOptions::default())
    }

    fn read_with(text: &str, options: &LoadOptions) -> std::result::Result<FileRows, String> {
        read(Path::new("a.csv"), text.as_bytes(), "a", options).map_err(|error| error.to_string())
    }

    /// The first row's prices and volume.
    fn first(file: &FileRows) -> [f64; 5] {
        let row = file.symbols[0].rows[0];
        [row.open, row.high, row.low, row.close, row.volume]
    }

    #[test]
    fn an_nse_export_has_thousands_inside_quotes() {
        let text = "date,series,open,high,low,prev_close,ltp,close,vwap,volume,value\n\
                    2015-01-01,EQ,\"1,648.90\",1657.50,642.20,646.00,654.45,654.20,650.33,482167,\"313,566,958.20\"\n";
        let file = read_text(text).unwrap();
        assert_eq!(first(&file), [1648.9, 1657.5, 642.2, 654.2, 482_167.0]);
        assert_eq!((file.timezone.as_str(), file.timezone_assumed), ("Asia/Kolkata", true));
    }

    #[test]
    fn the_three_header_rows_of_yfinance_are_one() {
        let text = "Price,Adj Close,Close,High,Low,Open,Volume\nTicker,X.NS,X.NS,X.NS,X.NS,X.NS,X.NS\n\
                    Date,,,,,,\n1996-01-02,3.2,9.75,9.8,9.7,9.9,9600\n1996-01-03,3.2,9.75,9.8,9.7,9.9,9600\n";
        let file = read_text(text).unwrap();
        assert_eq!(file.symbols[0].symbol, "X.NS");
        assert_eq!(file.symbols[0].rows.len(), 2);
        assert_eq!(first(&file), [9.9, 9.8, 9.7, 9.75, 9600.0]);
        let two = text.replace("X.NS\n", "Y.NS\n");
        assert!(read_text(&two).unwrap_err().contains("X.NS and Y.NS side by side"));
    }

    #[test]
    fn symbols_may_be_a_column_and_the_option_wins() {
        let text = "symbol,date,open,high,low,close\nB,2024-01-01,1,1,1,1\nA,2024-01-01,2,2,2,2\nB,2024-01-02,3,3,3,3\n";
        let file = read_text(text).unwrap();
        let names: Vec<_> = file.symbols.iter().map(|s| (s.symbol.as_str(), s.rows.len())).collect();
        assert_eq!(names, [("B", 2), ("A", 1)]);
        assert!(!file.has_volume);
        let options = LoadOptions { symbol: Some("Z".into()), ..LoadOptions::default() };
        assert_eq!(read_with(text, &options).unwrap().symbols[0].symbol, "Z");
    }

    #[test]
    fn the_label_above_the_header_is_kept_and_comments_are_not_rows() {
        let text = "# simulated by market::simulate 1, seed 7\n# more\ndate,open,high,low,close\n# x\n2024-01-01,1,1,1,1\n";
        let file = read_text(text).unwrap();
        assert_eq!(
            file.provenance,
            Provenance::Simulated { generator: "market::simulate 1".into(), seed: 7 }
        );
        assert_eq!(file.symbols[0].rows[0].line, 5);
    }

    #[test]
    fn what_is_wrong_is_one_line_with_the_way_out() {
        let check = |text: &str, expected: &str| assert_eq!(read_text(text).unwrap_err(), expected);
        check("", "a.csv: is empty: no header row and no bars");
        check("date,open,high,low,close\n", "a.csv: has a header row and no bars");
        check(
            "date,open,high,low,close\n2024-01-01,1,1,1,n/a\n",
            "a.csv: line 2: close \"n/a\" is not a number (skip bad rows with --bad-rows skip)",
        );
        check(
            "date,open,high,low,close\n2024-01-01,1,1,1,nan\n",
            "a.csv: line 2: close \"nan\" is not a number (skip bad rows with --bad-rows skip)",
        );
        check(
            "date,open,high,low,close\n2024-01-01,0,1,1,1\n",
            "a.csv: line 2: open 0 is not a positive price (skip bad rows with --bad-rows skip)",
        );
        check(
            "date,open,high,low,close\n2024-01-01,1,1,1\n",
            "a.csv: line 2: has 4 fields where the header has 5 (skip bad rows with --bad-rows skip)",
        );
        check(
            "date,open,high,low,close\n01/02/2024,1,1,1,1\n",
            "a.csv: line 2: time \"01/02/2024\" is not understood (write it as 2023-07-03 09:15:00+05:30) (skip bad \
             rows with --bad-rows skip)",
        );
    }

    #[test]
    fn bad_rows_are_counted_when_they_are_skipped() {
        let options = LoadOptions { bad_rows: BadRows::Skip, ..LoadOptions::default() };
        let text = "date,open,high,low,close\n2024-01-01,1,1,1,x\n2024-01-02,1,1,1,1\n2024-01-03,1,1,y,1\n";
        let file = read_with(text, &options).unwrap();
        assert_eq!(file.skipped, Some((2, "line 2: close \"x\" is not a number".to_owned())));
        assert_eq!(file.symbols[0].rows.len(), 1);
    }
}
