//! The space that is searched: the policy network's parameters alone, in the order that suits a product of one
//! observation with many networks.
//!
//! A layer is a table of `inputs + 1` rows: row `i` holds the weights from input `i` to every output, and the
//! last row the biases. Rows are padded to whole vectors, and a layer starts where a group of deviates does.
//! Padding is 0, is never perturbed, and so stays 0.

use std::ops::Range;

use random::bulk::GROUP;

use super::normaliser::Scaling;
use crate::networks::network::{Activation, Layout, NetworkShape};

/// Numbers in a vector, at the least: rows are padded to a multiple of it.
pub const LANES: usize = 8;

/// One layer's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Numbers that come in.
    pub inputs: usize,
    /// Numbers that come out.
    pub outputs: usize,
    /// Length of a row.
    pub width: usize,
    /// Its place in the searched vector.
    pub range: Range<usize>,
    weight: Range<usize>,
    bias: Range<usize>,
}

/// Where everything lies in the searched vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    /// First to last.
    pub layers: Vec<Layer>,
    /// The non-linearity after each but the last.
    pub activation: Activation,
    /// Length of the searched vector, padding included.
    pub len: usize,
}

impl Space {
    /// The space of the policy in networks of `shape`.
    pub fn new(shape: &NetworkShape) -> Self {
        let Layout { hidden, heads, .. } = shape.layout();
        let mut len = 0_usize;
        let mut layers = Vec::new();
        for [policy, _] in hidden.iter().chain([&heads]) {
            let width = policy.outputs.next_multiple_of(LANES);
            let start = len.next_multiple_of(GROUP);
            len = start + (policy.inputs + 1) * width;
            layers.push(Layer {
                inputs: policy.inputs,
                outputs: policy.outputs,
                width,
                range: start..len,
                weight: policy.weight.clone(),
                bias: policy.bias.clone(),
            });
        }
        Self { layers, activation: shape.activation, len }
    }

    /// Numbers in an observation.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// Numbers that the policy puts out.
    pub fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].outputs
    }

    /// A searched vector with `value` for every parameter.
    pub fn filled(&self, value: f32) -> Vec<f32> {
        let mut searched = vec![0.0; self.len];
        for layer in &self.layers {
            for row in searched[layer.range.clone()].chunks_exact_mut(layer.width) {
                row[..layer.outputs].fill(value);
            }
        }
        searched
    }

    /// The searched vector of the policy among all `parameters` of a [`Layout`].
    pub fn gather(&self, parameters: &[f32]) -> Vec<f32> {
        let mut searched = vec![0.0; self.len];
        for layer in &self.layers {
            let (weight, bias) = (&parameters[layer.weight.clone()], &parameters[layer.bias.clone()]);
            let table = &mut searched[layer.range.clone()];
            for output in 0..layer.outputs {
                for input in 0..layer.inputs {
                    table[input * layer.width + output] = weight[output * layer.inputs + input];
                }
                table[layer.inputs * layer.width + output] = bias[output];
            }
        }
        searched
    }

    /// Writes `searched` into all `parameters` of a [`Layout`], with `scaling` folded into the first layer:
    /// `W ((x − m) ∘ s) + b` is `(W s) x + (b − W (m ∘ s))`, so that whoever reads the policy feeds it the
    /// observations as they are.
    pub fn scatter(&self, searched: &[f32], scaling: &Scaling, parameters: &mut [f32]) {
        for (index, layer) in self.layers.iter().enumerate() {
            let table = &searched[layer.range.clone()];
            for output in 0..layer.outputs {
                let mut bias = f64::from(table[layer.inputs * layer.width + output]);
                for input in 0..layer.inputs {
                    let mut weight = table[input * layer.width + output];
                    if index == 0 {
                        weight *= scaling.scale[input];
                        bias -= f64::from(weight) * f64::from(scaling.mean[input]);
                    }
                    parameters[layer.weight.start + output * layer.inputs + input] = weight;
                }
                parameters[layer.bias.start + output] = bias as f32;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::networks::network::Distribution;

    pub fn shape(hidden: Vec<usize>) -> NetworkShape {
        let distribution = Distribution::Categorical { n: 3 };
        NetworkShape { observation_len: 5, hidden, activation: Activation::Tanh, distribution }
    }

    #[test]
    fn what_is_gathered_and_scattered_again_is_the_policy_as_it_was_and_nothing_else() {
        for hidden in [vec![], vec![9], vec![16, 3]] {
            let shape = shape(hidden);
            let (space, layout) = (Space::new(&shape), shape.layout());
            let parameters: Vec<f32> = (0..layout.len).map(|i| i as f32 + 1.0).collect();
            let searched = space.gather(&parameters);
            let mut back = vec![0.0; layout.len];
            space.scatter(&searched, &Scaling::none(5), &mut back);
            for entry in layout.entries() {
                let expected: Vec<f32> = if entry.name.starts_with("policy.") {
                    parameters[entry.range.clone()].to_vec()
                } else {
                    vec![0.0; entry.range.len()]
                };
                assert_eq!(back[entry.range], expected, "{}", entry.name);
            }
            let padding = |vector: &[f32]| vector.iter().filter(|&&x| x == 0.0).count();
            assert_eq!(padding(&searched), padding(&space.filled(1.0)));
            assert!(space.layers.iter().all(|layer| layer.range.start % GROUP == 0));
        }
    }
}
