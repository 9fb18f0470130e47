//! Bars that are missing inside a session, filled in when asked for: flat at the close before them and without
//! volume, as a chart would show a time at which nobody traded. Nothing is filled across sessions, nor before a
//! session's first bar or behind its last one.

use crate::Bars;

/// Fills the gaps inside sessions. Returns how many bars were added, and the place of the first.
pub fn fill_sessions(bars: &mut Bars, bar_seconds: u32) -> Option<(usize, usize)> {
    let interval = i64::from(bar_seconds) * 1_000_000;
    let is_gap = |ts: &[i64], session: &[i32], bar: usize| {
        session[bar] == session[bar - 1] && ts[bar] - ts[bar - 1] > interval
    };
    let first = (1..bars.len()).find(|&bar| is_gap(&bars.ts, &bars.session, bar))?;
    let gaps = std::mem::take(bars);
    let mut filled = Bars { symbol: gaps.symbol.clone(), ..Bars::default() };
    for bar in 0..gaps.len() {
        if bar > 0 && is_gap(&gaps.ts, &gaps.session, bar) {
            let close = gaps.close[bar - 1];
            let mut ts = gaps.ts[bar - 1] + interval;
            while ts < gaps.ts[bar] {
                push(&mut filled, ts, gaps.session[bar], [close; 4], 0.0);
                ts += interval;
            }
        }
        let prices = [gaps.open[bar], gaps.high[bar], gaps.low[bar], gaps.close[bar]];
        push(&mut filled, gaps.ts[bar], gaps.session[bar], prices, gaps.volume[bar]);
    }
    let n_added = filled.len() - gaps.len();
    *bars = filled;
    Some((n_added, first))
}

fn push(bars: &mut Bars, ts: i64, session: i32, [open, high, low, close]: [f64; 4], volume: f64) {
    bars.ts.push(ts);
    bars.session.push(session);
    bars.open.push(open);
    bars.high.push(high);
    bars.low.push(low);
    bars.close.push(close);
    bars.volume.push(volume);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bars at these minutes, in the sessions that they are given with; closes count from 1.
    fn bars(minutes: &[(i64, i32)]) -> Bars {
        let mut bars = Bars { symbol: "A".into(), ..Bars::default() };
        for (&(minute, session), close) in minutes.iter().zip(1..) {
            let close = f64::from(close);
            push(
                &mut bars,
                minute * 60_000_000,
                session,
                [close - 0.5, close + 1.0, close - 1.0, close],
                7.0,
            );
        }
        bars
    }

    #[test]
    fn gaps_are_filled_flat_within_a_session_alone() {
        let mut found = bars(&[(5, 0), (10, 0), (25, 0), (60, 1), (65, 1)]);
        assert_eq!(fill_sessions(&mut found, 300), Some((2, 2)));
        let minutes: Vec<i64> = found.ts.iter().map(|ts| ts / 60_000_000).collect();
        assert_eq!(minutes, [5, 10, 15, 20, 25, 60, 65]);
        assert_eq!(found.session, [0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(found.close, [1.0, 2.0, 2.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!((found.open[2], found.high[2], found.low[3], found.volume[3]), (2.0, 2.0, 2.0, 0.0));
        assert_eq!((found.open[4], found.volume[4]), (2.5, 7.0));
    }

    #[test]
    fn bars_without_gaps_stay_as_they_are() {
        let whole = bars(&[(5, 0), (10, 0), (500, 1)]);
        let mut found = whole.clone();
        assert_eq!(fill_sessions(&mut found, 300), None);
        assert_eq!(found, whole);
    }

    #[test]
    fn a_bar_off_the_grid_ends_the_filling_before_it() {
        let mut found = bars(&[(5, 0), (17, 0)]);
        assert_eq!(fill_sessions(&mut found, 300), Some((2, 1)));
        let minutes: Vec<i64> = found.ts.iter().map(|ts| ts / 60_000_000).collect();
        assert_eq!(minutes, [5, 10, 15, 17]);
    }
}
