//! The command line, and the one configuration that comes of it.
//!
//! # Layout
//! - [`run_flags`]: what every algorithm's run can be told; the hyper-parameters stand with their algorithm.
pub mod run_flags;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use cli::UsageError;
use cli::pages::Page;

use crate::algorithms::AlgorithmFlags;
use crate::algorithms::ars::ArsFlags;
use crate::algorithms::cem::CemFlags;
use crate::algorithms::openes::OpenEsFlags;
use crate::algorithms::ppo::PpoFlags;
use crate::config::Config;
use run_flags::{Plan, RunFlags};

/// Learns a trading policy against an environment server, and judges it on days that it never saw.
#[derive(Debug, Parser)]
#[command(name = "train", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  train ppo --out runs/BPCL -- envpool --market nse --test-days 30 BPCL.parquet
  train openes --out runs/BPCL -- envpool --market nse --test-days 30 BPCL.parquet
  train ppo --connect unix:/tmp/envpool.sock --timesteps 5000000
  train ppo --config runs/BPCL/latest/config.toml      the same run again
  train ppo --resume runs/BPCL/latest                  go on with an interrupted run
  train ppo --resume runs/BPCL/latest --timesteps 9000000
  train ppo --seeds 5 --out runs/BPCL -- envpool --market nse --test-days 30 BPCL.parquet
  train ppo --walk-forward 4 -- envpool --market nse --test-days 120 BPCL.parquet
  train eval --checkpoint runs/BPCL/latest -- envpool --market nse --test-days 30 BPCL.parquet
  train act --checkpoint runs/BPCL/latest --last -- envpool --market nse --test-days 30 BPCL.parquet

Exit codes: 0 done, 1 failed, 2 usage, 130 or 143 interrupted by Ctrl-C or SIGTERM.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Learn a policy with proximal policy optimisation, and judge it.
    Ppo(Box<LearnArguments<PpoFlags>>),
    /// Learn a policy with the evolution strategy of Salimans et al. 2017: no gradients, all cores.
    ///
    /// Each member of the population, the policy with noise on its parameters, plays episodes in environments of
    /// its own; the policy moves towards those that did well.
    Openes(Box<LearnArguments<OpenEsFlags>>),
    /// Learn a policy with the cross-entropy method: the next members are drawn around the best.
    Cem(Box<LearnArguments<CemFlags>>),
    /// Learn a policy with augmented random search: plain steps along the best directions.
    Ars(Box<LearnArguments<ArsFlags>>),
    /// Judge the policy of a checkpoint on a server's held-out days.
    Eval(EvalArguments),
    /// Print what the policy of a checkpoint wants to hold, bar by bar, as CSV.
    ///
    /// Each line is a decision at a bar's close, to be filled at the next bar's open: the target position as a
    /// fraction of equity. The policy plays its account over the days exactly as an evaluation does.
    Act(ActArguments),
    /// Measure how fast a network acts and learns on each device, with how many threads.
    Devices(DevicesArguments),
    /// Print a manual page or completions.
    #[command(hide = true)]
    Pages {
        /// Which.
        page: Page,
    },
}

/// Where the environments are.
#[derive(Debug, Args)]
pub struct ServerArguments {
    /// Talk to a server that listens at this address, of the form unix:PATH, instead of starting one.
    ///
    /// A server that is still starting is waited for up to ten seconds.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "server")]
    pub connect: Option<String>,

    /// The server's command and its arguments; it is started, and ends with the run.
    #[arg(last = true, value_name = "SERVER")]
    pub server: Vec<OsString>,
}

/// Flags of a command that learns. What is not given comes from --config, and else from the defaults.
#[derive(Debug, Args)]
pub struct LearnArguments<F: AlgorithmFlags> {
    /// What every run can be told.
    #[command(flatten)]
    pub run: RunFlags,
    /// What the algorithm can be told.
    #[command(flatten)]
    hyper_parameters: F,
}

impl<F: AlgorithmFlags> LearnArguments<F> {
    /// What is to be done, checked.
    ///
    /// # Errors
    /// If a file cannot be read, a value makes no sense, or no server is named.
    pub fn plan(&self) -> Result<Plan> {
        let given = self.hyper_parameters.given();
        self.run.plan(F::NAME, given, |algorithm| self.hyper_parameters.choose(algorithm))
    }
}

/// Flags of `train eval`.
#[derive(Debug, Args)]
pub struct EvalArguments {
    /// A checkpoint, or a run directory, of which the best or else the newest checkpoint is taken.
    #[arg(long, value_name = "DIR")]
    pub checkpoint: PathBuf,

    /// Write report.json, report.html, trades.csv and positions.csv into this directory.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Keys the baseline that acts at random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Where the environments are.
    #[command(flatten)]
    pub server: ServerArguments,
}

/// Flags of `train act`.
#[derive(Debug, Args)]
pub struct ActArguments {
    /// A checkpoint, or a run directory, of which the best or else the newest checkpoint is taken.
    #[arg(long, value_name = "DIR")]
    pub checkpoint: PathBuf,

    /// Which days to play: test, validation, train, all, or dates as 2026-01-01..2026-01-31.
    #[arg(long, value_name = "DAYS", default_value = "test")]
    pub range: String,

    /// Print only what to hold now: each symbol's last line.
    #[arg(long)]
    pub last: bool,

    /// Where the environments are.
    #[command(flatten)]
    pub server: ServerArguments,
}

/// Flags of `train devices`.
#[derive(Debug, Args)]
pub struct DevicesArguments {
    /// Values in one observation.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub observation: u32,

    /// Widths of the hidden layers.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "64,64", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub hidden: Vec<u32>,

    /// Observations at once while acting.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub envs: u32,

    /// Samples at once while learning.
    #[arg(long, value_name = "N", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub minibatch: u32,
}

impl ServerArguments {
    /// Puts the server that the flags name, if they name one, in place of the configuration's.
    pub(crate) fn lay_over(&self, config: &mut Config) -> Result<()> {
        if let Some(address) = &self.connect {
            config.connect = Some(address.clone());
            config.server.clear();
        } else if !self.server.is_empty() {
            config.server = self.command()?;
            config.connect = None;
        }
        if config.connect.is_none() && config.server.is_empty() {
            let text = "no environment server is named (end with `-- envpool FEATURES…`, or use --connect unix:PATH)";
            return Err(UsageError(text.into()).into());
        }
        Ok(())
    }

    /// The server as a configuration names it.
    ///
    /// # Errors
    /// If none is named, or an argument is not Unicode.
    pub fn to_config(&self) -> Result<Config> {
        let mut config = Config::default();
        self.lay_over(&mut config)?;
        Ok(config)
    }

    fn command(&self) -> Result<Vec<String>> {
        let words = self.server.iter().map(|word| {
            let text = word.to_str().map(str::to_owned);
            text.ok_or_else(|| UsageError(format!("{} is not Unicode", word.display())).into())
        });
        words.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use wire::spec::ActionSpace;

    fn config(words: &[&str]) -> Result<Config> {
        let parsed = Arguments::try_parse_from(["train", "ppo"].iter().chain(words))?;
        let Command::Ppo(arguments) = parsed.command else { panic!("not ppo") };
        match arguments.plan()? {
            Plan::New(new) => Ok(new.config),
            other => panic!("not a new run: {other:?}"),
        }
    }

    #[test]
    fn the_definitions_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn defaults_that_help_texts_name_are_the_defaults() {
        let text = Arguments::command().find_subcommand_mut("ppo").unwrap().render_long_help().to_string();
        let config = Config::default();
        for (flag, value) in [
            ("--timesteps", config.timesteps.to_string()),
            ("--seed", config.seed.to_string()),
            ("--eval-every", config.eval_every.to_string()),
            ("--keep", config.keep.to_string()),
            ("--learning-rate", "0.001..0".into()),
            ("--gamma", "0.99".into()),
            ("--normalize-reward", "true".into()),
        ] {
            let help = text.split(&format!("{flag} <")).nth(1).unwrap_or_else(|| panic!("no {flag}"));
            let found = help.split("[default: ").nth(1).and_then(|rest| rest.split(']').next());
            assert_eq!(found, Some(value.as_str()), "{flag}");
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.toml");
        std::fs::write(
            &path,
            "seed = 9\nserver = [\"envpool\", \"x\"]\n[algorithm.ppo]\ngamma = 0.5\nclip = 0.3\n",
        )
        .unwrap();
        let found = config(&["--config", path.to_str().unwrap(), "--gamma", "0.9"]).unwrap();
        let crate::algorithms::Algorithm::Ppo(ppo) = &found.algorithm else { panic!("not ppo") };
        assert_eq!((found.seed, ppo.gamma, ppo.clip, ppo.epochs), (9, 0.9, 0.3.into(), 4));
        assert_eq!(found.server, ["envpool", "x"]);
        let found = config(&["--config", path.to_str().unwrap(), "--connect", "unix:s"]).unwrap();
        assert_eq!((found.connect.as_deref(), found.server.len()), (Some("unix:s"), 0));
    }

    #[test]
    fn what_is_given_by_flag_or_file_wins_over_what_suits_the_actions() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.toml");
        std::fs::write(&path, "[algorithm.ppo]\ninitial_log_deviation = -0.25\n").unwrap();
        let file = ["--config", path.to_str().unwrap()];
        let begins = |words: &[&str]| {
            let parsed =
                Arguments::try_parse_from([&["train", "ppo", "--connect", "unix:s"], words].concat());
            let Command::Ppo(arguments) = parsed.unwrap().command else { panic!("not ppo") };
            let Plan::New(mut new) = arguments.plan().unwrap() else { panic!("not new") };
            let any_position = ActionSpace::Box { low: vec![-1.0], high: vec![1.0] };
            new.config.algorithm.suit(&any_position, &new.given);
            let crate::algorithms::Algorithm::Ppo(ppo) = new.config.algorithm else { panic!("not ppo") };
            ppo.initial_log_deviation
        };
        assert_eq!(begins(&[]), 0.5);
        assert_eq!(begins(&["--initial-log-deviation", "-1"]), -1.0);
        assert_eq!(begins(&file), -0.25);
        assert_eq!(begins(&[&file[..], &["--initial-log-deviation", "0"]].concat()), 0.0);
    }

    #[test]
    fn a_run_without_a_server_is_a_usage_error() {
        assert!(config(&[]).unwrap_err().is::<UsageError>());
    }

    #[test]
    fn a_resumed_run_takes_its_configuration_from_its_directory() {
        for wrong in [["--gamma", "0.9"], ["--seed", "3"], ["--hidden", "32"]] {
            let error = config(&[&["--resume", "runs/x"][..], &wrong].concat()).unwrap_err();
            assert!(error.is::<UsageError>() && error.to_string().contains("--resume"), "{error}");
        }
    }
}
