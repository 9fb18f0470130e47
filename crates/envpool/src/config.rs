//! The one validated configuration that the command line becomes, and the rules that it gives for bars of an
//! interval.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use cli::UsageError;
use trading_env::{AnyEnvironment, CostModel, EpisodeLength, PortfolioRules};

use crate::cli::{MarketName, Serve, Short};

/// Steps in a training episode unless somebody says otherwise. Long enough to hold several sessions, so that
/// what a policy does overnight is learnt too; short enough that starts cover the data.
const DEFAULT_EPISODE_STEPS: u32 = 512;
/// A training episode takes at most this part of a symbol's steps by default, so that starts differ.
const DEFAULT_EPISODE_FRACTION: u32 = 4;

/// What to serve, checked as far as it can be without the data.
#[derive(Debug, Clone)]
pub struct Config {
    /// Feature files, or none if an environment with a known answer is served.
    pub features: Vec<PathBuf>,
    /// An environment with a known answer.
    pub known: Option<AnyEnvironment>,
    /// Environments in a session.
    pub n_envs: u32,
    /// The length of training episodes; by the data if none.
    pub episode_length: Option<EpisodeLength>,
    /// Trading dates held out for the test.
    pub test_days: u32,
    /// Trading dates held out before those.
    pub validation_days: u32,
    /// The seed of sessions.
    pub seed: u64,
    /// Threads that step.
    pub n_threads: usize,
    rules: RuleOptions,
}

#[derive(Debug, Clone)]
struct RuleOptions {
    market: MarketName,
    levels: Option<Vec<f64>>,
    costs: Option<CostModel>,
    short: Option<Short>,
    square_off: Option<bool>,
    slippage_bps: f64,
    whole_shares: bool,
    capital: f64,
    ruin: f64,
    window: usize,
}

impl Config {
    /// Checks what the command line says.
    pub fn new(arguments: &Serve) -> Result<Self> {
        let usage = |flag: &str, error: &dyn std::fmt::Display| UsageError(format!("{flag}: {error}"));
        let known = arguments.env.as_deref().map(AnyEnvironment::parse_known).transpose();
        let costs = arguments.costs.as_deref().map(CostModel::parse).transpose();
        let square_off = match (arguments.square_off, arguments.no_square_off) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        };
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Self {
            features: arguments.features.clone(),
            known: known.map_err(|error| usage("--env", &error))?,
            n_envs: arguments.envs,
            episode_length: arguments.episode_len.as_deref().map(parse_length).transpose()?,
            test_days: arguments.test_days,
            validation_days: arguments.validation_days,
            seed: arguments.seed,
            n_threads: arguments.threads.map_or(cores, |threads| threads as usize),
            rules: RuleOptions {
                market: arguments.market,
                levels: arguments.levels.clone(),
                costs: costs.map_err(|error| usage("--costs", &error))?,
                short: arguments.short,
                square_off,
                slippage_bps: arguments.slippage_bps,
                whole_shares: arguments.whole_shares,
                capital: arguments.capital,
                ruin: arguments.ruin,
                window: arguments.window as usize,
            },
        })
    }

    /// The rules of the account for bars that are, or are not, parts of a session: the market's, overruled by
    /// what was asked for by name.
    pub fn rules(&self, is_intraday: bool) -> Result<PortfolioRules> {
        let options = &self.rules;
        let market = match options.market {
            MarketName::Nse => PortfolioRules::nse(is_intraday)?,
            MarketName::None => PortfolioRules::default(),
        };
        let allows_short = options.short.map_or(market.allows_short(), |short| short == Short::Allow);
        let levels = match &options.levels {
            Some(levels) if !allows_short && levels.iter().any(|&level| level < 0.0) => {
                let text = format!("--levels {levels:?} holds short positions, which these rules forbid");
                return Err(
                    UsageError(format!("{text} (drop them, or allow them with --short allow)")).into()
                );
            }
            Some(levels) => levels.clone(),
            None if allows_short => vec![-1.0, 0.0, 1.0],
            None => vec![0.0, 1.0],
        };
        let rules = PortfolioRules {
            levels,
            costs: options.costs.unwrap_or(market.costs),
            slippage_bps: options.slippage_bps,
            square_off: options.square_off.unwrap_or(market.square_off),
            whole_shares: options.whole_shares,
            capital: options.capital,
            ruin: options.ruin,
            window: options.window,
        };
        rules.validate().map_err(|error| UsageError(error.to_string()))?;
        Ok(rules)
    }

    /// What amounts of money are in.
    pub fn currency(&self, timezone: &str) -> &'static str {
        let is_india = matches!(timezone, "Asia/Kolkata" | "Asia/Calcutta" | "+05:30");
        if self.rules.market == MarketName::Nse || is_india { "INR" } else { "" }
    }

    /// The length of training episodes over symbols of which the longest has `n_steps` steps to train on.
    pub fn episode_length(&self, n_steps: u32) -> EpisodeLength {
        self.episode_length.unwrap_or_else(|| {
            EpisodeLength::Bars(DEFAULT_EPISODE_STEPS.min(n_steps / DEFAULT_EPISODE_FRACTION).max(1))
        })
    }
}

fn parse_length(text: &str) -> Result<EpisodeLength, UsageError> {
    match text {
        "session" => Ok(EpisodeLength::Session),
        "full" => Ok(EpisodeLength::Full),
        _ => match text.parse() {
            Ok(steps) if steps > 0 => Ok(EpisodeLength::Bars(steps)),
            _ => Err(UsageError(format!("--episode-len {text}: take a number of steps, session or full"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Arguments;
    use clap::Parser;

    fn config(flags: &[&str]) -> Result<Config> {
        Config::new(&Arguments::try_parse_from([&["envpool", "a.parquet"], flags].concat()).unwrap().serve)
    }

    fn check_rules(flags: &[&str], is_intraday: bool, levels: &[f64], costs: &str, square_off: bool) {
        let rules = config(flags).unwrap().rules(is_intraday).unwrap();
        assert_eq!((rules.levels.as_slice(), rules.square_off), (levels, square_off), "{flags:?}");
        assert_eq!(rules.costs.to_string(), costs, "{flags:?}");
    }

    #[test]
    fn the_market_sets_the_rules_and_options_overrule_it() {
        let nse = ["--market", "nse"];
        check_rules(&[], true, &[-1.0, 0.0, 1.0], "bps:10", false);
        check_rules(&nse, true, &[-1.0, 0.0, 1.0], "nse-intraday", true);
        check_rules(&nse, false, &[0.0, 1.0], "nse-delivery", false);
        check_rules(&[&nse[..], &["--short", "forbid"]].concat(), true, &[0.0, 1.0], "nse-intraday", true);
        check_rules(
            &[&nse[..], &["--no-square-off"]].concat(),
            true,
            &[-1.0, 0.0, 1.0],
            "nse-intraday",
            false,
        );
        check_rules(&["--costs", "none", "--levels=-1,1"], true, &[-1.0, 1.0], "none", false);
    }

    #[test]
    fn values_that_make_no_sense_name_their_flag() {
        let error = |flags: &[&str]| match config(flags) {
            Err(error) => error,
            Ok(config) => config.rules(true).unwrap_err(),
        };
        for (flags, named) in [
            (&["--costs", "free"][..], "--costs"),
            (&["--episode-len", "0"], "--episode-len"),
            (&["--episode-len", "week"], "--episode-len"),
            (&["--short", "forbid", "--levels=-1,0"], "--levels"),
            (&["--capital", "-5"], "capital"),
            (&["--slippage-bps", "nan"], "slippage"),
            (&["--levels", "0"], "levels"),
        ] {
            let error = error(flags);
            assert!(error.to_string().contains(named), "{flags:?}: {error}");
            assert!(error.is::<UsageError>(), "{flags:?}");
        }
    }

    #[test]
    fn the_default_episode_leaves_room_for_different_starts() {
        let config = config(&[]).unwrap();
        assert_eq!(config.episode_length(100_000), EpisodeLength::Bars(512));
        assert_eq!(config.episode_length(400), EpisodeLength::Bars(100));
        assert_eq!(config.episode_length(1), EpisodeLength::Bars(1));
    }
}
