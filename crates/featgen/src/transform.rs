//! What may be done to a feature after it is computed: `rsi:14@zscore:100@lag:1`. A transform looks back, never
//! ahead, and gives a defined value wherever its inputs have one.

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
    /// Rows that become null before the first value.
    pub lookback: fn(&[f64]) -> usize,
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

    /// Rows that become null before the first value.
    pub fn lookback(&self) -> usize {
        (self.definition.lookback)(&self.parameters)
    }
}

const MOST_BARS: f64 = 100_000.0;

/// All transforms.
pub const TRANSFORMS: &[TransformDefinition] = &[
    TransformDefinition {
        name: "lag",
        summary: "The value so many bars ago",
        parameters: &[("bars", 1.0, 0.0, MOST_BARS, true)],
        lookback: |parameters| parameters[0] as usize,
        apply: |values, _, parameters| lagged(&values, parameters[0] as usize),
    },
    TransformDefinition {
        name: "diff",
        summary: "The change over so many bars",
        parameters: &[("bars", 1.0, 1.0, MOST_BARS, true)],
        lookback: |parameters| parameters[0] as usize,
        apply: |values, _, parameters| {
            let earlier = lagged(&values, parameters[0] as usize);
            values.iter().zip(earlier).map(|(value, earlier)| value - earlier).collect()
        },
    },
    TransformDefinition {
        name: "zscore",
        summary: "Distance from the trailing mean in trailing standard deviations; 0 where nothing varied",
        parameters: &[("bars", 100.0, 2.0, MOST_BARS, true)],
        lookback: |parameters| parameters[0] as usize - 1,
        apply: |values, _, parameters| zscore(&values, parameters[0] as usize),
    },
    TransformDefinition {
        name: "clip",
        summary: "Held between two bounds",
        parameters: &[("low", -1.0, f64::MIN, f64::MAX, false), ("high", 1.0, f64::MIN, f64::MAX, false)],
        lookback: |_| 0,
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
        lookback: |_| 0,
        apply: |values, frame, _| {
            values.iter().zip(&frame.bars.close).map(|(value, close)| value / close).collect()
        },
    },
    TransformDefinition {
        name: "from_close",
        summary: "Over the close, minus one: for price levels, such as averages and bands",
        parameters: &[],
        lookback: |_| 0,
        apply: |values, frame, _| {
            values.iter().zip(&frame.bars.close).map(|(value, close)| value / close - 1.0).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use market::Bars;

    fn check(name: &str, parameters: &[f64], values: &[f64], expected: &[f64]) {
        let bars = Bars { close: vec![2.0; values.len()], ..Bars::default() };
        let transform = Transform { definition: find(name).unwrap(), parameters: parameters.to_vec() };
        let found = transform.apply(values.to_vec(), &Frame { bars: &bars, bar_seconds: 300 });
        let same = |(a, b): (&f64, &f64)| (a.is_nan() && b.is_nan()) || a == b;
        assert!(found.iter().zip(expected).all(same), "{name}: {found:?} is not {expected:?}");
    }

    #[test]
    fn values_worked_by_hand() {
        let nan = f64::NAN;
        check("lag", &[2.0], &[1.0, 2.0, 4.0], &[nan, nan, 1.0]);
        check("diff", &[1.0], &[nan, 1.0, 4.0], &[nan, nan, 3.0]);
        check("zscore", &[2.0], &[1.0, 3.0, 3.0, 1.0], &[nan, 1.0, 0.0, -1.0]);
        check("clip", &[-1.0, 1.0], &[nan, -3.0, 0.5, 7.0], &[nan, -1.0, 0.5, 1.0]);
        check("per_close", &[], &[nan, 3.0], &[nan, 1.5]);
        check("from_close", &[], &[nan, 3.0], &[nan, 0.5]);
    }
}
