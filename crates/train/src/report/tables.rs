//! The tables that a run leaves for spreadsheets.

use std::fmt::Write as _;

use wire::spec::Market;

use crate::judgement::evaluate::Evaluation;
use crate::judgement::play::time_zone;
use crate::report::words::{local_date, local_time};

/// `trades.csv`: what was bought and sold, in local time and money.
pub fn trades(market: &Market, evaluation: &Evaluation) -> String {
    let zone = time_zone(&market.timezone);
    // A fill at a bar's open happens a bar before the bar's close is known. When the session of a daily bar
    // opens is not in the data, so that only its date is told.
    let bar_micros = i64::from(market.bar_seconds) * 1_000_000;
    let time = |ts: i64, at_open: bool| match (at_open, market.bar_seconds < 86_400) {
        (true, true) => local_time(ts - bar_micros, &zone),
        (true, false) => local_date(ts, &zone),
        (false, _) => local_time(ts, &zone),
    };
    let currency = market.rules.currency.to_lowercase();
    let mut csv = format!(
        "symbol,side,entry_time,exit_time,shares,entry_price,exit_price,gross_{currency},costs_{currency},net_{currency},bars\n"
    );
    for trade in &evaluation.policy.trades {
        let _ = writeln!(
            csv,
            "{},{},{},{},{},{:.4},{:.4},{:.2},{:.2},{:.2},{}",
            trade.symbol,
            if trade.short { "short" } else { "long" },
            time(trade.entry_ts, trade.entry_at_open),
            time(trade.exit_ts, trade.exit_at_open),
            trade.shares,
            trade.entry_price,
            trade.exit_price,
            trade.gross,
            trade.costs,
            trade.net,
            trade.bars
        );
    }
    csv
}

/// `positions.csv`: every account, bar by bar.
pub fn positions(market: &Market, evaluation: &Evaluation) -> String {
    let zone = time_zone(&market.timezone);
    let currency = market.rules.currency.to_lowercase();
    let mut csv = format!(
        "time,symbol,close,shares,position_{currency},equity_{currency},traded_shares,costs_{currency},target\n"
    );
    for trace in &evaluation.policy.traces {
        for row in &trace.rows {
            let _ = writeln!(
                csv,
                "{},{},{},{},{:.2},{:.2},{},{:.2},{}",
                local_time(row.ts, &zone),
                trace.symbol,
                row.close,
                row.shares,
                row.shares * row.close,
                row.equity,
                row.at_open.shares.abs() + row.at_close.shares.abs(),
                row.costs,
                row.target.map_or(String::new(), |target| target.to_string())
            );
        }
    }
    csv
}
