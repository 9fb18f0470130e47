//! One replica of the networks on one thread: forward, and backward by hand, since a chain of dense layers
//! needs no tape. All tensors are made once for a batch size and written in place afterwards.
//!
//! Both networks' hidden activations lie side by side in one tensor, `[rows, 2 × width]`: one tanh serves
//! both, and the first layers are one product.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::aligned::AlignedBuffer;
use crate::learner::{HeadGradients, HeadLoss, Heads, LossSums};
use crate::network::{Activation, Dense, Layout};
use crate::torch::written;

/// A dense layer's weight and bias (or their gradients) as views of a flat vector.
struct DenseView {
    weight: Tensor,
    /// The same memory as `[inputs, outputs]`.
    weight_t: Tensor,
    bias: Tensor,
}

/// All layers as views of a flat vector.
struct Views {
    hidden: Vec<[DenseView; 2]>,
    /// Both networks' layer of the same index as one, where they read the same input; the first alone.
    first: Option<DenseView>,
    /// Biases of both networks, a hidden layer each.
    biases: Vec<Tensor>,
    heads: [DenseView; 2],
    log_deviation: Tensor,
}

impl Views {
    fn new(flat: &Tensor, layout: &Layout) -> Result<Self> {
        let vector = |start: usize, len: usize| flat.f_narrow(0, start as i64, len as i64);
        let dense = |layer: &Dense, copies: usize| -> Result<DenseView> {
            let (inputs, outputs) = (layer.inputs as i64, (copies * layer.outputs) as i64);
            let weight =
                vector(layer.weight.start, copies * layer.weight.len())?.f_view([outputs, inputs])?;
            let bias = vector(layer.bias.start, copies * layer.bias.len())?;
            Ok(DenseView { weight_t: weight.f_transpose(0, 1)?, weight, bias })
        };
        let pair = |pair: &[Dense; 2]| -> Result<[DenseView; 2]> { Ok([dense(&pair[0], 1)?, dense(&pair[1], 1)?]) };
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

/// A tensor `[rows, 2 × width]`, and the policy's and the value's half of it.
struct Halved {
    both: Tensor,
    half: [Tensor; 2],
}

/// The tensors of one batch size.
struct Workspace {
    rows: usize,
    activations: Vec<Halved>,
    deltas: Vec<Halved>,
    outputs: [Tensor; 2],
    output_gradients: [Tensor; 2],
}

impl Workspace {
    fn new(rows: usize, layout: &Layout, device: Device) -> Result<Self> {
        let n = rows as i64;
        let empty = |width: usize| Tensor::f_empty([n, width as i64], (Kind::Float, device));
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
        })
    }
}

/// Host copies of the heads and their gradients for one batch size.
#[derive(Default)]
struct HostHeads {
    policy: Vec<f32>,
    values: Vec<f32>,
    policy_gradient: Vec<f32>,
    value_gradient: Vec<f32>,
    log_deviation_gradient: Vec<f64>,
}

/// One replica.
pub struct Part {
    layout: Layout,
    activation: Activation,
    device: Device,
    parameters: Views,
    /// The gradient that [`Part::differentiate`] leaves.
    pub gradient: Tensor,
    gradients: Views,
    // Inference and update alternate with batches of different sizes; each keeps its tensors.
    inference: Option<Workspace>,
    update: Option<Workspace>,
    gathered: AlignedBuffer,
    host: HostHeads,
}

impl Part {
    /// A replica that reads its parameters from `flat`, which others share.
    pub fn new(flat: &Tensor, layout: &Layout, activation: Activation) -> Result<Self> {
        let gradient = flat.f_zeros_like()?;
        Ok(Self {
            parameters: Views::new(flat, layout)?,
            gradients: Views::new(&gradient, layout)?,
            gradient,
            layout: layout.clone(),
            activation,
            device: flat.device(),
            inference: None,
            update: None,
            gathered: AlignedBuffer::default(),
            host: HostHeads::default(),
        })
    }

    /// Puts `observations` through both networks, into `policy` and `values`.
    pub fn infer(&mut self, observations: &[f32], policy: &mut [f32], values: &mut [f32]) -> Result<()> {
        let rows = values.len();
        let input = input_tensor(observations, rows, self.device)?;
        let workspace = fitted(&mut self.inference, rows, &self.layout, self.device)?;
        forward(&self.parameters, self.activation, &input, workspace)?;
        workspace.outputs[0].f_copy_data(policy, policy.len())?;
        workspace.outputs[1].f_copy_data(values, rows)?;
        Ok(())
    }

    /// Computes the gradient of `loss` over `rows` of `observations` into [`Part::gradient`].
    pub fn differentiate(
        &mut self,
        observations: &[f32],
        rows: &[u32],
        log_deviation: &[f32],
        loss: &HeadLoss<'_>,
    ) -> Result<LossSums> {
        let (n, width) = (rows.len(), self.layout.observation_len());
        let gathered = self.gathered.of_len(n * width);
        for (slot, &row) in gathered.chunks_exact_mut(width).zip(rows) {
            slot.copy_from_slice(&observations[row as usize * width..][..width]);
        }
        let input = input_tensor(gathered, n, self.device)?;
        let workspace = fitted(&mut self.update, n, &self.layout, self.device)?;
        forward(&self.parameters, self.activation, &input, workspace)?;

        let host = &mut self.host;
        let outputs = self.layout.heads[0].outputs;
        host.policy.resize(n * outputs, 0.0);
        host.policy_gradient.resize(n * outputs, 0.0);
        host.values.resize(n, 0.0);
        host.value_gradient.resize(n, 0.0);
        host.log_deviation_gradient.clear();
        host.log_deviation_gradient.resize(self.layout.log_deviation.len(), 0.0);
        workspace.outputs[0].f_copy_data(&mut host.policy, n * outputs)?;
        workspace.outputs[1].f_copy_data(&mut host.values, n)?;
        let sums = loss(
            rows,
            Heads { policy: &host.policy, values: &host.values, log_deviation },
            HeadGradients {
                policy: &mut host.policy_gradient,
                values: &mut host.value_gradient,
                log_deviation: &mut host.log_deviation_gradient,
            },
        );
        copy_in(&mut workspace.output_gradients[0], &host.policy_gradient)?;
        copy_in(&mut workspace.output_gradients[1], &host.value_gradient)?;
        if !host.log_deviation_gradient.is_empty() {
            let gradient: Vec<f32> = host.log_deviation_gradient.iter().map(|&g| g as f32).collect();
            copy_in(&mut self.gradients.log_deviation, &gradient)?;
        }
        backward(&self.parameters, &self.gradients, self.activation, &input, workspace)?;
        Ok(sums)
    }
}

/// Host numbers as a tensor on `device`, `rows` of them; on the processor it is the very same memory.
fn input_tensor(values: &[f32], rows: usize, device: Device) -> Result<Tensor> {
    let width = (values.len() / rows) as i64;
    // SAFETY: the tensor views `rows × width` initialised floats, is only read, and neither it nor a view
    // of it outlives the function that holds the borrow.
    let blob = unsafe {
        Tensor::f_from_blob(values.as_ptr().cast(), &[rows as i64, width], &[width, 1], Kind::Float, Device::Cpu)?
    };
    Ok(if device == Device::Cpu { blob } else { blob.f_to_device(device)? })
}

fn copy_in(target: &mut Tensor, values: &[f32]) -> Result<()> {
    let rows = target.size()[0] as usize;
    let source = input_tensor(values, rows, Device::Cpu)?;
    target.f_copy_(&source.f_view_as(target)?)?;
    Ok(())
}

fn fitted<'a>(
    slot: &'a mut Option<Workspace>,
    rows: usize,
    layout: &Layout,
    device: Device,
) -> Result<&'a mut Workspace> {
    if slot.as_ref().is_none_or(|workspace| workspace.rows != rows) {
        *slot = None;
    }
    match slot {
        Some(workspace) => Ok(workspace),
        None => Ok(slot.insert(Workspace::new(rows, layout, device)?)),
    }
}

fn forward(parameters: &Views, activation: Activation, input: &Tensor, work: &Workspace) -> Result<()> {
    for (layer, here) in work.activations.iter().enumerate() {
        match (&parameters.first, layer.checked_sub(1)) {
            (Some(first), None) => {
                written(first.bias.f_addmm_out(&here.both, input, &first.weight_t))?;
            }
            (_, below) => {
                for (network, dense) in parameters.hidden[layer].iter().enumerate() {
                    let source = below.map_or(input, |below| &work.activations[below].half[network]);
                    written(dense.bias.f_addmm_out(&here.half[network], source, &dense.weight_t))?;
                }
            }
        }
        written(match activation {
            Activation::Tanh => here.both.f_tanh_out(&here.both),
            Activation::Relu => here.both.f_clamp_min_out(&here.both, 0.0),
        })?;
    }
    for (network, dense) in parameters.heads.iter().enumerate() {
        let source = work.activations.last().map_or(input, |last| &last.half[network]);
        written(dense.bias.f_addmm_out(&work.outputs[network], source, &dense.weight_t))?;
    }
    Ok(())
}

fn backward(
    parameters: &Views,
    gradients: &Views,
    activation: Activation,
    input: &Tensor,
    work: &Workspace,
) -> Result<()> {
    let column_sums =
        |out: &Tensor, of: &Tensor| written(of.f_sum_intlist_out(out, [0_i64].as_slice(), false, Kind::Float));
    for network in [0, 1] {
        let delta = &work.output_gradients[network];
        let source = work.activations.last().map_or(input, |last| &last.half[network]);
        written(delta.f_transpose(0, 1)?.f_mm_out(&gradients.heads[network].weight, source))?;
        column_sums(&gradients.heads[network].bias, delta)?;
        if let Some(last) = work.deltas.last() {
            written(delta.f_mm_out(&last.half[network], &parameters.heads[network].weight))?;
        }
    }
    for layer in (0..work.deltas.len()).rev() {
        let (delta, output) = (&work.deltas[layer], &work.activations[layer].both);
        written(match activation {
            Activation::Tanh => Tensor::f_tanh_backward_grad_input(&delta.both, &delta.both, output),
            Activation::Relu => output.f_threshold_backward_grad_input(&delta.both, &delta.both, 0.0),
        })?;
        column_sums(&gradients.biases[layer], &delta.both)?;
        if let (Some(first), 0) = (&gradients.first, layer) {
            written(delta.both.f_transpose(0, 1)?.f_mm_out(&first.weight, input))?;
            continue;
        }
        for network in [0, 1] {
            let below = &work.activations[layer - 1].half[network];
            let (delta, weight) = (&delta.half[network], &parameters.hidden[layer][network].weight);
            written(delta.f_transpose(0, 1)?.f_mm_out(&gradients.hidden[layer][network].weight, below))?;
            written(delta.f_mm_out(&work.deltas[layer - 1].half[network], weight))?;
        }
    }
    Ok(())
}
