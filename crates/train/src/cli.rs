//! The command line, and the one configuration that comes of it.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgAction, Args, Parser, Subcommand};
use cli::UsageError;
use cli::pages::Page;

use crate::config::Config;
use crate::network::Activation;

/// Learns a trading policy with PPO against an environment server, and judges it on days that it never saw.
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
  train ppo --connect unix:/tmp/envpool.sock --timesteps 5000000
  train ppo --config runs/BPCL/latest/config.toml      the same run again
  train eval --checkpoint runs/BPCL/latest -- envpool --market nse --test-days 30 BPCL.parquet
  train act --checkpoint runs/BPCL/latest --last -- envpool --market nse --test-days 30 BPCL.parquet

Exit codes: 0 done, 1 failed, 2 usage.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Learn a policy with proximal policy optimisation, and judge it.
    Ppo(Box<PpoArguments>),
    /// Judge the policy of a checkpoint on a server's held-out days.
    Eval(EvalArguments),
    /// Print what the policy of a checkpoint wants to hold, bar by bar, as CSV.
    ///
    /// Each line is a decision at a bar's close, to be filled at the next bar's open: the target position as a
    /// fraction of equity. The policy plays its account over the days exactly as an evaluation does.
    Act(ActArguments),
    /// List the devices that networks can live on.
    Devices,
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

/// Flags of `train ppo`. What is not given comes from --config, and else from the defaults.
#[derive(Debug, Args)]
pub struct PpoArguments {
    /// Start from this configuration; flags win over it. A run directory's config.toml repeats the run.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Keep runs in this directory: each gets one of its own in it, and `latest` points to the newest.
    /// [default: runs/SYMBOLS]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Environment steps to learn from, over all environments [default: 1000000]
    #[arg(long, value_name = "N")]
    timesteps: Option<u64>,

    /// Environments stepped at once [default: as many as the server has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    envs: Option<u32>,

    /// Steps of each environment between updates [default: 128]
    #[arg(long, value_name = "N")]
    rollout: Option<usize>,

    /// Passes over each rollout [default: 4]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,

    /// Minibatches a pass [default: 4]
    #[arg(long, value_name = "N")]
    minibatches: Option<usize>,

    /// Widths of the hidden layers, of the policy's and of the value's network [default: 64,64]
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    hidden: Option<Vec<usize>>,

    /// The non-linearity after each hidden layer [default: tanh]
    #[arg(long, value_enum)]
    activation: Option<Activation>,

    /// Step size of Adam at the start [default: 0.001]
    #[arg(long, value_name = "X")]
    learning_rate: Option<f64>,

    /// Keep the step size as it is instead of letting it fall linearly to 0.
    #[arg(long, action = ArgAction::SetTrue)]
    no_annealing: bool,

    /// What a reward one step later is worth [default: 0.99]
    #[arg(long, value_name = "X")]
    gamma: Option<f64>,

    /// λ of generalised advantage estimation [default: 0.95]
    #[arg(long, value_name = "X")]
    gae_lambda: Option<f64>,

    /// How far the ratio of new to old probability may go [default: 0.2]
    #[arg(long, value_name = "X")]
    clip: Option<f64>,

    /// Weight of the entropy bonus [default: 0.01]
    #[arg(long, value_name = "X")]
    entropy_coefficient: Option<f64>,

    /// Weight of the value loss [default: 0.5]
    #[arg(long, value_name = "X")]
    value_coefficient: Option<f64>,

    /// Bound of the gradient's norm [default: 0.5]
    #[arg(long, value_name = "X")]
    max_grad_norm: Option<f64>,

    /// Stop the passes over a rollout once the policy has moved 1.5 times this far; 0 never [default: 0]
    #[arg(long, value_name = "X")]
    target_kl: Option<f64>,

    /// Whether to divide rewards by the size of the discounted return so far [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    normalize_reward: Option<bool>,

    /// Keys everything drawn at random [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Where the networks live: auto, cpu, cuda or mps [default: auto]
    #[arg(long, value_name = "DEVICE", value_parser = ["auto", "cpu", "cuda", "mps"])]
    device: Option<String>,

    /// Threads of the learner [default: as many as pay, up to the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Environment steps between checkpoints; 0 writes one every ten seconds [default: 0]
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,

    /// Updates between looks at the validation days, of which the best policy is kept and judged [default: 5]
    ///
    /// Only where the server keeps such days (envpool --validation-days N).
    #[arg(long, value_name = "N")]
    eval_every: Option<u64>,

    /// Checkpoints kept beside the first and the best [default: 3]
    #[arg(long, value_name = "N")]
    keep: Option<usize>,

    /// Show no progress.
    #[arg(long, short)]
    pub quiet: bool,

    /// Where the environments are.
    #[command(flatten)]
    server: ServerArguments,
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

impl PpoArguments {
    /// The configuration that comes of the file, the flags and the defaults, checked.
    ///
    /// # Errors
    /// If the file cannot be read, a value makes no sense, or no server is named.
    pub fn to_config(&self) -> Result<Config> {
        let mut config = self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
        let ppo = &mut config.ppo;
        set(&mut ppo.timesteps, self.timesteps);
        set(&mut ppo.rollout, self.rollout);
        set(&mut ppo.epochs, self.epochs);
        set(&mut ppo.minibatches, self.minibatches);
        set(&mut ppo.learning_rate, self.learning_rate);
        set(&mut ppo.gamma, self.gamma);
        set(&mut ppo.gae_lambda, self.gae_lambda);
        set(&mut ppo.clip, self.clip);
        set(&mut ppo.entropy_coefficient, self.entropy_coefficient);
        set(&mut ppo.value_coefficient, self.value_coefficient);
        set(&mut ppo.max_grad_norm, self.max_grad_norm);
        set(&mut ppo.target_kl, self.target_kl);
        set(&mut ppo.normalize_reward, self.normalize_reward);
        ppo.anneal_learning_rate &= !self.no_annealing;
        set(&mut config.envs, self.envs);
        set(&mut config.hidden, self.hidden.clone());
        set(&mut config.activation, self.activation);
        set(&mut config.seed, self.seed);
        set(&mut config.device, self.device.clone());
        set(&mut config.checkpoint_every, self.checkpoint_every);
        set(&mut config.eval_every, self.eval_every);
        set(&mut config.keep, self.keep);
        if let Some(threads) = self.threads {
            config.update_threads = threads.into();
            config.inference_threads = threads.into();
        }
        self.server.lay_over(&mut config)?;
        config.check()?;
        Ok(config)
    }
}

impl ServerArguments {
    /// Puts the server that the flags name, if they name one, in place of the configuration's.
    fn lay_over(&self, config: &mut Config) -> Result<()> {
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

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn config(words: &[&str]) -> Result<Config> {
        let parsed = Arguments::try_parse_from(["train", "ppo"].iter().chain(words))?;
        let Command::Ppo(arguments) = parsed.command else { panic!("not ppo") };
        arguments.to_config()
    }

    #[test]
    fn the_definitions_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn defaults_that_help_texts_name_are_the_defaults() {
        let text = Arguments::command().find_subcommand_mut("ppo").unwrap().render_long_help().to_string();
        let ppo = Config::default().ppo;
        for (flag, value) in [
            ("--timesteps", ppo.timesteps.to_string()),
            ("--rollout", ppo.rollout.to_string()),
            ("--epochs", ppo.epochs.to_string()),
            ("--minibatches", ppo.minibatches.to_string()),
            ("--learning-rate", ppo.learning_rate.to_string()),
            ("--gamma", ppo.gamma.to_string()),
            ("--gae-lambda", ppo.gae_lambda.to_string()),
            ("--clip", ppo.clip.to_string()),
            ("--entropy-coefficient", ppo.entropy_coefficient.to_string()),
            ("--value-coefficient", ppo.value_coefficient.to_string()),
            ("--max-grad-norm", ppo.max_grad_norm.to_string()),
            ("--target-kl", ppo.target_kl.to_string()),
            ("--normalize-reward", ppo.normalize_reward.to_string()),
            ("--eval-every", Config::default().eval_every.to_string()),
            ("--keep", Config::default().keep.to_string()),
        ] {
            let help = text.split(flag).nth(1).unwrap_or_else(|| panic!("no {flag}"));
            let found = help.split("[default: ").nth(1).and_then(|rest| rest.split(']').next());
            assert_eq!(found, Some(value.as_str()), "{flag}");
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.toml");
        std::fs::write(&path, "seed = 9\nserver = [\"envpool\", \"x\"]\n[ppo]\ngamma = 0.5\nclip = 0.3\n")
            .unwrap();
        let found = config(&["--config", path.to_str().unwrap(), "--gamma", "0.9"]).unwrap();
        assert_eq!((found.seed, found.ppo.gamma, found.ppo.clip, found.ppo.epochs), (9, 0.9, 0.3, 4));
        assert_eq!(found.server, ["envpool", "x"]);
        let found = config(&["--config", path.to_str().unwrap(), "--connect", "unix:s"]).unwrap();
        assert_eq!((found.connect.as_deref(), found.server.len()), (Some("unix:s"), 0));
    }

    #[test]
    fn a_run_without_a_server_is_a_usage_error() {
        assert!(config(&[]).unwrap_err().is::<UsageError>());
    }
}
