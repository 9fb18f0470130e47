//! The charts of a report, each as SVG to stand in a page.

use std::fmt::Write as _;

use plot::{Bar, Bars, LineChart, Series, Style, Values, XAxis};
use serde_json::{Map, Value};
use wire::spec::Market;

use crate::judgement::evaluate::{Evaluation, Outcome};
use crate::judgement::play::time_zone;
use crate::judgement::statistics::drawdowns;
use crate::report::TimeSplit;
use crate::report::page::escaped;
use crate::report::words::local_date;
use crate::training::validation::Validation;

/// Symbols whose positions are drawn; a page of a hundred charts is read by nobody.
const MOST_SYMBOLS_DRAWN: usize = 6;

/// A line of `metrics.jsonl`.
pub type Line = Map<String, Value>;

/// The return of every account since the first held-out bar.
pub fn equity(market: &Market, evaluation: &Evaluation) -> String {
    let outcomes = [&evaluation.policy].into_iter().chain(&evaluation.baselines);
    let series = outcomes.map(|outcome| Series {
        name: outcome.name.to_owned(),
        points: points(evaluation, outcome, |equity, capital| {
            equity.iter().map(|equity| equity / capital - 1.0).collect()
        }),
        style: if outcome.key == "policy" { Style::Solid } else { Style::Dashed },
    });
    drawn(&LineChart {
        title: "Return since the first held-out bar, after costs".into(),
        x: axis(market, evaluation),
        y_label: "return".into(),
        y_values: Values::Percent,
        series: series.collect(),
        ..LineChart::default()
    })
}

/// How far the policy stood below its peak, and buy and hold.
pub fn drawdown(market: &Market, evaluation: &Evaluation) -> String {
    let fall =
        |equity: &[f64], capital: f64| drawdowns(capital, equity).into_iter().map(|fall| -fall).collect();
    let policy = &evaluation.policy;
    let own =
        Series { name: "policy".into(), points: points(evaluation, policy, fall), style: Style::FillToZero };
    let held = evaluation.baseline("buy_and_hold").map(|outcome| Series {
        name: outcome.name.to_owned(),
        points: points(evaluation, outcome, fall),
        style: Style::Dashed,
    });
    drawn(&LineChart {
        title: "Drawdown".into(),
        x: axis(market, evaluation),
        y_label: "below the peak".into(),
        y_values: Values::Percent,
        series: [own].into_iter().chain(held).collect(),
        height_px: 220,
    })
}

/// What the policy held, below the price that it held it at, symbol by symbol.
pub fn positions_on_the_price(market: &Market, evaluation: &Evaluation) -> String {
    let zone = time_zone(&market.timezone);
    let mut html = String::from("<h2>Positions on the price</h2>\n");
    for trace in evaluation.policy.traces.iter().take(MOST_SYMBOLS_DRAWN) {
        let axis = || XAxis::Labels(trace.rows.iter().map(|row| local_date(row.ts, &zone)).collect());
        let chart =
            |title: String, y_label: String, style: Style, points: Vec<(f64, f64)>, height_px: u32| {
                let y_values = if style == Style::FillToZero { Values::Percent } else { Values::Plain };
                let series = vec![Series { name: y_label.clone(), points, style }];
                drawn(&LineChart { title, x: axis(), y_label, y_values, series, height_px })
            };
        let places = || (0..).map(f64::from);
        let closes = places().zip(trace.rows.iter().map(|row| row.close)).collect();
        let held = trace.rows.iter().map(|row| row.shares * row.close / row.equity);
        let held = places().zip(held).collect();
        html += &chart(trace.symbol.clone(), market.rules.currency.clone(), Style::Solid, closes, 220);
        html += &chart("Held by the policy".into(), "share of equity".into(), Style::FillToZero, held, 160);
    }
    let left_out = evaluation.policy.traces.len().saturating_sub(MOST_SYMBOLS_DRAWN);
    if left_out > 0 {
        let _ = writeln!(html, "<p>{left_out} more symbols stand in positions.csv.</p>");
    }
    html
}

/// The bars of the longest account, which every other one is a part of.
fn times(evaluation: &Evaluation) -> Vec<i64> {
    let outcomes = [&evaluation.policy].into_iter().chain(&evaluation.baselines);
    let longest = outcomes.max_by_key(|outcome| outcome.history.rows.len());
    longest.map(|outcome| outcome.history.rows.iter().map(|row| row.ts).collect()).unwrap_or_default()
}

fn axis(market: &Market, evaluation: &Evaluation) -> XAxis {
    let zone = time_zone(&market.timezone);
    let label = |ts: i64| local_date(ts, &zone);
    XAxis::Labels(times(evaluation).into_iter().map(label).collect())
}

fn points(
    evaluation: &Evaluation,
    outcome: &Outcome,
    values: impl Fn(&[f64], f64) -> Vec<f64>,
) -> Vec<(f64, f64)> {
    let times = times(evaluation);
    let equity: Vec<f64> = outcome.history.rows.iter().map(|row| row.equity).collect();
    let values = values(&equity, outcome.history.capital);
    let place = |ts: i64| times.binary_search(&ts).unwrap_or_else(|place| place) as f64;
    outcome.history.rows.iter().zip(values).map(|(row, value)| (place(row.ts), value)).collect()
}

/// A metric over the training; nothing where there is none of that name.
pub fn curve(title: &str, y_label: &str, metrics: &[Line], name: &str) -> String {
    let number = |line: &Line, key: &str| line.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let points: Vec<_> = metrics.iter().map(|line| (number(line, "step"), number(line, name))).collect();
    if points.iter().all(|(_, value)| value.is_nan()) {
        return String::new();
    }
    drawn(&LineChart {
        title: title.into(),
        x: XAxis::Number { label: "environment steps".into() },
        y_label: y_label.into(),
        series: vec![Series { name: y_label.into(), points, style: Style::Solid }],
        height_px: 200,
        ..LineChart::default()
    })
}

/// What policies earned on the validation days.
pub fn validation(validation: &Validation) -> String {
    let points = validation.scores.iter().map(|score| (score.timesteps as f64, score.total_return)).collect();
    drawn(&LineChart {
        title: "Return on the validation days, which chose the policy".into(),
        x: XAxis::Number { label: "environment steps".into() },
        y_label: "return".into(),
        y_values: Values::Percent,
        series: vec![Series { name: "validation".into(), points, style: Style::Solid }],
        height_px: 200,
    })
}

/// Where the time went.
pub fn time(split: &TimeSplit) -> String {
    let parts = split.parts();
    let chart = Bars {
        title: "Where the time went".into(),
        label: "seconds".into(),
        parts: parts.iter().map(|(name, _)| (*name).to_owned()).collect(),
        bars: vec![Bar {
            name: "training".into(),
            lengths: parts.iter().map(|(_, seconds)| *seconds).collect(),
        }],
    };
    chart.to_svg().map_or_else(|error| not_drawn(&error), |svg| framed(&svg))
}

/// A chart, or a line that says why there is none.
pub fn drawn(chart: &LineChart) -> String {
    chart.to_svg().map_or_else(|error| not_drawn(&error), |svg| framed(&svg))
}

/// A picture in a frame of its own, which a narrow screen scrolls rather than shrinks until nobody can read it.
pub fn framed(svg: &str) -> String {
    format!("<div class=\"chart\">{svg}</div>\n")
}

/// A chart that fails must not cost the page.
fn not_drawn(error: &plot::PlotError) -> String {
    format!("<p>The chart could not be drawn: {}</p>\n", escaped(&error.to_string()))
}
