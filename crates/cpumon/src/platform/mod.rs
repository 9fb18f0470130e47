//! What each operating system tells, behind one interface.
//!
//! Linux is read through `/proc` directly, which costs microseconds and tells waiting from stolen time; every
//! other system is read through `sysinfo`. A number that a system does not tell is `None`, never a guess.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;

use serde::{Deserialize, Serialize};
use sysinfo::System;

#[cfg(target_os = "linux")]
pub use linux::{
    LEAST_INTERVAL, MachineReader, Probe, adopt_orphans, core_kinds, effective_cores, look_into,
};
#[cfg(not(target_os = "linux"))]
pub use portable::{
    LEAST_INTERVAL, MachineReader, Probe, adopt_orphans, core_kinds, effective_cores, look_into,
};

/// Whose processes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// Nobody's: only the cores are looked at.
    Machine,
    /// Everything that descends from this process, without itself.
    Own,
    /// A process and everything that descends from it.
    Process(u32),
    /// The children of our parent in our process group, and what descends from them, without this process:
    /// the other stages of a pipeline.
    Siblings,
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
    /// Members of which some thread was waiting for a disk at this moment.
    pub in_disk_wait: Option<u32>,
    /// How many cores the threads that worked since the last look may use, all together.
    pub allowed_cores: Option<u32>,
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

impl RunQueue {
    /// Of the time that threads wanted a core, the share in which they had none; `None` if they wanted none.
    pub fn waited_share(self) -> Option<f64> {
        let wanted_s = self.ran_s + self.waited_s;
        (wanted_s > 0.0).then(|| self.waited_s / wanted_s)
    }
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

/// How many cores the machine has that work at present.
pub fn machine_cores() -> usize {
    // SAFETY: sysconf reads a number of the system.
    unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }.max(1) as usize
}

/// What the whole machine has left, and how many want it. Shares are of the time since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Machine {
    /// Average number of threads that ran or were ready over the last minute.
    pub load_1min: Option<f64>,
    /// Bytes of memory that are free or can be freed.
    pub available_bytes: Option<u64>,
    /// Share in which some thread was ready and had no core.
    pub cpu_pressure: Option<f64>,
    /// Share in which some thread waited for a disk.
    pub io_pressure: Option<f64>,
    /// Share in which some thread waited for memory.
    pub memory_pressure: Option<f64>,
    /// Of the periods of a quota on cores, the share in which it ran out; `None` without a quota.
    pub throttled: Option<f64>,
}

/// Which of a machine's kinds of core one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoreKind {
    /// Slower, and easy on the battery.
    Efficiency,
    /// Fast.
    Performance,
}

/// What can be seen of one process from outside that tells which thread pools it has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inside {
    /// Files mapped into its memory.
    pub mapped: Vec<String>,
    /// Names of its threads.
    pub threads: Vec<String>,
    /// Its environment when it was started, `NAME=value`; `None` if the system does not tell.
    pub environment: Option<Vec<String>>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_sleeps_is_not_waiting_for_a_core() {
        assert_eq!(RunQueue::default().waited_share(), None);
        assert_eq!(RunQueue { ran_s: 1.0, waited_s: 3.0 }.waited_share(), Some(0.75));
    }
}
