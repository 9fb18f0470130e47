//! What is said of an account's history: returns, risk, costs. Pure arithmetic, with its conventions here.
//!
//! - The equity before the first bar is the starting capital.
//! - Sharpe and Sortino come from the returns of trading days, annualised by the data's own number of days
//!   a year: bars a year over bars a day. Returns of single bars would hide what a night brings.
//! - The risk-free rate is 0.
//! - A drawdown is measured from close to close of every bar.

use serde::{Deserialize, Serialize};

use crate::history::{History, Trade};

/// What is said of a history. What cannot be computed (the deviation of one day, say) is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Final over initial equity, less 1.
    pub total_return: f64,
    /// The same a year: `(final / initial)^(bars a year / bars) − 1`.
    pub cagr: Option<f64>,
    /// Mean over deviation of daily returns, a year.
    pub sharpe: Option<f64>,
    /// Mean over downside deviation of daily returns, a year.
    pub sortino: Option<f64>,
    /// CAGR over the deepest drawdown.
    pub calmar: Option<f64>,
    /// The deepest fall from a peak, as a fraction of the peak.
    pub max_drawdown: f64,
    /// The fraction of trades that made money after costs.
    pub win_rate: Option<f64>,
    /// Trades: positions opened and closed again.
    pub trades: usize,
    /// Value traded, as a multiple of the starting capital.
    pub turnover: f64,
    /// The mean over bars of the value held, long or short, as a fraction of equity.
    pub exposure: f64,
    /// Costs paid, in money.
    pub costs: f64,
    /// Costs as a fraction of the starting capital.
    pub costs_fraction: f64,
    /// Costs by kind, in money.
    pub costs_by_kind: Vec<(String, f64)>,
    /// Equity at the end, in money.
    pub final_equity: f64,
    /// Bars judged.
    pub bars: usize,
    /// Trading days judged.
    pub days: usize,
}

/// Judges `history` with its `trades`; the data has `bars_per_year`.
pub fn judge(history: &History, trades: &[Trade], cost_kinds: &[String], bars_per_year: f64) -> Statistics {
    let equity: Vec<f64> = history.rows.iter().map(|row| row.equity).collect();
    let initial = history.capital;
    let last = equity.last().copied().unwrap_or(initial);
    let daily = daily_returns(history);
    let days_per_year =
        if equity.is_empty() { 0.0 } else { bars_per_year * daily.len() as f64 / equity.len() as f64 };
    let cagr = (!equity.is_empty() && last > 0.0)
        .then(|| (last / initial).powf(bars_per_year / equity.len() as f64) - 1.0);
    let max_drawdown = drawdowns(initial, &equity).into_iter().fold(0.0, f64::max);
    let costs = total(history.costs_by_kind.iter().copied());
    let won = trades.iter().filter(|trade| trade.net > 0.0).count();
    let held = history.rows.iter().map(|row| (row.held / row.equity).abs()).filter(|held| held.is_finite());
    Statistics {
        total_return: last / initial - 1.0,
        cagr: cagr.filter(|cagr| cagr.is_finite()),
        sharpe: ratio(&daily, deviation(&daily), days_per_year),
        sortino: ratio(&daily, downside_deviation(&daily), days_per_year),
        calmar: cagr.filter(|_| max_drawdown > 0.0).map(|cagr| cagr / max_drawdown),
        max_drawdown,
        win_rate: (!trades.is_empty()).then(|| won as f64 / trades.len() as f64),
        trades: trades.len(),
        turnover: total(history.rows.iter().map(|row| row.traded)) / initial,
        exposure: if equity.is_empty() { 0.0 } else { held.sum::<f64>() / equity.len() as f64 },
        costs,
        costs_fraction: costs / initial,
        costs_by_kind: cost_kinds.iter().cloned().zip(history.costs_by_kind.iter().copied()).collect(),
        final_equity: last,
        bars: equity.len(),
        days: daily.len(),
    }
}

/// How far equity stands below its peak so far, as a fraction of the peak, after each bar.
pub fn drawdowns(initial: f64, equity: &[f64]) -> Vec<f64> {
    let mut peak = initial;
    equity
        .iter()
        .map(|&equity| {
            peak = peak.max(equity);
            1.0 - equity / peak
        })
        .collect()
}

/// The return of each trading day, from the last close before it to its own.
fn daily_returns(history: &History) -> Vec<f64> {
    let mut returns = Vec::new();
    let (mut before, mut rows) = (history.capital, history.rows.iter().peekable());
    while let Some(row) = rows.next() {
        if rows.peek().is_none_or(|next| next.day != row.day) {
            returns.push(row.equity / before - 1.0);
            before = row.equity;
        }
    }
    returns
}

/// The sum from a positive zero: that of nothing would be −0 otherwise, and be printed so.
fn total(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |sum, value| sum + value)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample's standard deviation; `None` for fewer than two values.
fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// The root mean square of what lies below 0 (Sortino and Price 1994).
fn downside_deviation(values: &[f64]) -> Option<f64> {
    let squares: f64 = values.iter().map(|value| value.min(0.0).powi(2)).sum();
    (values.len() > 1).then(|| (squares / values.len() as f64).sqrt())
}

fn ratio(returns: &[f64], deviation: Option<f64>, per_year: f64) -> Option<f64> {
    // Rounding leaves a crumb of deviation in equal returns.
    let deviation = deviation.filter(|deviation| *deviation > 1e-12)?;
    Some(mean(returns) / deviation * per_year.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::HistoryRow;

    /// Four days of two bars, from a capital of 100.
    fn history() -> History {
        let equity = [101.0, 102.0, 99.0, 96.9, 98.0, 101.745, 101.0, 100.72755];
        let row = |(i, &equity): (usize, &f64)| HistoryRow {
            ts: i as i64,
            day: i as i32 / 2,
            equity,
            held: if i < 4 { -0.5 * equity } else { 0.0 },
            traded: 10.0,
        };
        let rows = equity.iter().enumerate().map(row).collect();
        History { capital: 100.0, rows, costs_by_kind: vec![0.5, 1.5] }
    }

    fn near(found: impl Into<Option<f64>>, expected: f64) {
        let found = found.into().expect("a number");
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn a_history_worked_out_by_hand() {
        let trade = |net| Trade { net, ..Trade::default() };
        let kinds = ["stt".to_owned(), "gst".to_owned()];
        let found = judge(&history(), &[trade(2.0), trade(-1.0), trade(0.0)], &kinds, 16.0);
        // Daily returns: +2 %, −5 %, +5 %, −1 %; 16 bars a year are 8 days a year.
        let daily = [0.02, -0.05, 0.05, -0.01];
        let average: f64 = 0.0025;
        let variance = daily.iter().map(|r: &f64| (r - average).powi(2)).sum::<f64>() / 3.0;
        near(found.total_return, 0.007_275_5);
        near(found.cagr, 1.007_275_5_f64.powi(2) - 1.0);
        near(found.sharpe, average / variance.sqrt() * 8.0_f64.sqrt());
        near(found.sortino, average / ((0.0025_f64 + 0.0001) / 4.0).sqrt() * 8.0_f64.sqrt());
        near(found.max_drawdown, 0.05);
        near(found.calmar, (1.007_275_5_f64.powi(2) - 1.0) / 0.05);
        near(found.win_rate, 1.0 / 3.0);
        near(found.turnover, 0.8);
        near(found.exposure, 0.25);
        near(found.costs, 2.0);
        near(found.costs_fraction, 0.02);
        assert_eq!(found.costs_by_kind[1], ("gst".to_owned(), 1.5));
        assert_eq!((found.trades, found.bars, found.days), (3, 8, 4));
    }

    #[test]
    fn what_cannot_be_computed_is_none() {
        let flat = |n: i32| History {
            capital: 100.0,
            rows: (0..n)
                .map(|i| HistoryRow { ts: i.into(), day: i, equity: 100.0, ..Default::default() })
                .collect(),
            costs_by_kind: vec![],
        };
        for n in [0, 1, 5] {
            let found = judge(&flat(n), &[], &[], 250.0);
            assert_eq!(found.total_return, 0.0);
            assert_eq!((found.sharpe, found.sortino, found.calmar, found.win_rate), (None, None, None, None));
        }
    }

    #[test]
    fn drawdowns_start_from_the_capital() {
        assert_eq!(drawdowns(100.0, &[90.0, 120.0, 60.0]), [1.0 - 90.0 / 100.0, 0.0, 0.5]);
    }
}
