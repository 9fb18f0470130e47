//! The learner that stands on libtorch: replicas of the networks that share one flat vector of parameters,
//! each on a thread of its own with one libtorch thread inside. On small networks two such replicas scale
//! by 1.8 to 2.0, where two threads inside one matrix product lose.
//!
//! # Layout
//! - [`part`]: one replica: forward, and backward by hand.
//! - [`adam`]: the optimiser.
mod adam;
mod part;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::learner::{HeadLoss, Heads, Learner, LossSums, OptimiserState};
use crate::network::{Layout, NetworkShape};
use adam::Adam;
use part::Part;

/// How many replicas work at once. Rows are dealt to them in order and their sums are added in order, so
/// the same numbers give the same bits; other numbers round differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    /// While acting.
    pub inference: usize,
    /// While learning.
    pub update: usize,
}

/// Policy and value networks in libtorch.
pub struct TorchLearner {
    layout: Layout,
    flat: Tensor,
    adam: Adam,
    parts: Vec<Part>,
    replicas: Replicas,
    pool: Option<rayon::ThreadPool>,
    log_deviation: Vec<f32>,
    policy: Vec<f32>,
    values: Vec<f32>,
}

impl TorchLearner {
    /// Networks of `shape` with their first values from `seed`.
    pub fn new(shape: &NetworkShape, seed: u64, device: Device, replicas: Replicas) -> Result<Self> {
        let layout = shape.layout();
        let flat = Tensor::f_from_slice(&shape.initial_parameters(seed))?.f_to_device(device)?;
        let count = replicas.inference.max(replicas.update).max(1);
        let parts =
            (0..count).map(|_| Part::new(&flat, &layout, shape.activation)).collect::<Result<Vec<_>>>()?;
        let pool = (count > 1).then(|| pool_of(count)).transpose()?;
        // Whatever runs on this thread gets one libtorch thread too: more of them spin beside the replicas.
        tch::set_num_threads(1);
        let adam = Adam::new(&flat)?;
        let mut learner = Self {
            layout,
            flat,
            adam,
            parts,
            replicas,
            pool,
            log_deviation: Vec::new(),
            policy: Vec::new(),
            values: Vec::new(),
        };
        learner.read_log_deviation()?;
        Ok(learner)
    }

    /// The host's copy of the log deviations, which losses and sampling read.
    fn read_log_deviation(&mut self) -> Result<()> {
        let range = self.layout.log_deviation.clone();
        if !range.is_empty() {
            self.log_deviation =
                adam::to_vec(&self.flat.f_narrow(0, range.start as i64, range.len() as i64)?)?;
        }
        Ok(())
    }
}

/// The outcome of an operation that wrote into a tensor of ours; libtorch also returns a second handle of it.
fn written(outcome: Result<Tensor, tch::TchError>) -> Result<()> {
    outcome.map(drop).map_err(Into::into)
}

fn pool_of(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("learner-{i}"))
        .start_handler(|_| tch::set_num_threads(1))
        .build()
        .context("cannot start the learner's threads (try --threads 1)")
}

/// Runs `work` on every item, on the pool's threads if there are several.
fn on_each<T: Send, R: Send>(
    pool: Option<&rayon::ThreadPool>,
    items: Vec<T>,
    work: impl Fn(T) -> Result<R> + Sync + Send,
) -> Result<Vec<R>> {
    match pool {
        Some(pool) if items.len() > 1 => pool.install(|| items.into_par_iter().map(work).collect()),
        _ => items.into_iter().map(work).collect(),
    }
}

impl Learner for TorchLearner {
    fn infer(&mut self, observations: &[f32]) -> Result<Heads<'_>> {
        let (width, outputs) = (self.layout.observation_len(), self.layout.heads[0].outputs);
        let rows = observations.len() / width;
        self.policy.resize(rows * outputs, 0.0);
        self.values.resize(rows, 0.0);
        if rows > 0 {
            let share = rows.div_ceil(self.replicas.inference);
            let shares = self
                .parts
                .iter_mut()
                .zip(observations.chunks(share * width))
                .zip(self.policy.chunks_mut(share * outputs).zip(self.values.chunks_mut(share)))
                .collect();
            on_each(self.pool.as_ref(), shares, |((part, observations), (policy, values))| {
                part.infer(observations, policy, values)
            })?;
        }
        Ok(Heads { policy: &self.policy, values: &self.values, log_deviation: &self.log_deviation })
    }

    fn differentiate(&mut self, observations: &[f32], rows: &[u32], loss: &HeadLoss<'_>) -> Result<LossSums> {
        ensure!(!rows.is_empty(), "a minibatch without samples");
        let share = rows.len().div_ceil(self.replicas.update);
        let log_deviation = self.log_deviation.as_slice();
        let shares: Vec<_> = self.parts.iter_mut().zip(rows.chunks(share)).collect();
        let used = shares.len();
        let sums = on_each(self.pool.as_ref(), shares, |(part, rows)| {
            part.differentiate(observations, rows, log_deviation, loss)
        })?;
        let (first, others) = self.parts.split_at_mut(1);
        for other in &others[..used - 1] {
            written(first[0].gradient.f_add_(&other.gradient))?;
        }
        let mut total = LossSums::default();
        sums.into_iter().for_each(|part| total += part);
        Ok(total)
    }

    fn step(&mut self, learning_rate: f64, max_norm: f64) -> Result<f64> {
        let gradient = &mut self.parts[0].gradient;
        let norm = gradient.f_norm()?.f_double_value(&[])?;
        ensure!(norm.is_finite(), "the gradient is not finite (try a lower --learning-rate)");
        if norm > max_norm {
            written(gradient.f_mul_scalar_(max_norm / norm))?;
        }
        self.adam.step(&mut self.flat, gradient, learning_rate)?;
        self.read_log_deviation()?;
        Ok(norm)
    }

    fn parameters(&self) -> Result<Vec<f32>> {
        adam::to_vec(&self.flat)
    }

    fn set_parameters(&mut self, parameters: &[f32]) -> Result<()> {
        debug_assert_eq!(self.flat.kind(), Kind::Float);
        adam::from_slice(&mut self.flat, parameters)?;
        self.read_log_deviation()
    }

    fn optimiser(&self) -> Result<OptimiserState> {
        self.adam.state()
    }

    fn set_optimiser(&mut self, state: &OptimiserState) -> Result<()> {
        self.adam.set_state(state)
    }
}
