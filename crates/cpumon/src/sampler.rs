//! Takes samples of what is watched, and adds them up.

use std::time::Instant;

use crate::child::Shared;
use crate::figures::round;
use crate::losses::Losses;
use crate::platform::{MachineReader, Member, Probe, Root, RunQueue, Tree};
use crate::sample::{Hot, Sample};
use crate::totals::Totals;

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
            // A stage that went between two looks may be missed; time that was seen has passed all the same.
            self.cpu_s = (tree.cpu_s + ended_s - self.before_s).max(self.cpu_s);
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
        let machine = self.machine.read();
        // Where nobody waits for a disk, no thread has to be asked whether it does.
        self.probe.asks_every_thread = machine.io_pressure.is_none_or(|share| share >= LEAST_IO_PRESSURE);
        let (tree, ended_s) = {
            // Nothing may end between reading what runs and adding what ended.
            let ended = ended.lock();
            (self.probe.tree(), ended.user_s + ended.system_s)
        };
        let now = Instant::now();
        let interval_s = now.duration_since(self.last).as_secs_f64().max(1e-6);
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
        self.last = now;
        self.cpu_s += used_s.unwrap_or(0.0);
        let cores = cores.unwrap_or_default();
        let count = if cores.busy.is_empty() { f64::MAX } else { cores.busy.len() as f64 };
        let told = Sample {
            t_s: round(now.duration_since(self.started).as_secs_f64(), 3),
            interval_s: round(interval_s, 6),
            // A core's time comes in ticks, so a short interval can seem to hold more of it than there is.
            parallelism: used_s.map(|used_s| round((used_s / interval_s).min(count), 4)),
            cpu_s: used_s.map(|_| round(self.cpu_s, 4)),
            losses: Losses {
                iowait: cores.iowait,
                steal: cores.steal,
                throttled: machine.throttled,
                cpu_pressure: machine.cpu_pressure,
                io_pressure: machine.io_pressure,
                memory_pressure: machine.memory_pressure,
            }
            .rounded(),
            cores: (!cores.busy.is_empty()).then(|| cores.busy.iter().map(|busy| round(*busy, 4)).collect()),
            load_1min: machine.load_1min,
            available_bytes: machine.available_bytes,
            ..Sample::default()
        };
        let sample = match &tree {
            Some(tree) => with_tree(told, tree),
            None => told,
        };
        self.seen = tree.map(|tree| tree.members).unwrap_or_default();
        self.totals.add(&sample);
        Some(sample)
    }
}

/// Below this share of the time in which some thread of the machine waited for a disk, nobody did for long.
const LEAST_IO_PRESSURE: f64 = 0.02;

fn with_tree(sample: Sample, tree: &Tree) -> Sample {
    let interval_s = sample.interval_s.max(1e-6);
    let mut hottest = tree.hottest.iter().map(|thread| Hot {
        name: thread.name.clone(),
        cores: round((thread.ran_s / interval_s).min(1.0), 4),
    });
    Sample {
        processes: Some(tree.members.len() as u32),
        threads: tree.threads,
        running: tree.run_queue.map(|queue| round(queue.ran_s / interval_s, 4)),
        waiting: tree.run_queue.map(|queue| round(queue.waited_s / interval_s, 4)),
        run_wait: tree.run_queue.and_then(RunQueue::waited_share).map(|share| round(share, 4)),
        allowed_cores: tree.allowed_cores,
        in_disk_wait: tree.in_disk_wait,
        hottest: hottest.next(),
        next_hottest: hottest.next(),
        resident_bytes: Some(tree.resident_bytes),
        ..sample
    }
}
