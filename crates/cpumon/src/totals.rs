//! All samples of a run added up.

use std::collections::HashMap;

use crate::history::History;
use crate::losses::Losses;
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
    /// What kept cores and threads from working.
    pub losses: MeanLosses,
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
        self.in_disk_wait.add(in_disk_wait, interval_s);
        self.losses.add(&sample.losses, interval_s);
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

/// The mean of each of the [`Losses`], over the time in which it was told.
#[derive(Debug, Clone, Copy, Default)]
pub struct MeanLosses([Mean; 6]);

impl MeanLosses {
    /// Adds shares that held for so long.
    pub fn add(&mut self, losses: &Losses, time_s: f64) {
        for (mean, share) in self.0.iter_mut().zip(losses.values()) {
            mean.add(share, time_s);
        }
    }

    /// The means.
    pub fn value(&self) -> Losses {
        Losses::from_values(self.0.map(|mean| mean.value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_weigh_samples_by_their_length() {
        let mut totals = Totals::default();
        let sample = |interval_s, parallelism, name: &str, cores: [f64; 2]| Sample {
            interval_s,
            parallelism: Some(parallelism),
            hottest: Some(Hot { name: name.into(), cores: parallelism / 2.0 }),
            cores: Some(cores.to_vec()),
            losses: Losses { iowait: Some(0.5), ..Losses::default() },
            ..Sample::default()
        };
        let first = sample(3.0, 2.0, "a", [1.0, 0.6]);
        let losses = Losses { steal: Some(0.2), ..first.losses };
        totals.add(&Sample { running: Some(1.0), waiting: Some(3.0), losses, ..first });
        totals.add(&sample(1.0, 0.5, "b", [0.4, 0.2]));
        assert_eq!((totals.samples, totals.time_s, totals.parallelism_peak), (2, 4.0, Some(2.0)));
        assert_eq!((totals.active_core_s, totals.active_cores_peak), (6.0, 2));
        assert!((totals.core_busy_s[0] - 3.4).abs() < 1e-12);
        let losses = totals.losses.value();
        assert_eq!((losses.iowait, losses.throttled), (Some(0.5), None));
        assert!((losses.steal.unwrap() - 0.2).abs() < 1e-12, "only of the time in which it was told");
        assert_eq!(totals.run_queue.and_then(RunQueue::waited_share), Some(0.75));
        assert_eq!(totals.names_of_hottest(), [Some("a".into()), None]);
    }
}
