//! The shape of the networks: which layers there are, where each parameter lies in one flat vector, and
//! what the first values are. Policy and value have networks of their own, of equal shape but for the head.
//!
//! One flat vector makes the optimiser, the gradient's norm, the sum over replicas and a checkpoint one
//! operation each. The two networks' parameters of a layer are neighbours in it, so that both first layers,
//! which read the same observations, are one matrix product.

use std::ops::Range;

use anyhow::Result;
use random::{Purpose, Stream};
use serde::{Deserialize, Serialize};
use wire::spec::ActionSpace;

use crate::networks::orthogonal::orthogonal;
use crate::training::stop::Stop;

/// The non-linearity after each hidden layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// The hyperbolic tangent.
    Tanh,
    /// max(x, 0).
    Relu,
}

/// How actions are drawn from what the policy network puts out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Distribution {
    /// One of `n` choices, with the outputs as logits.
    Categorical {
        /// How many choices.
        n: usize,
    },
    /// `dimensions` independent normals, with the outputs as means and a deviation that no state changes.
    Gaussian {
        /// How many.
        dimensions: usize,
    },
}

impl Distribution {
    /// The distribution over `space`.
    pub fn over(space: &ActionSpace) -> Self {
        match space {
            ActionSpace::Discrete { n, .. } => Self::Categorical { n: *n as usize },
            ActionSpace::Box { low, .. } => Self::Gaussian { dimensions: low.len() },
        }
    }

    /// Outputs of the policy network.
    pub fn outputs(self) -> usize {
        match self {
            Self::Categorical { n } => n,
            Self::Gaussian { dimensions } => dimensions,
        }
    }

    /// Values of one stored action.
    pub fn action_len(self) -> usize {
        match self {
            Self::Categorical { .. } => 1,
            Self::Gaussian { dimensions } => dimensions,
        }
    }

    /// Log deviations among the parameters.
    pub fn deviations(self) -> usize {
        match self {
            Self::Categorical { .. } => 0,
            Self::Gaussian { dimensions } => dimensions,
        }
    }
}

/// What another program needs to rebuild the networks: `network.json` of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkShape {
    /// Values in one observation.
    pub observation_len: usize,
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// The non-linearity after each of them.
    pub activation: Activation,
    /// What the policy's outputs mean.
    pub distribution: Distribution,
}

/// One dense layer of one network: `y = W x + b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dense {
    /// Width of `x`.
    pub inputs: usize,
    /// Width of `y`.
    pub outputs: usize,
    /// `W`, row by row, in the flat vector.
    pub weight: Range<usize>,
    /// `b`.
    pub bias: Range<usize>,
}

/// Where every parameter lies in the flat vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Hidden layers: the policy's, then the value's, adjacent in weights and in biases.
    pub hidden: Vec<[Dense; 2]>,
    /// The policy's head and the value's.
    pub heads: [Dense; 2],
    /// Log deviations of a Gaussian policy.
    pub log_deviation: Range<usize>,
    /// Length of the flat vector.
    pub len: usize,
}

/// A parameter by name: `policy.0.weight` of shape `[64, 50]`, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name in a checkpoint.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its place in the flat vector.
    pub range: Range<usize>,
}

const NETWORKS: [&str; 2] = ["policy", "value"];

impl NetworkShape {
    /// Where everything lies.
    pub fn layout(&self) -> Layout {
        let mut end = 0;
        let mut take = |len: usize| {
            end += len;
            end - len..end
        };
        let mut pair = |inputs: usize, outputs: [usize; 2]| {
            let weights = outputs.map(|outputs| take(inputs * outputs));
            let biases = outputs.map(&mut take);
            let [policy, value] = [0, 1].map(|i| Dense {
                inputs,
                outputs: outputs[i],
                weight: weights[i].clone(),
                bias: biases[i].clone(),
            });
            [policy, value]
        };
        let mut inputs = self.observation_len;
        let mut hidden = Vec::new();
        for &width in &self.hidden {
            hidden.push(pair(inputs, [width, width]));
            inputs = width;
        }
        let heads = pair(inputs, [self.distribution.outputs(), 1]);
        let log_deviation = take(self.distribution.deviations());
        Layout { hidden, heads, len: log_deviation.end, log_deviation }
    }

    /// The first values: orthogonal weights (gain √2, policy head 0.01, value head 1), zero biases, unit
    /// deviations. Computed here rather than on a device, since Metal has no QR. Any number of `threads` gives the
    /// same bits.
    ///
    /// # Errors
    /// If it is to stop, or no thread can be started.
    pub fn initial_parameters(&self, seed: u64, threads: usize, stop: &Stop) -> Result<Vec<f32>> {
        let layout = self.layout();
        let mut parameters = vec![0.0; layout.len];
        let gains = |layer: usize| if layer < self.hidden.len() { [2.0_f64.sqrt(); 2] } else { [0.01, 1.0] };
        for (layer, pair) in layout.hidden.iter().chain([&layout.heads]).enumerate() {
            for (network, dense) in pair.iter().enumerate() {
                let mut stream = Stream::new(seed, Purpose::Weights, network as u64, layer as u64);
                let weights = orthogonal((dense.outputs, dense.inputs), &mut stream, threads, stop)?;
                for (slot, weight) in parameters[dense.weight.clone()].iter_mut().zip(weights) {
                    *slot = (gains(layer)[network] * weight) as f32;
                }
            }
        }
        Ok(parameters)
    }
}

impl Layout {
    /// Values in one observation.
    pub fn observation_len(&self) -> usize {
        self.hidden.first().unwrap_or(&self.heads)[0].inputs
    }

    /// All parameters by name.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (network, name) in NETWORKS.iter().enumerate() {
            for (layer, pair) in self.hidden.iter().chain([&self.heads]).enumerate() {
                let dense = &pair[network];
                entries.push(Entry {
                    name: format!("{name}.{layer}.weight"),
                    shape: vec![dense.outputs, dense.inputs],
                    range: dense.weight.clone(),
                });
                entries.push(Entry {
                    name: format!("{name}.{layer}.bias"),
                    shape: vec![dense.outputs],
                    range: dense.bias.clone(),
                });
            }
        }
        if !self.log_deviation.is_empty() {
            let (shape, range) = (vec![self.log_deviation.len()], self.log_deviation.clone());
            entries.push(Entry { name: "policy.log_deviation".into(), shape, range });
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape() -> NetworkShape {
        NetworkShape {
            observation_len: 5,
            hidden: vec![8, 3],
            activation: Activation::Tanh,
            distribution: Distribution::Gaussian { dimensions: 2 },
        }
    }

    #[test]
    fn parameters_fill_the_vector_without_gap_or_overlap() {
        let layout = shape().layout();
        let mut ranges: Vec<_> = layout.entries().into_iter().map(|e| (e.range, e.shape)).collect();
        ranges.sort_by_key(|(range, _)| range.start);
        let mut end = 0;
        for (range, shape) in ranges {
            assert_eq!(range.start, end);
            assert_eq!(range.len(), shape.iter().product::<usize>());
            end = range.end;
        }
        assert_eq!(end, layout.len);
        assert_eq!(layout.len, 2 * (5 * 8 + 8 + 8 * 3 + 3) + 2 * 3 + 3 + 2 + 1 + 2);
    }

    #[test]
    fn first_layers_of_both_networks_are_neighbours() {
        let [policy, value] = shape().layout().hidden[0].clone();
        assert_eq!(policy.weight.end, value.weight.start);
        assert_eq!(policy.bias.end, value.bias.start);
    }

    #[test]
    fn initial_weights_are_orthogonal_with_their_gain() {
        let (rows, columns) = (8, 5);
        let shape = shape();
        let initial = |seed: u64| shape.initial_parameters(seed, 1, &Stop::never()).unwrap();
        let parameters = initial(3);
        let weight = &parameters[shape.layout().hidden[0][1].weight.clone()];
        for a in 0..columns {
            for b in 0..columns {
                let dot: f32 = (0..rows).map(|r| weight[r * columns + a] * weight[r * columns + b]).sum();
                let expected = if a == b { 2.0 } else { 0.0 };
                assert!((dot - expected).abs() < 1e-5, "columns {a} and {b}: {dot}");
            }
        }
        let head = &parameters[shape.layout().heads[0].weight.clone()];
        let norm: f32 = head[..3].iter().map(|w| w * w).sum::<f32>().sqrt();
        assert!((norm - 0.01).abs() < 1e-7, "policy head {norm}");
        assert_eq!(parameters, initial(3));
        assert_ne!(parameters, initial(4));
    }
}
