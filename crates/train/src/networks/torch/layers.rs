//! The layers as views of one flat vector, and the tensors that lie between them: all made once, and written in place
//! afterwards.

use anyhow::Result;
use tch::{Device, Tensor};

use crate::networks::network::{Dense, Layout};
use crate::networks::torch::place;

/// A dense layer's weight and bias (or their gradients) as views of a flat vector.
pub struct DenseView {
    /// `[outputs, inputs]`.
    pub weight: Tensor,
    /// The same memory as `[inputs, outputs]`.
    pub weight_t: Tensor,
    /// `[outputs]`.
    pub bias: Tensor,
}

/// All layers as views of a flat vector.
pub struct Views {
    /// The hidden layers, of the policy and of the value.
    pub hidden: Vec<[DenseView; 2]>,
    /// Both networks' layer of the same index as one, where they read the same input; the first alone.
    pub first: Option<DenseView>,
    /// Biases of both networks, a hidden layer each.
    pub biases: Vec<Tensor>,
    /// The heads.
    pub heads: [DenseView; 2],
    /// The log deviations.
    pub log_deviation: Tensor,
}

impl Views {
    /// The layers of `layout` in `flat`.
    pub fn new(flat: &Tensor, layout: &Layout) -> Result<Self> {
        let vector = |start: usize, len: usize| flat.f_narrow(0, start as i64, len as i64);
        let dense = |layer: &Dense, copies: usize| -> Result<DenseView> {
            let (inputs, outputs) = (layer.inputs as i64, (copies * layer.outputs) as i64);
            let weight =
                vector(layer.weight.start, copies * layer.weight.len())?.f_view([outputs, inputs])?;
            let bias = vector(layer.bias.start, copies * layer.bias.len())?;
            Ok(DenseView { weight_t: weight.f_transpose(0, 1)?, weight, bias })
        };
        let pair =
            |pair: &[Dense; 2]| -> Result<[DenseView; 2]> { Ok([dense(&pair[0], 1)?, dense(&pair[1], 1)?]) };
        let both_biases = |pair: &[Dense; 2]| vector(pair[0].bias.start, 2 * pair[0].bias.len());
        Ok(Self {
            hidden: layout.hidden.iter().map(pair).collect::<Result<_>>()?,
            first: layout.hidden.first().map(|pair| dense(&pair[0], 2)).transpose()?,
            biases: layout.hidden.iter().map(both_biases).collect::<Result<_, _>>()?,
            heads: pair(&layout.heads)?,
            log_deviation: vector(layout.log_deviation.start, layout.log_deviation.len())?,
        })
    }
}

/// A tensor `[rows, 2 × width]`: the policy's columns, then the value's.
pub struct Halved {
    /// All columns.
    pub both: Tensor,
    /// The policy's and the value's.
    pub half: [Tensor; 2],
}

/// The tensors of one batch size.
pub struct Workspace {
    /// Rows of the batch.
    pub rows: usize,
    /// What each hidden layer puts out.
    pub activations: Vec<Halved>,
    /// The gradient by what goes into each hidden layer's activation.
    pub deltas: Vec<Halved>,
    /// What both heads put out.
    pub outputs: [Tensor; 2],
    /// The gradients by it.
    pub output_gradients: [Tensor; 2],
    /// As many ones as rows.
    pub ones: Tensor,
}

impl Workspace {
    /// Tensors for batches of `rows`.
    pub fn new(rows: usize, layout: &Layout, device: Device) -> Result<Self> {
        let n = rows as i64;
        let empty = |width: usize| place::empty([n, width as i64], device);
        let halved = |pair: &[Dense; 2]| -> Result<Halved> {
            let width = pair[0].outputs as i64;
            let both = empty(2 * pair[0].outputs)?;
            let half = [both.f_narrow(1, 0, width)?, both.f_narrow(1, width, width)?];
            Ok(Halved { both, half })
        };
        let outputs = || -> Result<[Tensor; 2]> { Ok([empty(layout.heads[0].outputs)?, empty(1)?]) };
        Ok(Self {
            rows,
            activations: layout.hidden.iter().map(halved).collect::<Result<_>>()?,
            deltas: layout.hidden.iter().map(halved).collect::<Result<_>>()?,
            outputs: outputs()?,
            output_gradients: outputs()?,
            ones: place::ones(n, device)?,
        })
    }
}
