//! `--device auto`: times acting and learning of the very network and batch on each device and with several
//! numbers of threads, and takes the fastest of each. Both together must win: what learns on another device
//! than it acts on is copied over after every update, which the measurement of learning includes.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use cli::UsageError;
use tch::Device;

use crate::config::Config;
use crate::networks::aligned::AlignedBuffer;
use crate::networks::device::{self, Placement, Sizes, name_of};
use crate::networks::learner::{Learner, LossSums, Policy};
use crate::networks::network::NetworkShape;
use crate::networks::torch::TorchLearner;
use crate::report::words::plural;

/// How long all measurements together may take.
const BUDGET: Duration = Duration::from_secs(2);
/// Rounds at most; each tries all candidates once, so that a moment's load hits them alike.
const MOST_ROUNDS: usize = 15;
/// A thread more must win at least this: less is noise, and it takes a core from the environments.
const WORTHWHILE: f64 = 0.9;

/// One way to act or to learn, and how long it took at its best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Where.
    pub device: Device,
    /// Replicas.
    pub threads: usize,
    /// Seconds for one batch of observations.
    pub inference: f64,
    /// Seconds for one minibatch, Adam included.
    pub update: f64,
}

/// Times all candidates for networks of `shape` on `devices` with up to `limit` threads.
///
/// # Errors
/// If a device fails.
pub fn timings(shape: &NetworkShape, sizes: Sizes, devices: &[Device], limit: usize) -> Result<Vec<Timing>> {
    let mut learners = Vec::new();
    for &device in devices {
        for threads in candidates(if device == Device::Cpu { limit } else { 1 }) {
            let placement = Placement {
                inference: device,
                update: device,
                inference_threads: threads,
                update_threads: threads,
            };
            let timing = Timing { device, threads, inference: f64::INFINITY, update: f64::INFINITY };
            learners.push((timing, TorchLearner::new(shape, 1, placement)?));
        }
    }
    let mut observations = AlignedBuffer::zeros(sizes.envs.max(sizes.minibatch) * shape.observation_len);
    observations.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 97) as f32 / 97.0 - 0.5);
    let rows: Vec<u32> = (0..sizes.minibatch as u32).collect();
    let deadline = Instant::now() + BUDGET;
    for round in 0..MOST_ROUNDS {
        for (timing, learner) in &mut learners {
            let (inference, update) = once(learner, &observations, shape.observation_len, sizes.envs, &rows)?;
            // The first round makes tensors and wakes threads.
            if round > 0 {
                timing.inference = timing.inference.min(inference);
                timing.update = timing.update.min(update);
            }
        }
        if round > 0 && Instant::now() > deadline {
            break;
        }
    }
    Ok(learners.into_iter().map(|(timing, _)| timing).collect())
}

fn once(
    learner: &mut TorchLearner,
    observations: &[f32],
    width: usize,
    envs: usize,
    rows: &[u32],
) -> Result<(f64, f64)> {
    let begun = Instant::now();
    learner.infer(&observations[..envs * width])?;
    let inferred = begun.elapsed();
    learner.differentiate(observations, rows, &|_, heads, gradients| {
        gradients.policy.copy_from_slice(heads.policy);
        gradients.values.copy_from_slice(heads.values);
        LossSums::default()
    })?;
    // The norm is read back, so that a graphics card has done its work when the clock is read.
    learner.step(1e-6, 0.5)?;
    learner.parameters()?;
    Ok((inferred.as_secs_f64(), begun.elapsed().saturating_sub(inferred).as_secs_f64()))
}

/// One, two, four … and all threads.
fn candidates(limit: usize) -> Vec<usize> {
    let below = std::iter::successors(Some(1_usize), |count| count.checked_mul(2));
    below.take_while(|&count| count < limit).chain([limit.max(1)]).collect()
}

/// The fastest pair.
pub fn fastest(timings: &[Timing]) -> Placement {
    let best = |seconds: &dyn Fn(&Timing) -> f64| {
        timings
            .iter()
            .copied()
            .reduce(|best, timing| if seconds(&timing) < WORTHWHILE * seconds(&best) { timing } else { best })
    };
    match (best(&|timing| timing.inference), best(&|timing| timing.update)) {
        (Some(inference), Some(update)) => Placement {
            inference: inference.device,
            update: update.device,
            inference_threads: inference.threads,
            update_threads: update.threads,
        },
        _ => Placement::one_thread(),
    }
}

/// The table of `train devices`.
pub fn table(timings: &[Timing], sizes: Sizes) -> String {
    let mut text = format!(
        "{:<8} {:>7}  {:>22}  {:>22}\n",
        "device",
        "threads",
        format!("inference of {}", sizes.envs),
        format!("update of {}", sizes.minibatch)
    );
    for timing in timings {
        let a_sample = |seconds: f64, samples: usize| {
            format!("{:.2} ms, {:.2} us each", 1e3 * seconds, 1e6 * seconds / samples as f64)
        };
        let _ = writeln!(
            text,
            "{:<8} {:>7}  {:>22}  {:>22}",
            name_of(timing.device),
            timing.threads,
            a_sample(timing.inference, sizes.envs),
            a_sample(timing.update, sizes.minibatch)
        );
    }
    text + &format!("fastest: {}\n", in_words(&fastest(timings)))
}

/// A placement in words.
pub fn in_words(placement: &Placement) -> String {
    let [inference, update] = placement.names();
    let threads = |count: usize| plural(count as u64, "thread");
    format!(
        "acting on {inference} with {}, learning on {update} with {}",
        threads(placement.inference_threads),
        threads(placement.update_threads)
    )
}

/// What `config` leaves open of the placement, measured where it says `auto`, by rule of thumb where it names a
/// device without saying how many threads.
///
/// # Errors
/// If a device is named that is not there, or fails.
pub fn resolve(config: &mut Config, shape: &NetworkShape, sizes: Sizes) -> Result<Option<String>> {
    let limit = if config.threads == 0 { device::cores() } else { config.threads };
    let (placement, said) = if config.device == "auto" {
        let timings = timings(shape, sizes, &device::available(), limit)?;
        let placement = fastest(&timings);
        (placement, Some(format!("measured: {}", in_words(&placement))))
    } else {
        (device::rule_of_thumb(devices(config)?, shape, sizes, limit), None)
    };
    let [inference, update] = placement.names();
    (config.device, config.inference_device) = (update.into(), inference.into());
    if config.inference_threads == 0 {
        config.inference_threads = placement.inference_threads;
    }
    if config.update_threads == 0 {
        config.update_threads = placement.update_threads;
    }
    Ok(said)
}

/// Puts the processor and its threads in place of what `config` leaves open, for what runs nowhere else.
///
/// # Errors
/// If another device is named.
pub fn on_the_processor(config: &mut Config) -> Result<()> {
    let is_there = |device: &str| matches!(device, "" | "auto" | "cpu");
    if !(is_there(&config.device) && is_there(&config.inference_device)) {
        let text =
            format!("train {} runs on the processor alone (leave out --device)", config.algorithm.name());
        return Err(UsageError(text).into());
    }
    (config.device, config.inference_device) = ("cpu".into(), "cpu".into());
    let threads = if config.threads == 0 { device::cores() } else { config.threads };
    for open in [&mut config.inference_threads, &mut config.update_threads] {
        if *open == 0 {
            *open = threads;
        }
    }
    Ok(())
}

/// The placement that a resolved `config` says.
///
/// # Errors
/// If a device is not there.
pub fn placement(config: &Config) -> Result<Placement> {
    let [inference, update] = devices(config)?;
    Ok(Placement {
        inference,
        update,
        inference_threads: config.inference_threads.max(1),
        update_threads: config.update_threads.max(1),
    })
}

fn devices(config: &Config) -> Result<[Device; 2]> {
    let update = device::find(&config.device)?;
    let same = config.inference_device.is_empty();
    Ok([if same { update } else { device::find(&config.inference_device)? }, update])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(device: Device, threads: usize, inference: f64, update: f64) -> Timing {
        Timing { device, threads, inference, update }
    }

    #[test]
    fn the_fastest_of_each_is_taken_and_a_thread_must_earn_its_core() {
        let cpu = |threads, inference, update| timing(Device::Cpu, threads, inference, update);
        let found = fastest(&[cpu(1, 1.0, 8.0), cpu(2, 0.95, 4.5), cpu(4, 1.4, 4.4)]);
        assert_eq!((found.inference_threads, found.update_threads), (1, 2));
        let found = fastest(&[cpu(1, 1.0, 8.0), timing(Device::Cuda(0), 1, 3.0, 2.0)]);
        assert_eq!(found.names(), ["cpu", "cuda"]);
    }

    #[test]
    fn candidates_double_up_to_the_limit() {
        assert_eq!((candidates(1), candidates(2), candidates(6)), (vec![1], vec![1, 2], vec![1, 2, 4, 6]));
    }
}
