//! One replica of the networks on one thread: a minibatch goes through them a piece at a time, forward, through the
//! loss, and backward by hand, since a chain of dense layers needs no tape. All tensors are made once for a batch
//! size and written in place afterwards.
//!
//! Both networks' hidden activations lie side by side in one tensor, `[rows, 2 × width]`: one tanh serves
//! both, and the first layers are one product.

use anyhow::Result;
use tch::{Device, Kind, Tensor};

use crate::networks::aligned::AlignedBuffer;
use crate::networks::learner::{HeadGradients, HeadLoss, Heads, LossSums};
use crate::networks::network::{Activation, Layout};
use crate::networks::small::SmallNetworks;
use crate::networks::torch::layers::{Views, Workspace};
use crate::networks::torch::{place, written};

/// Rows that go forward and backward at once: few enough for all that lies between to stay in a core's
/// second-level cache, enough for the calls into libtorch not to count. Whole minibatches of 8,192 rows took
/// 1.5 times as long with two layers of 64; 256 and 1,024 rows were within a tenth.
const ROWS_AT_ONCE: usize = 512;
/// Batch sizes whose tensors are kept.
const WORKSPACES: usize = 4;

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
    flat: Tensor,
    /// What computes it in place of libtorch.
    small: Option<SmallNetworks>,
    parameters: Views,
    /// The gradient that [`Part::differentiate`] leaves.
    pub gradient: Tensor,
    gradients: Views,
    // Acting and learning alternate with batches of different sizes; the latest sizes keep their tensors.
    workspaces: Vec<Workspace>,
    gathered: AlignedBuffer,
    host: HostHeads,
}

impl Part {
    /// A replica that reads its parameters from `flat`, which others share.
    pub fn new(flat: &Tensor, layout: &Layout, activation: Activation) -> Result<Self> {
        let gradient = place::zeros_like(flat)?;
        Ok(Self {
            parameters: Views::new(flat, layout)?,
            gradients: Views::new(&gradient, layout)?,
            gradient,
            layout: layout.clone(),
            activation,
            device: flat.device(),
            small: if flat.device() == Device::Cpu { SmallNetworks::new(layout, activation) } else { None },
            flat: flat.shallow_clone(),
            workspaces: Vec::new(),
            gathered: AlignedBuffer::default(),
            host: HostHeads::default(),
        })
    }

    /// The parameters are other ones from now on.
    pub fn changed(&mut self) {
        if let Some(small) = &mut self.small {
            small.changed();
        }
    }

    /// Has libtorch compute it, whatever else could.
    pub fn leave_to_libtorch(&mut self) {
        self.small = None;
    }

    /// Puts `observations` through both networks, into `policy` and `values`.
    pub fn infer(&mut self, observations: &[f32], policy: &mut [f32], values: &mut [f32]) -> Result<()> {
        if let Some(small) = &mut self.small {
            // SAFETY: parameters change only between the operations of replicas.
            small.infer(unsafe { place::values(&self.flat) }, observations, policy, values);
            return Ok(());
        }
        let rows = values.len();
        let input = input_tensor(observations, rows, self.device)?;
        let workspace = fitted(&mut self.workspaces, rows, &self.layout, self.device)?;
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
        if let Some(small) = &mut self.small {
            // SAFETY: parameters change only between the operations of replicas, and the gradient is this one's own.
            let (flat, gradient) = unsafe { (place::values(&self.flat), place::values_mut(&self.gradient)) };
            return Ok(small.differentiate(flat, (observations, rows), log_deviation, loss, gradient));
        }
        written(self.gradient.f_zero_())?;
        self.host.log_deviation_gradient.clear();
        self.host.log_deviation_gradient.resize(self.layout.log_deviation.len(), 0.0);
        let mut sums = LossSums::default();
        // Equal shares, so that the last one is not a crumb.
        let pieces = rows.len().div_ceil(ROWS_AT_ONCE);
        for piece in rows.chunks(rows.len().div_ceil(pieces)) {
            sums += self.accumulate(observations, piece, log_deviation, loss)?;
        }
        if !log_deviation.is_empty() {
            let gradient: Vec<f32> = self.host.log_deviation_gradient.iter().map(|&g| g as f32).collect();
            copy_in(&self.gradients.log_deviation, &gradient)?;
        }
        Ok(sums)
    }

    /// Adds the gradient over a few rows to [`Part::gradient`].
    fn accumulate(
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
        let workspace = fitted(&mut self.workspaces, n, &self.layout, self.device)?;
        forward(&self.parameters, self.activation, &input, workspace)?;

        let (host, outputs) = (&mut self.host, self.layout.heads[0].outputs);
        host.policy.resize(n * outputs, 0.0);
        host.policy_gradient.resize(n * outputs, 0.0);
        host.values.resize(n, 0.0);
        host.value_gradient.resize(n, 0.0);
        workspace.outputs[0].f_copy_data(&mut host.policy, n * outputs)?;
        workspace.outputs[1].f_copy_data(&mut host.values, n)?;
        let sums = loss(
            rows,
            Heads { policy: &host.policy, values: &host.values, log_deviation },
            &mut HeadGradients {
                policy: &mut host.policy_gradient,
                values: &mut host.value_gradient,
                log_deviation: &mut host.log_deviation_gradient,
            },
        );
        copy_in(&workspace.output_gradients[0], &host.policy_gradient)?;
        copy_in(&workspace.output_gradients[1], &host.value_gradient)?;
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
        Tensor::f_from_blob(
            values.as_ptr().cast(),
            &[rows as i64, width],
            &[width, 1],
            Kind::Float,
            Device::Cpu,
        )?
    };
    place::moved(blob, device)
}

fn copy_in(target: &Tensor, values: &[f32]) -> Result<()> {
    let rows = target.size()[0] as usize;
    let source = input_tensor(values, rows, Device::Cpu)?;
    // A second handle of the same tensor: writing into it is no change of the first.
    Ok(target.shallow_clone().f_copy_(&source.f_view_as(target)?)?)
}

/// The tensors for batches of `rows`.
fn fitted<'a>(
    workspaces: &'a mut Vec<Workspace>,
    rows: usize,
    layout: &Layout,
    device: Device,
) -> Result<&'a Workspace> {
    let known = workspaces.iter().position(|workspace| workspace.rows == rows);
    let place = if let Some(place) = known {
        place
    } else {
        if workspaces.len() == WORKSPACES {
            workspaces.remove(0);
        }
        workspaces.push(Workspace::new(rows, layout, device)?);
        workspaces.len() - 1
    };
    Ok(&workspaces[place])
}

/// Puts `input` through both networks, into the outputs of `work`.
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

/// Adds the gradients that follow from those of the outputs in `work`.
fn backward(
    parameters: &Views,
    gradients: &Views,
    activation: Activation,
    input: &Tensor,
    work: &Workspace,
) -> Result<()> {
    // out += aᵀ b, and out += the sums of a's columns.
    let add_product =
        |out: &Tensor, a: &Tensor, b: &Tensor| written(out.f_addmm_out(out, &a.f_transpose(0, 1)?, b));
    let add_column_sums =
        |out: &Tensor, a: &Tensor| written(out.f_addmv_out(out, &a.f_transpose(0, 1)?, &work.ones));
    for network in [0, 1] {
        let delta = &work.output_gradients[network];
        let source = work.activations.last().map_or(input, |last| &last.half[network]);
        add_product(&gradients.heads[network].weight, delta, source)?;
        add_column_sums(&gradients.heads[network].bias, delta)?;
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
        add_column_sums(&gradients.biases[layer], &delta.both)?;
        if let (Some(first), 0) = (&gradients.first, layer) {
            add_product(&first.weight, &delta.both, input)?;
            continue;
        }
        for network in [0, 1] {
            let below = &work.activations[layer - 1].half[network];
            let (delta, weight) = (&delta.half[network], &parameters.hidden[layer][network].weight);
            add_product(&gradients.hidden[layer][network].weight, delta, below)?;
            written(delta.f_mm_out(&work.deltas[layer - 1].half[network], weight))?;
        }
    }
    Ok(())
}
