//! Two-dimensional convolution and its gradients, as matrix products whose operands are gathered on the fly.
//!
//! * Forward: patches `[pixels, kernel x in_channels]` times weights.
//! * Gradient of the input: the output's gradient under the kernel turned round, times the weights turned the same way.
//!   A stride of s splits the input's pixels into s x s phases that see different parts of the kernel (none at all, for
//!   some); each phase is a convolution of stride 1.
//! * Gradient of the weights: patches, turned, times the output's gradient, summed over fixed chunks of pixels.
//!
//! Images of few channels have kernels of their own in `shallow`. Groups are products of their own, one after the other; where every channel is a group, `depthwise` has its own kernels.
//!
//! This is the direct algorithm; where [`Algorithm`] finds it cheaper, Winograd's takes its place, or in bf16 that of
//! `padded`. What follows a convolution, an activation or the statistics of a norm, is done to its outputs while they are in the cache.

mod algorithm;
mod block;
mod depthwise;
mod epilogue;
mod groups;
mod padded;
mod patches;
mod pointwise;
mod prepared;
mod shallow;
mod statistics;
mod turned;
mod winograd;

pub use algorithm::{Algorithm, Pass};
pub use block::{BlockLayer, InvertedResidual};
pub use prepared::PreparedConv;

use std::ops::Range;

use crate::arch::{MicroKernel, Transforms};
use crate::element::{filled_by, widened};
use crate::gemm::{Destination, Finish, Left, Product, Reduction, Right, Rows, rows_in_task};
use crate::parallel::SharedMut;
use crate::{Activation, ConvShape, Element, Isa, Layout, assert_len, gemm};
use epilogue::{Epilogue, Region};
use patches::{Patches, Turned};
use statistics::gather;
use turned::{Phase, phases};
use winograd::{Convolution, WeightGradient};

/// The convolution of `input` with `weights`, plus `bias` (`[out_channels]`) where there is one. Overwrites `output`.
/// Both may be kept in bf16, as [`conv2d_with_statistics`] says.
pub fn conv2d<I: Element, O: Element>(
    shape: &ConvShape,
    input: &[I],
    weights: &[f32],
    bias: Option<&[f32]>,
    output: &mut [O],
) {
    let epilogue = Epilogue { bias, ..Epilogue::nothing() };
    forward(shape, Algorithm::of(shape, Pass::Forward), input, weights, epilogue, output, None);
}

/// `output = activation(convolution + bias + residual)`, as one pass over memory; `bias` is `[out_channels]`, `residual`
/// has the shape of the output. A batch norm with known statistics belongs into the weights and the bias.
pub fn conv2d_fused(
    shape: &ConvShape,
    input: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    activation: Activation,
    output: &mut [f32],
) {
    if let Some(residual) = residual {
        assert_len("the residual", residual.len(), shape.output_len());
    }
    let epilogue = Epilogue { bias, residual, activation, ..Epilogue::nothing() };
    forward(shape, Algorithm::of(shape, Pass::Forward), input, weights, epilogue, output, None);
}

/// [`conv2d`], and the mean and the biased variance of each channel of its output (`[out_channels]`), gathered while the
/// output is in the cache: what [`crate::batch_norm_apply`] wants. Without output pixels both are 0.
///
/// Input and output may be kept in bf16. Direct algorithms copy them, but for the output of [`Algorithm::Shallow`];
/// statistics are those of what is written, or of what was rounded to it.
pub fn conv2d_with_statistics<I: Element, O: Element>(
    shape: &ConvShape,
    input: &[I],
    weights: &[f32],
    bias: Option<&[f32]>,
    output: &mut [O],
    mean: &mut [f32],
    variance: &mut [f32],
) {
    assert_len("the mean", mean.len(), shape.out_channels);
    assert_len("the variance", variance.len(), shape.out_channels);
    let epilogue = Epilogue { bias, ..Epilogue::nothing() };
    let algorithm = Algorithm::of(shape, Pass::Forward);
    forward(shape, algorithm, input, weights, epilogue, output, Some([mean, variance]));
}

fn forward<I: Element, O: Element>(
    shape: &ConvShape,
    algorithm: Algorithm,
    input: &[I],
    weights: &[f32],
    epilogue: Epilogue<'_>,
    output: &mut [O],
    statistics: Option<[&mut [f32]; 2]>,
) {
    assert_len("the input", input.len(), shape.input_len());
    assert_len("the weights", weights.len(), shape.weights_len());
    assert_len("the output", output.len(), shape.output_len());
    if let Some(bias) = epilogue.bias {
        assert_len("the bias", bias.len(), shape.out_channels);
    }
    let kernel = MicroKernel::for_products(epilogue.isa);
    let (batch, patches) = (shape.batch, patches(shape, input));
    let right = Rows { values: weights, stride: shape.out_channels, copy: false };
    if let Some(transforms) = algorithm.transforms(kernel) {
        let convolution = by_transforms(transforms, batch, patches, &right, shape.out_channels, epilogue);
        return convolution.run(output, statistics);
    }
    match algorithm {
        Algorithm::Padded => {
            let (matrix, outputs) = (kernel.matrix, all_outputs(shape));
            let convolution = padded::Convolution { matrix, batch, patches, weights: &right, epilogue, outputs };
            convolution.run(output, statistics);
        }
        Algorithm::Shallow => few_channels(shape, &widened(input), weights, epilogue, output, statistics),
        _ => filled_by(output, |output| {
            forward_in_f32(shape, &widened(input), weights, epilogue, output, statistics);
        }),
    }
}

/// By a direct algorithm, which knows f32 only.
fn forward_in_f32(
    shape: &ConvShape,
    input: &[f32],
    weights: &[f32],
    epilogue: Epilogue<'_>,
    output: &mut [f32],
    statistics: Option<[&mut [f32]; 2]>,
) {
    let (kernel, patches) = (MicroKernel::for_products(epilogue.isa), patches(shape, input));
    let right = Rows { values: weights, stride: shape.out_channels, copy: false };
    if depthwise::takes(shape, kernel) {
        let outputs = all_outputs(shape);
        let (batch, kernels) = (shape.batch, kernel.depthwise);
        let patches = patches.of_all_channels();
        let convolution = depthwise::Convolution { kernels, batch, patches, weights, epilogue, outputs };
        return convolution.run(output, statistics);
    }
    if shape.groups > 1 {
        return groups::forward(shape, kernel, input, weights, epilogue, output, statistics);
    }
    direct(shape, kernel, input, &right, epilogue, output, statistics);
}

/// By Winograd's algorithm.
fn by_transforms<'a, E: Element, R: Right>(
    transforms: &'static Transforms,
    batch: usize,
    patches: Patches<'a, E>,
    weights: &'a R,
    out_channels: usize,
    epilogue: Epilogue<'a>,
) -> Convolution<'a, E, R> {
    let kernel = MicroKernel::for_transformed(epilogue.isa, patches.channels);
    Convolution { kernel, transforms, batch, patches, weights, transformed: None, epilogue, out_channels }
}

/// Rows of few channels times weights.
fn few_channels<O: Element>(
    shape: &ConvShape,
    input: &[f32],
    weights: &[f32],
    epilogue: Epilogue<'_>,
    output: &mut [O],
    statistics: Option<[&mut [f32]; 2]>,
) {
    let (kernel, patches) = (MicroKernel::of(epilogue.isa), patches(shape, input));
    let (batch, out_channels) = (shape.batch, shape.out_channels);
    shallow::Convolution { kernel, batch, patches, weights, epilogue, out_channels }.run(output, statistics);
}

/// Patches times weights.
fn direct(
    shape: &ConvShape,
    kernel: &MicroKernel,
    input: &[f32],
    right: &impl Right,
    epilogue: Epilogue<'_>,
    output: &mut [f32],
    statistics: Option<[&mut [f32]; 2]>,
) {
    if is_pointwise(shape) {
        let left = Rows { values: input, stride: shape.in_channels, copy: shape.out_channels > 3 * kernel.columns };
        multiply(shape, kernel, &left, right, epilogue, output, statistics);
    } else {
        multiply(shape, kernel, &patches(shape, input), right, epilogue, output, statistics);
    }
}

fn multiply(
    shape: &ConvShape,
    kernel: &MicroKernel,
    left: &impl Left,
    right: &impl Right,
    epilogue: Epilogue<'_>,
    output: &mut [f32],
    statistics: Option<[&mut [f32]; 2]>,
) {
    let (pixels, channels) = (shape.out_pixels(), shape.out_channels);
    let sizes = [pixels, channels, shape.patch_len()];
    let rows = rows_in_task(kernel, sizes);
    let run = |epilogue: Epilogue<'_>, output: &mut [f32]| {
        // The sums start from the bias.
        let (bias, epilogue) = (epilogue.bias, Epilogue { bias: None, ..epilogue });
        let finish = |pixels: Range<usize>, part: Range<usize>, output: SharedMut<'_, f32>| {
            let (block, first) = (pixels.start / rows, pixels.start * channels);
            let region = Region { first, rows: 1, columns: pixels.len(), row: 0 };
            // SAFETY: nobody else uses this block of the output meanwhile, as `Product` says.
            unsafe { epilogue.finish(block, std::iter::once(region), part, channels, output) };
        };
        let finish: Option<&Finish<'_>> = if epilogue.is_needed() { Some(&finish) } else { None };
        Product { sizes, left, right, bias, accumulate: false, finish }.run(kernel, Destination::Rows(output));
    };
    let Some(statistics) = statistics else { return run(epilogue, output) };
    let blocks = (0..pixels.div_ceil(rows)).map(|block| rows.min(pixels - block * rows));
    gather(blocks, statistics, |gather| run(Epilogue { gather: Some(gather), ..epilogue }, output));
}

/// The gradient of the input, given that of the output. Overwrites `input_gradient`. Both may be kept in bf16, as
/// [`conv2d_with_statistics`] says.
pub fn conv2d_input_gradient<G: Element, I: Element>(
    shape: &ConvShape,
    output_gradient: &[G],
    weights: &[f32],
    input_gradient: &mut [I],
) {
    assert_len("the output's gradient", output_gradient.len(), shape.output_len());
    assert_len("the weights", weights.len(), shape.weights_len());
    assert_len("the input's gradient", input_gradient.len(), shape.input_len());
    let algorithm = Algorithm::of(shape, Pass::InputGradient);
    let (epilogue, batch) = (Epilogue::nothing(), shape.batch);
    let kernel = MicroKernel::for_products(epilogue.isa);
    let transforms = algorithm.transforms(kernel);
    if transforms.is_none() && algorithm != Algorithm::Padded {
        return filled_by(input_gradient, |input_gradient| {
            input_gradient_in_f32(shape, kernel, &widened(output_gradient), weights, input_gradient);
        });
    }
    for [row_phase, column_phase] in phases(shape) {
        let patches = output_patches(shape, output_gradient, &row_phase, &column_phase);
        let outputs = inputs_of_phase(shape, &row_phase, &column_phase);
        let weights = &turned::Weights { shape, weights, row_phase, column_phase };
        match transforms {
            // The only phase: the stride is 1.
            Some(transforms) => {
                by_transforms(transforms, batch, patches, weights, shape.in_channels, epilogue)
                    .run(input_gradient, None);
            }
            None => {
                let matrix = kernel.matrix;
                padded::Convolution { matrix, batch, patches, weights, epilogue, outputs }.run(input_gradient, None);
            }
        }
    }
}

/// By a direct algorithm, which knows f32 only.
fn input_gradient_in_f32(
    shape: &ConvShape,
    kernel: &MicroKernel,
    output_gradient: &[f32],
    weights: &[f32],
    input_gradient: &mut [f32],
) {
    let (ins, outs) = (shape.in_channels, shape.out_channels);
    if is_pointwise(shape) {
        let (plain, turned) = (Layout::RowMajor, Layout::Transposed);
        return gemm(shape.out_pixels(), ins, outs, output_gradient, plain, weights, turned, false, input_gradient);
    }
    if depthwise::takes(shape, kernel) {
        return depthwise_input_gradient(shape, kernel, output_gradient, weights, input_gradient);
    }
    if shape.groups > 1 {
        return groups::input_gradient(shape, kernel, output_gradient, weights, input_gradient);
    }
    for [row_phase, column_phase] in phases(shape) {
        let left = output_patches(shape, output_gradient, &row_phase, &column_phase);
        let right = turned::Weights { shape, weights, row_phase, column_phase };
        let [height, width] = left.out;
        let sizes = [shape.batch * height * width, ins, row_phase.taps * column_phase.taps * outs];
        let place = |pixel: usize| turned::place(shape, &row_phase, &column_phase, pixel);
        let destination = if shape.stride == 1 {
            Destination::Rows(input_gradient)
        } else {
            Destination::Scattered(input_gradient, &place)
        };
        Product { sizes, left: &left, right: &right, bias: None, accumulate: false, finish: None }
            .run(kernel, destination);
    }
}

fn depthwise_input_gradient(
    shape: &ConvShape,
    kernel: &MicroKernel,
    output_gradient: &[f32],
    weights: &[f32],
    input_gradient: &mut [f32],
) {
    for [rows, columns] in phases(shape) {
        let patches = output_patches(shape, output_gradient, &rows, &columns).of_all_channels();
        let weights = &turned::depthwise_weights(shape, weights, &rows, &columns);
        let outputs = inputs_of_phase(shape, &rows, &columns);
        let (batch, kernels, epilogue) = (shape.batch, kernel.depthwise, Epilogue::nothing());
        depthwise::Convolution { kernels, batch, patches, weights, epilogue, outputs }.run(input_gradient, None);
    }
}

/// The gradient of the weights, given that of the output. Overwrites `weight_gradient`. That of the bias is
/// [`crate::channel_sums`] of `output_gradient`. Both may be kept in bf16, as [`conv2d_with_statistics`] says.
pub fn conv2d_weight_gradient<I: Element, G: Element>(
    shape: &ConvShape,
    input: &[I],
    output_gradient: &[G],
    weight_gradient: &mut [f32],
) {
    assert_len("the input", input.len(), shape.input_len());
    assert_len("the output's gradient", output_gradient.len(), shape.output_len());
    assert_len("the weights' gradient", weight_gradient.len(), shape.weights_len());
    let algorithm = Algorithm::of(shape, Pass::WeightGradient);
    let kernel = MicroKernel::for_products(Isa::current());
    if algorithm == Algorithm::Padded {
        let (matrix, patches) = (kernel.matrix, patches(shape, input));
        return padded::WeightGradient { matrix, shape, patches, output_gradient }.run(weight_gradient);
    }
    if let Some(transforms) = algorithm.transforms(kernel) {
        let kernel = MicroKernel::for_transformed(Isa::current(), 2);
        return WeightGradient { kernel, transforms, shape, input, output_gradient }.run(weight_gradient);
    }
    weight_gradient_in_f32(shape, kernel, &widened(input), &widened(output_gradient), weight_gradient);
}

/// By a direct algorithm, which knows f32 only.
fn weight_gradient_in_f32(
    shape: &ConvShape,
    kernel: &MicroKernel,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    if depthwise::takes(shape, kernel) {
        let kernels = kernel.depthwise;
        return depthwise::WeightGradient { kernels, shape, input, output_gradient }.run(weight_gradient);
    }
    if shape.groups > 1 {
        return groups::weight_gradient(shape, kernel, input, output_gradient, weight_gradient);
    }
    let sizes = [shape.patch_len(), shape.out_channels, shape.out_pixels()];
    let left = Turned(patches(shape, input));
    let right = Rows { values: output_gradient, stride: shape.out_channels, copy: false };
    Reduction { sizes, left: &left, right: &right, accumulate: false }.run(kernel, weight_gradient);
}

/// `c = a b` by whole matrix tiles in bf16: `a` is `[m, k]` and row-major. A convolution of 1 x 1 is that.
pub(crate) fn tile_product(kernel: &MicroKernel, [m, n, k]: [usize; 3], a: &[f32], right: &impl Right, c: &mut [f32]) {
    let shape = &ConvShape::of_rows(m, k, n);
    let (patches, outputs) = (patches(shape, a), all_outputs(shape));
    let (matrix, epilogue) = (kernel.matrix, Epilogue::nothing());
    padded::Convolution { matrix, batch: 1, patches, weights: right, epilogue, outputs }.run(c, None);
}

/// `c = aT b` by whole matrix tiles in bf16, summed over the rows of both: `a` is `[k, m]`, `b` `[k, n]`. The gradient of the
/// weights of a convolution of 1 x 1 is that.
pub(crate) fn turned_tile_product(kernel: &MicroKernel, [m, n, k]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    let shape = &ConvShape::of_rows(k, m, n);
    padded::WeightGradient { matrix: kernel.matrix, shape, patches: patches(shape, a), output_gradient: b }.run(c);
}

/// Where the outputs of a convolution go.
fn all_outputs(shape: &ConvShape) -> depthwise::Outputs {
    let image = [shape.out_height(), shape.out_width()];
    depthwise::Outputs { image, first: [0; 2], step: 1, channels: [0, shape.out_channels] }
}

/// Where the gradients of the input's pixels of a phase go.
fn inputs_of_phase(shape: &ConvShape, rows: &Phase, columns: &Phase) -> depthwise::Outputs {
    let (image, first) = ([shape.height, shape.width], [rows.first, columns.first]);
    depthwise::Outputs { image, first, step: shape.stride, channels: [0, shape.in_channels] }
}

/// Whether the patches are the input itself.
fn is_pointwise(shape: &ConvShape) -> bool {
    shape.kernel == [1, 1] && shape.stride == 1 && shape.padding.largest() == 0 && shape.groups == 1
}

/// The patches of the group whose first channel starts `input`; without groups, of all channels.
fn patches<'a, E>(shape: &ConvShape, input: &'a [E]) -> Patches<'a, E> {
    Patches {
        images: input,
        height: shape.height,
        width: shape.width,
        pixel: shape.in_channels,
        channels: shape.in_channels / shape.groups,
        out: [shape.out_height(), shape.out_width()],
        kernel: shape.kernel,
        stride: shape.stride,
        dilation: shape.dilation,
        origin: [-(shape.padding.top as isize), -(shape.padding.left as isize)],
    }
}

/// The output's gradient as the pixels of one phase of the input see it; groups as in [`patches`].
fn output_patches<'a, E>(shape: &ConvShape, output_gradient: &'a [E], rows: &Phase, columns: &Phase) -> Patches<'a, E> {
    Patches {
        images: output_gradient,
        height: shape.out_height(),
        width: shape.out_width(),
        pixel: shape.out_channels,
        channels: shape.out_channels / shape.groups,
        out: [rows.pixels, columns.pixels],
        kernel: [rows.taps, columns.taps],
        stride: 1,
        dilation: rows.dilation,
        origin: [rows.origin, columns.origin],
    }
}
