//! Where the networks live and with how many threads: what there is, and what pays.

use std::thread::available_parallelism;

use anyhow::{Result, bail};
use tch::Device;

use crate::networks::network::NetworkShape;

/// Rows that a replica must have for another one to pay while learning: half a millisecond's work, against
/// some ten microseconds to wake a thread.
const UPDATE_ROWS_PER_THREAD: usize = 512;
/// Multiplications that a replica must have for another one to pay while acting: waking a thread costs what
/// some millions of them do.
const INFERENCE_WORK_PER_THREAD: usize = 16_000_000;

/// Where networks act and learn, and in how many replicas on the processor. Rows are dealt to replicas in
/// order and their sums are added in order, so the same numbers give the same bits; other numbers round
/// differently.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// Where they act.
    pub inference: Device,
    /// Where they learn.
    pub update: Device,
    /// Replicas while acting.
    pub inference_threads: usize,
    /// Replicas while learning.
    pub update_threads: usize,
}

/// How much is done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Observations while acting.
    pub envs: usize,
    /// Samples while learning.
    pub minibatch: usize,
}

impl Placement {
    /// On the processor, in one replica.
    pub fn one_thread() -> Self {
        Self { inference: Device::Cpu, update: Device::Cpu, inference_threads: 1, update_threads: 1 }
    }

    /// Threads that make the first weights: those of the processor's that learn, or all where a graphics card does.
    pub fn threads_to_start(&self) -> usize {
        match self.update {
            Device::Cpu => self.inference_threads.max(self.update_threads),
            _ => cores(),
        }
    }

    /// The names of both devices: where networks act, and where they learn.
    pub fn names(&self) -> [&'static str; 2] {
        [self.inference, self.update].map(name_of)
    }
}

/// Keeps freed memory for the next tensor. By default glibc gives megabytes back to the system at each free,
/// and has them zeroed page by page at the next allocation.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: two integers set before any other thread exists; the C library checks them.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

/// The device of that name.
///
/// # Errors
/// If this machine or this libtorch has none.
pub fn find(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "cuda" if tch::Cuda::is_available() => Ok(Device::Cuda(0)),
        "cuda" => bail!(
            "no CUDA device is usable (fetch the CUDA build with `make setup DEVICE=cuda`, or use --device cpu)"
        ),
        "mps" if tch::utils::has_mps() => Ok(Device::Mps),
        "mps" => bail!("this machine has no Metal device (use --device cpu)"),
        other => bail!("device {other:?} is none of auto, cpu, cuda, mps"),
    }
}

/// The devices that there are, the processor first.
pub fn available() -> Vec<Device> {
    ["cpu", "cuda", "mps"].iter().filter_map(|name| find(name).ok()).collect()
}

/// A device's name in a configuration.
pub fn name_of(device: Device) -> &'static str {
    match device {
        Device::Cuda(_) => "cuda",
        Device::Mps => "mps",
        _ => "cpu",
    }
}

/// The cores of this machine.
pub fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Acting at `inference` and learning at `update` with as many replicas, up to `limit`, as pay by rule of thumb.
/// A graphics card gets one: it is parallel itself.
pub fn rule_of_thumb(
    [inference, update]: [Device; 2],
    shape: &NetworkShape,
    sizes: Sizes,
    limit: usize,
) -> Placement {
    let on = |device: Device, pays: usize| if device == Device::Cpu { pays.clamp(1, limit) } else { 1 };
    Placement {
        inference,
        update,
        inference_threads: on(inference, shape.layout().len * sizes.envs / INFERENCE_WORK_PER_THREAD),
        update_threads: on(update, sizes.minibatch / UPDATE_ROWS_PER_THREAD),
    }
}
