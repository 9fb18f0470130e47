//! What can be found about a run.

use serde::{Deserialize, Serialize};

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

impl Verdict {
    /// Puts the three together.
    pub fn new(finding: Finding, because: String, advice: &str) -> Self {
        Self { finding, because, advice: advice.to_owned() }
    }
}
