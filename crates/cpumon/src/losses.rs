//! What kept the machine's cores, or the threads that wanted them, from working: six shares that samples, totals
//! and summaries have in common.

use serde::{Deserialize, Serialize};

use crate::figures::{percent, round};

/// Six shares, each 0 to 1. What the system does not tell is null.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Losses {
    /// Share of all cores' time idle with a disk request under way.
    pub iowait: Option<f64>,
    /// Share of all cores' time that the hypervisor gave to somebody else.
    pub steal: Option<f64>,
    /// Of the periods of a quota on cores, the share in which it ran out; null without a quota.
    pub throttled: Option<f64>,
    /// Share of the time in which some thread of the machine was ready and had no core.
    pub cpu_pressure: Option<f64>,
    /// The same for threads that waited for a disk.
    pub io_pressure: Option<f64>,
    /// The same for threads that waited for memory.
    pub memory_pressure: Option<f64>,
}

impl Losses {
    /// Names of columns, in the order of [`Self::values`].
    pub const NAMES: [&str; 6] =
        ["iowait", "steal", "throttled", "cpu_pressure", "io_pressure", "memory_pressure"];

    /// All six.
    pub fn values(&self) -> [Option<f64>; 6] {
        let Self { iowait, steal, throttled, cpu_pressure, io_pressure, memory_pressure } = *self;
        [iowait, steal, throttled, cpu_pressure, io_pressure, memory_pressure]
    }

    /// The shares out of values in that order.
    pub fn from_values(values: [Option<f64>; 6]) -> Self {
        let [iowait, steal, throttled, cpu_pressure, io_pressure, memory_pressure] = values;
        Self { iowait, steal, throttled, cpu_pressure, io_pressure, memory_pressure }
    }

    /// With no more digits than mean something.
    #[must_use]
    pub fn rounded(&self) -> Self {
        Self::from_values(self.values().map(|share| share.map(|share| round(share, 4))))
    }

    /// In words; what the system does not tell is left out.
    pub fn words(&self) -> Vec<String> {
        const WORDS: [&str; 6] = ["idle for disk", "stolen", "throttled", "pressure cpu", "io", "memory"];
        let told = WORDS.into_iter().zip(self.values());
        told.filter_map(|(name, share)| Some(format!("{name} {}", percent(share?)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_in_their_places_and_are_written_by_their_names() {
        let losses = Losses::from_values([0.1, 0.2, 0.3, 0.4, 0.5, 0.6].map(Some));
        assert_eq!(Losses::from_values(losses.values()), losses);
        let json = serde_json::to_value(losses).unwrap();
        for (name, value) in Losses::NAMES.into_iter().zip(losses.values()) {
            assert_eq!(json[name].as_f64(), value, "{name}");
        }
        let told = Losses { steal: Some(0.126), ..Losses::default() };
        assert_eq!(told.words(), ["stolen 13 %"]);
    }
}
