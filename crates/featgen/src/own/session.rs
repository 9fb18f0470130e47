//! Features that know where trading sessions begin. None of them knows where the current one ends: the length
//! of a session is taken from the sessions before it, so that a short one is not foreseen.

use std::collections::BTreeMap;
use std::ops::Range;

use market::Bars;
use market::parquet::Width;

use crate::catalogue::{Compute, Definition, Frame, Origin, Outputs, Parameter};
use crate::own::{ratio, whole};

const MICROS_PER_MINUTE: f64 = 60e6;
/// How many earlier sessions vote on the usual length.
const SESSIONS_THAT_VOTE: usize = 20;

/// The features of this module.
pub fn definitions() -> Vec<Definition> {
    let of =
        |name: &str, summary: &str, inputs: &[&'static str], outputs: &[&str], compute: Compute| Definition {
            name: name.to_owned(),
            summary: summary.to_owned(),
            parameters: Vec::<Parameter>::new(),
            inputs: inputs.to_vec(),
            outputs: outputs.iter().map(ToString::to_string).collect(),
            width: Width::F32,
            is_intraday_only: true,
            origin: Origin::Own(compute),
            lookback: |_, _| Some(0),
        };
    let mut gap = of(
        "overnight_gap",
        "Logarithm of the session's open over the close before it, all session long",
        &["open", "close"],
        &[""],
        overnight_gap,
    );
    gap.is_intraday_only = false;
    gap.lookback = |_, _| None;
    let mut opening = of(
        "opening_range",
        "Close within the range of the first minutes, so far as known: -1 at its low, 1 at its high; 0 in a flat one; within -10 and 10",
        &["high", "low", "close"],
        &[""],
        opening_range,
    );
    opening.parameters = vec![whole("minutes", 30.0, 1.0, 1_440.0)];
    let mut since_open = of(
        "minutes_since_open",
        "Clock hand from the open to the usual close, half a turn, as sine and cosine; null in the first session",
        &["ts"],
        &["sin", "cos"],
        minutes_since_open,
    );
    since_open.lookback = |_, _| None;
    let mut to_close = of(
        "minutes_to_close",
        "Clock hand over the last so many minutes before the usual close, half a turn, as sine and cosine",
        &["ts"],
        &["sin", "cos"],
        minutes_to_close,
    );
    to_close.parameters = vec![whole("minutes", 60.0, 1.0, 1_440.0)];
    to_close.lookback = |_, _| None;
    vec![
        of(
            "session_return",
            "Logarithm of the close over the session's open",
            &["open", "close"],
            &[""],
            session_return,
        ),
        of(
            "session_vwap",
            "The session's volume-weighted average price so far",
            &["high", "low", "close", "volume"],
            &[""],
            |frame, _| vec![session_vwap(frame)],
        ),
        of(
            "session_vwap_distance",
            "Close over the session's volume-weighted average price so far, minus one",
            &["high", "low", "close", "volume"],
            &[""],
            session_vwap_distance,
        ),
        gap,
        opening,
        since_open,
        to_close,
    ]
}

/// The rows of each session.
fn sessions(bars: &Bars) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    bars.session.chunk_by(|a, b| a == b).map(move |session| {
        let range = start..start + session.len();
        start = range.end;
        range
    })
}

fn session_return(frame: &Frame, _: &[f64]) -> Outputs {
    let bars = frame.bars;
    let mut values = Vec::with_capacity(bars.len());
    for session in sessions(bars) {
        let open = bars.open[session.start];
        values.extend(bars.close[session].iter().map(|close| libm::log(close / open)));
    }
    vec![values]
}

fn session_vwap_distance(frame: &Frame, _: &[f64]) -> Outputs {
    let close = &frame.bars.close;
    vec![close.iter().zip(session_vwap(frame)).map(|(close, average)| close / average - 1.0).collect()]
}

/// Until a share is traded the plain average of typical prices stands in.
fn session_vwap(frame: &Frame) -> Vec<f64> {
    let bars = frame.bars;
    let mut values = Vec::with_capacity(bars.len());
    for session in sessions(bars) {
        let (mut money, mut shares, mut prices) = (0.0, 0.0, 0.0);
        let start = session.start;
        for bar in session {
            let typical = (bars.high[bar] + bars.low[bar] + bars.close[bar]) / 3.0;
            money += typical * bars.volume[bar];
            shares += bars.volume[bar];
            prices += typical;
            values.push(ratio(money, shares, prices / (bar - start + 1) as f64));
        }
    }
    values
}

fn overnight_gap(frame: &Frame, _: &[f64]) -> Outputs {
    let bars = frame.bars;
    let mut values = Vec::with_capacity(bars.len());
    for session in sessions(bars) {
        let gap = match session.start.checked_sub(1) {
            Some(before) => libm::log(bars.open[session.start] / bars.close[before]),
            None => f64::NAN,
        };
        values.extend(session.map(|_| gap));
    }
    vec![values]
}

fn opening_range(frame: &Frame, parameters: &[f64]) -> Outputs {
    let bars = frame.bars;
    let mut values = Vec::with_capacity(bars.len());
    for session in sessions(bars) {
        let opened = opened_at(frame, &session);
        let (mut high, mut low) = (f64::MIN, f64::MAX);
        for bar in session {
            if minutes(bars.ts[bar] - opened) <= parameters[0] {
                high = high.max(bars.high[bar]);
                low = low.min(bars.low[bar]);
            }
            // A bar longer than the opening is its own opening range.
            if high < low {
                (high, low) = (bars.high[bar], bars.low[bar]);
            }
            let position = ratio(2.0 * bars.close[bar] - high - low, high - low, 0.0);
            // Days that leave a narrow opening range far behind would drown all others.
            values.push(position.clamp(-10.0, 10.0));
        }
    }
    vec![values]
}

fn minutes_since_open(frame: &Frame, _: &[f64]) -> Outputs {
    clock(frame, |since_open, usual| since_open / usual)
}

fn minutes_to_close(frame: &Frame, parameters: &[f64]) -> Outputs {
    let last = parameters[0];
    clock(frame, |since_open, usual| 1.0 - (usual - since_open) / last)
}

/// Sine and cosine of half a turn times a part of the way, of minutes since the open and the usual length of
/// a session in minutes. Half a turn, so that the open and the close are opposite rather than one.
fn clock(frame: &Frame, part: impl Fn(f64, f64) -> f64) -> Outputs {
    let bars = frame.bars;
    let (mut sines, mut cosines) = (Vec::with_capacity(bars.len()), Vec::with_capacity(bars.len()));
    let mut lengths: Vec<i64> = Vec::new();
    for session in sessions(bars) {
        let opened = opened_at(frame, &session);
        let usual = usual_length(&lengths);
        for bar in session.clone() {
            let (sine, cosine) = usual.map_or((f64::NAN, f64::NAN), |usual| {
                let part = part(minutes(bars.ts[bar] - opened), minutes(usual)).clamp(0.0, 1.0);
                libm::sincos(std::f64::consts::PI * part)
            });
            sines.push(sine);
            cosines.push(cosine);
        }
        lengths.push(bars.ts[session.end - 1] - opened);
    }
    vec![sines, cosines]
}

/// The commonest length among the latest sessions, the longest of equally common ones.
fn usual_length(lengths: &[i64]) -> Option<i64> {
    let mut votes: BTreeMap<i64, usize> = BTreeMap::new();
    for &length in lengths.iter().rev().take(SESSIONS_THAT_VOTE) {
        *votes.entry(length).or_default() += 1;
    }
    votes.into_iter().max_by_key(|&(length, n)| (n, length)).map(|(length, _)| length)
}

/// When a session's first bar began.
fn opened_at(frame: &Frame, session: &Range<usize>) -> i64 {
    frame.bars.ts[session.start] - i64::from(frame.bar_seconds) * 1_000_000
}

fn minutes(micros: i64) -> f64 {
    micros as f64 / MICROS_PER_MINUTE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions of the given lengths in five-minute bars, a day apart, closes counting from 100.
    fn bars(lengths: &[usize]) -> Bars {
        let mut bars = Bars::default();
        for (session, &length) in lengths.iter().enumerate() {
            for bar in 0..length {
                bars.ts.push((session as i64 * 86_400 + (bar as i64 + 1) * 300) * 1_000_000);
                bars.session.push(session as i32);
                bars.close.push(100.0 + bars.close.len() as f64);
                bars.volume.push(0.0);
            }
        }
        bars.open = bars.close.iter().map(|close| close - 1.0).collect();
        bars.high = bars.close.iter().map(|close| close + 1.0).collect();
        bars.low = bars.close.iter().map(|close| close - 2.0).collect();
        bars
    }

    fn values(bars: &Bars, compute: Compute, parameters: &[f64]) -> Outputs {
        compute(&Frame::alone(bars, 300), parameters)
    }

    #[test]
    fn gap_and_return_start_anew_each_session() {
        let bars = bars(&[2, 2]);
        let gaps = values(&bars, overnight_gap, &[]).remove(0);
        assert!(gaps[0].is_nan() && gaps[1].is_nan());
        // The second session opens at 101, where the first closed.
        assert_eq!(gaps[2..], [0.0, 0.0]);
        let returns = values(&bars, session_return, &[]).remove(0);
        assert_eq!(returns, [100.0_f64 / 99.0, 101.0 / 99.0, 102.0 / 101.0, 103.0 / 101.0].map(libm::log));
    }

    #[test]
    fn vwap_weighs_by_volume_and_has_a_value_without_any() {
        let mut bars = bars(&[3]);
        let typical: Vec<f64> = bars.close.iter().map(|close| close - 1.0 / 3.0).collect();
        let found = values(&bars, session_vwap_distance, &[]).remove(0);
        assert!((found[1] - (101.0 / typical[..2].iter().sum::<f64>() * 2.0 - 1.0)).abs() < 1e-12);
        bars.volume = vec![1.0, 0.0, 3.0];
        let found = values(&bars, session_vwap_distance, &[]).remove(0);
        assert!((found[2] - (102.0 / ((typical[0] + 3.0 * typical[2]) / 4.0) - 1.0)).abs() < 1e-12);
    }

    #[test]
    fn the_opening_range_grows_and_then_stands() {
        let found = values(&bars(&[4]), opening_range, &[10.0]).remove(0);
        // The first two bars span 98 to 102.
        let expected =
            [(200.0 - 101.0 - 98.0) / 3.0, (202.0 - 102.0 - 98.0) / 4.0, (204.0 - 200.0) / 4.0, 1.5];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_clock_goes_by_earlier_sessions_and_does_not_foresee_a_short_one() {
        let long = values(&bars(&[4, 4, 4]), minutes_since_open, &[]);
        let short = values(&bars(&[4, 4, 2]), minutes_since_open, &[]);
        assert!(long[0][..4].iter().all(|sine| sine.is_nan()));
        assert_eq!(short[0][4..], long[0][4..10]);
        assert!((long[1][7] + 1.0).abs() < 1e-12 && (long[0][5] - 1.0).abs() < 1e-12);
        let last = values(&bars(&[4, 4]), minutes_to_close, &[10.0]);
        assert!(
            (last[1][5] - 1.0).abs() < 1e-12 && last[1][6].abs() < 1e-12 && (last[1][7] + 1.0).abs() < 1e-12
        );
    }
}
