//! How features become numbers of order one: clipped z-scores, fitted on training rows alone.

use market::{FeatureTable, SymbolFeatures};
use rayon::prelude::*;

use crate::EnvError;
use crate::episodes::SessionRange;

/// What was fitted. All moments are of complete rows: those in which every feature is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaler {
    /// Each feature's mean.
    pub mean: Vec<f64>,
    /// Each feature's standard deviation; 1 for a feature that never changes.
    pub deviation: Vec<f64>,
    /// Scaled values are clipped to ± this.
    pub clip: f64,
    /// The standard deviation of a bar's log return, in whose terms the account's results are shown.
    pub bar_deviation: f64,
    /// The most frequent number of bars in a session. How much of a session is left is told by it, for the
    /// number of bars that a session will really have is not known before its end.
    pub session_bars: u32,
    /// How many rows it was fitted on.
    pub n_rows: usize,
}

impl Scaler {
    /// The bound of scaled values.
    pub const CLIP: f64 = 5.0;

    /// Fits on the complete rows of `table` in the sessions of `range`.
    pub fn fit(table: &FeatureTable, range: SessionRange) -> Self {
        let rows: Vec<Vec<usize>> = table
            .symbols
            .iter()
            .map(|symbol| {
                range.rows_of(&symbol.bars.session).filter(|&row| is_complete(symbol, row)).collect()
            })
            .collect();
        let n_rows = rows.iter().map(Vec::len).sum();
        let moments: Vec<(f64, f64)> = (0..table.info.features.len())
            .into_par_iter()
            .map(|feature_idx| {
                moments_of(|| {
                    table.symbols.iter().zip(&rows).flat_map(move |(symbol, rows)| {
                        rows.iter().map(move |&row| value(symbol, feature_idx, row))
                    })
                })
            })
            .collect();
        let (_, bar_deviation) = moments_of(|| {
            table.symbols.iter().zip(&rows).flat_map(|(symbol, rows)| {
                let close = &symbol.bars.close;
                rows.iter()
                    .filter(|&&row| row > 0 && close[row - 1] > 0.0)
                    .map(|&row| libm::log(close[row] / close[row - 1]))
            })
        });
        let (mean, deviation) = moments.into_iter().unzip();
        let session_bars = most_frequent_session_length(table, range);
        Self { mean, deviation, clip: Self::CLIP, bar_deviation, session_bars, n_rows }
    }

    /// What shows features as they are; what the account is shown by is still fitted.
    pub fn unscaled(table: &FeatureTable, range: SessionRange) -> Self {
        let n_features = table.info.features.len();
        let fitted = Self::fit(table, range);
        Self { mean: vec![0.0; n_features], deviation: vec![1.0; n_features], clip: f64::INFINITY, ..fitted }
    }

    /// The same with moments and a bound that were fitted before, on other data or other days.
    pub fn with_moments(self, mean: Vec<f64>, deviation: Vec<f64>, clip: f64) -> Result<Self, EnvError> {
        let n_features = self.mean.len();
        if mean.len() != n_features || deviation.len() != n_features {
            let text = format!(
                "a scaler of {} means and {} deviations for {n_features} features",
                mean.len(),
                deviation.len()
            );
            return Err(EnvError::Rule(text));
        }
        let is_sound = mean.iter().all(|mean| mean.is_finite())
            && deviation.iter().all(|&deviation| deviation.is_finite() && deviation > 0.0)
            && clip > 0.0;
        if !is_sound {
            return Err(EnvError::Rule("a scaler with a number that makes no sense".into()));
        }
        Ok(Self { mean, deviation, clip, ..self })
    }

    /// The scaled value of feature `feature_idx`.
    pub fn scale(&self, feature_idx: usize, value: f64) -> f32 {
        let score = (value - self.mean[feature_idx]) / self.deviation[feature_idx];
        score.clamp(-self.clip, self.clip) as f32
    }
}

/// Whether every feature of `row` is known and the bar can be traded on.
pub(crate) fn is_complete(symbol: &SymbolFeatures, row: usize) -> bool {
    let tradable = |price: f64| price.is_finite() && price > 0.0;
    tradable(symbol.bars.open[row])
        && tradable(symbol.bars.close[row])
        && symbol.columns.iter().all(|column| column.get(row).is_finite())
}

pub(crate) fn value(symbol: &SymbolFeatures, feature_idx: usize, row: usize) -> f64 {
    match &symbol.columns[feature_idx] {
        market::FeatureColumn::F32(values) => f64::from(values[row]),
        market::FeatureColumn::F64(values) => values[row],
    }
}

/// Mean and standard deviation in two passes; the deviation of a constant (or of nothing) is 1.
fn moments_of<I: Iterator<Item = f64>>(values: impl Fn() -> I) -> (f64, f64) {
    let (n, sum) = values().fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value));
    if n == 0.0 {
        return (0.0, 1.0);
    }
    let mean = sum / n;
    let variance = values().map(|value| (value - mean) * (value - mean)).sum::<f64>() / n;
    let deviation = variance.sqrt();
    // What rounding leaves of a constant is no deviation.
    (mean, if deviation > 1e-12 * (1.0 + mean.abs()) { deviation } else { 1.0 })
}

fn most_frequent_session_length(table: &FeatureTable, range: SessionRange) -> u32 {
    let mut counts = std::collections::BTreeMap::<u32, u32>::new();
    for symbol in &table.symbols {
        let session = &symbol.bars.session[range.rows_of(&symbol.bars.session)];
        for bars in session.chunk_by(|a, b| a == b) {
            *counts.entry(bars.len() as u32).or_default() += 1;
        }
    }
    // The longer of two equally frequent lengths.
    counts.into_iter().max_by_key(|&(length, count)| (count, length)).map_or(1, |(length, _)| length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::random_walk_table;
    use market::FeatureColumn;

    #[test]
    fn scores_of_training_rows_have_mean_zero_and_deviation_one() {
        let mut table = random_walk_table(2, 10, 5, 3, 1);
        table.symbols[0].columns[1] = FeatureColumn::F64(vec![7.0; 50]);
        table.symbols[1].columns[1] = FeatureColumn::F64(vec![7.0; 50]);
        let scaler = Scaler::fit(&table, SessionRange { first: 0, last: 7 });
        // Two symbols, 40 rows, less the lookback of 2.
        assert_eq!((scaler.n_rows, scaler.session_bars), (76, 5));
        assert_eq!((scaler.mean[1], scaler.deviation[1], scaler.scale(1, 7.0)), (7.0, 1.0, 0.0));
        let scores: Vec<f64> = table
            .symbols
            .iter()
            .flat_map(|s| (2..40).map(|row| (value(s, 0, row) - scaler.mean[0]) / scaler.deviation[0]))
            .collect();
        let mean = scores.iter().sum::<f64>() / 76.0;
        let variance = scores.iter().map(|z| z * z).sum::<f64>() / 76.0;
        assert!(mean.abs() < 1e-9 && (variance - 1.0).abs() < 1e-9, "{mean} {variance}");
        assert_eq!(scaler.scale(0, 1e30), 5.0);
    }

    #[test]
    fn a_saved_scaler_takes_the_place_of_the_fitted_one() {
        let table = random_walk_table(1, 10, 5, 2, 1);
        let range = SessionRange { first: 0, last: 7 };
        let fitted = Scaler::fit(&table, range);
        let saved = fitted.clone().with_moments(vec![1.0, 2.0], vec![0.5, 4.0], 3.0).unwrap();
        assert_eq!((saved.scale(0, 2.0), saved.scale(1, 4.0), saved.scale(0, 9.0)), (2.0, 0.5, 3.0));
        assert_eq!(saved.bar_deviation, fitted.bar_deviation);
        for (mean, deviation, clip) in [
            (vec![1.0], vec![1.0], 5.0),
            (vec![0.0; 2], vec![1.0, 0.0], 5.0),
            (vec![0.0; 2], vec![1.0; 2], f64::NAN),
        ] {
            assert!(fitted.clone().with_moments(mean, deviation, clip).is_err());
        }
        assert_eq!(Scaler::unscaled(&table, range).scale(1, 1234.5), 1234.5);
    }

    #[test]
    fn held_out_rows_have_no_influence() {
        let table = random_walk_table(2, 10, 5, 3, 1);
        let mut other = table.clone();
        for symbol in &mut other.symbols {
            for row in 40..50 {
                symbol.bars.close[row] *= 3.0;
                let FeatureColumn::F32(values) = &mut symbol.columns[0] else { unreachable!() };
                values[row] = 1e9;
            }
        }
        let range = SessionRange { first: 0, last: 7 };
        assert_eq!(Scaler::fit(&table, range), Scaler::fit(&other, range));
        let all = SessionRange { first: 0, last: 9 };
        assert_ne!(Scaler::fit(&table, all), Scaler::fit(&other, all));
    }
}
