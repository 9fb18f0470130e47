//! The fast way through a file: where no field is in quotes, every line end ends a row, so that the text can be cut
//! at any of them and the pieces parsed by all threads at once. What comes out is what one thread would give.

use std::collections::BTreeMap;

use memchr::{memchr, memchr_iter, memchr2_iter};
use rayon::prelude::*;

use crate::csv::Body;
use crate::csv::parser::{Fields, Parser};
use crate::load::BadRows;
use crate::rows::{Row, SymbolRows};

/// A shorter piece is not worth a thread's attention.
const LEAST_PIECE: usize = 1 << 20;
/// Pieces for each thread, so that one that is held up does not hold up the others for long.
const PIECES_PER_THREAD: usize = 4;
/// Rows copied at once.
const ROWS_AT_ONCE: usize = 1 << 14;

/// Parses the rows of `body`. `None` where they are not plain: with quotes, with lines that end in a carriage return
/// alone, or in two time zones, which takes one reader from the first row to the last.
pub fn parse(body: &Body, parser: &Parser, bad_rows: BadRows) -> Option<Result<Parser, String>> {
    let text = &body.text[body.start..];
    let bytes = LEAST_PIECE.max(text.len() / (PIECES_PER_THREAD * rayon::current_num_threads()));
    let pieces = pieces(text, bytes);
    let n_lines: Vec<u64> = pieces.par_iter().map(|text| n_lines_if_plain(text)).collect::<Option<_>>()?;
    let mut line = body.n_lines_before() + 1;
    let first_lines = n_lines.iter().map(|n| {
        line += n;
        line - n
    });
    let first_lines: Vec<u64> = first_lines.collect();
    let parsed: Vec<Parsed> = pieces
        .into_par_iter()
        .zip(first_lines)
        .zip(n_lines)
        .map(|((text, first_line), n_lines)| {
            let mut parser = parser.clone();
            parser.reserve(n_lines as usize + 1);
            parse_piece(text, first_line, body.delimiter, parser, bad_rows)
        })
        .collect();
    merge(parsed)
}

/// Cuts a text into pieces of about so many bytes, each of whole lines.
fn pieces(text: &[u8], bytes: usize) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.get(bytes..).and_then(|tail| memchr(b'\n', tail)) {
        let (piece, tail) = rest.split_at(bytes + end + 1);
        pieces.push(piece);
        rest = tail;
    }
    pieces.push(rest);
    pieces
}

fn n_lines_if_plain(text: &[u8]) -> Option<u64> {
    let is_lone = |at: usize| text.get(at + 1).is_some_and(|&next| next != b'\n');
    if memchr(b'"', text).is_some() || memchr_iter(b'\r', text).any(is_lone) {
        return None;
    }
    Some(memchr_iter(b'\n', text).count() as u64)
}

/// A parser after its piece, and what was wrong with the row at which it ended early.
type Parsed = (Parser, Option<String>);

fn parse_piece(text: &[u8], first_line: u64, delimiter: u8, mut parser: Parser, bad_rows: BadRows) -> Parsed {
    let (mut line, mut start) = (first_line, 0);
    let mut ends: Vec<usize> = Vec::new();
    for at in memchr2_iter(delimiter, b'\n', text).chain([text.len()]) {
        if text.get(at) == Some(&delimiter) {
            ends.push(at);
            continue;
        }
        let end = if text[start..at].ends_with(b"\r") { at - 1 } else { at };
        if end > start && text[start] != b'#' {
            ends.push(end);
            let fields = Split { text, start, ends: &ends };
            if let Err(problem) = parser.row_or_skip(line, &fields, bad_rows) {
                return (parser, Some(problem));
            }
        }
        ends.clear();
        line += 1;
        start = at + 1;
    }
    (parser, None)
}

/// A row's fields, by where each ends.
struct Split<'a> {
    text: &'a [u8],
    start: usize,
    ends: &'a [usize],
}

impl Fields for Split<'_> {
    fn n_fields(&self) -> usize {
        self.ends.len()
    }

    fn field(&self, at: usize) -> &[u8] {
        let start = if at == 0 { self.start } else { self.ends[at - 1] + 1 };
        &self.text[start..self.ends[at]]
    }
}

/// One parser out of those of all pieces, in their order.
fn merge(parsed: Vec<Parsed>) -> Option<Result<Parser, String>> {
    let mut parsed = parsed.into_iter();
    let (mut all, failure) = parsed.next()?;
    if let Some(failure) = failure {
        return Some(Err(failure));
    }
    let mut parts: Vec<Vec<Vec<Row>>> =
        all.symbols.iter_mut().map(|symbol| vec![std::mem::take(&mut symbol.rows)]).collect();
    // Place 0 is that of rows without a symbol of their own, whatever it is called.
    let mut places: BTreeMap<String, usize> = all
        .symbols
        .iter()
        .enumerate()
        .skip(1)
        .map(|(place, symbol)| (symbol.symbol.clone(), place))
        .collect();
    for (piece, failure) in parsed {
        if !all.clock.agrees_with(&piece.clock) {
            return None;
        }
        if let Some(failure) = failure {
            return Some(Err(failure));
        }
        if let Some((n, first)) = piece.skipped {
            all.skipped.get_or_insert((0, first)).0 += n;
        }
        for (place, symbol) in piece.symbols.into_iter().enumerate() {
            let place = if place == 0 { Some(0) } else { places.get(&symbol.symbol).copied() };
            let place = place.unwrap_or_else(|| {
                places.insert(symbol.symbol.clone(), parts.len());
                parts.push(Vec::new());
                all.symbols.push(SymbolRows { symbol: symbol.symbol, rows: Vec::new() });
                parts.len() - 1
            });
            parts[place].push(symbol.rows);
        }
    }
    for (symbol, parts) in all.symbols.iter_mut().zip(parts) {
        symbol.rows = joined(parts);
    }
    Some(Ok(all))
}

/// The parts behind one another, copied by all threads.
fn joined(mut parts: Vec<Vec<Row>>) -> Vec<Row> {
    parts.retain(|part| !part.is_empty());
    if parts.len() < 2 {
        return parts.pop().unwrap_or_default();
    }
    let mut n_rows = 0;
    let starts: Vec<usize> = parts
        .iter()
        .map(|part| {
            n_rows += part.len();
            n_rows - part.len()
        })
        .collect();
    let row = |at: usize| {
        let part = starts.partition_point(|&start| start <= at) - 1;
        parts[part][at - starts[part]]
    };
    (0..n_rows).into_par_iter().with_min_len(ROWS_AT_ONCE).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::header::{ColumnNames, Columns};
    use crate::csv::parse_records;
    use crate::load::LoadOptions;
    use crate::rows::Clock;

    const HEADER: &str = "symbol,date,open,high,low,close";

    fn parser() -> Parser {
        let columns = Columns::recognise(HEADER.split(','), &ColumnNames::default()).unwrap();
        Parser::new(columns, Clock::new(None).unwrap(), 6, "X".to_owned(), &LoadOptions::default())
    }

    /// What the records of `text` give in pieces of so many bytes.
    fn in_pieces(text: &str, bytes: usize, bad_rows: BadRows) -> Option<Result<Parser, String>> {
        let mut line = 1;
        let parsed = pieces(text.as_bytes(), bytes).into_iter().map(|piece| {
            let n_lines = n_lines_if_plain(piece)?;
            line += n_lines;
            Some(parse_piece(piece, line - n_lines, b',', parser(), bad_rows))
        });
        merge(parsed.collect::<Option<_>>()?)
    }

    /// Whatever the pieces, the rows, counts and errors are those of one reader.
    fn check(text: &str) {
        for bad_rows in [BadRows::Error, BadRows::Skip] {
            let body = Body { text: text.as_bytes(), start: 0, delimiter: b',' };
            let expected = parse_records(&body, parser(), bad_rows);
            for bytes in [1, 7, 40, 90, 10_000] {
                let found = in_pieces(text, bytes, bad_rows).unwrap();
                match (&found, &expected) {
                    (Ok(found), Ok(expected)) => {
                        assert_eq!(found.symbols, expected.symbols, "{text:?} in pieces of {bytes}");
                        assert_eq!(found.skipped, expected.skipped, "{text:?} in pieces of {bytes}");
                        assert_eq!(found.clock.zone(), expected.clock.zone());
                    }
                    (Err(found), Err(expected)) => assert_eq!(found, expected),
                    _ => panic!("{text:?} in pieces of {bytes}: only one way fails"),
                }
            }
        }
    }

    #[test]
    fn pieces_give_what_one_reader_gives() {
        check("A,2024-01-01,1,1,1,1\nB,2024-01-01,2,2,2,2\nA,2024-01-02,3,3,3,3\nC,2024-01-02,4,4,4,4\n");
        check("A,2024-01-01 09:15:00+05:30,1,1,1,1\r\n\r\n# note\r\nB,2024-01-01 09:20:00+05:30,2,2,2,2");
        check("A,2024-01-01,1,1,1,1\n\nB,2024-01-01,x,2,2,2\nA,2024-01-02,3,3,3\n B ,2024-01-03,3,3,3,3\n");
        check(
            "\n\nA,2024-01-01T09:15,1.25,1e2,.5,1\nA,20240102,1,1,1,1\nA,02-Jan-2024,1,1,1,1\n,20240102,1,1,1,1\n",
        );
        check("");
    }

    #[test]
    fn what_is_not_plain_is_left_to_one_reader() {
        let not_plain = |text: &str| assert!(in_pieces(text, 1, BadRows::Error).is_none(), "{text:?}");
        not_plain("A,2024-01-01,\"1,000\",1,1,1\n");
        not_plain("A,2024-01-01,1,1,1,1\rA,2024-01-02,1,1,1,1\r");
        not_plain("A,2024-01-01T09:15+05:30,1,1,1,1\nA,2024-01-01T09:20+05:45,1,1,1,1\n");
    }
}
