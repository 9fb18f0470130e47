//! From numbers to one finding and one piece of advice. Pure, so that every rule is tested in a table.

use serde::{Deserialize, Serialize};

/// What a run left behind. What the system does not tell is `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// How many samples there were.
    pub samples: usize,
    /// CPU time over wall time.
    pub parallelism: Option<f64>,
    /// Cores that could have been used.
    pub effective_cores: f64,
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
    /// Threads sleep most of the time: for data, for a lock, for each other.
    Waiting,
    /// The machine had less work than it has cores for.
    Idle,
    /// More threads want to run than there are cores.
    Oversubscribed,
    /// Threads want to run, and other processes have the cores.
    Contended,
    /// Threads want to run, and there are idle cores that they do not get.
    Confined,
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
            Self::Serial => "serial: one thread at a time is the limit",
            Self::TooFewThreads => "too few threads",
            Self::Waiting => "waiting",
            Self::Idle => "partly idle",
            Self::Oversubscribed => "oversubscribed",
            Self::Contended => "other processes have the cores",
            Self::Confined => "confined to fewer cores than are idle",
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

/// At least this share of the effective cores is good use of them.
const WELL_USED: f64 = 0.8;
/// A core shared by two busy threads makes each wait half of the time; one to itself makes it wait a few percent.
const LONG_RUN_WAIT: f64 = 0.25;
/// A process that sleeps may wait long for a core each time it wakes, and lose nothing by it.
const MATERIAL_WAIT: f64 = 0.1;
/// A thread that is on a core for this share of the time hardly ever waits for anything.
const HOT: f64 = 0.8;
/// Fewer samples than this say nothing about the use of cores over time.
const LEAST_SAMPLES: usize = 3;

/// Judges.
pub fn judge(evidence: &Evidence) -> Verdict {
    let verdict = |finding, because, advice: &str| Verdict { finding, because, advice: advice.to_owned() };
    let Some(parallelism) = evidence.parallelism else {
        let because = "the system does not tell the CPU time".to_owned();
        return verdict(Finding::Unknown, because, "watch with the privileges of the process's owner");
    };
    if evidence.samples < LEAST_SAMPLES {
        let because = format!("{} of the {LEAST_SAMPLES} samples that it takes", evidence.samples);
        return verdict(Finding::TooShort, because, "run longer, or sample more often with --interval");
    }
    let share = parallelism / evidence.effective_cores.max(0.01);
    let used = format!("{parallelism:.2} of {} cores used", cores(evidence.effective_cores));
    let waited = evidence.waited_cores.is_some_and(|cores| cores >= MATERIAL_WAIT);
    if let Some(run_wait) = evidence.run_wait.filter(|run_wait| waited && *run_wait >= LONG_RUN_WAIT) {
        let because =
            format!("threads ready to run waited {:.0} % of the time for a core; {used}", run_wait * 100.0);
        return if share >= WELL_USED {
            let advice = format!(
                "use fewer threads or workers: {} at a time are enough",
                cores(evidence.effective_cores)
            );
            verdict(Finding::Oversubscribed, because, &advice)
        } else if evidence.others.is_some_and(|others| others < MATERIAL_WAIT) {
            verdict(Finding::Confined, because, "look for a pinning of its threads to cores, and for a quota")
        } else {
            verdict(
                Finding::Contended,
                because,
                "run it when the machine has less else to do, or with less beside it",
            )
        };
    }
    if share >= WELL_USED {
        return verdict(
            Finding::WellUsed,
            used,
            "more threads would not help; faster code or more cores would",
        );
    }
    if evidence.whole_machine {
        return verdict(
            Finding::Idle,
            used,
            "follow one process with --pid, or a command after --, to see why",
        );
    }
    if let Some((hottest, next)) = evidence.hottest.filter(|(hottest, _)| *hottest >= HOT) {
        let name = evidence.hottest_name.as_deref().unwrap_or("one thread");
        return if next < HOT / 2.0 {
            let because = format!(
                "{name:?} was on a core {:.0} % of the time, the next thread {:.0} %",
                hottest * 100.0,
                next * 100.0
            );
            verdict(
                Finding::Serial,
                because,
                "split the work of that thread, or let it do less; other threads wait for it",
            )
        } else {
            let because = format!("the busiest threads never rested ({:.0} %); {used}", hottest * 100.0);
            verdict(Finding::TooFewThreads, because, "use more threads or workers")
        };
    }
    if evidence.effective_cores >= 1.5 && (0.75..=1.25).contains(&parallelism) {
        let because = format!("{used}, by threads or processes that take turns");
        return verdict(
            Finding::Serial,
            because,
            "let stages overlap: start the next batch while this one is worked on",
        );
    }
    let idle = format!("{used}; the threads slept the rest of the time");
    match evidence.iowait.filter(|iowait| *iowait >= 0.1) {
        Some(iowait) => {
            let because = format!("{idle}, and cores idled for the disk {:.0} % of it", iowait * 100.0);
            verdict(Finding::Waiting, because, "read less, read ahead, or use a faster disk")
        }
        None => verdict(
            Finding::Waiting,
            idle,
            "find what it waits for (input, a lock, a peer) and overlap it with work",
        ),
    }
}

/// A number of cores, with a decimal place only where it has one.
pub fn cores(count: f64) -> String {
    if count.fract() < 0.05 { format!("{count:.0}") } else { format!("{count:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        parallelism: f64,
        cores: f64,
        run_wait: Option<f64>,
        hottest: Option<(f64, f64)>,
        expected: Finding,
    ) {
        let evidence = Evidence {
            samples: 10,
            parallelism: Some(parallelism),
            effective_cores: cores,
            run_wait,
            waited_cores: run_wait.map(|share| share / (1.0 - share) * parallelism),
            hottest,
            ..Evidence::default()
        };
        let verdict = judge(&evidence);
        assert_eq!(verdict.finding, expected, "{evidence:?}");
        assert!(!verdict.because.is_empty() && !verdict.advice.is_empty());
    }

    #[test]
    fn known_loads_get_their_verdict() {
        let (low, high) = (Some(0.03), Some(0.49));
        check(1.95, 2.0, low, Some((0.98, 0.97)), Finding::WellUsed);
        check(0.99, 1.0, low, Some((0.99, 0.0)), Finding::WellUsed);
        check(1.98, 2.0, high, Some((0.5, 0.5)), Finding::Oversubscribed);
        check(0.50, 2.0, high, Some((0.5, 0.0)), Finding::Contended);
        check(0.99, 2.0, low, Some((0.99, 0.0)), Finding::Serial);
        check(2.70, 16.0, low, Some((0.97, 0.3)), Finding::Serial);
        check(1.00, 2.0, low, Some((0.55, 0.45)), Finding::Serial);
        check(8.00, 16.0, low, Some((1.0, 1.0)), Finding::TooFewThreads);
        check(0.00, 2.0, None, None, Finding::Waiting);
        check(0.50, 2.0, low, Some((0.5, 0.0)), Finding::Waiting);
        // A sleeper that has to wait for a core whenever it wakes, for a moment.
        check(0.01, 2.0, high, Some((0.01, 0.0)), Finding::Waiting);
        check(4.00, 16.0, low, Some((0.4, 0.4)), Finding::Waiting);
        // A quota of half a core that is all used.
        check(0.49, 0.5, low, Some((0.49, 0.0)), Finding::WellUsed);
        // A system that tells CPU time and nothing else.
        check(1.9, 2.0, None, None, Finding::WellUsed);
        check(1.0, 16.0, None, None, Finding::Serial);
    }

    #[test]
    fn without_enough_to_go_by_nothing_is_claimed() {
        let short =
            Evidence { samples: 2, parallelism: Some(1.0), effective_cores: 2.0, ..Evidence::default() };
        assert_eq!(judge(&short).finding, Finding::TooShort);
        assert_eq!(judge(&Evidence { samples: 99, ..Evidence::default() }).finding, Finding::Unknown);
    }

    #[test]
    fn other_processes_are_blamed_only_if_there_are_any() {
        let evidence = |others| Evidence {
            samples: 9,
            parallelism: Some(0.99),
            effective_cores: 2.0,
            run_wait: Some(0.5),
            waited_cores: Some(1.0),
            others,
            ..Evidence::default()
        };
        assert_eq!(judge(&evidence(Some(0.02))).finding, Finding::Confined);
        assert_eq!(judge(&evidence(Some(0.9))).finding, Finding::Contended);
        assert_eq!(judge(&evidence(None)).finding, Finding::Contended);
    }

    #[test]
    fn a_machine_does_not_wait_but_idles() {
        let machine = Evidence {
            samples: 9,
            parallelism: Some(1.0),
            effective_cores: 2.0,
            whole_machine: true,
            ..Evidence::default()
        };
        assert_eq!(judge(&machine).finding, Finding::Idle);
        assert_eq!(judge(&Evidence { parallelism: Some(1.9), ..machine }).finding, Finding::WellUsed);
    }

    #[test]
    fn waiting_for_the_disk_is_told_from_other_waiting() {
        let evidence = |iowait| Evidence {
            samples: 9,
            parallelism: Some(0.1),
            effective_cores: 2.0,
            iowait: Some(iowait),
            ..Evidence::default()
        };
        assert!(judge(&evidence(0.3)).because.contains("disk 30 %"));
        assert!(!judge(&evidence(0.01)).because.contains("disk"));
    }
}
