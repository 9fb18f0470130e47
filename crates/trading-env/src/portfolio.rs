//! Trading one symbol with target positions.
//!
//! At row t the agent has seen t's close. Its action names a target level, the position as a fraction of
//! equity. If that is not the level held, an order fills at the open of t+1, worse by the slippage, and sized
//! on the equity that its own costs leave; an unchanged level never trades, so that drift is not rebalanced.
//! The reward is the logarithm of equity at t+1's close over equity at t's, net of every cost: an episode's
//! rewards add up to ln(final / initial). With square-off the position is closed at the close of each
//! session's last bar.
//!
//! An account whose equity falls to `ruin` times the capital, at an open or a close, is ruined and the episode
//! terminates; if that is at an open, the position is closed there. Equity never counts as less than a
//! thousandth of the capital, so that its logarithm exists even after a short position lost everything.

use std::sync::Arc;

use crate::EnvError;
use crate::account::{Account, Terms};
use crate::costs::{CostModel, Costs};
use crate::environment::{
    AccountSummary, Action, ActionSpace, Environment, EpisodeKey, Fill, TraceRow, Transition,
};
use crate::episodes::{EpisodeRows, EpisodeRules, Plan};
use crate::market_data::{MarketData, StepBar, SymbolData};
use crate::snapshot::{Progress, Reader, Writer};

/// What an observation says about the account, after the features.
pub const ACCOUNT_NAMES: [&str; 5] =
    ["position", "unrealised_result", "bars_held", "drawdown", "session_left"];

/// The least that equity counts as, as a fraction of the capital.
const EQUITY_FLOOR: f64 = 1e-3;
/// Results of the account are shown in units of the deviation of returns over this many bars, squared.
const RESULT_UNIT_ROOT_BARS: f64 = 8.0;
/// A position held for this many bars is shown as half; one held for ever would be 1.
const HALF_HELD_BARS: f64 = 16.0;
/// How far apart reads must be to touch every line of a row.
const FLOATS_PER_CACHE_LINE: usize = 16;
/// The largest slippage that makes sense.
const MAX_SLIPPAGE_BPS: f64 = 1000.0;

/// The rules of the account.
#[derive(Debug, Clone, PartialEq)]
pub struct PortfolioRules {
    /// The target positions to choose among, as fractions of equity, ascending within [−1, 1].
    pub levels: Vec<f64>,
    /// What orders are charged.
    pub costs: CostModel,
    /// How much worse than the bar's price fills are, in basis points.
    pub slippage_bps: f64,
    /// Whether positions are closed at each session's last bar.
    pub square_off: bool,
    /// Whether shares come whole.
    pub whole_shares: bool,
    /// Money at the start.
    pub capital: f64,
    /// The fraction of the capital at which the account is ruined.
    pub ruin: f64,
    /// How many rows of features an observation stacks.
    pub window: usize,
}

impl Default for PortfolioRules {
    fn default() -> Self {
        Self {
            levels: vec![-1.0, 0.0, 1.0],
            costs: CostModel::Bps(10.0),
            slippage_bps: 0.0,
            square_off: false,
            whole_shares: false,
            capital: 100_000.0,
            // A buyer who holds through a fall of half must stay in an evaluation; nobody comes back from a tenth.
            ruin: 0.1,
            window: 1,
        }
    }
}

impl PortfolioRules {
    /// What the National Stock Exchange allows: intraday bars pay intraday charges, may be short, and are
    /// squared off; daily bars pay delivery charges and are long only.
    pub fn nse(is_intraday: bool) -> Result<Self, EnvError> {
        Ok(if is_intraday {
            Self { costs: CostModel::nse_intraday()?, square_off: true, ..Self::default() }
        } else {
            Self { levels: vec![0.0, 1.0], costs: CostModel::nse_delivery()?, ..Self::default() }
        })
    }

    /// The account of somebody who stays out (choice 0) or buys once and holds (choice 1): no square-off, and
    /// the market's delivery costs. What the policy may do changes nothing here.
    pub fn for_holding(self) -> Result<Self, EnvError> {
        Ok(Self { levels: vec![0.0, 1.0], square_off: false, costs: self.costs.for_holding()?, ..self })
    }

    /// Whether a position may be negative.
    pub fn allows_short(&self) -> bool {
        self.levels.iter().any(|&level| level < 0.0)
    }

    /// Whether the rules make sense.
    pub fn validate(&self) -> Result<(), EnvError> {
        let require = |holds: bool, text: String| if holds { Ok(()) } else { Err(EnvError::Rule(text)) };
        require(
            self.levels.len() >= 2
                && self.levels.iter().all(|level| (-1.0..=1.0).contains(level))
                && self.levels.windows(2).all(|pair| pair[0] < pair[1]),
            format!("levels {:?}: take two or more, ascending, from -1 to 1", self.levels),
        )?;
        require(
            (0.0..=MAX_SLIPPAGE_BPS).contains(&self.slippage_bps),
            format!("slippage of {} basis points is not in 0 to {MAX_SLIPPAGE_BPS}", self.slippage_bps),
        )?;
        require(
            self.capital.is_finite() && self.capital > 0.0,
            format!("a capital of {} is not a positive amount", self.capital),
        )?;
        require(
            (EQUITY_FLOOR..1.0).contains(&self.ruin),
            format!("ruin at {} of the capital is not in {EQUITY_FLOOR} to 1", self.ruin),
        )?;
        require(self.window >= 1, "a window of 0 rows shows nothing; take at least 1".into())
    }
}

/// The environment.
#[derive(Debug, Clone)]
pub struct Portfolio {
    data: Arc<MarketData>,
    rules: PortfolioRules,
    episodes: EpisodeRules,
    plan: Plan,
    terms: Terms,
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
    held_level: f64,
    /// Equity at `row`'s close, net of every cost so far.
    equity: f64,
    peak: f64,
    max_drawdown: f64,
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
        let terms = Terms {
            costs: rules.costs,
            slippage: rules.slippage_bps * 1e-4,
            whole_shares: rules.whole_shares,
        };
        let result_unit = data.scaler.bar_deviation * RESULT_UNIT_ROOT_BARS;
        Ok(Self { data, rules, episodes, plan, terms, result_unit })
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
            held_level: 0.0,
            equity: capital,
            peak: capital,
            max_drawdown: 0.0,
            entry: Fill::default(),
            exit: Fill::default(),
            costs_before_step: Costs::default(),
        }
    }

    fn symbol(&self, state: &State) -> &SymbolData {
        &self.data.symbols[state.rows.symbol_idx as usize]
    }

    /// Fills the order at the bar's open, and closes the position at its close where the rules say so.
    /// Returns equity at the end of the bar, before the floor, and whether the open already was ruin.
    fn play_bar(&self, state: &mut State, target: f64) -> (f64, bool) {
        let StepBar { open, close, session, ends_session, .. } = self.symbol(state).bars[state.row as usize];
        if state.account.equity(open) <= self.rules.ruin * self.rules.capital {
            state.entry = state.account.trade_to(0.0, open, session, &self.terms);
            state.held_level = 0.0;
            return (state.account.equity(open), true);
        }
        if target != state.held_level {
            state.entry = state.account.trade_to(target, open, session, &self.terms);
            state.held_level = target;
        }
        let is_end = state.row == state.rows.last_row && self.episodes.liquidate_at_end;
        if is_end || (self.rules.square_off && ends_session) {
            state.exit = state.account.trade_to(0.0, close, session, &self.terms);
            state.held_level = 0.0;
        }
        (state.account.equity(close), false)
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
        ActionSpace::Discrete { n_choices: self.rules.levels.len() as u32 }
    }

    fn reset(&self, key: EpisodeKey) -> State {
        self.start(self.plan.draw(key))
    }

    fn step(&self, state: &mut State, action: Action<'_>) -> Transition {
        let capital = self.rules.capital;
        let shares_before = state.account.shares;
        state.costs_before_step = state.account.costs;
        (state.entry, state.exit) = (Fill::default(), Fill::default());
        state.row += 1;
        let (equity, ruined_at_open) = self.play_bar(state, self.rules.levels[action.choice() as usize]);
        let equity = equity.max(EQUITY_FLOOR * capital);
        let reward = libm::log(equity / state.equity);
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
        out.f64s(&[state.held_level, state.equity, state.peak, state.max_drawdown]);
    }

    fn load(&self, key: EpisodeKey, progress: Progress, input: &mut Reader<'_>) -> Option<State> {
        let bars_held = input.u32()?;
        let account = Account::load(input)?;
        let [held_level, equity, peak, max_drawdown] = input.f64s()?;
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
            held_level,
            equity,
            peak,
            max_drawdown,
            // What the latest step did was told with it.
            costs_before_step: account.costs,
            ..start
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episodes::{EpisodeLength, SessionRange, Start};
    use crate::testing::{Rollout, random_walk_table, rollout};
    use crate::{Autoreset, Batch, Scaler};
    use market::{FeatureColumn, FeatureTable};
    use proptest::prelude::*;

    fn data(table: &FeatureTable) -> Arc<MarketData> {
        Arc::new(MarketData::new(table, Scaler::fit(table, SessionRange { first: 0, last: 1 })))
    }

    fn whole(table: &FeatureTable, rules: PortfolioRules, liquidate_at_end: bool) -> Portfolio {
        let episodes = EpisodeRules {
            range: SessionRange { first: 0, last: table.info.calendar.len() as i32 - 1 },
            start: Start::First,
            length: EpisodeLength::Full,
            liquidate_at_end,
        };
        Portfolio::new(data(table), rules, episodes).unwrap()
    }

    /// A table of one symbol with these opens and closes, and one feature that is always known.
    fn priced(bars: &[(f64, f64)], bars_per_session: usize) -> FeatureTable {
        let mut table = random_walk_table(1, bars.len() / bars_per_session, bars_per_session, 1, 1);
        let symbol = &mut table.symbols[0];
        symbol.bars.open = bars.iter().map(|bar| bar.0).collect();
        symbol.bars.close = bars.iter().map(|bar| bar.1).collect();
        symbol.columns = vec![FeatureColumn::F32((0..bars.len()).map(|row| row as f32).collect())];
        table
    }

    fn play(environment: Portfolio, n_steps: usize, choose: impl Fn(usize) -> i32) -> Rollout {
        rollout(&mut Batch::new(environment, 1, 1, Autoreset::Disabled), n_steps, |_, step| choose(step))
    }

    #[test]
    fn an_order_fills_at_the_next_open_and_is_paid_from_close_to_close() {
        let table = priced(&[(10.0, 10.0), (20.0, 22.0), (30.0, 33.0), (40.0, 44.0)], 4);
        let rules = PortfolioRules { costs: CostModel::Free, ..PortfolioRules::default() };
        let result = play(whole(&table, rules, false), 3, |step| [2, 2, 1][step]);
        // Bought at 20, worth 22, then 33, sold at 40.
        for (reward, growth) in result.rewards.iter().zip([22.0 / 20.0, 33.0 / 22.0, 40.0 / 33.0]) {
            assert!((f64::from(*reward) - f64::ln(growth)).abs() < 1e-6);
        }
        assert_eq!(result.ends, [(0, 0), (0, 0), (0, 1)]);
        assert_eq!(result.trace[0].entry.price, 20.0);
        assert_eq!(result.trace[1].entry, Fill::default());
        assert_eq!((result.trace[2].entry.price, result.trace[2].shares), (40.0, 0.0));
        assert!((result.statistics[0].account.final_equity - 200_000.0).abs() < 1e-3);
    }

    #[test]
    fn square_off_closes_each_session_and_charges_both_sides() {
        let table = priced(&[(100.0, 100.0), (100.0, 100.0), (100.0, 100.0), (100.0, 100.0)], 2);
        let rules = PortfolioRules { square_off: true, ..PortfolioRules::default() };
        let result = play(whole(&table, rules, false), 3, |_| 2);
        let trades: Vec<(bool, bool)> =
            result.trace.iter().map(|row| (row.entry.shares > 0.0, row.exit.shares < 0.0)).collect();
        // The first session's last bar, then both of the second's: bought at its first, closed at its last.
        assert_eq!(trades, [(true, true), (true, false), (false, true)]);
        assert_eq!(result.statistics[0].account.n_trades, 4);
        // Bought with E/1.001 and sold for 0.999 of it, twice.
        let expected = 100_000.0 * f64::powi(0.999 / 1.001, 2);
        assert!((result.statistics[0].account.final_equity - expected).abs() < 1e-3);
    }

    #[test]
    fn an_evaluation_ends_flat_with_its_last_costs_paid() {
        let table = priced(&[(50.0, 50.0), (50.0, 50.0), (50.0, 50.0)], 3);
        for (liquidate, n_trades) in [(false, 1), (true, 2)] {
            let result = play(whole(&table, PortfolioRules::default(), liquidate), 2, |_| 0);
            assert_eq!(result.statistics[0].account.n_trades, n_trades);
            assert_eq!(result.trace[1].shares == 0.0, liquidate);
        }
    }

    #[test]
    fn a_short_that_loses_everything_is_ruined_and_its_reward_is_finite() {
        let rules = PortfolioRules { costs: CostModel::Free, ..PortfolioRules::default() };
        // At the close, at the next open, and far beyond everything.
        for (bars, length) in [
            ([(10.0, 10.0), (10.0, 19.5), (19.0, 19.0)], 1),
            ([(10.0, 10.0), (10.0, 10.0), (25.0, 9.0)], 2),
            ([(10.0, 10.0), (10.0, 900.0), (9.0, 9.0)], 1),
        ] {
            let result = play(whole(&priced(&bars, 3), rules.clone(), false), 2, |_| 0);
            let statistics = result.statistics[0];
            assert_eq!(statistics.length, length, "{bars:?}");
            assert_eq!(result.ends[length as usize - 1].0, 1, "terminated");
            assert!(statistics.return_sum.is_finite());
            assert!((statistics.return_sum - f64::ln(statistics.account.final_equity / 1e5)).abs() < 1e-12);
        }
        // The last bar can be both the end of the data and ruin.
        let result = play(whole(&priced(&[(10.0, 10.0), (10.0, 20.0)], 2), rules, false), 1, |_| 0);
        assert_eq!(result.ends, [(1, 1)]);
    }

    #[test]
    fn nse_rules_follow_the_bar_interval() {
        let intraday = PortfolioRules::nse(true).unwrap();
        assert_eq!((intraday.costs.to_string().as_str(), intraday.square_off), ("nse-intraday", true));
        assert!(intraday.allows_short());
        let daily = PortfolioRules::nse(false).unwrap();
        assert_eq!((daily.costs.to_string().as_str(), daily.square_off), ("nse-delivery", false));
        assert_eq!(daily.levels, [0.0, 1.0]);
        let holding = intraday.for_holding().unwrap();
        assert_eq!((holding.costs.to_string().as_str(), holding.square_off), ("nse-delivery", false));
        assert_eq!(holding.levels, [0.0, 1.0]);
    }

    #[test]
    fn rules_outside_their_domain_are_refused() {
        let table = random_walk_table(1, 2, 5, 1, 1);
        for rules in [
            PortfolioRules { levels: vec![0.0], ..PortfolioRules::default() },
            PortfolioRules { levels: vec![0.0, 2.0], ..PortfolioRules::default() },
            PortfolioRules { levels: vec![1.0, 0.0], ..PortfolioRules::default() },
            PortfolioRules { levels: vec![0.0, f64::NAN], ..PortfolioRules::default() },
            PortfolioRules { capital: 0.0, ..PortfolioRules::default() },
            PortfolioRules { slippage_bps: -1.0, ..PortfolioRules::default() },
            PortfolioRules { ruin: 1.0, ..PortfolioRules::default() },
            PortfolioRules { window: 0, ..PortfolioRules::default() },
        ] {
            let episodes = EpisodeRules {
                range: SessionRange { first: 0, last: 1 },
                start: Start::Random,
                length: EpisodeLength::Full,
                liquidate_at_end: false,
            };
            assert!(Portfolio::new(data(&table), rules.clone(), episodes).is_err(), "{rules:?}");
        }
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let table = random_walk_table(3, 20, 20, 7, 5);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let episodes = EpisodeRules {
                    range: SessionRange { first: 0, last: 15 },
                    start: Start::Random,
                    length: EpisodeLength::Bars(25),
                    liquidate_at_end: false,
                };
                let rules = PortfolioRules { window: 3, ..PortfolioRules::nse(true).unwrap() };
                let environment = Portfolio::new(data(&table), rules, episodes).unwrap();
                let mut batch = Batch::new(environment, 1500, 9, Autoreset::SameStep);
                rollout(&mut batch, 60, |env, step| ((env * 5 + step * step) % 3) as i32)
            })
        };
        let one = run(1);
        assert!(one.statistics.len() >= 3000, "every environment finished twice");
        for threads in [2, 8] {
            assert!(one == run(threads), "{threads} threads");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn rewards_add_up_and_money_is_never_made_or_lost(
            seed in 0_u64..1000,
            slippage_bps in 0.0..50.0,
            costs in prop::sample::select(vec!["none", "bps:10", "nse-delivery", "nse-intraday"]),
            square_off: bool,
            whole_shares: bool,
            actions in prop::collection::vec(0_i32..5, 60),
        ) {
            let table = random_walk_table(1, 12, 5, 2, seed);
            let rules = PortfolioRules {
                levels: vec![-1.0, -0.5, 0.0, 0.5, 1.0],
                costs: CostModel::parse(costs).unwrap(),
                slippage_bps,
                square_off,
                whole_shares,
                ..PortfolioRules::default()
            };
            let result = play(whole(&table, rules, true), 57, |step| actions[step]);
            let statistics = result.statistics[0];
            prop_assert_eq!(statistics.length, 57);
            prop_assert!((statistics.return_sum - f64::ln(statistics.account.final_equity / 1e5)).abs() < 1e-12);
            // A second account, kept from the trace alone: what fills move, and what they are charged.
            let mut cash = 1e5;
            let mut shares = 0.0;
            for row in &result.trace {
                for fill in [row.entry, row.exit] {
                    cash -= fill.shares * fill.price;
                    shares += fill.shares;
                }
                cash -= row.costs.charges();
                prop_assert!((cash + shares * row.close - row.equity).abs() < 1e-6);
                prop_assert!(shares <= 0.0 || cash >= -1e-6, "a long borrows: {}", cash);
                prop_assert!(!whole_shares || shares == shares.trunc());
            }
            let paid: f64 = result.trace.iter().map(|row| row.costs.total()).sum();
            prop_assert!((paid - statistics.account.costs.total()).abs() < 1e-6);
        }

        #[test]
        fn later_bars_change_nothing_before_them(
            seed in 0_u64..1000,
            cut in 10_usize..50,
            actions in prop::collection::vec(0_i32..3, 60),
        ) {
            let table = random_walk_table(1, 12, 5, 2, seed);
            let mut altered = table.clone();
            let symbol = &mut altered.symbols[0];
            for row in cut..60 {
                symbol.bars.open[row] *= 1.7;
                symbol.bars.close[row] *= 0.6;
                let FeatureColumn::F32(values) = &mut symbol.columns[0] else { unreachable!() };
                values[row] = -3.0;
            }
            let rules = PortfolioRules { window: 2, ..PortfolioRules::nse(true).unwrap() };
            let n_steps = cut - 4;
            let run = |table: &FeatureTable| {
                play(whole(table, rules.clone(), true), n_steps, |step| actions[step])
            };
            // The first decision is at row 3, so that step n ends with row 4 + n: the last one here is cut − 1.
            let (one, other) = (run(&table), run(&altered));
            prop_assert_eq!(one.trace.last().map(|row| row.ts), Some(table.symbols[0].bars.ts[cut - 1]));
            prop_assert!(one == other);
        }
    }
}
