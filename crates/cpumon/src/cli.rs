//! The command line, and the one validated configuration that comes of it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use cli::UsageError;

use crate::platform;

/// Shows what the cores do beside any process, and tells why they are not used.
///
/// With a command after `--`, runs it untouched (same streams, same process group, same exit code) and sums up
/// at its end. With --pid, follows a process and everything it starts. Alone, shows the machine, a line a sample.
#[derive(Debug, Parser)]
#[command(name = "cpumon", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// Time between two samples, such as 500ms, 2s or 1m.
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_time)]
    interval: Duration,

    /// Write a header, every sample and the summary to this file as JSON lines.
    ///
    /// The file is opened before the command starts, and each line is written at once, so a run that is killed
    /// leaves a valid file. `-` is standard output, but not around a command, whose output that is.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Draw the cores over time into this SVG file at the end.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,

    /// What to print to standard error at the end.
    #[arg(long, value_enum, default_value_t = Words::Full)]
    summary: Words,

    /// Print nothing but errors.
    #[arg(long, short)]
    quiet: bool,

    /// Follow this process and everything it starts, until it ends.
    #[arg(long, value_name = "PID", conflicts_with = "command")]
    pid: Option<u32>,

    /// Stop watching the machine or the process after this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "command")]
    duration: Option<Duration>,

    /// The command to run and to watch.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  cpumon -- make -j8                                 what did the build do with the cores?
  cpumon --output run.jsonl --summary short -- make train SYMBOL=BPCL
  cpumon --pid 4711 --duration 30s                   why is this process slow?
  cpumon --interval 1s                               the machine, a line a second, until Ctrl-C

Exit codes: around a command its own, or 128 + n if signal n ended it; 127 if it is not found, 126 if it
cannot be run, 125 if cpumon itself failed before starting it. Otherwise 0 done, 1 failed, 2 usage.";

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

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A command that is started here; never empty.
    Command(Vec<OsString>),
    /// A process that runs already.
    Process(u32),
    /// Everything.
    Machine,
}

/// Everything that a run needs to know, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What is watched.
    pub subject: Subject,
    /// Time between two samples.
    pub interval: Duration,
    /// Where the JSON lines go.
    pub output: Option<PathBuf>,
    /// Where the picture goes.
    pub plot: Option<PathBuf>,
    /// How much is said at the end.
    pub summary: Words,
    /// Whether a line a sample goes to standard output.
    pub lines: bool,
    /// When to stop by oneself.
    pub duration: Option<Duration>,
    /// Whether notes are left out, too.
    pub quiet: bool,
}

impl Arguments {
    /// Whether a command is to be wrapped, so that failures must not look like its own.
    pub fn wraps(&self) -> bool {
        !self.command.is_empty()
    }

    /// Checks what clap cannot.
    pub fn into_config(self) -> Result<Config> {
        let least = platform::LEAST_INTERVAL;
        if self.interval < least {
            let message =
                format!("--interval is below {} ms, which this system cannot resolve", least.as_millis());
            return Err(UsageError(message).into());
        }
        let to_stdout = self.output.as_deref() == Some(Path::new("-"));
        if to_stdout && self.wraps() {
            let message = "--output -: standard output belongs to the command (name a file)";
            return Err(UsageError(message.to_owned()).into());
        }
        let subject = match self.pid {
            Some(pid) => Subject::Process(pid),
            None if self.command.is_empty() => Subject::Machine,
            None => Subject::Command(self.command),
        };
        Ok(Config {
            lines: !self.quiet && !to_stdout && !matches!(subject, Subject::Command(_)),
            subject,
            interval: self.interval,
            output: self.output,
            plot: self.plot,
            summary: if self.quiet { Words::None } else { self.summary },
            duration: self.duration,
            quiet: self.quiet,
        })
    }
}

/// Reads `500ms`, `2s`, `1.5m` or `1h`.
fn parse_time(text: &str) -> Result<Duration, String> {
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

    fn config(words: &[&str]) -> Result<Config> {
        Arguments::try_parse_from([&["cpumon"], words].concat())?.into_config()
    }

    #[test]
    fn options_of_the_command_are_the_commands() {
        let config = config(&["--summary", "short", "--", "make", "--quiet", "--pid"]).unwrap();
        assert_eq!(
            config.subject,
            Subject::Command(["make", "--quiet", "--pid"].map(OsString::from).to_vec())
        );
        assert!(!config.quiet && !config.lines);
        assert_eq!(config.summary, Words::Short);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            &["--interval", "1ms"][..],
            &["--output", "-", "--", "true"],
            &["--pid", "1", "--", "true"],
            &["make"],
        ] {
            assert!(config(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_definition_is_sound() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
