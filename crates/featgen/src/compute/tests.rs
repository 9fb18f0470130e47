//! No feature looks ahead, and none loses its value on odd but possible bars.

use std::sync::Arc;

use market::Bars;
use market::simulate::{BARS_PER_SESSION, Simulation};

use super::*;
use crate::catalogue::{self, Definition, Others};
use crate::{specification, verify};

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

/// The first feature of the plan that looks ahead, with the row that shows it; every third place is enough here.
fn first_look_ahead(plan: &Plan, bars: &Bars, every: usize) -> Option<(String, usize)> {
    let others: Others = [("OTHER".to_owned(), Arc::new(bars.clone()))].into();
    let frame = Frame { bars, bar_seconds: BAR_SECONDS, others: &others };
    let places: Vec<usize> = verify::places(bars, 40, 1).into_iter().step_by(every).collect();
    let found = verify::look_ahead(plan, &frame, &places, &|| true).unwrap();
    found.map(|found| (found.feature, found.row))
}

#[test]
fn no_feature_of_core_looks_ahead() {
    let bars = bars(12);
    let plan = Plan::new(specification::parse("core", true).unwrap());
    assert_eq!(first_look_ahead(&plan, &bars, 1), None);
}

#[test]
fn no_feature_of_the_catalogue_looks_ahead() {
    let bars = bars(8);
    let entry = |definition: &Definition| {
        definition.name.clone() + if definition.is_pair() { ":OTHER:30" } else { "" }
    };
    let all: Vec<String> = catalogue::all().iter().map(entry).collect();
    let plan = Plan::new(specification::parse(&all.join(","), true).unwrap());
    assert!(plan.features.len() > 300, "{} features", plan.features.len());
    assert_eq!(first_look_ahead(&plan, &bars, 4), None);
}

#[test]
fn a_transform_of_each_kind_does_not_look_ahead() {
    let bars = bars(4);
    let text = "rsi@lag:2,rsi@diff:3,rsi@pct:3,rsi@log,rsi@zscore:20,rsi@rank:20,rsi@quantile:5:20,rsi@clip:40:60,\
                sma@per_close,sma@from_close@lag,macd@per_atr:14";
    for transform in crate::transform::TRANSFORMS {
        assert!(text.contains(&format!("@{}", transform.name)), "{} is not tried", transform.name);
    }
    let plan = Plan::new(specification::parse(text, true).unwrap());
    assert_eq!(first_look_ahead(&plan, &bars, 1), None);
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
        other: None,
        output: 0,
        transforms: Vec::new(),
    };
    let bars = bars(4);
    let frame = Frame::alone(&bars, BAR_SECONDS);
    let found = verify::look_ahead(&Plan::new(vec![feature]), &frame, &[100], &|| true).unwrap().unwrap();
    assert_eq!((found.feature.as_str(), found.row, found.kept), ("cheat", 99, 100));
}

/// Every row after its lookback must hold a number, and the lookback must be the one that is said.
fn check_finite(specification: &str, bars: &Bars, is_intraday: bool) {
    let plan = Plan::new(specification::parse(specification, is_intraday).unwrap());
    let bar_seconds = if is_intraday { BAR_SECONDS } else { 86_400 };
    let computed = plan.compute(&Frame::alone(bars, bar_seconds)).unwrap();
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
