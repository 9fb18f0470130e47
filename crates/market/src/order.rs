//! Rows into strictly increasing time: exact copies are dropped and counted; what two rows dispute, or what
//! steps back in time, is an error that names the option that settles it.

use crate::load::{Dedup, LoadOptions};
use crate::rows::Row;

/// What was done to a symbol's rows to put them in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ordering {
    /// Exact copies dropped, and the line of the first.
    pub copies: Option<(usize, u64)>,
    /// Conflicting rows settled by `--dedup`, and the line of the first.
    pub conflicts: Option<(usize, u64)>,
    /// Rows that stepped back in time and were put in place by `--sort`, and the line of the first.
    pub moved: Option<(usize, u64)>,
}

/// Orders `rows`. The error names the line and the way out.
pub fn settle(mut rows: Vec<Row>, options: &LoadOptions) -> Result<(Vec<Row>, Ordering), String> {
    let mut done = Ordering::default();
    if rows.windows(2).all(|pair| pair[0].stamp < pair[1].stamp) {
        return Ok((rows, done));
    }
    if options.sort {
        for pair in rows.windows(2).filter(|pair| pair[1].stamp < pair[0].stamp) {
            count(&mut done.moved, pair[1].line);
        }
        rows.sort_by_key(|row| row.stamp);
    }
    let mut kept: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        if kept.last().is_none_or(|last| last.stamp < row.stamp) {
            kept.push(row);
            continue;
        }
        // What is kept is in order, so an earlier row of the same time is found by bisection.
        let Ok(place) = kept.binary_search_by_key(&row.stamp, |earlier| earlier.stamp) else {
            return Err(format!(
                "line {}: steps back in time behind line {} (put rows in order with --sort)",
                row.line,
                kept.last().map_or(0, |last| last.line)
            ));
        };
        if kept[place].same_values(&row) {
            count(&mut done.copies, row.line);
            continue;
        }
        match options.dedup {
            Dedup::Error => {
                return Err(format!(
                    "line {}: disagrees with line {} about the same time (settle it with --dedup first or --dedup \
                     last)",
                    row.line, kept[place].line
                ));
            }
            Dedup::First => {}
            Dedup::Last => kept[place] = row,
        }
        count(&mut done.conflicts, row.line);
    }
    Ok((kept, done))
}

fn count(counter: &mut Option<(usize, u64)>, line: u64) {
    counter.get_or_insert((0, line)).0 += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows whose stamps and closes are given; line numbers count from 2.
    fn rows(stamps_and_closes: &[(i64, f64)]) -> Vec<Row> {
        let row = |(at, &(stamp, close)): (usize, &(i64, f64))| Row {
            stamp,
            day: 0,
            line: at as u64 + 2,
            open: 1.0,
            high: 1.0,
            low: 1.0,
            close,
            volume: 0.0,
        };
        stamps_and_closes.iter().enumerate().map(row).collect()
    }

    fn closes(rows: &[Row]) -> Vec<f64> {
        rows.iter().map(|row| row.close).collect()
    }

    #[test]
    fn a_repeated_block_is_dropped_and_counted() {
        let input = rows(&[(1, 1.0), (2, 2.0), (3, 3.0), (2, 2.0), (3, 3.0), (4, 4.0)]);
        let (kept, done) = settle(input, &LoadOptions::default()).unwrap();
        assert_eq!(closes(&kept), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(done, Ordering { copies: Some((2, 5)), ..Ordering::default() });
    }

    #[test]
    fn a_conflict_is_an_error_until_an_option_settles_it() {
        let input = rows(&[(1, 1.0), (2, 2.0), (2, 9.0)]);
        let error = settle(input.clone(), &LoadOptions::default()).unwrap_err();
        assert!(error.starts_with("line 4: disagrees with line 3") && error.contains("--dedup"), "{error}");
        for (dedup, expected) in [(Dedup::First, [1.0, 2.0]), (Dedup::Last, [1.0, 9.0])] {
            let (kept, done) =
                settle(input.clone(), &LoadOptions { dedup, ..LoadOptions::default() }).unwrap();
            assert_eq!(closes(&kept), expected);
            assert_eq!(done.conflicts, Some((1, 4)));
        }
    }

    #[test]
    fn disorder_is_an_error_until_it_is_sorted() {
        let input = rows(&[(3, 3.0), (2, 2.0), (1, 1.0)]);
        let error = settle(input.clone(), &LoadOptions::default()).unwrap_err();
        assert_eq!(error, "line 3: steps back in time behind line 2 (put rows in order with --sort)");
        let (kept, done) = settle(input, &LoadOptions { sort: true, ..LoadOptions::default() }).unwrap();
        assert_eq!(closes(&kept), [1.0, 2.0, 3.0]);
        assert_eq!(done.moved, Some((2, 3)));
    }
}
