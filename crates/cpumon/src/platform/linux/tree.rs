//! A tree of processes, from `/proc/PID/stat` and `/proc/PID/task`.

use std::collections::HashSet;
use std::fs;

use super::files::{Files, Kind};
use super::stages::Stages;
use super::stat::{Stat, parse_stat};
use super::threads::{Threads, ThreadsLook};
use crate::platform::{Member, Root, Tree};

pub struct TreeReader {
    root: Root,
    parent: u32,
    /// When the followed process started, in ticks since boot: its number alone could be somebody else's by now.
    root_started: Option<u64>,
    ticks_a_second: f64,
    page_bytes: u64,
    lists_children: bool,
    files: Files,
    threads: Threads,
    stages: Stages,
}

impl TreeReader {
    pub fn new(root: Root) -> Self {
        // SAFETY: sysconf reads a constant of the system.
        let (ticks, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK), libc::sysconf(libc::_SC_PAGESIZE)) };
        let own = std::process::id();
        let mut files = Files::default();
        let root_started = match root {
            Root::Process(pid) => read_stat(pid, &mut files).map(|stat| stat.started),
            Root::Own | Root::Machine | Root::Siblings => None,
        };
        Self {
            root,
            parent: std::os::unix::process::parent_id(),
            root_started,
            ticks_a_second: ticks.max(1) as f64,
            page_bytes: page.max(1) as u64,
            // The kernel may have been built without these files.
            lists_children: fs::exists(format!("/proc/{own}/task/{own}/children")).unwrap_or(false),
            files,
            threads: Threads::default(),
            stages: Stages::default(),
        }
    }

    /// Looks at the tree; with `asks_every_thread` whether any thread waits for a disk, else only each first one.
    pub fn read(&mut self, asks_every_thread: bool) -> Option<Tree> {
        if self.root == Root::Machine {
            return None;
        }
        self.files.begin();
        let own = std::process::id();
        let parents = if self.lists_children { None } else { Some(all_parents(&mut self.files)) };
        let mut look = Look::default();
        let mut queue = match self.root {
            Root::Process(pid) => {
                let stat = read_stat(pid, &mut self.files)?;
                if Some(stat.started) != self.root_started || matches!(stat.state, 'Z' | 'X') {
                    return None;
                }
                vec![pid]
            }
            // This process starts the command in its first thread, and adopts orphans there.
            Root::Own => self.children_of(own, own, parents.as_deref()),
            _ => {
                let mut candidates = self.children_of(self.parent, self.parent, parents.as_deref());
                candidates.retain(|pid| *pid != own);
                self.stages.look(candidates, self.parent, &mut self.files)
            }
        };
        let mut seen: HashSet<u32> = queue.iter().copied().chain([own]).collect();
        while let Some(pid) = queue.pop() {
            let children = self.look_at(pid, parents.as_deref(), asks_every_thread, &mut look);
            queue.extend(children.into_iter().filter(|child| seen.insert(*child)));
        }
        self.threads.finish(&mut look.threads, &mut look.tree);
        look.tree.cpu_s = (look.ticks + self.stages.ended_ticks) as f64 / self.ticks_a_second;
        Some(look.tree)
    }

    fn look_at(
        &mut self,
        pid: u32,
        parents: Option<&[(u32, u32)]>,
        asks_every_thread: bool,
        look: &mut Look,
    ) -> Vec<u32> {
        let Some(stat) = read_stat(pid, &mut self.files) else { return Vec::new() };
        look.ticks += stat.ticks;
        look.tree.resident_bytes += stat.resident_pages * self.page_bytes;
        *look.tree.threads.get_or_insert(0) += stat.threads;
        look.tree.members.push(Member { pid, name: stat.name });
        let mut children = Vec::new();
        let mut waits_for_disk = stat.state == 'D';
        for tid in self.threads.of(pid, stat.threads, &mut self.files, &mut look.threads) {
            children.extend(self.children_of(pid, tid, parents));
            waits_for_disk |= asks_every_thread && tid != pid && self.waits_for_disk(pid, tid);
        }
        *look.tree.in_disk_wait.get_or_insert(0) += u32::from(waits_for_disk);
        children
    }

    fn waits_for_disk(&mut self, pid: u32, tid: u32) -> bool {
        let stat = self.files.read(pid, tid, Kind::ThreadStat).and_then(parse_stat);
        stat.is_some_and(|stat| stat.state == 'D')
    }

    fn children_of(&mut self, pid: u32, tid: u32, parents: Option<&[(u32, u32)]>) -> Vec<u32> {
        match parents {
            // Only the whole process is known to be the parent; its first thread stands for it.
            Some(parents) if pid == tid => {
                parents.iter().filter(|link| link.1 == pid).map(|link| link.0).collect()
            }
            Some(_) => Vec::new(),
            None => {
                let text = self.files.read(pid, tid, Kind::Children).unwrap_or_default();
                text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
            }
        }
    }
}

/// What one pass over the tree gathers.
#[derive(Default)]
struct Look {
    tree: Tree,
    ticks: u64,
    threads: ThreadsLook,
}

pub fn read_stat(pid: u32, files: &mut Files) -> Option<Stat> {
    parse_stat(files.read(pid, pid, Kind::Stat)?)
}

/// Every process and its parent, where the kernel does not list children.
fn all_parents(files: &mut Files) -> Vec<(u32, u32)> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, read_stat(pid, files)?.parent))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};
    use std::process::{Child, Command};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    struct Ended(Child);

    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn grandchildren_are_found_with_and_without_the_kernels_lists() {
        // The shell does not replace itself by the last command, because another one follows.
        let child = Ended(Command::new("sh").args(["-c", "sleep 20; :"]).spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(10);
        for lists_children in [true, false] {
            let mut reader = TreeReader::new(Root::Process(child.0.id()));
            reader.lists_children &= lists_children;
            loop {
                let tree = reader.read(false).unwrap();
                let names: Vec<_> = tree.members.iter().map(|member| member.name.as_str()).collect();
                if names == ["sh", "sleep"] {
                    assert_eq!(tree.threads, Some(2));
                    break;
                }
                assert!(Instant::now() < deadline, "{names:?}");
            }
        }
        let grandchild = TreeReader::new(Root::Process(child.0.id())).read(false).unwrap().members[1].pid;
        // SAFETY: kill takes plain numbers; the process is the sleep that was started above.
        unsafe { libc::kill(grandchild as i32, libc::SIGKILL) };
    }

    #[test]
    fn a_process_that_is_gone_has_no_tree() {
        let mut child = Command::new("true").spawn().unwrap();
        let mut reader = TreeReader::new(Root::Process(child.id()));
        child.wait().unwrap();
        assert_eq!(reader.read(false), None);
    }

    #[test]
    fn any_thread_that_waits_for_a_disk_is_noticed_when_asked() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            // Writes from a thread that is not the first one, each piece through to the disk.
            let writer = scope.spawn(|| {
                let piece = vec![7; 1 << 20];
                let (start, before_s) = (Instant::now(), thread_cpu_s());
                while !done.load(Ordering::Relaxed) {
                    file.write_all(&piece).and_then(|()| file.as_file().sync_all()).unwrap();
                    file.rewind().unwrap();
                }
                (thread_cpu_s() - before_s) / start.elapsed().as_secs_f64()
            });
            let mut reader = TreeReader::new(Root::Process(std::process::id()));
            let waits = |reader: &mut TreeReader| reader.read(true).unwrap().in_disk_wait > Some(0);
            let mut seen = waits(&mut reader);
            while !seen && Instant::now() < deadline {
                seen = waits(&mut reader);
            }
            done.store(true, Ordering::Relaxed);
            let worked = writer.join().unwrap();
            if !seen && worked > 0.5 {
                eprintln!(
                    "left out: temporary files are in memory, as writing one takes {worked:.2} of a core"
                );
                return;
            }
            assert!(seen, "the writer was on a core for {worked:.2} of the time");
        });
    }

    fn thread_cpu_s() -> f64 {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: getrusage fills the structure, which is plain numbers and valid when zeroed.
        let usage = unsafe {
            libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr());
            usage.assume_init()
        };
        crate::platform::seconds(usage.ru_utime) + crate::platform::seconds(usage.ru_stime)
    }
}
