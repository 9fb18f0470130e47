//! Bars out of CSV in every dialect that brokers, exchanges and download scripts write: columns by name,
//! `#` lines as comments, thousands separators inside quotes, the three header rows of yfinance.
//!
//! # Layout
//! - `header`: which column is which.
//! - `parser`: from the fields of a row to a bar.
//! - `plain`: text without quotes, cut at line ends and parsed by all threads at once.
//! - [`read`]: a file as a whole; text with quotes goes record by record through the `csv` crate.

pub mod header;
mod parser;
mod plain;

use std::path::Path;

use ::csv::{ByteRecord, ReaderBuilder};

use crate::Provenance;
use crate::csv::header::{Columns, normalise};
use crate::csv::parser::Parser;
use crate::error::{Error, Result};
use crate::load::{BadRows, LoadOptions};
use crate::rows::{Clock, FileRows};

/// Reads the bars in `text`, the content of `path`. `symbol` is what they are called where neither the
/// options nor the file say so.
pub fn read(path: &Path, text: &[u8], symbol: &str, options: &LoadOptions) -> Result<FileRows> {
    let fail = |message: String| Error::content(path, message);
    let (provenance, header) =
        rayon::join(|| Provenance::of_comments(text), || Header::read(path, text, options));
    let (provenance, header) = (provenance.map_err(fail)?, header?);
    let clock = Clock::new(options.timezone.as_deref()).map_err(Error::Batch)?;
    let symbol = options.symbol.clone().or(header.ticker).unwrap_or_else(|| symbol.to_owned());
    let parser = Parser::new(header.columns, clock, header.n_fields, symbol, options);
    let body = Body { text, start: header.end, delimiter: header.delimiter };
    let parsed = match plain::parse(&body, &parser, options.bad_rows) {
        Some(parsed) => parsed,
        None => parse_records(&body, parser, options.bad_rows),
    };
    let mut parsed = parsed.map_err(fail)?;
    parsed.symbols.retain(|symbol| !symbol.rows.is_empty());
    if parsed.symbols.is_empty() {
        return Err(fail("has a header row and no bars".to_owned()));
    }
    let (timezone, timezone_assumed) = parsed.clock.zone();
    Ok(FileRows {
        has_volume: parsed.has_volume(),
        symbols: parsed.symbols,
        provenance,
        timezone,
        timezone_assumed,
        skipped: parsed.skipped,
    })
}

/// What follows the header.
struct Body<'a> {
    /// The whole file.
    text: &'a [u8],
    /// Where the first row begins.
    start: usize,
    /// What stands between two fields.
    delimiter: u8,
}

impl Body<'_> {
    /// The lines before the first row.
    fn n_lines_before(&self) -> u64 {
        memchr::memchr_iter(b'\n', &self.text[..self.start]).count() as u64
    }
}

/// Parses every record in turn, with quotes and all. The error names the line.
fn parse_records(body: &Body, mut parser: Parser, bad_rows: BadRows) -> std::result::Result<Parser, String> {
    let mut reader = reader(&body.text[body.start..], body.delimiter);
    let n_lines_before = body.n_lines_before();
    let mut record = ByteRecord::new();
    while let Some(line) = next(&mut reader, &mut record, &body.text[body.start..])? {
        parser.row_or_skip(n_lines_before + line, &record, bad_rows)?;
    }
    Ok(parser)
}

type Reader<'a> = ::csv::Reader<&'a [u8]>;

fn reader(text: &[u8], delimiter: u8) -> Reader<'_> {
    ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .comment(Some(b'#'))
        .delimiter(delimiter)
        .from_reader(text)
}

/// Reads a record of `text` and gives the line that it ends on, `None` at the end.
fn next(
    reader: &mut Reader,
    record: &mut ByteRecord,
    text: &[u8],
) -> std::result::Result<Option<u64>, String> {
    let more = reader.read_byte_record(record).map_err(|error| error.to_string())?;
    // A record's own position is that of the comments before it, so its line is counted from its end.
    let end = reader.position();
    let before = usize::try_from(end.byte()).ok().and_then(|byte| text.get(byte.checked_sub(1)?));
    Ok(more.then(|| end.line() - u64::from(before == Some(&b'\n'))))
}

/// What stands before the first row.
struct Header {
    columns: Columns,
    n_fields: usize,
    delimiter: u8,
    /// The symbol that yfinance names above its columns.
    ticker: Option<String>,
    /// Where the first row begins.
    end: usize,
}

impl Header {
    fn read(path: &Path, text: &[u8], options: &LoadOptions) -> Result<Self> {
        let fail = |message: String| Error::content(path, message);
        let delimiter = delimiter_of(header_line_of(text));
        let mut reader = reader(text, delimiter);
        let mut record = ByteRecord::new();
        let Some(line) = next(&mut reader, &mut record, text).map_err(fail)? else {
            return Err(fail("is empty: no header row and no bars".to_owned()));
        };
        let mut names: Vec<String> = record.iter().map(lossy).collect();
        let mut end = reader.position().byte();
        let mut ticker = None;
        if names.first().is_some_and(|name| normalise(name) == "price") {
            // yfinance writes `Price,Close,…`, then `Ticker,BPCL.NS,…`, then `Date,,…`: three rows that together
            // make one header. Either of the other two may be missing.
            names[0].clear();
            let mut more = next(&mut reader, &mut record, text).map_err(fail)?.is_some();
            if more && normalise(&field(&record, 0)) == "ticker" {
                ticker = ticker_of(&record).map_err(fail)?;
                end = reader.position().byte();
                more = next(&mut reader, &mut record, text).map_err(fail)?.is_some();
            }
            if more && matches!(normalise(&field(&record, 0)).as_str(), "date" | "datetime") {
                names[0] = field(&record, 0);
                end = reader.position().byte();
            }
        }
        let columns = Columns::recognise(names.iter().map(String::as_str), &options.columns)
            .map_err(|message| fail(format!("line {line}: {message}")))?;
        let end = usize::try_from(end).map_or(text.len(), |end| end.min(text.len()));
        Ok(Self { columns, n_fields: names.len(), delimiter, ticker, end })
    }
}

fn lossy(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

fn field(record: &ByteRecord, at: usize) -> String {
    lossy(record.get(at).unwrap_or_default())
}

/// The one ticker of a row of tickers.
fn ticker_of(record: &ByteRecord) -> std::result::Result<Option<String>, String> {
    let first = field(record, 1);
    match (2..record.len()).map(|at| field(record, at)).find(|other| *other != first) {
        Some(other) => {
            Err(format!("holds the tickers {first} and {other} side by side (download one file a symbol)"))
        }
        None => Ok(Some(first).filter(|name| !name.is_empty())),
    }
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
