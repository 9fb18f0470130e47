//! What can be found about a run, and what it is found from.

use serde::{Deserialize, Serialize};

use crate::sample::waited_share;
use crate::totals::Totals;

/// What a run left behind. What the system does not tell is `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// How many samples there were.
    pub samples: usize,
    /// CPU time over wall time.
    pub parallelism: Option<f64>,
    /// Cores that could have been used.
    pub effective_cores: f64,
    /// Cores of the machine.
    pub machine_cores: f64,
    /// Cores that the threads that worked may use, all together.
    pub allowed_cores: Option<f64>,
    /// Of the time that threads wanted a core, the share in which they had none.
    pub run_wait: Option<f64>,
    /// How many threads waited for a core at a time, on average.
    pub waited_cores: Option<f64>,
    /// Cores that everything else on the machine used.
    pub others: Option<f64>,
    /// Whether everything was watched, rather than some processes.
    pub whole_machine: bool,
    /// The share of a core that the hottest thread of each sample used, on average, and the one after it.
    pub hottest: Option<(f64, f64)>,
    /// Name of the thread that was hottest for the longest time.
    pub hottest_name: Option<String>,
    /// Share of all cores' time idle with a disk request under way.
    pub iowait: Option<f64>,
    /// Share of the samples at whose end one of the processes waited for a disk.
    pub in_disk_wait: Option<f64>,
    /// Share of all cores' time that the hypervisor gave to somebody else.
    pub steal: Option<f64>,
    /// Of the periods of a quota on cores, the share in which it ran out.
    pub throttled: Option<f64>,
    /// Share of the time in which some thread of the machine was ready and had no core.
    pub cpu_pressure: Option<f64>,
}

impl Evidence {
    /// What samples tell together.
    pub fn new(totals: &Totals, parallelism: Option<f64>, effective_cores: f64, whole_machine: bool) -> Self {
        let time_s = totals.time_s.max(1e-9);
        let machine_cores = totals.core_busy_s.len() as f64;
        let busy: f64 = totals.core_busy_s.iter().sum::<f64>() / time_s;
        let told_s = totals.threads_told_s.max(1e-9);
        let [hottest_name, _] = totals.names_of_hottest();
        Self {
            samples: totals.samples,
            parallelism,
            effective_cores,
            machine_cores,
            allowed_cores: totals.allowed_cores.map(f64::from),
            run_wait: totals.run_queue.and_then(waited_share),
            waited_cores: totals.run_queue.map(|queue| queue.waited_s / told_s),
            others: parallelism.filter(|_| machine_cores > 0.0).map(|own| (busy - own).max(0.0)),
            whole_machine,
            hottest: totals.hottest_s.map(|hottest_s| (hottest_s / told_s, totals.next_hottest_s / told_s)),
            hottest_name,
            iowait: totals.iowait.value(),
            in_disk_wait: totals.in_disk_wait.value(),
            steal: totals.steal.value(),
            throttled: totals.throttled.value(),
            cpu_pressure: totals.cpu_pressure.value(),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The cores that there are had work.
    WellUsed,
    /// One thread, or one at a time, is the limit.
    Serial,
    /// Several threads are busy throughout, and there are more cores than these.
    TooFewThreads,
    /// Threads wait for a disk.
    WaitingForIo,
    /// Threads sleep most of the time: for data, for a lock, for each other.
    Waiting,
    /// The machine had less work than it has cores for.
    Idle,
    /// More threads want to run than there are cores.
    Oversubscribed,
    /// A quota on cores ran out again and again.
    Throttled,
    /// Threads want to run, and may not use cores that there are.
    Pinned,
    /// Threads want to run, and somebody else has the cores.
    NoisyNeighbour,
    /// Too few samples.
    TooShort,
    /// The system did not tell enough.
    Unknown,
}

impl Finding {
    /// In words, for the end of a line.
    pub fn words(self) -> &'static str {
        match self {
            Self::WellUsed => "well used",
            Self::Serial => "serial: one thread is the limit",
            Self::TooFewThreads => "too few threads",
            Self::WaitingForIo => "waiting for I/O",
            Self::Waiting => "waiting, not for the cores",
            Self::Idle => "partly idle",
            Self::Oversubscribed => "oversubscribed",
            Self::Throttled => "throttled by a quota",
            Self::Pinned => "pinned",
            Self::NoisyNeighbour => "a noisy neighbour",
            Self::TooShort => "too short to say",
            Self::Unknown => "unknown",
        }
    }
}

/// A finding, the number behind it, and what to do about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What was found.
    pub finding: Finding,
    /// The number behind it in words.
    pub because: String,
    /// What to do about it.
    pub advice: String,
}
