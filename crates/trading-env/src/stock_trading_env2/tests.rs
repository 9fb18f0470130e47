use super::*;
use crate::Scaler;
use crate::testing::{random_walk_table, varied_rollout};
use crate::{Autoreset, Batch};
use market::{FeatureColumn, FeatureTable};

fn environment(table: &FeatureTable, rules: StockTradingEnv2Rules) -> StockTradingEnv2 {
    let last = table.info.calendar.len() as i32 - 1;
    let range = SessionRange { first: 0, last };
    let data = Arc::new(MarketData::new(table, Scaler::unscaled(table, range)));
    let prices = Arc::new(Prices::new(table, "close").unwrap());
    StockTradingEnv2::new(data, prices, rules, range, false).unwrap()
}

/// Bars of `bars_per_session` with these closes, and one feature that is the row.
fn priced(closes: &[f64], bars_per_session: usize) -> FeatureTable {
    let mut table = random_walk_table(1, closes.len() / bars_per_session, bars_per_session, 1, 1);
    table.symbols[0].bars.close = closes.to_vec();
    table.symbols[0].columns = vec![FeatureColumn::F32((0..closes.len()).map(|row| row as f32).collect())];
    table
}

fn reset(environment: &StockTradingEnv2) -> State {
    environment.reset(EpisodeKey { seed: 1, env: 0, episode: 0 })
}

fn step(environment: &StockTradingEnv2, state: &mut State, direction: f32, amount: f32) -> Transition {
    environment.step(state, Action::Numbers(&[direction, amount]))
}

#[test]
fn orders_take_a_part_of_what_money_and_limit_allow() {
    let environment = environment(
        &priced(&[300.0; 20], 20),
        StockTradingEnv2Rules { cost_rate: 0.001, ..Default::default() },
    );
    let mut state = reset(&environment);
    // 100,000 / 300 × 0.5 = 166.67: 166 shares for 49,800.00 and 49.80.
    step(&environment, &mut state, 0.3, 0.5);
    assert!((state.balance - (100_000.0 - 49_800.0 - 49.8)).abs() < 1e-9 && state.shares == 166.0);
    assert!((state.net_worth - (100_000.0 - 49.8)).abs() < 1e-9);
    // All that is left buys 167.17, 167 shares with their fee: 50,100.00 + 50.10 are the money that is there, but 0.0.
    let before = state.balance;
    step(&environment, &mut state, 1.0, 1.0);
    assert!((state.balance - (before - 50_100.0 - 50.1)).abs() < 1e-9 && state.shares == 333.0);
    // Nothing between the thresholds.
    step(&environment, &mut state, 0.29, 1.0);
    assert_eq!(state.shares, 333.0);
    // Sold: all 333 and 333.33 more, and of that the whole part.
    step(&environment, &mut state, -1.0, 1.0);
    assert_eq!(state.shares, 333.0 - 666.0);
    // The amount is at least a tenth: (−333 + 333.33) × 0.1 is less than one share.
    step(&environment, &mut state, -1.0, 0.0);
    assert_eq!(state.shares, -333.0);
}

#[test]
fn an_order_that_its_fee_makes_too_dear_is_not_placed() {
    let environment = environment(
        &priced(&[100.0; 20], 20),
        StockTradingEnv2Rules { cost_rate: 0.001, ..Default::default() },
    );
    let mut state = reset(&environment);
    // 1,000 shares cost 100,000.00 and 100.00.
    step(&environment, &mut state, 1.0, 1.0);
    assert_eq!((state.shares, state.balance), (0.0, 100_000.0));
}

#[test]
fn a_new_day_closes_the_position_and_pays_for_the_day() {
    // Sessions of 8 rows; the price rises by a tenth overnight.
    let closes: Vec<f64> = [[100.0; 8], [110.0; 8]].concat();
    let environment =
        environment(&priced(&closes, 8), StockTradingEnv2Rules { cost_rate: 0.001, ..Default::default() });
    let mut state = reset(&environment);
    step(&environment, &mut state, 1.0, 0.5);
    step(&environment, &mut state, 0.0, 0.5);
    step(&environment, &mut state, 0.0, 0.5);
    assert_eq!((state.row, state.shares), (8, 500.0));
    step(&environment, &mut state, 0.0, 0.5);
    // 500 shares for 50,000 + 50.00, sold for 55,000 − 55.00.
    assert_eq!(state.closing, Fill { shares: -500.0, price: 110.0 });
    assert!((state.net_worth - 104_895.0).abs() < 1e-9 && state.day_start_net_worth == state.net_worth);
    let day_return = state.memory.daily_returns.as_slice();
    assert!(day_return.len() == 1 && (day_return[0] - 0.048_95).abs() < 1e-12);
    // 500 × 0.04895 − 100 × 55 / 100,000.
    let mut memory = Memory::default();
    assert!((reward::of_day(&mut memory, 0.048_95, -0.000_55) - (24.475 - 0.055)).abs() < 1e-12);
}

#[test]
fn days_without_a_position_pay_from_the_last_day_that_had_one() {
    let environment = environment(&priced(&[100.0; 30], 10), StockTradingEnv2Rules::default());
    let mut state = reset(&environment);
    for _ in 0..24 {
        step(&environment, &mut state, 0.0, 0.5);
    }
    assert_eq!(state.memory.daily_returns.as_slice(), [0.0, 0.0]);
    assert_eq!(state.day_start_net_worth, 100_000.0);
}

#[test]
fn observations_are_rows_of_each_feature_oldest_first() {
    let mut table = priced(&[100.0; 20], 20);
    table.symbols[0].columns.push(FeatureColumn::F64((0..20).map(|row| f64::from(row) * -10.0).collect()));
    table.info.features.push(market::FeatureInfo { name: "other".into(), lookback: 0 });
    let environment = environment(&table, StockTradingEnv2Rules { lags: 2, ..Default::default() });
    let mut state = reset(&environment);
    step(&environment, &mut state, 0.0, 0.5);
    let mut seen = [0.0; 6];
    environment.observe(&state, &mut seen);
    assert_eq!(seen, [1.0, 2.0, 3.0, -10.0, -20.0, -30.0]);
    assert_eq!(environment.observation_names()[2..5], ["feature_0", "other@-2", "other@-1"]);
}

#[test]
fn ruin_terminates_and_limits_truncate() {
    let mut closes = vec![100.0; 40];
    closes[8..].fill(1.0);
    let crashing = environment(&priced(&closes, 40), StockTradingEnv2Rules::default());
    let mut state = reset(&crashing);
    let ends: Vec<_> = (0..4)
        .map(|_| {
            let transition = step(&crashing, &mut state, 1.0, 1.0);
            (transition.terminated, transition.truncated)
        })
        .collect();
    // Rows 5, 6 and 7 are traded at 100, row 8 at 1.
    assert_eq!(ends, [(false, false), (false, false), (false, false), (true, false)]);
    for (limit, last) in [(20_000, 39), (12, 12)] {
        let rules = StockTradingEnv2Rules { episode_limit: limit, ..Default::default() };
        let environment = environment(&priced(&[100.0; 40], 40), rules);
        let mut state = reset(&environment);
        let n_steps = (1..100).find(|_| step(&environment, &mut state, 0.0, 0.5).truncated);
        assert_eq!(n_steps, Some(last - 5));
    }
}

#[test]
fn rows_begin_where_features_are_known_and_are_not_interrupted() {
    let mut table = random_walk_table(1, 4, 10, 2, 1);
    let first_row = |table: &FeatureTable| environment(table, StockTradingEnv2Rules::default()).rows[0];
    assert_eq!(first_row(&table), (2, 39));
    let FeatureColumn::F32(values) = &mut table.symbols[0].columns[1] else { unreachable!() };
    values[30] = f32::NAN;
    let range = SessionRange { first: 0, last: 3 };
    let data = Arc::new(MarketData::new(&table, Scaler::unscaled(&table, range)));
    let prices = Arc::new(Prices::new(&table, "open").unwrap());
    let error =
        StockTradingEnv2::new(data, prices, StockTradingEnv2Rules::default(), range, false).unwrap_err();
    assert!(matches!(error, EnvError::Interrupted { row: 30, .. }), "{error}");
    assert!(Prices::new(&table, "nothing").is_err());
    // A feature may be the price, if it is one.
    assert!(Prices::new(&table, "feature_0").unwrap_err().to_string().contains("no price"));
}

#[test]
fn whoever_holds_buys_once_and_has_no_ruin() {
    let mut closes = vec![100.0; 20];
    closes[10..].fill(40.0);
    let rules = StockTradingEnv2Rules { holds: true, cost_rate: 0.001, ..Default::default() };
    let environment = environment(&priced(&closes, 5), rules);
    let mut state = reset(&environment);
    let mut sum = 0.0;
    loop {
        let transition = environment.step(&mut state, Action::Choice(1));
        assert!(!transition.terminated);
        sum += transition.reward;
        if transition.truncated {
            break;
        }
    }
    // 999 shares for 99,900 and 99.90; 0.10 is left.
    assert!((state.net_worth - (999.0 * 40.0 + 0.1)).abs() < 1e-6 && state.n_trades == 1);
    assert!((sum - f64::ln(state.net_worth / 1e5)).abs() < 1e-12);
}

#[test]
fn constants_without_sense_are_refused() {
    let base = StockTradingEnv2Rules::default;
    for rules in [
        StockTradingEnv2Rules { capital: f64::NAN, ..base() },
        StockTradingEnv2Rules { largest_short_value: -1.0, ..base() },
        StockTradingEnv2Rules { cost_rate: 0.5, ..base() },
        StockTradingEnv2Rules { buy_threshold: -0.5, ..base() },
        StockTradingEnv2Rules { lags: 0, ..base() },
        StockTradingEnv2Rules { episode_limit: 5, ..base() },
    ] {
        assert!(rules.validate().is_err(), "{rules:?}");
    }
}

#[test]
fn later_rows_change_nothing_before_them_and_threads_nothing_at_all() {
    let table = random_walk_table(2, 12, 5, 2, 3);
    let mut altered = table.clone();
    for symbol in &mut altered.symbols {
        for row in 30..60 {
            symbol.bars.close[row] *= 0.6;
            let FeatureColumn::F32(values) = &mut symbol.columns[1] else { unreachable!() };
            values[row] = -3.0;
        }
    }
    let run = |table: &FeatureTable, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let environment = environment(table, StockTradingEnv2Rules::default());
        // Rows are counted from 2, and the first is 5: the last of 22 steps leaves row 28, and shows row 29.
        pool.install(|| varied_rollout(&mut Batch::new(environment, 1000, 1, Autoreset::SameStep), 22))
    };
    let one = run(&table, 1);
    assert!(one == run(&altered, 1));
    for threads in [2, 8] {
        assert!(one == run(&table, threads), "{threads} threads");
    }
}
