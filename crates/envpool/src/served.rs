//! What is served: the data with its rules and its held-out days, or an environment with a known answer; and
//! the specification that clients get of it.

use std::sync::Arc;

use anyhow::{Result, ensure};
use cli::UsageError;
use market::FeatureTable;
use trading_env::portfolio::ACCOUNT_NAMES;
use trading_env::stock_trading_env2::Prices;
use trading_env::{
    AnyEnvironment, EnvError, EpisodeLength, EpisodeRules, MarketData, Portfolio, PortfolioRules,
    SessionRange, Split, Start, StockTradingEnv2, StockTradingEnv2Rules,
};
use wire::message::{ErrorCode, Refusal};
use wire::spec::{self, Spec};
use wire::{Episode, Open, Range};

use crate::config::{Config, Rules};
use crate::scaling;
use crate::specification::{action_spec, cost_kinds, market_spec};

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
    Market { data: Arc<MarketData>, rules: MarketRules, split: Split, length: EpisodeLength, start: Start },
}

/// Whose rules the account follows, with what they need.
#[derive(Debug)]
enum MarketRules {
    Portfolio(Box<PortfolioRules>),
    StockTradingEnv2(StockTradingEnv2Rules, Arc<Prices>),
}

impl Served {
    /// An environment with a known answer.
    pub fn known(environment: AnyEnvironment, config: &Config) -> Self {
        let names = environment.observation_names();
        let observation = spec::Observation {
            len: names.len() as u32,
            window: 1,
            features: names,
            account: Vec::new(),
            feature_major: false,
        };
        let spec = Spec {
            environment: environment.name(),
            observation,
            action: action_spec(&environment.action_space(), &[]),
            seed: config.seed,
            max_envs: config.n_envs,
            max_sessions: MAX_SESSIONS,
            batch: config.batch,
            cost_kinds: cost_kinds(),
            market: None,
        };
        Self { spec, source: Source::Known(environment) }
    }

    /// The rules of `config` over `table`.
    pub fn market(table: &FeatureTable, config: &Config) -> Result<Self> {
        let n_sessions = table.info.calendar.len();
        let split = Split::new(n_sessions, config.validation_days, config.test_days, config.embargo_days)
            .map_err(|error| UsageError(format!("--test-days, --validation-days, --embargo: {error}")))?;
        let rules = config.rules(table.info.is_intraday())?;
        let (scaler, scaler_spec) = scaling::scaler(table, split.train, &config.scaler)?;
        let data = Arc::new(MarketData::new(table, scaler));
        let longest = data.symbols.iter().map(|symbol| split.train.rows_of(&symbol.session).len()).max();
        let length = config.episode_length(longest.unwrap_or(0) as u32);
        let market = market_spec(table, config, &rules, split, scaler_spec, data.digest.clone());
        let (window, account, rules) = match rules {
            Rules::Portfolio(rules) => {
                (rules.window, ACCOUNT_NAMES.map(String::from).into(), MarketRules::Portfolio(rules))
            }
            Rules::StockTradingEnv2(rules, column) => {
                let prices = Prices::new(table, &column)
                    .map_err(|error| UsageError(format!("--price-column: {error}")))?;
                let window = rules.lags as usize + 1;
                (window, Vec::new(), MarketRules::StockTradingEnv2(rules, Arc::new(prices)))
            }
        };
        let training =
            EpisodeRules { range: split.train, start: config.start, length, liquidate_at_end: false };
        let environment = rules.environment(&data, training, false)?;
        let observation_len = environment.observation_len();
        ensure!(
            observation_len <= 1 << 20,
            "an observation of {observation_len} numbers (take a smaller --window or --lags)"
        );
        let n_symbols = data.symbols.len() as u32;
        let spec = Spec {
            environment: environment.name(),
            observation: spec::Observation {
                len: observation_len as u32,
                window: window as u32,
                features: data.feature_names.clone(),
                account,
                feature_major: matches!(rules, MarketRules::StockTradingEnv2(..)),
            },
            action: action_spec(&environment.action_space(), rules.levels()),
            seed: config.seed,
            // A held-out evaluation plays one environment a symbol.
            max_envs: config.n_envs.max(n_symbols),
            max_sessions: MAX_SESSIONS,
            batch: config.batch,
            cost_kinds: cost_kinds(),
            market: Some(market),
        };
        Ok(Self { spec, source: Source::Market { data, rules, split, length, start: config.start } })
    }

    /// The market's data, where there is any.
    pub fn data(&self) -> Option<&MarketData> {
        match &self.source {
            Source::Known(_) => None,
            Source::Market { data, .. } => Some(data),
        }
    }

    /// Where training episodes start, in words.
    pub fn start(&self) -> Option<&'static str> {
        match &self.source {
            Source::Known(_) | Source::Market { rules: MarketRules::StockTradingEnv2(..), .. } => None,
            Source::Market { start: Start::Random, .. } => Some("random starts"),
            Source::Market { start: Start::First, .. } => Some("from the first day on"),
            Source::Market { start: Start::EverySession, .. } => Some("each from the start of a session on"),
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
        let (data, rules, split, length, start) = match &self.source {
            // An environment without a market has no days, no account and one kind of start.
            Source::Known(environment) => return Ok(environment.clone()),
            Source::Market { data, rules, split, length, start } => (data, rules, split, *length, *start),
        };
        let refuse = |error: EnvError| Refusal { code: ErrorCode::BadOpen, text: error.to_string() };
        let episodes = EpisodeRules {
            range: days(split, open.range)?,
            start: match open.start {
                wire::Start::Random => start,
                wire::Start::First => Start::First,
            },
            length: match open.episode {
                Episode::Default => length,
                Episode::Steps(0) => {
                    let text = "an episode of 0 steps (take at least 1)".into();
                    return Err(Refusal { code: ErrorCode::BadOpen, text });
                }
                Episode::Steps(steps) => EpisodeLength::Bars(steps),
                Episode::Session => EpisodeLength::Session,
                Episode::Full => EpisodeLength::Full,
            },
            liquidate_at_end: open.liquidate_at_end,
        };
        rules.environment(data, episodes, open.hold_account).map_err(refuse)
    }
}

impl MarketRules {
    /// The environment of one session; with `holds`, that of an account that buys once.
    fn environment(
        &self,
        data: &Arc<MarketData>,
        episodes: EpisodeRules,
        holds: bool,
    ) -> Result<AnyEnvironment, EnvError> {
        let data = Arc::clone(data);
        Ok(match self {
            Self::Portfolio(rules) => {
                let rules = PortfolioRules::clone(rules);
                let rules = if holds { rules.for_holding() } else { rules };
                AnyEnvironment::Portfolio(Box::new(Portfolio::new(data, rules, episodes)?))
            }
            Self::StockTradingEnv2(rules, prices) => {
                let rules = StockTradingEnv2Rules { holds, ..rules.clone() };
                let EpisodeRules { range, liquidate_at_end, .. } = episodes;
                let environment =
                    StockTradingEnv2::new(data, prices.clone(), rules, range, liquidate_at_end)?;
                AnyEnvironment::StockTradingEnv2(Box::new(environment))
            }
        })
    }

    /// What the choices of discrete actions mean.
    fn levels(&self) -> &[f64] {
        match self {
            Self::Portfolio(rules) => rules.targets.levels(),
            Self::StockTradingEnv2(..) => &[],
        }
    }
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
        assert_eq!((market.rules.fill.as_str(), market.rules.reward.as_str()), ("next-open", "log-return"));
        assert_eq!((market.rules.currency.as_str(), market.provenance.kind.as_str()), ("INR", "simulated"));
        assert_eq!(Spec::from_json(&spec.to_json().unwrap()).unwrap(), spec);
    }

    #[test]
    fn the_specification_says_what_actions_are() {
        let action = |flags: &[&str]| served(flags).spec.action;
        let numbers =
            |low: &[f32], high: &[f32]| spec::ActionSpace::Box { low: low.into(), high: high.into() };
        assert_eq!(action(&["--actions", "position"]), numbers(&[-1.0], &[1.0]));
        assert_eq!(action(&["--actions", "position", "--short", "forbid"]), numbers(&[0.0], &[1.0]));
        assert_eq!(action(&["--actions", "direction-size"]), numbers(&[-1.0, 0.0], &[1.0, 1.0]));
        let served = served(&["--rules", "stock-trading-env2", "--lags", "3", "--test-days", "2"]);
        assert_eq!(served.spec.action, numbers(&[-1.0, 0.0], &[1.0, 1.0]));
        assert_eq!((served.spec.observation.len, served.spec.observation.window), (3 * 4, 4));
        let market = served.spec.market.as_ref().unwrap();
        assert_eq!((market.rules.name.as_str(), market.scaler.is_none()), ("stock-trading-env2", true));
        // Every observation has this length, whoever asks for it.
        for open in [Open::training(2, 1), Open::evaluation(2, Range::Test)] {
            for hold_account in [false, true] {
                let environment = served.environment(&Open { hold_account, ..open.clone() }).unwrap();
                assert_eq!(environment.observation_len(), 12);
            }
        }
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
