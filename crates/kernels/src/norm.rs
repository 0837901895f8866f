//! Batch normalisation with the activation that follows it, in as few passes over memory as there can be.

use rayon::prelude::*;

use crate::{
    elementwise::{Activation, CHUNK},
    isa::{Isa, for_each_isa},
    shape::NormShape,
};

for_each_isa! {
    fn sums_of(channels: usize, values: &[f32], center: &[f32], sums: &mut [f32], squares: &mut [f32]) {
        for row in values.chunks_exact(channels) {
            let places = sums.iter_mut().zip(squares.iter_mut());
            for ((value, center), (sum, square)) in row.iter().zip(center).zip(places) {
                let moved = value - center;
                *sum += moved;
                *square += moved * moved;
            }
        }
    }
}

for_each_isa! {
    fn apply(channels: usize, input: &[f32], multiplier: &[f32], offset: &[f32], activation: Activation, output: &mut [f32]) {
        // The choice stands outside the loop.
        match activation {
            Activation::Identity => apply_one(channels, input, multiplier, offset, |x| x, output),
            Activation::Relu => apply_one(channels, input, multiplier, offset, |x| Activation::Relu.value(x), output),
            Activation::Gelu => apply_one(channels, input, multiplier, offset, |x| Activation::Gelu.value(x), output),
        }
    }
}

#[inline(always)]
fn apply_one(
    channels: usize,
    input: &[f32],
    multiplier: &[f32],
    offset: &[f32],
    activation: impl Fn(f32) -> f32,
    output: &mut [f32],
) {
    for (out, row) in output.chunks_exact_mut(channels).zip(input.chunks_exact(channels)) {
        let parameters = multiplier.iter().zip(offset);
        for ((out, x), (m, o)) in out.iter_mut().zip(row).zip(parameters) {
            *out = activation(x * m + o);
        }
    }
}

fn rows_a_task(shape: &NormShape) -> usize {
    (CHUNK / shape.channels.max(1)).max(1)
}

fn check(shape: &NormShape, values: &[f32], per_channel: &[&[f32]]) {
    assert_eq!(values.len(), shape.rows * shape.channels, "numbers of {shape:?}");
    assert!(per_channel.iter().all(|slice| slice.len() == shape.channels), "channels of {shape:?}");
}

/// `output = activation(input · multiplier + offset)`, a number a channel.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn batch_norm_infer(
    shape: &NormShape,
    input: &[f32],
    multiplier: &[f32],
    offset: &[f32],
    activation: Activation,
    output: &mut [f32],
) {
    check(shape, input, &[multiplier, offset]);
    assert_eq!(output.len(), input.len());
    if input.is_empty() {
        return;
    }
    let isa = Isa::current();
    let size = rows_a_task(shape) * shape.channels;
    output
        .par_chunks_mut(size)
        .zip(input.par_chunks(size))
        .for_each(|(output, input)| apply(isa, shape.channels, input, multiplier, offset, activation, output));
}

/// `output = activation((input - mean) / sqrt(variance + epsilon) · scale + shift)` with the mean and the (biased)
/// variance of each channel over all rows, which are given back.
///
/// Sums are taken around the first row's values, so that a large mean costs no accuracy, in f32 over blocks and in f64
/// over the blocks.
///
/// # Panics
/// If a slice has another length than the shape says.
#[expect(clippy::too_many_arguments, reason = "the formula has them")]
pub fn batch_norm_train(
    shape: &NormShape,
    input: &[f32],
    scale: &[f32],
    shift: &[f32],
    epsilon: f32,
    activation: Activation,
    output: &mut [f32],
    mean: &mut [f32],
    variance: &mut [f32],
) {
    check(shape, input, &[scale, shift, mean, variance]);
    if input.is_empty() {
        mean.fill(0.0);
        variance.fill(0.0);
        return;
    }
    statistics(shape, input, mean, variance);
    let multiplier: Vec<f32> = scale.iter().zip(&*variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
    let offset: Vec<f32> = shift.iter().zip(&*mean).zip(&multiplier).map(|((s, mean), m)| s - mean * m).collect();
    batch_norm_infer(shape, input, &multiplier, &offset, activation, output);
}

fn statistics(shape: &NormShape, input: &[f32], mean: &mut [f32], variance: &mut [f32]) {
    let channels = shape.channels;
    let isa = Isa::current();
    let center = &input[..channels];
    let parts: Vec<(Vec<f32>, Vec<f32>)> = input
        .par_chunks(rows_a_task(shape) * channels)
        .map(|chunk| {
            let (mut sums, mut squares) = (vec![0.0; channels], vec![0.0; channels]);
            sums_of(isa, channels, chunk, center, &mut sums, &mut squares);
            (sums, squares)
        })
        .collect();
    let rows = shape.rows as f64;
    for c in 0..channels {
        let sum: f64 = parts.iter().map(|(sums, _)| f64::from(sums[c])).sum();
        let square: f64 = parts.iter().map(|(_, squares)| f64::from(squares[c])).sum();
        let moved = sum / rows;
        mean[c] = (f64::from(center[c]) + moved) as f32;
        // Not f64::max, which would lose NaN.
        let spread = square / rows - moved * moved;
        variance[c] = if spread < 0.0 { 0.0 } else { spread as f32 };
    }
}

for_each_isa! {
    /// Sums of the gradient before the activation, and of its product with the normalised input.
    fn gradient_sums(
        channels: usize, input: &[f32], gradient: &[f32], multiplier: &[f32], offset: &[f32], scale: &[f32], shift: &[f32],
        activation: Activation, sums: &mut [f32], products: &mut [f32],
    ) {
        let rows = input.chunks_exact(channels).zip(gradient.chunks_exact(channels));
        for (x, g) in rows {
            for c in 0..channels {
                let normal = x[c] * multiplier[c] + offset[c];
                let g = g[c] * activation.slope(normal * scale[c] + shift[c]);
                sums[c] += g;
                products[c] += g * normal;
            }
        }
    }
}

for_each_isa! {
    fn gradient_rows(
        channels: usize, input: &[f32], gradient: &[f32], multiplier: &[f32], offset: &[f32], scale: &[f32], shift: &[f32],
        activation: Activation, mean_gradient: &[f32], mean_product: &[f32], output: &mut [f32],
    ) {
        let rows = input.chunks_exact(channels).zip(gradient.chunks_exact(channels));
        for ((x, g), out) in rows.zip(output.chunks_exact_mut(channels)) {
            for c in 0..channels {
                let normal = x[c] * multiplier[c] + offset[c];
                let g = g[c] * activation.slope(normal * scale[c] + shift[c]);
                out[c] = scale[c] * multiplier[c] * (g - mean_gradient[c] - normal * mean_product[c]);
            }
        }
    }
}

/// The backward pass of [`batch_norm_train`]: what stood before the activation is computed again from the input.
/// (Ioffe and Szegedy 2015, section 3.)
///
/// # Panics
/// If a slice has another length than the shape says.
#[expect(clippy::too_many_arguments, reason = "the formula has them")]
pub fn batch_norm_gradient(
    shape: &NormShape,
    input: &[f32],
    mean: &[f32],
    variance: &[f32],
    scale: &[f32],
    shift: &[f32],
    epsilon: f32,
    activation: Activation,
    output_gradient: &[f32],
    input_gradient: &mut [f32],
    scale_gradient: &mut [f32],
    shift_gradient: &mut [f32],
) {
    check(shape, input, &[mean, variance, scale, shift, scale_gradient, shift_gradient]);
    assert_eq!(output_gradient.len(), input.len());
    assert_eq!(input_gradient.len(), input.len());
    scale_gradient.fill(0.0);
    shift_gradient.fill(0.0);
    if input.is_empty() {
        return;
    }
    let channels = shape.channels;
    let isa = Isa::current();
    let size = rows_a_task(shape) * channels;
    let multiplier: Vec<f32> = variance.iter().map(|v| 1.0 / (v + epsilon).sqrt()).collect();
    let offset: Vec<f32> = mean.iter().zip(&multiplier).map(|(mean, m)| -mean * m).collect();
    let parts: Vec<(Vec<f32>, Vec<f32>)> = input
        .par_chunks(size)
        .zip(output_gradient.par_chunks(size))
        .map(|(input, gradient)| {
            let (mut sums, mut products) = (vec![0.0; channels], vec![0.0; channels]);
            gradient_sums(
                isa, channels, input, gradient, &multiplier, &offset, scale, shift, activation, &mut sums, &mut products,
            );
            (sums, products)
        })
        .collect();
    for c in 0..channels {
        shift_gradient[c] = parts.iter().map(|(sums, _)| f64::from(sums[c])).sum::<f64>() as f32;
        scale_gradient[c] = parts.iter().map(|(_, products)| f64::from(products[c])).sum::<f64>() as f32;
    }
    let share = 1.0 / shape.rows as f32;
    let mean_gradient: Vec<f32> = shift_gradient.iter().map(|g| g * share).collect();
    let mean_product: Vec<f32> = scale_gradient.iter().map(|g| g * share).collect();
    input_gradient
        .par_chunks_mut(size)
        .zip(input.par_chunks(size).zip(output_gradient.par_chunks(size)))
        .for_each(|(output, (input, gradient))| {
            gradient_rows(
                isa, channels, input, gradient, &multiplier, &offset, scale, shift, activation, &mean_gradient,
                &mean_product, output,
            );
        });
}
