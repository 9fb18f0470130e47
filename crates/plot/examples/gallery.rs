//! One of each chart on one page, to look at after a change:
//! `cargo run --release -p plot --example gallery > gallery.html`.

use std::io::Write;

use plot::{Bar, Bars, HeatMap, LineChart, PlotError, Series, Style, Values, XAxis};

/// 2024-05-17 09:20 in India.
const START_S: f64 = 1_715_917_800.0;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let charts = [equity()?, drawdown()?, learning()?, cores()?, time()?];
    let page = charts.map(|svg| format!("<p>{svg}</p>\n")).concat();
    write!(std::io::stdout(), "<!doctype html><meta charset=\"utf-8\"><title>Gallery</title>\n{page}")?;
    Ok(())
}

/// A walk that looks like a price, of 30 sessions of 75 bars.
fn walk(step: f64, phase: f64) -> Vec<f64> {
    let change =
        |i: usize| ((i as f64 * 0.9 + phase).sin() + (i as f64 * 0.013 + phase).sin() + step) * 0.0011;
    (0..2250).scan(1.0, |equity, i| Some(std::mem::replace(equity, *equity * (1.0 + change(i))))).collect()
}

fn points(values: &[f64]) -> Vec<(f64, f64)> {
    values.iter().enumerate().map(|(i, value)| (i as f64, *value)).collect()
}

fn labels() -> XAxis {
    let day = |i: i32| format!("{:02} {}", (i / 75) % 30 + 1, if i < 1300 { "May" } else { "Jun" });
    XAxis::Labels((0..2250).map(day).collect())
}

fn equity() -> Result<String, PlotError> {
    let line =
        |name: &str, values: &[f64], style| Series { name: name.into(), points: points(values), style };
    LineChart {
        title: "BPCL: equity on held-out days".into(),
        x: labels(),
        y_label: "equity, start = 1".into(),
        series: vec![
            line("policy", &walk(0.02, 0.0), Style::Solid),
            line("buy and hold", &walk(-0.02, 2.0), Style::Dashed),
            line("random", &walk(-0.1, 4.0), Style::Dashed),
            line("flat", &[1.0; 2250], Style::Dashed),
        ],
        ..LineChart::default()
    }
    .to_svg()
}

fn drawdown() -> Result<String, PlotError> {
    let mut peak = f64::MIN;
    let below = walk(0.0, 0.0).into_iter().map(|equity| {
        peak = peak.max(equity);
        equity / peak - 1.0
    });
    let points = below.enumerate().map(|(i, v)| (START_S + i as f64 * 300.0 * 288.0 / 75.0, v)).collect();
    LineChart {
        title: "Drawdown".into(),
        x: XAxis::Time { utc_offset_seconds: 19_800 },
        y_label: "below the highest equity so far".into(),
        y_values: Values::Percent,
        series: vec![Series { name: "policy".into(), points, style: Style::FillToZero }],
        height_px: 180,
    }
    .to_svg()
}

fn learning() -> Result<String, PlotError> {
    let points =
        (0..400).map(|i| f64::from(i) * 4096.0).map(|x| (x, (x / 3e5).tanh() - 0.4 + (x / 9e3).sin() * 0.05));
    LineChart {
        title: "Episode return while learning".into(),
        x: XAxis::Number { label: "environment steps".into() },
        y_label: "mean return".into(),
        series: vec![Series { name: "return".into(), points: points.collect(), style: Style::Solid }],
        ..LineChart::default()
    }
    .to_svg()
}

fn cores() -> Result<String, PlotError> {
    let busy = |t: f64, core: usize| ((t / (3.0 + core as f64)).sin() * 0.5 + 0.5).powf(0.5);
    let columns =
        (1..240).map(|i| f64::from(i) * 0.5).map(|t| (t, (0..16).map(|core| busy(t, core)).collect()));
    HeatMap {
        title: "Cores during make train".into(),
        rows: (0..16).map(|core| format!("core {core}")).collect(),
        x: XAxis::Number { label: "seconds".into() },
        columns: columns.collect(),
    }
    .to_svg()
}

fn time() -> Result<String, PlotError> {
    let bar = |name: &str, lengths: &[f64]| Bar { name: name.into(), lengths: lengths.to_vec() };
    Bars {
        title: "Where the time went".into(),
        label: "seconds".into(),
        parts: ["environment", "inference", "update", "checkpoint", "waiting"].map(String::from).to_vec(),
        bars: vec![
            bar("this run", &[12.1, 7.4, 18.0, 0.4, 3.1]),
            bar("1 thread", &[22.0, 9.0, 27.0, 0.4, 1.0]),
        ],
    }
    .to_svg()
}
