//! What may be done to a feature after it is computed: `rsi:14@zscore:100@lag:1`. A transform looks back, never
//! ahead, and gives a defined value wherever its inputs have one; only a logarithm may have none.

use crate::catalogue::{Frame, Parameter};
use crate::own::returns::mean;

/// How a transform is computed: from a series, the frame and the parameters.
type Apply = fn(Vec<f64>, &Frame, &[f64]) -> Vec<f64>;

/// One entry of the list of transforms.
#[derive(Debug)]
pub struct TransformDefinition {
    /// The name in a specification.
    pub name: &'static str,
    /// One line that says what it does.
    pub summary: &'static str,
    /// Name and default of each parameter, with its smallest and largest value and whether it is whole.
    pub parameters: &'static [(&'static str, f64, f64, f64, bool)],
    /// Rows before the first value, from those of what is transformed and the parameters.
    pub lookback: fn(usize, &[f64]) -> usize,
    apply: Apply,
}

/// A transform with its parameters.
#[derive(Debug, Clone)]
pub struct Transform {
    /// Which.
    pub definition: &'static TransformDefinition,
    /// With what.
    pub parameters: Vec<f64>,
}

impl TransformDefinition {
    /// The parameters as the catalogue describes its own.
    pub fn parameters(&self) -> Vec<Parameter> {
        let parameter = |&(name, default, min, max, is_whole): &(&str, f64, f64, f64, bool)| Parameter {
            name: name.to_owned(),
            default,
            min,
            max,
            is_whole,
        };
        self.parameters.iter().map(parameter).collect()
    }
}

impl Transform {
    /// Applies it to a series as long as the bars.
    pub fn apply(&self, values: Vec<f64>, frame: &Frame) -> Vec<f64> {
        (self.definition.apply)(values, frame, &self.parameters)
    }

    /// Rows before the first value, from those of what is transformed.
    pub fn lookback(&self, before: usize) -> usize {
        (self.definition.lookback)(before, &self.parameters)
    }
}

const MOST_BARS: f64 = 100_000.0;

/// All transforms.
pub const TRANSFORMS: &[TransformDefinition] = &[
    TransformDefinition {
        name: "lag",
        summary: "The value so many bars ago",
        parameters: &[("bars", 1.0, 0.0, MOST_BARS, true)],
        lookback: |before, parameters| before + parameters[0] as usize,
        apply: |values, _, parameters| lagged(&values, parameters[0] as usize),
    },
    TransformDefinition {
        name: "diff",
        summary: "The change over so many bars",
        parameters: &[("bars", 1.0, 1.0, MOST_BARS, true)],
        lookback: |before, parameters| before + parameters[0] as usize,
        apply: |values, _, parameters| {
            let earlier = lagged(&values, parameters[0] as usize);
            values.iter().zip(earlier).map(|(value, earlier)| value - earlier).collect()
        },
    },
    TransformDefinition {
        name: "zscore",
        summary: "Distance from the trailing mean in trailing standard deviations; 0 where nothing varied",
        parameters: &[("bars", 100.0, 2.0, MOST_BARS, true)],
        lookback: |before, parameters| before + parameters[0] as usize - 1,
        apply: |values, _, parameters| zscore(&values, parameters[0] as usize),
    },
    TransformDefinition {
        name: "pct",
        summary: "The change over so many bars as a part of the earlier value's size; 0 where that was 0",
        parameters: &[("bars", 1.0, 1.0, MOST_BARS, true)],
        lookback: |before, parameters| before + parameters[0] as usize,
        apply: |values, _, parameters| {
            let earlier = lagged(&values, parameters[0] as usize);
            let change = |(value, earlier): (&f64, f64)| {
                if earlier == 0.0 { value * 0.0 } else { (value - earlier) / earlier.abs() }
            };
            values.iter().zip(earlier).map(change).collect()
        },
    },
    TransformDefinition {
        name: "log",
        summary: "The natural logarithm; null where the value is not positive",
        parameters: &[],
        lookback: |before, _| before,
        apply: |values, _, _| {
            let log = |value: f64| if value > 0.0 { libm::log(value) } else { f64::NAN };
            values.into_iter().map(log).collect()
        },
    },
    TransformDefinition {
        name: "rank",
        summary: "Rank among the trailing values, from just above 0 to 1; equal values share their mean rank",
        parameters: &[("bars", 100.0, 2.0, MOST_BARS, true)],
        lookback: |before, parameters| before + parameters[0] as usize - 1,
        apply: |values, _, parameters| {
            let bars = parameters[0];
            let rank = |(below, equal): (f64, f64)| (below + 0.5 * (equal + 1.0)) / bars;
            standings(&values, bars as usize).map(rank).collect()
        },
    },
    TransformDefinition {
        name: "quantile",
        summary: "Which of so many equally filled bins of the trailing values it falls in, from 0",
        parameters: &[("bins", 5.0, 2.0, 1_000.0, true), ("bars", 100.0, 2.0, MOST_BARS, true)],
        lookback: |before, parameters| before + parameters[1] as usize - 1,
        apply: |values, _, parameters| {
            let (bins, bars) = (parameters[0], parameters[1]);
            let bin = |(below, equal): (f64, f64)| (bins * (below + (equal - 1.0) / 2.0) / bars).floor();
            standings(&values, bars as usize).map(bin).collect()
        },
    },
    TransformDefinition {
        name: "per_atr",
        summary: "Over the average true range (Wilder): for differences of prices; 0 where nothing moved",
        parameters: &[("bars", 14.0, 1.0, MOST_BARS, true)],
        lookback: |before, parameters| before.max(parameters[0] as usize),
        apply: |values, frame, parameters| {
            let range = average_true_range(frame, parameters[0] as usize);
            let over = |(value, range): (f64, f64)| if range == 0.0 { value * 0.0 } else { value / range };
            values.into_iter().zip(range).map(over).collect()
        },
    },
    TransformDefinition {
        name: "clip",
        summary: "Held between two bounds",
        parameters: &[("low", -1.0, f64::MIN, f64::MAX, false), ("high", 1.0, f64::MIN, f64::MAX, false)],
        lookback: |before, _| before,
        // Not `clamp`, which panics when the bounds are the wrong way round.
        apply: |values, _, parameters| {
            let clip =
                |value: f64| if value.is_nan() { value } else { value.max(parameters[0]).min(parameters[1]) };
            values.into_iter().map(clip).collect()
        },
    },
    TransformDefinition {
        name: "per_close",
        summary: "Over the close: for differences of prices, such as MACD",
        parameters: &[],
        lookback: |before, _| before,
        apply: |mut values, frame, _| {
            values.iter_mut().zip(&frame.bars.close).for_each(|(value, close)| *value /= close);
            values
        },
    },
    TransformDefinition {
        name: "from_close",
        summary: "Over the close, minus one: for price levels, such as averages and bands",
        parameters: &[],
        lookback: |before, _| before,
        apply: |mut values, frame, _| {
            values.iter_mut().zip(&frame.bars.close).for_each(|(value, close)| *value = *value / close - 1.0);
            values
        },
    },
];

/// The transform of that name.
pub fn find(name: &str) -> Option<&'static TransformDefinition> {
    TRANSFORMS.iter().find(|definition| definition.name == name)
}

fn lagged(values: &[f64], bars: usize) -> Vec<f64> {
    (0..values.len()).map(|bar| bar.checked_sub(bars).map_or(f64::NAN, |earlier| values[earlier])).collect()
}

fn zscore(values: &[f64], bars: usize) -> Vec<f64> {
    let means = mean(values, bars);
    let score = |(end, mean): (usize, f64)| {
        let Some(start) = (end + 1).checked_sub(bars) else { return f64::NAN };
        let window = &values[start..=end];
        if window.iter().all(|&value| value == window[0]) {
            return 0.0;
        }
        let variance = window.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / bars as f64;
        (values[end] - mean) / variance.sqrt()
    };
    means.into_iter().enumerate().map(score).collect()
}

/// For each value how many of the trailing `bars` values, itself among them, lie below it and how many equal it;
/// NaN where the window is not whole.
fn standings(values: &[f64], bars: usize) -> impl Iterator<Item = (f64, f64)> {
    (0..values.len()).map(move |end| {
        let whole = (end + 1).checked_sub(bars).map(|start| &values[start..=end]);
        let Some(window) = whole.filter(|window| window.iter().all(|value| !value.is_nan())) else {
            return (f64::NAN, f64::NAN);
        };
        let count =
            |test: fn(f64, f64) -> bool| window.iter().filter(|&&v| test(v, values[end])).count() as f64;
        (count(|a, b| a < b), count(|a, b| a == b))
    })
}

/// Wilder's average true range: the mean of the first `bars` true ranges, then a step of one part in `bars`
/// towards each new one.
fn average_true_range(frame: &Frame, bars: usize) -> Vec<f64> {
    let b = frame.bars;
    let true_range = |row: usize| {
        let before = b.close[row - 1];
        (b.high[row] - b.low[row]).max((b.high[row] - before).abs()).max((b.low[row] - before).abs())
    };
    let mut averages = vec![f64::NAN; b.len()];
    let mut average = 0.0;
    for (row, value) in averages.iter_mut().enumerate().skip(1) {
        let range = true_range(row);
        if row <= bars {
            average += range / bars as f64;
        } else {
            average += (range - average) / bars as f64;
        }
        if row >= bars {
            *value = average;
        }
    }
    averages
}

#[cfg(test)]
mod tests {
    use super::*;
    use market::Bars;

    fn check(name: &str, parameters: &[f64], values: &[f64], expected: &[f64]) {
        let bars = Bars { close: vec![2.0; values.len()], ..Bars::default() };
        let transform = Transform { definition: find(name).unwrap(), parameters: parameters.to_vec() };
        let found = transform.apply(values.to_vec(), &Frame::alone(&bars, 300));
        let same = |(a, b): (&f64, &f64)| (a.is_nan() && b.is_nan()) || a == b;
        assert!(found.iter().zip(expected).all(same), "{name}: {found:?} is not {expected:?}");
    }

    #[test]
    fn values_worked_by_hand() {
        let nan = f64::NAN;
        check("lag", &[2.0], &[1.0, 2.0, 4.0], &[nan, nan, 1.0]);
        check("diff", &[1.0], &[nan, 1.0, 4.0], &[nan, nan, 3.0]);
        check("zscore", &[2.0], &[1.0, 3.0, 3.0, 1.0], &[nan, 1.0, 0.0, -1.0]);
        check("pct", &[1.0], &[nan, 2.0, 3.0, 0.0, 5.0], &[nan, nan, 0.5, -1.0, 0.0]);
        check("log", &[], &[nan, 1.0, -1.0], &[nan, 0.0, nan]);
        check("rank", &[4.0], &[3.0, 1.0, 2.0, 2.0, 9.0], &[nan, nan, nan, 0.625, 1.0]);
        check("quantile", &[2.0, 4.0], &[3.0, 1.0, 2.0, 2.0, 9.0], &[nan, nan, nan, 0.0, 1.0]);
        check("clip", &[-1.0, 1.0], &[nan, -3.0, 0.5, 7.0], &[nan, -1.0, 0.5, 1.0]);
        check("per_close", &[], &[nan, 3.0], &[nan, 1.5]);
        check("from_close", &[], &[nan, 3.0], &[nan, 0.5]);
    }

    #[test]
    fn the_average_true_range_is_that_of_talib() {
        let close: Vec<f64> = (0..80).map(|bar| 100.0 + f64::from(bar * 37 % 23)).collect();
        let shifted = |by: f64| close.iter().map(|price| price + by).collect::<Vec<f64>>();
        let bars = Bars {
            high: shifted(2.0),
            low: shifted(-1.5),
            ts: vec![0; close.len()],
            open: close.clone(),
            volume: close.clone(),
            close,
            ..Bars::default()
        };
        let frame = Frame::alone(&bars, 300);
        let atr = crate::catalogue::find("atr").unwrap().compute(&frame, &[14.0], None).unwrap().remove(0);
        let own = average_true_range(&frame, 14);
        let near = |(a, b): (&f64, &f64)| (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-12;
        assert!(atr.iter().zip(&own).all(near), "{own:?} is not {atr:?}");
    }
}
