//! The parts of the specification that clients get: actions, market, rules.

use market::{FeatureTable, Provenance};
use trading_env::{
    ActionSpace, CostModel, Costs, PortfolioRules, Reward, SessionRange, Split, StockTradingEnv2Rules,
};
use wire::spec;

use crate::config::{Config, Rules};

/// What an action may be; `levels` is what choices mean.
pub fn action_spec(space: &ActionSpace, levels: &[f64]) -> spec::ActionSpace {
    match space {
        ActionSpace::Discrete { n_choices } => {
            spec::ActionSpace::Discrete { n: *n_choices, levels: levels.to_vec() }
        }
        ActionSpace::Box { low, high } => spec::ActionSpace::Box { low: low.clone(), high: high.clone() },
        _ => unreachable!("no environment has another kind of action"),
    }
}

/// The kinds of costs, in the order of every list of them.
pub fn cost_kinds() -> Vec<String> {
    Costs::KINDS.map(String::from).into()
}

/// The market: data, days, scaler, rules.
pub fn market_spec(
    table: &FeatureTable,
    config: &Config,
    rules: &Rules,
    split: Split,
    scaler: Option<spec::Scaler>,
    data_digest: String,
) -> spec::Market {
    let info = &table.info;
    let days = |range: SessionRange| spec::Days { first: range.first as u32, last: range.last as u32 };
    let kind = match &info.provenance {
        Provenance::Simulated { .. } => "simulated",
        Provenance::Real { .. } => "real",
        Provenance::Unlabelled => "unlabelled",
    };
    let currency = config.currency(&info.timezone);
    spec::Market {
        symbols: table
            .symbols
            .iter()
            .map(|symbol| spec::Symbol { name: symbol.bars.symbol.clone(), rows: symbol.bars.len() as u64 })
            .collect(),
        calendar: info.calendar.clone(),
        bar_seconds: info.bar_seconds,
        bars_per_year: info.bars_per_year,
        timezone: info.timezone.clone(),
        data_digest,
        feature_specification: info.specification.clone(),
        provenance: spec::Provenance { kind: kind.into(), label: info.provenance.to_string() },
        train: days(split.train),
        validation: split.validation.map(days),
        test: split.test.map(days),
        scaler,
        rules: match rules {
            Rules::Portfolio(rules) => portfolio(rules, currency),
            Rules::StockTradingEnv2(rules, column) => stock_trading_env2(rules, column, currency),
        },
    }
}

fn portfolio(rules: &PortfolioRules, currency: &str) -> spec::Rules {
    spec::Rules {
        name: "portfolio".into(),
        fill: rules.fill.name().into(),
        costs: rules.costs.in_words(),
        hold_costs: rules.costs.clone().for_holding().in_words(),
        slippage_bps: rules.slippage_bps,
        borrow_bps_per_year: rules.borrowing_bps_per_year,
        leverage: rules.leverage,
        short: rules.allows_short,
        square_off: rules.square_off,
        whole_shares: rules.whole_shares,
        capital: rules.capital,
        currency: currency.into(),
        ruin: rules.ruin,
        reward: match rules.reward {
            Reward::LogReturn => "log-return".into(),
            Reward::DifferentialSharpe { rate } => format!("differential-sharpe, rate {rate}"),
            Reward::DrawdownPenalised { weight } => format!("drawdown-penalised, weight {weight}"),
        },
    }
}

fn stock_trading_env2(rules: &StockTradingEnv2Rules, column: &str, currency: &str) -> spec::Rules {
    let costs = if rules.cost_rate == 0.0 { CostModel::Free } else { CostModel::Bps(rules.cost_rate * 1e4) };
    spec::Rules {
        name: "stock-trading-env2".into(),
        fill: format!("same-{column}"),
        costs: costs.to_string(),
        hold_costs: costs.to_string(),
        slippage_bps: 0.0,
        borrow_bps_per_year: 0.0,
        leverage: 1.0,
        short: true,
        square_off: false,
        whole_shares: true,
        capital: rules.capital,
        currency: currency.into(),
        ruin: 0.5,
        reward: "stock-trading-env2".into(),
    }
}
