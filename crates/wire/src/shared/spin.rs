//! Waiting awake. To wake a sleeping core takes tens of microseconds, on rented machines hundreds: as long as stepping
//! a few hundred environments, or thousands. To look at a counter again and again takes a core. So a side looks for
//! as long as what it waits for usually takes and a wake-up more, and not at all where that is long or where there is
//! one core only.
//!
//! How long it takes is best told by the other side, which knows when it began: whoever waits counts wake-ups too, its
//! own and the other's, so that both could sleep at every step although each is fast.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// Waits that take longer on average are slept through: a wake-up is small beside them.
const MAX_MEAN: Duration = Duration::from_micros(150);
/// The same for a client, whose own work cannot go on before the answer is there.
const MAX_MEAN_OF_CLIENT: Duration = Duration::from_millis(1);
/// One in so many waits that would be slept through is looked through nevertheless, for as long as the mean may be.
/// A sleeper cannot tell a short wait from its own wake-up, and would go on sleeping when the other side is fast
/// again.
const TRIAL: u32 = 16;
/// Looks at memory between two glances at the clock.
const LOOKS: u32 = 32;
/// The weight of the latest wait in the mean.
const WEIGHT: f64 = 0.125;

/// How long one side has waited of late.
#[derive(Debug)]
pub(crate) struct Spinner {
    /// Zero: it never looks twice.
    max_mean: Duration,
    /// Between two glances at the clock.
    looks: u32,
    mean_seconds: f64,
    /// Whether the other side tells how long it takes, which is then what the mean is of.
    is_told: bool,
    begun: Option<Instant>,
    /// Waits that were slept through at once, since one was not.
    n_slept: u32,
}

impl Spinner {
    /// One that looks through waits of up to [`MAX_MEAN`].
    pub(crate) fn new() -> Self {
        Self::up_to(max_mean(MAX_MEAN, cores()), LOOKS)
    }

    /// One of a client, which has nothing else to do while its server works.
    pub(crate) fn of_client() -> Self {
        Self::up_to(max_mean(MAX_MEAN_OF_CLIENT, cores()), LOOKS)
    }

    /// One that looks for an hour.
    #[cfg(test)]
    pub(crate) fn patient() -> Self {
        Self::up_to(Duration::from_secs(3600), LOOKS)
    }

    /// The same, where to look is to ask the system.
    pub(crate) fn of_slow_looks(self) -> Self {
        Self { looks: 1, ..self }
    }

    fn up_to(max_mean: Duration, looks: u32) -> Self {
        Self { max_mean, looks, mean_seconds: 0.0, is_told: false, begun: None, n_slept: 0 }
    }

    /// Looks for a while whether `is_ready`, and says whether it is. If it is not, the caller sleeps and then
    /// calls [`Spinner::ready`].
    pub(crate) fn wait(&mut self, is_ready: impl Fn() -> bool) -> bool {
        if is_ready() {
            match self.begun {
                // The caller has slept meanwhile.
                Some(_) => self.ready(),
                None if self.is_told => {}
                None => self.learn(0.0),
            }
            return true;
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let max_mean = self.max_mean.as_secs_f64();
        let is_trial = self.mean_seconds > max_mean;
        if is_trial {
            // A sleeper is told the truth too, and needs no trial.
            if self.is_told {
                return false;
            }
            self.n_slept += 1;
            if self.n_slept < TRIAL {
                return false;
            }
            self.n_slept = 0;
        }
        // What is told leaves out that the other side may have to wake up.
        let usual = if self.is_told { max_mean } else { 2.0 * self.mean_seconds };
        let limit = if is_trial { max_mean } else { usual.max(max_mean / 4.0) };
        let limit = Duration::from_secs_f64(limit);
        // There is one core only.
        if limit.is_zero() {
            return false;
        }
        loop {
            for _ in 0..self.looks {
                if is_ready() {
                    if is_trial {
                        self.mean_seconds = begun.elapsed().as_secs_f64();
                    }
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
        if let Some(begun) = self.begun.take()
            && !self.is_told
        {
            self.learn(begun.elapsed().as_secs_f64());
        }
    }

    /// Whether the other side says that it is fast enough to be waited for awake.
    pub(crate) fn is_told_of_short_waits(&self) -> bool {
        self.is_told && self.mean_seconds <= self.max_mean.as_secs_f64()
    }

    /// The other side says how long it took over what it was last waited for; 0 if it does not say.
    pub(crate) fn tell(&mut self, nanoseconds: u32) {
        self.is_told = nanoseconds > 0;
        if self.is_told {
            self.learn(f64::from(nanoseconds) * 1e-9);
        }
    }

    fn learn(&mut self, waited_seconds: f64) {
        // A pause of seconds, while a learner learns, says little about the waits between two steps.
        let waited_seconds = waited_seconds.min(4.0 * self.max_mean.as_secs_f64());
        self.mean_seconds += WEIGHT * (waited_seconds - self.mean_seconds);
    }
}

/// How long waits may be on average to be looked through.
fn max_mean(of_many_cores: Duration, cores: u32) -> Duration {
    // On one core the other side could not go on while this one looks.
    if cores > 1 { of_many_cores } else { Duration::ZERO }
}

/// For the other side to be told: how long ago `begun` was, and never 0.
pub(crate) fn nanoseconds_since(begun: Instant) -> u32 {
    u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX).max(1)
}

fn cores() -> u32 {
    static CORES: OnceLock<u32> = OnceLock::new();
    *CORES.get_or_init(|| {
        thread::available_parallelism().map_or(1, NonZeroUsize::get).try_into().unwrap_or(u32::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn long_waits_are_slept_through_and_short_ones_looked_through_again() {
        let mut spinner = Spinner::up_to(MAX_MEAN, LOOKS);
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
    fn a_sleeper_finds_out_that_the_other_side_is_fast_again() {
        let mut spinner = Spinner::up_to(Duration::from_secs(1), LOOKS);
        spinner.mean_seconds = 2.0;
        let looks = Cell::new(0_u32);
        // Ready at the third look, which a sleeper that looks once never makes.
        let soon = || {
            looks.set(looks.get() + 1);
            looks.get().is_multiple_of(3)
        };
        for wait in 1..=TRIAL {
            (spinner.begun, spinner.mean_seconds) = (None, spinner.mean_seconds.max(2.0));
            looks.set(0);
            assert_eq!(spinner.wait(soon), wait == TRIAL, "wait {wait}");
        }
        assert!(spinner.mean_seconds < 1.0, "the next wait is looked through");
    }

    #[test]
    fn who_is_told_that_the_other_side_is_fast_looks_however_long_it_waited() {
        let mut spinner = Spinner::up_to(MAX_MEAN, LOOKS);
        let looks = Cell::new(0_u32);
        let never = || {
            looks.set(looks.get() + 1);
            false
        };
        for (told, looks_on) in [(20_000, true), (9_000_000, false), (20_000, true)] {
            for _ in 0..50 {
                // Both slept, so that the wait was one of milliseconds.
                spinner.begun = Instant::now().checked_sub(Duration::from_millis(5));
                spinner.ready();
                spinner.tell(told);
            }
            looks.set(0);
            assert!(!spinner.wait(never));
            assert_eq!(looks.get() > LOOKS, looks_on, "{told}");
            spinner.begun = None;
        }
        assert_eq!((nanoseconds_since(Instant::now()) > 0, spinner.is_told), (true, true));
        spinner.tell(0);
        assert!(!spinner.is_told, "it has to find out by itself again");
    }

    #[test]
    fn on_one_core_nobody_looks_twice() {
        let mut spinner = Spinner::up_to(max_mean(MAX_MEAN, 1), LOOKS);
        let looks = Cell::new(0);
        for wait in 1..100 {
            assert!(!spinner.wait(|| {
                looks.set(looks.get() + 1);
                false
            }));
            assert_eq!(looks.get(), wait);
        }
    }
}
