//! `report.html`: one file that opens without a network, with everything inline.

use std::fmt::Write as _;

use wire::spec::Market;

use crate::judgement::evaluate::{Evaluation, Outcome};
use crate::judgement::statistics::Statistics;
use crate::report::Report;
use crate::report::charts::{self, Line};
use crate::report::summary::bar_in_words;
use crate::report::words::{days_in_words, percent, thousands};

const STYLE: &str = "\
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 940px; margin: 2em auto; \
padding: 0 1em }
h1 { font-size: 1.4em } h2 { font-size: 1.15em; margin-top: 2em }
p.label { background: #fff3cd; border-left: 4px solid #d39e00; padding: .5em .8em }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; font-size: .9em }
th, td { padding: .25em .5em; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left }
td { white-space: nowrap } td.text { text-align: left; white-space: normal; overflow-wrap: anywhere }
svg { max-width: 100%; height: auto } pre { background: #f6f6f6; padding: 1em; overflow-x: auto }
@media (max-width: 700px) { .chart { overflow-x: auto } .chart svg { min-width: 700px } }
@media (prefers-color-scheme: dark) {
body { color: #ddd; background: #17191c } p.label { background: #3d3310; border-color: #d39e00 }
th, td { border-color: #3a3d42 } pre { background: #22252a } svg { border-radius: 6px; margin-bottom: 8px } a { color: #8ab4f8 }
}
";

/// The shortest span that is scaled to a year.
const SHORTEST_SPAN_YEARS: f64 = 0.25;

/// Metrics that are drawn where an algorithm has them: title, unit, name.
const CURVES: [(&str, &str, &str); 3] = [
    ("Mean return of the latest 100 episodes", "return", "charts/episodic_return"),
    ("Entropy of the policy", "nats", "losses/entropy"),
    ("Explained variance of the returns", "share", "losses/explained_variance"),
];

/// The page of `report` with the learning curves in `metrics`, and a picture of the cores.
pub fn of(report: &Report, metrics: &[Line], cores: Option<&str>) -> String {
    let mut page = head(&report.headline());
    if let Some(market) = report.market() {
        let _ = writeln!(page, "<p class=\"label\">Data: {}</p>", escaped(&market.provenance.label));
        page.push_str(&facts(report, market));
    }
    if let (Some(market), Some(evaluation)) = (report.market(), report.evaluation()) {
        page.push_str("<h2>Held-out days</h2>\n");
        page.push_str(&table(evaluation, &report.cost_kinds, market));
        page.push_str(&chance(report, evaluation));
        page.push_str(&charts::equity(market, evaluation));
        page.push_str(&charts::drawdown(market, evaluation));
        page.push_str(&charts::positions_on_the_price(market, evaluation));
        page.push_str(&months(evaluation));
        page.push_str(NOTES);
    }
    if !metrics.is_empty() {
        page.push_str("<h2>Learning</h2>\n");
        for (title, y_label, name) in CURVES {
            page.push_str(&charts::curve(title, y_label, metrics, name));
        }
    }
    if let Some(validation) = report.training.as_ref().and_then(|training| training.validation.as_ref()) {
        page.push_str(&charts::validation(validation));
    }
    if let Some(training) = &report.training {
        let _ = writeln!(
            page,
            "<h2>Time</h2>\n<p>{} steps in {:.1} s: {} steps a second. The longest stall for a checkpoint was \
             {:.2} ms.</p>",
            thousands(training.timesteps),
            training.seconds,
            thousands(training.steps_per_second() as u64),
            training.longest_checkpoint_stall_ms
        );
        page.push_str(&charts::time(&training.time_split));
        page.push_str(&cores.map_or(String::new(), charts::framed));
        let config = training.config.to_toml().unwrap_or_default();
        let _ = writeln!(page, "<h2>Configuration</h2>\n<pre>{}</pre>", escaped(&config));
    }
    page.push_str("</body></html>\n");
    page
}

/// The beginning of a page with that headline.
pub fn head(headline: &str) -> String {
    let headline = escaped(headline);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{headline}</title>\n\
         <style>\n{STYLE}</style></head><body>\n<h1>{headline}</h1>\n"
    )
}

const NOTES: &str = "<p>Returns are after all costs. Sharpe and Sortino ratios come from daily returns, \
annualised by the trading days that the data has in a year, against a risk-free rate of 0. Buy and hold buys \
once at the first open, pays delivery costs, and sells at the end. Random changes its position as often as \
makes its turnover nearly that of the policy. What is scaled to a year is left out for less than a quarter of one.</p>\n";

fn facts(report: &Report, market: &Market) -> String {
    let names: Vec<&str> = market.symbols.iter().map(|symbol| symbol.name.as_str()).collect();
    let rules = &market.rules;
    let judged = if report.seen_days() == 0 { "Held out" } else { "Judged on" };
    let facts = [
        ("Symbols", names.join(", ")),
        ("Bars", format!("{}, {:.0} a year", bar_in_words(market.bar_seconds), market.bars_per_year)),
        ("Trained on", report.learnt_days()),
        (judged, market.test.map_or("nothing".into(), |days| days_in_words(market, days))),
        ("Costs", format!("{}, slippage {} basis points", rules.costs, rules.slippage_bps)),
        (
            "Rules",
            format!(
                "fills at the {}, shorts {}, square-off {}, capital {} {} a symbol",
                rules.fill.replace('-', " "),
                if rules.short { "allowed" } else { "not allowed" },
                if rules.square_off { "at each session's last bar" } else { "never" },
                thousands(rules.capital as u64),
                rules.currency
            ),
        ),
        ("Features", market.feature_specification.clone()),
        ("Data digest", market.data_digest.clone()),
    ];
    let rows = facts
        .iter()
        .map(|(name, value)| format!("<tr><td>{name}</td><td class=\"text\">{}</td></tr>\n", escaped(value)));
    format!("<table>\n{}</table>\n", rows.collect::<String>())
}

fn table(evaluation: &Evaluation, cost_kinds: &[String], market: &Market) -> String {
    let currency = &market.rules.currency;
    let outcomes: Vec<&Outcome> = [&evaluation.policy].into_iter().chain(&evaluation.baselines).collect();
    let mut html = String::from("<div class=\"wide\"><table>\n<tr><th></th>");
    for outcome in &outcomes {
        let _ = write!(html, "<th>{}</th>", escaped(outcome.name));
    }
    html.push_str("</tr>\n");
    let mut row = |name: &str, value: &dyn Fn(&Statistics) -> String| {
        let cells =
            outcomes.iter().map(|outcome| format!("<td>{}</td>", escaped(&value(&outcome.statistics))));
        let _ = writeln!(html, "<tr><td>{}</td>{}</tr>", escaped(name), cells.collect::<String>());
    };
    let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2}"));
    let share = |value: Option<f64>| value.map_or("–".into(), percent);
    row("Total return", &|s| percent(s.total_return));
    // A few weeks taken to the power of a year say nothing.
    let is_long = |s: &Statistics| s.bars as f64 >= SHORTEST_SPAN_YEARS * market.bars_per_year;
    row("A year (CAGR)", &|s| share(s.cagr.filter(|_| is_long(s))));
    row("Sharpe", &|s| number(s.sharpe));
    row("Sortino", &|s| number(s.sortino));
    row("Calmar", &|s| number(s.calmar.filter(|_| is_long(s))));
    row("Deepest drawdown", &|s| format!("{:.2} %", 100.0 * s.max_drawdown));
    row("Trades", &|s| s.trades.to_string());
    row("Trades won", &|s| s.win_rate.map_or("–".into(), |rate| format!("{:.1} %", 100.0 * rate)));
    row("Turnover (× capital)", &|s| format!("{:.1}", s.turnover));
    row("Exposure", &|s| format!("{:.1} %", 100.0 * s.exposure));
    row(&format!("Costs ({currency})"), &|s| format!("{:.0}", s.costs));
    for (i, kind) in cost_kinds.iter().enumerate() {
        row(&format!("· {kind}"), &|s| {
            s.costs_by_kind.get(i).map_or("–".into(), |(_, cost)| format!("{cost:.0}"))
        });
    }
    row(&format!("Final equity ({currency})"), &|s| format!("{:.0}", s.final_equity));
    html + "</table></div>\n"
}

/// What chance does to the figures above.
fn chance(report: &Report, evaluation: &Evaluation) -> String {
    let mut html = String::new();
    if let Some(words) = report.difference_in_words() {
        let _ = write!(html, "<p><b>Difference of total return: {}.</b>", escaped(&words));
    }
    if let Some(difference) = &evaluation.difference {
        let log = difference.mean_daily_log_return;
        let basis_points = |value: f64| format!("{:+.2}", 1e4 * value);
        let _ = write!(
            html,
            " Of mean daily log returns it is {} basis points, {} to {}. The interval is a stationary bootstrap \
             of the days in pairs, in blocks of {:.1} days on average; it holds if days to come are like these.",
            basis_points(log.estimate),
            basis_points(log.low),
            basis_points(log.high),
            difference.block_days
        );
    }
    html.push_str("</p>\n");
    if let Some(deflated) = &report.deflated_sharpe {
        let tries = if deflated.trials == 1 {
            "above 0, with no other run beside this one".to_owned()
        } else {
            format!("above what the best of {} runs on these data shows by chance", deflated.trials)
        };
        let probability = 100.0 * deflated.probability;
        let _ = writeln!(
            html,
            "<p>Deflated Sharpe ratio: with a probability of {probability:.0} % the true ratio is {tries}.</p>"
        );
    }
    html
}

fn months(evaluation: &Evaluation) -> String {
    let outcomes: Vec<&Outcome> = [&evaluation.policy].into_iter().chain(&evaluation.baselines).collect();
    let longest = outcomes.iter().map(|outcome| &outcome.statistics.monthly_returns).max_by_key(|m| m.len());
    let names = outcomes.iter().map(|outcome| format!("<th>{}</th>", escaped(outcome.name)));
    let mut html = format!(
        "<h2>Month by month</h2>\n<div class=\"wide\"><table>\n<tr><th></th>{}</tr>\n",
        names.collect::<String>()
    );
    for (month, _) in longest.into_iter().flatten() {
        let cells = outcomes.iter().map(|outcome| {
            let found = outcome.statistics.monthly_returns.iter().find(|(other, _)| other == month);
            format!("<td>{}</td>", found.map_or("–".into(), |(_, value)| percent(*value)))
        });
        let _ = writeln!(html, "<tr><td>{month}</td>{}</tr>", cells.collect::<String>());
    }
    html + "</table></div>\n"
}

/// `text` as it may stand in a page.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
