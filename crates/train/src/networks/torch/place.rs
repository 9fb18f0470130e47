//! The one door through which tensors reach a device. Metal knows no 64-bit floats, and what is 64 bits wide by
//! mistake would be slow on any card, so only 32-bit floats pass; nothing else in this crate names a device to
//! libtorch.

use anyhow::{Result, ensure};
use tch::{Device, Kind, Tensor};

/// A tensor that may live on a device.
fn admitted(tensor: Tensor) -> Result<Tensor> {
    let kind = tensor.kind();
    ensure!(
        kind == Kind::Float,
        "a tensor of {kind:?} on its way to a device that takes 32-bit floats alone"
    );
    Ok(tensor)
}

/// `tensor` on `device`; the very same one if it is there already.
pub fn moved(tensor: Tensor, device: Device) -> Result<Tensor> {
    let tensor = admitted(tensor)?;
    Ok(if tensor.device() == device { tensor } else { tensor.f_to_device(device)? })
}

/// `values` as a vector on `device`.
pub fn upload(values: &[f32], device: Device) -> Result<Tensor> {
    moved(Tensor::f_from_slice(values)?, device)
}

/// Memory of that shape whose values are yet to be written.
pub fn empty<const N: usize>(shape: [i64; N], device: Device) -> Result<Tensor> {
    Ok(Tensor::f_empty(shape, (Kind::Float, device))?)
}

/// A vector of ones.
pub fn ones(len: i64, device: Device) -> Result<Tensor> {
    Ok(Tensor::f_ones([len], (Kind::Float, device))?)
}

/// Zeros of the shape of `tensor`, where it is.
pub fn zeros_like(tensor: &Tensor) -> Result<Tensor> {
    admitted(tensor.f_zeros_like()?)
}

/// The numbers of a tensor on any device.
pub fn download(tensor: &Tensor) -> Result<Vec<f32>> {
    let mut values = vec![0.0_f32; tensor.numel()];
    read(tensor, &mut values)?;
    Ok(values)
}

/// Copies the numbers of a tensor on any device into `values`, of which there are as many.
pub fn read(tensor: &Tensor, values: &mut [f32]) -> Result<()> {
    Ok(tensor.f_copy_data(values, tensor.numel())?)
}

/// The numbers of a tensor that the processor has, in its own memory.
///
/// # Safety
/// While the slice lives, nothing may write to that memory.
pub unsafe fn values(tensor: &Tensor) -> &[f32] {
    debug_assert!(tensor.device() == Device::Cpu && tensor.is_contiguous());
    // SAFETY: libtorch keeps so many floats there as long as there is a handle of the tensor.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), tensor.numel()) }
}

/// The same, to be written.
///
/// # Safety
/// While the slice lives, nothing else may read or write that memory.
#[expect(clippy::mut_from_ref, reason = "a handle of a tensor says nothing about who else has one")]
pub unsafe fn values_mut(tensor: &Tensor) -> &mut [f32] {
    debug_assert!(tensor.device() == Device::Cpu && tensor.is_contiguous());
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
}

/// Overwrites a vector on any device.
pub fn overwrite(tensor: &mut Tensor, values: &[f32]) -> Result<()> {
    ensure!(values.len() == tensor.numel(), "{} values for {} parameters", values.len(), tensor.numel());
    tensor.f_copy_(&admitted(Tensor::f_from_slice(values)?)?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_32_bit_floats_pass() {
        for wide in [Tensor::from_slice(&[1.0_f64]), Tensor::from_slice(&[1_i64])] {
            let error = moved(wide.shallow_clone(), Device::Cpu).unwrap_err().to_string();
            assert!(error.contains("32-bit"), "{error}");
            assert!(zeros_like(&wide).is_err());
        }
        assert!(moved(Tensor::from_slice(&[1.0_f32]), Device::Cpu).is_ok());
    }

    #[test]
    fn nothing_else_names_a_device_to_libtorch() {
        // A tensor made or moved past the door could be of any kind.
        let rest = [
            include_str!("adam.rs"),
            include_str!("layers.rs"),
            include_str!("mod.rs"),
            include_str!("part.rs"),
        ]
        .join("\n");
        let code: Vec<&str> = rest.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for way_past in [
            "to_device",
            "f_to(",
            "f_zeros(",
            "f_ones(",
            "f_empty(",
            "f_full(",
            "Kind::Double",
            "zeros_like()",
        ] {
            assert!(!code.iter().any(|line| line.contains(way_past)), "{way_past} outside of place.rs");
        }
    }
}
