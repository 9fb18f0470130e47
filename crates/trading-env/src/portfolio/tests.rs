use super::*;
use crate::episodes::{EpisodeLength, SessionRange, Start};
use crate::testing::{Rollout, random_walk_table, rollout, varied_rollout};
use crate::{Autoreset, Batch, CostModel, Reward, Scaler};
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
fn without_features_an_agent_sees_its_account_alone() {
    let mut table = priced(&[(10.0, 10.0), (20.0, 22.0), (30.0, 33.0)], 3);
    table.info.features.clear();
    table.symbols[0].columns.clear();
    for window in [1, 2] {
        let rules = PortfolioRules { window, ..PortfolioRules::default() };
        let result = play(whole(&table, rules, false), 1, |_| 2);
        assert_eq!(result.observations.len(), 2 * ACCOUNT_NAMES.len());
        assert!(result.observations[5] > 0.99, "long: {:?}", result.observations);
    }
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
    assert!(intraday.allows_short);
    let daily = PortfolioRules::nse(false).unwrap();
    assert_eq!((daily.costs.to_string().as_str(), daily.square_off), ("nse-delivery", false));
    assert_eq!(daily.targets, Targets::Levels(vec![0.0, 1.0]));
    let holding = intraday.for_holding();
    assert_eq!((holding.costs.to_string().as_str(), holding.square_off), ("nse-delivery", false));
    assert_eq!(holding.targets, Targets::Levels(vec![0.0, 1.0]));
}

#[test]
fn rules_outside_their_domain_are_refused() {
    let table = random_walk_table(1, 2, 5, 1, 1);
    for rules in [
        PortfolioRules { targets: Targets::Levels(vec![0.0]), ..PortfolioRules::default() },
        PortfolioRules { targets: Targets::Levels(vec![0.0, 2.0]), ..PortfolioRules::default() },
        PortfolioRules { targets: Targets::Levels(vec![1.0, 0.0]), ..PortfolioRules::default() },
        PortfolioRules { targets: Targets::Levels(vec![0.0, f64::NAN]), ..PortfolioRules::default() },
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
            targets: Targets::Levels(vec![-1.0, -0.5, 0.0, 0.5, 1.0]),
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
        rules in any_rules(),
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
        let n_steps = cut - 4;
        let run = |table: &FeatureTable| {
            varied_rollout(&mut Batch::new(whole(table, rules.clone(), true), 1, 1, Autoreset::Disabled), n_steps)
        };
        // The first decision is at row 3, so that step n ends with row 4 + n: the last one here is cut − 1.
        let (one, other) = (run(&table), run(&altered));
        prop_assert!(one.trace.iter().any(|row| row.entry.shares + row.exit.shares != 0.0) || n_steps < 12);
        prop_assert!(one.ends.contains(&(1, 0)) || one.trace.last().map(|row| row.ts) == Some(table.symbols[0].bars.ts[cut - 1]));
        prop_assert!(one == other);
    }

    #[test]
    fn log_returns_add_up_and_money_is_kept_under_all_rules(seed in 0_u64..1000, rules in any_rules()) {
        let rules = PortfolioRules { reward: Reward::LogReturn, ..rules };
        let table = random_walk_table(1, 12, 5, 2, seed);
        let mut batch = Batch::new(whole(&table, rules.clone(), true), 1, 1, Autoreset::Disabled);
        let result = varied_rollout(&mut batch, 56);
        let statistics = result.statistics[0];
        prop_assert!((statistics.return_sum - f64::ln(statistics.account.final_equity / 1e5)).abs() < 1e-9);
        let (mut cash, mut shares) = (1e5, 0.0);
        for row in &result.trace[..statistics.length as usize] {
            for fill in [row.entry, row.exit] {
                cash -= fill.shares * fill.price;
                shares += fill.shares;
            }
            cash -= row.costs.charges();
            if row.equity > EQUITY_FLOOR * 1e5 && row.equity > rules.ruin * 1e5 {
                prop_assert!((cash + shares * row.close - row.equity).abs() < 1e-6);
            }
            prop_assert!(rules.allows_short || row.shares >= 0.0);
        }
    }
}

fn any_rules() -> impl Strategy<Value = PortfolioRules> {
    let targets = prop::sample::select(vec![
        Targets::Levels(vec![0.0, 0.5, 1.0]),
        Targets::Position,
        Targets::DirectionSize,
    ]);
    let fill = prop::sample::select(vec![FillAt::NextOpen, FillAt::NextClose, FillAt::SameClose]);
    let reward = prop::sample::select(vec![
        Reward::LogReturn,
        Reward::DifferentialSharpe { rate: 0.01 },
        Reward::DrawdownPenalised { weight: 1.0 },
    ]);
    let costs = prop::sample::select(vec!["none", "bps:10", "nse-delivery", "nse-intraday"]);
    let account = (any::<bool>(), any::<bool>(), any::<bool>(), 0.5_f64..5.0, 0.0_f64..5000.0);
    (targets, fill, reward, costs, account).prop_map(|(targets, fill, reward, costs, account)| {
        let (allows_short, square_off, whole_shares, leverage, borrowing_bps_per_year) = account;
        PortfolioRules {
            targets,
            allows_short,
            leverage,
            fill,
            costs: CostModel::parse(costs).unwrap(),
            borrowing_bps_per_year,
            slippage_bps: 2.0,
            square_off,
            whole_shares,
            reward,
            window: 2,
            ..PortfolioRules::default()
        }
    })
}

#[test]
fn orders_fill_where_the_rules_say() {
    let table = priced(&[(10.0, 11.0), (12.0, 13.0), (14.0, 15.0), (16.0, 17.0)], 4);
    for (fill, entry, exit, growth) in [
        (FillAt::NextOpen, 12.0, 0.0, 13.0 / 12.0),
        (FillAt::NextClose, 0.0, 13.0, 1.0),
        (FillAt::SameClose, 11.0, 0.0, 13.0 / 11.0),
    ] {
        let rules = PortfolioRules { costs: CostModel::Free, fill, ..PortfolioRules::default() };
        let result = play(whole(&table, rules, false), 3, |_| 2);
        let row = result.trace[0];
        assert_eq!((row.entry.price, row.exit.price), (entry, exit), "{fill:?}");
        assert!((f64::from(result.rewards[0]) - f64::ln(growth)).abs() < 1e-6, "{fill:?}");
        assert!((f64::from(result.rewards[1]) - f64::ln(15.0 / 13.0)).abs() < 1e-6, "{fill:?}");
    }
}

#[test]
fn borrowing_is_paid_by_the_time_between_closes() {
    // Daily bars, 86,400 s apart, at a constant price; 3,650 basis points a year are 0.1 % a day.
    let mut table = priced(&[(100.0, 100.0); 5], 1);
    table.symbols[0].bars.ts = (0..5).map(|day| day * 86_400_000_000).collect();
    let rules = |leverage| PortfolioRules {
        costs: CostModel::Free,
        borrowing_bps_per_year: 3650.0,
        leverage,
        ..PortfolioRules::default()
    };
    for (leverage, choice, daily_cost) in [(1.0, 0, 100.0), (1.0, 2, 0.0), (3.0, 2, 200.0), (2.0, 0, 200.0)] {
        let result = play(whole(&table, rules(leverage), false), 4, |_| choice);
        let paid: Vec<f64> = result.trace.iter().map(|row| row.costs.borrowing).collect();
        // The first close that the position was held over is that of the first step.
        assert_eq!(paid[0], 0.0, "{leverage} {choice}");
        assert!((paid[1] - daily_cost).abs() < 1e-6, "{leverage} {choice}: {paid:?}");
        assert!((result.statistics[0].account.final_equity - (1e5 - paid.iter().sum::<f64>())).abs() < 1e-6);
    }
}

#[test]
fn bits_do_not_depend_on_threads_whatever_the_actions() {
    let table = random_walk_table(3, 20, 20, 7, 5);
    for targets in [Targets::Position, Targets::DirectionSize] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let rules = PortfolioRules { targets: targets.clone(), ..PortfolioRules::nse(true).unwrap() };
                let episodes = EpisodeRules {
                    range: SessionRange { first: 0, last: 15 },
                    start: Start::EverySession,
                    length: EpisodeLength::Bars(25),
                    liquidate_at_end: false,
                };
                let environment = Portfolio::new(data(&table), rules, episodes).unwrap();
                varied_rollout(&mut Batch::new(environment, 1500, 9, Autoreset::NextStep), 40)
            })
        };
        let one = run(1);
        for threads in [2, 8] {
            assert!(one == run(threads), "{threads} threads");
        }
    }
}
