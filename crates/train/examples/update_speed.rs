//! CPU time of an update and of an inference, a sample, if nothing but the learner's own forward, backward and
//! Adam took any: what bounds `train ppo`. Arguments: observation length, hidden widths, minibatch rows, replicas, and
//! `libtorch` if libtorch is to compute it even where something else would (128 64,64 8192 1). Prints one JSON object.

#![expect(clippy::print_stdout, reason = "its figures are its data")]

use anyhow::Result;
use train::networks::aligned::AlignedBuffer;
use train::networks::device::Placement;
use train::networks::learner::{Learner, LossSums, Policy};
use train::networks::network::{Activation, Distribution, NetworkShape};
use train::networks::torch::TorchLearner;

/// CPU seconds that are enough for a mean.
const ENOUGH_SECONDS: f64 = 1.5;

fn main() -> Result<()> {
    train::networks::device::keep_freed_memory();
    let given: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize, default: &str| given.get(i).cloned().unwrap_or_else(|| default.to_owned());
    let observation_len: usize = argument(0, "128").parse()?;
    let hidden = argument(1, "64,64").split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    let rows: usize = argument(2, "8192").parse()?;
    let replicas: usize = argument(3, "1").parse()?;
    let shape = NetworkShape {
        observation_len,
        hidden,
        activation: Activation::Tanh,
        distribution: Distribution::Categorical { n: 3 },
    };
    let placement = Placement { update_threads: replicas, ..Placement::one_thread() };
    let mut learner = TorchLearner::new(&shape, 1, placement)?;
    if argument(4, "") == "libtorch" {
        learner.leave_to_libtorch();
    }
    let mut observations = AlignedBuffer::zeros(4 * rows * observation_len);
    observations.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 97) as f32 / 97.0 - 0.5);
    let mut order: Vec<u32> = (0..4 * rows as u32).collect();
    random::Stream::new(1, random::Purpose::Test, 0, 0).shuffle(&mut order);

    let update = microseconds(4 * rows, || {
        for minibatch in order.chunks(rows) {
            learner.differentiate(&observations, minibatch, &|_, heads, gradients| {
                gradients.policy.copy_from_slice(heads.policy);
                gradients.values.copy_from_slice(heads.values);
                LossSums::default()
            })?;
            learner.step(1e-6, 0.5)?;
        }
        Ok(())
    })?;
    let batch = observations.len().min(256 * observation_len);
    let inference =
        microseconds(batch / observation_len, || learner.infer(&observations[..batch]).map(drop))?;
    println!("{{\"update_us\": {update:.4}, \"inference_us\": {inference:.4}}}");
    Ok(())
}

/// CPU time of `work` a sample.
fn microseconds(samples: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    // Tensors are made and threads are woken.
    work()?;
    let (begun, mut rounds) = (cpu_seconds(), 0.0);
    while cpu_seconds() - begun < ENOUGH_SECONDS {
        work()?;
        rounds += 1.0;
    }
    Ok((cpu_seconds() - begun) * 1e6 / (rounds * samples as f64))
}

/// User and system time of all threads so far.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock writes one `timespec`, which outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
