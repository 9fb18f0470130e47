//! Named vectors of floats in safetensors files.

use anyhow::{Result, anyhow, bail};
use safetensors::tensor::{Dtype, TensorView};

/// The floats of `tensor`, of which there must be as many as in `values`.
///
/// # Errors
/// If there are not, or they are no floats.
pub fn copy_floats(tensor: &TensorView<'_>, values: &mut [f32]) -> Result<()> {
    let bytes = tensor.data();
    if tensor.dtype() != Dtype::F32 || bytes.len() != 4 * values.len() {
        bail!(
            "a tensor of {} bytes of {:?} where {} floats were due",
            bytes.len(),
            tensor.dtype(),
            values.len()
        );
    }
    for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(4)) {
        *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    Ok(())
}

/// The file that holds `tensors`: name, shape and values of each.
///
/// # Errors
/// If a shape does not fit its values.
pub fn to_bytes<'a>(tensors: impl Iterator<Item = (String, Vec<usize>, &'a [f32])>) -> Result<Vec<u8>> {
    let bytes: Vec<_> = tensors
        .map(|(name, shape, values)| {
            (name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
        })
        .collect();
    let views: Result<Vec<_>, _> = bytes
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect();
    let views = views.map_err(|error: safetensors::SafeTensorError| anyhow!("{error}"))?;
    safetensors::serialize(views, None).map_err(|error| anyhow!("{error}"))
}
