//! Observations brought to mean 0 and deviation 1 by what all members have seen so far. It is the same for a
//! whole generation, whose own observations count from the next one on.

use serde::{Deserialize, Serialize};

/// No observation is stretched further than by one over this: what has hardly moved so far may be a constant.
const LEAST_DEVIATION: f64 = 0.01;

/// Mean and sum of squared distances from it, number by number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Normaliser {
    count: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

/// What happens to an observation x: (x − mean) ∘ scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// Taken off.
    pub mean: Vec<f32>,
    /// Multiplied by.
    pub scale: Vec<f32>,
}

/// Sums over some observations, of their distances from a [`Scaling`]'s mean.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    count: f64,
    distance: Vec<f64>,
    square: Vec<f64>,
}

impl Normaliser {
    /// Whether it is one of observations of `len` numbers.
    pub fn fits(&self, len: usize) -> bool {
        (self.mean.len(), self.squares.len()) == (len, len)
    }

    /// One that has seen nothing.
    pub fn new(observation_len: usize) -> Self {
        Self { count: 0.0, mean: vec![0.0; observation_len], squares: vec![0.0; observation_len] }
    }

    /// What it says of observations now.
    pub fn scaling(&self) -> Scaling {
        if self.count == 0.0 {
            return Scaling::none(self.mean.len());
        }
        let deviation = |squares: f64| (squares / self.count).sqrt().max(LEAST_DEVIATION);
        Scaling {
            mean: self.mean.iter().map(|&mean| mean as f32).collect(),
            scale: self.squares.iter().map(|&squares| (1.0 / deviation(squares)) as f32).collect(),
        }
    }

    /// Takes in what was seen while `scaling` was in force (Chan et al. 1979).
    pub fn merge(&mut self, scaling: &Scaling, sums: &Sums) {
        if sums.count == 0.0 {
            return;
        }
        let total = self.count + sums.count;
        for (i, &from) in scaling.mean.iter().enumerate() {
            let mean = f64::from(from) + sums.distance[i] / sums.count;
            let squares = sums.square[i] - sums.distance[i] * sums.distance[i] / sums.count;
            let apart = mean - self.mean[i];
            self.mean[i] += apart * sums.count / total;
            self.squares[i] += squares.max(0.0) + apart * apart * self.count * sums.count / total;
        }
        self.count = total;
    }
}

impl Scaling {
    /// The one that changes nothing.
    pub fn none(observation_len: usize) -> Self {
        Self { mean: vec![0.0; observation_len], scale: vec![1.0; observation_len] }
    }

    /// Writes the scaled `observation` into `scaled`, and adds it to `sums` if there are any.
    pub fn apply(&self, observation: &[f32], scaled: &mut [f32], sums: Option<&mut Sums>) {
        let by = self.mean.iter().zip(&self.scale);
        match sums {
            None => {
                for ((slot, x), (mean, scale)) in scaled.iter_mut().zip(observation).zip(by) {
                    *slot = (x - mean) * scale;
                }
            }
            Some(sums) => {
                sums.count += 1.0;
                let moments = sums.distance.iter_mut().zip(&mut sums.square);
                for (((slot, x), (mean, scale)), (first, second)) in
                    scaled.iter_mut().zip(observation).zip(by).zip(moments)
                {
                    let distance = x - mean;
                    *slot = distance * scale;
                    *first += f64::from(distance);
                    *second += f64::from(distance) * f64::from(distance);
                }
            }
        }
    }
}

impl Sums {
    /// Of nothing.
    pub fn new(observation_len: usize) -> Self {
        Self { count: 0.0, distance: vec![0.0; observation_len], square: vec![0.0; observation_len] }
    }

    /// Adds those of other observations, and forgets them there.
    pub fn take(&mut self, other: &mut Self) {
        self.count += std::mem::take(&mut other.count);
        self.distance.iter_mut().zip(&mut other.distance).for_each(|(a, b)| *a += std::mem::take(b));
        self.square.iter_mut().zip(&mut other.square).for_each(|(a, b)| *a += std::mem::take(b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use random::{Purpose, Stream};

    #[test]
    fn what_is_merged_in_parts_is_what_was_seen_in_all() {
        let mut stream = Stream::new(1, Purpose::Test, 0, 0);
        // A constant, one far from 0, and one that hardly moves.
        let rows: Vec<[f32; 3]> = (0..3000)
            .map(|_| [2.5, 1000.0 + stream.normal() as f32, 1e-4 * stream.normal() as f32])
            .collect();
        let mut normaliser = Normaliser::new(3);
        let mut scaled = [0.0; 3];
        for part in rows.chunks(1100) {
            let scaling = normaliser.scaling();
            let mut sums = [Sums::new(3), Sums::new(3)];
            for (i, row) in part.iter().enumerate() {
                scaling.apply(row, &mut scaled, Some(&mut sums[i % 2]));
            }
            let [mut one, mut other] = sums;
            one.take(&mut other);
            assert_eq!(other, Sums::new(3));
            normaliser.merge(&scaling, &one);
        }
        let n = rows.len() as f64;
        let Scaling { mean, scale } = normaliser.scaling();
        for i in 0..3 {
            let exact = rows.iter().map(|row| f64::from(row[i])).sum::<f64>() / n;
            let variance = rows.iter().map(|row| (f64::from(row[i]) - exact).powi(2)).sum::<f64>() / n;
            assert!((f64::from(mean[i]) - exact).abs() <= 1e-6 * exact.abs().max(1e-3), "mean {i}");
            let expected = 1.0 / variance.sqrt().max(LEAST_DEVIATION);
            assert!(
                (f64::from(scale[i]) / expected - 1.0).abs() < 1e-6,
                "scale {i}: {} {expected}",
                scale[i]
            );
        }
        assert_eq!(
            normaliser.scaling(),
            serde_json::from_value::<Normaliser>(serde_json::json!(normaliser)).unwrap().scaling()
        );
    }
}
