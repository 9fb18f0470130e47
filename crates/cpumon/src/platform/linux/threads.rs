//! What single threads ran and waited, from `/proc/PID/task/TID/schedstat`.

use std::collections::HashMap;
use std::fs;

use super::files::{Files, Kind};
use crate::platform::{HotThread, Tree};

/// Threads that were seen at the last look.
#[derive(Default)]
pub struct Threads {
    last: HashMap<u32, Seen>,
    /// The threads of each process that has several, as they were listed last.
    listed: HashMap<u32, Vec<u32>>,
    looked: bool,
}

/// Nanoseconds since a thread's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    ran: u64,
    waited: u64,
}

/// What one pass gathers.
#[derive(Default)]
pub struct ThreadsLook {
    now: HashMap<u32, Seen>,
    listed: HashMap<u32, Vec<u32>>,
    /// Process, thread, nanoseconds since the last look.
    ran: Vec<(u32, u32, u64)>,
    waited: u64,
    told: bool,
}

impl Threads {
    /// Counts the threads of `pid`, of which there are `count`, and gives their numbers.
    pub fn of(&mut self, pid: u32, count: u32, files: &mut Files, look: &mut ThreadsLook) -> Vec<u32> {
        if count == 1 {
            self.count(pid, pid, files, look);
            return vec![pid];
        }
        // Listing costs as much as reading, so it is done when threads came or went.
        let known = self.listed.remove(&pid).filter(|listed| listed.len() == count as usize);
        if let Some(listed) = known
            && listed.iter().all(|tid| self.count(pid, *tid, files, look))
        {
            look.listed.insert(pid, listed.clone());
            return listed;
        }
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let listed: Vec<u32> = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect();
        for tid in &listed {
            if !look.now.contains_key(tid) {
                self.count(pid, *tid, files, look);
            }
        }
        look.listed.insert(pid, listed.clone());
        listed
    }

    /// Whether the thread is still there.
    fn count(&self, pid: u32, tid: u32, files: &mut Files, look: &mut ThreadsLook) -> bool {
        let Some(text) = files.read(pid, tid, Kind::Schedule) else { return false };
        let mut words = text.split_ascii_whitespace().filter_map(|word| word.parse().ok());
        let (Some(ran), Some(waited)) = (words.next(), words.next()) else { return false };
        let now = Seen { ran, waited };
        look.now.insert(tid, now);
        look.told = true;
        // A thread that was not there at the last look has done everything since then, except at the first look.
        let nothing = if self.looked { Seen { ran: 0, waited: 0 } } else { now };
        let last = self.last.get(&tid).copied().unwrap_or(nothing);
        look.ran.push((pid, tid, ran.saturating_sub(last.ran)));
        look.waited += waited.saturating_sub(last.waited);
        true
    }

    /// Ends a look: writes what it found into `tree`, and remembers it for the next one.
    pub fn finish(&mut self, look: &mut ThreadsLook, tree: &mut Tree) {
        self.last = std::mem::take(&mut look.now);
        self.listed = std::mem::take(&mut look.listed);
        self.looked = true;
        if !look.told {
            return;
        }
        let queue = tree.run_queue.insert(crate::platform::RunQueue::default());
        let ran: u64 = look.ran.iter().map(|thread| thread.2).sum();
        (queue.ran_s, queue.waited_s) = (ran as f64 / 1e9, look.waited as f64 / 1e9);
        look.ran.sort_unstable_by_key(|thread| std::cmp::Reverse(thread.2));
        // A thread that did a twentieth of what the busiest did would not be missed.
        let most = look.ran.first().map_or(0, |thread| thread.2);
        let workers = look.ran.iter().take_while(|thread| thread.2 > 0 && thread.2 * 20 >= most);
        tree.allowed_cores = cores_of(workers.map(|thread| thread.1));
        tree.hottest = look.ran.iter().take(2).filter_map(hot_thread).collect();
    }
}

fn hot_thread((pid, tid, ran): &(u32, u32, u64)) -> Option<HotThread> {
    // A program may give a thread a name that is no text.
    let name = fs::read(format!("/proc/{pid}/task/{tid}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name).trim().to_owned();
    Some(HotThread { name, ran_s: *ran as f64 / 1e9 })
}

/// How many cores these threads may use, all together; `None` if there are none.
fn cores_of(threads: impl Iterator<Item = u32>) -> Option<u32> {
    /// More threads than this are taken to be allowed what these are.
    const ENOUGH: usize = 64;
    let mut together = [0_u64; 64];
    for tid in threads.take(ENOUGH) {
        let mut mask = [0_u64; 64];
        // SAFETY: the kernel writes at most the given number of bytes into the array, whose bits it numbers alike.
        unsafe { libc::sched_getaffinity(tid as i32, size_of_val(&mask), mask.as_mut_ptr().cast()) };
        together.iter_mut().zip(mask).for_each(|(all, one)| *all |= one);
    }
    let count = together.iter().map(|word| word.count_ones()).sum();
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::RunQueue;

    #[test]
    fn threads_that_work_are_found_by_name() {
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let busy = || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            };
            std::thread::Builder::new().name("busy-thread".into()).spawn_scoped(scope, busy).unwrap();
            let (mut threads, mut files, mut tree) = (Threads::default(), Files::default(), Tree::default());
            let own = std::process::id();
            for _ in 0..2 {
                let mut look = ThreadsLook::default();
                let listed = threads.of(own, 999, &mut files, &mut look);
                assert!(listed.contains(&own));
                tree = Tree::default();
                threads.finish(&mut look, &mut tree);
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(tree.allowed_cores.unwrap() >= 1);
            assert!(tree.run_queue.is_some_and(|queue| queue != RunQueue::default()));
        });
    }

    #[test]
    fn nobody_is_allowed_nothing() {
        assert_eq!(cores_of(std::iter::empty()), None);
        let all = cores_of(std::iter::once(0)).unwrap() as usize;
        assert!(all >= std::thread::available_parallelism().unwrap().into());
    }
}
