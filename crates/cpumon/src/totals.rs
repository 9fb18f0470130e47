//! All samples of a run added up.

use std::collections::HashMap;

use crate::platform::RunQueue;
use crate::sample::{Hot, Sample};

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
    /// Core time idle for a disk, as a share of the machine's.
    pub iowait: Mean,
    /// Core time lost to the hypervisor, as a share of the machine's.
    pub steal: Mean,
    /// Share of a quota's periods in which it ran out.
    pub throttled: Mean,
    /// Share of the time in which some thread of the machine had no core.
    pub cpu_pressure: Mean,
    /// The same for disks.
    pub io_pressure: Mean,
    /// The same for memory.
    pub memory_pressure: Mean,
    /// Share of the samples at whose end a process of the subject waited for a disk.
    pub in_disk_wait: Mean,
    /// The most cores that the threads of one sample might use.
    pub allowed_cores: Option<u32>,
    /// What threads ran and waited.
    pub run_queue: Option<RunQueue>,
    /// Time of the samples that told what threads did; none is seen after the last of them ended.
    pub threads_told_s: f64,
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
    /// Adds one sample.
    pub fn add(&mut self, sample: &Sample) {
        let interval_s = sample.interval_s;
        self.samples += 1;
        self.time_s += interval_s;
        if let Some(cores) = &sample.cores {
            self.core_busy_s.resize(cores.len(), 0.0);
            for (sum, busy) in self.core_busy_s.iter_mut().zip(cores) {
                *sum += busy * interval_s;
            }
            let active = cores.iter().filter(|busy| **busy > 0.5).count();
            self.active_core_s += active as f64 * interval_s;
            self.active_cores_peak = self.active_cores_peak.max(active);
            self.history.push(sample.t_s, cores.clone());
        }
        let in_disk_wait = sample.in_disk_wait.map(|count| f64::from(u8::from(count > 0)));
        for (mean, value) in [
            (&mut self.iowait, sample.iowait),
            (&mut self.steal, sample.steal),
            (&mut self.throttled, sample.throttled),
            (&mut self.cpu_pressure, sample.cpu_pressure),
            (&mut self.io_pressure, sample.io_pressure),
            (&mut self.memory_pressure, sample.memory_pressure),
            (&mut self.in_disk_wait, in_disk_wait),
        ] {
            mean.add(value, interval_s);
        }
        self.allowed_cores = self.allowed_cores.max(sample.allowed_cores);
        self.parallelism_peak = self.parallelism_peak.into_iter().chain(sample.parallelism).reduce(f64::max);
        if let (Some(running), Some(waiting)) = (sample.running, sample.waiting) {
            self.threads_told_s += interval_s;
            let total = self.run_queue.get_or_insert_default();
            total.ran_s += running * interval_s;
            total.waited_s += waiting * interval_s;
            // An interval in which nothing ran still counts, as one without a hot thread.
            let hot_s = |hot: &Option<Hot>| hot.as_ref().map_or(0.0, |hot| hot.cores * interval_s);
            *self.hottest_s.get_or_insert(0.0) += hot_s(&sample.hottest);
            self.next_hottest_s += hot_s(&sample.next_hottest);
            let names = [&mut self.hottest_names, &mut self.next_hottest_names];
            for (names, hot) in names.into_iter().zip([&sample.hottest, &sample.next_hottest]) {
                if let Some(hot) = hot {
                    *names.entry(hot.name.clone()).or_default() += hot_s(&Some(hot.clone()));
                }
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

/// A mean over time of what was told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mean {
    sum: f64,
    time_s: f64,
}

impl Mean {
    /// Adds a value that held for so long.
    pub fn add(&mut self, value: Option<f64>, time_s: f64) {
        if let Some(value) = value {
            self.sum += value * time_s;
            self.time_s += time_s;
        }
    }

    /// The mean; `None` if nothing was told.
    pub fn value(&self) -> Option<f64> {
        (self.time_s > 0.0).then(|| self.sum / self.time_s)
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
    use crate::sample::waited_share;

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
        let sample = |interval_s, parallelism, name: &str, cores: [f64; 2]| Sample {
            interval_s,
            parallelism: Some(parallelism),
            hottest: Some(Hot { name: name.into(), cores: parallelism / 2.0 }),
            cores: Some(cores.to_vec()),
            iowait: Some(0.5),
            ..Sample::default()
        };
        let first = sample(3.0, 2.0, "a", [1.0, 0.6]);
        totals.add(&Sample { running: Some(1.0), waiting: Some(3.0), steal: Some(0.2), ..first });
        totals.add(&sample(1.0, 0.5, "b", [0.4, 0.2]));
        assert_eq!((totals.samples, totals.time_s, totals.parallelism_peak), (2, 4.0, Some(2.0)));
        assert_eq!((totals.active_core_s, totals.active_cores_peak), (6.0, 2));
        assert!((totals.core_busy_s[0] - 3.4).abs() < 1e-12);
        assert_eq!((totals.iowait.value(), totals.throttled.value()), (Some(0.5), None));
        assert!((totals.steal.value().unwrap() - 0.2).abs() < 1e-12, "only of the time in which it was told");
        assert_eq!(totals.run_queue.and_then(waited_share), Some(0.75));
        assert_eq!(totals.names_of_hottest(), [Some("a".into()), None]);
    }
}
