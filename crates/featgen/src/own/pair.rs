//! Beta and correlation to another symbol of the batch, over log returns between bars that both symbols have. A
//! bar that the other symbol lacks has no value.

use market::Bars;
use market::parquet::Width;

use crate::catalogue::{ComputePair, Definition, Frame, Origin, Outputs};
use crate::own::{ratio, whole};

/// The features of this module.
pub fn definitions() -> Vec<Definition> {
    let of = |name: &str, summary: &str, compute: ComputePair| Definition {
        name: name.to_owned(),
        summary: summary.to_owned(),
        parameters: vec![whole("bars", 60.0, 2.0, 100_000.0)],
        inputs: vec!["ts", "close"],
        outputs: vec![String::new()],
        width: Width::F32,
        is_intraday_only: false,
        origin: Origin::Pair(compute),
        lookback: |_, _| None,
    };
    vec![
        of(
            "beta_to",
            "Slope of the log returns over another symbol's; 0 where that one stood still",
            |f, o, p| {
                over_common(f, o, p, |own, other| {
                    let (covariance, _, variance) = moments(own, other);
                    ratio(covariance, variance, 0.0)
                })
            },
        ),
        of(
            "correlation_to",
            "Correlation of the log returns with another symbol's; 0 where one stood still",
            |f, o, p| {
                over_common(f, o, p, |own, other| {
                    let (covariance, own, other) = moments(own, other);
                    ratio(covariance, (own * other).sqrt(), 0.0).clamp(-1.0, 1.0)
                })
            },
        ),
    ]
}

/// A value for each bar that both symbols have, from the latest returns of both.
fn over_common(
    frame: &Frame,
    other: &Bars,
    parameters: &[f64],
    value: impl Fn(&[f64], &[f64]) -> f64,
) -> Outputs {
    let bars = frame.bars;
    let n_returns = parameters[0] as usize;
    let mut values = vec![f64::NAN; bars.len()];
    let (mut own_returns, mut other_returns) = (Vec::new(), Vec::new());
    let mut before: Option<(f64, f64)> = None;
    let mut at = 0;
    for (row, &ts) in bars.ts.iter().enumerate() {
        while other.ts.get(at).is_some_and(|&theirs| theirs < ts) {
            at += 1;
        }
        if other.ts.get(at) != Some(&ts) {
            continue;
        }
        let now = (bars.close[row], other.close[at]);
        if let Some(before) = before {
            own_returns.push(libm::log(now.0 / before.0));
            other_returns.push(libm::log(now.1 / before.1));
        }
        before = Some(now);
        if let Some(start) = own_returns.len().checked_sub(n_returns) {
            values[row] = value(&own_returns[start..], &other_returns[start..]);
        }
    }
    vec![values]
}

/// Covariance and both variances, each divided by the number of values.
fn moments(a: &[f64], b: &[f64]) -> (f64, f64, f64) {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut covariance, mut variance_a, mut variance_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        covariance += (a - mean_a) * (b - mean_b);
        variance_a += (a - mean_a) * (a - mean_a);
        variance_b += (b - mean_b) * (b - mean_b);
    }
    (covariance / n, variance_a / n, variance_b / n)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalogue::{self, Others};

    #[test]
    fn a_symbol_that_moves_twice_as_far_has_beta_two_where_both_have_bars() {
        let other = Bars { ts: vec![1, 2, 4, 5], close: vec![1.0, 2.0, 1.0, 4.0], ..Bars::default() };
        let own: Vec<f64> = [1.0, 2.0, 7.0, 1.0, 4.0].iter().map(|price| price * price).collect();
        let bars = Bars { ts: vec![1, 2, 3, 4, 5], close: own, ..Bars::default() };
        let others: Others = [("X".to_owned(), Arc::new(other))].into();
        let frame = Frame { bars: &bars, bar_seconds: 300, others: &others };
        for (name, expected) in [("beta_to", 2.0), ("correlation_to", 1.0)] {
            let values = catalogue::find(name).unwrap().compute(&frame, &[2.0], Some("X")).unwrap().remove(0);
            let has_value: Vec<bool> = values.iter().map(|value| !value.is_nan()).collect();
            assert_eq!(has_value, [false, false, false, true, true], "{name}");
            assert!((values[3] - expected).abs() < 1e-12 && (values[4] - expected).abs() < 1e-12, "{name}");
        }
    }
}
