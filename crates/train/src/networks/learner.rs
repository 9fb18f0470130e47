//! What an algorithm needs of a network, and all that it sees of one: infer a batch, read and write
//! parameters; to learn by gradients also differentiate a loss, and step. Everything here is plain numbers, so that what computes them (libtorch
//! on a processor or a graphics card, a fused kernel) can change without an algorithm noticing.

use std::ops::AddAssign;

use anyhow::Result;

use crate::networks::lent::Lent;

/// What both networks put out for some observations.
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a> {
    /// The policy's outputs, `rows × outputs`.
    pub policy: &'a [f32],
    /// The values, one a row.
    pub values: &'a [f32],
    /// Log deviations of a Gaussian policy, one a dimension; empty for a categorical one.
    pub log_deviation: &'a [f32],
}

/// Where a loss writes its gradients by [`Heads`]; shaped alike.
#[derive(Debug)]
pub struct HeadGradients<'a> {
    /// By the policy's outputs; to be overwritten.
    pub policy: &'a mut [f32],
    /// By the values; to be overwritten.
    pub values: &'a mut [f32],
    /// By the log deviations, summed over rows; to be added to.
    pub log_deviation: &'a mut [f64],
}

/// Sums over the rows of a loss and of what people watch beside it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LossSums {
    /// The policy's loss.
    pub policy: f64,
    /// The value's loss, before its coefficient.
    pub value: f64,
    /// The entropy.
    pub entropy: f64,
    /// The estimate `(r − 1) − ln r` of the Kullback-Leibler divergence (Schulman 2020).
    pub approx_kl: f64,
    /// How often the ratio was clipped.
    pub clipped: f64,
}

impl LossSums {
    /// Each sum divided by `count`.
    #[must_use]
    pub fn over(self, count: f64) -> Self {
        Self {
            policy: self.policy / count,
            value: self.value / count,
            entropy: self.entropy / count,
            approx_kl: self.approx_kl / count,
            clipped: self.clipped / count,
        }
    }
}

impl AddAssign for LossSums {
    fn add_assign(&mut self, other: Self) {
        self.policy += other.policy;
        self.value += other.value;
        self.entropy += other.entropy;
        self.approx_kl += other.approx_kl;
        self.clipped += other.clipped;
    }
}

/// A loss as a function of what the networks put out for some rows of a rollout. It writes the gradient of
/// the whole minibatch's loss, and may be called for several parts of the minibatch at once.
pub type HeadLoss<'a> = dyn Fn(&[u32], Heads<'_>, &mut HeadGradients<'_>) -> LossSums + Sync + 'a;

/// The state of Adam: with the parameters, all that an interrupted training needs of its learner.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OptimiserState {
    /// Running mean of the gradient.
    pub first_moment: Vec<f32>,
    /// Running mean of its square.
    pub second_moment: Vec<f32>,
    /// Steps made.
    pub steps: u64,
}

/// A policy network, and a value network beside it, that can be asked.
pub trait Policy {
    /// Puts `observations` (rows one after the other) through both networks.
    ///
    /// # Errors
    /// If the device fails.
    fn infer(&mut self, observations: &[f32]) -> Result<Heads<'_>>;

    /// A copy of all parameters, laid out as [`crate::networks::network::Layout`] says.
    ///
    /// # Errors
    /// If the device fails.
    fn parameters(&self) -> Result<Vec<f32>>;

    /// The same, to be copied by another thread; nothing changes them before.
    fn lend_parameters(&self) -> Lent;

    /// Replaces all parameters.
    ///
    /// # Errors
    /// If there are more or fewer, or the device fails.
    fn set_parameters(&mut self, parameters: &[f32]) -> Result<()>;
}

/// A policy that learns by gradients, with Adam.
pub trait Learner: Policy {
    /// Computes the gradient of `loss` over `rows` of `observations`, and returns the loss's sums.
    ///
    /// # Errors
    /// If the device fails.
    fn differentiate(&mut self, observations: &[f32], rows: &[u32], loss: &HeadLoss<'_>) -> Result<LossSums>;

    /// Clips the gradient to `max_norm` and makes one step of Adam; returns the norm before.
    ///
    /// # Errors
    /// If the device fails.
    fn step(&mut self, learning_rate: f64, max_norm: f64) -> Result<f64>;

    /// A copy of the optimiser's state.
    ///
    /// # Errors
    /// If the device fails.
    fn optimiser(&self) -> Result<OptimiserState>;

    /// Its first and its second moment, to be copied by another thread; nothing changes them before.
    fn lend_moments(&self) -> [Lent; 2];

    /// Replaces the optimiser's state.
    ///
    /// # Errors
    /// If it is of another length, or the device fails.
    fn set_optimiser(&mut self, state: &OptimiserState) -> Result<()>;
}
