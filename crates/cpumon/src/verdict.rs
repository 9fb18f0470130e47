//! From numbers to one finding and one piece of advice. Pure, so that every rule is tested in a table.

use crate::finding::{Evidence, Finding, Verdict};

/// At least this share of the effective cores is good use of them.
const WELL_USED: f64 = 0.8;
/// A core shared by two busy threads makes each wait half of the time; one to itself makes it wait a few percent.
const LONG_RUN_WAIT: f64 = 0.25;
/// A process that sleeps may wait long for a core each time it wakes, and lose nothing by it.
const MATERIAL_WAIT: f64 = 0.1;
/// A thread that is on a core for this share of the time hardly ever waits for anything.
const HOT: f64 = 0.8;
/// A disk, a quota or a hypervisor that takes this share of the time is worth a word.
const MATERIAL_LOSS: f64 = 0.1;
/// Fewer samples than this say nothing about the use of cores over time.
const LEAST_SAMPLES: usize = 3;

/// Judges.
pub fn judge(evidence: &Evidence) -> Verdict {
    let Some(parallelism) = evidence.parallelism else {
        let because = "the system does not tell the CPU time".to_owned();
        return verdict(Finding::Unknown, because, "watch with the privileges of the process's owner");
    };
    if evidence.samples < LEAST_SAMPLES {
        let because = format!("{} of the {LEAST_SAMPLES} samples that it takes", evidence.samples);
        return verdict(Finding::TooShort, because, "run longer, or sample more often with --interval");
    }
    let run = Run {
        evidence,
        parallelism,
        share: parallelism / evidence.effective_cores.max(0.01),
        used: format!("{parallelism:.2} of {} cores used", cores(evidence.effective_cores)),
    };
    // From what is done to the process, over what it does itself, to what it leaves undone.
    run.throttled()
        .or_else(|| run.crowded())
        .or_else(|| run.well_used())
        .or_else(|| run.idle())
        .or_else(|| run.limited_by_threads())
        .unwrap_or_else(|| run.waiting())
}

fn verdict(finding: Finding, because: String, advice: &str) -> Verdict {
    Verdict { finding, because, advice: advice.to_owned() }
}

struct Run<'a> {
    evidence: &'a Evidence,
    parallelism: f64,
    share: f64,
    used: String,
}

impl Run<'_> {
    fn throttled(&self) -> Option<Verdict> {
        let throttled = self.evidence.throttled.filter(|throttled| *throttled >= MATERIAL_LOSS)?;
        let because =
            format!("the quota ran out in {:.0} % of its periods; {}", throttled * 100.0, self.used);
        let advice = "raise the quota (cpu.max, or the container's CPU limit), or use fewer threads";
        Some(verdict(Finding::Throttled, because, advice))
    }

    /// Threads were ready to run and had no core: there are too many, they may not, or somebody else is there.
    fn crowded(&self) -> Option<Verdict> {
        let evidence = self.evidence;
        let used = &self.used;
        if let Some(steal) = evidence.steal.filter(|steal| *steal >= MATERIAL_LOSS && self.share < WELL_USED)
            && self.wants_more()
        {
            let because =
                format!("the hypervisor gave {:.0} % of the cores to others; {used}", steal * 100.0);
            let advice = "use a machine with cores of its own, or run it when the host has less to do";
            return Some(verdict(Finding::NoisyNeighbour, because, advice));
        }
        let run_wait = self.run_wait().filter(|run_wait| *run_wait >= LONG_RUN_WAIT)?;
        let waited = format!("threads ready to run waited {:.0} % of the time for a core", run_wait * 100.0);
        let idle = evidence.machine_cores - self.parallelism - evidence.others.unwrap_or(0.0);
        let allowed = evidence.allowed_cores.unwrap_or(f64::MAX).min(evidence.effective_cores.ceil());
        if !evidence.whole_machine && allowed < evidence.machine_cores && idle >= 0.5 {
            let because = format!(
                "{waited}, and may use {} of the machine's {} cores",
                cores(allowed),
                cores(evidence.machine_cores)
            );
            let advice =
                "allow it more cores: look for taskset, a cpuset, or an affinity set by its libraries";
            return Some(verdict(Finding::Pinned, because, advice));
        }
        if self.share >= WELL_USED {
            let enough = cores(evidence.effective_cores);
            let advice = format!("use fewer threads or workers: {enough} at a time are enough");
            return Some(verdict(Finding::Oversubscribed, format!("{waited}; {used}"), &advice));
        }
        let others = evidence.others.filter(|others| *others >= MATERIAL_WAIT)?;
        let because = format!("{waited} while other processes used {others:.1} cores; {used}");
        let advice = "run it when the machine has less else to do, or with less beside it";
        Some(verdict(Finding::NoisyNeighbour, because, advice))
    }

    /// Of the time that threads wanted a core, the share in which they had none, if that is more than a moment.
    fn run_wait(&self) -> Option<f64> {
        if self.evidence.whole_machine {
            // Of the machine only the pressure is known: the share of the time in which anybody waited.
            return self.evidence.cpu_pressure.filter(|_| self.share >= WELL_USED);
        }
        self.evidence
            .run_wait
            .filter(|_| self.evidence.waited_cores.is_some_and(|cores| cores >= MATERIAL_WAIT))
    }

    /// Whether its threads would have used more cores than they got.
    fn wants_more(&self) -> bool {
        self.run_wait().is_some_and(|wait| wait >= MATERIAL_WAIT)
    }

    fn well_used(&self) -> Option<Verdict> {
        let advice = "more threads would not help; faster code or more cores would";
        (self.share >= WELL_USED).then(|| verdict(Finding::WellUsed, self.used.clone(), advice))
    }

    fn idle(&self) -> Option<Verdict> {
        let advice = "follow one process with --pid, or a command after --, to see why";
        self.evidence.whole_machine.then(|| verdict(Finding::Idle, self.used.clone(), advice))
    }

    /// Threads that never rest, and too few of them.
    fn limited_by_threads(&self) -> Option<Verdict> {
        let evidence = self.evidence;
        if let Some((hottest, next)) = evidence.hottest.filter(|(hottest, _)| *hottest >= HOT) {
            if next >= HOT / 2.0 {
                let because =
                    format!("the busiest threads never rested ({:.0} %); {}", hottest * 100.0, self.used);
                return Some(verdict(Finding::TooFewThreads, because, "use more threads or workers"));
            }
            let name = evidence.hottest_name.as_deref().unwrap_or("one thread");
            let (hottest, next) = (hottest * 100.0, next * 100.0);
            let because =
                format!("{name:?} was on a core {hottest:.0} % of the time, the next thread {next:.0} %");
            let advice = "split the work of that thread, or let it do less; other threads wait for it";
            return Some(verdict(Finding::Serial, because, advice));
        }
        let takes_turns = evidence.effective_cores >= 1.5 && (0.75..=1.25).contains(&self.parallelism);
        let because = format!("{}, by threads or processes that take turns", self.used);
        let advice = "let stages overlap: start the next batch while this one is worked on";
        takes_turns.then(|| verdict(Finding::Serial, because, advice))
    }

    fn waiting(&self) -> Verdict {
        let evidence = self.evidence;
        let rest = format!("{}; the threads slept the rest of the time", self.used);
        let at_disk = evidence.in_disk_wait.filter(|share| *share >= 2.0 * MATERIAL_LOSS);
        let at_disk =
            at_disk.map(|share| format!("it waited for a disk in {:.0} % of the samples", share * 100.0));
        let idle = evidence.iowait.filter(|iowait| *iowait >= MATERIAL_LOSS);
        let idle = idle.map(|iowait| format!("cores idled for a disk {:.0} % of the time", iowait * 100.0));
        if let Some(disk) = at_disk.or(idle) {
            let because = format!("{}; {disk}", self.used);
            let advice = "read or write less, do it ahead of need, or use a faster disk";
            return verdict(Finding::WaitingForIo, because, advice);
        }
        let advice = "find what it waits for (input, a lock, a peer) and overlap it with work";
        verdict(Finding::Waiting, rest, advice)
    }
}

/// A number of cores, with a decimal place only where it has one.
pub fn cores(count: f64) -> String {
    if count.fract() < 0.05 { format!("{count:.0}") } else { format!("{count:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parallelism, effective cores, run-queue wait, hottest thread and the next.
    fn check(used: f64, cores: f64, wait: Option<f64>, hottest: Option<(f64, f64)>, expected: Finding) {
        let evidence = Evidence {
            samples: 10,
            parallelism: Some(used),
            effective_cores: cores,
            machine_cores: cores,
            run_wait: wait,
            waited_cores: wait.map(|share| share / (1.0 - share) * used),
            others: Some(if wait > Some(0.3) { cores - used } else { 0.0 }),
            hottest,
            ..Evidence::default()
        };
        expect(&evidence, expected);
    }

    fn expect(evidence: &Evidence, expected: Finding) {
        let verdict = judge(evidence);
        assert_eq!(verdict.finding, expected, "{evidence:?}");
        assert!(verdict.because.chars().any(|c| c.is_ascii_digit()) || expected == Finding::Unknown);
        assert!(!verdict.advice.is_empty());
    }

    #[test]
    fn known_loads_get_their_verdict() {
        let (low, high) = (Some(0.03), Some(0.49));
        check(1.95, 2.0, low, Some((0.98, 0.97)), Finding::WellUsed);
        check(0.99, 1.0, low, Some((0.99, 0.0)), Finding::WellUsed);
        check(1.98, 2.0, high, Some((0.5, 0.5)), Finding::Oversubscribed);
        check(0.50, 2.0, high, Some((0.5, 0.0)), Finding::NoisyNeighbour);
        check(0.99, 2.0, low, Some((0.99, 0.0)), Finding::Serial);
        check(2.70, 16.0, low, Some((0.97, 0.3)), Finding::Serial);
        check(1.00, 2.0, low, Some((0.55, 0.45)), Finding::Serial);
        check(8.00, 16.0, low, Some((1.0, 1.0)), Finding::TooFewThreads);
        check(0.00, 2.0, None, None, Finding::Waiting);
        check(0.50, 2.0, low, Some((0.5, 0.0)), Finding::Waiting);
        // A sleeper that has to wait for a core whenever it wakes, for a moment.
        check(0.01, 2.0, high, Some((0.01, 0.0)), Finding::Waiting);
        check(4.00, 16.0, low, Some((0.4, 0.4)), Finding::Waiting);
        // A quota of half a core that is all used, and never ran out.
        check(0.49, 0.5, low, Some((0.49, 0.0)), Finding::WellUsed);
        // A system that tells CPU time and nothing else.
        check(1.9, 2.0, None, None, Finding::WellUsed);
        check(1.0, 16.0, None, None, Finding::Serial);
    }

    fn base() -> Evidence {
        Evidence {
            samples: 9,
            parallelism: Some(0.99),
            effective_cores: 2.0,
            machine_cores: 2.0,
            run_wait: Some(0.5),
            waited_cores: Some(1.0),
            others: Some(0.9),
            ..Evidence::default()
        }
    }

    #[test]
    fn without_enough_to_go_by_nothing_is_claimed() {
        expect(&Evidence { samples: 2, ..base() }, Finding::TooShort);
        expect(&Evidence { parallelism: None, ..base() }, Finding::Unknown);
    }

    #[test]
    fn who_is_in_the_way_is_told_apart() {
        expect(&base(), Finding::NoisyNeighbour);
        let alone = Evidence { others: Some(0.02), ..base() };
        expect(&Evidence { allowed_cores: Some(1.0), ..alone.clone() }, Finding::Pinned);
        // The whole of cpumon is confined, too.
        expect(&Evidence { effective_cores: 1.0, ..alone }, Finding::Pinned);
        // Where the neighbours have the other core, more allowance would not help.
        expect(&Evidence { allowed_cores: Some(1.0), ..base() }, Finding::NoisyNeighbour);
        let stolen = Evidence { steal: Some(0.3), run_wait: Some(0.2), others: Some(0.0), ..base() };
        expect(&stolen, Finding::NoisyNeighbour);
        let sleeper = Evidence { waited_cores: Some(0.01), parallelism: Some(0.1), ..stolen };
        expect(&sleeper, Finding::Waiting);
        let throttled = Evidence { effective_cores: 0.5, parallelism: Some(0.48), ..base() };
        expect(&Evidence { throttled: Some(0.7), ..throttled }, Finding::Throttled);
    }

    #[test]
    fn a_machine_does_not_wait_but_idles() {
        let machine = Evidence { whole_machine: true, run_wait: None, cpu_pressure: Some(0.1), ..base() };
        expect(&machine, Finding::Idle);
        let busy = Evidence { parallelism: Some(1.9), ..machine };
        expect(&busy, Finding::WellUsed);
        expect(&Evidence { cpu_pressure: Some(0.9), ..busy }, Finding::Oversubscribed);
    }

    #[test]
    fn waiting_for_the_disk_is_told_from_other_waiting() {
        let sleeper = Evidence { parallelism: Some(0.1), run_wait: None, ..base() };
        expect(&Evidence { iowait: Some(0.3), ..sleeper.clone() }, Finding::WaitingForIo);
        expect(&Evidence { in_disk_wait: Some(0.6), ..sleeper.clone() }, Finding::WaitingForIo);
        expect(&Evidence { iowait: Some(0.01), in_disk_wait: Some(0.0), ..sleeper }, Finding::Waiting);
    }
}
