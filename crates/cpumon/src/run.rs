//! What the tool does: wrap a command, follow a process, or watch the machine.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::{Context, Result, anyhow};
use clap::CommandFactory;
use cli::{Exit, UsageError};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;

use crate::child::{self, Shared};
use crate::cli::{Arguments, Command};
use crate::config::{Config, Subject};
use crate::figures::plain;
use crate::filter::filter;
use crate::finish::finish;
use crate::platform::{self, Root};
use crate::sampler::Sampler;
use crate::sampling::{Event, Sinks, sample_until};
use crate::summary::Outcome;
use crate::talk::{is_closed_pipe, plainly, say};
use crate::{compare, replay, terminal, threads};

/// Runs the tool and gives the code to exit with. Errors are printed here, one line each.
pub fn run(arguments: Arguments) -> Exit {
    let wraps = arguments.has_command();
    match dispatch(arguments) {
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

fn dispatch(arguments: Arguments) -> Result<Exit> {
    match arguments.command {
        Some(Command::Replay { file, summary, json, plot }) => {
            replay::replay(&file, summary, json, plot.as_deref())
        }
        Some(Command::Compare { before, after, json }) => compare::compare(&before, &after, json),
        Some(Command::Threads(words)) => threads::threads(&words),
        Some(Command::Pages { page }) => {
            cli::pages::write(page, Arguments::command(), &mut io::stdout().lock())?;
            Ok(Exit::Done)
        }
        None => {
            let config = Config::new(arguments.watch)?;
            match &config.subject {
                Subject::Command(_) => wrap(&config),
                Subject::Pipeline => filter(&config),
                Subject::Process(_) | Subject::Machine => watch(&config),
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
    let mut sinks = Sinks::open(config, effective_cores)?;
    let mut signals = child::catch_signals().context("signals cannot be caught")?;
    let mut sampler = Sampler::start(Root::Own).context("this process cannot be watched")?;
    let pid = match child::start(command) {
        Ok(pid) => pid,
        Err(error) => {
            say(&format!("cpumon: {}: {}", plain(&command[0].to_string_lossy()), plainly(&error.cause)));
            return Ok(Exit::Code(error.code));
        }
    };
    let ended = Shared::default();
    let handle = signals.handle();
    let code = thread::scope(|scope| {
        let (stop, events) = channel();
        let (sampler, sinks, ended) = (&mut sampler, &mut sinks, &ended);
        let sampling = scope.spawn(move || sample_until(&events, config, sampler, sinks, ended));
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
        exit_code: code.as_ref().ok().copied(),
        user_and_system_s: left_running.is_empty().then_some((ended.user_s, ended.system_s)),
        left_running,
        ..outcome(config, &sampler, cpu_s, counted_s, effective_cores)
    };
    let own = finish(config, outcome, &sampler.totals, &mut sinks.recorder).unwrap_or_else(|error| {
        say(&format!("cpumon: {error:#}"));
        Exit::Done
    });
    let code = code.context("the command's end cannot be waited for")?;
    Ok(if code == 0 { own } else { Exit::Code(code) })
}

/// What is known of every run.
pub fn outcome(
    config: &Config,
    sampler: &Sampler,
    cpu_s: Option<f64>,
    counted_s: f64,
    effective_cores: f64,
) -> Outcome {
    Outcome {
        subject: config.subject.words(),
        wall_s: sampler.wall_s(),
        cpu_s,
        counted_s,
        effective_cores,
        core_kinds: platform::core_kinds(),
        whole_machine: config.subject == Subject::Machine,
        own_cpu_s: platform::own_cpu_s(),
        ..Outcome::default()
    }
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
    // Signals are caught before the terminal is changed, so that none can leave it changed.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM]).context("signals cannot be caught")?;
    let handle = signals.handle();
    let mut sinks = Sinks::open(config, effective_cores)?;
    let (sender, events) = channel();
    if sinks.is_live() {
        for signal in [SIGWINCH, SIGTSTP] {
            signals.add_signal(signal).context("signals cannot be caught")?;
        }
        let sender = sender.clone();
        // This thread may wait for a key for ever; the end of the process ends it.
        thread::spawn(move || terminal::wait_for_quit().then(|| sender.send(Event::Stop)));
    }
    let waiting = thread::spawn(move || pass_on(&mut signals, &sender));
    let ended = Shared::default();
    let watched = sample_until(&events, config, &mut sampler, &mut sinks, &ended);
    sinks.close_view();
    handle.close();
    let _ = waiting.join();
    // Where nobody reads any more, nobody reads a summary either.
    watched?;
    let (cpu_s, counted_s) = sampler.final_cpu_s(&ended);
    let outcome = outcome(config, &sampler, cpu_s, counted_s, effective_cores);
    finish(config, outcome, &sampler.totals, &mut sinks.recorder)
}

fn pass_on(signals: &mut Signals, events: &Sender<Event>) {
    for signal in signals.forever() {
        let event = match signal {
            SIGWINCH => Event::Resized,
            SIGTSTP => Event::Suspend,
            _ => Event::Stop,
        };
        // The receiver may have gone already, which ends the run just as well.
        if events.send(event).is_err() {
            return;
        }
    }
}
