//! What the cores and the processes did in one interval.

use serde::{Deserialize, Serialize};

use crate::losses::Losses;

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
    /// Its threads that were on a core, on average.
    pub running: Option<f64>,
    /// Its threads that were ready to run and had no core, on average.
    pub waiting: Option<f64>,
    /// Of the time that its threads wanted a core, the share in which they had none.
    pub run_wait: Option<f64>,
    /// Cores that the threads that worked may use, all together.
    pub allowed_cores: Option<u32>,
    /// Its processes of which some thread was waiting for a disk at the interval's end.
    pub in_disk_wait: Option<u32>,
    /// The thread that ran most.
    pub hottest: Option<Hot>,
    /// The one after it.
    pub next_hottest: Option<Hot>,
    /// What kept cores and threads from working.
    #[serde(flatten)]
    pub losses: Losses,
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

impl Sample {
    /// Checks numbers that came out of a file, of which the rest of the tool expects that they can be true.
    pub fn check(&self) -> Result<(), String> {
        let hot = |hot: &Option<Hot>| hot.as_ref().map(|hot| hot.cores);
        let shares = [self.run_wait, hot(&self.hottest), hot(&self.next_hottest)];
        let cores = self.cores.iter().flatten().copied().map(Some);
        for share in shares.into_iter().chain(self.losses.values()).chain(cores).flatten() {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!("{share} is not a share between 0 and 1"));
            }
        }
        let more = [self.parallelism, self.cpu_s, self.running, self.waiting, self.load_1min];
        for number in [self.t_s, self.interval_s].into_iter().chain(more.into_iter().flatten()) {
            check_number(number)?;
        }
        Ok(())
    }
}

/// Whether a number of seconds, cores or threads can be true.
pub fn check_number(number: f64) -> Result<(), String> {
    let can_be = (0.0..=1e12).contains(&number);
    if can_be { Ok(()) } else { Err(format!("{number} is not a number of seconds, cores or threads")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_cannot_be_are_refused() {
        assert_eq!(Sample::default().check(), Ok(()));
        let losses = |share| Losses { steal: Some(share), ..Losses::default() };
        for wrong in [
            Sample { losses: losses(1.5), ..Sample::default() },
            Sample { losses: losses(f64::NAN), ..Sample::default() },
            Sample { cores: Some(vec![0.5, -0.1]), ..Sample::default() },
            Sample { hottest: Some(Hot { name: "x".into(), cores: 1e308 }), ..Sample::default() },
            Sample { t_s: -1.0, ..Sample::default() },
            Sample { waiting: Some(f64::INFINITY), ..Sample::default() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
