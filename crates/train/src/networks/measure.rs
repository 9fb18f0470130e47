//! Times acting and learning of the very network and batch with several numbers of threads, under `--device auto`
//! also on each device, and takes the fastest of each. Both together must win: what learns on another device
//! than it acts on is copied over after every update, which the measurement of learning includes.

use std::fmt::Write as _;
use std::thread::sleep;
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

/// How long all measurements together may take where devices are compared.
const BUDGET: Duration = Duration::from_secs(2);
/// The same where it is threads alone; whatever that is, each candidate is tried twice.
const THREADS_BUDGET: Duration = Duration::from_millis(250);
/// Samples that threads alone are measured on, for each of them, at most: with more, shares only grow.
const ROWS_PER_THREAD: usize = 1024;
/// Parameters beyond which threads are not measured: they pay for sure, and to try them would take memory and time.
const MOST_PARAMETERS: usize = 1 << 22;
/// How long nothing is asked for before acting is measured: in a training environments step then, and the threads
/// of the replicas have fallen asleep.
const PAUSE: Duration = Duration::from_micros(200);
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
    timings_within(BUDGET, shape, sizes, devices, limit)
}

fn timings_within(
    budget: Duration,
    shape: &NetworkShape,
    sizes: Sizes,
    devices: &[Device],
    limit: usize,
) -> Result<Vec<Timing>> {
    // How long something takes does not depend on what the weights are, and orthogonal ones take a while to make.
    let parameters: Vec<f32> = (0..shape.layout().len).map(|i| ((i % 89) as f32 - 44.0) / 1000.0).collect();
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
            learners.push((timing, TorchLearner::starting_at(shape, &parameters, placement)?));
        }
    }
    let mut observations = AlignedBuffer::zeros(sizes.envs.max(sizes.minibatch) * shape.observation_len);
    observations.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 97) as f32 / 97.0 - 0.5);
    let rows: Vec<u32> = (0..sizes.minibatch as u32).collect();
    let deadline = Instant::now() + budget;
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
    sleep(PAUSE);
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

/// What `config` leaves open of the placement: measured on all devices where it says `auto`, in threads where it
/// names a device alone; by rule of thumb where it says how many threads there may be at most. Gives what was measured,
/// in words.
///
/// # Errors
/// If a device is named that is not there, or fails.
pub fn resolve(config: &mut Config, shape: &NetworkShape, sizes: Sizes) -> Result<Option<String>> {
    resolve_on(device::cores(), config, shape, sizes)
}

fn resolve_on(
    cores: usize,
    config: &mut Config,
    shape: &NetworkShape,
    sizes: Sizes,
) -> Result<Option<String>> {
    let limit = if config.threads == 0 { cores } else { config.threads };
    let is_measured = |placement: Placement| (placement, Some(format!("measured: {}", in_words(&placement))));
    let (placement, said) = if config.device == "auto" {
        is_measured(fastest(&timings(shape, sizes, &device::available(), limit)?))
    } else {
        let devices = devices(config)?;
        let is_open = config.inference_threads == 0 || config.update_threads == 0;
        if config.threads == 0 && is_open && limit > 1 && devices.contains(&Device::Cpu) {
            match fastest_threads(devices, shape, sizes, limit)? {
                Some(placement) => is_measured(placement),
                None => (device::rule_of_thumb(devices, shape, sizes, limit), None),
            }
        } else {
            (device::rule_of_thumb(devices, shape, sizes, limit), None)
        }
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

/// The fastest numbers of threads, up to `limit`, for acting and for learning on `devices`; none for networks so
/// large that they pay for sure.
fn fastest_threads(
    [inference, update]: [Device; 2],
    shape: &NetworkShape,
    sizes: Sizes,
    limit: usize,
) -> Result<Option<Placement>> {
    if shape.layout().len > MOST_PARAMETERS {
        return Ok(None);
    }
    let sizes = Sizes { minibatch: sizes.minibatch.min(ROWS_PER_THREAD * limit), ..sizes };
    let placement = fastest(&timings_within(THREADS_BUDGET, shape, sizes, &[Device::Cpu], limit)?);
    // A graphics card gets one: it is parallel itself.
    let on = |device: Device, threads: usize| if device == Device::Cpu { threads } else { 1 };
    Ok(Some(Placement {
        inference,
        update,
        inference_threads: on(inference, placement.inference_threads),
        update_threads: on(update, placement.update_threads),
    }))
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
    use crate::networks::network::{Activation, Distribution};

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
    fn threads_on_a_named_device_are_measured_once() {
        let shape = NetworkShape {
            observation_len: 4,
            hidden: vec![8],
            activation: Activation::Tanh,
            distribution: Distribution::Categorical { n: 2 },
        };
        let sizes = Sizes { envs: 16, minibatch: 64 };
        let resolve = |config: &mut Config| resolve_on(2, config, &shape, sizes).unwrap();
        let mut config = Config { device: "cpu".into(), ..Config::default() };
        let said = resolve(&mut config).expect("what was measured");
        assert!(said.starts_with("measured: acting on cpu with "), "{said}");
        let threads = [config.inference_threads, config.update_threads];
        assert!(threads.iter().all(|threads| (1..=2).contains(threads)), "{threads:?}");
        // What was measured is part of the configuration from then on.
        let before = config.clone();
        assert_eq!((resolve(&mut config), config), (None, before));
        let mut told = Config { device: "cpu".into(), threads: 2, ..Config::default() };
        assert_eq!(resolve(&mut told), None, "who says how many threads is not measured");
        assert_eq!((told.inference_threads, told.update_threads), (1, 1), "so few samples pay for one");
        let wide = NetworkShape { hidden: vec![2048, 2048], ..shape.clone() };
        let mut config = Config { device: "cpu".into(), ..Config::default() };
        assert_eq!(resolve_on(2, &mut config, &wide, sizes).unwrap(), None);
    }

    #[test]
    fn candidates_double_up_to_the_limit() {
        assert_eq!((candidates(1), candidates(2), candidates(6)), (vec![1], vec![1, 2], vec![1, 2, 4, 6]));
    }
}
