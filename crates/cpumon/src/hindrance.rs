//! What was done to a run by others: a quota, a hypervisor, other processes, or too many threads of its own.

use crate::evidence::{Evidence, MATERIAL_LOSS, MATERIAL_WAIT, WELL_USED};
use crate::figures::{self, percent};
use crate::finding::{Finding, Verdict};

/// A core shared by two busy threads makes each wait half of the time; one to itself makes it wait a few percent.
const LONG_RUN_WAIT: f64 = 0.25;

/// A quota on cores ran out.
pub fn throttled(evidence: &Evidence) -> Option<Verdict> {
    let throttled = evidence.losses.throttled.filter(|throttled| *throttled >= MATERIAL_LOSS)?;
    let because = format!("the quota ran out in {} of its periods; {}", percent(throttled), evidence.used());
    let advice = "raise the quota (cpu.max, or the container's CPU limit), or use fewer threads";
    Some(Verdict::new(Finding::Throttled, because, advice))
}

/// The hypervisor gave the cores to somebody else while threads wanted them.
pub fn stolen(evidence: &Evidence) -> Option<Verdict> {
    let steal = evidence.losses.steal.filter(|steal| *steal >= MATERIAL_LOSS)?;
    if evidence.share() >= WELL_USED || evidence.material_run_wait().is_none_or(|wait| wait < MATERIAL_WAIT) {
        return None;
    }
    let because =
        format!("the hypervisor gave {} of the cores to others; {}", percent(steal), evidence.used());
    let advice = "use a machine with cores of its own, or run it when the host has less to do";
    Some(Verdict::new(Finding::NoisyNeighbour, because, advice))
}

/// Threads were ready to run and had no core: there are too many, they may not, or somebody else is there.
pub fn crowded(evidence: &Evidence) -> Option<Verdict> {
    let run_wait = evidence.material_run_wait().filter(|run_wait| *run_wait >= LONG_RUN_WAIT)?;
    // Whoever waits longer for a disk than for a core has nothing to gain from cores.
    if evidence.material_disk_wait() > evidence.waited_cores && evidence.share() < WELL_USED {
        return None;
    }
    let waited = format!("threads ready to run waited {} of the time for a core", percent(run_wait));
    let parallelism = evidence.parallelism.unwrap_or(0.0);
    let idle = evidence.machine_cores - parallelism - evidence.others.unwrap_or(0.0);
    let allowed = evidence.allowed_cores.unwrap_or(f64::MAX).min(evidence.effective_cores.ceil());
    if !evidence.whole_machine && allowed < evidence.machine_cores && idle >= 0.5 {
        let (allowed, all) = (figures::cores(allowed), figures::cores(evidence.machine_cores));
        let because = format!("{waited}, and may use {allowed} of the machine's {all} cores");
        let advice = "allow it more cores: look for taskset, a cpuset, or an affinity set by its libraries";
        return Some(Verdict::new(Finding::Pinned, because, advice));
    }
    if evidence.share() >= WELL_USED {
        let enough = figures::cores(evidence.effective_cores);
        let advice = format!("use fewer threads or workers: {enough} at a time are enough");
        let because = format!("{waited}; {}", evidence.used());
        return Some(Verdict::new(Finding::Oversubscribed, because, &advice));
    }
    let others = evidence.others.filter(|others| *others >= MATERIAL_WAIT)?;
    let because = format!("{waited} while other processes used {others:.1} cores; {}", evidence.used());
    let advice = "run it when the machine has less else to do, or with less beside it";
    Some(Verdict::new(Finding::NoisyNeighbour, because, advice))
}
