//! The learner that stands on libtorch: replicas of the networks that share one flat vector of parameters,
//! each on a thread of its own with one libtorch thread inside. On small networks two such replicas scale
//! by 1.8 to 2.0, where two threads inside one matrix product lose.
//!
//! # Layout
//! - [`part`]: one replica, through which a minibatch goes piece by piece: forward, and backward by hand;
//!   [`layers`]: its tensors. Small networks on the processor leave it to [`small`](crate::networks::small).
//! - [`adam`]: the optimiser.
//! - [`place`]: the one door through which tensors reach a device; only 32-bit floats pass.
mod adam;
mod layers;
mod part;
mod place;

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use tch::Tensor;

use crate::networks::device::Placement;
use crate::networks::learner::{HeadLoss, Heads, Learner, LossSums, OptimiserState, Policy};
use crate::networks::lent::{Lent, Loans};
use crate::networks::network::{Layout, NetworkShape};
use crate::training::stop::Stop;
use adam::Adam;
use part::Part;

/// Policy and value networks in libtorch.
pub struct TorchLearner {
    layout: Layout,
    flat: Tensor,
    adam: Adam,
    /// Of parameters and moments.
    loans: Loans,
    parts: Vec<Part>,
    /// Replicas that act elsewhere than where the networks learn.
    away: Option<Away>,
    placement: Placement,
    pool: Option<rayon::ThreadPool>,
    log_deviation: Vec<f32>,
    policy: Vec<f32>,
    values: Vec<f32>,
}

/// Replicas on another device, with their copy of the parameters.
struct Away {
    flat: Tensor,
    parts: Vec<Part>,
    /// Whether the copy is older than what was learnt.
    is_stale: bool,
}

impl TorchLearner {
    /// Networks of `shape` at `placement` with their first values from `seed`.
    pub fn new(shape: &NetworkShape, seed: u64, placement: Placement) -> Result<Self> {
        let initial = shape.initial_parameters(seed, placement.threads_to_start(), &Stop::never())?;
        Self::starting_at(shape, &initial, placement)
    }

    /// Networks of `shape` at `placement` with the parameters `initial`.
    pub fn starting_at(shape: &NetworkShape, initial: &[f32], placement: Placement) -> Result<Self> {
        Self::with(shape, initial, placement, placement.inference != placement.update)
    }

    /// The same; `is_away` says whether what acts has a copy of the parameters.
    fn with(shape: &NetworkShape, initial: &[f32], placement: Placement, is_away: bool) -> Result<Self> {
        let layout = shape.layout();
        ensure!(initial.len() == layout.len, "{} parameters for a network of {}", initial.len(), layout.len);
        let flat = place::upload(initial, placement.update)?;
        let replicas = |flat: &Tensor, count: usize| -> Result<Vec<Part>> {
            (0..count.max(1)).map(|_| Part::new(flat, &layout, shape.activation)).collect()
        };
        let (acting, learning) = (placement.inference_threads.max(1), placement.update_threads.max(1));
        let away = if is_away {
            let flat = place::upload(initial, placement.inference)?;
            Some(Away { parts: replicas(&flat, acting)?, flat, is_stale: false })
        } else {
            None
        };
        let count = acting.max(learning);
        let parts = replicas(&flat, if is_away { learning } else { count })?;
        let pool = (count > 1).then(|| pool_of(count)).transpose()?;
        // Whatever runs on this thread gets one libtorch thread too: more of them spin beside the replicas.
        tch::set_num_threads(1);
        let adam = Adam::new(&flat)?;
        let mut learner = Self {
            layout,
            flat,
            adam,
            loans: Loans::default(),
            parts,
            away,
            placement,
            pool,
            log_deviation: Vec::new(),
            policy: Vec::new(),
            values: Vec::new(),
        };
        learner.read_log_deviation()?;
        Ok(learner)
    }

    /// The numbers of `tensor`, one of those that [`TorchLearner::loans`] are of.
    fn lend(&self, tensor: &Tensor) -> Lent {
        let (tensor, loan) = (tensor.shallow_clone(), self.loans.begin());
        Lent::new(tensor.numel(), move |values| {
            let copied = place::read(&tensor, values);
            drop((tensor, loan));
            copied
        })
    }

    /// Has libtorch compute everything, small networks as well: what they are measured against.
    pub fn leave_to_libtorch(&mut self) {
        let away = self.away.iter_mut().flat_map(|away| &mut away.parts);
        self.parts.iter_mut().chain(away).for_each(Part::leave_to_libtorch);
    }

    /// The parameters have changed.
    fn changed(&mut self) -> Result<()> {
        self.parts.iter_mut().for_each(Part::changed);
        if let Some(away) = &mut self.away {
            away.is_stale = true;
        }
        self.read_log_deviation()
    }

    /// The host's copy of the log deviations, which losses and sampling read.
    fn read_log_deviation(&mut self) -> Result<()> {
        let range = self.layout.log_deviation.clone();
        if !range.is_empty() {
            self.log_deviation =
                place::download(&self.flat.f_narrow(0, range.start as i64, range.len() as i64)?)?;
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

impl Policy for TorchLearner {
    fn infer(&mut self, observations: &[f32]) -> Result<Heads<'_>> {
        let (width, outputs) = (self.layout.observation_len(), self.layout.heads[0].outputs);
        let rows = observations.len() / width;
        self.policy.resize(rows * outputs, 0.0);
        self.values.resize(rows, 0.0);
        if rows > 0 {
            let parts = match &mut self.away {
                None => &mut self.parts,
                Some(away) => {
                    if std::mem::take(&mut away.is_stale) {
                        away.flat.f_copy_(&self.flat)?;
                        away.parts.iter_mut().for_each(Part::changed);
                    }
                    &mut away.parts
                }
            };
            let share = rows.div_ceil(self.placement.inference_threads.max(1));
            let shares = parts
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

    fn parameters(&self) -> Result<Vec<f32>> {
        place::download(&self.flat)
    }

    fn lend_parameters(&self) -> Lent {
        self.lend(&self.flat)
    }

    fn set_parameters(&mut self, parameters: &[f32]) -> Result<()> {
        self.loans.wait_until_returned();
        place::overwrite(&mut self.flat, parameters)?;
        self.changed()
    }
}

impl Learner for TorchLearner {
    fn differentiate(&mut self, observations: &[f32], rows: &[u32], loss: &HeadLoss<'_>) -> Result<LossSums> {
        ensure!(!rows.is_empty(), "a minibatch without samples");
        let share = rows.len().div_ceil(self.placement.update_threads.max(1));
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
        for part in sums {
            total += part;
        }
        Ok(total)
    }

    fn step(&mut self, learning_rate: f64, max_norm: f64) -> Result<f64> {
        let gradient = &mut self.parts[0].gradient;
        let norm = f64::from(place::download(&gradient.f_norm()?)?[0]);
        ensure!(norm.is_finite(), "the gradient is not finite (try a lower --learning-rate)");
        if norm > max_norm {
            written(gradient.f_mul_scalar_(max_norm / norm))?;
        }
        self.loans.wait_until_returned();
        self.adam.step(&mut self.flat, gradient, learning_rate)?;
        self.changed()?;
        Ok(norm)
    }

    fn optimiser(&self) -> Result<OptimiserState> {
        self.adam.state()
    }

    fn lend_moments(&self) -> [Lent; 2] {
        self.adam.moments().map(|moment| self.lend(moment))
    }

    fn set_optimiser(&mut self, state: &OptimiserState) -> Result<()> {
        self.loans.wait_until_returned();
        self.adam.set_state(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::aligned::AlignedBuffer;
    use crate::networks::network::{Activation, Dense, Distribution};

    /// The whole function in `f64` and plain loops: mean over rows of policy·a + value·b + value²/2, plus the
    /// sum of log deviations, for fixed a and b.
    fn objective(shape: &NetworkShape, parameters: &[f64], observations: &[f32], rows: &[u32]) -> f64 {
        let layout = shape.layout();
        let dense = |layer: &Dense, x: &[f64]| -> Vec<f64> {
            let (weight, bias) = (&parameters[layer.weight.clone()], &parameters[layer.bias.clone()]);
            let row =
                |o: usize| x.iter().enumerate().map(|(i, x)| weight[o * layer.inputs + i] * x).sum::<f64>();
            (0..layer.outputs).map(|o| row(o) + bias[o]).collect()
        };
        let mut total = 0.0;
        for &row in rows {
            let start = row as usize * shape.observation_len;
            let input: Vec<f64> =
                observations[start..start + shape.observation_len].iter().map(|&x| x.into()).collect();
            let outputs: Vec<Vec<f64>> = (0..2)
                .map(|network| {
                    let mut x = input.clone();
                    for pair in &layout.hidden {
                        x = dense(&pair[network], &x);
                        for x in &mut x {
                            *x = if shape.activation == Activation::Tanh { x.tanh() } else { x.max(0.0) };
                        }
                    }
                    dense(&layout.heads[network], &x)
                })
                .collect();
            let policy: f64 = outputs[0].iter().enumerate().map(|(i, x)| x * (0.3 + i as f64)).sum();
            let value = outputs[1][0];
            total += policy - 0.7 * value + 0.5 * value * value;
        }
        total / rows.len() as f64 + parameters[layout.log_deviation].iter().sum::<f64>()
    }

    fn shape(hidden: &[usize], activation: Activation) -> NetworkShape {
        let distribution = Distribution::Gaussian { dimensions: 2 };
        NetworkShape { observation_len: 3, hidden: hidden.to_vec(), activation, distribution }
    }

    /// Enough rows for several pieces, in an order of their own, some of them twice.
    fn batch() -> (AlignedBuffer, Vec<u32>) {
        let mut observations = AlignedBuffer::zeros(3 * 1300);
        observations.iter_mut().enumerate().for_each(|(i, x)| *x = ((i * 37) % 101) as f32 / 50.0 - 1.0);
        (observations, (0..1300).map(|i| (i * 7) % 1299).collect())
    }

    fn learner(shape: &NetworkShape, update: usize) -> TorchLearner {
        let mut learner = TorchLearner::new(
            shape,
            1,
            Placement { inference_threads: update, update_threads: update, ..Placement::one_thread() },
        )
        .unwrap();
        // Off the initial values, where biases and deviations are 0 and the policy's head is tiny.
        let mut stream = random::Stream::new(1, random::Purpose::Test, 0, 0);
        let parameters: Vec<f32> = (0..shape.layout().len).map(|_| 0.5 * stream.normal() as f32).collect();
        learner.set_parameters(&parameters).unwrap();
        learner
    }

    fn differentiate(learner: &mut TorchLearner) {
        let (observations, rows) = batch();
        let n = rows.len() as f32;
        let sums = learner.differentiate(&observations, &rows, &|rows, heads, gradients| {
            for (i, slot) in gradients.policy.iter_mut().enumerate() {
                *slot = (0.3 + (i % 2) as f32) / n;
            }
            for (slot, value) in gradients.values.iter_mut().zip(heads.values) {
                *slot = (value - 0.7) / n;
            }
            let share = rows.len() as f64 / f64::from(n);
            gradients.log_deviation.iter_mut().for_each(|slot| *slot += share);
            LossSums { policy: rows.len() as f64, ..LossSums::default() }
        });
        assert_eq!(sums.unwrap().policy, 1300.0);
    }

    fn check(hidden: &[usize], activation: Activation, update: usize) {
        let shape = shape(hidden, activation);
        let mut learner = learner(&shape, update);
        let parameters: Vec<f64> = learner.parameters().unwrap().into_iter().map(f64::from).collect();
        differentiate(&mut learner);
        let gradient = place::download(&learner.parts[0].gradient).unwrap();
        let (observations, rows) = batch();
        for (i, &found) in gradient.iter().enumerate() {
            let at = |offset: f64| {
                let mut moved = parameters.clone();
                moved[i] += offset;
                objective(&shape, &moved, &observations, &rows)
            };
            let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
            let error = (f64::from(found) - expected).abs();
            assert!(error < 1e-5 * (1.0 + expected.abs()), "{hidden:?} parameter {i}: {found} {expected}");
        }
    }

    #[test]
    fn gradients_are_those_of_the_function_for_any_depth_and_number_of_replicas() {
        for update in [1, 2, 3] {
            check(&[5, 4], Activation::Tanh, update);
        }
        check(&[6], Activation::Tanh, 1);
        check(&[4, 3, 5], Activation::Tanh, 2);
        check(&[], Activation::Tanh, 2);
    }

    #[test]
    fn gradients_through_relu_are_those_of_the_function() {
        check(&[5, 4], Activation::Relu, 2);
    }

    #[test]
    fn libtorch_computes_what_small_networks_compute_without_it() {
        for (hidden, activation) in
            [(&[5, 4][..], Activation::Tanh), (&[20, 40, 3], Activation::Relu), (&[], Activation::Tanh)]
        {
            let shape = shape(hidden, activation);
            let (observations, _) = batch();
            let [one, other] = [true, false].map(|is_small| {
                let mut learner = learner(&shape, 1);
                if !is_small {
                    learner.leave_to_libtorch();
                }
                differentiate(&mut learner);
                let gradient = place::download(&learner.parts[0].gradient).unwrap();
                let heads = learner.infer(&observations).unwrap();
                [gradient, heads.policy.to_vec(), heads.values.to_vec()]
            });
            for (one, other) in one.iter().flatten().zip(other.iter().flatten()) {
                assert!((one - other).abs() < 1e-5 * (1.0 + one.abs()), "{hidden:?}: {one} {other}");
            }
        }
    }

    #[test]
    fn replicas_infer_what_one_infers() {
        let shape = shape(&[5, 4], Activation::Tanh);
        let (observations, _) = batch();
        let [one, three] = [1, 3].map(|replicas| {
            let mut learner = learner(&shape, replicas);
            let heads = learner.infer(&observations).unwrap();
            (heads.policy.to_vec(), heads.values.to_vec())
        });
        assert_eq!(one.1.len(), 1300);
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close(&one.0, &three.0) && close(&one.1, &three.1));
    }

    #[test]
    fn steps_are_those_of_adam_with_a_clipped_norm() {
        let shape = shape(&[5, 4], Activation::Tanh);
        let mut learner = learner(&shape, 1);
        let mut expected: Vec<f64> = learner.parameters().unwrap().into_iter().map(f64::from).collect();
        let (mut m, mut v) = (vec![0.0_f64; expected.len()], vec![0.0_f64; expected.len()]);
        // The second bound clips, the first does not.
        for (step, max_norm) in [(1, 100.0), (2, 0.25), (3, 0.25)] {
            differentiate(&mut learner);
            let gradient: Vec<f64> =
                place::download(&learner.parts[0].gradient).unwrap().into_iter().map(f64::from).collect();
            let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
            assert_eq!(norm > max_norm, step > 1);
            let found_norm = learner.step(0.01, max_norm).unwrap();
            assert!((found_norm / norm - 1.0).abs() < 1e-5);
            let scale = (max_norm / norm).min(1.0);
            for (i, g) in gradient.iter().map(|g| g * scale).enumerate() {
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (m, v) = (m[i] / (1.0 - 0.9_f64.powi(step)), v[i] / (1.0 - 0.999_f64.powi(step)));
                expected[i] -= 0.01 * m / (v.sqrt() + 1e-5);
            }
            let found = learner.parameters().unwrap();
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-5,
                    "step {step} parameter {i}: {found} {expected}"
                );
            }
        }
        // What is lent is what stands now, however long the copy takes.
        let ([first, second], now) = (learner.lend_moments(), learner.optimiser().unwrap());
        let lent = std::thread::spawn(move || {
            let mut moments = [Vec::new(), Vec::new()];
            let copied = first.copy_to(&mut moments[0]).and_then(|()| second.copy_to(&mut moments[1]));
            copied.map(|()| moments)
        });
        learner
            .set_optimiser(&OptimiserState {
                steps: now.steps,
                ..self::learner(&shape, 1).optimiser().unwrap()
            })
            .unwrap();
        assert_eq!(lent.join().unwrap().unwrap(), [now.first_moment.clone(), now.second_moment.clone()]);
        learner.set_optimiser(&now).unwrap();
        // A saved state goes on as the original does.
        let mut other = self::learner(&shape, 1);
        other.set_parameters(&learner.parameters().unwrap()).unwrap();
        other.set_optimiser(&learner.optimiser().unwrap()).unwrap();
        for learner in [&mut learner, &mut other] {
            differentiate(learner);
            learner.step(0.01, 0.25).unwrap();
        }
        assert_eq!(learner.parameters().unwrap(), other.parameters().unwrap());
    }

    #[test]
    fn what_acts_elsewhere_acts_by_what_was_learnt_last() {
        let shape = shape(&[8], Activation::Tanh);
        let placement = Placement { inference_threads: 2, ..Placement::one_thread() };
        let initial = shape.initial_parameters(1, 1, &Stop::never()).unwrap();
        let mut learners =
            [false, true].map(|away| TorchLearner::with(&shape, &initial, placement, away).unwrap());
        let observations: Vec<f32> = (0..12 * shape.observation_len).map(|i| (i as f32).sin()).collect();
        let mut before = Vec::new();
        for round in 0..3 {
            let seen = learners.each_mut().map(|learner| {
                let heads = learner.infer(&observations).unwrap();
                (heads.policy.to_vec(), heads.values.to_vec(), heads.log_deviation.to_vec())
            });
            assert_eq!(seen[0], seen[1], "round {round}");
            assert_ne!(seen[0].0, before);
            before.clone_from(&seen[0].0);
            for learner in &mut learners {
                let loss =
                    |_: &[u32],
                     heads: Heads<'_>,
                     gradients: &mut crate::networks::learner::HeadGradients<'_>| {
                        gradients.policy.copy_from_slice(heads.policy);
                        gradients.values.fill(1.0);
                        LossSums::default()
                    };
                learner.differentiate(&observations, &[0, 5, 11], &loss).unwrap();
                learner.step(0.1, 10.0).unwrap();
            }
        }
    }
}
