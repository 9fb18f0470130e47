//! Round numbers and dates for axes.

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

/// What runs along the horizontal axis.
#[derive(Debug, Clone, PartialEq)]
pub enum XAxis {
    /// Numbers, such as steps; the label stands under the axis.
    Number {
        /// What is counted, with its unit.
        label: String,
    },
    /// Seconds since 1970-01-01 UTC, shown as dates and times at a fixed offset.
    Time {
        /// Seconds east of Greenwich: 19,800 for India.
        utc_offset_seconds: i32,
    },
    /// Positions 0, 1, 2, … into a list of labels. Bars of a market that sleeps at night stand side by side.
    Labels(Vec<String>),
}

/// How values are written along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Values {
    /// As they are.
    #[default]
    Plain,
    /// Times a hundred, with a percent sign: 0.05 is 5 %.
    Percent,
}

/// A place on an axis and what is written there.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    pub at: f64,
    pub label: String,
}

/// The span from the lowest to the highest of `values`, widened where it would be a point; `None` if there is none.
pub fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return None;
    }
    // Narrower than this, neighbouring floats are too few to tell places on the axis apart.
    let least = low.abs().max(high.abs()) * 1e-9;
    if high - low > least && high > low {
        return Some((low, high));
    }
    let middle = f64::midpoint(low, high);
    let half = if middle == 0.0 { 1.0 } else { middle.abs() * 0.05 };
    Some((middle - half, middle + half))
}

/// Round numbers in `low..=high`, about `wanted` of them.
pub fn numbers(low: f64, high: f64, wanted: usize, values: Values) -> Vec<Tick> {
    let step = round_step((high - low) / wanted.max(1) as f64);
    let first = (low / step - 1e-9).ceil();
    (0..=2 * wanted)
        .map(|i| (first + i as f64) * step)
        .take_while(|at| *at <= high + step * 1e-9)
        .map(|at| Tick { at, label: number(at, step, values) })
        .collect()
}

/// Ticks for `axis` over `low..=high`, about `wanted` of them.
pub fn along_x(axis: &XAxis, low: f64, high: f64, wanted: usize) -> Vec<Tick> {
    match axis {
        XAxis::Number { .. } => numbers(low, high, wanted, Values::Plain),
        XAxis::Time { utc_offset_seconds } => times(low, high, wanted, *utc_offset_seconds),
        XAxis::Labels(labels) => {
            let whole =
                numbers(low, high, wanted, Values::Plain).into_iter().filter(|tick| tick.at.fract() == 0.0);
            let named = whole.filter_map(|tick| {
                let label = if tick.at < 0.0 { None } else { labels.get(tick.at as usize) };
                label.map(|label| Tick { at: tick.at, label: label.clone() })
            });
            named.collect()
        }
    }
}

/// A step may be so much shorter than asked for: a few ticks more are better than half of them.
const NEAR: f64 = 0.75;

/// 1, 2 or 5 times a power of ten, about `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= rough * NEAR).unwrap_or(10.0);
    step * power
}

/// `value` with as many places as tell it from the next tick.
fn number(value: f64, step: f64, values: Values) -> String {
    let (value, step, sign) = match values {
        Values::Plain => (value, step, ""),
        Values::Percent => (value * 100.0, step * 100.0, " %"),
    };
    let size = value.abs().max(step);
    if size >= 1e15 || step < 1e-6 {
        return format!("{value:.2e}{sign}");
    }
    let (divisor, suffix) = match size {
        size if size >= 1e9 && step >= 1e6 => (1e9, "G"),
        size if size >= 1e6 && step >= 1e3 => (1e6, "M"),
        size if size >= 1e4 && step >= 10.0 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let places = (-(step / divisor * 1.000_001).log10().floor()).clamp(0.0, 9.0) as usize;
    // Adding zero turns a negative zero into a plain one.
    let shown = format!("{:.places$}", value / divisor + 0.0);
    format!("{shown}{}{sign}", if value == 0.0 { "" } else { suffix })
}

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const STEPS_SECONDS: [i64; 20] = [
    1,
    5,
    10,
    30,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    4 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    3 * DAY,
    7 * DAY,
    14 * DAY,
    31 * DAY,
];

/// Round times of day, days, or firsts of months. Outside the calendar's years plain numbers take their place.
fn times(low: f64, high: f64, wanted: usize, utc_offset_seconds: i32) -> Vec<Tick> {
    let zone = Offset::from_seconds(utc_offset_seconds).map_or(TimeZone::UTC, TimeZone::fixed);
    let local = |at: f64| Timestamp::from_second(at as i64).map(|stamp| stamp.to_zoned(zone.clone()));
    let (Ok(first), Ok(_)) = (local(low), local(high)) else {
        return numbers(low, high, wanted, Values::Plain);
    };
    let rough = (high - low) / wanted.max(1) as f64;
    match STEPS_SECONDS.into_iter().find(|step| *step as f64 >= rough * NEAR) {
        Some(step) if step < 31 * DAY => {
            let offset = i64::from(utc_offset_seconds);
            // Local midnights are multiples of a day once the offset is added.
            let start = (low as i64 + offset).div_euclid(step) * step - offset;
            let ticks = (0..).map(|i| start + i * step).take_while(|at| *at as f64 <= high);
            let ticks = ticks.filter(|at| *at as f64 >= low);
            ticks
                .filter_map(|at| local(at as f64).ok().map(|when| (at, when)))
                .map(|(at, when)| time(at, &when, step))
                .collect()
        }
        _ => months(&first, high, (rough / (31.0 * DAY as f64)).ceil().max(1.0)),
    }
}

fn time(at: i64, when: &Zoned, step: i64) -> Tick {
    let pattern = match step {
        step if step >= DAY => "%d %b",
        step if step >= MINUTE => "%d %b %H:%M",
        _ => "%H:%M:%S",
    };
    Tick { at: at as f64, label: when.strftime(pattern).to_string() }
}

fn months(first: &Zoned, high: f64, every: f64) -> Vec<Tick> {
    let every = [1, 2, 3, 6, 12]
        .into_iter()
        .find(|m| f64::from(*m) >= every)
        .unwrap_or((every / 12.0).ceil() as i32 * 12);
    let mut ticks = Vec::new();
    let start = first.first_of_month().and_then(|day| day.start_of_day());
    let mut next = start;
    while let Ok(when) = &next {
        let at = when.timestamp().as_second() as f64;
        if at > high || ticks.len() > 100 {
            break;
        }
        if when >= first {
            ticks.push(Tick { at, label: when.strftime("%b %Y").to_string() });
        }
        next = when.checked_add(jiff::Span::new().months(every));
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn numbers_are_round_and_no_more_precise_than_needed() {
        let check = |low, high, values, expected: &[&str]| {
            assert_eq!(labels(&numbers(low, high, 5, values)), expected);
        };
        check(0.0, 1.0, Values::Plain, &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        check(-0.031, 0.012, Values::Percent, &["-3 %", "-2 %", "-1 %", "0 %", "1 %"]);
        check(98_000.0, 103_000.0, Values::Plain, &["98k", "99k", "100k", "101k", "102k", "103k"]);
        check(0.0, 2_000_000.0, Values::Plain, &["0", "500k", "1.0M", "1.5M", "2.0M"][..]);
    }

    #[test]
    fn days_begin_at_the_local_midnight() {
        // 2024-01-01 09:15 to 2024-01-05 15:30 in India.
        let ticks = times(1_704_080_700.0, 1_704_448_800.0, 5, 19_800);
        assert_eq!(labels(&ticks), ["02 Jan", "03 Jan", "04 Jan", "05 Jan"]);
        assert_eq!(ticks[0].at, 1_704_133_800.0);
    }

    #[test]
    fn years_show_months() {
        let ticks = times(1_577_836_800.0, 1_640_995_200.0, 8, 0);
        assert_eq!(labels(&ticks)[..2], ["Jan 2020", "Apr 2020"]);
    }

    #[test]
    fn times_outside_the_calendar_do_not_panic() {
        for (low, high) in [(-1e18, 1e18), (1e299, 2e299), (0.0, 1e12), (-3e11, 2e11)] {
            assert!(times(low, high, 6, 19_800).len() < 200);
        }
    }

    #[test]
    fn a_point_is_widened_and_nothing_has_no_span() {
        assert_eq!(span([3.0, 3.0].into_iter()), Some((2.85, 3.15)));
        assert_eq!(span([0.0].into_iter()), Some((-1.0, 1.0)));
        assert_eq!(span(std::iter::empty()), None);
    }
}
