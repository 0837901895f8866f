//! Factors for the channels of feature maps. They are an image's own (the gates of squeeze and excitation, Hu et al.
//! 2018), or those of a whole batch (layer scale, Touvron et al. 2021), whose pixels then count as one image's.
//!
//! Images are cut into blocks of pixels by their size; what a block does is in `norm::columns`' way.

use crate::lanes::per_isa;
use crate::norm::columns::{Blocks, add_up, sum_columns};
use crate::parallel::SharedMut;
use crate::{Isa, assert_sizes};

/// `output[image, pixel, channel] = input[image, pixel, channel] * gate[image, channel]`: the input and the output are
/// `[batch, pixels, channels]`, the gate is `[batch, channels]`.
pub fn channel_gate(batch: usize, pixels: usize, channels: usize, input: &[f32], gate: &[f32], output: &mut [f32]) {
    assert_sizes("the input", input.len(), [batch, pixels, channels]);
    assert_sizes("the gate", gate.len(), [batch, channels]);
    assert_sizes("the output", output.len(), [batch, pixels, channels]);
    if output.is_empty() {
        return;
    }
    let (isa, blocks) = (Isa::current(), Blocks::new(pixels, channels));
    let output = SharedMut::new(output);
    blocks.for_each(batch, |image, _, range| {
        let factors = blocks.widen(&gate[image * channels..][..channels]);
        // SAFETY: every task has a block of its own.
        multiply(isa, &input[range.clone()], &factors, unsafe { output.range(range) });
    });
}

/// The gradients of [`channel_gate`], given that of its output in `gradient`, which becomes that of the input. Overwrites
/// `gate_gradient` (`[batch, channels]`).
pub fn channel_gate_gradient(
    batch: usize,
    pixels: usize,
    channels: usize,
    input: &[f32],
    gate: &[f32],
    gradient: &mut [f32],
    gate_gradient: &mut [f32],
) {
    assert_sizes("the input", input.len(), [batch, pixels, channels]);
    assert_sizes("the gate", gate.len(), [batch, channels]);
    assert_sizes("the gradient", gradient.len(), [batch, pixels, channels]);
    assert_sizes("the gate's gradient", gate_gradient.len(), [batch, channels]);
    gate_gradient.fill(0.0);
    if gradient.is_empty() {
        return;
    }
    let (isa, blocks) = (Isa::current(), Blocks::new(pixels, channels));
    let gradient = SharedMut::new(gradient);
    let partial = blocks.gather(batch, 1, |image, range, sums| {
        let factors = blocks.widen(&gate[image * channels..][..channels]);
        // SAFETY: every task has a block of its own.
        let gradient = unsafe { gradient.range(range.clone()) };
        product_sums(isa, channels, blocks.wide, &input[range], gradient, sums);
        multiply_in_place(isa, &factors, gradient);
    });
    let images = gate_gradient.chunks_exact_mut(channels).zip(partial.chunks_exact(blocks.count() * channels));
    for (gate_gradient, sums) in images {
        let totals = add_up(sums, channels);
        gate_gradient.iter_mut().zip(&*totals).for_each(|(into, &total)| *into = total as f32);
    }
}

per_isa!(fn multiply = multiply_body(input: &[f32], factors: &[f32], output: &mut [f32]));

#[inline(always)]
fn multiply_body<const M: bool>(input: &[f32], factors: &[f32], output: &mut [f32]) {
    let wide = factors.len();
    for (output, input) in output.chunks_mut(wide).zip(input.chunks(wide)) {
        for ((output, &input), &factor) in output.iter_mut().zip(input).zip(factors) {
            *output = input * factor;
        }
    }
}

per_isa!(fn multiply_in_place = multiply_in_place_body(factors: &[f32], values: &mut [f32]));

#[inline(always)]
fn multiply_in_place_body<const M: bool>(factors: &[f32], values: &mut [f32]) {
    for values in values.chunks_mut(factors.len()) {
        values.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
    }
}

per_isa!(fn product_sums = product_sums_body(
    channels: usize, wide: usize, input: &[f32], gradient: &[f32], sums: &mut [f64],
));

#[inline(always)]
fn product_sums_body<const M: bool>(channels: usize, wide: usize, input: &[f32], gradient: &[f32], sums: &mut [f64]) {
    sum_columns(channels, wide, [input, gradient], [], sums, |[x, gradient], []| [x * gradient]);
}
