//! Trading one symbol with target positions.
//!
//! At row t the agent has seen t's close. Its action names a target, the position as a multiple of equity. If
//! that is not the target held, an order fills at the open of t+1 (or where the rules say), worse by the
//! slippage, and sized on the equity that its own costs leave; an unchanged target never trades, so that drift
//! is not rebalanced. Equity goes from t's close to t+1's, net of every cost, and the reward is made of that
//! change alone. With square-off the position is closed at the close of each session's last bar, and no order
//! fills there. Whoever is short, or holds more than the account has money for, pays for the time from close to
//! close.
//!
//! An account whose equity falls to `ruin` times the capital, at an open or a close, is ruined and the episode
//! terminates; if that is at an open, the position is closed there. Equity never counts as less than a
//! thousandth of the capital, so that its logarithm exists even after a short position lost everything.
//!
//! # Layout
//! - [`rules`]: what an action means, when orders fill, what they cost; and whether that makes sense.
mod rules;

pub(crate) use rules::CAPITAL;
pub use rules::{DIRECTION_THRESHOLD, FillAt, PortfolioRules, Targets};

use std::sync::Arc;

use crate::EnvError;
use crate::account::{Account, Terms};
use crate::costs::Costs;
use crate::environment::{
    AccountSummary, Action, ActionSpace, Environment, EpisodeKey, Fill, TraceRow, Transition,
};
use crate::episodes::{EpisodeRows, EpisodeRules, Plan};
use crate::market_data::{MarketData, StepBar, SymbolData};
use crate::reward::{EquityStep, Moments, Reward};
use crate::snapshot::{Progress, Reader, Writer};
use rules::EQUITY_FLOOR;

/// What an observation says about the account, after the features.
pub const ACCOUNT_NAMES: [&str; 5] =
    ["position", "unrealised_result", "bars_held", "drawdown", "session_left"];

/// Results of the account are shown in units of the deviation of returns over this many bars, squared.
const RESULT_UNIT_ROOT_BARS: f64 = 8.0;
/// A position held for this many bars is shown as half; one held for ever would be 1.
const HALF_HELD_BARS: f64 = 16.0;
/// How far apart reads must be to touch every line of a row.
const FLOATS_PER_CACHE_LINE: usize = 16;
/// A year of borrowing, in microseconds; lenders count 365 days.
const YEAR_US: f64 = 365.0 * 86_400.0 * 1e6;

/// The environment.
#[derive(Debug, Clone)]
pub struct Portfolio {
    data: Arc<MarketData>,
    rules: PortfolioRules,
    episodes: EpisodeRules,
    plan: Plan,
    /// What orders meet, one for each table of rates.
    terms: Vec<Terms>,
    /// Which of them applies in each session; empty if there is one.
    terms_of_session: Vec<u16>,
    borrowing_per_us: f64,
    /// Whether orders fill at the next open, by one table of rates, nothing is paid for borrowing, and the reward is
    /// the log return. Nearly everybody plays so, and a step of it asks no more questions than it must.
    is_plain: bool,
    /// The variance of a bar's log return in training.
    bar_variance: f64,
    /// The unit in which the observation shows results.
    result_unit: f64,
}

/// One running episode.
#[derive(Debug, Clone)]
pub struct State {
    rows: EpisodeRows,
    /// The row whose close was seen last.
    row: u32,
    bars_held: u32,
    account: Account,
    held_target: f64,
    /// Equity at `row`'s close, net of every cost so far.
    equity: f64,
    peak: f64,
    max_drawdown: f64,
    moments: Moments,
    /// What the latest step did.
    entry: Fill,
    exit: Fill,
    costs_before_step: Costs,
}

impl Portfolio {
    /// The environment of one session: `data` played by `rules` on the rows that `episodes` allow.
    pub fn new(
        data: Arc<MarketData>,
        rules: PortfolioRules,
        episodes: EpisodeRules,
    ) -> Result<Self, EnvError> {
        rules.validate()?;
        let plan = Plan::new(&data, &episodes, rules.window)?;
        let slippage = rules.slippage_bps * 1e-4;
        let whole_shares = rules.whole_shares;
        let terms: Vec<Terms> = rules
            .costs
            .charges()
            .into_iter()
            .map(|charge| Terms { charge, slippage, whole_shares })
            .collect();
        let terms_of_session = if terms.len() == 1 {
            Vec::new()
        } else {
            data.calendar.iter().map(|date| rules.costs.charge_on(date) as u16).collect()
        };
        let result_unit = data.scaler.bar_deviation * RESULT_UNIT_ROOT_BARS;
        let has_one_table = terms.len() == 1;
        Ok(Self {
            plan,
            terms,
            terms_of_session,
            is_plain: has_one_table
                && rules.fill == FillAt::NextOpen
                && rules.borrowing_bps_per_year == 0.0
                && rules.reward == Reward::LogReturn,
            borrowing_per_us: rules.borrowing_bps_per_year * 1e-4 / YEAR_US,
            bar_variance: data.scaler.bar_deviation * data.scaler.bar_deviation,
            result_unit,
            data,
            rules,
            episodes,
        })
    }

    /// The rules of the account.
    pub fn rules(&self) -> &PortfolioRules {
        &self.rules
    }

    /// Starts an episode on rows of the caller's choice.
    pub(crate) fn start(&self, rows: EpisodeRows) -> State {
        let capital = self.rules.capital;
        State {
            rows,
            row: rows.first_row,
            bars_held: 0,
            account: Account::new(capital),
            held_target: 0.0,
            equity: capital,
            peak: capital,
            max_drawdown: 0.0,
            moments: Moments::at_start(self.bar_variance),
            entry: Fill::default(),
            exit: Fill::default(),
            costs_before_step: Costs::default(),
        }
    }

    fn symbol(&self, state: &State) -> &SymbolData {
        &self.data.symbols[state.rows.symbol_idx as usize]
    }

    #[inline]
    fn terms<const PLAIN: bool>(&self, session: i32) -> &Terms {
        let table = if PLAIN { None } else { self.terms_of_session.get(session as usize) };
        &self.terms[table.map_or(0, |&table| table.into())]
    }

    /// An order that brings the position to `target`, if it is not there.
    #[inline]
    fn order<const PLAIN: bool>(&self, state: &mut State, target: f64, price: f64, session: i32) -> Fill {
        if target == state.held_target {
            return Fill::default();
        }
        state.held_target = target;
        state.account.trade_to(target * self.rules.leverage, price, session, self.terms::<PLAIN>(session))
    }

    /// Plays the bar at the state's row. Returns equity at its end, before the floor, and whether its open
    /// already was ruin.
    #[inline]
    fn play_bar<const PLAIN: bool>(&self, state: &mut State, target: f64) -> (f64, bool) {
        let symbol = self.symbol(state);
        let row = state.row as usize;
        let StepBar { open, close, session, ends_session, .. } = symbol.bars[row];
        let ruin = self.rules.ruin * self.rules.capital;
        let fill = if PLAIN { FillAt::NextOpen } else { self.rules.fill };
        if fill == FillAt::SameClose {
            let seen = symbol.bars[row - 1];
            let stays_flat = self.rules.square_off && seen.ends_session;
            state.entry =
                self.order::<PLAIN>(state, if stays_flat { 0.0 } else { target }, seen.close, seen.session);
        }
        if !PLAIN && self.borrowing_per_us > 0.0 {
            let held_us = (symbol.ts[row] - symbol.ts[row - 1]) as f64;
            let borrowed = state.account.borrowed(symbol.bars[row - 1].close);
            state.account.pay_for_borrowing(borrowed * held_us * self.borrowing_per_us);
        }
        if state.account.equity(open) <= ruin {
            let closing = self.order::<PLAIN>(state, 0.0, open, session);
            *(if state.entry == Fill::default() { &mut state.entry } else { &mut state.exit }) = closing;
            return (state.account.equity(open), true);
        }
        if fill == FillAt::NextOpen {
            state.entry = self.order::<PLAIN>(state, target, open, session);
        }
        let is_end = state.row == state.rows.last_row && self.episodes.liquidate_at_end;
        if is_end || (self.rules.square_off && ends_session) {
            state.exit = self.order::<PLAIN>(state, 0.0, close, session);
        } else if fill == FillAt::NextClose && state.account.equity(close) > ruin {
            state.exit = self.order::<PLAIN>(state, target, close, session);
        }
        (state.account.equity(close), false)
    }

    /// Apart, so that what few ask for takes no place in the loop of everybody else.
    #[inline(never)]
    fn advance_by_any_rules(&self, state: &mut State, target: f64) -> Transition {
        self.advance::<false>(state, target)
    }

    /// One step; with `PLAIN`, of rules that are [`Portfolio::is_plain`].
    #[inline]
    fn advance<const PLAIN: bool>(&self, state: &mut State, target: f64) -> Transition {
        let capital = self.rules.capital;
        let shares_before = state.account.shares;
        state.costs_before_step = state.account.costs;
        (state.entry, state.exit) = (Fill::default(), Fill::default());
        state.row += 1;
        let (equity, ruined_at_open) = self.play_bar::<PLAIN>(state, target);
        let equity = equity.max(EQUITY_FLOOR * capital);
        let reward = if PLAIN {
            libm::log(equity / state.equity)
        } else {
            let change = EquityStep { before: state.equity, after: equity, peak_before: state.peak };
            self.rules.reward.of(change, &mut state.moments, self.bar_variance)
        };
        state.equity = equity;
        state.peak = state.peak.max(equity);
        state.max_drawdown = state.max_drawdown.max(1.0 - equity / state.peak);
        let shares = state.account.shares;
        state.bars_held = match (shares == 0.0, shares * shares_before > 0.0) {
            (true, _) => 0,
            (false, true) => state.bars_held + 1,
            (false, false) => 1,
        };
        Transition {
            reward,
            terminated: ruined_at_open || equity <= self.rules.ruin * capital,
            truncated: state.row == state.rows.last_row,
        }
    }
}

impl Environment for Portfolio {
    type State = State;

    fn name(&self) -> String {
        "portfolio".into()
    }

    fn observation_names(&self) -> Vec<String> {
        let features = (0..self.rules.window).rev().flat_map(|rows_ago| {
            let suffix = if rows_ago == 0 { String::new() } else { format!("@-{rows_ago}") };
            self.data.feature_names.iter().map(move |name| format!("{name}{suffix}"))
        });
        features.chain(ACCOUNT_NAMES.map(String::from)).collect()
    }

    fn observation_len(&self) -> usize {
        self.rules.window * self.data.feature_names.len() + ACCOUNT_NAMES.len()
    }

    fn action_space(&self) -> ActionSpace {
        self.rules.targets.action_space(self.rules.allows_short)
    }

    fn reset(&self, key: EpisodeKey) -> State {
        self.start(self.plan.draw(key))
    }

    fn step(&self, state: &mut State, action: Action<'_>) -> Transition {
        let target = self.rules.targets.target(action, state.held_target, self.rules.allows_short);
        if self.is_plain {
            self.advance::<true>(state, target)
        } else {
            self.advance_by_any_rules(state, target)
        }
    }

    #[inline]
    fn touch(&self, state: &State) -> f32 {
        let symbol = self.symbol(state);
        let row = state.row as usize + 1;
        let row_len = self.data.feature_names.len();
        let Some(bar) = symbol.bars.get(row) else { return 0.0 };
        let features = &symbol.features[row * row_len..(row + 1) * row_len];
        features.iter().step_by(FLOATS_PER_CACHE_LINE).sum::<f32>() + bar.session_left
    }

    fn observe(&self, state: &State, out: &mut [f32]) {
        let symbol = self.symbol(state);
        let row = state.row as usize;
        let row_len = self.data.feature_names.len();
        let features_len = self.rules.window * row_len;
        let end = (row + 1) * row_len;
        let (features, numbers) = out.split_at_mut(features_len);
        features.copy_from_slice(&symbol.features[end - features_len..end]);
        let StepBar { close, session_left, .. } = symbol.bars[row];
        let bars_held = f64::from(state.bars_held);
        let clip = |value: f64| value.clamp(-5.0, 5.0) as f32;
        numbers.copy_from_slice(&[
            clip(state.account.shares * close / state.equity),
            clip(state.account.unrealised(close) / state.equity / self.result_unit),
            (bars_held / (bars_held + HALF_HELD_BARS)) as f32,
            clip((1.0 - state.equity / state.peak) / self.result_unit),
            session_left,
        ]);
    }

    fn account(&self, state: &State) -> AccountSummary {
        AccountSummary {
            symbol_idx: state.rows.symbol_idx,
            initial_equity: self.rules.capital,
            final_equity: state.equity,
            costs: state.account.costs,
            n_trades: state.account.n_trades,
            turnover: state.account.traded_value / self.rules.capital,
            max_drawdown: state.max_drawdown,
        }
    }

    fn trace(&self, state: &State) -> TraceRow {
        let symbol = self.symbol(state);
        let row = state.row as usize;
        let close = symbol.bars[row].close;
        TraceRow {
            ts: symbol.ts[row],
            order_ts: symbol.ts[row.saturating_sub(1)],
            symbol_idx: state.rows.symbol_idx,
            entry: state.entry,
            exit: state.exit,
            shares: state.account.shares,
            position: state.account.shares * close / state.equity,
            close,
            equity: state.equity,
            costs: state.account.costs - state.costs_before_step,
        }
    }

    fn identity(&self) -> Vec<(&'static str, String)> {
        vec![
            ("environment", self.name()),
            ("data", self.data.digest.clone()),
            ("scaler", market::digest::hex_sha256(format!("{:?}", self.data.scaler).as_bytes())),
            ("rules", format!("{:?}", self.rules)),
            ("episodes", format!("{:?}", self.episodes)),
        ]
    }

    fn save(&self, state: &State, out: &mut Writer) {
        out.u32(state.bars_held);
        state.account.save(out);
        out.f64s(&[state.held_target, state.equity, state.peak, state.max_drawdown]);
        out.f64s(&[state.moments.mean, state.moments.mean_square]);
    }

    fn load(&self, key: EpisodeKey, progress: Progress, input: &mut Reader<'_>) -> Option<State> {
        let bars_held = input.u32()?;
        let account = Account::load(input)?;
        let [held_target, equity, peak, max_drawdown] = input.f64s()?;
        let [mean, mean_square] = input.f64s()?;
        let start = self.start(self.plan.draw(key));
        let row = start.row.checked_add(progress.length)?;
        let has_bars_left = row < start.rows.last_row || (progress.has_ended && row == start.rows.last_row);
        let is_sound = equity >= EQUITY_FLOOR * self.rules.capital
            && peak >= equity
            && (0.0..=1.0).contains(&max_drawdown)
            && bars_held <= progress.length;
        (has_bars_left && is_sound).then_some(State {
            row,
            bars_held,
            account,
            held_target,
            equity,
            peak,
            max_drawdown,
            moments: Moments { mean, mean_square },
            // What the latest step did was told with it.
            costs_before_step: account.costs,
            ..start
        })
    }
}

#[cfg(test)]
mod tests;
