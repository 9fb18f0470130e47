//! What a run left behind, from which a finding follows.

use crate::figures;
use crate::losses::Losses;
use crate::platform::RunQueue;
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
    /// Share of the samples at whose end one of the processes waited for a disk.
    pub in_disk_wait: Option<f64>,
    /// What kept cores and threads from working.
    pub losses: Losses,
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
            run_wait: totals.run_queue.and_then(RunQueue::waited_share),
            waited_cores: totals.run_queue.map(|queue| queue.waited_s / told_s),
            others: parallelism.filter(|_| machine_cores > 0.0).map(|own| (busy - own).max(0.0)),
            whole_machine,
            hottest: totals.hottest_s.map(|hottest_s| (hottest_s / told_s, totals.next_hottest_s / told_s)),
            hottest_name,
            in_disk_wait: totals.in_disk_wait.value(),
            losses: totals.losses.value(),
        }
    }
    /// The share of the effective cores that was used.
    pub fn share(&self) -> f64 {
        self.parallelism.unwrap_or(0.0) / self.effective_cores.max(0.01)
    }

    /// The cores that were used, in words.
    pub fn used(&self) -> String {
        let parallelism = self.parallelism.unwrap_or(0.0);
        format!("{parallelism:.2} of {} cores used", figures::cores(self.effective_cores))
    }

    /// Of the time that threads wanted a core, the share in which they had none, if that is more than a moment.
    pub fn material_run_wait(&self) -> Option<f64> {
        if self.whole_machine {
            // Of the machine only the pressure is known: the share of the time in which anybody waited.
            return self.losses.cpu_pressure.filter(|_| self.share() >= WELL_USED);
        }
        self.run_wait.filter(|_| self.waited_cores.is_some_and(|cores| cores >= MATERIAL_WAIT))
    }

    /// The share of the time in which the processes waited for a disk, if that is more than a moment, and the
    /// machine does not deny it: a thread that cannot be disturbed may also wait for something else.
    pub fn material_disk_wait(&self) -> Option<f64> {
        let is_denied = self.losses.io_pressure.is_some_and(|pressure| pressure < MATERIAL_LOSS / 2.0);
        self.in_disk_wait.filter(|share| *share >= 2.0 * MATERIAL_LOSS && !is_denied)
    }
}

/// At least this share of the effective cores is good use of them.
pub const WELL_USED: f64 = 0.8;
/// A process that sleeps may wait long for a core each time it wakes, and lose nothing by it.
pub const MATERIAL_WAIT: f64 = 0.1;
/// A disk, a quota or a hypervisor that takes this share of the time is worth a word.
pub const MATERIAL_LOSS: f64 = 0.1;
