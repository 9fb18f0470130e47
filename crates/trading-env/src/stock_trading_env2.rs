//! The Python environment `StockTradingEnv2`, so that what was found with it carries over: the same account, the
//! same observation and the same reward, step by step. Not the default, for it trades at a price that the
//! observation already shows, pays for trading as such, and has no costs unless asked for.
//!
//! Rows are counted from the first row of the range whose features are all known. Every episode starts at row
//! `lags`; environment i plays symbol i modulo the number of symbols. Money, shares and reward parts are in
//! double precision. Reward thresholds of 0.3 belong to the reward and do not follow the two that place orders.
//!
//! # Layout
//! - [`reward`]: the nine parts and how they are put together.
//! - [`recent`]: lists that keep their last entries.
mod recent;
mod reward;
mod rules;
#[cfg(test)]
mod tests;

pub use rules::{Prices, StockTradingEnv2Rules};

use std::sync::Arc;

use crate::EnvError;
use crate::costs::Costs;
use crate::environment::{
    AccountSummary, Action, ActionSpace, BLOCK_LEN, Environment, EpisodeKey, Fill, TraceRow, Transition,
};
use crate::episodes::{SessionRange, nothing_to_play};
use crate::market_data::MarketData;
use crate::snapshot::{Progress, Reader, Writer};
use recent::Recent;
use reward::{Memory, Parts};

/// What the action list starts with, three times over.
const FIRST_ACTIONS: [f64; 6] = [0.4, -0.4, 0.0, 0.4, -0.4, 0.0];
/// The least and the largest part of what could be traded that an order takes.
const AMOUNT: (f64, f64) = (0.1, 1.0);

/// The environment.
#[derive(Debug, Clone)]
pub struct StockTradingEnv2 {
    data: Arc<MarketData>,
    prices: Arc<Prices>,
    rules: StockTradingEnv2Rules,
    range: SessionRange,
    liquidate_at_end: bool,
    /// First and last row of each symbol.
    rows: Vec<(u32, u32)>,
}

/// One running episode, by the names of its description.
#[derive(Debug, Clone)]
pub struct State {
    symbol_idx: u32,
    /// t.
    row: u32,
    /// B.
    balance: f64,
    /// n.
    shares: f64,
    /// W.
    net_worth: f64,
    /// D.
    day_start_net_worth: f64,
    /// The session of the row seen last.
    day: i32,
    memory: Memory,
    costs: Costs,
    n_trades: u32,
    traded_value: f64,
    peak: f64,
    max_drawdown: f64,
    /// What the latest step did.
    closing: Fill,
    order: Fill,
}

impl StockTradingEnv2 {
    /// The environment of one session: `data` with its `prices`, on the sessions of `range`. With
    /// `liquidate_at_end` the last position is closed at its cost.
    pub fn new(
        data: Arc<MarketData>,
        prices: Arc<Prices>,
        rules: StockTradingEnv2Rules,
        range: SessionRange,
        liquidate_at_end: bool,
    ) -> Result<Self, EnvError> {
        rules.validate()?;
        if range.first < 0 || range.last < range.first || range.last as usize >= data.n_sessions {
            return Err(EnvError::OutsideCalendar { range, n_sessions: data.n_sessions });
        }
        let mut rows = Vec::new();
        for symbol in &data.symbols {
            let all = range.rows_of(&symbol.session);
            let run = symbol.complete_runs.iter().find(|&&(_, last)| last as usize >= all.start);
            let (first, last) = run.map_or((0, 0), |&(first, last)| {
                (first.max(all.start as u32), (last as usize).min(all.end.saturating_sub(1)) as u32)
            });
            if last.saturating_sub(first) <= rules.lags {
                return Err(nothing_to_play(std::slice::from_ref(symbol), range));
            }
            if (last as usize) < all.end - 1 {
                return Err(EnvError::Interrupted { symbol: symbol.name.clone(), row: last + 1, range });
            }
            rows.push((first, last));
        }
        Ok(Self { data, prices, rules, range, liquidate_at_end, rows })
    }

    /// The price of row `row` of the episode's symbol.
    fn price(&self, state: &State, row: u32) -> f64 {
        let (first, _) = self.rows[state.symbol_idx as usize];
        self.prices.of(state.symbol_idx, first + row)
    }

    fn day(&self, symbol_idx: u32, row: u32) -> i32 {
        let (first, _) = self.rows[symbol_idx as usize];
        self.data.symbols[symbol_idx as usize].session[(first + row) as usize]
    }

    /// The row at which the episode ends.
    fn end_row(&self, symbol_idx: u32) -> u32 {
        let (first, last) = self.rows[symbol_idx as usize];
        self.rules.episode_limit.min(last - first)
    }

    /// Step 1: a new day closes the position and pays for the day before.
    fn begin_day(&self, state: &mut State, price: f64) -> f64 {
        let capital = self.rules.capital;
        let mut fee = 0.0;
        let gained;
        if state.shares == 0.0 {
            gained = state.net_worth - state.day_start_net_worth;
        } else {
            state.closing = Fill { shares: -state.shares, price };
            fee = self.trade(state, -state.shares, price);
            state.net_worth = state.balance;
            gained = state.net_worth - state.day_start_net_worth;
            state.day_start_net_worth = state.net_worth;
        }
        reward::of_day(&mut state.memory, gained / capital, -fee / capital)
    }

    /// Step 2: the order.
    fn place_order(&self, state: &mut State, direction: f64, amount: f64, price: f64) {
        let rules = &self.rules;
        let amount = amount.clamp(AMOUNT.0, AMOUNT.1);
        let mut bought = 0.0;
        if direction >= rules.buy_threshold {
            let shares = (state.balance / price * amount).trunc();
            if shares > 0.0 && shares * price * (1.0 + rules.cost_rate) <= state.balance {
                bought = shares;
            }
        }
        if direction <= rules.sell_threshold {
            let shares = ((state.shares + rules.largest_short_value / price) * amount).trunc();
            if shares > 0.0 {
                bought = -shares;
            }
        }
        if bought != 0.0 {
            state.order = Fill { shares: bought, price };
            self.trade(state, bought, price);
        }
        state.net_worth = state.balance + state.shares * price;
        state.memory.actions.push(direction.abs());
    }

    /// Moves shares and money, and returns the fee.
    fn trade(&self, state: &mut State, bought: f64, price: f64) -> f64 {
        let value = bought.abs() * price;
        let fee = self.rules.cost_rate * value;
        state.balance -= bought * price + fee;
        state.shares += bought;
        state.costs.brokerage += fee;
        state.n_trades += 1;
        state.traded_value += value;
        fee
    }

    /// A whole step by the rules; returns its reward.
    fn play(&self, state: &mut State, direction: f64, amount: f64) -> f64 {
        let capital = self.rules.capital;
        let t = state.row;
        let price = self.price(state, t);
        let today = self.day(state.symbol_idx, t);
        let mut liquidation = 0.0;
        if today != state.day {
            state.day = today;
            liquidation = self.begin_day(state, price);
        }
        let net_worth_before = state.net_worth;
        self.place_order(state, direction, amount, price);
        let relative_to = |row: u32| price / self.price(state, row) - 1.0;
        let parts = Parts {
            direction,
            change: relative_to(t - 1),
            trend: if t >= 10 { relative_to(t - 10) } else { 0.0 },
            profit: (state.net_worth - capital) / capital,
            step: (state.net_worth - net_worth_before) / capital,
            position_value: state.shares * price,
            capital,
            liquidation,
        };
        parts.reward(&mut state.memory)
    }

    /// Whoever stays out, or buys what the money buys and holds it; the reward is the log return.
    fn hold(&self, state: &mut State, is_invested: bool) -> f64 {
        let price = self.price(state, state.row);
        let before = state.net_worth;
        let affordable = (state.balance / (price * (1.0 + self.rules.cost_rate))).trunc();
        let bought = match (is_invested, state.shares > 0.0) {
            (true, false) => affordable,
            (false, true) => -state.shares,
            _ => 0.0,
        };
        if bought != 0.0 {
            state.order = Fill { shares: bought, price };
            self.trade(state, bought, price);
        }
        state.net_worth = state.balance + state.shares * price;
        libm::log(state.net_worth / before)
    }

    /// Closes the last position of a judgement, at the price of its last step.
    fn liquidate(&self, state: &mut State) {
        let price = self.price(state, state.row);
        state.order = Fill { shares: state.order.shares - state.shares, price };
        self.trade(state, -state.shares, price);
        state.net_worth = state.balance;
    }

    /// What the latest step did.
    fn trace(&self, state: &State, costs_before_step: Costs) -> TraceRow {
        let (first, _) = self.rows[state.symbol_idx as usize];
        // A step trades at the row that it leaves.
        let row = state.row - 1;
        let ts = self.data.symbols[state.symbol_idx as usize].ts[(first + row) as usize];
        let price = self.price(state, row);
        TraceRow {
            ts,
            order_ts: ts,
            symbol_idx: state.symbol_idx,
            entry: state.closing,
            exit: state.order,
            shares: state.shares,
            position: state.shares * price / state.net_worth,
            close: price,
            equity: state.net_worth,
            costs: state.costs - costs_before_step,
        }
    }
}

impl Environment for StockTradingEnv2 {
    type State = State;
    type States = [State; BLOCK_LEN];

    fn name(&self) -> String {
        "stock-trading-env2".into()
    }

    fn observation_names(&self) -> Vec<String> {
        let lags = self.rules.lags;
        let rows = |name: &String| {
            let name = name.clone();
            (0..=lags).rev().map(move |rows_ago| match rows_ago {
                0 => name.clone(),
                _ => format!("{name}@-{rows_ago}"),
            })
        };
        self.data.feature_names.iter().flat_map(rows).collect()
    }

    fn observation_len(&self) -> usize {
        self.data.feature_names.len() * (self.rules.lags as usize + 1)
    }

    fn action_space(&self) -> ActionSpace {
        if self.rules.holds {
            ActionSpace::Discrete { n_choices: 2 }
        } else {
            ActionSpace::Box { low: vec![-1.0, 0.0], high: vec![1.0, 1.0] }
        }
    }

    fn reset(&self, key: EpisodeKey) -> State {
        let capital = self.rules.capital;
        let symbol_idx = (key.env % self.rows.len() as u64) as u32;
        let mut actions = Recent::default();
        for _ in 0..3 {
            for action in FIRST_ACTIONS {
                actions.push(action);
            }
        }
        State {
            symbol_idx,
            row: self.rules.lags,
            balance: capital,
            shares: 0.0,
            net_worth: capital,
            day_start_net_worth: capital,
            day: self.day(symbol_idx, self.rules.lags),
            memory: Memory { actions, ..Memory::default() },
            costs: Costs::default(),
            n_trades: 0,
            traded_value: 0.0,
            peak: capital,
            max_drawdown: 0.0,
            closing: Fill::default(),
            order: Fill::default(),
        }
    }

    fn step(&self, state: &mut State, action: Action<'_>) -> Transition {
        (state.closing, state.order) = (Fill::default(), Fill::default());
        let reward = match action {
            Action::Choice(choice) => self.hold(state, choice == 1),
            Action::Numbers(numbers) => self.play(state, numbers[0].into(), numbers[1].into()),
        };
        let truncated = state.row + 1 >= self.end_row(state.symbol_idx);
        if truncated && self.liquidate_at_end && state.shares != 0.0 {
            self.liquidate(state);
        }
        state.row += 1;
        state.peak = state.peak.max(state.net_worth);
        state.max_drawdown = state.max_drawdown.max(1.0 - state.net_worth / state.peak);
        let terminated = !self.rules.holds && state.net_worth <= self.rules.capital / 2.0;
        Transition { reward, terminated, truncated }
    }

    fn observe(&self, state: &State, out: &mut [f32]) {
        let (first, _) = self.rows[state.symbol_idx as usize];
        let n_rows = self.rules.lags as usize + 1;
        let symbol = &self.data.symbols[state.symbol_idx as usize];
        let first_row = (symbol.first_row + first + state.row) as usize + 1 - n_rows;
        for row_idx in 0..n_rows {
            let features = self.data.rows.features(first_row + row_idx);
            for (values, &feature) in out.chunks_exact_mut(n_rows).zip(features) {
                values[row_idx] = feature;
            }
        }
    }

    fn account(&self, state: &State) -> AccountSummary {
        AccountSummary {
            symbol_idx: state.symbol_idx,
            initial_equity: self.rules.capital,
            final_equity: state.net_worth,
            costs: state.costs,
            n_trades: state.n_trades,
            turnover: state.traded_value / self.rules.capital,
            max_drawdown: state.max_drawdown,
        }
    }

    fn step_traced(&self, state: &mut State, action: Action<'_>) -> (Transition, TraceRow) {
        let costs_before_step = state.costs;
        let transition = self.step(state, action);
        (transition, self.trace(state, costs_before_step))
    }

    fn identity(&self) -> Vec<(&'static str, String)> {
        vec![
            ("environment", self.name()),
            ("data", self.data.digest.clone()),
            ("scaler", market::digest::hex_sha256(format!("{:?}", self.data.scaler).as_bytes())),
            ("prices", self.prices.column().into()),
            ("rules", format!("{:?}", self.rules)),
            ("days", format!("{:?}, closed at the end: {}", self.range, self.liquidate_at_end)),
        ]
    }

    fn save(&self, state: &State, out: &mut Writer) {
        out.f64s(&[state.balance, state.shares, state.net_worth, state.day_start_net_worth]);
        out.f64s(&[state.traded_value, state.peak, state.max_drawdown]);
        out.f64s(&state.costs.to_array());
        out.u32(state.n_trades);
        out.u32(state.day as u32);
        state.memory.save(out);
    }

    fn load(&self, key: EpisodeKey, progress: Progress, input: &mut Reader<'_>) -> Option<State> {
        let [balance, shares, net_worth, day_start_net_worth] = input.f64s()?;
        let [traded_value, peak, max_drawdown] = input.f64s()?;
        let costs = Costs::from_array(input.f64s()?);
        let (n_trades, day) = (input.u32()?, input.u32()? as i32);
        let memory = Memory::load(input)?;
        let start = self.reset(key);
        let row = start.row.checked_add(progress.length)?;
        let end = self.end_row(start.symbol_idx);
        let has_rows_left = row < end || (progress.has_ended && row == end);
        (has_rows_left && shares == shares.trunc()).then_some(State {
            row,
            balance,
            shares,
            net_worth,
            day_start_net_worth,
            day,
            memory,
            costs,
            n_trades,
            traded_value,
            peak,
            max_drawdown,
            ..start
        })
    }
}
