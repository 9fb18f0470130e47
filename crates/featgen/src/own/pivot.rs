//! Pivots: a high above all bars around it, a low below them. One is known only once the bars to its right have
//! passed, and stands until the next.

use market::parquet::Width;

use crate::catalogue::{Definition, Frame, Origin, Outputs};
use crate::own::whole;

/// The feature of this module.
pub fn definition() -> Definition {
    Definition {
        name: "pivot".to_owned(),
        summary: "Logarithm of the close over the latest confirmed pivot high, and over the latest pivot low"
            .to_owned(),
        parameters: vec![whole("left", 5.0, 1.0, 10_000.0), whole("right", 5.0, 1.0, 10_000.0)],
        inputs: vec!["high", "low", "close"],
        outputs: vec!["high".to_owned(), "low".to_owned()],
        width: Width::F32,
        is_intraday_only: false,
        origin: Origin::Own(pivot),
        lookback: |_, _| None,
    }
}

fn pivot(frame: &Frame, parameters: &[f64]) -> Outputs {
    let bars = frame.bars;
    let (left, right) = (parameters[0] as usize, parameters[1] as usize);
    let distances = |prices: &[f64], is_beyond: fn(f64, f64) -> bool| -> Vec<f64> {
        let mut latest = f64::NAN;
        let value = |row: usize| {
            // The bar whose right side ends with this one.
            if let Some(middle) = row.checked_sub(right).filter(|&middle| middle >= left) {
                let is_past = |other: usize| other == middle || is_beyond(prices[middle], prices[other]);
                if (middle - left..=row).all(is_past) {
                    latest = prices[middle];
                }
            }
            libm::log(bars.close[row] / latest)
        };
        (0..bars.len()).map(value).collect()
    };
    vec![distances(&bars.high, |a, b| a > b), distances(&bars.low, |a, b| a < b)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use market::Bars;

    #[test]
    fn a_pivot_is_known_once_its_right_side_has_passed() {
        let close = vec![1.0, 3.0, 2.0, 2.5, 1.5, 4.0];
        let bars = Bars { high: close.clone(), low: close.clone(), close, ts: vec![0; 6], ..Bars::default() };
        let found = pivot(&Frame::alone(&bars, 300), &[1.0, 1.0]);
        let highs: Vec<f64> = found[0].iter().map(|value| value.exp()).collect();
        // The high of 3 is known one bar later, that of 2.5 two bars after that.
        assert!(highs[..2].iter().all(|value| value.is_nan()));
        let expected = [2.0 / 3.0, 2.5 / 3.0, 1.5 / 2.5, 4.0 / 2.5];
        assert!(highs[2..].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{highs:?}");
        assert!(found[1][..3].iter().all(|value| value.is_nan()));
        assert_eq!(found[1][3], (2.5_f64 / 2.0).ln());
    }
}
