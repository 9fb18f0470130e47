//! A whole run in numbers.

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::figures::round;
use crate::finding::Verdict;
use crate::losses::Losses;
use crate::platform::{CoreKind, Member, RunQueue};
use crate::sample::Hot;
use crate::totals::Totals;
use crate::verdict;

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
    /// The most cores that the threads that worked might use, all together.
    pub allowed_cores: Option<u32>,
    /// What kept cores and threads from working, on average.
    #[serde(flatten)]
    pub losses: Losses,
    /// Busy share of the efficiency cores and of the performance cores; null where all are alike.
    pub efficiency_busy: Option<f64>,
    /// The same of the performance cores.
    pub performance_busy: Option<f64>,
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
    /// Bytes that went through, of a filter.
    pub passed_bytes: Option<u64>,
    /// Seconds over which the CPU time was counted.
    pub counted_s: f64,
    /// Whether everything was watched, rather than some processes.
    pub whole_machine: bool,
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
    /// Which kind each core is; empty where all are alike.
    pub core_kinds: Vec<CoreKind>,
    /// Bytes that went through, of a filter.
    pub passed_bytes: Option<u64>,
    /// Processes that outlive the command.
    pub left_running: Vec<Member>,
    /// CPU time of the watching.
    pub own_cpu_s: f64,
}

const STRIP: usize = 48;

impl Summary {
    /// Adds it all up.
    pub fn new(outcome: Outcome, totals: &Totals) -> Self {
        let time_s = totals.time_s.max(1e-9);
        // Times that come in ticks can seem to be more than all cores have.
        let most = if totals.core_busy_s.is_empty() { f64::MAX } else { totals.core_busy_s.len() as f64 };
        let used = |cpu_s: f64| (cpu_s.max(0.0) / outcome.counted_s.max(1e-9)).min(most);
        let parallelism = outcome.cpu_s.map(used);
        let [hottest_name, next_name] = totals.names_of_hottest();
        let hot = |name: Option<String>, seconds: f64| {
            name.map(|name| Hot { name, cores: round(seconds / totals.threads_told_s.max(1e-9), 4) })
        };
        let run_wait = totals.run_queue.and_then(RunQueue::waited_share);
        let kind = |kind| busy_of_kind(&outcome.core_kinds, kind, totals).map(|share| round(share, 4));
        let evidence = Evidence::new(totals, parallelism, outcome.effective_cores, outcome.whole_machine);
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
            allowed_cores: totals.allowed_cores,
            losses: totals.losses.value().rounded(),
            efficiency_busy: kind(CoreKind::Efficiency),
            performance_busy: kind(CoreKind::Performance),
            load_1min_peak: totals.load_1min_peak,
            resident_peak_bytes: totals.resident_peak_bytes,
            processes_peak: totals.processes_peak,
            threads_peak: totals.threads_peak,
            hottest: totals.hottest_s.and_then(|seconds| hot(hottest_name, seconds)),
            next_hottest: totals.hottest_s.and_then(|_| hot(next_name, totals.next_hottest_s)),
            left_running: outcome.left_running,
            passed_bytes: outcome.passed_bytes,
            counted_s: round(outcome.counted_s, 4),
            whole_machine: outcome.whole_machine,
            samples: totals.samples,
            own_cpu_s: round(outcome.own_cpu_s, 6),
            verdict: verdict::judge(&evidence),
            strips: strips(&totals.history.columns),
        }
    }
}

/// The mean share in which the cores of one kind worked; `None` if there are none.
fn busy_of_kind(kinds: &[CoreKind], wanted: CoreKind, totals: &Totals) -> Option<f64> {
    let of_kind = kinds.iter().zip(&totals.core_busy_s).filter(|(kind, _)| **kind == wanted);
    let (count, busy_s) = of_kind.fold((0.0, 0.0), |(count, sum), (_, busy)| (count + 1.0, sum + busy));
    (count > 0.0).then(|| busy_s / count / totals.time_s.max(1e-9))
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
