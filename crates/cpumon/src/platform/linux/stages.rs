//! The other stages of the pipeline in which this process stands: children of its parent in its process group.

use std::collections::HashMap;
use std::time::Instant;

use super::files::Files;
use super::tree::read_stat;
use crate::platform;

/// Stages that were there at the last look, and what those that ended had used.
#[derive(Default)]
pub struct Stages {
    /// When each started, and what it had used.
    last: HashMap<u32, (u64, u64)>,
    /// What everything had used that the parent had waited for.
    reaped_ticks: Option<u64>,
    looked_at: Option<Instant>,
    /// Ticks of the stages that ended.
    pub ended_ticks: u64,
}

impl Stages {
    /// Looks at `candidates`, and at the stages of the last look, and gives those that are stages and still there.
    pub fn look(&mut self, mut candidates: Vec<u32>, parent: u32, files: &mut Files) -> Vec<u32> {
        // SAFETY: both calls take plain numbers and only look.
        candidates.retain(|pid| unsafe { libc::getpgid(*pid as i32) == libc::getpgrp() });
        candidates.extend(self.last.keys());
        candidates.sort_unstable();
        candidates.dedup();
        let last = std::mem::take(&mut self.last);
        for pid in candidates {
            let before = last.get(&pid);
            if let Some(now) = read_stat(pid, files)
                && before.is_none_or(|(started, _)| *started == now.started)
            {
                self.last.insert(pid, (now.started, now.ticks));
            }
        }
        let seen_ticks: Vec<u64> =
            last.iter().filter(|(pid, _)| !self.last.contains_key(pid)).map(|(_, stage)| stage.1).collect();
        // The parent is asked after the stages, so that one that it waits for meanwhile counts when it is missed.
        let reaped_ticks = read_stat(parent, files).map(|stat| stat.children_ticks);
        let now = Instant::now();
        let elapsed_s =
            self.looked_at.replace(now).map_or(0.0, |last| now.duration_since(last).as_secs_f64());
        let since_last = reaped_ticks.zip(self.reaped_ticks).map(|(now, last)| now.saturating_sub(last));
        self.reaped_ticks = reaped_ticks;
        self.ended_ticks += ended_ticks(&seen_ticks, since_last, elapsed_s);
        self.last.keys().copied().collect()
    }
}

/// What stages that ended had used in the end: what their parent learnt when it waited for them, as long as they
/// can have done all that since they were last seen; it may have waited for others, too.
fn ended_ticks(seen_ticks: &[u64], reaped_ticks: Option<u64>, elapsed_s: f64) -> u64 {
    const TICKS_A_SECOND: f64 = 100.0;
    let seen = seen_ticks.iter().sum::<u64>();
    if seen_ticks.is_empty() {
        return 0;
    }
    let most_since = (elapsed_s * platform::machine_cores() as f64 * TICKS_A_SECOND).ceil() as u64;
    // Each number is cut to whole ticks by itself.
    let most = seen + most_since + 2 * seen_ticks.len() as u64;
    reaped_ticks.unwrap_or(0).clamp(seen, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_parent_learnt_of_ended_stages_is_believed_within_what_can_be() {
        let cores = platform::machine_cores() as u64;
        let check = |seen: &[u64], reaped, expected| assert_eq!(ended_ticks(seen, reaped, 0.5), expected);
        check(&[], Some(70), 0);
        check(&[30], Some(70), 70);
        check(&[30, 10], Some(70), 70);
        // The parent has not waited for it yet, or is not to be seen.
        check(&[30], Some(0), 30);
        check(&[30], None, 30);
        // It waited for something else besides.
        check(&[30], Some(99_999), 30 + 50 * cores + 2);
    }
}
