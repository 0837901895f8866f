//! Weights of other programs, by the names that these gave them: safetensors and PyTorch's files.

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::{Tensors, tensors::floats_of, torch};

/// The tensors of a file, as f32. Integers, such as counters of batches, are left out.
pub(super) fn read(bytes: &[u8]) -> Result<Tensors, String> {
    if torch::is_torch(bytes) {
        return torch::read(bytes);
    }
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut tensors = Tensors::new();
    for (name, tensor) in file.tensors() {
        let data = tensor.data();
        let halves = || data.as_chunks::<2>().0.iter();
        let values = match tensor.dtype() {
            Dtype::F32 => floats_of(data),
            Dtype::F16 => halves().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect(),
            Dtype::BF16 => halves().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect(),
            _ => continue,
        };
        tensors.insert(name, (tensor.shape().to_vec(), values));
    }
    match tensors.is_empty() {
        true => Err("it holds no tensors of floats".into()),
        false => Ok(tensors),
    }
}
