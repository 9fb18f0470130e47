//! The rolling families of Qlib's Alpha158 (Microsoft, qlib/contrib/data/loader.py), after its formulas, over
//! whole windows: where Qlib makes do with the first few bars, there is no value here. Each window is computed
//! anew, so that no rounding is carried from bar to bar. Where a formula divides by nothing, the value is 0.

use market::Bars;

use crate::catalogue::{Compute, Definition, Frame, Outputs};
use crate::own::{over_bars, ratio};

/// The windows of Alpha158.
pub const WINDOWS: [usize; 5] = [5, 10, 20, 30, 60];

/// A family: its name, what it is, the bars before its window, and what computes it.
type Family = (&'static str, &'static str, usize, Compute);

const FAMILIES: &[Family] = &[
    ("roc", "Close so many bars ago over the close", 1, |f, p| {
        each(f, p, 1, |b, w| b.close[w.0] / b.close[w.1])
    }),
    ("ma", "Mean close over the close", 0, |f, p| {
        each(f, p, 0, |b, w| mean(w, |i| b.close[i]) / b.close[w.1])
    }),
    ("std", "Sample deviation of the close over the close", 0, |f, p| {
        each(f, p, 0, |b, w| deviation(w, |i| b.close[i]) / b.close[w.1])
    }),
    ("beta", "Slope of the close over time, over the close", 0, |f, p| {
        each(f, p, 0, |b, w| line(b, w).0 / b.close[w.1])
    }),
    ("rsqr", "R squared of the close over time", 0, |f, p| each(f, p, 0, |b, w| line(b, w).1)),
    ("resi", "Residual of the close from its line over time, over the close", 0, |f, p| {
        each(f, p, 0, |b, w| line(b, w).2 / b.close[w.1])
    }),
    ("max", "Highest high over the close", 0, |f, p| {
        each(f, p, 0, |b, w| b.high[highest(b, w)] / b.close[w.1])
    }),
    ("min", "Lowest low over the close", 0, |f, p| each(f, p, 0, |b, w| b.low[lowest(b, w)] / b.close[w.1])),
    ("qtlu", "80 % quantile of the close over the close", 0, |f, p| {
        each(f, p, 0, |b, w| quantile(b, w, 0.8) / b.close[w.1])
    }),
    ("qtld", "20 % quantile of the close over the close", 0, |f, p| {
        each(f, p, 0, |b, w| quantile(b, w, 0.2) / b.close[w.1])
    }),
    ("rank", "Rank of the close, as a part of the window", 0, |f, p| each(f, p, 0, rank)),
    ("rsv", "Close between lowest low and highest high", 0, |f, p| {
        each(f, p, 0, |b, w| {
            let (high, low) = (b.high[highest(b, w)], b.low[lowest(b, w)]);
            ratio(b.close[w.1] - low, high - low, 0.0)
        })
    }),
    ("imax", "Place of the highest high, as a part of the window", 0, |f, p| {
        each(f, p, 0, |b, w| (highest(b, w) - w.0 + 1) as f64 / n(w))
    }),
    ("imin", "Place of the lowest low, as a part of the window", 0, |f, p| {
        each(f, p, 0, |b, w| (lowest(b, w) - w.0 + 1) as f64 / n(w))
    }),
    ("imxd", "Place of the highest high minus that of the lowest low, as a part of the window", 0, |f, p| {
        each(f, p, 0, |b, w| (highest(b, w) as f64 - lowest(b, w) as f64) / n(w))
    }),
    ("corr", "Correlation of close and logarithm of volume", 0, |f, p| {
        each(f, p, 0, |b, w| correlation(w, |i| b.close[i], |i| libm::log(b.volume[i] + 1.0)))
    }),
    ("cord", "Correlation of the changes of close and volume", 1, |f, p| {
        each(f, p, 1, |b, w| {
            let volume = |i: usize| libm::log(ratio(b.volume[i], b.volume[i - 1], 0.0) + 1.0);
            correlation((w.0 + 1, w.1), |i| b.close[i] / b.close[i - 1], volume)
        })
    }),
    ("cntp", "Part of bars that rose", 1, |f, p| each(f, p, 1, |b, w| counted(b, w).0)),
    ("cntn", "Part of bars that fell", 1, |f, p| each(f, p, 1, |b, w| counted(b, w).1)),
    ("cntd", "Part of bars that rose minus part that fell", 1, |f, p| {
        each(f, p, 1, |b, w| counted(b, w).0 - counted(b, w).1)
    }),
    ("sump", "Gains over all moves of the close", 1, |f, p| each(f, p, 1, |b, w| moves(&b.close, w).0)),
    ("sumn", "Losses over all moves of the close", 1, |f, p| each(f, p, 1, |b, w| moves(&b.close, w).1)),
    ("sumd", "Gains minus losses over all moves of the close", 1, |f, p| {
        each(f, p, 1, |b, w| moves(&b.close, w).0 - moves(&b.close, w).1)
    }),
    ("vma", "Mean volume over the volume", 0, |f, p| {
        each(f, p, 0, |b, w| ratio(mean(w, |i| b.volume[i]), b.volume[w.1], 0.0))
    }),
    ("vstd", "Sample deviation of volume over the volume", 0, |f, p| {
        each(f, p, 0, |b, w| ratio(deviation(w, |i| b.volume[i]), b.volume[w.1], 0.0))
    }),
    ("wvma", "Deviation over mean of the close's relative moves weighted by volume", 1, |f, p| {
        each(f, p, 1, |b, w| {
            let weighted = |i: usize| (b.close[i] / b.close[i - 1] - 1.0).abs() * b.volume[i];
            let w = (w.0 + 1, w.1);
            ratio(deviation(w, weighted), mean(w, weighted), 0.0)
        })
    }),
    ("vsump", "Gains over all moves of the volume", 1, |f, p| each(f, p, 1, |b, w| moves(&b.volume, w).0)),
    ("vsumn", "Losses over all moves of the volume", 1, |f, p| each(f, p, 1, |b, w| moves(&b.volume, w).1)),
    ("vsumd", "Gains minus losses over all moves of the volume", 1, |f, p| {
        each(f, p, 1, |b, w| moves(&b.volume, w).0 - moves(&b.volume, w).1)
    }),
];

/// Names of the families, as they stand in a specification.
pub fn names() -> impl Iterator<Item = String> {
    FAMILIES.iter().map(|(name, ..)| format!("qlib_{name}"))
}

/// The features of this module.
pub fn definitions() -> Vec<Definition> {
    let families = FAMILIES.iter().map(|&(name, summary, before, compute)| {
        let inputs = ["high", "low", "close", "volume"];
        let mut definition =
            over_bars(&format!("qlib_{name}"), &format!("{summary} (Alpha158)"), &inputs, 20.0, compute);
        definition.parameters[0].min = 2.0;
        if before == 0 {
            definition.lookback = |_, parameters| Some(parameters[0] as usize - 1);
        }
        definition
    });
    let mut definitions: Vec<Definition> = families.collect();
    let prices: [(&str, &str, Compute); 4] = [
        ("open", "Open over close", |f, _| price(f, |b, i| b.open[i])),
        ("high", "High over close", |f, _| price(f, |b, i| b.high[i])),
        ("low", "Low over close", |f, _| price(f, |b, i| b.low[i])),
        ("vwap", "Typical price, standing for the bar's average price, over close", |f, _| {
            price(f, |b, i| (b.high[i] + b.low[i] + b.close[i]) / 3.0)
        }),
    ];
    for (name, summary, compute) in prices {
        let inputs = ["open", "high", "low", "close"];
        let mut definition =
            over_bars(&format!("qlib_{name}"), &format!("{summary} (Alpha158)"), &inputs, 1.0, compute);
        definition.parameters.clear();
        definition.lookback = |_, _| Some(0);
        definitions.push(definition);
    }
    definitions
}

/// First and last row of a window, both within it.
type Window = (usize, usize);

/// The value of each window of as many bars as the first parameter says, and `before` bars before it.
fn each(frame: &Frame, parameters: &[f64], before: usize, value: impl Fn(&Bars, Window) -> f64) -> Outputs {
    let rows = parameters[0] as usize + before;
    let of = |end: usize| match (end + 1).checked_sub(rows) {
        Some(start) => value(frame.bars, (start, end)),
        None => f64::NAN,
    };
    vec![(0..frame.bars.len()).map(of).collect()]
}

fn price(frame: &Frame, value: impl Fn(&Bars, usize) -> f64) -> Outputs {
    let bars = frame.bars;
    vec![(0..bars.len()).map(|row| value(bars, row) / bars.close[row]).collect()]
}

fn n(window: Window) -> f64 {
    (window.1 - window.0 + 1) as f64
}

fn mean(window: Window, value: impl Fn(usize) -> f64) -> f64 {
    (window.0..=window.1).map(value).sum::<f64>() / n(window)
}

/// Divided by one less than the number of values.
fn deviation(window: Window, value: impl Fn(usize) -> f64) -> f64 {
    let first = value(window.0);
    // On equal values the mean's rounding would pass for a deviation.
    if (window.0..=window.1).all(|row| value(row) == first) {
        return 0.0;
    }
    let mean = mean(window, &value);
    let squares = (window.0..=window.1).map(|row| (value(row) - mean) * (value(row) - mean));
    (squares.sum::<f64>() / (n(window) - 1.0)).sqrt()
}

fn correlation(window: Window, a: impl Fn(usize) -> f64, b: impl Fn(usize) -> f64) -> f64 {
    let (deviation_a, deviation_b) = (deviation(window, &a), deviation(window, &b));
    let (mean_a, mean_b) = (mean(window, &a), mean(window, &b));
    let products = (window.0..=window.1).map(|row| (a(row) - mean_a) * (b(row) - mean_b));
    ratio(products.sum::<f64>() / (n(window) - 1.0), deviation_a * deviation_b, 0.0).clamp(-1.0, 1.0)
}

/// Slope, R squared and last residual of the least-squares line through the closes.
fn line(bars: &Bars, window: Window) -> (f64, f64, f64) {
    let close = |row: usize| bars.close[row];
    let time = |row: usize| (row - window.0) as f64;
    let deviation_of_close = deviation(window, close);
    if deviation_of_close == 0.0 {
        return (0.0, 0.0, 0.0);
    }
    let (mean_close, mean_time) = (mean(window, close), mean(window, time));
    let (mut products, mut squares) = (0.0, 0.0);
    for row in window.0..=window.1 {
        products += (time(row) - mean_time) * (close(row) - mean_close);
        squares += (time(row) - mean_time) * (time(row) - mean_time);
    }
    let slope = products / squares;
    let correlation = correlation(window, time, close);
    let residual = close(window.1) - mean_close - slope * (time(window.1) - mean_time);
    (slope, correlation * correlation, residual)
}

/// The first row of the highest high.
fn highest(bars: &Bars, window: Window) -> usize {
    (window.0..=window.1)
        .fold(window.0, |best, row| if bars.high[row] > bars.high[best] { row } else { best })
}

/// The first row of the lowest low.
fn lowest(bars: &Bars, window: Window) -> usize {
    (window.0..=window.1).fold(window.0, |best, row| if bars.low[row] < bars.low[best] { row } else { best })
}

/// Between the two nearest closes on a straight line, as pandas has it.
fn quantile(bars: &Bars, window: Window, part: f64) -> f64 {
    let mut sorted = bars.close[window.0..=window.1].to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = part * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

/// The mean rank of equal closes.
fn rank(bars: &Bars, window: Window) -> f64 {
    let closes = &bars.close[window.0..=window.1];
    let last = bars.close[window.1];
    let below = closes.iter().filter(|&&close| close < last).count() as f64;
    let equal = closes.iter().filter(|&&close| close == last).count() as f64;
    (below + 0.5 * (equal + 1.0)) / n(window)
}

/// The parts of the bars that rose and that fell; the first row of the window is the one before them.
fn counted(bars: &Bars, window: Window) -> (f64, f64) {
    let closes = &bars.close[window.0..=window.1];
    let part = |test: fn(&f64, &f64) -> bool| {
        closes.windows(2).filter(|pair| test(&pair[1], &pair[0])).count() as f64 / (closes.len() - 1) as f64
    };
    (part(f64::gt), part(f64::lt))
}

/// Gains and losses over all moves of a series.
fn moves(values: &[f64], window: Window) -> (f64, f64) {
    let (mut gains, mut losses) = (0.0, 0.0);
    for pair in values[window.0..=window.1].windows(2) {
        gains += (pair[1] - pair[0]).max(0.0);
        losses += (pair[0] - pair[1]).max(0.0);
    }
    (ratio(gains, gains + losses, 0.0), ratio(losses, gains + losses, 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;

    /// Worked by hand over closes 10, 12, 11, 13, of which windows of three (and one before) end at the last.
    #[test]
    fn the_last_window_of_a_short_series() {
        let close = vec![10.0, 12.0, 11.0, 13.0];
        let bars = Bars {
            ts: vec![0; 4],
            open: vec![10.0; 4],
            high: vec![11.0, 14.0, 12.0, 14.0],
            low: vec![9.0, 10.0, 9.5, 12.0],
            volume: vec![0.0, 1.0, 3.0, 2.0],
            close,
            ..Bars::default()
        };
        let check = |name: &str, expected: f64| {
            let definition = catalogue::find(name).unwrap();
            let parameters: Vec<f64> = definition.parameters.iter().map(|_| 3.0).collect();
            let values = definition.compute(&Frame::alone(&bars, 300), &parameters, None).unwrap().remove(0);
            let found = values[3];
            assert!((found - expected).abs() < 1e-12, "{name} is {found}, not {expected}");
            let nulls = values.iter().take_while(|value| value.is_nan()).count();
            assert_eq!(Some(nulls), definition.lookback(&parameters), "{name}");
        };
        check("qlib_roc", 10.0 / 13.0);
        check("qlib_ma", 12.0 / 13.0);
        check("qlib_std", 1.0 / 13.0);
        check("qlib_beta", 0.5 / 13.0);
        check("qlib_rsqr", 0.25);
        check("qlib_resi", 0.5 / 13.0);
        check("qlib_max", 14.0 / 13.0);
        check("qlib_min", 9.5 / 13.0);
        check("qlib_qtlu", 12.6 / 13.0);
        check("qlib_qtld", 11.4 / 13.0);
        check("qlib_rank", 1.0);
        check("qlib_rsv", 3.5 / 4.5);
        check("qlib_imax", 1.0 / 3.0);
        check("qlib_imin", 2.0 / 3.0);
        check("qlib_imxd", -1.0 / 3.0);
        check("qlib_cntp", 2.0 / 3.0);
        check("qlib_cntn", 1.0 / 3.0);
        check("qlib_cntd", 1.0 / 3.0);
        check("qlib_sump", 0.8);
        check("qlib_sumn", 0.2);
        check("qlib_sumd", 0.6);
        check("qlib_vma", 1.0);
        check("qlib_vstd", 0.5);
        check("qlib_vsump", 0.75);
        check("qlib_vsumd", 0.5);
        check("qlib_open", 10.0 / 13.0);
        check("qlib_vwap", 1.0);
        // |log| weights 0.2·1, 1/12·3, 2/11·2.
        let weighted: [f64; 3] = [0.2, 0.25, 4.0 / 11.0];
        let mean = weighted.iter().sum::<f64>() / 3.0;
        let squares: f64 = weighted.iter().map(|value| (value - mean) * (value - mean)).sum();
        check("qlib_wvma", (squares / 2.0).sqrt() / mean);
    }
}
