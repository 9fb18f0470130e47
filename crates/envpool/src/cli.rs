//! The command line. What it says becomes a [`crate::config::Config`].

use std::path::PathBuf;

mod rules;
mod service;

pub use rules::{ActionKind, Fill, MarketName, RewardKind, RuleArguments, RuleSet, Short, StartKind};
pub use service::{BenchArguments, LogFormat, PingArguments, ServiceArguments};

use clap::{Args, Parser, Subcommand};

/// Serves a batched multi-core trading environment.
///
/// Loads feature files that featgen made, and serves any number of environments over them on standard input and
/// output, or on a Unix socket. Unless asked otherwise, orders fill at the next bar's open, rewards are changes of log
/// equity net of every cost, and features are scaled by training days alone. A learner that starts envpool as its child needs
/// nothing else.
#[derive(Debug, Parser)]
#[command(
    name = "envpool",
    version,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub struct Arguments {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What to serve.
    #[command(flatten)]
    pub serve: Serve,

    /// How to serve it.
    #[command(flatten)]
    pub service: ServiceArguments,
}

const EXAMPLES: &str = "\
Examples:
  envpool describe features.parquet --market nse --test-days 30    what would be served?
  train ppo -- envpool features.parquet --actions position --fill next-close --costs broker.toml
  train ppo -- envpool features.parquet --market nse --test-days 30
  envpool features.parquet --envs 1024 --listen unix:/tmp/envpool.sock
  envpool features.parquet --envs 1024 --batch 256 --listen unix:/tmp/envpool.sock    step some, think about others
  envpool ping unix:/tmp/envpool.sock --wait 10                    is it there yet?
  envpool bench                                                    how fast is this machine?
  train ppo -- envpool --env ou:rho=0.95,cost=0.1                  a market whose best policy is known";

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub enum Command {
    /// Print what would be served: data, days, observation, actions, rules.
    Describe {
        /// What would be served.
        #[command(flatten)]
        serve: Serve,

        /// Print the specification that clients get, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask a server on a socket whether it serves, and what.
    Ping(PingArguments),
    /// Measure steps a second delivered to another process, beside a bare gather of the same rows in one.
    Bench(BenchArguments),
    /// Write the manual page or completions of a shell to stdout.
    #[command(hide = true)]
    Pages {
        /// Which.
        page: cli::pages::Page,
    },
}

/// What to serve.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Feature files; several must hold the same features of different symbols.
    #[arg(value_name = "FEATURES", required_unless_present = "env", conflicts_with = "env")]
    pub features: Vec<PathBuf>,

    /// Serve an environment with a known answer instead: cartpole, ou:rho=0.95,cost=0.1 (with
    /// ,actions=position any position, not three), probe:1 to probe:5.
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,

    /// Environments in a session by default, and the most that one may have (one a symbol is always allowed).
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub envs: u32,

    /// Environments in one exchange, by default of clients that can take parts of a session [default: all].
    ///
    /// With 64 of 256 a client sends the actions of some environments and thinks about others meanwhile, four
    /// parts in turn: `envpool_client.AsyncEnv` in Python, `Client::send_some` in Rust. The bits are the same for
    /// any batch. Clients that want all environments at once, as train does, have them so all the same.
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub batch: Option<u32>,

    /// What an account may do, what that costs, and what it earns.
    #[command(flatten)]
    pub rules: RuleArguments,

    /// Steps in a training episode: a number, session or full [default: 512, less if the data is short].
    ///
    /// A number starts anywhere in the training days, so that environments side by side see different times of
    /// day; session plays whole sessions; full plays on to the end of the days.
    #[arg(long, value_name = "N|session|full", help_heading = "Episodes")]
    pub episode_len: Option<String>,

    /// Where training episodes start.
    #[arg(long, value_enum, default_value_t = StartKind::Random, help_heading = "Episodes")]
    pub start: StartKind,

    /// Rows of features in an observation.
    #[arg(long, value_name = "ROWS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096), help_heading = "Episodes")]
    pub window: u32,

    /// Hold out the last N trading dates of the calendar, the same for all symbols.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Episodes")]
    pub test_days: u32,

    /// Hold out N trading dates before those, to choose among policies.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Episodes")]
    pub validation_days: u32,

    /// Leave out N trading dates before each held-out part, so that nothing learnt borders on what judges it.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Episodes")]
    pub embargo: u32,

    /// How features are scaled: fit, none, or a scaler.json that train wrote [default: fit, z-scores of the training
    /// days; none for stock-trading-env2].
    #[arg(long, value_name = "fit|none|FILE", help_heading = "Episodes")]
    pub scaler: Option<String>,

    /// The seed that sessions without their own are keyed with.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub seed: u64,

    /// Threads that step environments; at most four a core are used [default: one a core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn features_are_needed_unless_an_environment_is_named() {
        assert!(Arguments::try_parse_from(["envpool"]).is_err());
        assert!(Arguments::try_parse_from(["envpool", "--env", "cartpole"]).is_ok());
        assert!(Arguments::try_parse_from(["envpool", "a.parquet", "--env", "cartpole"]).is_err());
        assert!(Arguments::try_parse_from(["envpool", "describe"]).is_err());
        assert!(Arguments::try_parse_from(["envpool", "describe", "a.parquet", "--json"]).is_ok());
    }

    #[test]
    fn the_last_of_two_contrary_flags_counts() {
        let parse = |flags: &[&str]| {
            let serve = Arguments::try_parse_from([&["envpool", "a"], flags].concat()).unwrap().serve;
            (serve.rules.square_off, serve.rules.no_square_off)
        };
        assert_eq!(parse(&["--square-off", "--no-square-off"]), (false, true));
        assert_eq!(parse(&["--no-square-off", "--square-off"]), (true, false));
        let levels =
            Arguments::try_parse_from(["envpool", "a", "--levels", "-1,-0.5,1"]).unwrap().serve.rules.levels;
        assert_eq!(levels, Some(vec![-1.0, -0.5, 1.0]));
    }
}
