//! A tree of processes, from `/proc/PID/stat` and `/proc/PID/task`.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;

use crate::platform::{HotThread, Member, Root, Tree};

pub struct TreeReader {
    root: Root,
    /// When the followed process started, in ticks since boot: its number alone could be somebody else's by now.
    root_started: Option<u64>,
    ticks_a_second: f64,
    page_bytes: u64,
    lists_children: bool,
    /// For each thread the nanoseconds that it ran and waited, at the last look.
    threads: HashMap<u32, (u64, u64)>,
    first: bool,
    buffer: String,
}

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    parent: u32,
    ticks: u64,
    threads: u32,
    started: u64,
    resident_pages: u64,
}

impl TreeReader {
    pub fn new(root: Root) -> Self {
        // SAFETY: sysconf reads a constant of the system.
        let (ticks, page) = unsafe { (libc::sysconf(libc::_SC_CLK_TCK), libc::sysconf(libc::_SC_PAGESIZE)) };
        let own = std::process::id();
        let mut buffer = String::new();
        let root_started = match root {
            Root::Process(pid) => read_stat(pid, &mut buffer).map(|stat| stat.started),
            Root::Own | Root::Machine => None,
        };
        Self {
            root,
            root_started,
            ticks_a_second: ticks.max(1) as f64,
            page_bytes: page.max(1) as u64,
            // The kernel may have been built without these files.
            lists_children: fs::exists(format!("/proc/{own}/task/{own}/children")).unwrap_or(false),
            threads: HashMap::new(),
            first: true,
            buffer,
        }
    }

    pub fn read(&mut self) -> Option<Tree> {
        let (start, counts_start) = match self.root {
            Root::Machine => return None,
            Root::Own => (std::process::id(), false),
            Root::Process(pid) => (pid, true),
        };
        if counts_start {
            let stat = read_stat(start, &mut self.buffer)?;
            if Some(stat.started) != self.root_started || matches!(stat.state, 'Z' | 'X') {
                return None;
            }
        }
        let parents = if self.lists_children { None } else { Some(all_parents(&mut self.buffer)) };
        let mut look = Look::default();
        let (mut queue, mut seen) = (vec![start], HashSet::from([start]));
        let mut children = Vec::new();
        while let Some(pid) = queue.pop() {
            children.clear();
            let counted = counts_start || pid != start;
            self.look_at(pid, counted, &mut look, &mut children);
            if let Some(parents) = &parents {
                children.extend(parents.iter().filter(|link| link.1 == pid).map(|link| link.0));
            }
            queue.extend(children.iter().copied().filter(|child| seen.insert(*child)));
        }
        self.threads = look.threads;
        self.first = false;
        look.tree.cpu_s = look.ticks as f64 / self.ticks_a_second;
        look.tree.hottest =
            look.hottest.iter().filter_map(|(pid, tid, ran)| hot_thread(*pid, *tid, *ran)).collect();
        Some(look.tree)
    }

    fn look_at(&mut self, pid: u32, counted: bool, look: &mut Look, children: &mut Vec<u32>) {
        if counted {
            let Some(stat) = read_stat(pid, &mut self.buffer) else { return };
            look.ticks += stat.ticks;
            look.tree.resident_bytes += stat.resident_pages * self.page_bytes;
            look.tree.threads = Some(look.tree.threads.unwrap_or(0) + stat.threads);
            look.tree.members.push(Member { pid, name: stat.name });
        }
        if !counted {
            // This process starts the command in its first thread, and adopts orphans there.
            self.list_children(pid, pid, children);
            return;
        }
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
        for task in tasks.flatten() {
            let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            self.list_children(pid, tid, children);
            if read(&format!("/proc/{pid}/task/{tid}/schedstat"), &mut self.buffer).is_some() {
                let mut words = self.buffer.split_ascii_whitespace().filter_map(|word| word.parse().ok());
                if let (Some(ran), Some(waited)) = (words.next(), words.next()) {
                    self.count_thread(pid, tid, (ran, waited), look);
                }
            }
        }
    }

    fn list_children(&mut self, pid: u32, tid: u32, children: &mut Vec<u32>) {
        if self.lists_children
            && read(&format!("/proc/{pid}/task/{tid}/children"), &mut self.buffer).is_some()
        {
            children.extend(self.buffer.split_ascii_whitespace().filter_map(|word| word.parse::<u32>().ok()));
        }
    }

    fn count_thread(&self, pid: u32, tid: u32, now: (u64, u64), look: &mut Look) {
        look.threads.insert(tid, now);
        // A thread that was not there at the last look has done everything since then, except at the first look.
        let last = self.threads.get(&tid).copied().unwrap_or(if self.first { now } else { (0, 0) });
        let (ran, waited) = (now.0.saturating_sub(last.0), now.1.saturating_sub(last.1));
        let run_queue = look.tree.run_queue.get_or_insert_default();
        run_queue.ran_s += ran as f64 / 1e9;
        run_queue.waited_s += waited as f64 / 1e9;
        look.hottest.push((pid, tid, ran));
        look.hottest.sort_by_key(|thread| std::cmp::Reverse(thread.2));
        look.hottest.truncate(2);
    }
}

/// What one pass over the tree gathers.
#[derive(Default)]
struct Look {
    tree: Tree,
    ticks: u64,
    threads: HashMap<u32, (u64, u64)>,
    hottest: Vec<(u32, u32, u64)>,
}

fn hot_thread(pid: u32, tid: u32, ran_ns: u64) -> Option<HotThread> {
    let mut name = String::new();
    read(&format!("/proc/{pid}/task/{tid}/comm"), &mut name)?;
    Some(HotThread { name: name.trim().to_owned(), ran_s: ran_ns as f64 / 1e9 })
}

/// Reads a small file of `/proc` in as few calls as there can be: this is most of what a sample costs.
fn read(path: &str, buffer: &mut String) -> Option<()> {
    /// The kernel hands out less than this in one piece; from there on an end must be seen to be believed.
    const ONE_PIECE: usize = 1024;
    let mut file = File::open(path).ok()?;
    let mut bytes = std::mem::take(buffer).into_bytes();
    let mut length = 0;
    loop {
        bytes.resize(length + 2 * ONE_PIECE, 0);
        // A process that ends while it is read gives an error.
        let more = file.read(&mut bytes[length..]).ok()?;
        length += more;
        if more == 0 || length < ONE_PIECE {
            break;
        }
    }
    bytes.truncate(length);
    // A name may hold bytes that are no text.
    *buffer = String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Some(())
}

fn read_stat(pid: u32, buffer: &mut String) -> Option<Stat> {
    read(&format!("/proc/{pid}/stat"), buffer)?;
    parse_stat(buffer)
}

/// Reads one line of `/proc/PID/stat`. The name stands in parentheses and may itself hold some.
fn parse_stat(text: &str) -> Option<Stat> {
    let (before, after) = text.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let words: Vec<&str> = after.split_ascii_whitespace().collect();
    let number = |position: usize| words.get(position)?.parse::<u64>().ok();
    // User and system time of the process, and of the children that it waited for.
    let ticks = (11..=14).map(number).sum::<Option<u64>>()?;
    Some(Stat {
        name,
        state: words.first()?.chars().next()?,
        parent: number(1)? as u32,
        ticks,
        threads: number(17)? as u32,
        started: number(19)?,
        resident_pages: number(21)?,
    })
}

/// Every process and its parent, where the kernel does not list children.
fn all_parents(buffer: &mut String) -> Vec<(u32, u32)> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, read_stat(pid, buffer)?.parent))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194304 1 2 3 4 100 20 3 1 20 0 5 0 9999 1000 77 184467 1";
        let stat = parse_stat(text).unwrap();
        let expected = Stat {
            name: "a) b (c".into(),
            state: 'S',
            parent: 7,
            ticks: 124,
            threads: 5,
            started: 9999,
            resident_pages: 77,
        };
        assert_eq!(stat, expected);
        assert_eq!(parse_stat("42 (short) S 7"), None);
    }

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
