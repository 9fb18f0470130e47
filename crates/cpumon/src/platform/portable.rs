//! Every other system, read through `sysinfo`.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::{CoreKind, Cores, Inside, Machine, Member, Root, Tree};

/// `sysinfo` skips a refresh of the cores that follows the last one sooner than this.
pub const LEAST_INTERVAL: Duration = Duration::from_millis(200);

/// Reads cores and processes, and remembers what it saw last.
pub struct Probe {
    /// What Linux can be asked; no other system tells which thread waits for a disk.
    #[cfg_attr(target_os = "linux", expect(dead_code, reason = "Linux has its own"))]
    pub asks_every_thread: bool,
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
        Self {
            asks_every_thread: false,
            root,
            system,
            first: true,
            root_started: None,
            members_ms: HashMap::new(),
            ended_ms: 0,
        }
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
        let own = std::process::id();
        let (start, counts_start) = match self.root {
            Root::Machine => return None,
            Root::Own | Root::Siblings => (own, false),
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
        let mut queue = vec![start];
        if self.root == Root::Siblings {
            let parent = system.process(start)?.parent()?;
            queue = children.remove(&parent).unwrap_or_default();
            queue.retain(|pid| *pid != start && is_in_our_group(*pid));
        }
        // What this process started itself belongs to the command only, never to the pipeline beside it.
        let mut seen: HashSet<Pid> = queue.iter().copied().chain([start]).collect();
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
        self.ended_ms += if self.root == Root::Own { 0 } else { ended.map(|(_, ms)| ms).sum() };
        tree.cpu_s = (members_ms.values().sum::<u64>() + self.ended_ms) as f64 / 1e3;
        self.members_ms = members_ms;
        Some(tree)
    }
}

fn is_in_our_group(pid: Pid) -> bool {
    // SAFETY: both calls take plain numbers and only look.
    unsafe { libc::getpgid(pid.as_u32() as i32) == libc::getpgrp() }
}

/// Reads [`Machine`]; pressure and quotas are Linux's.
pub struct MachineReader {
    system: Option<System>,
    last: Option<(Instant, Machine)>,
}

/// These numbers move slowly, and cost more to read than all the others.
const MACHINE_EVERY: Duration = Duration::from_millis(990);

#[cfg_attr(target_os = "linux", expect(dead_code, reason = "Linux has its own"))]
impl MachineReader {
    /// A reader that has not read yet.
    pub fn new(_root: Root) -> Self {
        Self { system: System::new().ok(), last: None }
    }

    /// The numbers, of a second ago at most.
    pub fn read(&mut self) -> Machine {
        if let Some((at, machine)) = self.last
            && at.elapsed() < MACHINE_EVERY
        {
            return machine;
        }
        let available_bytes = self.system.as_mut().map(|system| {
            system.refresh_memory();
            system.available_memory()
        });
        let machine = Machine {
            load_1min: System::load_average().ok().map(|load| load.one),
            available_bytes: available_bytes.filter(|bytes| *bytes > 0),
            ..Machine::default()
        };
        self.last = Some((Instant::now(), machine));
        machine
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

/// What other systems show of a process: its environment alone, where it is one's own.
#[cfg_attr(target_os = "linux", expect(dead_code, reason = "Linux has its own"))]
pub fn look_into(pid: u32) -> Option<Inside> {
    let mut system = System::new().ok()?;
    let pid = Pid::from_u32(pid);
    let kind = ProcessRefreshKind::nothing().with_environ(sysinfo::UpdateKind::Always);
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kind);
    let environment = system.process(pid)?.environ().iter();
    let environment: Vec<_> = environment.map(|entry| entry.to_string_lossy().into_owned()).collect();
    Some(Inside { environment: (!environment.is_empty()).then_some(environment), ..Inside::default() })
}

/// The kind of each core in the order of their numbers; empty where all are alike or the system does not tell.
/// Apple's numbers begin with the efficiency cores; `perflevel1` counts them.
#[cfg_attr(target_os = "linux", expect(dead_code, reason = "Linux has its own"))]
pub fn core_kinds() -> Vec<CoreKind> {
    let (Some(small), Some(large)) =
        (system_number(c"hw.perflevel1.logicalcpu"), system_number(c"hw.perflevel0.logicalcpu"))
    else {
        return Vec::new();
    };
    let kinds = [(CoreKind::Efficiency, small), (CoreKind::Performance, large)];
    kinds.into_iter().flat_map(|(kind, count)| std::iter::repeat_n(kind, count)).collect()
}

#[cfg(target_vendor = "apple")]
fn system_number(name: &std::ffi::CStr) -> Option<usize> {
    let (mut value, mut size) = (0_i32, size_of::<i32>());
    // SAFETY: the name ends in a zero byte, and the value has the size that is given with it.
    let failed = unsafe {
        libc::sysctlbyname(name.as_ptr(), (&raw mut value).cast(), &raw mut size, std::ptr::null_mut(), 0)
    };
    (failed == 0 && value > 0).then_some(value as usize)
}

#[cfg(not(target_vendor = "apple"))]
fn system_number(_name: &std::ffi::CStr) -> Option<usize> {
    None
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
