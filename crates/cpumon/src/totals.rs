//! All samples of a run added up.

use std::collections::HashMap;

use crate::platform::{Cores, RunQueue};
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
    /// Adds one sample, with what of it is kept in full.
    pub fn add(&mut self, sample: &Sample, cores: Option<&Cores>, run_queue: Option<RunQueue>) {
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
}
