//! Threads that step one batch together, each on a core of its own.
//!
//! A client that waits awake, and gives its core away whenever another thread wants it, looks busy to the system, which
//! then sees no reason to move two stepping threads off the same other core: steps that are spread took as long as
//! those that are not, for seconds on end. So where the pool has a thread for every core that this process may use, its
//! threads keep to one core each. The thread that serves a session does so only while its steps are spread, so that
//! servers whose steps are not never wait for each other's core while others are free.
//!
//! Linux alone lets a thread choose its core; elsewhere nothing happens.

use std::cell::Cell;

/// Lets the pool's threads keep to their cores, but for the calling one, which does so when its steps are spread. To be
/// called when a session is opened, and not when the pool is built: by then `wire` has asked how many cores there are, and
/// a thread that may use one alone would have been told of one.
pub fn prepare() {
    rayon::broadcast(|_| keep_while_spread(true));
    keep_while_spread(false);
}

/// The calling thread, if it is one of the pool's, keeps to its core from now on, or to none.
pub fn keep_while_spread(is_spread: bool) {
    thread_local! {
        static KEEPS: Cell<Option<bool>> = const { Cell::new(None) };
    }
    let (cores, Some(thread_idx)) = (platform::cores(), rayon::current_thread_index()) else { return };
    if KEEPS.replace(Some(is_spread)) == Some(is_spread) {
        return;
    }
    if !is_spread {
        platform::stay_on(cores);
    } else if cores.len() > 1 && cores.len() == rayon::current_num_threads() {
        platform::stay_on(&cores[thread_idx..=thread_idx]);
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::sync::OnceLock;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// The cores that this process could use when it first asked.
    pub fn cores() -> &'static [usize] {
        static CORES: OnceLock<Vec<usize>> = OnceLock::new();
        CORES.get_or_init(|| {
            let allowed = sched_getaffinity(None).unwrap_or_default();
            (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect()
        })
    }

    /// Lets the calling thread run on `cores` alone. It is a matter of speed: where the system says no, it stays as it is.
    pub fn stay_on(cores: &[usize]) {
        let mut set = CpuSet::new();
        for &core in cores {
            set.set(core);
        }
        let _ = sched_setaffinity(None, &set);
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    pub fn cores() -> &'static [usize] {
        &[]
    }

    pub fn stay_on(_cores: &[usize]) {}
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use rustix::thread::{CpuSet, sched_getaffinity};

    fn my_cores() -> Vec<usize> {
        let set = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect()
    }

    fn pool(n_threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap()
    }

    #[test]
    fn threads_keep_to_a_core_each_where_there_is_one_for_each() {
        let all = my_cores();
        assert_eq!(platform::cores(), all);
        keep_while_spread(true);
        assert_eq!(my_cores(), all, "a thread outside of the pool");
        for n_threads in [1, all.len(), all.len() + 1] {
            let are_pinned = all.len() > 1 && n_threads == all.len();
            let n_each = if are_pinned { 1 } else { all.len() };
            let pool = pool(n_threads);
            pool.install(|| {
                prepare();
                assert_eq!(my_cores(), all, "the one that serves, whose steps are not spread");
                keep_while_spread(true);
            });
            let seen = pool.broadcast(|_| my_cores());
            assert!(seen.iter().all(|cores| cores.len() == n_each), "{n_threads} threads on {seen:?}");
            let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
            assert_eq!(distinct.len(), if are_pinned { n_threads } else { 1 });
            pool.broadcast(|_| keep_while_spread(false));
            assert_eq!(pool.broadcast(|_| my_cores()), vec![all.clone(); n_threads]);
        }
    }
}
