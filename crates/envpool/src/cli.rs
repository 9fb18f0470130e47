//! The command line. What it says becomes a [`crate::config::Config`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Serves a batched multi-core trading environment.
///
/// Loads feature files that featgen made, and serves any number of environments over them on standard input and
/// output, or on a Unix socket. Order fills are at the next bar's open, rewards are changes of log equity net of
/// every cost, and features are scaled by training days alone. A learner that starts envpool as its child needs
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

    /// Serve on the Unix socket at PATH rather than on stdin and stdout.
    ///
    /// Any number of clients may connect, each with its own sessions. Only this user may (mode 0600). The
    /// socket is removed at the end; one that a dead server left behind is replaced.
    #[arg(long, value_name = "unix:PATH")]
    pub listen: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  envpool describe features.parquet --market nse --test-days 30    what would be served?
  train ppo -- envpool features.parquet --market nse --test-days 30
  envpool features.parquet --envs 1024 --listen unix:/tmp/envpool.sock
  train ppo -- envpool --env ou:rho=0.95,cost=0.1                  a market whose best policy is known";

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
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
    /// Write the manual page or completions of a shell to stdout.
    #[command(hide = true)]
    Pages {
        /// Which.
        page: cli::pages::Page,
    },
}

/// A market whose rules are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MarketName {
    /// National Stock Exchange of India: intraday bars pay intraday charges, may be short and are squared off;
    /// daily bars pay delivery charges and are long only.
    Nse,
    /// 10 basis points an order, short positions allowed.
    None,
}

/// Whether positions may be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Short {
    /// They may.
    Allow,
    /// They may not.
    Forbid,
}

/// What an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ActionKind {
    /// One of the target positions in --levels.
    Discrete,
}

/// What a step pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RewardKind {
    /// The logarithm of equity over equity a bar before, net of every cost.
    LogReturn,
}

/// What to serve.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Feature files; several must hold the same features of different symbols.
    #[arg(value_name = "FEATURES", required_unless_present = "env", conflicts_with = "env")]
    pub features: Vec<PathBuf>,

    /// Serve an environment with a known answer instead: cartpole, ou:rho=0.95,cost=0.1, probe:1 to probe:5.
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,

    /// Environments in a session by default, and the most that one may have (one a symbol is always allowed).
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub envs: u32,

    /// Take the rules and costs of a market; options below overrule it.
    #[arg(long, value_enum, default_value_t = MarketName::None, help_heading = "Rules")]
    pub market: MarketName,

    /// What an action is.
    #[arg(long, value_enum, default_value_t = ActionKind::Discrete, help_heading = "Rules")]
    pub actions: ActionKind,

    /// Target positions as fractions of equity, ascending from -1 to 1 [default: -1,0,1, or 0,1 without shorts].
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        allow_hyphen_values = true,
        help_heading = "Rules"
    )]
    pub levels: Option<Vec<f64>>,

    /// What orders are charged: none, bps:N, nse-delivery or nse-intraday [default: bps:10, or the market's].
    #[arg(long, value_name = "MODEL", help_heading = "Rules")]
    pub costs: Option<String>,

    /// How much worse than the bar's price fills are, in basis points.
    #[arg(
        long,
        value_name = "BPS",
        default_value_t = 0.0,
        allow_negative_numbers = true,
        help_heading = "Rules"
    )]
    pub slippage_bps: f64,

    /// Whether positions may be negative [default: allow, or the market's].
    #[arg(long, value_enum, help_heading = "Rules")]
    pub short: Option<Short>,

    /// Close positions at each session's last bar.
    #[arg(long, overrides_with = "no_square_off", help_heading = "Rules")]
    pub square_off: bool,

    /// Keep positions overnight, whatever the market's rule.
    #[arg(long, overrides_with = "square_off", help_heading = "Rules")]
    pub no_square_off: bool,

    /// Trade whole shares only.
    #[arg(long, help_heading = "Rules")]
    pub whole_shares: bool,

    /// Money at the start of an episode.
    #[arg(
        long,
        value_name = "AMOUNT",
        default_value_t = 100_000.0,
        allow_negative_numbers = true,
        help_heading = "Rules"
    )]
    pub capital: f64,

    /// The fraction of the capital at which an account is ruined and its episode ends.
    #[arg(
        long,
        value_name = "FRACTION",
        default_value_t = 0.1,
        allow_negative_numbers = true,
        help_heading = "Rules"
    )]
    pub ruin: f64,

    /// What a step pays.
    #[arg(long, value_enum, default_value_t = RewardKind::LogReturn, help_heading = "Rules")]
    pub reward: RewardKind,

    /// Steps in a training episode: a number, session or full [default: 512, less if the data is short].
    ///
    /// A number starts anywhere in the training days, so that environments side by side see different times of
    /// day; session plays whole sessions; full plays on to the end of the days.
    #[arg(long, value_name = "N|session|full", help_heading = "Episodes")]
    pub episode_len: Option<String>,

    /// Rows of features in an observation.
    #[arg(long, value_name = "ROWS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096), help_heading = "Episodes")]
    pub window: u32,

    /// Hold out the last N trading dates of the calendar, the same for all symbols.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Episodes")]
    pub test_days: u32,

    /// Hold out N trading dates before those, to choose among policies.
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Episodes")]
    pub validation_days: u32,

    /// The seed that sessions without their own are keyed with.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub seed: u64,

    /// Threads that step environments [default: one a core].
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
            (serve.square_off, serve.no_square_off)
        };
        assert_eq!(parse(&["--square-off", "--no-square-off"]), (false, true));
        assert_eq!(parse(&["--no-square-off", "--square-off"]), (true, false));
        let levels =
            Arguments::try_parse_from(["envpool", "a", "--levels", "-1,-0.5,1"]).unwrap().serve.levels;
        assert_eq!(levels, Some(vec![-1.0, -0.5, 1.0]));
    }
}
