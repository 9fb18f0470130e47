//! What each operating system tells, behind one interface.
//!
//! Linux is read through `/proc` directly, which costs microseconds and tells waiting from stolen time; every
//! other system is read through `sysinfo`. A number that a system does not tell is `None`, never a guess.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sysinfo::System;

#[cfg(target_os = "linux")]
pub use linux::{LEAST_INTERVAL, Probe, adopt_orphans, effective_cores};
#[cfg(not(target_os = "linux"))]
pub use portable::{LEAST_INTERVAL, Probe, adopt_orphans, effective_cores};

/// Whose processes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// Nobody's: only the cores are looked at.
    Machine,
    /// Everything that descends from this process, without itself.
    Own,
    /// A process and everything that descends from it.
    Process(u32),
}

/// What the cores did since the last look.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cores {
    /// For each core, the share of the time in which it worked: 0 to 1.
    pub busy: Vec<f64>,
    /// Share of all cores' time idle with a disk request under way.
    pub iowait: Option<f64>,
    /// Share of all cores' time that the hypervisor gave to somebody else.
    pub steal: Option<f64>,
}

/// What a tree of processes is, and did since the last look.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tree {
    /// CPU time so far of its members, and of everything that they waited for, in seconds.
    pub cpu_s: f64,
    /// Memory resident, in bytes; what members share counts for each.
    pub resident_bytes: u64,
    /// The processes in it.
    pub members: Vec<Member>,
    /// How many threads these have.
    pub threads: Option<u32>,
    /// Since the last look, the time that threads ran and the time that they waited for a core, in seconds.
    pub run_queue: Option<RunQueue>,
    /// The two threads that ran most since the last look.
    pub hottest: Vec<HotThread>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number.
    pub pid: u32,
    /// Its short name.
    pub name: String,
}

/// Seconds that threads ran, and seconds that they were ready to run and had no core.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RunQueue {
    /// On a core.
    pub ran_s: f64,
    /// Ready, and waiting for one.
    pub waited_s: f64,
}

/// A thread and how long it ran.
#[derive(Debug, Clone, PartialEq)]
pub struct HotThread {
    /// Its name.
    pub name: String,
    /// Seconds on a core since the last look.
    pub ran_s: f64,
}

/// The processor's name and the system's, as far as they are known.
pub fn describe() -> (Option<String>, Option<String>) {
    let brand = System::new().ok().and_then(|mut system| {
        system.refresh_cpu_all();
        system.cpus().first().map(|core| core.brand().trim().to_owned()).filter(|brand| !brand.is_empty())
    });
    (brand, System::long_os_version().ok())
}

/// What the whole machine has left, and how many want it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Machine {
    /// Average number of threads that ran or were ready over the last minute.
    pub load_1min: Option<f64>,
    /// Bytes of memory that are free or can be freed.
    pub available_bytes: Option<u64>,
}

/// Reads [`Machine`] through `sysinfo`.
pub struct MachineReader {
    system: Option<System>,
    last: Option<(Instant, Machine)>,
}

/// These numbers move slowly and cost more to read than all the others, so they are read once in this time.
const MACHINE_EVERY: Duration = Duration::from_secs(1);

impl MachineReader {
    /// A reader that has not read yet.
    pub fn new() -> Self {
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
        };
        self.last = Some((Instant::now(), machine));
        machine
    }
}

impl Default for MachineReader {
    fn default() -> Self {
        Self::new()
    }
}

/// CPU time of this process itself, in seconds, so that what watching costs can be said.
pub fn own_cpu_s() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills the structure it is given, which is plain numbers and valid when zeroed.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// The seconds in a C time.
pub fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + f64::from(time.tv_usec as i32) / 1e6
}
