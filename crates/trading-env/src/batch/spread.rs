//! Whether a step is spread over the pool's threads. Handing work to another thread costs what waking it costs:
//! next to nothing on one machine, the work of a thousand environments on another, more than anything could win
//! where all cores are busy. So it is tried: a few steps are timed on one thread, then as many on all; the faster way
//! is kept, and now and then both are tried again. The bits are the same either way.

use super::Host;

/// The fewest environments worth handing to another thread.
pub(super) const MIN_ENVS_PER_TASK: usize = 128;
/// Tasks a thread: one that comes late, since it slept, leaves some of its share to the others.
pub(super) const TASKS_PER_THREAD: usize = 16;
/// Steps of each kind in one trial; the median of each counts.
const TRIES: usize = 5;
/// Steps from one trial to the next. Where the slower way takes twice as long, its trials cost a fiftieth; to stay with
/// it for long, since a trial met a core that was slow to wake, costs half.
const STEPS_BETWEEN_TRIALS: u32 = 256;
/// The same from the first trial to the second, and twice as many each time from then on: at the start, caches and
/// the pool's threads are cold.
const STEPS_AFTER_FIRST_TRIAL: u32 = 64;
/// How much of the time on one thread several must save at least, for their cores could do other work.
const WORTHWHILE: f64 = 0.95;
/// And how many nanoseconds: whoever waits for the step on one of those cores gets it back later than it would have.
const WORTHWHILE_NS: u64 = 10_000;
/// Without a host: steps that are expected to take longer than this many nanoseconds are spread.
const MIN_PARALLEL_NS: usize = 40_000;

/// What was found out, for batches of each size up to a power of two.
#[derive(Debug, Clone)]
pub(super) struct Spread {
    pub(super) host: Option<Host>,
    /// Whether the last step was played on several threads, in a trial or not.
    pub(super) was_parallel: bool,
    sizes: Vec<Size>,
}

/// One step to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) is_parallel: bool,
    /// Whether it is part of a trial.
    pub(super) is_timed: bool,
    n_threads: usize,
}

#[derive(Debug, Clone, Copy)]
struct Size {
    is_parallel: Option<bool>,
    /// Steps since the last trial, and how many there are until the next.
    n_steps: u32,
    until_trial: u32,
    /// How many of a trial's steps were timed: those on one thread, then those on all.
    n_timed: usize,
    times: [[u64; TRIES]; 2],
}

impl Spread {
    pub(super) fn new() -> Self {
        let size = Size {
            is_parallel: None,
            n_steps: 0,
            until_trial: STEPS_AFTER_FIRST_TRIAL,
            n_timed: 0,
            times: [[0; TRIES]; 2],
        };
        Self { host: None, was_parallel: false, sizes: vec![size; usize::BITS as usize] }
    }

    /// How a step of `n_envs` environments, each of which shows `observation_len` numbers, would be played.
    pub(super) fn is_parallel(&self, n_envs: usize, observation_len: usize) -> bool {
        // About 40 ns for the rules of an environment and a sixth of a nanosecond a number gathered.
        let expected_ns = n_envs * (40 + observation_len / 6);
        let found = self.sizes[size_of(n_envs)].is_parallel;
        n_envs > MIN_ENVS_PER_TASK && found.unwrap_or(expected_ns >= MIN_PARALLEL_NS)
    }

    /// How the next step is played on `n_threads`.
    pub(super) fn plan(&self, n_envs: usize, observation_len: usize, n_threads: usize) -> Plan {
        if n_threads < 2 || n_envs <= MIN_ENVS_PER_TASK {
            return Plan { is_parallel: false, is_timed: false, n_threads };
        }
        let size = &self.sizes[size_of(n_envs)];
        let is_due = size.is_parallel.is_none() || size.n_steps >= size.until_trial;
        if is_due && self.host.is_some() {
            return Plan { is_parallel: size.n_timed >= TRIES, is_timed: true, n_threads };
        }
        Plan { is_parallel: self.is_parallel(n_envs, observation_len), is_timed: false, n_threads }
    }

    /// What became of a plan: how many nanoseconds a step of a trial took.
    pub(super) fn took(&mut self, n_envs: usize, plan: Plan, nanoseconds: u64) {
        self.was_parallel = plan.is_parallel;
        let size = &mut self.sizes[size_of(n_envs)];
        if !plan.is_timed {
            size.n_steps = size.n_steps.saturating_add(1);
            return;
        }
        size.times[size.n_timed / TRIES][size.n_timed % TRIES] = nanoseconds;
        size.n_timed += 1;
        let [alone, together] = &mut size.times;
        if size.n_timed == TRIES {
            alone.sort_unstable();
            // Even threads that lost nothing would save too little to be tried.
            if !is_worthwhile(alone[TRIES / 2], alone[TRIES / 2] / plan.n_threads as u64) {
                size.end_trial(false);
            }
        } else if size.n_timed == 2 * TRIES {
            together.sort_unstable();
            let is_parallel = is_worthwhile(alone[TRIES / 2], together[TRIES / 2]);
            size.end_trial(is_parallel);
        }
    }
}

impl Size {
    fn end_trial(&mut self, is_parallel: bool) {
        if self.is_parallel.is_some() {
            self.until_trial = (2 * self.until_trial).min(STEPS_BETWEEN_TRIALS);
        }
        (self.is_parallel, self.n_steps, self.n_timed) = (Some(is_parallel), 0, 0);
    }
}

/// Whether several threads save enough, by the nanoseconds that one takes and they take.
fn is_worthwhile(alone: u64, together: u64) -> bool {
    (together as f64) < WORTHWHILE * alone as f64 && together + WORTHWHILE_NS < alone
}

fn size_of(n_envs: usize) -> usize {
    n_envs.checked_ilog2().unwrap_or_default() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays `n_steps` that take `alone` or `together` nanoseconds; returns how many were spread.
    fn play(spread: &mut Spread, n_envs: usize, n_steps: u32, alone: u64, together: u64) -> u32 {
        (0..n_steps)
            .map(|step| {
                let plan = spread.plan(n_envs, 64, 2);
                // One step in ten is held up by something else.
                let held_up = if step % 10 == 3 { 1_000_000 } else { 0 };
                spread.took(n_envs, plan, held_up + if plan.is_parallel { together } else { alone });
                u32::from(plan.is_parallel)
            })
            .sum()
    }

    fn timed() -> Spread {
        Spread { host: Some(Host { clock: || 0, before_step: |_| {} }), ..Spread::new() }
    }

    #[test]
    fn the_faster_way_is_kept_and_tried_again_later() {
        let mut spread = timed();
        let tries = TRIES as u32;
        assert_eq!(play(&mut spread, 1000, 2 * tries, 50_000, 90_000), tries);
        for until_trial in [64, 128, 256] {
            assert_eq!(play(&mut spread, 1000, until_trial, 50_000, 90_000), 0);
            assert_eq!(play(&mut spread, 1000, 2 * tries, 50_000, 90_000), tries);
        }
        assert_eq!(play(&mut spread, 1000, STEPS_BETWEEN_TRIALS, 50_000, 90_000), 0);
        // Cores have become free meanwhile.
        assert_eq!(play(&mut spread, 1000, 2 * tries, 50_000, 30_000), tries);
        assert_eq!(play(&mut spread, 1000, STEPS_BETWEEN_TRIALS, 50_000, 30_000), STEPS_BETWEEN_TRIALS);
        assert!(spread.is_parallel(1000, 64));
    }

    #[test]
    fn as_fast_is_not_faster_and_sizes_are_found_out_apart() {
        let mut spread = timed();
        play(&mut spread, 4096, 100, 200_000, 110_000);
        play(&mut spread, 300, 100, 15_000, 14_500);
        assert_eq!(play(&mut spread, 4096, 50, 200_000, 110_000), 50);
        assert_eq!(play(&mut spread, 300, 50, 15_000, 14_500), 0);
    }

    #[test]
    fn what_saves_next_to_nothing_is_left_to_one_thread() {
        // Two threads cannot save ten of 19 µs, and are not even tried.
        for (alone, together, n_tried, n_after) in [
            (19_000, 1, 0, 0),
            (40_000, 31_000, TRIES, 0),
            (40_000, 39_000, TRIES, 0),
            (40_000, 25_000, TRIES, 40),
        ] {
            let mut spread = timed();
            assert_eq!(play(&mut spread, 256, 2 * TRIES as u32, alone, together), n_tried as u32);
            assert_eq!(play(&mut spread, 256, 40, alone, together), n_after);
        }
    }

    #[test]
    fn few_environments_or_one_thread_are_never_tried() {
        let mut spread = timed();
        assert_eq!(play(&mut spread, MIN_ENVS_PER_TASK, 500, 1_000_000, 1), 0);
        let plan = spread.plan(1 << 20, 64, 1);
        assert_eq!((plan.is_parallel, plan.is_timed), (false, false));
    }

    #[test]
    fn without_a_host_the_expected_time_decides() {
        let spread = Spread::new();
        let is_parallel = |n_envs| spread.plan(n_envs, 64, 2).is_parallel;
        assert_eq!((is_parallel(256), is_parallel(4096)), (false, true));
    }
}
