//! What a policy wants to hold, bar by bar: an evaluation's episode, printed instead of judged.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use cli::UsageError;
use wire::spec::{Days, Market};
use wire::{Client, Open, Range};

use crate::judgement::history::SymbolTrace;
use crate::judgement::play::{likeliest, play, time_zone};
use crate::networks::learner::Policy;
use crate::report::words::local_time;
use crate::training::stop::Stop;
use crate::training::window;

/// The days that `text` names: `test`, `validation`, `train`, `all`, or dates as `2026-01-01..2026-01-31`.
///
/// # Errors
/// If it names none, or days that the server does not have.
pub fn days(text: &str, market: &Market) -> Result<Range> {
    let kept = |days: Option<Days>, range: Range, flag: &str| match days {
        Some(_) => Ok(range),
        None => {
            bail!("the server keeps no {text} days apart (give envpool {flag} 30, or choose another --range)")
        }
    };
    let dates = market.calendar.len() as u32;
    match text {
        "test" => kept(market.test, Range::Test, "--test-days"),
        "validation" => kept(market.validation, Range::Validation, "--validation-days"),
        "train" => Ok(Range::Train),
        "all" => Ok(Range::Sessions { first: 0, last: dates.saturating_sub(1) }),
        _ => {
            if !text.contains("..") {
                let words = "takes test, validation, train, all, or dates as 2026-01-01..2026-01-31";
                return Err(UsageError(format!("--range {words}, not {text:?}")).into());
            }
            Ok(window::range(window::dates(text, market)?))
        }
    }
}

/// Lets `learner` play `range` of `market` with an account that goes on past the last bar; the lines of a CSV
/// file with what it wants to hold after each bar, or only after each symbol's last.
///
/// # Errors
/// If the server refuses or is gone, or the device fails.
pub fn targets(
    client: &mut Client,
    market: &Market,
    learner: &mut dyn Policy,
    range: Range,
    only_last: bool,
) -> Result<String> {
    let space = client.spec().action.clone();
    let open = Open { liquidate_at_end: false, ..Open::evaluation(market.symbols.len() as u32, range) };
    let traces = play(client, market, &open, &mut likeliest(&space, learner), &Stop::never())?;
    Ok(csv(&traces, &market.timezone, only_last))
}

fn csv(traces: &[SymbolTrace], timezone: &str, only_last: bool) -> String {
    let zone = time_zone(timezone);
    let mut lines: Vec<_> = traces
        .iter()
        .flat_map(|trace| {
            let skipped = if only_last { trace.rows.len().saturating_sub(1) } else { 0 };
            // A ruined account holds nothing any more.
            trace.rows[skipped..].iter().map(|row| (row.ts, &trace.symbol, row.target.unwrap_or(0.0)))
        })
        .collect();
    // Stable: symbols stay in their order within a bar.
    lines.sort_by_key(|line| line.0);
    let mut text = String::from("time,symbol,target\n");
    for (ts, symbol, target) in lines {
        let _ = writeln!(text, "{},{symbol},{target}", local_time(ts, &zone));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judgement::history::TraceRow;
    use crate::report::summary::tests::market;

    #[test]
    fn days_are_named_by_their_part_or_by_dates() {
        // 1, 2 and 5 January 2026; the last is held out.
        let market = market();
        let of = |text: &str| days(text, &market);
        assert_eq!(of("test").unwrap(), Range::Test);
        assert_eq!(of("all").unwrap(), Range::Sessions { first: 0, last: 2 });
        assert_eq!(of("2026-01-02..2026-01-31").unwrap(), Range::Sessions { first: 1, last: 2 });
        assert_eq!(of("2026-01-01..2026-01-01").unwrap(), Range::Sessions { first: 0, last: 0 });
        assert!(of("validation").unwrap_err().to_string().contains("--validation-days"));
        assert!(of("2026-01-03..2026-01-04").unwrap_err().to_string().contains("no trading day"));
        for wrong in ["2026-1-3..2026-01-04", "yesterday", "2026-01-01"] {
            assert!(of(wrong).unwrap_err().is::<UsageError>(), "{wrong}");
        }
    }

    #[test]
    fn lines_are_in_the_order_of_time_and_the_last_ones_are_each_symbols_own() {
        let row = |minute: i64, target| TraceRow { ts: 60_000_000 * minute, target, ..TraceRow::default() };
        let trace =
            |symbol: &str, rows| SymbolTrace { symbol: symbol.into(), rows, ..SymbolTrace::default() };
        let traces = [
            trace("B", vec![row(0, Some(1.0)), row(5, Some(-0.5))]),
            trace("A", vec![row(0, Some(0.0)), row(3, None)]),
        ];
        let all = "time,symbol,target\n1970-01-01 05:30:00,B,1\n1970-01-01 05:30:00,A,0\n\
                   1970-01-01 05:33:00,A,0\n1970-01-01 05:35:00,B,-0.5\n";
        assert_eq!(csv(&traces, "+05:30", false), all);
        let last = "time,symbol,target\n1970-01-01 05:33:00,A,0\n1970-01-01 05:35:00,B,-0.5\n";
        assert_eq!(csv(&traces, "+05:30", true), last);
    }
}
