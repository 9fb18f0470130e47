//! The one validated configuration of a watch.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use cli::UsageError;

use crate::cli::{Watch, Words};
use crate::platform;

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A command that is started here; never empty.
    Command(Vec<OsString>),
    /// A process that runs already.
    Process(u32),
    /// The other stages of the pipe in which this process stands.
    Pipeline,
    /// Everything.
    Machine,
}

/// Everything that a run needs to know, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What is watched.
    pub subject: Subject,
    /// Time between two samples.
    pub interval: Duration,
    /// Where the samples go.
    pub output: Option<PathBuf>,
    /// Where the picture goes.
    pub plot: Option<PathBuf>,
    /// How much is said at the end.
    pub summary: Words,
    /// Whether that is said in JSON.
    pub json: bool,
    /// Whether a line a sample, or a live view, goes to standard output.
    pub shows: bool,
    /// Which share of the cores must be used.
    pub fail_below: Option<f64>,
    /// Where metrics are served.
    pub prometheus: Option<SocketAddr>,
    /// When to stop by oneself.
    pub duration: Option<Duration>,
    /// Whether notes are left out, too.
    pub quiet: bool,
}

impl Config {
    /// Checks what the definition of the command line cannot.
    pub fn new(watch: Watch) -> Result<Self> {
        let least = platform::LEAST_INTERVAL;
        if watch.interval < least {
            let least_ms = least.as_millis();
            let message = format!("--interval is below {least_ms} ms, which this system cannot resolve");
            return Err(UsageError(message).into());
        }
        let subject = match watch.pid {
            Some(pid) => Subject::Process(pid),
            None if watch.filter.is_some() => Subject::Pipeline,
            None if watch.wrapped.is_empty() => Subject::Machine,
            None => Subject::Command(watch.wrapped),
        };
        let to_stdout = watch.output.as_deref() == Some(Path::new("-"));
        if to_stdout && !subject.leaves_stdout() {
            let message = "--output -: standard output belongs to the command or the pipe (name a file)";
            return Err(UsageError(message.to_owned()).into());
        }
        Ok(Self {
            shows: !watch.quiet && !to_stdout && !watch.json && subject.leaves_stdout(),
            subject,
            interval: watch.interval,
            output: watch.output,
            plot: watch.plot,
            summary: if watch.quiet { Words::None } else { watch.summary },
            json: watch.json,
            fail_below: watch.fail_below,
            prometheus: watch.prometheus.as_deref().map(parse_address).transpose()?,
            duration: watch.duration,
            quiet: watch.quiet,
        })
    }
}

/// What the subject is called that is everything.
pub const MACHINE: &str = "the machine";

impl Subject {
    /// Whether standard output is cpumon's own.
    pub fn leaves_stdout(&self) -> bool {
        matches!(self, Self::Process(_) | Self::Machine)
    }

    /// In a few words.
    pub fn words(&self) -> String {
        match self {
            Self::Machine => MACHINE.to_owned(),
            Self::Pipeline => "the pipeline".to_owned(),
            Self::Process(pid) => format!("process {pid}"),
            Self::Command(words) => {
                let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
                let text = words.join(" ").replace(char::is_control, " ");
                if text.chars().count() <= 60 { text } else { text.chars().take(59).chain(['…']).collect() }
            }
        }
    }
}

/// A port alone is open to this machine only; whoever wants more has to say so.
fn parse_address(text: &str) -> Result<SocketAddr> {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
        return Ok(local(port));
    }
    let found = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    let message = || format!("--prometheus {text}: not an address (write a port, or HOST:PORT)");
    Ok(found.ok_or_else(|| UsageError(message()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Arguments;
    use clap::Parser;

    fn config(words: &[&str]) -> Result<Config> {
        Config::new(Arguments::try_parse_from([&["cpumon"], words].concat())?.watch)
    }

    #[test]
    fn options_of_the_command_are_the_commands() {
        let config = config(&["--summary", "short", "--", "replay", "--quiet", "--pid"]).unwrap();
        let words = ["replay", "--quiet", "--pid"].map(OsString::from).to_vec();
        assert_eq!(config.subject, Subject::Command(words));
        assert!(!config.quiet && !config.shows);
        assert_eq!(config.summary, Words::Short);
    }

    #[test]
    fn what_is_watched_follows_from_the_words() {
        assert_eq!(config(&[]).unwrap().subject, Subject::Machine);
        assert_eq!(config(&["-"]).unwrap().subject, Subject::Pipeline);
        assert_eq!(config(&["--pid", "7"]).unwrap().subject, Subject::Process(7));
        assert!(config(&["--pid", "7"]).unwrap().shows && !config(&["-"]).unwrap().shows);
    }

    #[test]
    fn a_port_alone_is_for_this_machine() {
        for text in ["9184", ":9184", "127.0.0.1:9184"] {
            assert_eq!(parse_address(text).unwrap().to_string(), "127.0.0.1:9184");
        }
        assert_eq!(parse_address("0.0.0.0:80").unwrap().to_string(), "0.0.0.0:80");
        assert!(parse_address("70000").is_err() && parse_address("").is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            &["--interval", "1ms"][..],
            &["--output", "-", "--", "true"],
            &["--output", "-", "-"],
            &["--pid", "1", "--", "true"],
            &["--pid", "1", "-"],
            &["-", "--", "true"],
            &["--fail-below", "50"],
            &["--fail-below", "NaN"],
            &["make"],
        ] {
            assert!(config(wrong).is_err(), "{wrong:?}");
        }
    }
}
