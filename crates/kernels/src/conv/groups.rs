//! Convolutions in groups, group by group: each is a matrix product of its own, whose results go between those of the
//! others. Many small groups are slow; those of one channel each are `depthwise`'s.

use super::epilogue::{Epilogue, Region};
use super::patches::Turned;
use super::statistics::gather;
use super::{output_patches, patches, turned};
use crate::ConvShape;
use crate::arch::MicroKernel;
use crate::gemm::{Destination, Product, Reduction, Rows};
use crate::parallel::{self, CHUNK, SharedMut};
use crate::scratch::Scratch;

/// `values` from a column on, in rows of `stride`.
fn part(values: &[f32], column: usize, stride: usize) -> Rows<'_> {
    Rows { values: values.get(column..).unwrap_or_default(), stride, copy: false }
}

/// Input and output channels of a group.
fn channels(shape: &ConvShape) -> [usize; 2] {
    [shape.in_channels / shape.groups, shape.out_channels / shape.groups]
}

pub(super) fn forward(
    shape: &ConvShape,
    kernel: &MicroKernel,
    input: &[f32],
    weights: &[f32],
    epilogue: Epilogue<'_>,
    output: &mut [f32],
    statistics: Option<[&mut [f32]; 2]>,
) {
    let [ins, outs] = channels(shape);
    for group in 0..shape.groups {
        let left = patches(shape, input.get(group * ins..).unwrap_or_default());
        let right = part(weights, group * outs, shape.out_channels);
        let bias = epilogue.bias.map(|bias| &bias[group * outs..][..outs]);
        let place = |pixel: usize| pixel * shape.out_channels + group * outs;
        let sizes = [shape.out_pixels(), outs, shape.patch_len()];
        Product { sizes, left: &left, right: &right, bias, accumulate: false, finish: None }
            .run(kernel, Destination::Scattered(output, &place));
    }
    finish(shape, Epilogue { bias: None, ..epilogue }, output, statistics);
}

/// What is to be done when all groups are there.
fn finish(shape: &ConvShape, epilogue: Epilogue<'_>, output: &mut [f32], statistics: Option<[&mut [f32]; 2]>) {
    let (pixels, channels) = (shape.out_pixels(), shape.out_channels);
    let block_pixels = (CHUNK / channels).max(1);
    let blocks = pixels.div_ceil(block_pixels);
    let count = |block: usize| block_pixels.min(pixels - block * block_pixels);
    let run = |epilogue: Epilogue<'_>, output: &mut [f32]| {
        let output = SharedMut::new(output);
        parallel::for_each(if epilogue.is_needed() { blocks } else { 0 }, |block| {
            let first = block * block_pixels * channels;
            let region = Region { first, rows: 1, columns: count(block), row: 0 };
            // SAFETY: the blocks of different tasks do not overlap.
            unsafe { epilogue.finish(block, std::iter::once(region), 0..channels, channels, output) };
        });
    };
    let Some(statistics) = statistics else { return run(epilogue, output) };
    gather((0..blocks).map(count), statistics, |gather| run(Epilogue { gather: Some(gather), ..epilogue }, output));
}

pub(super) fn input_gradient(
    shape: &ConvShape,
    kernel: &MicroKernel,
    output_gradient: &[f32],
    weights: &[f32],
    input_gradient: &mut [f32],
) {
    let [ins, outs] = channels(shape);
    for group in 0..shape.groups {
        let gradients = output_gradient.get(group * outs..).unwrap_or_default();
        for [row_phase, column_phase] in turned::phases(shape) {
            let left = output_patches(shape, gradients, &row_phase, &column_phase);
            let right = turned::Weights { shape, weights: &weights[group * outs..], row_phase, column_phase };
            let sizes = [shape.batch * left.out[0] * left.out[1], ins, row_phase.taps * column_phase.taps * outs];
            let place = |pixel: usize| turned::place(shape, &row_phase, &column_phase, pixel) + group * ins;
            Product { sizes, left: &left, right: &right, bias: None, accumulate: false, finish: None }
                .run(kernel, Destination::Scattered(input_gradient, &place));
        }
    }
}

pub(super) fn weight_gradient(
    shape: &ConvShape,
    kernel: &MicroKernel,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    let ([ins, outs], patch) = (channels(shape), shape.patch_len());
    let mut own = Scratch::take(patch * outs);
    for group in 0..shape.groups {
        let left = Turned(patches(shape, input.get(group * ins..).unwrap_or_default()));
        let right = part(output_gradient, group * outs, shape.out_channels);
        let sizes = [patch, outs, shape.out_pixels()];
        Reduction { sizes, left: &left, right: &right, accumulate: false }.run(kernel, &mut own);
        for (row, own) in weight_gradient.chunks_exact_mut(shape.out_channels).zip(own.chunks_exact(outs)) {
            row[group * outs..][..outs].copy_from_slice(own);
        }
    }
}
