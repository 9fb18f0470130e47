//! Adam (Kingma and Ba 2015) on a vector in memory. The one in [`crate::networks::torch`] works where the networks are.

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The moments of a vector. How many steps it made is the caller's to count.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Adam {
    /// Running mean of the gradient.
    pub first_moment: Vec<f32>,
    /// Running mean of its square.
    pub second_moment: Vec<f32>,
}

impl Adam {
    /// For vectors of this length; it has made no step.
    pub fn new(len: usize) -> Self {
        Self { first_moment: vec![0.0; len], second_moment: vec![0.0; len] }
    }

    /// Moves `vector` against `gradient`; `step` counts from 1.
    pub fn step(&mut self, vector: &mut [f32], gradient: &[f64], learning_rate: f64, step: u64) {
        let steps = i32::try_from(step).unwrap_or(i32::MAX);
        let (correct_1, correct_2) = (1.0 - BETA_1.powi(steps), 1.0 - BETA_2.powi(steps));
        let moments = self.first_moment.iter_mut().zip(&mut self.second_moment);
        for ((x, gradient), (first, second)) in vector.iter_mut().zip(gradient).zip(moments) {
            let m = BETA_1 * f64::from(*first) + (1.0 - BETA_1) * gradient;
            let v = BETA_2 * f64::from(*second) + (1.0 - BETA_2) * gradient * gradient;
            let moved = learning_rate * (m / correct_1) / ((v / correct_2).sqrt() + EPSILON);
            (*first, *second) = (m as f32, v as f32);
            *x = (f64::from(*x) - moved) as f32;
        }
    }
}
