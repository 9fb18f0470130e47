//! Where the networks live and with how many threads.

use std::thread::available_parallelism;

use anyhow::{Result, bail};
use tch::Device;

use crate::network::NetworkShape;
use crate::torch::Replicas;

/// Rows that a replica must have for another one to pay while learning: half a millisecond's work, against
/// some ten microseconds to wake a thread.
const UPDATE_ROWS_PER_THREAD: usize = 512;
/// Multiplications that a replica must have for another one to pay while acting: waking a thread costs what
/// some millions of them do.
const INFERENCE_WORK_PER_THREAD: usize = 16_000_000;

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

/// The device of that name; `auto` is the processor, which small networks run fastest on.
///
/// # Errors
/// If this machine or this libtorch has none.
pub fn find(name: &str) -> Result<(&'static str, Device)> {
    match name {
        "auto" | "cpu" => Ok(("cpu", Device::Cpu)),
        "cuda" if tch::Cuda::is_available() => Ok(("cuda", Device::Cuda(0))),
        "cuda" => bail!(
            "no CUDA device is usable (fetch the CUDA build with `make setup DEVICE=cuda`, or use --device cpu)"
        ),
        "mps" if tch::utils::has_mps() => Ok(("mps", Device::Mps)),
        "mps" => bail!("this machine has no Metal device (use --device cpu)"),
        other => bail!("device {other:?} is none of auto, cpu, cuda, mps"),
    }
}

/// The devices there are, for people.
pub fn list() -> Vec<String> {
    let cores = available_parallelism().map_or(1, usize::from);
    let mut lines = vec![format!("cpu   {cores} threads")];
    if tch::Cuda::is_available() {
        lines.push(format!("cuda  {} of them", tch::Cuda::device_count()));
    }
    if tch::utils::has_mps() {
        lines.push("mps   Metal".into());
    }
    lines
}

/// How many replicas pay for minibatches of `minibatch_rows` and `n_envs` observations at once; what is
/// `wanted` is taken unless it is 0. A graphics card gets one: it is parallel itself.
pub fn replicas(
    wanted: Replicas,
    shape: &NetworkShape,
    device: Device,
    minibatch_rows: usize,
    n_envs: usize,
) -> Replicas {
    if device != Device::Cpu {
        return Replicas { inference: 1, update: 1 };
    }
    let cores = available_parallelism().map_or(1, usize::from);
    let work = shape.layout().len * n_envs;
    // --threads is a bound; more threads than pay are not used, and more than rows make no sense.
    let bounded = |wanted: usize, pays: usize| pays.clamp(1, if wanted == 0 { cores } else { wanted });
    Replicas {
        inference: bounded(wanted.inference, work / INFERENCE_WORK_PER_THREAD),
        update: bounded(wanted.update, minibatch_rows / UPDATE_ROWS_PER_THREAD),
    }
}
