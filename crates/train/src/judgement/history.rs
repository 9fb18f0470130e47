//! What an account went through, bar by bar, and the trades that its fills make. Pure: traces in, rows out.

use std::collections::BTreeMap;

/// One fill: shares bought (positive) or sold at a price.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fill {
    /// Shares; 0 if there was no order.
    pub shares: f64,
    /// The price, slippage included.
    pub price: f64,
}

/// One bar of one symbol's account.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TraceRow {
    /// When the bar closed: microseconds since 1970, UTC.
    pub ts: i64,
    /// The trading day, as days since 1970 in local time.
    pub day: i32,
    /// The bar's close.
    pub close: f64,
    /// The fill at the bar's open.
    pub at_open: Fill,
    /// The fill at the bar's close: square-off, or the end.
    pub at_close: Fill,
    /// Shares held after the bar.
    pub shares: f64,
    /// Equity at the close.
    pub equity: f64,
    /// Costs of the bar's fills, all kinds together.
    pub costs: f64,
    /// What was decided at the bar's close to hold from the next one on, as a fraction of equity; none at
    /// the last bar of an account that is closed there.
    pub target: Option<f64>,
}

/// One symbol's account.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SymbolTrace {
    /// The symbol.
    pub symbol: String,
    /// What it started with.
    pub capital: f64,
    /// Bar by bar.
    pub rows: Vec<TraceRow>,
    /// Sums over all bars.
    pub costs_by_kind: Vec<f64>,
}

/// One bar of an account over one or several symbols.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistoryRow {
    /// When the bar closed: microseconds since 1970, UTC.
    pub ts: i64,
    /// The trading day.
    pub day: i32,
    /// Equity at the close.
    pub equity: f64,
    /// Value held at the close, without sign.
    pub held: f64,
    /// Value traded within the bar.
    pub traded: f64,
}

/// An account over one or several symbols.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// What it started with.
    pub capital: f64,
    /// Bar by bar.
    pub rows: Vec<HistoryRow>,
    /// Sums over all bars.
    pub costs_by_kind: Vec<f64>,
}

/// A position that was opened and closed again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trade {
    /// The symbol.
    pub symbol: String,
    /// Whether shares were owed rather than owned.
    pub short: bool,
    /// The close of the bar within which it was opened: microseconds since 1970, UTC.
    pub entry_ts: i64,
    /// Whether it was opened at that bar's open rather than its close.
    pub entry_at_open: bool,
    /// The same for the fill that closed it.
    pub exit_ts: i64,
    /// Whether that was at the open.
    pub exit_at_open: bool,
    /// Shares opened in all.
    pub shares: f64,
    /// Mean price of the fills that opened it.
    pub entry_price: f64,
    /// Mean price of the fills that closed it.
    pub exit_price: f64,
    /// Profit before costs, in money.
    pub gross: f64,
    /// Costs of all its fills, in money.
    pub costs: f64,
    /// Profit after costs, in money.
    pub net: f64,
    /// Bars within which it was held.
    pub bars: usize,
}

/// Positions smaller than this are rounding, not shares.
const NO_SHARES: f64 = 1e-9;

impl SymbolTrace {
    /// The trades, in the order in which they were closed.
    pub fn trades(&self) -> Vec<Trade> {
        let mut trades = Vec::new();
        let mut open: Option<Trade> = None;
        let (mut held, mut cash_in, mut cash_out, mut closed) = (0.0_f64, 0.0, 0.0, 0.0);
        for row in &self.rows {
            let values = [row.at_open, row.at_close].map(|fill| (fill.shares * fill.price).abs());
            let traded = values[0] + values[1];
            for (fill, at_open) in [(row.at_open, true), (row.at_close, false)] {
                let (mut left, rate) = (fill.shares, if traded > 0.0 { row.costs / traded } else { 0.0 });
                // Against the position first; what is left opens or adds.
                if held * left < 0.0
                    && let Some(trade) = &mut open
                {
                    let part = left.abs().min(held.abs()).copysign(left);
                    cash_out += part.abs() * fill.price;
                    closed += part.abs();
                    trade.costs += rate * part.abs() * fill.price;
                    held += part;
                    left -= part;
                }
                if held.abs() < NO_SHARES
                    && let Some(trade) = open.take_if(|_| closed > NO_SHARES)
                {
                    let sign = if trade.short { -1.0 } else { 1.0 };
                    let gross = sign * (cash_out - cash_in);
                    trades.push(Trade {
                        exit_ts: row.ts,
                        exit_at_open: at_open,
                        entry_price: cash_in / trade.shares,
                        exit_price: cash_out / closed,
                        gross,
                        net: gross - trade.costs,
                        ..trade
                    });
                    (held, cash_in, cash_out, closed) = (0.0, 0.0, 0.0, 0.0);
                }
                if left.abs() > NO_SHARES {
                    let trade = open.get_or_insert_with(|| Trade {
                        symbol: self.symbol.clone(),
                        short: left < 0.0,
                        entry_ts: row.ts,
                        entry_at_open: at_open,
                        ..Trade::default()
                    });
                    cash_in += left.abs() * fill.price;
                    trade.shares += left.abs();
                    trade.costs += rate * left.abs() * fill.price;
                    held += left;
                }
            }
            if let Some(trade) = &mut open {
                trade.bars += 1;
            }
        }
        trades
    }
}

/// The accounts side by side, each with its own capital: an equally weighted portfolio. Between a symbol's
/// bars, its account stands where it stood.
pub fn portfolio(traces: &[SymbolTrace]) -> History {
    let mut times: BTreeMap<i64, i32> = BTreeMap::new();
    traces.iter().flat_map(|trace| &trace.rows).for_each(|row| {
        times.insert(row.ts, row.day);
    });
    let mut rows: Vec<HistoryRow> =
        times.into_iter().map(|(ts, day)| HistoryRow { ts, day, ..HistoryRow::default() }).collect();
    for trace in traces {
        let mut own = trace.rows.iter().peekable();
        let (mut equity, mut held) = (trace.capital, 0.0);
        for row in &mut rows {
            if let Some(bar) = own.next_if(|bar| bar.ts == row.ts) {
                equity = bar.equity;
                held = (bar.shares * bar.close).abs();
                let value = |fill: Fill| (fill.shares * fill.price).abs();
                row.traded += value(bar.at_open) + value(bar.at_close);
            }
            row.equity += equity;
            row.held += held;
        }
    }
    let kinds = traces.first().map_or(0, |trace| trace.costs_by_kind.len());
    History {
        capital: traces.iter().map(|trace| trace.capital).sum(),
        rows,
        costs_by_kind: (0..kinds).map(|kind| traces.iter().map(|t| t.costs_by_kind[kind]).sum()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(ts: i64, at_open: (f64, f64), at_close: (f64, f64), costs: f64) -> TraceRow {
        let fill = |(shares, price)| Fill { shares, price };
        TraceRow { ts, costs, at_open: fill(at_open), at_close: fill(at_close), ..TraceRow::default() }
    }

    const NONE: (f64, f64) = (0.0, 0.0);

    fn trace(rows: Vec<TraceRow>) -> SymbolTrace {
        SymbolTrace { symbol: "A".into(), capital: 1000.0, rows, costs_by_kind: vec![] }
    }

    #[test]
    fn a_long_trade_with_an_addition_then_square_off() {
        let rows = vec![
            bar(1, (10.0, 100.0), NONE, 1.0),
            bar(2, (10.0, 110.0), NONE, 2.0),
            bar(3, NONE, NONE, 0.0),
            bar(4, NONE, (-20.0, 120.0), 3.0),
        ];
        let trades = trace(rows).trades();
        assert_eq!(trades.len(), 1);
        let trade = &trades[0];
        assert_eq!((trade.entry_price, trade.exit_price, trade.shares), (105.0, 120.0, 20.0));
        assert_eq!((trade.gross, trade.costs, trade.net), (300.0, 6.0, 294.0));
        assert_eq!((trade.entry_ts, trade.exit_ts, trade.bars, trade.short), (1, 4, 3, false));
        assert!(trade.entry_at_open && !trade.exit_at_open);
    }

    #[test]
    fn a_flip_closes_one_trade_and_opens_the_other_with_its_share_of_the_costs() {
        let rows = vec![
            bar(1, (10.0, 100.0), NONE, 5.0),
            bar(2, (-30.0, 90.0), NONE, 3.0),
            bar(3, NONE, (20.0, 80.0), 2.0),
        ];
        let trades = trace(rows).trades();
        assert_eq!(trades.len(), 2);
        assert_eq!((trades[0].gross, trades[0].costs), (-100.0, 6.0));
        assert_eq!((trades[1].gross, trades[1].costs, trades[1].short), (200.0, 4.0, true));
    }

    #[test]
    fn a_portfolio_is_the_sum_of_its_accounts_and_a_missing_bar_changes_nothing() {
        let row = |ts, equity| TraceRow { ts, equity, shares: -2.0, close: 50.0, ..TraceRow::default() };
        let traces = [
            SymbolTrace { costs_by_kind: vec![1.0, 2.0], ..trace(vec![row(1, 1010.0), row(3, 990.0)]) },
            SymbolTrace { costs_by_kind: vec![3.0, 4.0], ..trace(vec![row(2, 1100.0), row(3, 1200.0)]) },
        ];
        let history = portfolio(&traces);
        let equity: Vec<f64> = history.rows.iter().map(|row| row.equity).collect();
        assert_eq!(equity, [2010.0, 2110.0, 2190.0]);
        assert_eq!(history.rows[0].held, 100.0);
        assert_eq!((history.capital, history.costs_by_kind), (2000.0, vec![4.0, 6.0]));
    }
}
