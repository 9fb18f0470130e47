//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Shows what the cores do beside any process, and tells why they are not used.
///
/// With a command after `--`, runs it untouched (same streams, same process group, same exit code) and sums up
/// at its end. With --pid, follows a process and everything it starts. With `-`, stands in a pipe, passes every
/// byte on unchanged, and watches the other stages. Alone, shows the machine: live on a terminal, else a line a
/// sample.
#[derive(Debug, Parser)]
#[command(name = "cpumon", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
#[command(allow_negative_numbers = true)]
pub struct Arguments {
    /// What to do instead of watching.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What to watch, and how.
    #[command(flatten)]
    pub watch: Watch,
}

impl Arguments {
    /// Whether there is a command to run.
    pub fn has_command(&self) -> bool {
        match &self.command {
            Some(Command::Threads(threads)) => !threads.wrapped.is_empty(),
            Some(_) => false,
            None => !self.watch.wrapped.is_empty(),
        }
    }
}

/// What to watch, and how.
#[derive(Debug, Args)]
pub struct Watch {
    /// Time between two samples, such as 500ms, 2s or 1m.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_time)]
    pub interval: Duration,

    /// Write every sample to this file: CSV if its name ends in .csv, else JSON lines with header and summary.
    ///
    /// The file is opened before the command starts, and each line is written at once, so a run that is killed
    /// leaves a valid file. `-` is standard output, but not around a command or in a pipe, whose output that is.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Draw the cores over time into this SVG file at the end.
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,

    /// What to print to standard error at the end.
    #[arg(long, value_enum, default_value_t = Words::Full)]
    pub summary: Words,

    /// Print the summary as one line of JSON instead: to standard output, or to standard error around a command
    /// or in a pipe.
    #[arg(long, conflicts_with = "summary")]
    pub json: bool,

    /// Print nothing but errors.
    #[arg(long, short)]
    pub quiet: bool,

    /// Exit with 1 if less than this share of the effective cores was used, such as 0.5.
    ///
    /// A command that fails keeps its own exit code.
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub fail_below: Option<f64>,

    /// Serve the newest sample to Prometheus at this address: a port, which means this machine alone, or
    /// HOST:PORT.
    #[arg(long, value_name = "ADDRESS")]
    pub prometheus: Option<String>,

    /// Follow this process and everything it starts, until it ends.
    #[arg(long, value_name = "PID", conflicts_with_all = ["wrapped", "filter"])]
    pub pid: Option<u32>,

    /// Stop watching the machine or the process after this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with_all = ["wrapped", "filter"])]
    pub duration: Option<Duration>,

    /// `-`: pass standard input on to standard output, and watch the other stages of the pipe.
    #[arg(value_name = "-", value_parser = parse_dash, conflicts_with = "wrapped")]
    pub filter: Option<Dash>,

    /// The command to run and to watch.
    #[arg(last = true, value_name = "COMMAND")]
    pub wrapped: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  cpumon                                           the machine, live, until Ctrl-C
  cpumon -- make -j8                               what did the build do with the cores?
  cpumon --output run.jsonl --summary short -- make train SYMBOL=BPCL
  cpumon --pid 4711 --duration 30s                 why is this process slow?
  zcat big.gz | cpumon - | sort > sorted           which stage is the limit?
  cpumon threads -- python train.py                which thread pools, and what governs them?
  eval \"$(cpumon threads --export --workers 8)\"    eight workers that leave each other room
  cpumon compare before.jsonl after.jsonl          what did the change bring?

Exit codes: around a command its own, or 128 + n if signal n ended it;
127 if it is not found, 126 if it cannot be run, 125 if cpumon itself failed before starting it.
Otherwise 0 done, 1 failed, 2 usage.";

/// What to do instead of watching.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sum up what --output wrote again, even of a run that was killed.
    ///
    /// CSV holds the samples alone, so its summary has no exit code, and ends with the last sample.
    Replay {
        /// What --output wrote, JSON lines or CSV.
        file: PathBuf,
        /// How much is said.
        #[arg(long, value_enum, default_value_t = Words::Full)]
        summary: Words,
        /// Print the summary as one line of JSON instead.
        #[arg(long, conflicts_with = "summary")]
        json: bool,
        /// Draw the cores over time into this SVG file.
        #[arg(long, value_name = "FILE")]
        plot: Option<PathBuf>,
    },
    /// Say what changed between two runs.
    Compare {
        /// What --output wrote of the first run.
        before: PathBuf,
        /// What it wrote of the second.
        after: PathBuf,
        /// Print both summaries and the ratios as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say which thread pools a process has, which variable governs each, and what to set.
    ///
    /// Looks at mapped libraries, names of threads, and the variables as they were when the process started.
    /// Only variables on cpumon's own list are ever printed. Without a process it shows that list.
    Threads(Threads),
    /// Write the manual page or completions of a shell to standard output.
    #[command(hide = true)]
    Pages {
        /// Which.
        #[arg(value_enum)]
        page: cli::pages::Page,
    },
}

/// Whose thread pools.
#[derive(Debug, Args)]
pub struct Threads {
    /// Look into this process and everything below it.
    #[arg(long, value_name = "PID", conflicts_with_all = ["wrapped", "export"])]
    pub pid: Option<u32>,

    /// Print exports that share the cores between workers, for eval in a shell; what is set already is kept.
    #[arg(long, conflicts_with = "wrapped")]
    pub export: bool,

    /// How many processes will run side by side.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub workers: u32,

    /// Print JSON.
    #[arg(long, conflicts_with = "export")]
    pub json: bool,

    /// The command to run and to look into; it keeps its streams and its exit code.
    #[arg(last = true, value_name = "COMMAND")]
    pub wrapped: Vec<OsString>,
}

/// How much is said at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Words {
    /// At most 20 lines.
    Full,
    /// One line.
    Short,
    /// Nothing.
    None,
}

/// The word `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dash;

fn parse_dash(text: &str) -> Result<Dash, String> {
    let refusal = || format!("{text:?} is no command of cpumon (write -- before a command to run)");
    (text == "-").then_some(Dash).ok_or_else(refusal)
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("must lie between 0 and 1".to_owned()) }
}

/// Reads `500ms`, `2s`, `1.5m` or `1h`.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_s = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" => return Err("a unit is missing (write 500ms, 2s, 1m or 1h)".to_owned()),
        other => return Err(format!("{other:?} is not a unit of time (write ms, s, m or h)")),
    };
    let number: f64 = digits.trim().parse().map_err(|_| format!("{digits:?} is not a number"))?;
    let seconds = number * unit_s;
    if !(0.001..=1e8).contains(&seconds) {
        return Err("must lie between 1ms and 27777h".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        let check = |text: &str, expected_ms: Option<u64>| {
            assert_eq!(parse_time(text).ok(), expected_ms.map(Duration::from_millis), "{text}");
        };
        check("500ms", Some(500));
        check("1.5s", Some(1500));
        check("2m", Some(120_000));
        check("1h", Some(3_600_000));
        for wrong in ["", "5", "s", "-1s", "0s", "nans", "infs", "5 days", "1e99h"] {
            check(wrong, None);
        }
    }

    #[test]
    fn the_definition_is_sound() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
