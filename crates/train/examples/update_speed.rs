//! How long an update and an inference take, a sample: `cargo run --release -p train --example update_speed`.
//! Arguments: observation length, hidden widths, minibatch rows, replicas (50 64,64 8192 1).

use std::time::Instant;

use train::networks::aligned::AlignedBuffer;
use train::networks::device::Placement;
use train::networks::learner::{Learner, LossSums, Policy};
use train::networks::network::{Activation, Distribution, NetworkShape};
use train::networks::torch::TorchLearner;

fn main() -> anyhow::Result<()> {
    train::networks::device::keep_freed_memory();
    let given: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize, default: &str| given.get(i).cloned().unwrap_or_else(|| default.to_owned());
    let observation_len: usize = argument(0, "50").parse()?;
    let hidden = argument(1, "64,64").split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    let rows: usize = argument(2, "8192").parse()?;
    let update: usize = argument(3, "1").parse()?;
    let shape = NetworkShape {
        observation_len,
        hidden,
        activation: Activation::Tanh,
        distribution: Distribution::Categorical { n: 3 },
    };
    let mut learner =
        TorchLearner::new(&shape, 1, Placement { update_threads: update, ..Placement::one_thread() })?;
    let mut observations = AlignedBuffer::zeros(4 * rows * observation_len);
    observations.iter_mut().enumerate().for_each(|(i, x)| *x = (i % 97) as f32 / 97.0 - 0.5);
    let mut order: Vec<u32> = (0..4 * rows as u32).collect();
    random::Stream::new(1, random::Purpose::Test, 0, 0).shuffle(&mut order);

    let best =
        |what: &str, samples: usize, work: &mut dyn FnMut() -> anyhow::Result<()>| -> anyhow::Result<()> {
            let mut best = f64::INFINITY;
            for _ in 0..20 {
                let begun = Instant::now();
                work()?;
                best = best.min(begun.elapsed().as_secs_f64());
            }
            eprintln!("{what:<24} {:.3} us a sample", best * 1e6 / samples as f64);
            Ok(())
        };
    best("update", 4 * rows, &mut || {
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
    best("inference of 256", 256, &mut || learner.infer(&observations[..256 * observation_len]).map(drop))
}
