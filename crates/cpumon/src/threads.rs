//! Which thread pools a process has, which variable governs each, and what to set.

mod report;

use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result};
use cli::Exit;

use crate::child::{self, Shared};
use crate::cli::Threads;
use crate::figures::plain;
use crate::platform::{self, Root};
use crate::pools::{POOLS, exports, settings};
use crate::sampler::Sampler;
use crate::talk::{plainly, print, say};

pub use report::Report;
use report::{advice, catalogue};

/// Does what `cpumon threads` was asked to.
pub fn threads(arguments: &Threads) -> Result<Exit> {
    let own: Vec<String> = env::vars_os()
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
        .collect();
    let own = settings(own.iter().map(String::as_str));
    let effective_cores = platform::effective_cores(arguments.pid);
    if arguments.export {
        print(&exports(effective_cores, arguments.workers, &own))?;
    } else if let Some(pid) = arguments.pid {
        let sampler = Sampler::start(Root::Process(pid))
            .with_context(|| format!("--pid {pid}: there is no such process"))?;
        let mut look = Look::new(effective_cores, sampler);
        for _ in 0..LOOKS {
            thread::sleep(EVERY);
            if !look.again(&Shared::default()) {
                break;
            }
        }
        let report = look.report(arguments.workers);
        print(&report.text(arguments.json)?)?;
    } else if arguments.wrapped.is_empty() {
        print(&catalogue(&own, effective_cores))?;
    } else {
        return around(arguments, effective_cores);
    }
    Ok(Exit::Done)
}

const LOOKS: usize = 5;
const EVERY: Duration = Duration::from_millis(250);

/// Runs the command, and looks into it again and again: what it loads late is seen, too.
fn around(arguments: &Threads, effective_cores: f64) -> Result<Exit> {
    let mut signals = child::catch_signals().context("signals cannot be caught")?;
    let sampler = Sampler::start(Root::Own).context("this process cannot be watched")?;
    let pid = match child::start(&arguments.wrapped) {
        Ok(pid) => pid,
        Err(error) => {
            say(&format!(
                "cpumon: {}: {}",
                plain(&arguments.wrapped[0].to_string_lossy()),
                plainly(&error.cause)
            ));
            return Ok(Exit::Code(error.code));
        }
    };
    let ended = Shared::default();
    let handle = signals.handle();
    let mut look = Look::new(effective_cores, sampler);
    let code = thread::scope(|scope| {
        let (ended, look) = (&ended, &mut look);
        scope.spawn(move || child::forward(&mut signals, pid, ended));
        let looking = scope.spawn(move || {
            let (mut next, mut pause) = (Instant::now(), Duration::from_millis(50));
            while ended.lock().status.is_none() {
                // In small steps, so that the end of the command is not waited out.
                thread::sleep(Duration::from_millis(20));
                if Instant::now() >= next {
                    look.again(ended);
                    pause = (pause * 2).min(Duration::from_secs(2));
                    next = Instant::now() + pause;
                }
            }
        });
        let code = child::wait(pid, ended);
        let _ = looking.join();
        handle.close();
        code
    });
    match look.report(arguments.workers).text(arguments.json) {
        Ok(text) => say(&text),
        Err(error) => say(&format!("cpumon: {error:#}")),
    }
    Ok(Exit::Code(code.context("the command's end cannot be waited for")?))
}

struct Look {
    sampler: Sampler,
    report: Report,
}

impl Look {
    fn new(effective_cores: f64, sampler: Sampler) -> Self {
        Self { sampler, report: Report { effective_cores, ..Report::default() } }
    }

    /// Whether there was anything to look at.
    fn again(&mut self, ended: &Shared) -> bool {
        let sample = self.sampler.sample(ended);
        let mut found = false;
        for member in &self.sampler.seen {
            let Some(inside) = platform::look_into(member.pid) else { continue };
            found = true;
            self.report.looked_into = true;
            for pool in POOLS.iter().filter(|pool| pool.place.is_here()) {
                if let Some(evidence) = pool.evidence(&inside) {
                    self.report.pools.insert(pool.name, evidence);
                }
            }
            if let Some(environment) = &inside.environment {
                self.report.environment_known = true;
                self.report.settings.extend(settings(environment.iter().map(String::as_str)));
            }
        }
        self.report.settings.sort();
        self.report.settings.dedup();
        sample.is_some() && found
    }

    fn report(self, workers: u32) -> Report {
        let totals = &self.sampler.totals;
        let runnable =
            totals.run_queue.map(|queue| (queue.ran_s + queue.waited_s) / totals.threads_told_s.max(1e-9));
        let mut report = Report { threads: totals.threads_peak, runnable, ..self.report };
        report.advice = advice(&report, workers);
        report
    }
}
