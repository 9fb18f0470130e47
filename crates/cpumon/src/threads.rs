//! Which thread pools a process has, which variable governs each, and what to set.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result};
use cli::Exit;
use serde::Serialize;

use crate::child::{self, Shared};
use crate::cli::Threads;
use crate::platform::{self, Root};
use crate::pools::{POOLS, Place, Setting, exports, settings, threads_each};
use crate::sample::Sampler;
use crate::talk::{plainly, print, say};
use crate::verdict;

/// What was found in a process and everything below it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Cores that may be used.
    pub effective_cores: f64,
    /// The most threads at once.
    pub threads: Option<u32>,
    /// Threads that ran or were ready to run, on average.
    pub runnable: Option<f64>,
    /// Pools, each with what shows it.
    pub pools: BTreeMap<&'static str, String>,
    /// Variables on the list as they were when the processes started.
    pub settings: Vec<Setting>,
    /// Whether any environment could be read.
    pub environment_known: bool,
    /// What follows.
    pub advice: String,
}

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
            say(&format!("cpumon: {}: {}", arguments.wrapped[0].to_string_lossy(), plainly(&error.cause)));
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

/// Unset is not wrong: most pools then take all cores, as they should in a process that is alone. What is wrong is
/// more runnable threads than cores, or a small number that was inherited while cores idle.
fn advice(report: &Report, workers: u32) -> String {
    let (cores, each) = (report.effective_cores, threads_each(report.effective_cores, workers));
    let mut governed: Vec<&str> = POOLS
        .iter()
        .filter(|pool| report.pools.contains_key(pool.name))
        .filter_map(|pool| pool.variables.first().copied())
        .collect();
    governed.sort_unstable();
    governed.dedup();
    let set = |each: usize| {
        let words: Vec<_> = governed.iter().map(|name| format!("{name}={each}")).collect();
        if words.is_empty() {
            format!("use {each} threads or workers")
        } else {
            format!("set {}", words.join(" "))
        }
    };
    let small = report.settings.iter().find(|setting| {
        governed.contains(&setting.name.as_str())
            && setting.value.parse::<f64>().is_ok_and(|value| value * 2.0 <= cores)
    });
    match (report.runnable, small) {
        (Some(runnable), _) if runnable > cores * 1.3 + 0.5 => {
            format!("{runnable:.1} threads wanted {} cores: {}", verdict::cores(cores), set(each))
        }
        (Some(runnable), Some(small)) if runnable < cores * 0.7 && workers == 1 => {
            let Setting { name, value } = small;
            format!(
                "{name}={value} was inherited while cores were free: unset it, or {}; measure, as small work is faster on few threads",
                set(each)
            )
        }
        _ if workers > 1 => format!("for {workers} workers side by side: {}", set(each)),
        _ => "nothing needs to be set".to_owned(),
    }
}

impl Report {
    fn text(&self, json: bool) -> Result<String> {
        if json {
            return Ok(serde_json::to_string(self)?);
        }
        let mut lines = Vec::new();
        let threads = self.threads.map_or("unknown".to_owned(), |count| count.to_string());
        let runnable = self.runnable.map_or("unknown".to_owned(), |count| format!("{count:.1}"));
        let cores = verdict::cores(self.effective_cores);
        lines.push(format!(
            "threads: {threads} at most, {runnable} running or ready on average, on {cores} cores"
        ));
        for (name, evidence) in &self.pools {
            let Some(pool) = POOLS.iter().find(|pool| pool.name == *name) else { continue };
            let set = self.settings.iter().find(|setting| pool.variables.contains(&setting.name.as_str()));
            let governed = match (set, pool.variables.first(), self.environment_known) {
                (Some(Setting { name, value }), _, _) => format!("{name}={value}"),
                (None, Some(name), true) => {
                    format!("{name} not set: all cores, which is right for one process")
                }
                (None, Some(name), false) => format!("{name}, whose value the system does not show"),
                (None, None, _) => "no variable".to_owned(),
            };
            let note = if pool.note.is_empty() { String::new() } else { format!("; {}", pool.note) };
            lines.push(format!("  {name:<11} {governed} (seen: {evidence}){note}"));
        }
        if self.pools.is_empty() {
            lines.push("  no pool that is known by a library or by names of threads".to_owned());
        }
        let shown = |setting: &&Setting| {
            !POOLS.iter().any(|pool| {
                self.pools.contains_key(pool.name) && pool.variables.contains(&setting.name.as_str())
            })
        };
        for Setting { name, value } in self.settings.iter().filter(shown) {
            lines.push(format!("  {name}={value} is set, for a pool that was not seen"));
        }
        lines.push(format!("advice: {}", self.advice));
        Ok(lines.join("\n"))
    }
}

fn catalogue(own: &[Setting], effective_cores: f64) -> String {
    let cores = verdict::cores(effective_cores);
    let mut lines = vec![format!("{cores} cores may be used here; variables as they are set in this shell:")];
    for pool in &POOLS {
        let value =
            |name: &str| own.iter().find(|setting| setting.name == name).map(|setting| &setting.value);
        let state =
            |name: &&str| value(name).map_or(format!("{name} not set"), |value| format!("{name}={value}"));
        let mut states: Vec<_> = pool.variables.iter().map(state).collect();
        match pool.place {
            _ if pool.place.is_here() => {}
            Place::X86 => states = vec!["does not exist on this processor".to_owned()],
            _ => states = vec!["does not exist on this system".to_owned()],
        }
        states.extend((!pool.note.is_empty()).then(|| pool.note.to_owned()));
        lines.push(format!("  {:<11} {}", pool.name, states.join("; ")));
    }
    lines.push(
        "Unset is not wrong: a pool alone then takes all cores. Look into a process with --pid.".to_owned(),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cores: f64, runnable: f64, setting: Option<&str>) -> Report {
        Report {
            effective_cores: cores,
            runnable: Some(runnable),
            pools: BTreeMap::from([("OpenMP", "libgomp.so.1".to_owned())]),
            settings: settings(setting),
            environment_known: true,
            ..Report::default()
        }
    }

    #[test]
    fn advice_follows_from_evidence() {
        let check = |report: Report, workers, expected: &str| {
            let advice = advice(&report, workers);
            assert!(advice.contains(expected), "{advice}");
        };
        check(report(16.0, 15.0, None), 1, "nothing needs to be set");
        check(report(16.0, 64.0, None), 1, "set OMP_NUM_THREADS=16");
        check(report(16.0, 64.0, None), 8, "set OMP_NUM_THREADS=2");
        check(report(16.0, 1.0, Some("OMP_NUM_THREADS=1")), 1, "OMP_NUM_THREADS=1 was inherited");
        check(report(16.0, 1.0, None), 1, "nothing needs to be set");
        check(report(16.0, 1.0, None), 4, "for 4 workers side by side: set OMP_NUM_THREADS=4");
    }

    #[test]
    fn unset_is_not_called_wrong() {
        let text = report(16.0, 12.0, None).text(false).unwrap();
        assert!(text.contains("OMP_NUM_THREADS not set: all cores, which is right"), "{text}");
        let hidden = Report { environment_known: false, ..report(16.0, 12.0, None) };
        assert!(hidden.text(false).unwrap().contains("the system does not show"));
    }
}
