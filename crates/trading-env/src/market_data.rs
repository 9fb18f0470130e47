//! A feature table made ready to be played on: scaled feature rows that lie one after another, so that an
//! observation of several rows is one copy.

use market::{Bars, FeatureTable};
use rayon::prelude::*;

use crate::Scaler;
use crate::scaler::{is_complete, value};

/// All that every episode reads and none changes.
#[derive(Debug, Clone, PartialEq)]
pub struct MarketData {
    /// The symbols in the table's order.
    pub symbols: Vec<SymbolData>,
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
    /// What a step needs to know of each bar.
    pub bars: Vec<StepBar>,
    /// Scaled features, row after row.
    pub features: Vec<f32>,
    /// Runs of rows in which every feature is known: first and last row of each.
    pub complete_runs: Vec<(u32, u32)>,
}

/// What a step needs to know of one bar, in one piece, so that it comes with one look into memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepBar {
    /// First price.
    pub open: f64,
    /// Last price.
    pub close: f64,
    /// The session.
    pub session: i32,
    /// How much of the session is left after the bar, from just under 1 down to 0.
    pub session_left: f32,
    /// Whether it is the last bar of its session.
    pub ends_session: bool,
}

impl MarketData {
    /// Scales the features of `table` and lays them out by rows.
    pub fn new(table: &FeatureTable, scaler: Scaler) -> Self {
        let n_features = table.info.features.len();
        let symbols = table
            .symbols
            .par_iter()
            .map(|symbol| {
                let bars = &symbol.bars;
                let mut features = vec![0.0; bars.len() * n_features];
                for feature_idx in 0..n_features {
                    for row in 0..bars.len() {
                        features[row * n_features + feature_idx] =
                            scaler.scale(feature_idx, value(symbol, feature_idx, row));
                    }
                }
                SymbolData {
                    name: bars.symbol.clone(),
                    ts: bars.ts.clone(),
                    session: bars.session.clone(),
                    bars: step_bars(bars, scaler.session_bars),
                    features,
                    complete_runs: runs((0..bars.len()).map(|row| is_complete(symbol, row))),
                }
            })
            .collect();
        Self {
            symbols,
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

fn step_bars(bars: &Bars, session_bars: u32) -> Vec<StepBar> {
    let session_left = session_left(&bars.session, session_bars);
    (0..bars.len())
        .map(|row| StepBar {
            open: bars.open[row],
            close: bars.close[row],
            session: bars.session[row],
            session_left: session_left[row],
            ends_session: bars.session.get(row + 1) != Some(&bars.session[row]),
        })
        .collect()
}

fn session_left(session: &[i32], session_bars: u32) -> Vec<f32> {
    session
        .chunk_by(|a, b| a == b)
        .flat_map(|bars| (1..=bars.len()).map(|seen| (1.0 - seen as f32 / session_bars as f32).max(0.0)))
        .collect()
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

    #[test]
    fn a_session_runs_out_bar_by_bar() {
        assert_eq!(session_left(&[3, 3, 3, 3, 4, 4], 4), [0.75, 0.5, 0.25, 0.0, 0.75, 0.5]);
        // A session longer than usual has nothing left; a daily bar never has.
        assert_eq!(session_left(&[0, 0], 1), [0.0, 0.0]);
    }
}
