//! A feature table made ready to be played on: scaled features and prices in rows.

use market::FeatureTable;
use rayon::prelude::*;

use crate::Scaler;
use crate::rows::Rows;
use crate::scaler::{is_complete, value};

/// All that every episode reads and none changes.
#[derive(Debug, Clone, PartialEq)]
pub struct MarketData {
    /// The symbols in the table's order.
    pub symbols: Vec<SymbolData>,
    /// What a step needs to know of each bar of every symbol: prices and scaled features.
    pub rows: Rows,
    /// The features' names, in the order of a row.
    pub feature_names: Vec<String>,
    /// How many sessions the calendar has.
    pub n_sessions: usize,
    /// Their dates as `YYYY-MM-DD`.
    pub calendar: Vec<String>,
    /// What features were scaled with.
    pub scaler: Scaler,
    /// SHA-256 over the table that it was made of.
    pub digest: String,
}

/// One symbol, one entry a bar.
#[derive(Debug, Clone, PartialEq)]
pub struct SymbolData {
    /// The symbol.
    pub name: String,
    /// When each bar's close is known: microseconds since 1970 in UTC.
    pub ts: Vec<i64>,
    /// Each bar's session.
    pub session: Vec<i32>,
    /// Which row of [`MarketData::rows`] is its first bar's.
    pub first_row: u32,
    /// Runs of rows in which every feature is known: first and last row of each.
    pub complete_runs: Vec<(u32, u32)>,
}

impl MarketData {
    /// Scales the features of `table` and lays them out by rows.
    pub fn new(table: &FeatureTable, scaler: Scaler) -> Self {
        let n_features = table.info.features.len();
        let lengths = || table.symbols.iter().map(|symbol| symbol.bars.len());
        let mut rows = Rows::zeros(lengths().sum(), n_features);
        // In 32 bits: a table with more rows would take hundreds of gigabytes.
        let first_rows = lengths().scan(0, |end, length| Some(std::mem::replace(end, *end + length as u32)));
        let pieces: Vec<_> = table.symbols.iter().zip(first_rows).zip(rows.split_mut(lengths())).collect();
        let symbols = pieces
            .into_par_iter()
            .map(|((symbol, first_row), piece)| {
                let bars = &symbol.bars;
                piece.fill(bars, scaler.session_bars, |row, feature_idx| {
                    scaler.scale(feature_idx, value(symbol, feature_idx, row))
                });
                SymbolData {
                    name: bars.symbol.clone(),
                    ts: bars.ts.clone(),
                    session: bars.session.clone(),
                    first_row,
                    complete_runs: runs((0..bars.len()).map(|row| is_complete(symbol, row))),
                }
            })
            .collect();
        Self {
            symbols,
            rows,
            feature_names: table.info.features.iter().map(|feature| feature.name.clone()).collect(),
            n_sessions: table.info.calendar.len(),
            calendar: table.info.calendar.clone(),
            scaler,
            digest: market::digest::table_sha256(table),
        }
    }

    /// Rows with a null that lie between complete ones, over all symbols: where episodes are cut.
    pub fn n_interior_nulls(&self) -> usize {
        let gaps =
            |runs: &[(u32, u32)]| runs.windows(2).map(|w| (w[1].0 - w[0].1 - 1) as usize).sum::<usize>();
        self.symbols.iter().map(|symbol| gaps(&symbol.complete_runs)).sum()
    }
}

/// First and last index of each run of `true`.
fn runs(flags: impl Iterator<Item = bool>) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for (row, _) in flags.enumerate().filter(|&(_, flag)| flag) {
        let row = row as u32;
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == row => *last = row,
            _ => runs.push((row, row)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episodes::SessionRange;
    use crate::testing::random_walk_table;
    use market::FeatureColumn;

    #[test]
    fn rows_with_a_null_cut_runs() {
        assert_eq!(runs([false, true, true, false, true].into_iter()), [(1, 2), (4, 4)]);
        let mut table = random_walk_table(1, 4, 5, 2, 1);
        let FeatureColumn::F32(values) = &mut table.symbols[0].columns[1] else { unreachable!() };
        values[9] = f32::NAN;
        let scaler = Scaler::fit(&table, SessionRange { first: 0, last: 3 });
        let data = MarketData::new(&table, scaler);
        assert_eq!(data.symbols[0].complete_runs, [(2, 8), (10, 19)]);
        assert_eq!(data.n_interior_nulls(), 1);
    }
}
