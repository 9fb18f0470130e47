//! Waiting awake. To wake a sleeping core takes tens of microseconds, as long as stepping a few hundred
//! environments; to look at a counter again and again takes a core. So a side looks for about as long as the
//! last waits took, and not at all where those were long or where there is one core only.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// Waits that take longer on average are slept through: a wake-up is small beside them.
const MAX_MEAN: Duration = Duration::from_micros(150);
/// Looks between two glances at the clock.
const LOOKS: u32 = 32;
/// The weight of the latest wait in the mean.
const WEIGHT: f64 = 0.125;

/// How long one side has waited of late.
#[derive(Debug)]
pub(crate) struct Spinner {
    may_spin: bool,
    mean_seconds: f64,
    begun: Option<Instant>,
}

impl Spinner {
    /// One that has not waited yet.
    pub(crate) fn new() -> Self {
        static CORES: OnceLock<usize> = OnceLock::new();
        let cores = *CORES.get_or_init(|| thread::available_parallelism().map_or(1, NonZeroUsize::get));
        // On one core the other side could not go on while this one looks.
        Self { may_spin: cores > 1, mean_seconds: 0.0, begun: None }
    }

    /// Looks for a while whether `is_ready`, and says whether it is. If it is not, the caller sleeps and then
    /// calls [`Spinner::ready`].
    pub(crate) fn wait(&mut self, is_ready: impl Fn() -> bool) -> bool {
        if is_ready() {
            match self.begun {
                // The caller has slept meanwhile.
                Some(_) => self.ready(),
                None => self.learn(0.0),
            }
            return true;
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        if !self.may_spin || self.mean_seconds > MAX_MEAN.as_secs_f64() {
            return false;
        }
        let limit = Duration::from_secs_f64(2.0 * self.mean_seconds).max(MAX_MEAN / 4);
        loop {
            for _ in 0..LOOKS {
                if is_ready() {
                    self.ready();
                    return true;
                }
                std::hint::spin_loop();
            }
            if begun.elapsed() > limit {
                return false;
            }
            // Whoever else wants this core gets it, the other side among them.
            thread::yield_now();
        }
    }

    /// What was waited for is there.
    pub(crate) fn ready(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.learn(begun.elapsed().as_secs_f64());
        }
    }

    fn learn(&mut self, waited_seconds: f64) {
        // A pause of seconds, while a learner learns, says nothing about the waits between two steps.
        let waited_seconds = waited_seconds.min(10.0 * MAX_MEAN.as_secs_f64());
        self.mean_seconds += WEIGHT * (waited_seconds - self.mean_seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn long_waits_are_slept_through_and_short_ones_looked_through_again() {
        let mut spinner = Spinner { may_spin: true, mean_seconds: 0.0, begun: None };
        let looks = Cell::new(0);
        let never = || {
            looks.set(looks.get() + 1);
            false
        };
        assert!(!spinner.wait(never));
        assert!(looks.get() > LOOKS, "it looked for a while");
        for _ in 0..50 {
            // It slept, for a second, and now looks once more.
            spinner.begun = Instant::now().checked_sub(Duration::from_secs(1));
            assert!(spinner.wait(|| true));
        }
        looks.set(0);
        assert!(!spinner.wait(never));
        assert_eq!(looks.get(), 1, "it went to sleep at once");
        spinner.begun = None;
        for _ in 0..50 {
            assert!(spinner.wait(|| true));
        }
        looks.set(0);
        assert!(!spinner.wait(never));
        assert!(looks.get() > LOOKS);
    }

    #[test]
    fn on_one_core_nobody_looks_twice() {
        let mut spinner = Spinner { may_spin: false, mean_seconds: 0.0, begun: None };
        let looks = Cell::new(0);
        assert!(!spinner.wait(|| {
            looks.set(looks.get() + 1);
            false
        }));
        assert_eq!(looks.get(), 1);
    }
}
