//! Log returns and what is made of them; averages over whole windows, each summed anew so that no rounding
//! is carried from bar to bar.

use market::Bars;

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
    let mut turbulence = over_bars(
        "turbulence",
        "Squared distance of the symbol's return from its mean over the bars before, in their variances (Kritzman, Li \
         2010); FinRL's is over all symbols at once",
        &["close"],
        252.0,
        turbulence,
    );
    turbulence.parameters[0].min = 2.0;
    turbulence.lookback = |_, parameters| Some(parameters[0] as usize + 1);
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
        turbulence,
        window_only(over_bars(
            "volume_body",
            "Close minus open, times volume over its average",
            &["open", "close", "volume"],
            20.0,
            |frame, parameters| by_volume(frame, parameters, |bars, row| bars.close[row] - bars.open[row]),
        )),
        window_only(over_bars(
            "volume_range",
            "High minus low, times volume over its average",
            &["high", "low", "volume"],
            20.0,
            volume_range,
        )),
        position,
        range,
        volume,
    ]
}

/// A definition whose first value stands at the end of its first window.
fn window_only(mut definition: Definition) -> Definition {
    definition.lookback = |_, parameters| Some(parameters[0] as usize - 1);
    definition
}

/// With one symbol the Mahalanobis distance is a squared standard score. 0 where nothing moved before.
fn turbulence(frame: &Frame, parameters: &[f64]) -> Outputs {
    let close = &frame.bars.close;
    let bars = parameters[0] as usize;
    let returns: Vec<f64> = close.windows(2).map(|pair| libm::log(pair[1] / pair[0])).collect();
    let value = |row: usize| {
        // The return into this bar, and those before it.
        let Some(start) = row.checked_sub(bars + 1) else { return f64::NAN };
        let before = &returns[start..row - 1];
        let mean = before.iter().sum::<f64>() / bars as f64;
        let variance = before.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / bars as f64;
        let distance = returns[row - 1] - mean;
        ratio(distance * distance, variance, 0.0)
    };
    vec![(0..close.len()).map(value).collect()]
}

fn volume_range(frame: &Frame, parameters: &[f64]) -> Outputs {
    by_volume(frame, parameters, |bars, row| bars.high[row] - bars.low[row])
}

fn by_volume(frame: &Frame, parameters: &[f64], value: impl Fn(&Bars, usize) -> f64) -> Outputs {
    let bars = frame.bars;
    let means = mean(&bars.volume, parameters[0] as usize);
    let weigh = |(row, mean): (usize, f64)| {
        if mean.is_nan() { mean } else { value(bars, row) * ratio(bars.volume[row], mean, 0.0) }
    };
    vec![means.into_iter().enumerate().map(weigh).collect()]
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
    let mut positions = vec![f64::NAN; close.len()];
    // Equal closes up to and including the row: on flat prices the sum's rounding would pass for a deviation.
    let mut n_equal = vec![1_usize; close.len()];
    for row in 1..close.len() {
        if close[row] == close[row - 1] {
            n_equal[row] = n_equal[row - 1] + 1;
        }
    }
    let n = bars as f64;
    each_window(&mut positions, bars, |start, block| {
        let mut means = [0.0; LANES];
        add_windows(close, start, bars, &mut means, |value, _| value);
        for mean in &mut means {
            *mean /= n;
        }
        add_windows(close, start, bars, block, |value, lane| (value - means[lane]) * (value - means[lane]));
        let ends = (start + bars - 1..close.len()).zip(block.iter_mut()).zip(means);
        for ((end, position), mean) in ends {
            *position = if n_equal[end] >= bars {
                0.0
            } else {
                ratio(close[end] - mean, deviations * (*position / n).sqrt(), 0.0)
            };
        }
    });
    vec![positions]
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
    let mut means = vec![f64::NAN; values.len()];
    each_window(&mut means, bars, |start, sums| {
        add_windows(values, start, bars, sums, |value, _| value);
        for sum in sums.iter_mut() {
            *sum /= bars as f64;
        }
    });
    means
}

/// Windows that are worked on side by side: as many sums as a core holds in its registers.
pub const LANES: usize = 16;

/// Fills in the value of every whole window of `bars` rows, [`LANES`] windows at a time: `fill` is given the first
/// row of the first of them and the places of their values.
pub fn each_window(values: &mut [f64], bars: usize, mut fill: impl FnMut(usize, &mut [f64; LANES])) {
    let n = values.len();
    let Some(first) = bars.checked_sub(1).filter(|&first| first < n) else { return };
    let mut block = [0.0; LANES];
    let mut end = first;
    while end < n {
        // The last block may reach beyond the last row; its lanes there are left alone.
        fill(end - first, &mut block);
        let n_lanes = LANES.min(n - end);
        values[end..end + n_lanes].copy_from_slice(&block[..n_lanes]);
        end += n_lanes;
    }
}

/// For each lane the sum of `term` over its window, in the order of the rows and begun anew, so that nothing of other
/// windows is in it: the bits are those of a sum over that window alone.
pub fn add_windows(
    values: &[f64],
    start: usize,
    bars: usize,
    sums: &mut [f64; LANES],
    term: impl Fn(f64, usize) -> f64,
) {
    // What the sum of nothing is in the standard library.
    *sums = [-0.0; LANES];
    for row in start..start + bars {
        if let Some(block) = values.get(row..).and_then(<[f64]>::first_chunk::<LANES>) {
            for (lane, (sum, &value)) in sums.iter_mut().zip(block).enumerate() {
                *sum += term(value, lane);
            }
        } else {
            for (lane, (sum, &value)) in sums.iter_mut().zip(&values[row..]).enumerate() {
                *sum += term(value, lane);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(compute: fn(&Frame, &[f64]) -> Outputs, parameters: &[f64], close: &[f64], expected: &[f64]) {
        let bars = Bars {
            close: close.to_vec(),
            high: close.iter().map(|price| price * 2.0).collect(),
            low: close.to_vec(),
            volume: close.to_vec(),
            ts: vec![0; close.len()],
            ..Bars::default()
        };
        let found = compute(&Frame::alone(&bars, 300), parameters).remove(0);
        let same = |(a, b): (&f64, &f64)| (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-12;
        assert!(
            found.len() == expected.len() && found.iter().zip(expected).all(same),
            "{found:?} is not {expected:?}"
        );
    }

    #[test]
    fn windows_side_by_side_give_the_bits_of_windows_alone() {
        let values: Vec<f64> = (0..150).map(|row| f64::from(row * 37 % 101) * 0.1 - 3.0).collect();
        for bars in [1, 2, 7, 16, 17, 60, 149, 150, 151] {
            let alone = |end: usize| match (end + 1).checked_sub(bars) {
                Some(start) => values[start..=end].iter().sum::<f64>() / bars as f64,
                None => f64::NAN,
            };
            let alone: Vec<u64> = (0..values.len()).map(|end| alone(end).to_bits()).collect();
            let found: Vec<u64> = mean(&values, bars).into_iter().map(f64::to_bits).collect();
            assert_eq!(found, alone, "over {bars} bars");
        }
        assert!(mean(&[], 3).is_empty());
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
        // Returns 1 and 3 before one of 6: mean 2, variance 1.
        let prices = [0.0, 1.0, 4.0, 10.0].map(f64::exp);
        check(turbulence, &[2.0], &prices, &[nan, nan, nan, 16.0]);
        // The range is the close here, and the second volume half as large again as the average.
        check(volume_range, &[2.0], &[1.0, 3.0], &[nan, 4.5]);
        check(volume_ratio, &[2.0], &[0.0, 0.0, 2.0], &[nan, 0.0, 1.5_f64.ln()]);
    }
}
