//! Linux, read through `/proc`.

mod cores;
mod files;
mod inside;
mod limits;
mod machine;
mod stages;
mod stat;
mod threads;
mod tree;

use std::time::Duration;

use super::{Cores, Root, Tree};

pub use inside::{core_kinds, look_into};
pub use limits::effective_cores;
pub use machine::MachineReader;

/// The kernel counts a core's time in ticks of 10 ms; below five of them a share means nothing.
pub const LEAST_INTERVAL: Duration = Duration::from_millis(50);

/// Reads cores and processes, and remembers what it saw last.
pub struct Probe {
    /// Whether every thread is asked if it waits for a disk, rather than each process's first.
    pub asks_every_thread: bool,
    cores: cores::CoreReader,
    tree: tree::TreeReader,
}

impl Probe {
    /// A probe for the cores and for the processes under `root`.
    pub fn new(root: Root) -> Self {
        Self { asks_every_thread: false, cores: cores::CoreReader::new(), tree: tree::TreeReader::new(root) }
    }

    /// What the cores did since the last call; `None` at the first call.
    pub fn cores(&mut self) -> Option<Cores> {
        self.cores.read()
    }

    /// What the processes did since the last call; `None` if there are none to look at, or not any more.
    pub fn tree(&mut self) -> Option<Tree> {
        self.tree.read(self.asks_every_thread)
    }
}

/// Makes processes that lose their parent children of this one, so that daemons of the command are counted.
pub fn adopt_orphans() {
    // SAFETY: this prctl takes one flag and changes nothing but this process's own attribute.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1_u64, 0_u64, 0_u64, 0_u64) };
}
