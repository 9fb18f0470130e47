//! What is said of an account's history: returns, risk, costs. Pure arithmetic, with its conventions here.
//!
//! - The equity before the first bar is the starting capital.
//! - Sharpe and Sortino come from the returns of trading days, annualised by the data's own number of days
//!   a year: bars a year over bars a day. Returns of single bars would hide what a night brings.
//! - The risk-free rate is 0.
//! - A drawdown is measured from close to close of every bar.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{ToSpan, civil};
use serde::{Deserialize, Serialize};

use crate::judgement::history::{History, HistoryRow, Trade};

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
    /// The return of each month, `2026-01` and so on, from the last close before it to its own last.
    #[serde(default)]
    pub monthly_returns: Vec<(String, f64)>,
    /// Equity at the end, in money.
    pub final_equity: f64,
    /// Bars judged.
    pub bars: usize,
    /// Trading days judged.
    pub days: usize,
}

impl Statistics {
    /// Whether nothing was bought or sold at all.
    pub fn never_traded(&self) -> bool {
        self.trades == 0 && self.turnover == 0.0
    }
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
        monthly_returns: monthly_returns(history),
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
pub fn daily_returns(history: &History) -> Vec<f64> {
    returns(history.capital, &last_of_each(history, |row| row.day)).map(|(_, value)| value).collect()
}

/// The log returns of two accounts on every day that either saw. One that ended early stands still.
pub fn paired_daily_log_returns(own: &History, other: &History) -> (Vec<f64>, Vec<f64>) {
    let closes = [own, other]
        .map(|history| last_of_each(history, |row| row.day).into_iter().collect::<BTreeMap<i32, f64>>());
    let days: BTreeSet<i32> = closes.iter().flat_map(|closes| closes.keys().copied()).collect();
    let log_returns = |history: &History, closes: &BTreeMap<i32, f64>| {
        let mut before = history.capital;
        let step = |day: &i32| {
            let now = closes.get(day).copied().unwrap_or(before);
            let change = (now / before).ln();
            before = now;
            change
        };
        days.iter().map(step).collect::<Vec<f64>>()
    };
    (log_returns(own, &closes[0]), log_returns(other, &closes[1]))
}

fn monthly_returns(history: &History) -> Vec<(String, f64)> {
    let month = |row: &HistoryRow| {
        let date = civil::date(1970, 1, 1).checked_add(row.day.days()).unwrap_or(civil::Date::MAX);
        (date.year(), date.month())
    };
    returns(history.capital, &last_of_each(history, month))
        .map(|((year, month), value)| (format!("{year}-{month:02}"), value))
        .collect()
}

/// The last equity of each day, month or the like.
fn last_of_each<K: PartialEq>(history: &History, key: impl Fn(&HistoryRow) -> K) -> Vec<(K, f64)> {
    let mut closes: Vec<(K, f64)> = Vec::new();
    for row in &history.rows {
        let key = key(row);
        match closes.last_mut() {
            Some((open, equity)) if *open == key => *equity = row.equity,
            _ => closes.push((key, row.equity)),
        }
    }
    closes
}

fn returns<K: Copy>(capital: f64, closes: &[(K, f64)]) -> impl Iterator<Item = (K, f64)> {
    let mut before = capital;
    closes.iter().map(move |&(key, equity)| (key, equity / std::mem::replace(&mut before, equity) - 1.0))
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
        assert_eq!(found.monthly_returns, [("1970-01".to_owned(), found.total_return)]);
    }

    #[test]
    fn months_follow_each_other_and_multiply_to_the_whole() {
        // 29 January to 2 February 1970, two bars a day.
        let mut history = history();
        history.rows.iter_mut().for_each(|row| row.day += 29);
        let found = judge(&history, &[], &[], 16.0).monthly_returns;
        assert_eq!(found.iter().map(|(month, _)| month.as_str()).collect::<Vec<_>>(), ["1970-01", "1970-02"]);
        near(found[0].1, 1.02 * 0.95 - 1.0);
        near((1.0 + found[0].1) * (1.0 + found[1].1) - 1.0, 0.007_275_5);
    }

    #[test]
    fn days_of_two_accounts_are_paired_and_one_that_ended_stands_still() {
        let mut short = history();
        short.rows.truncate(4);
        let (own, other) = paired_daily_log_returns(&short, &history());
        let expected = [1.02_f64.ln(), 0.95_f64.ln(), 1.05_f64.ln(), 0.99_f64.ln()];
        for day in 0..4 {
            near(other[day], expected[day]);
            near(own[day], if day < 2 { expected[day] } else { 0.0 });
        }
        assert_eq!(own.len(), 4);
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
