//! From numbers to one finding and one piece of advice. Pure, so that every rule is tested in a table.

use crate::evidence::{Evidence, MATERIAL_LOSS, MATERIAL_WAIT, WELL_USED};
use crate::figures::percent;
use crate::finding::{Finding, Verdict};
use crate::hindrance;

/// A thread that is on a core for this share of the time hardly ever waits for anything.
const HOT: f64 = 0.8;
/// Fewer samples than this say nothing about the use of cores over time.
pub const LEAST_SAMPLES: usize = 3;

/// Judges.
pub fn judge(evidence: &Evidence) -> Verdict {
    if evidence.parallelism.is_none() {
        let because = "the system does not tell the CPU time".to_owned();
        return Verdict::new(Finding::Unknown, because, "watch with the privileges of the process's owner");
    }
    if evidence.samples < LEAST_SAMPLES {
        let because = format!("{} of the {LEAST_SAMPLES} samples that it takes", evidence.samples);
        return Verdict::new(Finding::TooShort, because, "run longer, or sample more often with --interval");
    }
    // From what is done to the process, over what it does itself, to what it leaves undone.
    hindrance::throttled(evidence)
        .or_else(|| hindrance::stolen(evidence))
        .or_else(|| hindrance::crowded(evidence))
        .or_else(|| well_used(evidence))
        .or_else(|| idle(evidence))
        .or_else(|| limited_by_threads(evidence))
        .or_else(|| waiting_for_io(evidence))
        .unwrap_or_else(|| waiting(evidence))
}

fn well_used(evidence: &Evidence) -> Option<Verdict> {
    let advice = "more threads would not help; faster code or more cores would";
    (evidence.share() >= WELL_USED).then(|| Verdict::new(Finding::WellUsed, evidence.used(), advice))
}

fn idle(evidence: &Evidence) -> Option<Verdict> {
    let advice = "follow one process with --pid, or a command after --, to see why";
    evidence.whole_machine.then(|| Verdict::new(Finding::Idle, evidence.used(), advice))
}

/// Threads that never rest, and too few of them.
fn limited_by_threads(evidence: &Evidence) -> Option<Verdict> {
    let used = evidence.used();
    // A thread that was ready and had no core did not rest, either.
    let run_wait = evidence.material_run_wait().unwrap_or(0.0).min(0.99);
    let wanted = |ran: f64| (ran / (1.0 - run_wait)).min(1.0);
    if let Some((hottest, next)) = evidence.hottest.filter(|(hottest, _)| wanted(*hottest) >= HOT) {
        let ready = match percent(wanted(hottest) - hottest) {
            _ if run_wait < MATERIAL_WAIT => String::new(),
            ready => format!(" and ready for one {ready}"),
        };
        if wanted(next) >= HOT / 2.0 {
            let because =
                format!("the busiest threads never rested ({} on a core{ready}); {used}", percent(hottest));
            return Some(Verdict::new(Finding::TooFewThreads, because, "use more threads or workers"));
        }
        let name = evidence.hottest_name.as_deref().unwrap_or("one thread");
        let (hottest, next) = (percent(hottest), percent(next));
        let because = format!("{name:?} was on a core {hottest} of the time{ready}, the next thread {next}");
        let advice = "split the work of that thread, or let it do less; other threads wait for it";
        return Some(Verdict::new(Finding::Serial, because, advice));
    }
    let takes_turns = evidence.effective_cores >= 1.5
        && evidence.parallelism.is_some_and(|used| (0.75..=1.25).contains(&used));
    let because = format!("{used}, by threads or processes that take turns");
    let advice = "let stages overlap: start the next batch while this one is worked on";
    takes_turns.then(|| Verdict::new(Finding::Serial, because, advice))
}

fn waiting_for_io(evidence: &Evidence) -> Option<Verdict> {
    let at_disk = evidence.material_disk_wait();
    let at_disk = at_disk.map(|share| format!("it waited for a disk in {} of the samples", percent(share)));
    let idle = evidence.losses.iowait.filter(|iowait| *iowait >= MATERIAL_LOSS);
    let idle = idle.map(|iowait| format!("cores idled for a disk {} of the time", percent(iowait)));
    let because = format!("{}; {}", evidence.used(), at_disk.or(idle)?);
    let advice = "read or write less, do it ahead of need, or use a faster disk";
    Some(Verdict::new(Finding::WaitingForIo, because, advice))
}

fn waiting(evidence: &Evidence) -> Verdict {
    let because = format!("{}; the threads slept the rest of the time", evidence.used());
    let advice = "find what it waits for (input, a lock, a peer) and overlap it with work";
    Verdict::new(Finding::Waiting, because, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::Losses;

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
        // It never slept, and had no core for a while.
        check(0.72, 2.0, Some(0.24), Some((0.72, 0.0)), Finding::Serial);
        check(0.60, 2.0, Some(0.2), Some((0.6, 0.0)), Finding::Waiting);
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

    fn pressed(share: f64) -> Losses {
        Losses { cpu_pressure: Some(share), ..Losses::default() }
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
        let losses = Losses { steal: Some(0.3), ..Losses::default() };
        let stolen = Evidence { losses, run_wait: Some(0.2), others: Some(0.0), ..base() };
        expect(&stolen, Finding::NoisyNeighbour);
        let sleeper = Evidence { waited_cores: Some(0.01), parallelism: Some(0.1), ..stolen };
        expect(&sleeper, Finding::Waiting);
        let throttled = Evidence { effective_cores: 0.5, parallelism: Some(0.48), ..base() };
        let losses = Losses { throttled: Some(0.7), ..Losses::default() };
        expect(&Evidence { losses, ..throttled }, Finding::Throttled);
    }

    #[test]
    fn a_machine_does_not_wait_but_idles() {
        let machine = Evidence { whole_machine: true, run_wait: None, losses: pressed(0.1), ..base() };
        expect(&machine, Finding::Idle);
        let busy = Evidence { parallelism: Some(1.9), ..machine };
        expect(&busy, Finding::WellUsed);
        expect(&Evidence { losses: pressed(0.9), ..busy }, Finding::Oversubscribed);
    }

    #[test]
    fn waiting_for_the_disk_is_told_from_other_waiting() {
        let sleeper = Evidence { parallelism: Some(0.1), run_wait: None, ..base() };
        let io = |iowait, io_pressure| Losses { iowait, io_pressure, ..Losses::default() };
        let check = |in_disk_wait, losses, expected| {
            expect(&Evidence { in_disk_wait, losses, ..sleeper.clone() }, expected);
        };
        check(None, io(Some(0.3), None), Finding::WaitingForIo);
        check(Some(0.6), io(Some(0.0), None), Finding::WaitingForIo);
        check(Some(0.6), io(Some(0.0), Some(0.4)), Finding::WaitingForIo);
        // A thread that waits undisturbed, but on a machine where nobody waits for a disk.
        check(Some(0.6), io(Some(0.0), Some(0.01)), Finding::Waiting);
        check(Some(0.0), io(Some(0.01), Some(0.9)), Finding::Waiting);
    }

    #[test]
    fn the_longer_wait_decides_between_disk_and_cores() {
        let writer = Evidence { parallelism: Some(0.2), in_disk_wait: Some(0.6), ..base() };
        expect(&Evidence { waited_cores: Some(0.2), ..writer.clone() }, Finding::WaitingForIo);
        expect(&Evidence { waited_cores: Some(0.7), ..writer }, Finding::NoisyNeighbour);
    }
}
