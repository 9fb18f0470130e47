//! The one validated configuration that the command line becomes, and the rules that it gives for bars of an
//! interval.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Result;
use cli::UsageError;
use trading_env::{AnyEnvironment, EpisodeLength, PortfolioRules, Start, StockTradingEnv2Rules};
use wire::message::MAX_IN_FLIGHT;

use crate::cli::{RuleSet, Serve, StartKind};
use crate::rules::RuleOptions;

/// Steps in a training episode unless somebody says otherwise. Long enough to hold several sessions, so that
/// what a policy does overnight is learnt too; short enough that starts cover the data.
const DEFAULT_EPISODE_STEPS: u32 = 512;
/// A training episode takes at most this part of a symbol's steps by default, so that starts differ.
const DEFAULT_EPISODE_FRACTION: u32 = 4;

/// The most threads for each core. More than a few never help, and a thousand take as long as a crowd at one door.
const MAX_THREADS_PER_CORE: usize = 4;

/// What to serve, checked as far as it can be without the data.
#[derive(Debug, Clone)]
pub struct Config {
    /// Feature files, or none if an environment with a known answer is served.
    pub features: Vec<PathBuf>,
    /// An environment with a known answer.
    pub known: Option<AnyEnvironment>,
    /// Environments in a session.
    pub n_envs: u32,
    /// Environments in one exchange, for clients that leave that to the server; 0 for all of them.
    pub batch: u32,
    /// The length of training episodes; by the data if none.
    pub episode_length: Option<EpisodeLength>,
    /// Trading dates held out for the test.
    pub test_days: u32,
    /// Trading dates held out before those.
    pub validation_days: u32,
    /// Trading dates left out before each of the two.
    pub embargo_days: u32,
    /// Where training episodes start.
    pub start: Start,
    /// How features are scaled.
    pub scaler: ScalerSource,
    /// The seed of sessions.
    pub seed: u64,
    /// Threads that step.
    pub n_threads: usize,
    rules: RuleOptions,
}

/// How features are scaled.
#[derive(Debug, Clone, PartialEq)]
pub enum ScalerSource {
    /// By z-scores of the training days.
    Fit,
    /// Not at all.
    Unscaled,
    /// As a file says that was written before.
    File(PathBuf),
}

/// Whose rules an account follows.
#[derive(Debug, Clone)]
pub enum Rules {
    /// Target positions.
    Portfolio(Box<PortfolioRules>),
    /// Those of the Python environment of that name, and the column of its prices.
    StockTradingEnv2(StockTradingEnv2Rules, String),
}

impl Config {
    /// Checks what the command line says.
    pub fn new(arguments: &Serve) -> Result<Self> {
        let usage = |flag: &str, error: &dyn std::fmt::Display| UsageError(format!("{flag}: {error}"));
        let known = arguments.env.as_deref().map(AnyEnvironment::parse_known).transpose();
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Self {
            features: arguments.features.clone(),
            known: known.map_err(|error| usage("--env", &error))?,
            n_envs: arguments.envs,
            batch: batch(arguments)?,
            episode_length: arguments.episode_len.as_deref().map(parse_length).transpose()?,
            test_days: arguments.test_days,
            validation_days: arguments.validation_days,
            embargo_days: arguments.embargo,
            start: match arguments.start {
                StartKind::Random => Start::Random,
                StartKind::First => Start::First,
                StartKind::EverySession => Start::EverySession,
            },
            scaler: match arguments.scaler.as_deref() {
                Some("fit") => ScalerSource::Fit,
                Some("none") => ScalerSource::Unscaled,
                Some(path) => ScalerSource::File(path.into()),
                None if arguments.rules.rule_set == RuleSet::StockTradingEnv2 => ScalerSource::Unscaled,
                None => ScalerSource::Fit,
            },
            seed: arguments.seed,
            n_threads: arguments
                .threads
                .map_or(cores, |threads| (threads as usize).min(MAX_THREADS_PER_CORE * cores)),
            rules: RuleOptions::new(arguments)?,
        })
    }

    /// The rules of the account for bars that are, or are not, parts of a session: the market's, overruled by
    /// what was asked for by name.
    pub fn rules(&self, is_intraday: bool) -> Result<Rules> {
        self.rules.rules(is_intraday, self.episode_length)
    }

    /// What amounts of money are in.
    pub fn currency(&self, timezone: &str) -> &'static str {
        let is_india = matches!(timezone, "Asia/Kolkata" | "Asia/Calcutta" | "+05:30");
        if self.rules.is_nse() || is_india { "INR" } else { "" }
    }

    /// The length of training episodes over symbols of which the longest has `n_steps` steps to train on.
    pub fn episode_length(&self, n_steps: u32) -> EpisodeLength {
        self.episode_length.unwrap_or_else(|| {
            EpisodeLength::Bars(DEFAULT_EPISODE_STEPS.min(n_steps / DEFAULT_EPISODE_FRACTION).max(1))
        })
    }
}

fn batch(arguments: &Serve) -> Result<u32, UsageError> {
    match arguments.batch {
        Some(batch) if batch > arguments.envs => Err(UsageError(format!(
            "--batch {batch}: more than the {} environments of a session (take fewer, or a larger --envs)",
            arguments.envs
        ))),
        Some(batch) if arguments.envs / batch > MAX_IN_FLIGHT => Err(UsageError(format!(
            "--batch {batch}: a session of {} environments has at most {MAX_IN_FLIGHT} batches (take a batch of at least {})",
            arguments.envs,
            arguments.envs / (MAX_IN_FLIGHT + 1) + 1
        ))),
        Some(batch) if batch < arguments.envs => Ok(batch),
        _ => Ok(0),
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
            (&["--envs", "64", "--batch", "65"], "--envs"),
            (&["--envs", "8194", "--batch", "1"], "a batch of at least 3"),
            (&["--short", "forbid", "--levels=-1,0"], "--levels"),
            (&["--capital", "-5"], "capital"),
            (&["--slippage-bps", "nan"], "slippage"),
            (&["--levels", "0"], "levels"),
            (&["--leverage", "0"], "leverage"),
            (&["--borrow-bps-per-year", "-1"], "borrowing"),
            (&["--actions", "position", "--levels=0,1"], "--levels"),
            (&["--sharpe-rate", "0.1"], "--sharpe-rate"),
            (&["--reward", "differential-sharpe", "--sharpe-rate", "2"], "Sharpe"),
            (&["--lags", "3"], "--lags"),
            (&["--rules", "stock-trading-env2", "--leverage", "2"], "--leverage"),
            (&["--rules", "stock-trading-env2", "--square-off"], "--square-off"),
            (&["--rules", "stock-trading-env2", "--market", "nse"], "--market"),
            (&["--rules", "stock-trading-env2", "--costs", "nse-delivery"], "--costs"),
            (&["--rules", "stock-trading-env2", "--episode-len", "session"], "--episode-len"),
            (&["--rules", "stock-trading-env2", "--buy-threshold", "-0.5"], "thresholds"),
        ] {
            let error = error(flags);
            assert!(error.to_string().contains(named), "{flags:?}: {error}");
            assert!(error.is::<UsageError>(), "{flags:?}");
        }
    }

    #[test]
    fn a_batch_of_all_environments_is_none() {
        let batch = |flags: &[&str]| config(flags).unwrap().batch;
        assert_eq!((batch(&[]), batch(&["--batch", "256"]), batch(&["--batch", "64"])), (0, 0, 64));
        assert_eq!(batch(&["--envs", "4096", "--batch", "1"]), 1);
    }

    #[test]
    fn threads_are_as_many_as_help() {
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!(config(&["--threads", "1"]).unwrap().n_threads, 1);
        assert_eq!(config(&[]).unwrap().n_threads, cores);
        assert_eq!(config(&["--threads", "1024"]).unwrap().n_threads, (4 * cores).min(1024));
    }

    #[test]
    fn the_default_episode_leaves_room_for_different_starts() {
        let config = config(&[]).unwrap();
        assert_eq!(config.episode_length(100_000), EpisodeLength::Bars(512));
        assert_eq!(config.episode_length(400), EpisodeLength::Bars(100));
        assert_eq!(config.episode_length(1), EpisodeLength::Bars(1));
    }
}
