//! The shape of one bar as parts of its open: the names are those of Qlib's Alpha158.

use market::parquet::Width;

use crate::catalogue::{Compute, Definition, Frame, Origin, Outputs};
use crate::own::ratio;

/// The features of this module.
pub fn definitions() -> Vec<Definition> {
    let shape = |name: &str, summary: &str, compute: Compute| Definition {
        name: name.to_owned(),
        summary: summary.to_owned(),
        parameters: Vec::new(),
        inputs: vec!["open", "high", "low", "close"],
        outputs: vec![String::new()],
        width: Width::F32,
        is_intraday_only: false,
        origin: Origin::Own(compute),
        lookback: |_, _| Some(0),
    };
    vec![
        shape("kmid", "Body over open: (close - open) / open", |frame, _| {
            each(frame, |o, _, _, c| (c - o) / o)
        }),
        shape("klen", "Length over open: (high - low) / open", |frame, _| {
            each(frame, |o, h, l, _| (h - l) / o)
        }),
        shape("kmid2", "Body over length; 0 for a bar without length", |frame, _| {
            each(frame, |o, h, l, c| ratio(c - o, h - l, 0.0))
        }),
        shape("kup", "Upper shadow over open: (high - max(open, close)) / open", |frame, _| {
            each(frame, |o, h, _, c| (h - o.max(c)) / o)
        }),
        shape("kup2", "Upper shadow over length; 0 for a bar without length", |frame, _| {
            each(frame, |o, h, l, c| ratio(h - o.max(c), h - l, 0.0))
        }),
        shape("klow", "Lower shadow over open: (min(open, close) - low) / open", |frame, _| {
            each(frame, |o, _, l, c| (o.min(c) - l) / o)
        }),
        shape("klow2", "Lower shadow over length; 0 for a bar without length", |frame, _| {
            each(frame, |o, h, l, c| ratio(o.min(c) - l, h - l, 0.0))
        }),
        shape("ksft", "Close from the middle over open: (2 close - high - low) / open", |frame, _| {
            each(frame, |o, h, l, c| (2.0 * c - h - l) / o)
        }),
        shape("ksft2", "Close from the middle over length; 0 for a bar without length", |frame, _| {
            each(frame, |_, h, l, c| ratio(2.0 * c - h - l, h - l, 0.0))
        }),
    ]
}

/// One value a bar from its open, high, low and close.
fn each(frame: &Frame, value: impl Fn(f64, f64, f64, f64) -> f64) -> Outputs {
    let bars = frame.bars;
    let at = |bar: usize| value(bars.open[bar], bars.high[bar], bars.low[bar], bars.close[bar]);
    vec![(0..bars.len()).map(at).collect()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use market::Bars;

    #[test]
    fn the_shape_of_one_bar_and_of_a_flat_one() {
        let bars = Bars {
            ts: vec![0, 1],
            open: vec![100.0, 50.0],
            high: vec![108.0, 50.0],
            low: vec![98.0, 50.0],
            close: vec![103.0, 50.0],
            ..Bars::default()
        };
        let frame = Frame::alone(&bars, 300);
        let check = |name: &str, expected: f64| {
            let found = catalogue::find(name).unwrap().compute(&frame, &[], None).unwrap().remove(0);
            assert_eq!(found, [expected, 0.0], "{name}");
        };
        check("kmid", 0.03);
        check("klen", 0.10);
        check("kmid2", 0.3);
        check("kup", 0.05);
        check("kup2", 0.5);
        check("klow", 0.02);
        check("klow2", 0.2);
        check("ksft", 0.0);
        check("ksft2", 0.0);
    }
}
