//! Kaufman's efficiency ratio, by the `ta` crate: TA-Lib has it inside KAMA alone, and `ta` agrees with that to
//! the bit. (Not everything in `ta` does: its RSI, ATR, CCI and MACD differ from the standard for good.)

use ta::Next;
use ta::indicators::EfficiencyRatio;

use crate::catalogue::{Definition, Frame, Origin, Outputs};
use crate::own::over_bars;

/// The feature of this module.
pub fn definition() -> Definition {
    let mut definition = over_bars(
        "efficiency_ratio",
        "Net move over the sum of moves (Kaufman): 1 on a straight line, 0 on flat prices",
        &["close"],
        10.0,
        efficiency_ratio,
    );
    definition.origin = Origin::Ta(efficiency_ratio);
    definition
}

fn efficiency_ratio(frame: &Frame, parameters: &[f64]) -> Outputs {
    let bars = parameters[0] as usize;
    let close = &frame.bars.close;
    let Ok(mut indicator) = EfficiencyRatio::new(bars) else {
        return vec![vec![f64::NAN; close.len()]];
    };
    let value = |(bar, &price): (usize, &f64)| {
        let value = indicator.next(price);
        if bar < bars {
            // `ta` answers from the first bar on, with a window that is not yet whole.
            f64::NAN
        } else if value.is_nan() {
            // Nothing moved: no efficiency.
            0.0
        } else {
            value
        }
    };
    vec![close.iter().enumerate().map(value).collect()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use market::Bars;

    #[test]
    fn net_move_over_moves() {
        let close = vec![10.0, 13.0, 12.0, 13.0, 13.0, 13.0, 13.0];
        let bars = Bars { ts: vec![0; close.len()], close, ..Bars::default() };
        let values = efficiency_ratio(&Frame::alone(&bars, 300), &[2.0]).remove(0);
        assert!(values[..2].iter().all(|value| value.is_nan()));
        assert_eq!(values[2..], [0.5, 0.0, 1.0, 0.0, 0.0]);
    }
}
