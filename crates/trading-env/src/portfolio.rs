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
//! - [`block`]: a step of many states at once, under the rules that nearly everybody plays.
//! - [`states`]: what running episodes remember.
//! - [`rules`]: what an action means, when orders fill, what they cost; and whether that makes sense.
mod block;
mod rules;
mod states;

pub(crate) use rules::CAPITAL;
pub use rules::{DIRECTION_THRESHOLD, FillAt, PortfolioRules, Targets};
pub use states::{State, States};

use std::sync::Arc;

use crate::EnvError;
use crate::account::{Account, Ledger, Terms};
use crate::environment::{
    AccountSummary, Action, ActionSpace, Block, BlockOutputs, Environment, EpisodeKey, Fill, TraceRow,
    Transition, step_each,
};
use crate::episodes::{EpisodeRows, EpisodeRules, Plan};
use crate::market_data::{MarketData, SymbolData};
use crate::reward::{EquityStep, Moments, Reward};
use crate::rows::StepBar;
use crate::snapshot::{Progress, Reader, Writer};
use rules::EQUITY_FLOOR;
use states::Seldom;

/// What an observation says about the account, after the features.
pub const ACCOUNT_NAMES: [&str; 5] =
    ["position", "unrealised_result", "bars_held", "drawdown", "session_left"];

/// Results of the account are shown in units of the deviation of returns over this many bars, squared.
const RESULT_UNIT_ROOT_BARS: f64 = 8.0;
/// A position held for this many bars is shown as half; one held for ever would be 1.
const HALF_HELD_BARS: f32 = 16.0;
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
    /// One over the unit in which the observation shows results.
    per_unit: f32,
    observation_len: usize,
}

/// What happened within one bar.
struct Played {
    /// At its end, before the floor.
    equity: f64,
    ruined_at_open: bool,
    entry: Fill,
    exit: Fill,
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
            per_unit: (1.0 / result_unit) as f32,
            observation_len: rules.window * data.feature_names.len() + ACCOUNT_NAMES.len(),
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
        let first_row = self.data.symbols[rows.symbol_idx as usize].first_row;
        State {
            symbol_idx: rows.symbol_idx,
            row: first_row + rows.first_row,
            last_row: first_row + rows.last_row,
            bars_held: 0,
            account: Account::new(capital),
            held_target: 0.0,
            equity: capital,
            peak: capital,
            max_drawdown: 0.0,
            seldom: Seldom { ledger: Ledger::default(), moments: Moments::at_start(self.bar_variance) },
        }
    }

    fn symbol(&self, state: &State) -> &SymbolData {
        &self.data.symbols[state.symbol_idx as usize]
    }

    #[inline]
    fn terms<const PLAIN: bool>(&self, session: i32) -> &Terms {
        let table = if PLAIN { None } else { self.terms_of_session.get(session as usize) };
        &self.terms[table.map_or(0, |&table| table.into())]
    }

    /// The state's row among its symbol's.
    fn symbol_row(&self, state: &State) -> usize {
        (state.row - self.symbol(state).first_row) as usize
    }

    /// An order at `price` in the session of the symbol's `row` that brings the position to `target`, if it is not there.
    #[inline]
    fn order<const PLAIN: bool>(&self, state: &mut State, target: f64, price: f64, row: usize) -> Fill {
        if target == state.held_target {
            return Fill::default();
        }
        state.held_target = target;
        let session = self.symbol(state).session[row];
        let level = target * self.rules.leverage;
        let ledger = &mut state.seldom.ledger;
        state.account.trade_to(ledger, level, price, session, self.terms::<PLAIN>(session))
    }

    /// Plays the bar at the state's row.
    #[inline]
    fn play_bar<const PLAIN: bool>(&self, state: &mut State, target: f64, bar: StepBar) -> Played {
        let row = self.symbol_row(state);
        let StepBar { open, close, ends_session, .. } = bar;
        let ruin = self.rules.ruin * self.rules.capital;
        let fill = if PLAIN { FillAt::NextOpen } else { self.rules.fill };
        let (mut entry, mut exit) = (Fill::default(), Fill::default());
        if !PLAIN && (fill == FillAt::SameClose || self.borrowing_per_us > 0.0) {
            let seen = self.data.rows.bar(state.row as usize - 1);
            if fill == FillAt::SameClose {
                let stays_flat = self.rules.square_off && seen.ends_session;
                entry =
                    self.order::<PLAIN>(state, if stays_flat { 0.0 } else { target }, seen.close, row - 1);
            }
            if self.borrowing_per_us > 0.0 {
                let ts = &self.symbol(state).ts;
                let held_us = (ts[row] - ts[row - 1]) as f64;
                let borrowed = state.account.borrowed(seen.close);
                let amount = borrowed * held_us * self.borrowing_per_us;
                state.account.pay_for_borrowing(&mut state.seldom.ledger, amount);
            }
        }
        if state.account.equity(open) <= ruin {
            let closing = self.order::<PLAIN>(state, 0.0, open, row);
            *(if entry == Fill::default() { &mut entry } else { &mut exit }) = closing;
            return Played { equity: state.account.equity(open), ruined_at_open: true, entry, exit };
        }
        if fill == FillAt::NextOpen {
            entry = self.order::<PLAIN>(state, target, open, row);
        }
        let is_end = state.row == state.last_row && self.episodes.liquidate_at_end;
        if is_end || (self.rules.square_off && ends_session) {
            exit = self.order::<PLAIN>(state, 0.0, close, row);
        } else if fill == FillAt::NextClose && state.account.equity(close) > ruin {
            exit = self.order::<PLAIN>(state, target, close, row);
        }
        Played { equity: state.account.equity(close), ruined_at_open: false, entry, exit }
    }

    /// One step; with `PLAIN`, of rules that are [`Portfolio::is_plain`].
    #[inline]
    fn advance<const PLAIN: bool>(&self, state: &mut State, target: f64) -> (Transition, [Fill; 2]) {
        let capital = self.rules.capital;
        let shares_before = state.account.shares;
        state.row += 1;
        let bar = self.data.rows.bar(state.row as usize);
        let played = self.play_bar::<PLAIN>(state, target, bar);
        let equity = played.equity.max(EQUITY_FLOOR * capital);
        let reward = if PLAIN {
            libm::log(equity / state.equity)
        } else {
            let change = EquityStep { before: state.equity, after: equity, peak_before: state.peak };
            self.rules.reward.of(change, &mut state.seldom.moments, self.bar_variance)
        };
        state.equity = equity;
        state.peak = state.peak.max(equity);
        state.max_drawdown = state.max_drawdown.max(1.0 - equity / state.peak);
        state.count_bars_held(shares_before);
        let transition = Transition {
            reward,
            terminated: played.ruined_at_open || equity <= self.rules.ruin * capital,
            truncated: state.row == state.last_row,
        };
        (transition, [played.entry, played.exit])
    }

    /// One step by any rules.
    #[inline]
    fn step_with_fills(&self, state: &mut State, action: Action<'_>) -> (Transition, [Fill; 2]) {
        let target = self.rules.targets.target(action, state.held_target, self.rules.allows_short);
        if self.is_plain { self.advance::<true>(state, target) } else { self.advance::<false>(state, target) }
    }
}

impl State {
    #[inline]
    fn count_bars_held(&mut self, shares_before: f64) {
        let shares = self.account.shares;
        self.bars_held = match (shares == 0.0, shares * shares_before > 0.0) {
            (true, _) => 0,
            (false, true) => self.bars_held + 1,
            (false, false) => 1,
        };
    }
}

impl Environment for Portfolio {
    type State = State;
    type States = States;

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
        self.observation_len
    }

    fn action_space(&self) -> ActionSpace {
        self.rules.targets.action_space(self.rules.allows_short)
    }

    fn reset(&self, key: EpisodeKey) -> State {
        self.start(self.plan.draw(key))
    }

    fn step(&self, state: &mut State, action: Action<'_>) -> Transition {
        self.step_with_fills(state, action).0
    }

    fn step_traced(&self, state: &mut State, action: Action<'_>) -> (Transition, TraceRow) {
        let costs_before = state.seldom.ledger.costs;
        let (transition, [entry, exit]) = self.step_with_fills(state, action);
        let (symbol, row) = (self.symbol(state), self.symbol_row(state));
        let close = self.data.rows.bar(state.row as usize).close;
        let trace = TraceRow {
            ts: symbol.ts[row],
            order_ts: symbol.ts[row.saturating_sub(1)],
            symbol_idx: state.symbol_idx,
            entry,
            exit,
            shares: state.account.shares,
            position: state.account.shares * close / state.equity,
            close,
            equity: state.equity,
            costs: state.seldom.ledger.costs - costs_before,
        };
        (transition, trace)
    }

    fn prefetch(&self, states: &States) {
        let rows = self.data.rows.view();
        for &row in &states.often.row {
            rows.prefetch(row as usize + 1);
        }
    }

    fn step_block(&self, states: &mut States, block: &Block<'_, States>, out: &mut BlockOutputs<'_>) {
        if self.is_plain {
            self.step_plain_block(states, block, out);
        } else {
            step_each(self, states, block, out);
        }
    }

    fn observe(&self, state: &State, out: &mut [f32]) {
        let StepBar { close, session_left, .. } = self.show_rows(state.row as usize, out);
        let numbers = &mut out[self.rules.window * self.data.feature_names.len()..];
        let equity = state.equity as f32;
        let bars_held = state.bars_held as f32;
        numbers.copy_from_slice(&[
            clip((state.account.shares * close) as f32 / equity),
            clip(state.account.unrealised(close) as f32 / equity * self.per_unit),
            bars_held / (bars_held + HALF_HELD_BARS),
            clip((1.0 - state.equity / state.peak) as f32 * self.per_unit),
            session_left,
        ]);
    }

    fn account(&self, state: &State) -> AccountSummary {
        AccountSummary {
            symbol_idx: state.symbol_idx,
            initial_equity: self.rules.capital,
            final_equity: state.equity,
            costs: state.seldom.ledger.costs,
            n_trades: state.seldom.ledger.n_trades,
            turnover: state.seldom.ledger.traded_value / self.rules.capital,
            max_drawdown: state.max_drawdown,
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
        state.seldom.ledger.save(&state.account, out);
        out.f64s(&[state.held_target, state.equity, state.peak, state.max_drawdown]);
        out.f64s(&[state.seldom.moments.mean, state.seldom.moments.mean_square]);
    }

    fn load(&self, key: EpisodeKey, progress: Progress, input: &mut Reader<'_>) -> Option<State> {
        let bars_held = input.u32()?;
        let (account, ledger) = Ledger::load(input)?;
        let [held_target, equity, peak, max_drawdown] = input.f64s()?;
        let [mean, mean_square] = input.f64s()?;
        let start = self.start(self.plan.draw(key));
        let row = start.row.checked_add(progress.length)?;
        let has_bars_left = row < start.last_row || (progress.has_ended && row == start.last_row);
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
            seldom: Seldom { ledger, moments: Moments { mean, mean_square } },
            ..start
        })
    }
}

/// What an observation says of results: within five units.
#[inline]
fn clip(value: f32) -> f32 {
    value.clamp(-5.0, 5.0)
}

#[cfg(test)]
mod tests;
