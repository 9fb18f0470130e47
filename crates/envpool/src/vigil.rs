//! Threads that stay awake between steps which follow each other closely. To wake one that sleeps takes tens of
//! microseconds, as long as it then steps hundreds of environments; so where steps are spread over the pool and the
//! client asks for the next one soon, the pool's other threads look for work meanwhile, for a bounded time.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::clock;

/// How long a thread looks for work, and how long pauses may be on average for it to look at all: longer ones are
/// slept through, as a wake-up is small beside them.
const MAX_PAUSE_NS: u64 = 100_000;
/// The weight of the latest pause in the mean.
const WEIGHT: f64 = 0.125;

/// Until when the pool's threads look for work.
static UNTIL_NS: AtomicU64 = AtomicU64::new(0);
/// How many do.
static N_AWAKE: AtomicUsize = AtomicUsize::new(0);

/// The pauses of one client.
#[derive(Debug, Default)]
pub struct Vigil {
    answered_ns: Option<u64>,
    mean_pause_ns: f64,
}

impl Vigil {
    /// A request has come.
    pub fn asked(&mut self) {
        self.asked_at(clock::nanoseconds());
    }

    fn asked_at(&mut self, now: u64) {
        if let Some(answered) = self.answered_ns.take() {
            // A pause of seconds, while a learner learns, says little about the pauses between two steps.
            let pause = now.saturating_sub(answered).min(4 * MAX_PAUSE_NS);
            self.mean_pause_ns += WEIGHT * (pause as f64 - self.mean_pause_ns);
        }
    }

    /// A step was answered that the pool's threads have played together.
    pub fn answered(&mut self) {
        let now = clock::nanoseconds();
        self.answered_ns = Some(now);
        if self.mean_pause_ns <= MAX_PAUSE_NS as f64 {
            keep_awake_until(now + MAX_PAUSE_NS);
        }
    }
}

/// Only from within the pool: a step that comes from outside has to wake a thread of it whatever the others do.
fn keep_awake_until(until: u64) {
    let Some(this_thread) = rayon::current_thread_index() else { return };
    UNTIL_NS.store(until, Ordering::Relaxed);
    let others = rayon::current_num_threads() - 1;
    if N_AWAKE.compare_exchange(0, others, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return;
    }
    rayon::spawn_broadcast(move |context| {
        // This thread has a client to look after.
        if context.index() == this_thread {
            return;
        }
        while clock::nanoseconds() < UNTIL_NS.load(Ordering::Relaxed) {
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                // Whoever else wants this core gets it, the client among them.
                std::thread::yield_now();
            }
        }
        N_AWAKE.fetch_sub(1, Ordering::Relaxed);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_pauses_are_slept_through_and_short_ones_are_not() {
        let mut vigil = Vigil::default();
        for (pause, is_awake) in [(10 * MAX_PAUSE_NS, false), (0, true)] {
            for _ in 0..50 {
                vigil.answered_ns = Some(7);
                vigil.asked_at(7 + pause);
            }
            assert_eq!(vigil.mean_pause_ns <= MAX_PAUSE_NS as f64, is_awake, "{pause}");
        }
    }

    #[test]
    fn work_is_done_beside_those_who_wait_for_it() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let sums = pool.install(|| {
            (0..100_u64)
                .map(|i| {
                    keep_awake_until(clock::nanoseconds() + MAX_PAUSE_NS);
                    let (a, b) = rayon::join(|| i, || i * i);
                    a + b
                })
                .sum::<u64>()
        });
        assert_eq!(sums, (0..100).map(|i| i + i * i).sum::<u64>());
        drop(pool);
    }
}
