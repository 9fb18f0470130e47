//! No feature looks ahead, and none loses its value on odd but possible bars.

use market::simulate::{BARS_PER_SESSION, Simulation};

use super::*;
use crate::catalogue;
use crate::specification;

const BAR_SECONDS: u32 = 300;

/// Simulated bars as the loader would give them, with a short session and a bar without volume among them.
fn bars(n_sessions: usize) -> Bars {
    let simulation = Simulation { symbol: "BPCL".into(), seed: 7, n_sessions, start_price: 310.0 };
    let mut bars = Bars { symbol: "BPCL".into(), ..Bars::default() };
    for (row, bar) in simulation.bars().iter().enumerate() {
        let session = row / BARS_PER_SESSION;
        // A short session in the middle.
        if session == n_sessions / 2 && bar.bar_of_session >= 12 {
            continue;
        }
        bars.ts.push((session as i64 * 86_400 + (bar.bar_of_session as i64 + 1) * 300) * 1_000_000);
        bars.session.push(session as i32);
        bars.open.push(bar.open as f64 / 100.0);
        bars.high.push(bar.high as f64 / 100.0);
        bars.low.push(bar.low as f64 / 100.0);
        bars.close.push(bar.close as f64 / 100.0);
        bars.volume.push(if row % 97 == 0 { 0.0 } else { bar.volume as f64 });
    }
    bars
}

fn cut(bars: &Bars, n: usize) -> Bars {
    let mut cut = bars.clone();
    cut.ts.truncate(n);
    cut.session.truncate(n);
    for column in [&mut cut.open, &mut cut.high, &mut cut.low, &mut cut.close, &mut cut.volume] {
        column.truncate(n);
    }
    cut
}

/// The same bars up to `n`; later ones altered beyond recognition, and the session of the cut shortened.
fn altered(bars: &Bars, n: usize) -> Bars {
    let mut altered = bars.clone();
    for row in n..bars.len() {
        for column in [&mut altered.open, &mut altered.high, &mut altered.low, &mut altered.close] {
            column[row] *= 3.0 + (row % 5) as f64;
        }
        altered.volume[row] = 1.0;
        altered.session[row] += 1;
        altered.ts[row] += 3_600_000_000;
    }
    altered
}

/// Places to cut at: every session edge, a bar on either side of it, and some in between.
fn places(bars: &Bars) -> Vec<usize> {
    let edges = (1..bars.len()).filter(|&row| bars.session[row] != bars.session[row - 1]);
    let mut places: Vec<usize> = edges.flat_map(|edge| [edge - 1, edge, edge + 1]).collect();
    places.extend((1..bars.len()).step_by(53));
    places
}

fn bits(column: &FeatureColumn, n: usize) -> Vec<u64> {
    match column {
        FeatureColumn::F32(values) => values[..n].iter().map(|value| u64::from(value.to_bits())).collect(),
        FeatureColumn::F64(values) => values[..n].iter().map(|value| value.to_bits()).collect(),
    }
}

/// The first feature of the plan that looks ahead, with the row that shows it.
fn look_ahead(plan: &Plan, bars: &Bars, places: &[usize]) -> Option<(String, usize)> {
    let whole = plan.compute(bars, BAR_SECONDS).unwrap();
    places.par_iter().find_map_first(|&n| {
        for later in [cut(bars, n), altered(bars, n)] {
            let part = plan.compute(&later, BAR_SECONDS).unwrap();
            for (place, feature) in plan.features.iter().enumerate() {
                let (a, b) = (bits(&whole.columns[place], n), bits(&part.columns[place], n));
                if let Some(row) = (0..n).find(|&row| a[row] != b[row]) {
                    return Some((feature.column.clone(), row));
                }
            }
        }
        None
    })
}

#[test]
fn no_feature_of_core_looks_ahead() {
    let bars = bars(12);
    let plan = Plan::new(specification::parse("core", true).unwrap());
    assert_eq!(look_ahead(&plan, &bars, &places(&bars)), None);
}

#[test]
fn no_feature_of_the_catalogue_looks_ahead() {
    let bars = bars(8);
    let all: Vec<&str> = catalogue::all().iter().map(|definition| definition.name.as_str()).collect();
    let plan = Plan::new(specification::parse(&all.join(","), true).unwrap());
    let places: Vec<usize> = places(&bars).into_iter().step_by(4).collect();
    assert_eq!(look_ahead(&plan, &bars, &places), None);
}

#[test]
fn a_transform_of_each_kind_does_not_look_ahead() {
    let bars = bars(4);
    let text = "rsi@lag:2,rsi@diff:3,rsi@zscore:20,rsi@clip:40:60,sma@per_close,sma@from_close@lag";
    let plan = Plan::new(specification::parse(text, true).unwrap());
    assert_eq!(look_ahead(&plan, &bars, &places(&bars)), None);
}

#[test]
fn a_planted_cheat_is_caught() {
    let centred = Definition {
        origin: catalogue::Origin::Own(|frame, _| {
            let close = &frame.bars.close;
            let value = |row: usize| close[row.saturating_sub(1)].max(close[(row + 1).min(close.len() - 1)]);
            vec![(0..close.len()).map(value).collect()]
        }),
        ..catalogue::find("kmid").unwrap().clone()
    };
    let feature = Feature {
        column: "cheat".into(),
        definition: Box::leak(Box::new(centred)),
        parameters: Vec::new(),
        output: 0,
        transforms: Vec::new(),
    };
    let bars = bars(4);
    assert_eq!(look_ahead(&Plan::new(vec![feature]), &bars, &[100]), Some(("cheat".into(), 99)));
}

/// Every row after its lookback must hold a number, and the lookback must be the one that is said.
fn check_finite(specification: &str, bars: &Bars, is_intraday: bool) {
    let plan = Plan::new(specification::parse(specification, is_intraday).unwrap());
    let bar_seconds = if is_intraday { BAR_SECONDS } else { 86_400 };
    let computed = plan.compute(bars, bar_seconds).unwrap();
    for (place, feature) in plan.features.iter().enumerate() {
        assert_eq!(computed.later_nulls[place], 0, "{} has nulls after its lookback", feature.column);
        let first_session = bars.session.iter().take_while(|&&session| session == bars.session[0]).count();
        let said = feature.lookback().unwrap_or(first_session);
        assert_eq!(computed.leading_nulls[place], said, "{}", feature.column);
    }
}

#[test]
fn core_has_a_value_in_every_row_after_its_lookback() {
    check_finite("core", &bars(10), true);
    let flat = |mut bars: Bars, volume: f64| {
        let n = bars.len();
        for column in [&mut bars.open, &mut bars.high, &mut bars.low, &mut bars.close] {
            *column = vec![100.05; n];
        }
        bars.volume = vec![volume; n];
        bars
    };
    check_finite("core", &flat(bars(10), 0.0), true);
    check_finite("core", &flat(bars(10), 5.0), true);
    let mut half_flat = flat(bars(10), 0.0);
    let moving = bars(10);
    let n = moving.len() / 2;
    half_flat.close[n..].copy_from_slice(&moving.close[n..]);
    half_flat.high[n..].copy_from_slice(&moving.high[n..]);
    half_flat.low[n..].copy_from_slice(&moving.low[n..]);
    check_finite("core", &half_flat, true);
    let mut back = moving.clone();
    back.close[n..].fill(100.0);
    back.open[n..].fill(100.0);
    back.high[n..].fill(100.0);
    back.low[n..].fill(100.0);
    back.volume[n..].fill(0.0);
    check_finite("core", &back, true);
}

#[test]
fn core_has_a_value_in_every_row_of_daily_bars() {
    let mut daily = bars(10);
    daily.session = (0..daily.len() as i32).collect();
    daily.ts = (0..daily.len() as i64).map(|day| day * 86_400_000_000).collect();
    check_finite("core", &daily, false);
}

#[test]
fn core_is_about_forty_features_of_little_memory() {
    let features = specification::parse("core", true).unwrap();
    assert!((38..=46).contains(&features.len()), "{} features", features.len());
    let longest = features.iter().filter_map(Feature::lookback).max().unwrap();
    assert!(longest <= BARS_PER_SESSION, "the longest lookback is {longest} bars");
}
