//! What the cores and the processes did in one interval, and all intervals added up.

use std::collections::HashMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::child::Shared;
use crate::platform::{Cores, MachineReader, Member, Probe, Root, RunQueue};
use crate::record::round;

/// One interval. What the system does not tell is null.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// The interval's end, in seconds since the start.
    pub t_s: f64,
    /// Its length in seconds.
    pub interval_s: f64,
    /// Share of it in which each core of the machine worked, for whomever: 0 to 1.
    pub cores: Option<Vec<f64>>,
    /// CPU time of the subject per second: how many cores it used.
    pub parallelism: Option<f64>,
    /// CPU time of the subject since the start, in seconds.
    pub cpu_s: Option<f64>,
    /// Processes of the subject.
    pub processes: Option<u32>,
    /// Threads of the subject.
    pub threads: Option<u32>,
    /// Of the time that its threads wanted a core, the share in which they had none.
    pub run_wait: Option<f64>,
    /// The thread that ran most.
    pub hottest: Option<Hot>,
    /// The one after it.
    pub next_hottest: Option<Hot>,
    /// Share of all cores' time idle with a disk request under way.
    pub iowait: Option<f64>,
    /// Share of all cores' time that the hypervisor gave to somebody else.
    pub steal: Option<f64>,
    /// The system's load average over one minute.
    pub load_1min: Option<f64>,
    /// Resident memory of the subject.
    pub resident_bytes: Option<u64>,
    /// Memory of the machine that can still be given to processes.
    pub available_bytes: Option<u64>,
}

/// A thread and the share of a core that it used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hot {
    /// Its name.
    pub name: String,
    /// 1 is a whole core.
    pub cores: f64,
}

/// Takes samples.
pub struct Sampler {
    root: Root,
    probe: Probe,
    machine: MachineReader,
    started: Instant,
    last: Instant,
    /// CPU time that the subject had used before we looked.
    before_s: f64,
    cpu_s: f64,
    /// What is left of the subject.
    pub members: Vec<Member>,
    /// Everything so far.
    pub totals: Totals,
}

impl Sampler {
    /// Begins to watch; `None` if there is no such process.
    pub fn start(root: Root) -> Option<Self> {
        let mut probe = Probe::new(root);
        // The first look has nothing to compare with; it only marks where the first interval begins.
        let _ = probe.cores();
        let tree = probe.tree();
        if tree.is_none() && matches!(root, Root::Process(_)) {
            return None;
        }
        let now = Instant::now();
        Some(Self {
            root,
            probe,
            machine: MachineReader::new(),
            started: now,
            last: now,
            before_s: tree.map_or(0.0, |tree| tree.cpu_s),
            cpu_s: 0.0,
            members: Vec::new(),
            totals: Totals::default(),
        })
    }

    /// Seconds since the start.
    pub fn wall_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Seconds since the last sample.
    pub fn since_last_s(&self) -> f64 {
        self.last.elapsed().as_secs_f64()
    }

    /// Looks at the subject alone, at the end: the CPU time since the start of what still runs and of what ended,
    /// and the seconds over which that was counted.
    pub fn final_cpu_s(&mut self, ended: &Shared) -> (Option<f64>, f64) {
        let ended = ended.lock();
        let ended_s = ended.user_s + ended.system_s;
        let tree = self.probe.tree();
        self.members.clear();
        if let Some(tree) = tree {
            self.members = tree.members;
            self.cpu_s = tree.cpu_s + ended_s - self.before_s;
        } else if self.root == Root::Own {
            self.cpu_s = ended_s;
        } else {
            // What came after the last sample is not known.
            return ((self.totals.samples > 0).then_some(self.cpu_s), self.totals.time_s);
        }
        (Some(self.cpu_s), self.wall_s())
    }

    /// What happened since the last sample; `None` once the process that is followed has ended.
    pub fn sample(&mut self, ended: &Shared) -> Option<Sample> {
        let cores = self.probe.cores();
        let (tree, ended_s) = {
            // Nothing may end between reading what runs and adding what ended.
            let ended = ended.lock();
            (self.probe.tree(), ended.user_s + ended.system_s)
        };
        let now = Instant::now();
        let interval_s = now.duration_since(self.last).as_secs_f64().max(1e-6);
        let count = cores.as_ref().map(|cores| cores.busy.len() as f64);
        let used_s = match (&tree, self.root) {
            (Some(tree), _) => {
                // A process can end between our looks at it and at its parent; its time is then there at the next look.
                let cpu_s = (tree.cpu_s + ended_s - self.before_s).max(self.cpu_s);
                Some(cpu_s - self.cpu_s)
            }
            (None, Root::Machine) => cores.as_ref().map(|cores| cores.busy.iter().sum::<f64>() * interval_s),
            (None, Root::Process(_)) => return None,
            (None, Root::Own) => None,
        };
        let machine = self.machine.read();
        self.last = now;
        self.cpu_s += used_s.unwrap_or(0.0);
        let run_queue = tree.as_ref().and_then(|tree| tree.run_queue);
        let mut hottest = tree.iter().flat_map(|tree| &tree.hottest).map(|thread| Hot {
            name: thread.name.clone(),
            cores: round((thread.ran_s / interval_s).min(1.0), 4),
        });
        let sample = Sample {
            t_s: round(now.duration_since(self.started).as_secs_f64(), 3),
            interval_s: round(interval_s, 6),
            // A core's time comes in ticks, so a short interval can seem to hold more of it than there is.
            parallelism: used_s.map(|used_s| round((used_s / interval_s).min(count.unwrap_or(f64::MAX)), 4)),
            cpu_s: used_s.map(|_| round(self.cpu_s, 4)),
            cores: cores.as_ref().map(|cores| cores.busy.iter().map(|busy| round(*busy, 4)).collect()),
            processes: tree.as_ref().map(|tree| tree.members.len() as u32),
            threads: tree.as_ref().and_then(|tree| tree.threads),
            run_wait: run_queue.and_then(waited_share).map(|share| round(share, 4)),
            hottest: hottest.next(),
            next_hottest: hottest.next(),
            iowait: cores.as_ref().and_then(|cores| cores.iowait).map(|share| round(share, 4)),
            steal: cores.as_ref().and_then(|cores| cores.steal).map(|share| round(share, 4)),
            load_1min: machine.load_1min,
            resident_bytes: tree.as_ref().map(|tree| tree.resident_bytes),
            available_bytes: machine.available_bytes,
        };
        drop(hottest);
        self.totals.add(&sample, cores.as_ref(), run_queue);
        Some(sample)
    }
}

/// Of the time that threads wanted a core, the share in which they had none; `None` if they wanted none.
pub fn waited_share(queue: RunQueue) -> Option<f64> {
    let wanted_s = queue.ran_s + queue.waited_s;
    (wanted_s > 0.0).then(|| queue.waited_s / wanted_s)
}

/// All samples added up, each weighted by its length.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// How many there were.
    pub samples: usize,
    /// Their length.
    pub time_s: f64,
    /// For each core, the time in which it worked.
    pub core_busy_s: Vec<f64>,
    /// Sum over time of the number of cores that were more than half busy.
    pub active_core_s: f64,
    /// The most of them at once.
    pub active_cores_peak: usize,
    /// The highest parallelism of one sample.
    pub parallelism_peak: Option<f64>,
    /// Time of the samples that told the shares below.
    pub told_s: f64,
    /// Core time lost to disk, in shares of the machine.
    pub iowait_s: f64,
    /// Core time lost to the hypervisor, in shares of the machine.
    pub steal_s: f64,
    /// What threads ran and waited.
    pub run_queue: Option<RunQueue>,
    /// Time on a core of whichever thread was the hottest in each sample.
    pub hottest_s: Option<f64>,
    /// Of the one after it.
    pub next_hottest_s: f64,
    /// How long each name was that of the hottest thread.
    pub hottest_names: HashMap<String, f64>,
    /// How long each name was that of the one after it.
    pub next_hottest_names: HashMap<String, f64>,
    /// The highest load average.
    pub load_1min_peak: Option<f64>,
    /// The most memory resident at once.
    pub resident_peak_bytes: Option<u64>,
    /// The most processes at once.
    pub processes_peak: Option<u32>,
    /// The most threads at once.
    pub threads_peak: Option<u32>,
    /// What each core did over time.
    pub history: History,
}

impl Totals {
    fn add(&mut self, sample: &Sample, cores: Option<&Cores>, run_queue: Option<RunQueue>) {
        let interval_s = sample.interval_s;
        self.samples += 1;
        self.time_s += interval_s;
        if let Some(cores) = cores {
            self.core_busy_s.resize(cores.busy.len(), 0.0);
            for (sum, busy) in self.core_busy_s.iter_mut().zip(&cores.busy) {
                *sum += busy * interval_s;
            }
            let active = cores.busy.iter().filter(|busy| **busy > 0.5).count();
            self.active_core_s += active as f64 * interval_s;
            self.active_cores_peak = self.active_cores_peak.max(active);
            self.history.push(sample.t_s, cores.busy.clone());
            if let (Some(iowait), Some(steal)) = (cores.iowait, cores.steal) {
                self.told_s += interval_s;
                self.iowait_s += iowait * interval_s;
                self.steal_s += steal * interval_s;
            }
        }
        self.parallelism_peak = self.parallelism_peak.into_iter().chain(sample.parallelism).reduce(f64::max);
        if let Some(queue) = run_queue {
            let total = self.run_queue.get_or_insert_default();
            total.ran_s += queue.ran_s;
            total.waited_s += queue.waited_s;
            // An interval in which nothing ran still counts, as one without a hot thread.
            let hot_s = |hot: &Option<Hot>| hot.as_ref().map_or(0.0, |hot| hot.cores * interval_s);
            *self.hottest_s.get_or_insert(0.0) += hot_s(&sample.hottest);
            self.next_hottest_s += hot_s(&sample.next_hottest);
            if let Some(hot) = &sample.hottest {
                *self.hottest_names.entry(hot.name.clone()).or_default() += hot.cores * interval_s;
            }
            if let Some(hot) = &sample.next_hottest {
                *self.next_hottest_names.entry(hot.name.clone()).or_default() += hot.cores * interval_s;
            }
        }
        self.load_1min_peak = self.load_1min_peak.into_iter().chain(sample.load_1min).reduce(f64::max);
        self.resident_peak_bytes = self.resident_peak_bytes.max(sample.resident_bytes);
        self.processes_peak = self.processes_peak.max(sample.processes);
        self.threads_peak = self.threads_peak.max(sample.threads);
    }

    /// The name that was hottest for the longest time, and that of the thread after it.
    pub fn names_of_hottest(&self) -> [Option<String>; 2] {
        [&self.hottest_names, &self.next_hottest_names].map(|names| {
            // Equal times are settled by name, so that a summary does not depend on the order of a map.
            let longest = names.iter().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(a.0)));
            longest.map(|(name, _)| name.clone())
        })
    }
}

/// What each core did over time, in a bounded number of columns: when they are full, neighbours are merged.
#[derive(Debug, Clone)]
pub struct History {
    /// The end of each column in seconds since the start, and each core's busy share.
    pub columns: Vec<(f64, Vec<f64>)>,
    pending: Vec<(f64, Vec<f64>)>,
    samples_per_column: usize,
}

const MOST_COLUMNS: usize = 1024;

impl Default for History {
    fn default() -> Self {
        Self { columns: Vec::new(), pending: Vec::new(), samples_per_column: 1 }
    }
}

impl History {
    fn push(&mut self, t_s: f64, busy: Vec<f64>) {
        self.pending.push((t_s, busy));
        if self.pending.len() < self.samples_per_column {
            return;
        }
        self.columns.push(mean(&self.pending));
        self.pending.clear();
        if self.columns.len() == MOST_COLUMNS {
            self.columns = self.columns.chunks(2).map(mean).collect();
            self.samples_per_column *= 2;
        }
    }
}

fn mean(columns: &[(f64, Vec<f64>)]) -> (f64, Vec<f64>) {
    let cores = columns.iter().map(|column| column.1.len()).max().unwrap_or(0);
    let of_core = |core: usize| columns.iter().filter_map(|column| column.1.get(core)).sum::<f64>();
    let end = columns.last().map_or(0.0, |column| column.0);
    (end, (0..cores).map(|core| of_core(core) / columns.len() as f64).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_history_stays_short_and_keeps_its_mean() {
        let mut history = History::default();
        for step in 0..10_240_u32 {
            history.push(f64::from(step), vec![f64::from(step % 2), 1.0]);
        }
        assert!(history.columns.len() < MOST_COLUMNS);
        assert_eq!(history.samples_per_column, 16);
        assert!(history.columns.iter().all(|column| column.1 == [0.5, 1.0]));
        assert_eq!(history.columns.last().unwrap().0, 10_239.0);
    }

    #[test]
    fn totals_weigh_samples_by_their_length() {
        let mut totals = Totals::default();
        let cores = |busy: [f64; 2]| Cores { busy: busy.to_vec(), iowait: Some(0.5), steal: Some(0.0) };
        let sample = |interval_s, parallelism, name: &str| Sample {
            interval_s,
            parallelism: Some(parallelism),
            hottest: Some(Hot { name: name.into(), cores: parallelism / 2.0 }),
            ..Sample::default()
        };
        let queue = RunQueue { ran_s: 1.0, waited_s: 3.0 };
        totals.add(&sample(3.0, 2.0, "a"), Some(&cores([1.0, 0.6])), Some(queue));
        totals.add(&sample(1.0, 0.5, "b"), Some(&cores([0.4, 0.2])), None);
        assert_eq!((totals.samples, totals.time_s, totals.parallelism_peak), (2, 4.0, Some(2.0)));
        assert_eq!((totals.active_core_s, totals.active_cores_peak), (6.0, 2));
        assert!((totals.core_busy_s[0] - 3.4).abs() < 1e-12 && (totals.iowait_s - 2.0).abs() < 1e-12);
        assert_eq!(totals.run_queue.and_then(waited_share), Some(0.75));
        assert_eq!(totals.names_of_hottest(), [Some("a".into()), None]);
    }

    #[test]
    fn a_thread_that_sleeps_is_not_waiting_for_a_core() {
        assert_eq!(waited_share(RunQueue::default()), None);
    }
}
