//! Adam (Kingma and Ba 2015) as tensor operations on one flat vector, with moments that we hold and can
//! save: libtorch's own optimisers show neither their moments nor their counters through `tch`.

use anyhow::Result;
use tch::Tensor;

use crate::networks::learner::OptimiserState;
use crate::networks::torch::{place, written};

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
/// PPO's customary value; libtorch's default of 1e-8 lets tiny gradients take full steps.
const EPSILON: f64 = 1e-5;

/// The optimiser of one flat vector.
pub struct Adam {
    first_moment: Tensor,
    second_moment: Tensor,
    scratch: Tensor,
    steps: u64,
}

impl Adam {
    /// An optimiser for vectors like `flat` that has made no step.
    pub fn new(flat: &Tensor) -> Result<Self> {
        let zeros = || place::zeros_like(flat);
        Ok(Self { first_moment: zeros()?, second_moment: zeros()?, scratch: zeros()?, steps: 0 })
    }

    /// Moves `flat` against `gradient`.
    pub fn step(&mut self, flat: &mut Tensor, gradient: &Tensor, learning_rate: f64) -> Result<()> {
        self.steps += 1;
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let root_2 = (1.0 - BETA_2.powi(steps)).sqrt();
        let step = learning_rate * root_2 / (1.0 - BETA_1.powi(steps));
        // lerp(a, b, w) = a + w (b − a), the running mean with weight 1 − w for the past.
        written(self.first_moment.f_lerp_(gradient, 1.0 - BETA_1))?;
        written(gradient.f_square_out(&self.scratch))?;
        written(self.second_moment.f_lerp_(&self.scratch, 1.0 - BETA_2))?;
        // m̂ / (√v̂ + ε) with both bias corrections pulled into the two scalars.
        written(self.second_moment.f_sqrt_out(&self.scratch))?;
        written(self.scratch.f_add_scalar_(EPSILON * root_2))?;
        written(self.first_moment.f_div_out(&self.scratch, &self.scratch))?;
        written(self.scratch.f_mul_scalar_(-step))?;
        written(flat.f_add_(&self.scratch))
    }

    /// The first and the second moment.
    pub fn moments(&self) -> [&Tensor; 2] {
        [&self.first_moment, &self.second_moment]
    }

    /// A copy of moments and counter.
    pub fn state(&self) -> Result<OptimiserState> {
        let (first_moment, second_moment) =
            (place::download(&self.first_moment)?, place::download(&self.second_moment)?);
        Ok(OptimiserState { first_moment, second_moment, steps: self.steps })
    }

    /// Replaces moments and counter.
    pub fn set_state(&mut self, state: &OptimiserState) -> Result<()> {
        place::overwrite(&mut self.first_moment, &state.first_moment)?;
        place::overwrite(&mut self.second_moment, &state.second_moment)?;
        self.steps = state.steps;
        Ok(())
    }
}
