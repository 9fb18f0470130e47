//! Networks that stay in a core's caches, on the processor: forward, through the loss, and backward by hand, a hundred
//! rows at a time, so that all that lies between is read again while it is still near. No library is called.
//!
//! Both networks' activations lie side by side, the policy's columns first. Hidden layers' weights are kept a second
//! time as `[inputs, outputs]`, and their gradients are summed in that form, as products want them.

use crate::networks::aligned::AlignedBuffer;
use crate::networks::elementwise::{self, Columns};
use crate::networks::learner::{HeadGradients, HeadLoss, Heads, LossSums};
use crate::networks::network::{Activation, Dense, Layout};
use crate::networks::products::{self, Left, Size, Start, multiply};

/// Rows that go forward and backward at once.
const ROWS_AT_ONCE: usize = 128;
/// Parameters up to which networks are small: half a megabyte, a part of a second-level cache.
const MOST_PARAMETERS: usize = 128 * 1024;
/// Floats of a cache line.
const LINE: usize = 16;

/// Both networks, and memory for a piece of a minibatch.
#[derive(Debug)]
pub struct SmallNetworks {
    layout: Layout,
    activation: Activation,
    /// Hidden layers' weights as `[inputs, outputs]`, and their gradients alike.
    weights: Vec<[AlignedBuffer; 2]>,
    weight_gradients: Vec<[AlignedBuffer; 2]>,
    /// Whether parameters have changed since the weights were copied.
    is_stale: bool,
    gathered: AlignedBuffer,
    activations: Vec<AlignedBuffer>,
    deltas: Vec<AlignedBuffer>,
    heads: [Vec<f32>; 2],
    head_gradients: [Vec<f32>; 2],
}

/// Rows of observations.
#[derive(Clone, Copy)]
struct Input<'a> {
    values: &'a [f32],
    stride: usize,
    rows: usize,
}

impl SmallNetworks {
    /// Networks of `layout`, if they are small and this processor has what makes it worthwhile.
    pub fn new(layout: &Layout, activation: Activation) -> Option<Self> {
        if layout.len > MOST_PARAMETERS || !products::are_fast_here() {
            return None;
        }
        let weights = || {
            let pair = |pair: &[Dense; 2]| [0, 1].map(|i| AlignedBuffer::zeros(pair[i].weight.len()));
            layout.hidden.iter().map(pair).collect()
        };
        let between = || {
            let zeros =
                |pair: &[Dense; 2]| AlignedBuffer::zeros(ROWS_AT_ONCE * stride_of(2 * pair[0].outputs));
            layout.hidden.iter().map(zeros).collect()
        };
        Some(Self {
            activation,
            weights: weights(),
            weight_gradients: weights(),
            is_stale: true,
            gathered: AlignedBuffer::zeros(ROWS_AT_ONCE * stride_of(layout.observation_len())),
            activations: between(),
            deltas: between(),
            heads: [Vec::new(), Vec::new()],
            head_gradients: [Vec::new(), Vec::new()],
            layout: layout.clone(),
        })
    }

    /// The parameters are other ones from now on.
    pub fn changed(&mut self) {
        self.is_stale = true;
    }

    /// Puts `observations` through both networks, whose parameters are `flat`, into `policy` and `values`.
    pub fn infer(&mut self, flat: &[f32], observations: &[f32], policy: &mut [f32], values: &mut [f32]) {
        self.refresh(flat);
        let (stride, outputs) = (self.layout.observation_len(), self.layout.heads[0].outputs);
        let pieces = policy.chunks_mut(ROWS_AT_ONCE * outputs).zip(values.chunks_mut(ROWS_AT_ONCE));
        for (observations, (policy, values)) in observations.chunks(ROWS_AT_ONCE * stride).zip(pieces) {
            let input = Input { values: observations, stride, rows: values.len() };
            forward(&self.layout, self.activation, flat, &self.weights, input, &mut self.activations);
            project(&self.layout, flat, input, &self.activations, [policy, values]);
        }
    }

    /// Computes the gradient of `loss` over `rows` of `observations` into `gradient`.
    pub fn differentiate(
        &mut self,
        flat: &[f32],
        (observations, rows): (&[f32], &[u32]),
        log_deviation: &[f32],
        loss: &HeadLoss<'_>,
        gradient: &mut [f32],
    ) -> LossSums {
        self.refresh(flat);
        gradient.fill(0.0);
        self.weight_gradients.iter_mut().flatten().for_each(|gradient| gradient.fill(0.0));
        let mut log_deviation_gradient = vec![0.0; log_deviation.len()];
        let mut sums = LossSums::default();
        // Equal shares, so that the last one is not a crumb.
        let pieces = rows.len().div_ceil(ROWS_AT_ONCE);
        for piece in rows.chunks(rows.len().div_ceil(pieces)) {
            let (n, width) = (piece.len(), self.layout.observation_len());
            let stride = stride_of(width);
            for (slot, &row) in self.gathered.chunks_exact_mut(stride).zip(piece) {
                slot[..width].copy_from_slice(&observations[row as usize * width..][..width]);
            }
            let input = Input { values: &self.gathered, stride, rows: n };
            for (network, (heads, gradients)) in
                self.heads.iter_mut().zip(&mut self.head_gradients).enumerate()
            {
                heads.resize(n * self.layout.heads[network].outputs, 0.0);
                gradients.resize(heads.len(), 0.0);
            }
            forward(&self.layout, self.activation, flat, &self.weights, input, &mut self.activations);
            let [policy, values] = &mut self.heads;
            project(&self.layout, flat, input, &self.activations, [policy, values]);
            let [by_policy, by_values] = &mut self.head_gradients;
            sums += loss(
                piece,
                Heads { policy, values, log_deviation },
                &mut HeadGradients {
                    policy: by_policy,
                    values: by_values,
                    log_deviation: &mut log_deviation_gradient,
                },
            );
            self.backward(flat, n, gradient);
        }
        for (pair, gradients) in self.layout.hidden.iter().zip(&self.weight_gradients) {
            for (dense, transposed) in pair.iter().zip(gradients) {
                transpose(transposed, dense.outputs, &mut gradient[dense.weight.clone()]);
            }
        }
        for (slot, by_deviation) in
            gradient[self.layout.log_deviation.clone()].iter_mut().zip(log_deviation_gradient)
        {
            *slot = by_deviation as f32;
        }
        sums
    }

    /// Copies the hidden layers' weights, if they have changed.
    fn refresh(&mut self, flat: &[f32]) {
        if std::mem::take(&mut self.is_stale) {
            for (pair, weights) in self.layout.hidden.iter().zip(&mut self.weights) {
                for (dense, transposed) in pair.iter().zip(weights) {
                    transpose(&flat[dense.weight.clone()], dense.inputs, transposed);
                }
            }
        }
    }

    /// Adds the gradients that follow from those of the heads: of hidden layers' weights to those beside the weights,
    /// of all others to `gradient`.
    fn backward(&mut self, flat: &[f32], rows: usize, gradient: &mut [f32]) {
        let (layout, activation) = (&self.layout, self.activation);
        let input = Input { values: &self.gathered, stride: stride_of(layout.observation_len()), rows };
        // Sums over these rows alone, which are then added to those so far: fewer roundings of large sums.
        let mut sums = vec![0.0; layout.hidden.last().map_or(0, |pair| 2 * pair[0].outputs)];
        for (network, (dense, by_outputs)) in layout.heads.iter().zip(&self.head_gradients).enumerate() {
            let (x, columns) = below_head(layout, input, &self.activations, network);
            let (mut weight, mut bias) = (vec![0.0; dense.weight.len()], vec![0.0; dense.bias.len()]);
            elementwise::add_gradients(by_outputs, x, columns, &mut weight, &mut bias);
            add(&mut gradient[dense.weight.clone()], &weight);
            add(&mut gradient[dense.bias.clone()], &bias);
            if let Some(delta) = self.deltas.last_mut() {
                let (weight, sums) =
                    (&flat[dense.weight.clone()], &mut sums[columns.start..][..columns.width]);
                elementwise::pull_back(by_outputs, weight, activation, x, columns, delta, sums);
            }
        }
        for (layer, pair) in layout.hidden.iter().enumerate().rev() {
            add(&mut gradient[pair[0].bias.start..pair[1].bias.end], &sums);
            let (below, here) = self.deltas.split_at_mut(layer);
            let delta = &here[0];
            let (width, stride) = (pair[0].outputs, stride_of(2 * pair[0].outputs));
            for (network, dense) in pair.iter().enumerate() {
                let delta = &delta[network * width..];
                let left = match layer.checked_sub(1) {
                    None => Left { values: input.values, row: 1, column: input.stride },
                    Some(below) => Left {
                        values: &self.activations[below][network * dense.inputs..],
                        row: 1,
                        column: stride_of(2 * dense.inputs),
                    },
                };
                let size = Size { rows: dense.inputs, depth: rows, width };
                let out = (&mut *self.weight_gradients[layer][network], width);
                multiply(size, left, (delta, stride), Start::There, out);
                if let Some(below) = below.last_mut() {
                    let size = Size { rows, depth: width, width: dense.inputs };
                    let left = Left { values: delta, row: stride, column: 1 };
                    let right = (&flat[dense.weight.clone()], dense.inputs);
                    let out = (&mut below[network * dense.inputs..], stride_of(2 * dense.inputs));
                    multiply(size, left, right, Start::Zeros, out);
                }
            }
            if let Some(below) = below.last_mut() {
                let width = 2 * pair[0].inputs;
                let columns = Columns { start: 0, width, stride: stride_of(width) };
                sums = vec![0.0; width];
                let output = &self.activations[layer - 1];
                elementwise::through_activation(activation, output, columns, rows, below, &mut sums);
            }
        }
    }
}

/// Puts `input` through the hidden layers.
fn forward(
    layout: &Layout,
    activation: Activation,
    flat: &[f32],
    weights: &[[AlignedBuffer; 2]],
    input: Input<'_>,
    activations: &mut [AlignedBuffer],
) {
    for (layer, pair) in layout.hidden.iter().enumerate() {
        let (below, here) = activations.split_at_mut(layer);
        let (here, width) = (&mut here[0], pair[0].outputs);
        let stride = stride_of(2 * width);
        for (network, dense) in pair.iter().enumerate() {
            let left = match below.last() {
                None => Left { values: input.values, row: input.stride, column: 1 },
                Some(below) => Left {
                    values: &below[network * dense.inputs..],
                    row: stride_of(2 * dense.inputs),
                    column: 1,
                },
            };
            let size = Size { rows: input.rows, depth: dense.inputs, width };
            let bias = Start::Row(&flat[dense.bias.clone()]);
            multiply(
                size,
                left,
                (&weights[layer][network], width),
                bias,
                (&mut here[network * width..], stride),
            );
        }
        let columns = Columns { start: 0, width: 2 * width, stride };
        elementwise::activate(activation, columns, input.rows, here);
    }
}

/// Puts what the hidden layers put out through both heads.
fn project(
    layout: &Layout,
    flat: &[f32],
    input: Input<'_>,
    activations: &[AlignedBuffer],
    outputs: [&mut [f32]; 2],
) {
    for (network, (dense, outputs)) in layout.heads.iter().zip(outputs).enumerate() {
        let (x, columns) = below_head(layout, input, activations, network);
        let [weight, bias] = [&dense.weight, &dense.bias].map(|range| &flat[range.clone()]);
        elementwise::project(x, columns, weight, bias, outputs);
    }
}

/// What goes into the head of a network, and in which columns.
fn below_head<'a>(
    layout: &Layout,
    input: Input<'a>,
    activations: &'a [AlignedBuffer],
    network: usize,
) -> (&'a [f32], Columns) {
    let width = layout.heads[network].inputs;
    match activations.last() {
        Some(last) => (last, Columns { start: network * width, width, stride: stride_of(2 * width) }),
        None => (input.values, Columns { start: 0, width, stride: input.stride }),
    }
}

/// From one row of a matrix to the next: whole cache lines, and an odd number of them, so that what stands below each
/// other does not fall into the same few places of a cache.
fn stride_of(width: usize) -> usize {
    (width.div_ceil(LINE) | 1) * LINE
}

/// `from`, rows of `width` numbers, into `to` with rows and columns exchanged.
fn transpose(from: &[f32], width: usize, to: &mut [f32]) {
    let rows = from.len() / width;
    for (row, from) in from.chunks_exact(width).enumerate() {
        for (slot, value) in to[row..].iter_mut().step_by(rows).zip(from) {
            *slot = *value;
        }
    }
}

fn add(to: &mut [f32], what: &[f32]) {
    to.iter_mut().zip(what).for_each(|(slot, value)| *slot += value);
}
