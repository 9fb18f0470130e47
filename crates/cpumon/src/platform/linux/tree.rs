//! A tree of processes, from `/proc/PID/stat` and `/proc/PID/task`.

use std::collections::{HashMap, HashSet};
use std::fs;

use super::files::{Files, Kind};
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
    /// The other stages of a pipeline: when each started and what it had used at the last look.
    siblings: HashMap<u32, (u64, u64)>,
    /// What stages that ended had used when they were last seen.
    ended_ticks: u64,
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
            siblings: HashMap::new(),
            ended_ticks: 0,
        }
    }

    pub fn read(&mut self) -> Option<Tree> {
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
            _ => self.siblings_of(own, parents.as_deref()),
        };
        let mut seen: HashSet<u32> = queue.iter().copied().chain([own]).collect();
        while let Some(pid) = queue.pop() {
            let children = self.look_at(pid, parents.as_deref(), &mut look);
            queue.extend(children.into_iter().filter(|child| seen.insert(*child)));
        }
        self.threads.finish(&mut look.threads, &mut look.tree);
        look.tree.cpu_s = (look.ticks + self.ended_ticks) as f64 / self.ticks_a_second;
        Some(look.tree)
    }

    fn look_at(&mut self, pid: u32, parents: Option<&[(u32, u32)]>, look: &mut Look) -> Vec<u32> {
        let Some(stat) = read_stat(pid, &mut self.files) else { return Vec::new() };
        look.ticks += stat.ticks;
        look.tree.resident_bytes += stat.resident_pages * self.page_bytes;
        *look.tree.threads.get_or_insert(0) += stat.threads;
        *look.tree.in_disk_wait.get_or_insert(0) += u32::from(stat.state == 'D');
        look.tree.members.push(Member { pid, name: stat.name });
        let mut children = Vec::new();
        for tid in self.threads.of(pid, stat.threads, &mut self.files, &mut look.threads) {
            children.extend(self.children_of(pid, tid, parents));
        }
        children
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

    /// The other stages of the pipeline: children of our parent in our process group. What one had used when it
    /// was last seen is kept, as only its parent learns more.
    fn siblings_of(&mut self, own: u32, parents: Option<&[(u32, u32)]>) -> Vec<u32> {
        // SAFETY: both calls take plain numbers and only look.
        let is_in_our_group = |pid: u32| unsafe { libc::getpgid(pid as i32) == libc::getpgrp() };
        let mut candidates = self.children_of(self.parent, self.parent, parents);
        candidates.retain(|pid| *pid != own && is_in_our_group(*pid));
        candidates.extend(self.siblings.keys());
        candidates.sort_unstable();
        candidates.dedup();
        let last = std::mem::take(&mut self.siblings);
        for pid in candidates {
            let now = read_stat(pid, &mut self.files);
            let before = last.get(&pid);
            match (now, before) {
                (Some(now), Some((started, _))) if now.started == *started => {
                    self.siblings.insert(pid, (now.started, now.ticks));
                }
                (Some(now), None) => {
                    self.siblings.insert(pid, (now.started, now.ticks));
                }
                (_, Some((_, ticks))) => self.ended_ticks += ticks,
                (None, None) => {}
            }
        }
        self.siblings.keys().copied().collect()
    }
}

/// What one pass over the tree gathers.
#[derive(Default)]
struct Look {
    tree: Tree,
    ticks: u64,
    threads: ThreadsLook,
}

fn read_stat(pid: u32, files: &mut Files) -> Option<Stat> {
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
    use std::process::{Child, Command};

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
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        for lists_children in [true, false] {
            let mut reader = TreeReader::new(Root::Process(child.0.id()));
            reader.lists_children &= lists_children;
            loop {
                let tree = reader.read().unwrap();
                let names: Vec<_> = tree.members.iter().map(|member| member.name.as_str()).collect();
                if names == ["sh", "sleep"] {
                    assert_eq!(tree.threads, Some(2));
                    break;
                }
                assert!(std::time::Instant::now() < deadline, "{names:?}");
            }
        }
        let grandchild = TreeReader::new(Root::Process(child.0.id())).read().unwrap().members[1].pid;
        // SAFETY: kill takes plain numbers; the process is the sleep that was started above.
        unsafe { libc::kill(grandchild as i32, libc::SIGKILL) };
    }

    #[test]
    fn a_process_that_is_gone_has_no_tree() {
        let mut child = Command::new("true").spawn().unwrap();
        let mut reader = TreeReader::new(Root::Process(child.id()));
        child.wait().unwrap();
        assert_eq!(reader.read(), None);
    }
}
