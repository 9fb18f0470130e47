//! The end of a run in words.

use serde::{Deserialize, Serialize};

use crate::platform::Member;
use crate::record::round;
use crate::sample::{Hot, Totals, waited_share};
use crate::verdict::{self, Evidence, Verdict};

/// A whole run in numbers. What the system does not tell is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What was watched, in a few words.
    pub subject: String,
    /// Exit code of the command; null if there was none.
    pub exit_code: Option<u8>,
    /// Seconds from start to end.
    pub wall_s: f64,
    /// CPU time of the subject in seconds; exact for a command.
    pub cpu_s: Option<f64>,
    /// The part of it in the programs; only a command tells.
    pub user_s: Option<f64>,
    /// The part of it in the kernel; only a command tells.
    pub system_s: Option<f64>,
    /// CPU time over the time in which it was counted: how many cores the subject used.
    pub parallelism: Option<f64>,
    /// The highest parallelism of one sample.
    pub parallelism_peak: Option<f64>,
    /// Cores that the subject could have used.
    pub effective_cores: f64,
    /// For each core of the machine, the share of the time in which it worked, for whomever.
    pub core_busy: Vec<f64>,
    /// How many cores were more than half busy, on average.
    pub active_cores_mean: Option<f64>,
    /// The most of them at once.
    pub active_cores_peak: usize,
    /// Of the time that the subject's threads wanted a core, the share in which they had none.
    pub run_wait: Option<f64>,
    /// Share of all cores' time idle with a disk request under way.
    pub iowait: Option<f64>,
    /// Share of all cores' time that the hypervisor gave to somebody else.
    pub steal: Option<f64>,
    /// The highest load average over one minute.
    pub load_1min_peak: Option<f64>,
    /// The most memory that the subject had resident in any sample.
    pub resident_peak_bytes: Option<u64>,
    /// The most processes at once.
    pub processes_peak: Option<u32>,
    /// The most threads at once.
    pub threads_peak: Option<u32>,
    /// The name that was hottest for the longest time, and the mean use of a core by each sample's hottest thread.
    pub hottest: Option<Hot>,
    /// The same of the second hottest.
    pub next_hottest: Option<Hot>,
    /// Processes of the command that outlive it.
    pub left_running: Vec<Member>,
    /// How many samples were taken.
    pub samples: usize,
    /// CPU time that the watching itself took, in seconds.
    pub own_cpu_s: f64,
    /// What follows from all this.
    pub verdict: Verdict,
    /// Each core's busy share over time, in at most [`STRIP`] steps.
    #[serde(skip)]
    pub strips: Vec<Vec<f64>>,
}

/// What a summary is made of, beside the samples.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// What was watched, in a few words.
    pub subject: String,
    /// Exit code of the command.
    pub exit_code: Option<u8>,
    /// Seconds from start to end.
    pub wall_s: f64,
    /// CPU time of the subject.
    pub cpu_s: Option<f64>,
    /// Seconds over which that was counted; for a command all of them.
    pub counted_s: f64,
    /// CPU time in programs and in the kernel.
    pub user_and_system_s: Option<(f64, f64)>,
    /// Cores that could have been used.
    pub effective_cores: f64,
    /// Whether everything was watched, rather than some processes.
    pub whole_machine: bool,
    /// Processes that outlive the command.
    pub left_running: Vec<Member>,
    /// CPU time of the watching.
    pub own_cpu_s: f64,
}

const STRIP: usize = 48;
/// More cores than this share lines, so that the summary stays at 20.
const MOST_CORE_LINES: usize = 8;

impl Summary {
    /// Adds it all up.
    pub fn new(outcome: Outcome, totals: &Totals) -> Self {
        let time_s = totals.time_s.max(1e-9);
        let parallelism = outcome.cpu_s.map(|cpu_s| cpu_s.max(0.0) / outcome.counted_s.max(1e-9));
        let [hottest_name, next_name] = totals.names_of_hottest();
        let hot = |name: Option<String>, seconds: f64| {
            name.map(|name| Hot { name, cores: round(seconds / time_s, 4) })
        };
        let told = |seconds: f64| (totals.told_s > 0.0).then(|| round(seconds / totals.told_s, 4));
        let run_wait = totals.run_queue.and_then(waited_share);
        let evidence = Evidence {
            samples: totals.samples,
            parallelism,
            effective_cores: outcome.effective_cores,
            run_wait,
            hottest: totals.hottest_s.map(|hottest_s| (hottest_s / time_s, totals.next_hottest_s / time_s)),
            hottest_name: hottest_name.clone(),
            waited_cores: totals.run_queue.map(|queue| queue.waited_s / time_s),
            whole_machine: outcome.whole_machine,
            iowait: told(totals.iowait_s),
        };
        Self {
            subject: outcome.subject,
            exit_code: outcome.exit_code,
            wall_s: round(outcome.wall_s, 4),
            cpu_s: outcome.cpu_s.map(|seconds| round(seconds, 4)),
            user_s: outcome.user_and_system_s.map(|seconds| round(seconds.0, 4)),
            system_s: outcome.user_and_system_s.map(|seconds| round(seconds.1, 4)),
            parallelism: parallelism.map(|cores| round(cores, 4)),
            // The mean is exact, and a peak is a sample's; a tick lost between samples must not put it below.
            parallelism_peak: totals
                .parallelism_peak
                .map(|peak| round(peak.max(parallelism.unwrap_or(0.0)), 4)),
            effective_cores: round(outcome.effective_cores, 4),
            core_busy: totals.core_busy_s.iter().map(|seconds| round(seconds / time_s, 4)).collect(),
            active_cores_mean: (!totals.core_busy_s.is_empty())
                .then(|| round(totals.active_core_s / time_s, 4)),
            active_cores_peak: totals.active_cores_peak,
            run_wait: run_wait.map(|share| round(share, 4)),
            iowait: told(totals.iowait_s),
            steal: told(totals.steal_s),
            load_1min_peak: totals.load_1min_peak,
            resident_peak_bytes: totals.resident_peak_bytes,
            processes_peak: totals.processes_peak,
            threads_peak: totals.threads_peak,
            hottest: totals.hottest_s.and_then(|seconds| hot(hottest_name, seconds)),
            next_hottest: totals.hottest_s.and_then(|_| hot(next_name, totals.next_hottest_s)),
            left_running: outcome.left_running,
            samples: totals.samples,
            own_cpu_s: round(outcome.own_cpu_s, 6),
            verdict: verdict::judge(&evidence),
            strips: strips(&totals.history.columns),
        }
    }

    /// One line.
    pub fn short(&self) -> String {
        let peak = self.parallelism_peak.filter(|_| self.samples >= 3);
        let peak = peak.map_or(String::new(), |peak| format!(", peak {peak:.2}"));
        format!("cores: {}{peak}; {}", self.used(), self.verdict.finding.words())
    }

    /// At most 20 lines.
    pub fn full(&self) -> String {
        let exit = self.exit_code.map_or(String::new(), |code| format!(", exit {code}"));
        let mut lines = vec![format!("cpumon: {}, {}{exit}", self.subject, seconds(self.wall_s))];
        let mut row = |name: &str, text: String| lines.push(format!("  {name:<10} {text}"));
        row("cores", self.short().split_off("cores: ".len()));
        if let Some(cpu_s) = self.cpu_s {
            let parts = self.user_s.zip(self.system_s);
            let parts = parts.map_or(String::new(), |(user, system)| {
                format!(": {} in programs, {} in the kernel", seconds(user), seconds(system))
            });
            row("CPU time", format!("{}{parts}", seconds(cpu_s)));
        }
        // A run of fewer samples gets its totals, and nothing about single cores.
        if self.samples >= 3 {
            self.rows_over_time(&mut row);
        }
        if let Some(bytes) = self.resident_peak_bytes {
            let processes = self
                .processes_peak
                .map_or(String::new(), |n| format!(" in {}", counted(n, "process", "processes")));
            let threads =
                self.threads_peak.map_or(String::new(), |n| format!(", {}", counted(n, "thread", "threads")));
            row("memory", format!("{:.0} MB resident{processes}{threads} at most", bytes as f64 / 1e6));
        }
        if !self.left_running.is_empty() {
            let named =
                self.left_running.iter().take(4).map(|member| format!("{} ({})", member.name, member.pid));
            let named: Vec<_> = named.collect();
            row("left", format!("{} still running: {}", self.left_running.len(), named.join(", ")));
        }
        row("verdict", format!("{} ({})", self.verdict.finding.words(), self.verdict.because));
        row("advice", self.verdict.advice.clone());
        lines.join("\n")
    }

    fn rows_over_time(&self, row: &mut impl FnMut(&str, String)) {
        if let Some(mean) = self.active_cores_mean {
            let peak = self.active_cores_peak;
            row(
                "active",
                format!("{mean:.1} cores more than half busy on average, {peak} at most (all processes)"),
            );
        }
        // With many cores a line stands for several neighbours.
        let per_line = self.core_busy.len().div_ceil(MOST_CORE_LINES).max(1);
        for first in (0..self.core_busy.len()).step_by(per_line) {
            let last = (first + per_line).min(self.core_busy.len()) - 1;
            let name = if first == last { format!("core {first}") } else { format!("core {first}-{last}") };
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
            let strip: String = self
                .strips
                .iter()
                .filter_map(|column| column.get(first..=last))
                .map(|cores| block(mean(cores)))
                .collect();
            row(&name, format!("{:>3.0} % {strip}", mean(&self.core_busy[first..=last]) * 100.0));
        }
        if let Some(run_wait) = self.run_wait {
            row(
                "run queue",
                format!("threads ready to run waited {:.0} % of the time for a core", run_wait * 100.0),
            );
        }
        if let Some(hottest) = &self.hottest {
            let next = self.next_hottest.as_ref();
            let next = next.map_or(String::new(), |next| format!("; next {:?} {:.2}", next.name, next.cores));
            row("hottest", format!("thread {:?} {:.2} of a core{next}", hottest.name, hottest.cores));
        }
        let percent = |share: Option<f64>| {
            share.map_or("unknown".to_owned(), |share| format!("{:.1} %", share * 100.0))
        };
        let load = self.load_1min_peak.map_or("unknown".to_owned(), |load| format!("{load:.2}"));
        let own = self.own_cpu_s / self.wall_s.max(1e-9) * 100.0;
        row(
            "machine",
            format!(
                "load {load}, idle for disk {}, stolen {}; cpumon itself {own:.2} % of a core",
                percent(self.iowait),
                percent(self.steal)
            ),
        );
    }

    fn used(&self) -> String {
        let of = verdict::cores(self.effective_cores);
        let Some(parallelism) = self.parallelism else { return format!("unknown of {of} used") };
        let percent = (parallelism / self.effective_cores.max(0.01) * 100.0).min(100.0);
        format!("{parallelism:.2} of {of} used ({percent:.0} %)")
    }
}

/// Every column once, in at most [`STRIP`] groups as equal as whole numbers allow.
fn strips(columns: &[(f64, Vec<f64>)]) -> Vec<Vec<f64>> {
    let steps = columns.len().min(STRIP);
    let group = |step: usize| &columns[step * columns.len() / steps..(step + 1) * columns.len() / steps];
    let merge = |group: &[(f64, Vec<f64>)]| {
        let cores = group.iter().map(|column| column.1.len()).min().unwrap_or(0);
        let sum = |core: usize| group.iter().map(|column| column.1[core]).sum::<f64>();
        (0..cores).map(|core| sum(core) / group.len() as f64).collect()
    };
    (0..steps).map(|step| merge(group(step))).collect()
}

fn counted(count: u32, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// A block as high as the share.
fn block(share: f64) -> char {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    BLOCKS[((share.clamp(0.0, 1.0) * 8.0) as usize).min(7)]
}

fn seconds(seconds: f64) -> String {
    if seconds < 9.995 { format!("{seconds:.2} s") } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::RunQueue;

    fn summary(cores: usize, samples: usize) -> Summary {
        let mut totals = Totals {
            samples,
            time_s: 10.0,
            core_busy_s: vec![9.6; cores],
            active_core_s: 20.0,
            active_cores_peak: 2,
            parallelism_peak: Some(1.999),
            told_s: 10.0,
            run_queue: Some(RunQueue { ran_s: 97.0, waited_s: 3.0 }),
            hottest_s: Some(9.9),
            next_hottest_s: 9.4,
            resident_peak_bytes: Some(812_000_000),
            processes_peak: Some(5),
            threads_peak: Some(14),
            ..Totals::default()
        };
        totals.history.columns = (0..500).map(|step| (f64::from(step), vec![1.0; cores])).collect();
        let outcome = Outcome {
            subject: "make train".into(),
            exit_code: Some(0),
            wall_s: 10.0,
            cpu_s: Some(19.3),
            counted_s: 10.0,
            user_and_system_s: Some((19.0, 0.3)),
            effective_cores: 2.0,
            whole_machine: false,
            left_running: (0..9).map(|pid| Member { pid, name: "daemon".into() }).collect(),
            own_cpu_s: 0.003,
        };
        Summary::new(outcome, &totals)
    }

    #[test]
    fn one_line_says_it_all() {
        assert_eq!(summary(2, 20).short(), "cores: 1.93 of 2 used (96 %), peak 2.00; well used");
        assert_eq!(summary(2, 2).short(), "cores: 1.93 of 2 used (96 %); too short to say");
    }

    #[test]
    fn the_full_summary_fits_on_a_screen_whatever_the_cores() {
        for cores in [1, 2, 8, 9, 16, 96, 256] {
            let full = summary(cores, 20).full();
            assert!(full.lines().count() <= 20, "{full}");
            assert!(full.lines().all(|line| line.chars().count() <= 110), "{full}");
        }
        assert!(summary(16, 20).full().contains("core 14-15"));
    }

    #[test]
    fn a_short_run_says_nothing_about_single_cores() {
        let full = summary(2, 2).full();
        assert!(
            !full.contains("core 0") && !full.contains("run queue") && full.contains("CPU time   19.3 s")
        );
    }

    #[test]
    fn never_more_than_all_of_the_cores() {
        let mut summary = summary(2, 20);
        summary.parallelism = Some(2.01);
        assert!(summary.short().contains("(100 %)"));
    }
}
