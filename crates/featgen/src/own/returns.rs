//! Log returns and what is made of them; averages over whole windows, each summed anew so that no rounding
//! is carried from bar to bar.

use crate::catalogue::{Definition, Frame, Outputs, Parameter};
use crate::own::{over_bars, ratio};

/// The features of this module.
pub fn definitions() -> Vec<Definition> {
    let ohlc = ["high", "low"];
    let mut position = over_bars(
        "bollinger_position",
        "Close within Bollinger's bands: 0 in the middle, 1 and -1 on the bands; 0 on flat prices",
        &["close"],
        20.0,
        bollinger_position,
    );
    position.parameters.push(Parameter {
        name: "deviations".to_owned(),
        default: 2.0,
        min: 1e-3,
        max: 100.0,
        is_whole: false,
    });
    position.parameters[0].min = 2.0;
    position.lookback = |_, parameters| Some(parameters[0] as usize - 1);
    let mut range = over_bars(
        "parkinson_volatility",
        "Volatility a bar from highs and lows (Parkinson 1980)",
        &ohlc,
        20.0,
        parkinson_volatility,
    );
    range.lookback = |_, parameters| Some(parameters[0] as usize - 1);
    let mut volume = over_bars(
        "volume_ratio",
        "Logarithm of volume over its average, both plus one share",
        &["volume"],
        20.0,
        volume_ratio,
    );
    volume.lookback = |_, parameters| Some(parameters[0] as usize - 1);
    vec![
        over_bars(
            "log_return",
            "Logarithm of the close over the close so many bars ago",
            &["close"],
            1.0,
            log_return,
        ),
        over_bars(
            "realised_volatility",
            "Root of the mean squared log return over so many bars",
            &["close"],
            20.0,
            realised_volatility,
        ),
        position,
        range,
        volume,
    ]
}

fn log_return(frame: &Frame, parameters: &[f64]) -> Outputs {
    let close = &frame.bars.close;
    let lag = parameters[0] as usize;
    let value = |bar: usize| if bar < lag { f64::NAN } else { libm::log(close[bar] / close[bar - lag]) };
    vec![(0..close.len()).map(value).collect()]
}

fn realised_volatility(frame: &Frame, parameters: &[f64]) -> Outputs {
    let close = &frame.bars.close;
    let squares: Vec<f64> = close
        .windows(2)
        .map(|pair| {
            let log_return = libm::log(pair[1] / pair[0]);
            log_return * log_return
        })
        .collect();
    let mut values = vec![f64::NAN; close.len().min(1)];
    values.extend(mean(&squares, parameters[0] as usize).into_iter().map(f64::sqrt));
    vec![values]
}

/// The standard deviation is that of the whole window (divided by n), as Bollinger's bands are drawn.
fn bollinger_position(frame: &Frame, parameters: &[f64]) -> Outputs {
    let close = &frame.bars.close;
    let (bars, deviations) = (parameters[0] as usize, parameters[1]);
    let value = |end: usize| {
        let Some(start) = (end + 1).checked_sub(bars) else { return f64::NAN };
        let window = &close[start..=end];
        // On flat prices the sum's rounding would pass for a deviation.
        if window.iter().all(|&price| price == window[0]) {
            return 0.0;
        }
        let mean = window.iter().sum::<f64>() / bars as f64;
        let variance = window.iter().map(|price| (price - mean) * (price - mean)).sum::<f64>() / bars as f64;
        ratio(close[end] - mean, deviations * variance.sqrt(), 0.0)
    };
    vec![(0..close.len()).map(value).collect()]
}

fn parkinson_volatility(frame: &Frame, parameters: &[f64]) -> Outputs {
    let bars = frame.bars;
    // A high below the low is counted by the quality report and says nothing about the range.
    let squares: Vec<f64> = bars
        .high
        .iter()
        .zip(&bars.low)
        .map(|(high, low)| {
            let range = libm::log(high / low).max(0.0);
            range * range / (4.0 * std::f64::consts::LN_2)
        })
        .collect();
    vec![mean(&squares, parameters[0] as usize).into_iter().map(f64::sqrt).collect()]
}

/// One share more on both sides gives bars without volume a value.
fn volume_ratio(frame: &Frame, parameters: &[f64]) -> Outputs {
    let volume = &frame.bars.volume;
    let means = mean(volume, parameters[0] as usize);
    vec![volume.iter().zip(means).map(|(volume, mean)| libm::log((volume + 1.0) / (mean + 1.0))).collect()]
}

/// The mean over each window of `bars` values; NaN before the first whole one.
pub fn mean(values: &[f64], bars: usize) -> Vec<f64> {
    let value = |end: usize| match (end + 1).checked_sub(bars) {
        Some(start) => values[start..=end].iter().sum::<f64>() / bars as f64,
        None => f64::NAN,
    };
    (0..values.len()).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use market::Bars;

    fn check(compute: fn(&Frame, &[f64]) -> Outputs, parameters: &[f64], close: &[f64], expected: &[f64]) {
        let bars = Bars {
            close: close.to_vec(),
            high: close.iter().map(|price| price * 2.0).collect(),
            low: close.to_vec(),
            volume: close.to_vec(),
            ts: vec![0; close.len()],
            ..Bars::default()
        };
        let found = compute(&Frame { bars: &bars, bar_seconds: 300 }, parameters).remove(0);
        let same = |(a, b): (&f64, &f64)| (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-12;
        assert!(
            found.len() == expected.len() && found.iter().zip(expected).all(same),
            "{found:?} is not {expected:?}"
        );
    }

    #[test]
    fn values_worked_by_hand() {
        let nan = f64::NAN;
        let e = std::f64::consts::E;
        check(log_return, &[2.0], &[1.0, 5.0, e], &[nan, nan, 1.0]);
        check(realised_volatility, &[2.0], &[1.0, e, e], &[nan, nan, 0.5_f64.sqrt()]);
        // Mean 2, deviation 1: the close 3 lies half of two deviations above.
        check(bollinger_position, &[2.0, 2.0], &[1.0, 3.0, 3.0], &[nan, 0.5, 0.0]);
        check(parkinson_volatility, &[1.0], &[1.0, 9.0], &[0.5 * 2.0_f64.ln().sqrt(); 2]);
        check(volume_ratio, &[2.0], &[0.0, 0.0, 2.0], &[nan, 0.0, 1.5_f64.ln()]);
    }
}
