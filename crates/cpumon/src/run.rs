//! What the tool does: wrap a command, follow a process, or watch the machine.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use cli::{Exit, UsageError};
use plot::{HeatMap, XAxis};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::child::{self, Shared};
use crate::cli::{Arguments, Config, Subject, Words};
use crate::platform::{self, Root};
use crate::record::{Header, Line, Recorder, SCHEMA};
use crate::sample::{Sample, Sampler};
use crate::summary::{Outcome, Summary};
use crate::verdict;

/// Runs the tool and gives the code to exit with. Errors are printed here, one line each.
pub fn run(arguments: Arguments) -> Exit {
    let wraps = arguments.wraps();
    let done = arguments.into_config().and_then(|config| match &config.subject {
        Subject::Command(_) => wrap(&config),
        Subject::Process(_) | Subject::Machine => watch(&config),
    });
    match done {
        Ok(exit) => exit,
        Err(error) if is_closed_pipe(&error) => Exit::Done,
        Err(error) => {
            say(&format!("cpumon: {error:#}"));
            match error.is::<UsageError>() {
                _ if wraps => Exit::Code(125),
                true => Exit::Usage,
                false => Exit::Failed,
            }
        }
    }
}

/// Runs the command to its end. Whatever fails once it runs is said, and changes nothing about it.
fn wrap(config: &Config) -> Result<Exit> {
    let Subject::Command(command) = &config.subject else {
        return Err(anyhow!("there is no command to run"));
    };
    let effective_cores = platform::effective_cores(None);
    let mut recorder = open_recorder(config, effective_cores)?;
    let mut signals = child::catch_signals().context("signals cannot be caught")?;
    let mut sampler = Sampler::start(Root::Own).context("this process cannot be watched")?;
    let pid = match child::start(command) {
        Ok(pid) => pid,
        Err(error) => {
            say(&format!("cpumon: {}: {}", command[0].to_string_lossy(), plainly(&error.cause)));
            return Ok(Exit::Code(error.code));
        }
    };
    let ended = Shared::default();
    let handle = signals.handle();
    let code = thread::scope(|scope| {
        let (stop, stopped) = channel();
        let (sampler, recorder, ended) = (&mut sampler, &mut recorder, &ended);
        let sampling = scope.spawn(move || sample_until(&stopped, config, sampler, recorder, ended));
        scope.spawn(move || child::forward(&mut signals, pid, ended));
        let code = child::wait(pid, ended);
        drop(stop);
        if sampling.join().is_err() {
            say("cpumon: watching failed; the command was not affected");
        }
        handle.close();
        code
    });
    let (cpu_s, counted_s) = sampler.final_cpu_s(&ended);
    let left_running = std::mem::take(&mut sampler.members);
    let ended = ended.lock();
    let outcome = Outcome {
        subject: subject(config),
        exit_code: code.as_ref().ok().copied(),
        wall_s: sampler.wall_s(),
        cpu_s,
        counted_s,
        user_and_system_s: left_running.is_empty().then_some((ended.user_s, ended.system_s)),
        effective_cores,
        whole_machine: false,
        left_running,
        own_cpu_s: platform::own_cpu_s(),
    };
    if let Err(error) = finish(config, outcome, &sampler, &mut recorder) {
        say(&format!("cpumon: {error:#}"));
    }
    Ok(Exit::Code(code.context("the command's end cannot be waited for")?))
}

/// Watches a process until it ends, or the machine, until a signal or the time given.
fn watch(config: &Config) -> Result<Exit> {
    let (root, pid) = match config.subject {
        Subject::Process(pid) => (Root::Process(pid), Some(pid)),
        _ => (Root::Machine, None),
    };
    let mut sampler = Sampler::start(root)
        .with_context(|| format!("--pid {}: there is no such process", pid.unwrap_or_default()))?;
    let effective_cores = platform::effective_cores(pid);
    let mut recorder = open_recorder(config, effective_cores)?;
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("signals cannot be caught")?;
    let handle = signals.handle();
    let (stop, stopped) = channel();
    let waiting = thread::spawn(move || {
        if signals.forever().next().is_some() {
            // The receiver may have gone already, which ends the run just as well.
            let _ = stop.send(());
        }
    });
    let ended = Shared::default();
    let watched = sample_until(&stopped, config, &mut sampler, &mut recorder, &ended);
    handle.close();
    let _ = waiting.join();
    watched?;
    let (cpu_s, counted_s) = sampler.final_cpu_s(&ended);
    let outcome = Outcome {
        subject: subject(config),
        wall_s: sampler.wall_s(),
        cpu_s,
        counted_s,
        effective_cores,
        whole_machine: root == Root::Machine,
        own_cpu_s: platform::own_cpu_s(),
        ..Outcome::default()
    };
    finish(config, outcome, &sampler, &mut recorder)?;
    Ok(Exit::Done)
}

/// Takes a sample every interval until told to stop, until the time is over, or until there is nothing left to
/// watch. The first failure to write is said, and for a command ends the writing only.
fn sample_until(
    stopped: &Receiver<()>,
    config: &Config,
    sampler: &mut Sampler,
    recorder: &mut Recorder,
    ended: &Shared,
) -> Result<()> {
    let wraps = matches!(config.subject, Subject::Command(_));
    let mut take = |sampler: &mut Sampler| -> Result<ControlFlow<()>> {
        let Some(sample) = sampler.sample(ended) else { return Ok(ControlFlow::Break(())) };
        if config.lines {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{}", line(&sample)).and_then(|()| out.flush())?;
        }
        match recorder.write(&Line::Sample(sample)) {
            Err(error) if wraps => say(&format!("cpumon: {error:#}; the command goes on")),
            other => other?,
        }
        Ok(ControlFlow::Continue(()))
    };
    let start = Instant::now();
    let deadline = config.duration.map(|duration| start + duration);
    let mut next = start + config.interval;
    loop {
        let until = deadline.map_or(next, |deadline| next.min(deadline));
        match stopped.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) if deadline.is_none_or(|deadline| Instant::now() < deadline) => {
                if take(sampler)?.is_break() {
                    return Ok(());
                }
                next = following(next, config.interval);
            }
            _ => break,
        }
    }
    // What is left of an interval counts if it is long enough to tell something.
    if sampler.since_last_s() >= (config.interval.as_secs_f64() / 2.0).min(LEAST_REST_S) {
        let _ = take(sampler)?;
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

fn open_recorder(config: &Config, effective_cores: f64) -> Result<Recorder> {
    let mut recorder = Recorder::open(config.output.as_deref())?;
    if config.output.is_none() {
        return Ok(recorder);
    }
    let (processor, system) = platform::describe();
    let (command, pid) = match &config.subject {
        Subject::Command(words) => {
            (Some(words.iter().map(|word| word.to_string_lossy().into_owned()).collect()), None)
        }
        Subject::Process(pid) => (None, Some(*pid)),
        Subject::Machine => (None, None),
    };
    recorder.write(&Line::Header(Header {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        interval_s: config.interval.as_secs_f64(),
        command,
        pid,
        effective_cores,
        processor,
        system,
    }))?;
    Ok(recorder)
}

fn finish(config: &Config, outcome: Outcome, sampler: &Sampler, recorder: &mut Recorder) -> Result<()> {
    let summary = Summary::new(outcome, &sampler.totals);
    match config.summary {
        Words::Full => say(&summary.full()),
        Words::Short => say(&summary.short()),
        Words::None => {}
    }
    if !config.quiet && config.summary != Words::Full {
        for member in &summary.left_running {
            say(&format!(
                "cpumon: {} ({}) outlives the command and was left running",
                member.name, member.pid
            ));
        }
    }
    if let Some(path) = &config.plot {
        let svg = heat_map(&summary.subject, sampler).to_svg()?;
        std::fs::write(path, svg)
            .with_context(|| format!("{}: cannot be written (--plot)", path.display()))?;
    }
    recorder.write(&Line::Summary(Box::new(summary)))
}

fn heat_map(subject: &str, sampler: &Sampler) -> HeatMap {
    HeatMap {
        title: format!("Cores during {subject}"),
        rows: (0..sampler.totals.core_busy_s.len()).map(|core| format!("core {core}")).collect(),
        x: XAxis::Number { label: "seconds".to_owned() },
        columns: sampler.totals.history.columns.clone(),
    }
}

fn subject(config: &Config) -> String {
    match &config.subject {
        Subject::Machine => "the machine".to_owned(),
        Subject::Process(pid) => format!("process {pid}"),
        Subject::Command(words) => {
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            let text = words.join(" ").replace(char::is_control, " ");
            if text.chars().count() <= 60 { text } else { text.chars().take(59).chain(['…']).collect() }
        }
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
    let of = verdict::cores(count as f64);
    format!("{:8.1} s  {used} of {of} cores  [{} %]{load}{free}", sample.t_s, cores.join(" "))
}

fn plainly(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "command not found".to_owned(),
        std::io::ErrorKind::PermissionDenied => "command cannot be run: permission denied".to_owned(),
        _ => format!("command cannot be run: {error}"),
    }
}

/// Talks on standard error. Nobody listening there is no reason to fail.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
