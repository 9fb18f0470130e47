//! What a look into a process found, in words, and what follows from it.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use crate::figures;
use crate::pools::{POOLS, Place, Setting, threads_each};

/// What was found in a process and everything below it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Cores that may be used.
    pub effective_cores: f64,
    /// The most threads at once.
    pub threads: Option<u32>,
    /// Threads that ran or were ready to run, on average.
    pub runnable: Option<f64>,
    /// Whether any process could be looked into.
    pub looked_into: bool,
    /// Pools, each with what shows it.
    pub pools: BTreeMap<&'static str, String>,
    /// Variables on the list as they were when the processes started.
    pub settings: Vec<Setting>,
    /// Whether any environment could be read.
    pub environment_known: bool,
    /// What follows.
    pub advice: String,
}

/// Unset is not wrong: most pools then take all cores, as they should in a process that is alone. What is wrong is
/// more runnable threads than cores, or a small number that was inherited while cores idle.
pub fn advice(report: &Report, workers: u32) -> String {
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
            format!("use {} or workers", figures::counted(each as u64, "thread", "threads"))
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
            format!("{runnable:.1} threads wanted {} cores: {}", figures::cores(cores), set(each))
        }
        (Some(runnable), Some(small)) if runnable < cores * 0.7 && workers == 1 => {
            let Setting { name, value } = small;
            format!(
                "{name}={value} was inherited while cores were free: unset it, or {}; measure, as small work is faster on few threads",
                set(each)
            )
        }
        _ if workers > 1 => format!("for {workers} workers side by side: {}", set(each)),
        _ if !report.looked_into => "none, as nothing was seen".to_owned(),
        _ => "nothing needs to be set".to_owned(),
    }
}

impl Report {
    /// In words, or as one line of JSON.
    pub fn text(&self, json: bool) -> Result<String> {
        if json {
            return Ok(serde_json::to_string(self)?);
        }
        let mut lines = Vec::new();
        let threads = self.threads.map_or("unknown".to_owned(), |count| count.to_string());
        let runnable = self.runnable.map_or("unknown".to_owned(), |count| format!("{count:.1}"));
        let cores = figures::cores(self.effective_cores);
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
        if !self.looked_into {
            lines.push(
                "  no process could be looked into: it is somebody else's, or ended too soon".to_owned(),
            );
        } else if self.pools.is_empty() {
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

/// Every pool on the list, with its variables as this shell sets them.
pub fn catalogue(own: &[Setting], effective_cores: f64) -> String {
    let cores = figures::cores(effective_cores);
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
    use crate::pools::settings;

    fn report(cores: f64, runnable: f64, setting: Option<&str>) -> Report {
        Report {
            effective_cores: cores,
            runnable: Some(runnable),
            pools: BTreeMap::from([("OpenMP", "libgomp.so.1".to_owned())]),
            settings: settings(setting),
            looked_into: true,
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
    fn where_nothing_was_seen_nothing_is_claimed() {
        let mut unseen = Report { effective_cores: 2.0, ..Report::default() };
        unseen.advice = advice(&unseen, 1);
        let text = unseen.text(false).unwrap();
        assert!(text.contains("no process could be looked into"), "{text}");
        assert!(text.ends_with("advice: none, as nothing was seen"), "{text}");
    }

    #[test]
    fn unset_is_not_called_wrong() {
        let text = report(16.0, 12.0, None).text(false).unwrap();
        assert!(text.contains("OMP_NUM_THREADS not set: all cores, which is right"), "{text}");
        let hidden = Report { environment_known: false, ..report(16.0, 12.0, None) };
        assert!(hidden.text(false).unwrap().contains("the system does not show"));
    }
}
