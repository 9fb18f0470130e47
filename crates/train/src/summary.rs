//! What a person reads at the end of a run: at most twenty lines, the verdict first.

use std::fmt::Write as _;
use std::path::Path;

use crate::report::{Report, Verdict, days_in_words, percent, thousands};
use crate::statistics::Statistics;

/// The summary of `report`, whose page lies at `page`.
pub fn of(report: &Report, page: Option<&Path>) -> String {
    let mut text = report.headline() + "\n";
    let mut line = |name: &str, words: String| {
        let _ = writeln!(text, "{name:<11} {words}");
    };
    if let Some(market) = report.market() {
        let symbols: Vec<&str> = market.symbols.iter().map(|symbol| symbol.name.as_str()).collect();
        let symbols =
            if symbols.len() > 6 { format!("{} symbols", symbols.len()) } else { symbols.join(", ") };
        line(
            "data",
            format!("{symbols}, {} bars, {}", bar_in_words(market.bar_seconds), market.provenance.label),
        );
        let held_out = market.test.map_or("nothing".into(), |days| days_in_words(market, days));
        line("held out", format!("{held_out}; trained on {}", days_in_words(market, market.train)));
        let rules = &market.rules;
        let also = [(rules.short, ", shorts"), (rules.square_off, ", square-off")];
        let also: String = also.iter().filter(|(holds, _)| *holds).map(|(_, words)| *words).collect();
        line("rules", format!("{}, fills at the {}{also}", rules.costs, rules.fill.replace('-', " ")));
    }
    if let Verdict::Market(_, evaluation) = &report.verdict {
        let _ = writeln!(
            text,
            "{:<15} {:>9} {:>7} {:>9} {:>7} {:>9} {:>9}",
            "", "return", "Sharpe", "drawdown", "trades", "turnover", "costs"
        );
        for outcome in [&evaluation.policy].into_iter().chain(&evaluation.baselines) {
            let _ = writeln!(text, "{}", table_row(outcome.name, &outcome.statistics));
        }
    }
    let mut line = |name: &str, words: String| {
        let _ = writeln!(text, "{name:<11} {words}");
    };
    if let Some(training) = &report.training {
        let config = &training.config;
        let threads = config.update_threads.max(config.inference_threads);
        line(
            "speed",
            format!(
                "{} steps a second: {} steps in {:.1} s on {}, {threads} thread{}",
                thousands(training.steps_per_second() as u64),
                thousands(training.timesteps),
                training.seconds,
                config.device,
                if threads == 1 { "" } else { "s" }
            ),
        );
        let total = training.time_split.total();
        let parts = training.time_split.parts();
        let parts: Vec<String> =
            parts.iter().map(|(name, seconds)| format!("{name} {:.1} %", 100.0 * seconds / total)).collect();
        line("time", parts.join(", "));
    }
    if let Some(page) = page {
        line("report", page.display().to_string());
    }
    line("checkpoint", report.checkpoint.clone());
    text
}

fn table_row(name: &str, statistics: &Statistics) -> String {
    let sharpe = statistics.sharpe.map_or("–".into(), |sharpe| format!("{sharpe:.2}"));
    format!(
        "{name:<15} {:>9} {sharpe:>7} {:>9} {:>7} {:>8.1}x {:>9}",
        percent(statistics.total_return),
        format!("{:.2} %", 100.0 * statistics.max_drawdown),
        statistics.trades,
        statistics.turnover,
        format!("{:.2} %", 100.0 * statistics.costs_fraction),
    )
}

/// The length of a bar in words.
pub fn bar_in_words(seconds: u32) -> String {
    match seconds {
        86_400 => "daily".into(),
        s if s % 3600 == 0 => format!("{}-hour", s / 3600),
        s if s % 60 == 0 => format!("{}-minute", s / 60),
        s => format!("{s}-second"),
    }
}
