//! The gradients of a convolution.

use super::{Corner, FEW_CHANNELS, copy_patch};
use crate::{
    arch::kernels,
    gemm::{
        linear::BlockSums,
        packed_len,
        rows::{Product, Row, Shared, multiply},
    },
    isa::Isa,
    scratch::with_scratch,
    shape::ConvShape,
};
use rayon::prelude::*;

/// Output pixels that a task of the weights' gradient takes at once, so that both operands stay in the first caches.
const PIXELS: usize = 128;
/// Input channels that such a task takes.
const CHANNELS: usize = 96;
/// Tasks that the weights' gradient is cut into, about.
const TASKS: usize = 16;
/// Numbers that its partial sums may take in all.
const PARTIAL_SUMS: usize = 4 << 20;

/// Gradient of the input. Pixels are taken phase by phase: those whose row and column leave the same remainder by the
/// stride are reached by the same places of the window.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn conv2d_input_gradient(shape: &ConvShape, output_gradient: &[f32], weights: &[f32], input_gradient: &mut [f32]) {
    assert_eq!(input_gradient.len(), shape.input_len(), "numbers in the input of {shape:?}");
    assert_eq!(weights.len(), shape.weights_len(), "numbers in the weights of {shape:?}");
    assert_eq!(output_gradient.len(), shape.output_len(), "numbers in the output of {shape:?}");
    for phase_row in 0..shape.stride.min(shape.height) {
        for phase_column in 0..shape.stride.min(shape.width) {
            input_gradient_of_phase(shape, [phase_row, phase_column], output_gradient, weights, input_gradient);
        }
    }
}

fn input_gradient_of_phase(
    shape: &ConvShape,
    phase: [usize; 2],
    output_gradient: &[f32],
    weights: &[f32],
    input_gradient: &mut [f32],
) {
    let (channels, filters, stride) = (shape.in_channels, shape.out_channels, shape.stride);
    let reaches = |axis: usize, place: usize| (phase[axis] + shape.padding + stride * shape.kernel[axis] - place).is_multiple_of(stride);
    let reaching: Vec<usize> = (0..shape.taps())
        .filter(|tap| reaches(0, tap / shape.kernel[1]) && reaches(1, tap % shape.kernel[1]))
        .collect();
    let rows = (shape.height - phase[0]).div_ceil(stride);
    let columns = (shape.width - phase[1]).div_ceil(stride);
    // Image, row and column of the phase's pixel `index`.
    let pixel = |index: usize| {
        let (column, row) = (index % columns, index / columns % rows);
        (index / columns / rows, row * stride + phase[0], column * stride + phase[1])
    };
    let place = |index: usize| {
        let (image, row, column) = pixel(index);
        ((image * shape.height + row) * shape.width + column) * channels
    };
    let kernels = kernels(Isa::current());
    let depth = reaching.len() * filters;
    with_scratch(packed_len(depth, channels, kernels.columns), |panels| {
        // weightsᵀ of the reaching places, one below the other: [place, filters, channels].
        let mut gathered = vec![0.0; depth * channels];
        for (&tap, into) in reaching.iter().zip(gathered.chunks_exact_mut((filters * channels).max(1))) {
            into.copy_from_slice(&weights[tap * channels * filters..][..channels * filters]);
        }
        let width = kernels.columns;
        for panel in 0..channels.div_ceil(width) {
            let filled = width.min(channels - panel * width);
            for (k, row) in panels[panel * depth * width..][..depth * width].chunks_exact_mut(width).enumerate() {
                let (tap, filter) = (k / filters, k % filters);
                for (j, value) in row[..filled].iter_mut().enumerate() {
                    *value = gathered[(tap * channels + panel * width + j) * filters + filter];
                }
                row[filled..].fill(0.0);
            }
        }
        let input_gradient = Shared::new(input_gradient);
        let zeros = vec![0.0; filters];
        let locate = |index: usize, tap: usize| {
            let (image, row, column) = pixel(index);
            let tap = reaching[tap];
            // The output pixel whose window has this input pixel at this place.
            let output = |at: usize, place: usize, limit: usize| {
                (at + shape.padding).checked_sub(place).map(|at| at / stride).filter(|&at| at < limit)
            };
            let row = output(row, tap / shape.kernel[1], shape.out_height());
            let column = output(column, tap % shape.kernel[1], shape.out_width());
            match (row, column) {
                (Some(row), Some(column)) => {
                    let pixel = (image * shape.out_height() + row) * shape.out_width() + column;
                    Row(output_gradient[pixel * filters..].as_ptr())
                }
                _ => Row(zeros.as_ptr()),
            }
        };
        let store = |index: usize, column: usize, values: &[f32]| {
            // SAFETY: each pixel and panel is stored by one task.
            unsafe { input_gradient.part(place(index) + column, values.len()) }.copy_from_slice(values);
        };
        let pixels = shape.batch * rows * columns;
        let product = Product { rows: pixels, taps: reaching.len(), run: filters, columns: channels, panels, parallel: true };
        // SAFETY: every pixel of the output gradient has `filters` numbers, and so have the zeros.
        unsafe { multiply(kernels, &product, locate, store) };
    });
}

/// Gradient of the weights: for each place of the window the product of the input there, transposed, and the output
/// gradient, summed up over all pixels. The pixels are cut into a number of parts that the shape alone decides, and
/// the parts' sums are added in order.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn conv2d_weight_gradient(shape: &ConvShape, input: &[f32], output_gradient: &[f32], weight_gradient: &mut [f32]) {
    let (taps, channels, filters) = (shape.taps(), shape.in_channels, shape.out_channels);
    assert_eq!(input.len(), shape.input_len(), "numbers in the input of {shape:?}");
    assert_eq!(weight_gradient.len(), shape.weights_len(), "numbers in the weights of {shape:?}");
    assert_eq!(output_gradient.len(), shape.output_len(), "numbers in the output of {shape:?}");
    let pixels = output_gradient.len() / filters;
    // Blocks of rows of the gradient: the whole window where channels are few, else one place and some channels.
    let whole = channels < FEW_CHANNELS && taps > 1;
    let blocks: Vec<(usize, usize, usize)> = if whole {
        vec![(0, 0, taps * channels)]
    } else {
        let cuts = (0..channels).step_by(CHANNELS).map(|first| (first, CHANNELS.min(channels - first)));
        let cuts: Vec<_> = cuts.collect();
        (0..taps).flat_map(|tap| cuts.iter().map(move |&(first, count)| (tap, first, count))).collect()
    };
    let parts = TASKS.div_ceil(blocks.len()).min(pixels.div_ceil(PIXELS)).min(PARTIAL_SUMS / weight_gradient.len()).max(1);
    let pixels_a_part = pixels.div_ceil(parts).next_multiple_of(PIXELS);
    let kernels = kernels(Isa::current());
    let compute = |part: usize, &(tap, first_channel, count): &(usize, usize, usize), output: &mut [f32]| {
        let sums = BlockSums::new(kernels, count, filters);
        let range = part * pixels_a_part..((part + 1) * pixels_a_part).min(pixels);
        with_scratch(sums.len(), |tiles| {
            tiles.fill(0.0);
            for start in range.clone().step_by(PIXELS) {
                let some = PIXELS.min(range.end - start);
                let fill = |p: usize, into: &mut [f32]| {
                    let corner = Corner::of(shape, start + p);
                    if whole {
                        copy_patch(shape, input, corner, into);
                    } else {
                        match corner.place(shape, tap) {
                            Some(place) => into.copy_from_slice(&input[place + first_channel..][..count]),
                            None => into.fill(0.0),
                        }
                    }
                };
                sums.add(some, fill, &output_gradient[start * filters..(start + some) * filters], tiles);
            }
            sums.write(tiles, output);
        });
    };
    let tasks: Vec<(usize, usize)> = (0..parts).flat_map(|part| (0..blocks.len()).map(move |block| (part, block))).collect();
    with_scratch(parts * weight_gradient.len(), |partial| {
        let shared = Shared::new(partial);
        let total = weight_gradient.len();
        tasks.par_iter().for_each(|&(part, block)| {
            let (tap, first, count) = blocks[block];
            let place = part * total + (tap * channels + first) * filters;
            // SAFETY: blocks of one part do not overlap, and each part has numbers of its own.
            let output = unsafe { shared.part(place, count * filters) };
            compute(part, &blocks[block], output);
        });
        let (first, others) = partial.split_at(total);
        weight_gradient.copy_from_slice(first);
        for other in others.chunks_exact(total) {
            weight_gradient.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
        }
    });
}
