//! How many rows of a feature depend on where the series starts. Recursive functions forget their start only in
//! time; `--stable` leaves rows null until they have, to a tolerance.
//!
//! The number is measured on simulated bars, the same for every input: the feature is computed over a series and
//! over its ends from many later starts, and the worst start counts, with a margin. So it depends on the feature
//! and its parameters alone, and never on bars that are yet to come.

use market::Bars;
use market::simulate::{BARS_PER_SESSION, Simulation};
use rayon::prelude::*;

use crate::catalogue::{Frame, Others};
use crate::compute::Plan;
use crate::talib::Failure;

const SEEDS: [u64; 2] = [1, 2];
const N_SESSIONS: usize = 80;
const N_STARTS: usize = 16;
/// Sessions that every start leaves to settle in.
const SESSIONS_TO_SETTLE: usize = 40;
/// The worst start seen is not the worst there is.
const MARGIN: f64 = 1.5;
/// Values near zero are compared on the scale of the series, of which this is the part that counts.
const SCALE: f64 = 1e-3;

/// For each feature of the plan the rows to leave null, `None` for one that never settles.
pub fn unstable_rows(plan: &Plan, bar_seconds: u32, tolerance: f64) -> Result<Vec<Option<usize>>, Failure> {
    let mut worst: Vec<Option<usize>> = vec![Some(0); plan.features.len()];
    for seed in SEEDS {
        let bars = simulated(seed, bar_seconds);
        let starts: Vec<usize> = (1..=N_STARTS)
            .map(|start| start * (N_SESSIONS - SESSIONS_TO_SETTLE) / N_STARTS * BARS_PER_SESSION)
            // Every other one behind the first bar of a session, which what is counted from the open never sees.
            .map(|start| start + start / BARS_PER_SESSION % 2)
            .collect();
        for (worst, rows) in
            worst.iter_mut().zip(rows_to_settle(plan, &bars, bar_seconds, &starts, tolerance)?)
        {
            *worst = worst.zip(rows).map(|(worst, rows)| worst.max(rows));
        }
    }
    // What settles with its first value needs no margin.
    let with_margin = |(rows, feature): (Option<usize>, &crate::specification::Feature)| {
        let lookback = feature.lookback().unwrap_or(0);
        rows.map(|rows| if rows <= lookback { 0 } else { (rows as f64 * MARGIN) as usize })
    };
    Ok(worst.into_iter().zip(&plan.features).map(with_margin).collect())
}

/// For each feature the rows after the worst of `starts` that differ from the whole series' by more than the
/// tolerance; `None` where they still do at the end of a series.
pub fn rows_to_settle(
    plan: &Plan,
    bars: &Bars,
    bar_seconds: u32,
    starts: &[usize],
    tolerance: f64,
) -> Result<Vec<Option<usize>>, Failure> {
    // Features of two symbols settle like those of the pair's returns: they look back over a window.
    let others = Others::new();
    let values = |bars: &Bars| plan.values(&Frame { bars, bar_seconds, others: &others });
    let whole = values(bars)?;
    let scales: Vec<f64> = whole.iter().map(|values| largest(values)).collect();
    let each_start: Vec<Vec<Option<usize>>> = starts
        .par_iter()
        .map(|&start| {
            let late = values(&from(bars, start))?;
            let settled = late.iter().enumerate().map(|(place, late)| {
                let n = late.len();
                let differs = |row: &usize| {
                    let (a, b) = (late[*row], whole[place][start + row]);
                    let allowed = tolerance * b.abs().max(SCALE * scales[place]);
                    a.is_nan() != b.is_nan() || (a - b).abs() > allowed
                };
                let rows = (0..n).rev().find(differs).map_or(0, |last| last + 1);
                // What settles in the last tenth has not been seen to settle.
                (rows < n - n / 10).then_some(rows)
            });
            Ok(settled.collect())
        })
        .collect::<Result<_, Failure>>()?;
    let worst = |place: usize| {
        each_start.iter().map(|rows| rows[place]).try_fold(0, |worst, rows| Some(worst.max(rows?)))
    };
    Ok((0..plan.features.len()).map(worst).collect())
}

fn largest(values: &[f64]) -> f64 {
    values.iter().filter(|value| value.is_finite()).fold(0.0, |largest, value| largest.max(value.abs()))
}

fn from(bars: &Bars, start: usize) -> Bars {
    Bars {
        symbol: bars.symbol.clone(),
        ts: bars.ts[start..].to_vec(),
        session: bars.session[start..].to_vec(),
        open: bars.open[start..].to_vec(),
        high: bars.high[start..].to_vec(),
        low: bars.low[start..].to_vec(),
        close: bars.close[start..].to_vec(),
        volume: bars.volume[start..].to_vec(),
    }
}

/// Simulated bars, in sessions where the input has some and a day each where it has not.
pub fn simulated(seed: u64, bar_seconds: u32) -> Bars {
    let simulation = Simulation { symbol: "STABLE".into(), seed, n_sessions: N_SESSIONS, start_price: 500.0 };
    let mut bars = Bars { symbol: "STABLE".into(), ..Bars::default() };
    let is_intraday = bar_seconds < market::sessions::SECONDS_PER_DAY;
    for (row, bar) in simulation.bars().iter().enumerate() {
        let (session, of_session) =
            if is_intraday { (row / BARS_PER_SESSION, row % BARS_PER_SESSION) } else { (row, 0) };
        let seconds = session as i64 * 86_400 + (of_session as i64 + 1) * i64::from(bar_seconds.min(1_000));
        bars.ts.push(seconds * 1_000_000);
        bars.session.push(session as i32);
        bars.open.push(bar.open as f64 / 100.0);
        bars.high.push(bar.high as f64 / 100.0);
        bars.low.push(bar.low as f64 / 100.0);
        bars.close.push(bar.close as f64 / 100.0);
        bars.volume.push(bar.volume as f64);
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::specification;

    fn plan(specification: &str) -> Plan {
        Plan::new(specification::parse(specification, true).unwrap())
    }

    #[test]
    fn the_rows_that_are_known_from_practice() {
        let plan = plan("ema:20,rsi:14,adx:14,macd.signal,sma:20,obv");
        let rows = unstable_rows(&plan, 300, 1e-8).unwrap();
        // Recursive ones within the margin of what was measured elsewhere over many starts.
        for (rows, measured) in rows.iter().zip([140, 250, 300, 340]) {
            assert!((measured..2 * measured).contains(&rows.unwrap()), "{rows:?} and {measured}");
        }
        assert_eq!(rows[4..], [Some(0), None]);
    }

    #[test]
    fn rows_after_them_agree_over_other_bars_and_starts() {
        let plan = plan("core");
        for tolerance in [1e-4, 1e-8] {
            let rows = unstable_rows(&plan, 300, tolerance).unwrap();
            for seed in 11..14 {
                let bars = simulated(seed, 300);
                let starts: Vec<usize> = (1..20).map(|start| start * 2 * BARS_PER_SESSION).collect();
                let found = rows_to_settle(&plan, &bars, 300, &starts, tolerance).unwrap();
                for ((feature, rows), found) in plan.features.iter().zip(&rows).zip(found) {
                    let said = rows.unwrap().max(feature.lookback().unwrap_or(20 * BARS_PER_SESSION));
                    assert!(found.unwrap() <= said, "{}: {found:?} rows, said {said}", feature.column);
                }
            }
        }
    }
}
