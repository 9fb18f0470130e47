//! Every other system, read through `sysinfo`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::{Cores, Member, Root, Tree};

/// `sysinfo` skips a refresh of the cores that follows the last one sooner than this.
pub const LEAST_INTERVAL: Duration = Duration::from_millis(200);

/// Reads cores and processes, and remembers what it saw last.
pub struct Probe {
    root: Root,
    system: Option<System>,
    first: bool,
    root_started: Option<u64>,
    /// CPU time of each member at the last look, so that what a member did is not lost when it ends.
    members_ms: HashMap<Pid, u64>,
    ended_ms: u64,
}

impl Probe {
    /// A probe for the cores and for the processes under `root`.
    pub fn new(root: Root) -> Self {
        let system = System::new().ok();
        Self { root, system, first: true, root_started: None, members_ms: HashMap::new(), ended_ms: 0 }
    }

    /// What the cores did since the last call; `None` at the first call. Call it before [`Self::tree`]: a
    /// refresh of the processes that comes first leaves every core at zero.
    pub fn cores(&mut self) -> Option<Cores> {
        let system = self.system.as_mut()?;
        system.refresh_cpu_usage();
        if std::mem::take(&mut self.first) {
            return None;
        }
        let busy = system.cpus().iter().map(|core| (f64::from(core.usage()) / 100.0).clamp(0.0, 1.0));
        Some(Cores { busy: busy.collect(), iowait: None, steal: None })
    }

    /// What the processes did since the last call; `None` if there are none to look at, or not any more.
    pub fn tree(&mut self) -> Option<Tree> {
        let (start, counts_start) = match self.root {
            Root::Machine => return None,
            Root::Own => (std::process::id(), false),
            Root::Process(pid) => (pid, true),
        };
        let start = Pid::from_u32(start);
        let system = self.system.as_mut()?;
        let kind = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
        if counts_start {
            // A process with the same number that started at another time is another process.
            let started = system.process(start)?.start_time();
            if *self.root_started.get_or_insert(started) != started {
                return None;
            }
        }
        let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
        for (pid, process) in system.processes() {
            if let Some(parent) = process.parent() {
                children.entry(parent).or_default().push(*pid);
            }
        }
        let (mut queue, mut seen) = (vec![start], HashSet::from([start]));
        let mut members_ms = HashMap::new();
        let mut tree = Tree::default();
        while let Some(pid) = queue.pop() {
            let below = children.get(&pid).into_iter().flatten().copied();
            queue.extend(below.filter(|child| seen.insert(*child)));
            if pid == start && !counts_start {
                continue;
            }
            if let Some(process) = system.process(pid) {
                members_ms.insert(pid, process.accumulated_cpu_time());
                tree.resident_bytes += process.memory();
                let name = process.name().to_string_lossy().into_owned();
                tree.members.push(Member { pid: pid.as_u32(), name });
            }
        }
        let ended = self.members_ms.iter().filter(|(pid, _)| !members_ms.contains_key(pid));
        // This process counts its own ended children exactly, when it waits for them.
        self.ended_ms += if counts_start { ended.map(|(_, ms)| ms).sum() } else { 0 };
        tree.cpu_s = (members_ms.values().sum::<u64>() + self.ended_ms) as f64 / 1e3;
        self.members_ms = members_ms;
        Some(tree)
    }
}

/// Only Linux gives orphans to a chosen process; elsewhere what a daemon does after its parent ended is not counted.
#[cfg_attr(target_os = "linux", expect(dead_code, reason = "Linux has its own"))]
pub fn adopt_orphans() {}

/// Cores that a process may use at once; here nothing limits one process more than another.
#[cfg_attr(target_os = "linux", expect(dead_code, reason = "Linux has its own"))]
pub fn effective_cores(_pid: Option<u32>) -> f64 {
    std::thread::available_parallelism().map_or(1.0, |cores| usize::from(cores) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn cores_and_children_can_be_read() {
        let mut child = Command::new("sleep").arg("20").spawn().unwrap();
        let mut probe = Probe::new(Root::Process(child.id()));
        assert_eq!(probe.cores(), None);
        std::thread::sleep(LEAST_INTERVAL);
        let cores = probe.cores().unwrap();
        assert!(!cores.busy.is_empty() && cores.busy.iter().all(|busy| (0.0..=1.0).contains(busy)));
        let tree = probe.tree().unwrap();
        assert_eq!(tree.members.iter().map(|member| member.pid).collect::<Vec<_>>(), [child.id()]);
        assert!(tree.resident_bytes > 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(probe.tree(), None);
    }
}
