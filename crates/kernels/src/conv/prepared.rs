//! Convolutions for prediction: weights are brought once into the form that is computed with, not at every call.

use super::epilogue::Epilogue;
use super::winograd::{Convolution, TransformedWeights};
use super::{Algorithm, direct, forward, patches};
use crate::arch::MicroKernel;
use crate::gemm::{Packed, Rows};
use crate::{Activation, ConvShape, Isa, Precision, assert_len};

/// A convolution whose weights stay as they are, in f32. A linear layer is one of 1 x 1 on images of one pixel.
///
/// Beside the weights themselves it keeps one other form of them, that which is the fastest for the batch of its shape:
/// packed for the direct algorithm (as large as the weights), or transformed by Winograd's (16/9 or 4 times as large). A
/// batch for which another algorithm is faster, its own transform included, is computed by that one, from the weights.
pub struct PreparedConv {
    shape: ConvShape,
    isa: Isa,
    weights: Vec<f32>,
    bias: Option<Vec<f32>>,
    form: Form,
}

enum Form {
    /// The weights as they came: depthwise kernels and groups read them so.
    Plain,
    Packed(Packed),
    Transformed(Algorithm, TransformedWeights),
}

impl PreparedConv {
    /// Prepares `weights` (as [`crate::conv2d`] takes them) for the batch of `shape`, on the current instruction set;
    /// `bias` is `[out_channels]` where there is one.
    ///
    /// # Panics
    /// When a length is not that of the shape.
    pub fn new(shape: ConvShape, weights: Vec<f32>, bias: Option<Vec<f32>>) -> Self {
        assert_len("the weights", weights.len(), shape.weights_len());
        if let Some(bias) = &bias {
            assert_len("the bias", bias.len(), shape.out_channels);
        }
        let isa = Isa::current();
        let form = Precision::F32.run(|| prepare(&shape, MicroKernel::of(isa), &weights));
        Self { shape, isa, weights, bias, form }
    }

    /// `output = activation(convolution + bias + residual)` of `batch` images, whatever the batch of the shape was;
    /// `residual` has the shape of the output. Overwrites `output`.
    ///
    /// # Panics
    /// When a length is not that of the shape.
    pub fn run(
        &self,
        batch: usize,
        input: &[f32],
        residual: Option<&[f32]>,
        activation: Activation,
        output: &mut [f32],
    ) {
        let shape = &ConvShape { batch, ..self.shape };
        assert_len("the input", input.len(), shape.input_len());
        assert_len("the output", output.len(), shape.output_len());
        if let Some(residual) = residual {
            assert_len("the residual", residual.len(), shape.output_len());
        }
        let (isa, bias) = (self.isa, self.bias.as_deref());
        let epilogue = Epilogue { isa, bias, residual, activation, ..Epilogue::nothing() };
        let kernel = MicroKernel::of(isa);
        let chosen = Precision::F32.run(|| Algorithm::of_prepared(shape, self.algorithm()));
        match &self.form {
            Form::Packed(packed) if chosen == Algorithm::Direct => {
                direct(shape, kernel, input, packed, epilogue, output, None);
            }
            Form::Transformed(algorithm, weights) if chosen == *algorithm => {
                let Some(transforms) = chosen.transforms(kernel) else { return };
                let (patches, out_channels) = (patches(shape, input), shape.out_channels);
                let (transformed, weights) = (Some(weights), &rows(shape, &self.weights));
                Convolution { kernel, transforms, batch, patches, weights, transformed, epilogue, out_channels }
                    .run(output, None);
            }
            _ => Precision::F32.run(|| forward(shape, chosen, input, &self.weights, epilogue, output, None)),
        }
    }

    /// That whose form the weights have.
    fn algorithm(&self) -> Algorithm {
        match self.form {
            Form::Plain | Form::Packed(_) => Algorithm::Direct,
            Form::Transformed(algorithm, _) => algorithm,
        }
    }
}

fn prepare(shape: &ConvShape, kernel: &MicroKernel, weights: &[f32]) -> Form {
    if shape.groups > 1 {
        return Form::Plain;
    }
    let right = rows(shape, weights);
    let algorithm = Algorithm::to_prepare(shape);
    match algorithm.transforms(kernel) {
        Some(transforms) => {
            let channels = [shape.in_channels, shape.out_channels];
            Form::Transformed(algorithm, TransformedWeights::new(kernel, transforms, &right, channels).lasting())
        }
        None => Form::Packed(Packed::new(&right, kernel, shape.out_channels, shape.patch_len()).lasting()),
    }
}

fn rows<'a>(shape: &ConvShape, weights: &'a [f32]) -> Rows<'a> {
    Rows { values: weights, stride: shape.out_channels, copy: false }
}
