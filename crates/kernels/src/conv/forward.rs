//! The forward pass.

use super::{Corner, FEW_CHANNELS, copy_patch};
use crate::{
    arch::{Kernels, kernels},
    gemm::{
        pack_panels, packed_len,
        rows::{Product, Row, Shared, multiply},
    },
    isa::Isa,
    scratch::with_scratch,
    shape::ConvShape,
};
use rayon::prelude::*;

/// Output pixels whose patches are copied at once where channels are few.
const PATCHES: usize = 96;

/// `output[n, y, x, o] = bias[o] + sum of input[n, y·stride + ky - padding, x·stride + kx - padding, i] ·
/// weights[ky, kx, i, o]`.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn conv2d(shape: &ConvShape, input: &[f32], weights: &[f32], bias: Option<&[f32]>, output: &mut [f32]) {
    let (taps, channels, filters) = (shape.taps(), shape.in_channels, shape.out_channels);
    assert_eq!(input.len(), shape.input_len(), "numbers in the input of {shape:?}");
    assert_eq!(weights.len(), shape.weights_len(), "numbers in the weights of {shape:?}");
    assert_eq!(output.len(), shape.output_len(), "numbers in the output of {shape:?}");
    assert!(bias.is_none_or(|bias| bias.len() == filters));
    let kernels = kernels(Isa::current());
    with_scratch(packed_len(taps * channels, filters, kernels.columns), |panels| {
        pack_panels(taps * channels, filters, kernels.columns, weights, [filters, 1], panels);
        if channels < FEW_CHANNELS && taps > 1 {
            return by_patches(kernels, shape, input, panels, bias, output);
        }
        let pixels = output.len() / filters;
        let output = Shared::new(output);
        let zeros = vec![0.0; channels];
        let product = Product { rows: pixels, taps, run: channels, columns: filters, panels, parallel: true };
        let locate = |pixel: usize, tap: usize| match Corner::of(shape, pixel).place(shape, tap) {
            Some(place) => Row(input[place..].as_ptr()),
            None => Row(zeros.as_ptr()),
        };
        let store = |pixel: usize, column: usize, values: &[f32]| {
            // SAFETY: each pixel and panel is stored by one task.
            let target = unsafe { output.part(pixel * filters + column, values.len()) };
            write(values, bias.map(|bias| &bias[column..]), target);
        };
        // SAFETY: every place inside the image has `channels` numbers behind it, and so have the zeros.
        unsafe { multiply(kernels, &product, locate, store) };
    });
}

fn write(values: &[f32], bias: Option<&[f32]>, target: &mut [f32]) {
    match bias {
        Some(bias) => target.iter_mut().zip(values).zip(bias).for_each(|((t, v), b)| *t = v + b),
        None => target.copy_from_slice(values),
    }
}

/// The same with each window copied to one run first: for images of few colours.
fn by_patches(
    kernels: Kernels,
    shape: &ConvShape,
    input: &[f32],
    panels: &[f32],
    bias: Option<&[f32]>,
    output: &mut [f32],
) {
    let (depth, filters) = (shape.taps() * shape.in_channels, shape.out_channels);
    output.par_chunks_mut(PATCHES * filters).enumerate().for_each(|(task, output)| {
        let first = task * PATCHES;
        let count = output.len() / filters;
        with_scratch(count * depth, |patches| {
            for (index, patch) in patches.chunks_exact_mut(depth).enumerate() {
                copy_patch(shape, input, Corner::of(shape, first + index), patch);
            }
            let output = Shared::new(output);
            let product = Product { rows: count, taps: 1, run: depth, columns: filters, panels, parallel: false };
            let store = |row: usize, column: usize, values: &[f32]| {
                // SAFETY: each row and panel is stored by one task.
                let target = unsafe { output.part(row * filters + column, values.len()) };
                write(values, bias.map(|bias| &bias[column..]), target);
            };
            // SAFETY: every patch holds `depth` numbers.
            unsafe { multiply(kernels, &product, |row, _| Row(patches[row * depth..].as_ptr()), store) };
        });
    });
}
