//! Progress of long work: a bar where stderr is a terminal, a plain line now and then where it is not.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a plain line is printed when stderr is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows how far work has come. Cheap to update from several threads.
#[derive(Debug)]
pub struct Progress {
    tool: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    last_line: Mutex<Instant>,
    silent: bool,
}

impl Progress {
    /// Progress of `tool` over `total` units of work, called `unit`; nothing is shown if `quiet`.
    pub fn new(tool: &'static str, total: u64, unit: &str, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
            let template = format!("{tool} {{wide_bar}} {{pos}}/{{len}} {unit} {{msg}}");
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style);
            }
            bar
        });
        Self { tool, total, bar, last_line: Mutex::new(Instant::now()), silent: quiet }
    }

    /// Work has come as far as `position`; `message` says what else a person would like to know.
    pub fn update(&self, position: u64, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            bar.set_message(Cow::Owned(message()));
        } else if !self.silent
            && let Ok(mut last) = self.last_line.try_lock()
            && last.elapsed() >= LINE_EVERY
        {
            *last = Instant::now();
            eprintln!("{}: {position}/{} {}", self.tool, self.total, message());
        }
    }

    /// Prints a line of talk without tearing the bar.
    pub fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{}: {line}", self.tool)),
            None if self.silent => {}
            None => eprintln!("{}: {line}", self.tool),
        }
    }

    /// The work is over; the bar goes away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
