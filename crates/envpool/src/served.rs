//! What is served: the data with its rules and its held-out days, or an environment with a known answer; and
//! the specification that clients get of it.

use std::sync::Arc;

use anyhow::{Result, ensure};
use cli::UsageError;
use market::{FeatureTable, Provenance};
use trading_env::portfolio::ACCOUNT_NAMES;
use trading_env::{
    ActionSpace, AnyEnvironment, Costs, EnvError, EpisodeLength, EpisodeRules, MarketData, Portfolio,
    PortfolioRules, Scaler, SessionRange, Split, Start,
};
use wire::message::{ErrorCode, Refusal};
use wire::spec::{self, Spec};
use wire::{Episode, Open, Range};

use crate::config::Config;

/// The most sessions that one client may have open: enough to train and to judge several baselines at once.
const MAX_SESSIONS: u32 = 32;

/// Everything that clients share.
#[derive(Debug)]
pub struct Served {
    /// The specification that clients get.
    pub spec: Spec,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Known(AnyEnvironment),
    Market { data: Arc<MarketData>, rules: Box<PortfolioRules>, split: Split, length: EpisodeLength },
}

impl Served {
    /// An environment with a known answer.
    pub fn known(environment: AnyEnvironment, config: &Config) -> Self {
        let names = environment.observation_names();
        let observation =
            spec::Observation { len: names.len() as u32, window: 1, features: names, account: Vec::new() };
        let spec = Spec {
            environment: environment.name(),
            observation,
            action: action_spec(&environment.action_space(), &[]),
            seed: config.seed,
            max_envs: config.n_envs,
            max_sessions: MAX_SESSIONS,
            cost_kinds: cost_kinds(),
            market: None,
        };
        Self { spec, source: Source::Known(environment) }
    }

    /// The portfolio over `table`.
    pub fn market(table: &FeatureTable, config: &Config) -> Result<Self> {
        let n_sessions = table.info.calendar.len();
        let split = Split::new(n_sessions, config.validation_days, config.test_days)
            .map_err(|error| UsageError(format!("--test-days, --validation-days: {error}")))?;
        let rules = config.rules(table.info.is_intraday())?;
        let scaler = Scaler::fit(table, split.train);
        let data = Arc::new(MarketData::new(table, scaler));
        let longest = data.symbols.iter().map(|symbol| split.train.rows_of(&symbol.session).len()).max();
        let length = config.episode_length(longest.unwrap_or(0) as u32);
        let digest = market::digest::table_sha256(table);
        let market = market_spec(table, config, &rules, split, &data.scaler, digest)?;
        let environment = Portfolio::new(data.clone(), rules.clone(), training(split, length))?;
        let n_symbols = data.symbols.len() as u32;
        let spec = Spec {
            environment: "portfolio".into(),
            observation: spec::Observation {
                len: trading_env::Environment::observation_len(&environment) as u32,
                window: rules.window as u32,
                features: data.feature_names.clone(),
                account: ACCOUNT_NAMES.map(String::from).into(),
            },
            action: action_spec(&trading_env::Environment::action_space(&environment), &rules.levels),
            seed: config.seed,
            // A held-out evaluation plays one environment a symbol.
            max_envs: config.n_envs.max(n_symbols),
            max_sessions: MAX_SESSIONS,
            cost_kinds: cost_kinds(),
            market: Some(market),
        };
        ensure!(
            spec.observation.len <= 1 << 20,
            "--window: an observation of {} numbers",
            spec.observation.len
        );
        Ok(Self { spec, source: Source::Market { data, rules: Box::new(rules), split, length } })
    }

    /// The market's data, where there is any.
    pub fn data(&self) -> Option<&MarketData> {
        match &self.source {
            Source::Known(_) => None,
            Source::Market { data, .. } => Some(data),
        }
    }

    /// The length of training episodes in words.
    pub fn episode_length(&self) -> Option<EpisodeLength> {
        match &self.source {
            Source::Known(_) => None,
            Source::Market { length, .. } => Some(*length),
        }
    }

    /// The environment that `open` asks for.
    pub fn environment(&self, open: &Open) -> Result<AnyEnvironment, Refusal> {
        let (data, rules, split, length) = match &self.source {
            // An environment without a market has no days, no account and one kind of start.
            Source::Known(environment) => return Ok(environment.clone()),
            Source::Market { data, rules, split, length } => (data, rules, split, *length),
        };
        let refuse = |error: EnvError| Refusal { code: ErrorCode::BadOpen, text: error.to_string() };
        let episodes = EpisodeRules {
            range: days(split, open.range)?,
            start: match open.start {
                wire::Start::Random => Start::Random,
                wire::Start::First => Start::First,
            },
            length: match open.episode {
                Episode::Default => length,
                Episode::Steps(steps) => EpisodeLength::Bars(steps),
                Episode::Session => EpisodeLength::Session,
                Episode::Full => EpisodeLength::Full,
            },
            liquidate_at_end: open.liquidate_at_end,
        };
        let mut rules = PortfolioRules::clone(rules);
        if open.hold_account {
            rules = rules.for_holding().map_err(refuse)?;
        }
        let portfolio = Portfolio::new(data.clone(), rules, episodes).map_err(refuse)?;
        Ok(AnyEnvironment::Portfolio(Box::new(portfolio)))
    }
}

fn training(split: Split, length: EpisodeLength) -> EpisodeRules {
    EpisodeRules { range: split.train, start: Start::Random, length, liquidate_at_end: false }
}

fn days(split: &Split, range: Range) -> Result<SessionRange, Refusal> {
    let absent = |flag: &str| Refusal {
        code: ErrorCode::BadOpen,
        text: format!("no days are held out for this; start envpool with {flag} N"),
    };
    match range {
        Range::Train => Ok(split.train),
        Range::Validation => split.validation.ok_or_else(|| absent("--validation-days")),
        Range::Test => split.test.ok_or_else(|| absent("--test-days")),
        Range::Sessions { first, last } => match (i32::try_from(first), i32::try_from(last)) {
            (Ok(first), Ok(last)) => Ok(SessionRange { first, last }),
            _ => Err(Refusal {
                code: ErrorCode::BadOpen,
                text: format!("sessions {first} to {last} are not in the calendar"),
            }),
        },
    }
}

fn action_spec(space: &ActionSpace, levels: &[f64]) -> spec::ActionSpace {
    match space {
        ActionSpace::Discrete { n_choices } => {
            spec::ActionSpace::Discrete { n: *n_choices, levels: levels.to_vec() }
        }
        _ => unreachable!("every environment so far has discrete actions"),
    }
}

fn cost_kinds() -> Vec<String> {
    Costs::KINDS.map(String::from).into()
}

fn market_spec(
    table: &FeatureTable,
    config: &Config,
    rules: &PortfolioRules,
    split: Split,
    scaler: &Scaler,
    data_digest: String,
) -> Result<spec::Market> {
    let info = &table.info;
    let days = |range: SessionRange| spec::Days { first: range.first as u32, last: range.last as u32 };
    let kind = match &info.provenance {
        Provenance::Simulated { .. } => "simulated",
        Provenance::Real { .. } => "real",
        Provenance::Unlabelled => "unlabelled",
    };
    let costs_in_words = |costs: trading_env::CostModel| match costs.in_force_since() {
        Some(date) => format!("{costs}, rates of {date}"),
        None => costs.to_string(),
    };
    Ok(spec::Market {
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
        scaler: Some(spec::Scaler {
            mean: scaler.mean.clone(),
            deviation: scaler.deviation.clone(),
            clip: scaler.clip,
        }),
        rules: spec::Rules {
            name: "portfolio".into(),
            fill: "next-open".into(),
            costs: costs_in_words(rules.costs),
            hold_costs: costs_in_words(rules.costs.for_holding()?),
            slippage_bps: rules.slippage_bps,
            short: rules.allows_short(),
            square_off: rules.square_off,
            whole_shares: rules.whole_shares,
            capital: rules.capital,
            currency: config.currency(&info.timezone).into(),
            ruin: rules.ruin,
            reward: "log-return".into(),
        },
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cli::Arguments;
    use clap::Parser;
    use trading_env::testing::random_walk_table;

    /// Two symbols, 20 sessions of 10 bars, served with `flags`.
    pub(crate) fn try_served(flags: &[&str]) -> Result<Served> {
        let arguments = [&["envpool", "table"], flags].concat();
        let config = Config::new(&Arguments::try_parse_from(arguments).unwrap().serve)?;
        Served::market(&random_walk_table(2, 20, 10, 3, 1), &config)
    }

    pub(crate) fn served(flags: &[&str]) -> Served {
        try_served(flags).unwrap()
    }

    #[test]
    fn the_specification_says_what_is_served() {
        let spec =
            served(&["--market", "nse", "--test-days", "4", "--validation-days", "2", "--window", "2"]).spec;
        assert_eq!((spec.observation.len, spec.observation.window), (2 * 3 + 5, 2));
        assert_eq!(spec.action, spec::ActionSpace::Discrete { n: 3, levels: vec![-1.0, 0.0, 1.0] });
        let market = spec.market.as_ref().unwrap();
        assert_eq!(market.train, spec::Days { first: 0, last: 13 });
        assert_eq!(market.validation, Some(spec::Days { first: 14, last: 15 }));
        assert_eq!(market.test, Some(spec::Days { first: 16, last: 19 }));
        assert_eq!(market.rules.costs, "nse-intraday, rates of 2024-10-01");
        assert_eq!(market.rules.hold_costs, "nse-delivery, rates of 2024-10-01");
        assert_eq!((market.rules.currency.as_str(), market.provenance.kind.as_str()), ("INR", "simulated"));
        assert_eq!(Spec::from_json(&spec.to_json().unwrap()).unwrap(), spec);
    }

    #[test]
    fn more_days_held_out_than_there_are_is_said_in_one_line() {
        let error = try_served(&["--test-days", "20"]).unwrap_err().to_string();
        assert!(error.contains("--test-days") && error.contains("the data has 20 sessions"), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn the_scaler_and_the_digest_do_not_depend_on_threads() {
        let in_pool = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| served(&["--test-days", "4"])).spec
        };
        assert_eq!(in_pool(1), in_pool(4));
    }
}
