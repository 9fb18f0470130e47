//! Samples on a steady beat, and everybody who gets them.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::child::Shared;
use crate::config::{Config, Subject};
use crate::figures;
use crate::metrics::Metrics;
use crate::outfile;
use crate::platform;
use crate::record::{Header, Line, Recorder, SCHEMA};
use crate::sample::Sample;
use crate::sampler::Sampler;
use crate::talk::{print, say};
use crate::terminal;
use crate::view::View;

/// What can happen while samples are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Enough.
    Stop,
    /// The terminal has another size.
    Resized,
    /// The terminal is wanted by somebody else for a while.
    Suspend,
}

/// Everybody who gets samples.
pub struct Sinks {
    /// The file.
    pub recorder: Recorder,
    /// Prometheus.
    metrics: Option<Metrics>,
    view: Option<View>,
    prints_lines: bool,
    survives_errors: bool,
}

impl Sinks {
    /// Opens all of them, before anything is started.
    pub fn open(config: &Config, effective_cores: f64) -> Result<Self> {
        let mut recorder = Recorder::open(config.output.as_deref())?;
        if config.output.is_some() {
            recorder.write(&Line::Header(header(config, effective_cores)))?;
        }
        if let Some(plot) = &config.plot {
            outfile::check_writable(plot)?;
        }
        let metrics =
            config.prometheus.map(|address| Metrics::serve(address, effective_cores)).transpose()?;
        if let Some(metrics) = metrics.as_ref().filter(|_| !config.quiet) {
            say(&format!("cpumon: metrics at http://{}/metrics", metrics.address));
        }
        let is_live = config.shows && std::io::stdout().is_terminal() && terminal::is_ours();
        let view = is_live
            .then(|| View::open(config.subject.words(), effective_cores, config.subject == Subject::Machine));
        let survives_errors = !config.subject.leaves_stdout();
        Ok(Self { recorder, metrics, prints_lines: config.shows && view.is_none(), view, survives_errors })
    }

    /// Whether keys end the watching.
    pub fn is_live(&self) -> bool {
        self.view.is_some()
    }

    /// Gives the terminal back.
    pub fn close_view(&mut self) {
        self.view = None;
    }

    /// The first failure to write is said, and ends only the writing where others depend on this process.
    fn take(&mut self, sample: Sample, sampler: &Sampler) -> Result<()> {
        if self.prints_lines {
            print(&line(&sample))?;
        }
        if let Some(metrics) = &self.metrics {
            metrics.update(&sample);
        }
        if let Some(view) = &mut self.view {
            view.show(&sample, sampler)?;
        }
        match self.recorder.write(&Line::Sample(sample)) {
            Err(error) if self.survives_errors => say(&format!("cpumon: {error:#}; the command goes on")),
            other => other?,
        }
        Ok(())
    }

    fn happened(&mut self, event: Event) -> Result<ControlFlow<()>> {
        match event {
            Event::Stop => return Ok(ControlFlow::Break(())),
            Event::Resized => self.view.as_mut().map_or(Ok(()), View::redraw)?,
            Event::Suspend => terminal::suspend(self.view.as_ref().map(View::screen))?,
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Takes a sample every interval until told to stop, until the time is over, or until there is nothing left to
/// watch.
pub fn sample_until(
    events: &Receiver<Event>,
    config: &Config,
    sampler: &mut Sampler,
    sinks: &mut Sinks,
    ended: &Shared,
) -> Result<()> {
    let start = Instant::now();
    let deadline = config.duration.map(|duration| start + duration);
    let mut next = start + config.interval;
    loop {
        let until = deadline.map_or(next, |deadline| next.min(deadline));
        match events.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(event) if sinks.happened(event)?.is_continue() => {}
            Err(RecvTimeoutError::Timeout) if deadline.is_none_or(|deadline| Instant::now() < deadline) => {
                let Some(sample) = sampler.sample(ended) else { return Ok(()) };
                sinks.take(sample, sampler)?;
                next = following(next, config.interval);
            }
            _ => break,
        }
    }
    // What is left of an interval counts if it is long enough to tell something.
    if sampler.since_last_s() >= (config.interval.as_secs_f64() / 2.0).min(LEAST_REST_S)
        && let Some(sample) = sampler.sample(ended)
    {
        sinks.take(sample, sampler)?;
    }
    Ok(())
}

/// A rest of an interval that is longer than this is always a sample.
const LEAST_REST_S: f64 = 0.1;

/// The next time on the beat. Beats missed while the machine slept are left out, not made up for.
fn following(beat: Instant, interval: Duration) -> Instant {
    let now = Instant::now();
    let next = beat + interval;
    if next > now { next } else { now + interval }
}

fn header(config: &Config, effective_cores: f64) -> Header {
    let (processor, system) = platform::describe();
    let command = match &config.subject {
        Subject::Command(words) => {
            Some(words.iter().map(|word| word.to_string_lossy().into_owned()).collect())
        }
        _ => None,
    };
    Header {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        interval_s: config.interval.as_secs_f64(),
        subject: config.subject.words(),
        command,
        pid: if let Subject::Process(pid) = config.subject { Some(pid) } else { None },
        effective_cores,
        machine_cores: platform::machine_cores(),
        core_kinds: platform::core_kinds(),
        processor,
        system,
    }
}

fn line(sample: &Sample) -> String {
    let count = sample.cores.as_ref().map_or(0, Vec::len);
    let used = sample.parallelism.map_or("unknown".to_owned(), |cores| format!("{cores:.2}"));
    let cores = sample.cores.iter().flatten().take(16).map(|busy| format!("{:3.0}", busy * 100.0));
    let cores: Vec<_> = cores.collect();
    let load = sample.load_1min.map_or(String::new(), |load| format!("  load {load:.2}"));
    let free =
        sample.available_bytes.map_or(String::new(), |bytes| format!("  free {:.1} GB", bytes as f64 / 1e9));
    let of = figures::cores(count as f64);
    format!("{:8.1} s  {used} of {of} cores  [{} %]{load}{free}", sample.t_s, cores.join(" "))
}
