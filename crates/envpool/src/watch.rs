//! The pool's other threads while a client thinks. To wake one that sleeps takes tens of microseconds, on rented
//! machines hundreds: as long as it then steps thousands of environments. So where steps are spread over the pool and
//! the client asks for the next one soon, they look for it too, for a bounded time, and are awake when it comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long they look at most. Clients that pause longer are not watched for at all.
const LIMIT: Duration = Duration::from_micros(200);
/// The weight of the latest wait in the mean.
const WEIGHT: f64 = 0.125;
/// Looks between two glances at the clock.
const LOOKS: u32 = 32;

/// How long requests have been waited for of late. A client of shared memory says itself how long it pauses; of
/// others this is all that is known.
#[derive(Debug, Default)]
pub struct Waits {
    mean_seconds: f64,
}

impl Waits {
    /// The next request came after so long.
    pub fn learn(&mut self, waited: Duration) {
        // A pause of seconds, while a learner learns, says little about the waits between two steps.
        let seconds = waited.min(4 * LIMIT).as_secs_f64();
        self.mean_seconds += WEIGHT * (seconds - self.mean_seconds);
    }

    /// Whether they are short enough for threads to stay awake meanwhile.
    pub fn are_short(&self) -> bool {
        self.mean_seconds <= LIMIT.as_secs_f64()
    }
}

thread_local! {
    /// Whether the watch that this thread has begun is over.
    static IS_OVER: Arc<AtomicBool> = Arc::default();
}

/// What `work` comes to, with the pool's other threads awake until it ends or says [`end`], as a session's step does
/// when it is spread. Allocates nothing, in a thread that has said [`prepare`]. Outside of a pool, whose threads would
/// have to be woken for it, it works alone.
pub fn with_all_threads<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if rayon::current_thread_index().is_none() {
        return work();
    }
    let (is_over, begun) = (IS_OVER.with(Arc::clone), Instant::now());
    is_over.store(false, Ordering::Release);
    let work = || {
        let _end = End;
        work()
    };
    rayon::join(work, || watch(rayon::current_num_threads() - 1, &is_over, begun)).0
}

/// Makes what a watch of this thread needs.
pub fn prepare() {
    IS_OVER.with(|_| {});
}

/// There is work for all threads: those that watch for the calling one are free for it.
pub fn end() {
    IS_OVER.with(|is_over| is_over.store(true, Ordering::Release));
}

/// Ends the watch, however the work ends.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        end();
    }
}

/// Keeps `n_threads` busy, of those that have nothing else to do.
fn watch(n_threads: usize, is_over: &AtomicBool, begun: Instant) {
    if n_threads > 1 {
        let half = n_threads / 2;
        rayon::join(|| watch(n_threads - half, is_over, begun), || watch(half, is_over, begun));
        return;
    }
    while n_threads == 1 && begun.elapsed() < LIMIT {
        for _ in 0..LOOKS {
            if is_over.load(Ordering::Acquire) {
                return;
            }
            std::hint::spin_loop();
        }
        // Whoever else wants this core gets it, the client among them.
        thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn a_wait_ends_with_what_was_waited_for_however_many_threads_there_are() {
        assert_eq!(with_all_threads(|| 7), 7, "outside of a pool");
        for n_threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            let (n_waits, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
            pool.install(|| {
                for round in 0..200 {
                    assert_eq!(with_all_threads(|| n_waits.fetch_add(1, Ordering::Relaxed)), round);
                    // The threads are free again for what is asked of them.
                    rayon::join(
                        || sum.fetch_add(1, Ordering::Relaxed),
                        || sum.fetch_add(1, Ordering::Relaxed),
                    );
                }
            });
            assert_eq!((n_waits.into_inner(), sum.into_inner()), (200, 400));
        }
    }

    #[test]
    fn a_long_pause_among_short_waits_changes_nothing_and_many_do() {
        let mut waits = Waits::default();
        let mut learn = |micros: u64, n: usize| {
            (0..n).for_each(|_| waits.learn(Duration::from_micros(micros)));
            waits.are_short()
        };
        assert!(learn(50, 100));
        assert!(learn(3_000_000, 1));
        assert!(!learn(3_000_000, 5));
        assert!(learn(50, 20));
    }

    #[test]
    fn a_long_wait_is_not_watched_to_its_end_and_a_panic_ends_the_watch() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        pool.install(|| {
            let looked_on = AtomicBool::new(false);
            with_all_threads(|| {
                // Only a thread that has ended its watch is free for this.
                rayon::scope(|scope| {
                    scope.spawn(|_| looked_on.store(true, Ordering::Relaxed));
                    thread::sleep(Duration::from_millis(5));
                });
            });
            assert!(looked_on.into_inner());
            let panicked = std::panic::catch_unwind(|| with_all_threads(|| panic!("on purpose")));
            assert!(panicked.is_err());
        });
    }
}
