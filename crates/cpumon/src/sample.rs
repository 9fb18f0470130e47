//! What the cores and the processes did in one interval.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::child::Shared;
use crate::platform::{MachineReader, Member, Probe, Root, RunQueue};
use crate::record::round;
use crate::totals::Totals;

/// One interval. What the system does not tell is null.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// The interval's end, in seconds since the start.
    pub t_s: f64,
    /// Its length in seconds.
    pub interval_s: f64,
    /// Share of it in which each core of the machine worked, for whomever: 0 to 1.
    pub cores: Option<Vec<f64>>,
    /// CPU time of the subject per second: how many cores it used.
    pub parallelism: Option<f64>,
    /// CPU time of the subject since the start, in seconds.
    pub cpu_s: Option<f64>,
    /// Processes of the subject.
    pub processes: Option<u32>,
    /// Threads of the subject.
    pub threads: Option<u32>,
    /// Its threads that were on a core, on average.
    pub running: Option<f64>,
    /// Its threads that were ready to run and had no core, on average.
    pub waiting: Option<f64>,
    /// Of the time that its threads wanted a core, the share in which they had none.
    pub run_wait: Option<f64>,
    /// Cores that the threads that worked may use, all together.
    pub allowed_cores: Option<u32>,
    /// Its processes that were waiting for a disk at the interval's end.
    pub in_disk_wait: Option<u32>,
    /// The thread that ran most.
    pub hottest: Option<Hot>,
    /// The one after it.
    pub next_hottest: Option<Hot>,
    /// Share of all cores' time idle with a disk request under way.
    pub iowait: Option<f64>,
    /// Share of all cores' time that the hypervisor gave to somebody else.
    pub steal: Option<f64>,
    /// Of the periods of a quota on cores, the share in which it ran out; null without a quota.
    pub throttled: Option<f64>,
    /// Share of the time in which some thread of the machine was ready and had no core.
    pub cpu_pressure: Option<f64>,
    /// The same for threads that waited for a disk.
    pub io_pressure: Option<f64>,
    /// The same for threads that waited for memory.
    pub memory_pressure: Option<f64>,
    /// The system's load average over one minute.
    pub load_1min: Option<f64>,
    /// Resident memory of the subject.
    pub resident_bytes: Option<u64>,
    /// Memory of the machine that can still be given to processes.
    pub available_bytes: Option<u64>,
}

/// A thread and the share of a core that it used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hot {
    /// Its name.
    pub name: String,
    /// 1 is a whole core.
    pub cores: f64,
}

/// Takes samples.
pub struct Sampler {
    root: Root,
    probe: Probe,
    machine: MachineReader,
    started: Instant,
    last: Instant,
    /// CPU time that the subject had used before we looked.
    before_s: f64,
    cpu_s: f64,
    /// What is left of the subject.
    pub members: Vec<Member>,
    /// Who was there at the last sample.
    pub seen: Vec<Member>,
    /// Everything so far.
    pub totals: Totals,
}

impl Sampler {
    /// Begins to watch; `None` if there is no such process.
    pub fn start(root: Root) -> Option<Self> {
        let mut probe = Probe::new(root);
        // The first look has nothing to compare with; it only marks where the first interval begins.
        let _ = probe.cores();
        let tree = probe.tree();
        if tree.is_none() && matches!(root, Root::Process(_)) {
            return None;
        }
        let now = Instant::now();
        Some(Self {
            root,
            probe,
            machine: MachineReader::new(root),
            started: now,
            last: now,
            before_s: tree.map_or(0.0, |tree| tree.cpu_s),
            cpu_s: 0.0,
            members: Vec::new(),
            seen: Vec::new(),
            totals: Totals::default(),
        })
    }

    /// Seconds since the start.
    pub fn wall_s(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Seconds since the last sample.
    pub fn since_last_s(&self) -> f64 {
        self.last.elapsed().as_secs_f64()
    }

    /// Looks at the subject alone, at the end: the CPU time since the start of what still runs and of what ended,
    /// and the seconds over which that was counted.
    pub fn final_cpu_s(&mut self, ended: &Shared) -> (Option<f64>, f64) {
        let ended = ended.lock();
        let ended_s = ended.user_s + ended.system_s;
        let tree = self.probe.tree();
        self.members.clear();
        if let Some(tree) = tree {
            self.members = tree.members;
            self.cpu_s = tree.cpu_s + ended_s - self.before_s;
        } else if self.root == Root::Own {
            self.cpu_s = ended_s;
        } else {
            // What came after the last sample is not known.
            return ((self.totals.samples > 0).then_some(self.cpu_s), self.totals.time_s);
        }
        (Some(self.cpu_s), self.wall_s())
    }

    /// What happened since the last sample; `None` once the process that is followed has ended.
    pub fn sample(&mut self, ended: &Shared) -> Option<Sample> {
        let cores = self.probe.cores();
        let (tree, ended_s) = {
            // Nothing may end between reading what runs and adding what ended.
            let ended = ended.lock();
            (self.probe.tree(), ended.user_s + ended.system_s)
        };
        let now = Instant::now();
        let interval_s = now.duration_since(self.last).as_secs_f64().max(1e-6);
        let count = cores.as_ref().map(|cores| cores.busy.len() as f64);
        let used_s = match (&tree, self.root) {
            (Some(tree), _) => {
                // A process can end between our looks at it and at its parent; its time is then there at the next look.
                let cpu_s = (tree.cpu_s + ended_s - self.before_s).max(self.cpu_s);
                Some(cpu_s - self.cpu_s)
            }
            (None, Root::Machine) => cores.as_ref().map(|cores| cores.busy.iter().sum::<f64>() * interval_s),
            (None, Root::Process(_)) => return None,
            (None, Root::Own | Root::Siblings) => None,
        };
        let machine = self.machine.read();
        self.last = now;
        self.cpu_s += used_s.unwrap_or(0.0);
        let run_queue = tree.as_ref().and_then(|tree| tree.run_queue);
        let mut hottest = tree.iter().flat_map(|tree| &tree.hottest).map(|thread| Hot {
            name: thread.name.clone(),
            cores: round((thread.ran_s / interval_s).min(1.0), 4),
        });
        let sample = Sample {
            t_s: round(now.duration_since(self.started).as_secs_f64(), 3),
            interval_s: round(interval_s, 6),
            // A core's time comes in ticks, so a short interval can seem to hold more of it than there is.
            parallelism: used_s.map(|used_s| round((used_s / interval_s).min(count.unwrap_or(f64::MAX)), 4)),
            cpu_s: used_s.map(|_| round(self.cpu_s, 4)),
            cores: cores.as_ref().map(|cores| cores.busy.iter().map(|busy| round(*busy, 4)).collect()),
            processes: tree.as_ref().map(|tree| tree.members.len() as u32),
            threads: tree.as_ref().and_then(|tree| tree.threads),
            running: run_queue.map(|queue| round(queue.ran_s / interval_s, 4)),
            waiting: run_queue.map(|queue| round(queue.waited_s / interval_s, 4)),
            run_wait: run_queue.and_then(waited_share).map(|share| round(share, 4)),
            allowed_cores: tree.as_ref().and_then(|tree| tree.allowed_cores),
            in_disk_wait: tree.as_ref().and_then(|tree| tree.in_disk_wait),
            hottest: hottest.next(),
            next_hottest: hottest.next(),
            iowait: cores.as_ref().and_then(|cores| cores.iowait).map(|share| round(share, 4)),
            steal: cores.as_ref().and_then(|cores| cores.steal).map(|share| round(share, 4)),
            throttled: machine.throttled.map(|share| round(share, 4)),
            cpu_pressure: machine.cpu_pressure.map(|share| round(share, 4)),
            io_pressure: machine.io_pressure.map(|share| round(share, 4)),
            memory_pressure: machine.memory_pressure.map(|share| round(share, 4)),
            load_1min: machine.load_1min,
            resident_bytes: tree.as_ref().map(|tree| tree.resident_bytes),
            available_bytes: machine.available_bytes,
        };
        drop(hottest);
        self.seen = tree.map(|tree| tree.members).unwrap_or_default();
        self.totals.add(&sample);
        Some(sample)
    }
}

/// Of the time that threads wanted a core, the share in which they had none; `None` if they wanted none.
pub fn waited_share(queue: RunQueue) -> Option<f64> {
    let wanted_s = queue.ran_s + queue.waited_s;
    (wanted_s > 0.0).then(|| queue.waited_s / wanted_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_sleeps_is_not_waiting_for_a_core() {
        assert_eq!(waited_share(RunQueue::default()), None);
    }
}
