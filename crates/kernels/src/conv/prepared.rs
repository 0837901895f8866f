//! Convolutions for prediction: weights are brought once into the form that is computed with, not at every call.

use std::ops::Range;

use super::depthwise;
use super::epilogue::Epilogue;
use super::pointwise::Pointwise;
use super::winograd::{Convolution, TransformedWeights};
use super::{Algorithm, direct, few_channels, forward, is_pointwise, patches, shallow};
use crate::arch::MicroKernel;
use crate::gemm::{Packed, Rows};
use crate::{Activation, ConvShape, Isa, Precision, assert_len};

/// A convolution whose weights stay as they are, in f32. A linear layer is one of 1 x 1 on images of one pixel.
///
/// Beside the weights themselves it may keep one other form of them, that which is the fastest for the batch of its shape:
/// packed for the direct algorithm (as large as the weights), or transformed by Winograd's (16/9 or 4 times as large). A
/// batch for which another algorithm is faster, its own transform included, is computed by that one, from the weights.
pub struct PreparedConv {
    pub(super) shape: ConvShape,
    isa: Isa,
    weights: Vec<f32>,
    /// Of a 1 x 1 padded to whole panels.
    bias: Option<Vec<f32>>,
    form: Form,
}

/// Tiles of rows of a 1 x 1 that are few: reading the weights is then what takes the time, and another way's concern.
const FEW_TILES: usize = 4;

enum Form {
    /// The weights as they came: depthwise kernels and groups read them so, and the few of an image's few channels are packed
    /// at every call.
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
        let kernel = MicroKernel::of(isa);
        let form = Precision::F32.run(|| prepare(&shape, kernel, &weights));
        let mut bias = bias;
        if let Some(bias) = bias.as_mut().filter(|_| is_pointwise(&shape)) {
            bias.resize(shape.out_channels.next_multiple_of(kernel.columns), 0.0);
        }
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
        let kernel = MicroKernel::of(self.isa);
        if let Some(pointwise) = self.pointwise(residual, activation)
            && shape.out_pixels() > FEW_TILES * kernel.rows
        {
            return pointwise.run(shape.out_pixels(), input, output);
        }
        let epilogue = self.epilogue(residual, activation);
        let chosen = Precision::F32.run(|| Algorithm::of_prepared(shape, self.algorithm()));
        match &self.form {
            Form::Plain if chosen == Algorithm::Shallow => {
                few_channels(shape, input, &self.weights, epilogue, output, None);
            }
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

    fn epilogue<'a>(&'a self, residual: Option<&'a [f32]>, activation: Activation) -> Epilogue<'a> {
        let bias = self.bias.as_ref().map(|bias| &bias[..self.shape.out_channels]);
        Epilogue { isa: self.isa, bias, residual, activation, ..Epilogue::nothing() }
    }

    /// What computes it, if it is one of 1 x 1.
    pub(super) fn pointwise<'a>(
        &'a self,
        residual: Option<&'a [f32]>,
        activation: Activation,
    ) -> Option<Pointwise<'a>> {
        let Form::Packed(weights) = &self.form else { return None };
        let channels = [self.shape.in_channels, self.shape.out_channels];
        let (kernel, bias) = (MicroKernel::of(self.isa), self.bias.as_deref().unwrap_or_default());
        let epilogue = Epilogue { bias: None, ..self.epilogue(residual, activation) };
        is_pointwise(&self.shape).then_some(Pointwise { kernel, channels, weights, bias, epilogue })
    }

    /// What computes a part of the outputs of one image, if it is depthwise: `channels` of `rows`, from these channels of
    /// the rows `seen` of the image's input, which are `images`.
    pub(super) fn depthwise_part<'a>(
        &'a self,
        images: &'a [f32],
        seen: &Range<usize>,
        rows: &Range<usize>,
        channels: &Range<usize>,
        activation: Activation,
    ) -> depthwise::Convolution<'a> {
        let mut patches = patches(&self.shape, images);
        (patches.pixel, patches.channels) = (channels.len(), channels.len());
        patches.height = seen.len();
        patches.origin[0] += (rows.start * self.shape.stride) as isize - seen.start as isize;
        patches.out[0] = rows.len();
        let channels = [channels.start, self.shape.out_channels];
        let outputs = depthwise::Outputs { image: patches.out, first: [0; 2], step: 1, channels };
        let (kernels, weights) = (MicroKernel::of(self.isa).depthwise, &self.weights[..]);
        let epilogue = self.epilogue(None, activation);
        depthwise::Convolution { kernels, batch: 1, patches, weights, epilogue, outputs }
    }

    /// Whether it is depthwise, and `depthwise` has kernels for it.
    pub(super) fn is_depthwise(&self) -> bool {
        depthwise::takes(&self.shape, MicroKernel::of(self.isa))
    }

    /// The algorithm for which the weights were brought into another form, or left as they are.
    pub fn algorithm(&self) -> Algorithm {
        match self.form {
            Form::Plain if shallow::takes(&self.shape) => Algorithm::Shallow,
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
            let (ins, outs) = (shape.in_channels, 0..shape.out_channels);
            Form::Transformed(algorithm, TransformedWeights::new(kernel, transforms, &right, ins, outs).lasting())
        }
        None if algorithm == Algorithm::Shallow => Form::Plain,
        None => Form::Packed(Packed::new(&right, kernel, shape.out_channels, shape.patch_len()).lasting()),
    }
}

fn rows<'a>(shape: &ConvShape, weights: &'a [f32]) -> Rows<'a> {
    Rows { values: weights, stride: shape.out_channels, copy: false }
}
