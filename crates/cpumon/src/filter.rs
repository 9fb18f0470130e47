//! Standing in a pipe: every byte goes through unchanged, and the other stages are watched.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::channel;
use std::thread;

use anyhow::{Context, Result};
use cli::Exit;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::child::Shared;
use crate::config::Config;
use crate::finish::finish;
use crate::platform::{self, Root};
use crate::run::outcome;
use crate::sampler::Sampler;
use crate::sampling::{Event, Sinks, sample_until};
use crate::summary::Outcome;
use crate::talk::say;

/// Passes standard input on until it ends, or nobody reads any more.
pub fn filter(config: &Config) -> Result<Exit> {
    let effective_cores = platform::effective_cores(None);
    let mut sinks = Sinks::open(config, effective_cores)?;
    let mut sampler = Sampler::start(Root::Siblings).context("this process cannot be watched")?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("signals cannot be caught")?;
    // The copies of the streams are files, which the standard library moves between within the kernel.
    let stream = |fd: io::Result<std::os::fd::OwnedFd>| fd.map(File::from);
    let mut input = stream(io::stdin().as_fd().try_clone_to_owned()).context("standard input")?;
    let mut output = stream(io::stdout().as_fd().try_clone_to_owned()).context("standard output")?;
    let (sender, events) = channel();
    let ended_by_signal = sender.clone();
    thread::spawn(move || {
        for signal in signals.forever() {
            // Ctrl-C reaches every stage; what those before this one still write has to go through.
            if signal != SIGINT {
                let _ = ended_by_signal.send((Event::Stop, Err(128 + signal as u8)));
            }
        }
    });
    thread::spawn(move || {
        let passed = pass(&mut input, &mut output);
        let _ = sender.send((Event::Stop, Ok(passed)));
    });
    let (stop, stopped) = channel();
    let ended = Shared::default();
    let end = thread::scope(|scope| {
        let (sampler, sinks, ended) = (&mut sampler, &mut sinks, &ended);
        let sampling = scope.spawn(move || sample_until(&stopped, config, sampler, sinks, ended));
        let end = events.recv();
        let _ = stop.send(Event::Stop);
        if sampling.join().is_err() {
            say("cpumon: watching failed; the pipe was not affected");
        }
        end
    });
    let (cpu_s, counted_s) = sampler.final_cpu_s(&ended);
    let (passed, code) = match end.context("the pipe cannot be read")?.1 {
        Ok((passed, copied)) => {
            match copied {
                Ok(()) => (Some(passed), Exit::Done),
                // A reader that has had enough ends the pipe, and how much of the last piece it took is not known.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => (None, Exit::Done),
                Err(error) => {
                    say(&format!("cpumon: passing bytes on failed after {passed}: {error}"));
                    (None, Exit::Failed)
                }
            }
        }
        Err(code) => (None, Exit::Code(code)),
    };
    let outcome =
        Outcome { passed_bytes: passed, ..outcome(config, &sampler, cpu_s, counted_s, effective_cores) };
    let own = finish(config, outcome, &sampler.totals, &mut sinks.recorder).unwrap_or_else(|error| {
        say(&format!("cpumon: {error:#}"));
        Exit::Done
    });
    Ok(if code == Exit::Done { own } else { code })
}

/// Copies until the end, and gives how many bytes went through, even if it failed.
fn pass(input: &mut File, output: &mut File) -> (u64, io::Result<()>) {
    /// The kernel moves at most this much before the count is taken.
    const PIECE: u64 = 1 << 30;
    let mut passed = 0;
    loop {
        match io::copy(&mut Read::by_ref(input).take(PIECE), output) {
            Ok(0) => return (passed, output.flush()),
            Ok(bytes) => passed += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (passed, Err(error)),
        }
    }
}
