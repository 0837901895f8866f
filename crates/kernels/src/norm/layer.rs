//! Layer normalisation (Ba, Kiros and Hinton, 2016) over the channels of each row, and its gradients.
//!
//! A row is measured in two passes, its mean first, while it is in the first-level cache. Nothing is kept for the backward
//! pass: measuring a row again costs less than reading what was found.

use std::ops::Range;

use super::columns::{Blocks, F32_ROWS, add_up};
use crate::lanes::{multiply_add, per_isa};
use crate::parallel::{SharedMut, for_each_chunk};
use crate::scratch::Scratch;
use crate::{Isa, NormShape, assert_len};

/// Sums that run side by side along a row.
const LANES: usize = 32;

/// `output = (input - mean) / sqrt(variance + epsilon) * scale + shift` with the mean and the biased variance of each
/// row; `scale` and `shift` are `[channels]`.
pub fn layer_norm(shape: &NormShape, input: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, output: &mut [f32]) {
    assert_len("the input", input.len(), shape.len());
    assert_len("the scale", scale.len(), shape.channels);
    assert_len("the shift", shift.len(), shape.channels);
    assert_len("the output", output.len(), shape.len());
    let (isa, blocks) = (Isa::current(), Blocks::new(shape.rows, shape.channels));
    for_each_chunk(blocks.chunk(), [output], [input], |[output], [input]| {
        normalize_rows(isa, input, scale, shift, epsilon, output);
    });
}

/// The gradients of [`layer_norm`], whose rows are measured again. Overwrites `input_gradient` (the shape of the input),
/// `scale_gradient` and `shift_gradient` (`[channels]`).
#[expect(clippy::too_many_arguments, reason = "what goes in and what comes out of a norm's gradient")]
pub fn layer_norm_gradient(
    shape: &NormShape,
    input: &[f32],
    scale: &[f32],
    epsilon: f32,
    output_gradient: &[f32],
    input_gradient: &mut [f32],
    scale_gradient: &mut [f32],
    shift_gradient: &mut [f32],
) {
    assert_len("the input", input.len(), shape.len());
    assert_len("the output's gradient", output_gradient.len(), shape.len());
    assert_len("the input's gradient", input_gradient.len(), shape.len());
    let channels = shape.channels;
    for (what, length) in [
        ("the scale", scale.len()),
        ("the scale's gradient", scale_gradient.len()),
        ("the shift's gradient", shift_gradient.len()),
    ] {
        assert_len(what, length, channels);
    }
    let (isa, blocks) = (Isa::current(), Blocks::new(shape.rows, channels));
    let input_gradient = SharedMut::new(input_gradient);
    let partial = blocks.gather(1, 2, |_, range: Range<usize>, sums| {
        // SAFETY: every task has a block of its own.
        let into = unsafe { input_gradient.range(range.clone()) };
        row_gradients(isa, &input[range.clone()], scale, epsilon, &output_gradient[range], into, sums);
    });
    let totals = add_up(&partial, 2 * channels);
    let (scale_totals, shift_totals) = totals.split_at(channels);
    scale_gradient.iter_mut().zip(scale_totals).for_each(|(into, &total)| *into = total as f32);
    shift_gradient.iter_mut().zip(shift_totals).for_each(|(into, &total)| *into = total as f32);
}

per_isa!(fn normalize_rows = normalize_rows_body(
    input: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, output: &mut [f32],
));

#[inline(always)]
fn normalize_rows_body<const M: bool>(input: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, output: &mut [f32]) {
    let channels = scale.len();
    for (input, output) in input.chunks_exact(channels).zip(output.chunks_exact_mut(channels)) {
        let [mean, factor] = measure_row::<M>(input, epsilon);
        for (((output, &x), &scale), &shift) in output.iter_mut().zip(input).zip(scale).zip(shift) {
            *output = multiply_add::<M>((x - mean) * factor, scale, shift);
        }
    }
}

per_isa!(
    /// `sums` are those of the scale's gradient, then those of the shift's.
    fn row_gradients = row_gradients_body(
        input: &[f32], scale: &[f32], epsilon: f32, output_gradient: &[f32], input_gradient: &mut [f32],
        sums: &mut [f64],
    )
);

#[inline(always)]
fn row_gradients_body<const M: bool>(
    input: &[f32],
    scale: &[f32],
    epsilon: f32,
    output_gradient: &[f32],
    input_gradient: &mut [f32],
    sums: &mut [f64],
) {
    let channels = scale.len();
    let group = F32_ROWS * channels;
    let mut fast = Scratch::take(2 * channels);
    sums.fill(0.0);
    let groups = input.chunks(group).zip(output_gradient.chunks(group)).zip(input_gradient.chunks_mut(group));
    for ((input, output_gradient), input_gradient) in groups {
        fast.fill(0.0);
        let rows = input.chunks_exact(channels).zip(output_gradient.chunks_exact(channels));
        for ((input, output_gradient), into) in rows.zip(input_gradient.chunks_exact_mut(channels)) {
            row_gradient::<M>(input, scale, epsilon, output_gradient, into, &mut fast);
        }
        sums.iter_mut().zip(&*fast).for_each(|(sum, &fast)| *sum += f64::from(fast));
    }
}

/// One row: with the normal values n and the gradients g of their multiples, `(g - mean(g) - n mean(g n)) factor`.
#[inline(always)]
fn row_gradient<const M: bool>(
    input: &[f32],
    scale: &[f32],
    epsilon: f32,
    output_gradient: &[f32],
    into: &mut [f32],
    sums: &mut [f32],
) {
    let count = input.len() as f32;
    let [mean, factor] = measure_row::<M>(input, epsilon);
    let (scale_sums, shift_sums) = sums.split_at_mut(input.len());
    let row = input.iter().zip(output_gradient).zip(&mut *into);
    for (((&x, &gradient), normal), (scale_sum, shift_sum)) in row.zip(scale_sums.iter_mut().zip(shift_sums)) {
        *normal = (x - mean) * factor;
        *scale_sum = multiply_add::<M>(gradient, *normal, *scale_sum);
        *shift_sum += gradient;
    }
    let [sum, product] = sum_row([output_gradient, scale, into], |[gradient, scale, normal]| {
        let gradient = gradient * scale;
        [gradient, gradient * normal]
    });
    let (sum, product) = (sum / count, product / count);
    for ((into, &gradient), &scale) in into.iter_mut().zip(output_gradient).zip(scale) {
        let centred = multiply_add::<M>(gradient, scale, -sum);
        *into = multiply_add::<M>(-product, *into, centred) * factor;
    }
}

/// The mean of a row, and one over the root of its variance and epsilon.
#[inline(always)]
fn measure_row<const M: bool>(row: &[f32], epsilon: f32) -> [f32; 2] {
    let count = row.len() as f32;
    let [sum] = sum_row([row], |[x]| [x]);
    let mean = sum / count;
    let [squares] = sum_row([row], |[x]| [(x - mean) * (x - mean)]);
    [mean, 1.0 / (squares / count + epsilon).sqrt()]
}

/// The sums of what `term` makes of the values of a row, in several slices of its length.
#[inline(always)]
fn sum_row<const Q: usize, const S: usize>(row: [&[f32]; S], term: impl Fn([f32; S]) -> [f32; Q]) -> [f32; Q] {
    let length = row[0].len();
    let row = row.map(|values| &values[..length]);
    let mut sums = [[0.0; LANES]; Q];
    let mut first = 0;
    while first + LANES <= length {
        let parts = row.map(|values| &values[first..first + LANES]);
        for lane in 0..LANES {
            let terms = term(parts.map(|part| part[lane]));
            for quantity in 0..Q {
                sums[quantity][lane] += terms[quantity];
            }
        }
        first += LANES;
    }
    for place in first..length {
        let terms = term(row.map(|values| values[place]));
        for quantity in 0..Q {
            sums[quantity][place - first] += terms[quantity];
        }
    }
    sums.map(add_lanes)
}

#[inline(always)]
fn add_lanes(lanes: [f32; LANES]) -> f32 {
    let sums: [f32; 16] = std::array::from_fn(|lane| lanes[lane] + lanes[lane + 16]);
    let sums: [f32; 8] = std::array::from_fn(|lane| sums[lane] + sums[lane + 8]);
    let sums: [f32; 4] = std::array::from_fn(|lane| sums[lane] + sums[lane + 4]);
    (sums[0] + sums[2]) + (sums[1] + sums[3])
}
