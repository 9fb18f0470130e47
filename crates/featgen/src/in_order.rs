//! Work in parallel whose results are taken in order, with few of them in memory at a time.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, PoisonError};

/// Results that wait for their turn beyond those being worked on: enough that no thread idles behind a slow
/// one, few enough that memory does not grow with the batch.
const WAITING: usize = 2;

struct Turn<F> {
    next: usize,
    take: F,
    failure: Option<anyhow::Error>,
}

/// Runs `work` for 0 to `n` on the threads of the pool, and hands each result to `take` in order. The first
/// error of `take` ends everything and is given back.
///
/// Each result has a thread of its own that asks the pool for the work and then waits for its turn, so that
/// no thread of the pool ever waits and what one piece of work does in parallel can use all of them.
pub fn in_order<T: Send>(
    n: usize,
    work: impl Fn(usize) -> T + Sync,
    take: impl FnMut(usize, T) -> anyhow::Result<()> + Send,
) -> anyhow::Result<()> {
    let claimed = AtomicUsize::new(0);
    let turn = Mutex::new(Turn { next: 0, take, failure: None });
    let moved_on = Condvar::new();
    let lane = || {
        loop {
            let place = claimed.fetch_add(1, Relaxed);
            if place >= n {
                return;
            }
            // A scope opened outside the pool runs on it.
            let result = rayon::scope(|_| work(place));
            let mut turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            while turn.next < place && turn.failure.is_none() {
                turn = moved_on.wait(turn).unwrap_or_else(PoisonError::into_inner);
            }
            if turn.failure.is_some() {
                return;
            }
            if let Err(error) = (turn.take)(place, result) {
                turn.failure = Some(error);
                claimed.store(n, Relaxed);
            }
            turn.next += 1;
            moved_on.notify_all();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..n.min(rayon::current_num_threads() + WAITING) {
            scope.spawn(lane);
        }
    });
    let turn = turn.into_inner().unwrap_or_else(PoisonError::into_inner);
    turn.failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_taken_in_order_and_few_at_a_time() {
        let (working, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut taken = Vec::new();
        let work = |place: usize| {
            let now = working.fetch_add(1, Relaxed) + 1;
            most.fetch_max(now, Relaxed);
            // Later places finish first.
            std::thread::sleep(std::time::Duration::from_micros(200 * (5 - place as u64 % 5)));
            place * place
        };
        in_order(100, work, |place, square| {
            working.fetch_sub(1, Relaxed);
            taken.push((place, square));
            Ok(())
        })
        .unwrap();
        assert_eq!(taken, (0..100).map(|place| (place, place * place)).collect::<Vec<_>>());
        let most = most.into_inner();
        assert!(most <= rayon::current_num_threads() + WAITING, "{most} results at a time");
    }

    #[test]
    fn the_first_failure_in_order_ends_it() {
        let mut taken = 0;
        let error = in_order(
            50,
            |place| place,
            |place, _| {
                anyhow::ensure!(place < 7, "{place}");
                taken += 1;
                Ok(())
            },
        );
        assert_eq!((error.unwrap_err().to_string(), taken), ("7".to_owned(), 7));
        in_order(0, |_| (), |_, ()| Ok(())).unwrap();
    }
}
