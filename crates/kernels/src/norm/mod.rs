//! Batch normalisation fused with the activation that follows it, and sums over rows; layer normalisation in `layer`.
//!
//! Rows are cut into blocks of a fixed size. Within one, sums gather in f32 for a few rows, then in f64, and of values less those of
//! the block's first row, so that a large mean costs no digits; the blocks are combined in their order (Chan, Golub and
//! LeVeque, 1979).

pub(crate) mod columns;
mod layer;

pub use layer::{layer_norm, layer_norm_gradient};

use crate::activation::{Activation, Function, for_activation};
use crate::lanes::{multiply_add, per_isa};
use crate::parallel::for_each_chunk;
use crate::scratch::{DoubleScratch, Scratch};
use crate::{Element, Isa, NormShape, assert_len, assert_sizes};
use columns::{Blocks, add_up, sum_columns};

/// `sums[channel] = Σ values[.., channel]` over `rows` rows, in a fixed order: the gradient of a bias.
pub fn channel_sums<E: Element>(rows: usize, channels: usize, values: &[E], sums: &mut [f32]) {
    assert_sizes("the values", values.len(), [rows, channels]);
    assert_len("the sums", sums.len(), channels);
    if channels == 0 {
        return;
    }
    let (isa, blocks) = (Isa::current(), Blocks::new(rows, channels));
    let partial = blocks.gather(1, 1, |_, range, sums| plain_sums(isa, channels, blocks.wide, &values[range], sums));
    let totals = add_up(&partial, channels);
    sums.iter_mut().zip(&*totals).for_each(|(sum, &total)| *sum = total as f32);
}

per_isa!(fn plain_sums<E> = plain_sums_body(channels: usize, wide: usize, values: &[E], sums: &mut [f64]));

#[inline(always)]
fn plain_sums_body<const M: bool, E: Element>(channels: usize, wide: usize, values: &[E], sums: &mut [f64]) {
    sum_columns(channels, wide, [values], [], sums, |[x], []| [x]);
}

/// `output = activation((input - mean) / sqrt(variance + epsilon) * scale + shift)` with the mean and the biased variance of
/// each channel, which are returned in `mean` and `variance` (Ioffe and Szegedy, 2015). `scale`, `shift`, `mean` and `variance`
/// are `[channels]`. Without rows both are 0.
#[expect(clippy::too_many_arguments, reason = "what goes in and what comes out of a batch norm")]
pub fn batch_norm_train<E: Element>(
    shape: &NormShape,
    input: &[E],
    scale: &[f32],
    shift: &[f32],
    epsilon: f32,
    activation: Activation,
    output: &mut [E],
    mean: &mut [f32],
    variance: &mut [f32],
) {
    assert_len("the input", input.len(), shape.len());
    assert_len("the mean", mean.len(), shape.channels);
    assert_len("the variance", variance.len(), shape.channels);
    measure(Isa::current(), &Blocks::new(shape.rows, shape.channels), input, mean, variance);
    batch_norm_apply(shape, input, mean, variance, scale, shift, epsilon, None, activation, output);
}

/// [`batch_norm_train`] where the mean and the biased variance of the input are known, as
/// [`crate::conv2d_with_statistics`] gives them. A `residual` of the output's shape is added before the activation.
#[expect(clippy::too_many_arguments, reason = "what goes in and what comes out of a batch norm")]
pub fn batch_norm_apply<E: Element>(
    shape: &NormShape,
    input: &[E],
    mean: &[f32],
    variance: &[f32],
    scale: &[f32],
    shift: &[f32],
    epsilon: f32,
    residual: Option<&[E]>,
    activation: Activation,
    output: &mut [E],
) {
    assert_len("the input", input.len(), shape.len());
    assert_len("the output", output.len(), shape.len());
    for (what, length) in [
        ("the scale", scale.len()),
        ("the shift", shift.len()),
        ("the mean", mean.len()),
        ("the variance", variance.len()),
    ] {
        assert_len(what, length, shape.channels);
    }
    let (isa, blocks) = (Isa::current(), Blocks::new(shape.rows, shape.channels));
    let factor = factors(scale, variance, epsilon);
    let [mean, factor, shift] = [mean, &factor, shift].map(|values| blocks.widen(values));
    match residual {
        None => for_each_chunk(blocks.chunk(), [output], [input], |[output], [input]| {
            apply(isa, activation, input, &mean, &factor, &shift, &[], output);
        }),
        Some(residual) => {
            assert_len("the residual", residual.len(), shape.len());
            for_each_chunk(blocks.chunk(), [output], [input, residual], |[output], [input, residual]| {
                apply(isa, activation, input, &mean, &factor, &shift, residual, output);
            });
        }
    }
}

/// `scale / sqrt(variance + epsilon)`
fn factors(scale: &[f32], variance: &[f32], epsilon: f32) -> Scratch {
    let mut factors = Scratch::take(scale.len());
    for ((factor, &scale), &variance) in factors.iter_mut().zip(scale).zip(variance) {
        *factor = (f64::from(scale) * inverse_deviation(variance, epsilon)) as f32;
    }
    factors
}

fn inverse_deviation(variance: f32, epsilon: f32) -> f64 {
    1.0 / (f64::from(variance) + f64::from(epsilon)).sqrt()
}

/// Mean and biased variance of each channel.
fn measure<E: Element>(isa: Isa, blocks: &Blocks, input: &[E], mean: &mut [f32], variance: &mut [f32]) {
    let channels = blocks.channels;
    let partial = blocks.gather(1, 2, |_, range, sums| {
        let values = &input[range];
        let mut first = Scratch::take(channels);
        first.iter_mut().zip(values).for_each(|(first, value)| *first = value.value());
        let first = blocks.widen(&first);
        moments(isa, channels, blocks.wide, values, &first, sums);
        let count = (values.len() / channels) as f64;
        let (sums, squares) = sums.split_at_mut(channels);
        for ((sum, square), &first) in sums.iter_mut().zip(squares).zip(&*first) {
            *square -= *sum * *sum / count;
            *sum = f64::from(first) + *sum / count;
        }
    });
    merge(blocks.rows().zip(partial.chunks_exact(2 * channels)), mean, variance);
}

/// Combines what was measured over blocks of rows, in their order: of each, how many rows it has, then the mean of every
/// channel, then the sum of squares around it (Chan, Golub and LeVeque, 1979).
pub(crate) fn merge<'a>(blocks: impl Iterator<Item = (usize, &'a [f64])>, mean: &mut [f32], variance: &mut [f32]) {
    let channels = mean.len();
    let mut totals = DoubleScratch::zeros(2 * channels);
    let (means, squares) = totals.split_at_mut(channels);
    let mut rows = 0.0;
    for (count, block) in blocks {
        let count = count as f64;
        rows += count;
        let (share, weight) = (count / rows, count * (rows - count) / rows);
        for channel in 0..channels {
            let difference = block[channel] - means[channel];
            means[channel] += difference * share;
            squares[channel] += block[channels + channel] + difference * difference * weight;
        }
    }
    let rows = rows.max(1.0);
    mean.iter_mut().zip(means).for_each(|(mean, value)| *mean = *value as f32);
    // Rounding may take a variance of 0 below it; not `max`, which would drop a NaN.
    let at_least_0 = |value: f64| if value < 0.0 { 0.0 } else { value };
    variance.iter_mut().zip(squares).for_each(|(variance, value)| *variance = at_least_0(*value / rows) as f32);
}

per_isa!(fn moments<E> = moments_body(channels: usize, wide: usize, values: &[E], first: &[f32], sums: &mut [f64]));

#[inline(always)]
fn moments_body<const M: bool, E: Element>(
    channels: usize,
    wide: usize,
    values: &[E],
    first: &[f32],
    sums: &mut [f64],
) {
    sum_columns(channels, wide, [values], [first], sums, |[x], [first]| {
        let difference = x - first;
        [difference, difference * difference]
    });
}

per_isa!(fn apply<E> = apply_body(
    activation: Activation, input: &[E], mean: &[f32], factor: &[f32], shift: &[f32], residual: &[E],
    output: &mut [E],
));

/// An empty residual is none.
#[inline(always)]
fn apply_body<const M: bool, E: Element>(
    activation: Activation,
    input: &[E],
    mean: &[f32],
    factor: &[f32],
    shift: &[f32],
    residual: &[E],
    output: &mut [E],
) {
    for_activation!(activation, F => apply_with::<M, E, F>(input, [mean, factor, shift], residual, output));
}

#[inline(always)]
fn apply_with<const M: bool, E: Element, F: Function>(
    input: &[E],
    [mean, factor, shift]: [&[f32]; 3],
    residual: &[E],
    output: &mut [E],
) {
    let wide = mean.len();
    if !residual.is_empty() {
        let values = input.chunks(wide).zip(residual.chunks(wide));
        for (output, (input, residual)) in output.chunks_mut(wide).zip(values) {
            let parameters = mean.iter().zip(factor).zip(shift);
            let values = input.iter().zip(residual);
            for ((output, (&x, &residual)), ((&mean, &factor), &shift)) in output.iter_mut().zip(values).zip(parameters)
            {
                let normal = multiply_add::<M>(x.value() - mean, factor, shift);
                *output = E::nearest(F::value::<M>(normal + residual.value()));
            }
        }
        return;
    }
    for (output, input) in output.chunks_mut(wide).zip(input.chunks(wide)) {
        let parameters = mean.iter().zip(factor).zip(shift);
        for ((output, &x), ((&mean, &factor), &shift)) in output.iter_mut().zip(input).zip(parameters) {
            *output = E::nearest(F::value::<M>(multiply_add::<M>(x.value() - mean, factor, shift)));
        }
    }
}

/// `output = activation(input * multiplier + offset)`, both `[channels]`: batch normalisation with known statistics.
pub fn batch_norm_infer(
    shape: &NormShape,
    input: &[f32],
    multiplier: &[f32],
    offset: &[f32],
    activation: Activation,
    output: &mut [f32],
) {
    assert_len("the input", input.len(), shape.len());
    assert_len("the output", output.len(), shape.len());
    assert_len("the multiplier", multiplier.len(), shape.channels);
    assert_len("the offset", offset.len(), shape.channels);
    let (isa, blocks) = (Isa::current(), Blocks::new(shape.rows, shape.channels));
    let [multiplier, offset] = [multiplier, offset].map(|values| blocks.widen(values));
    let zeros = Scratch::zeros(blocks.wide);
    for_each_chunk(blocks.chunk(), [output], [input], |[output], [input]| {
        apply(isa, activation, input, &zeros, &multiplier, &offset, &[], output);
    });
}

/// [`batch_norm_infer`], in place.
pub fn batch_norm_infer_in_place(
    shape: &NormShape,
    multiplier: &[f32],
    offset: &[f32],
    activation: Activation,
    values: &mut [f32],
) {
    assert_len("the values", values.len(), shape.len());
    assert_len("the multiplier", multiplier.len(), shape.channels);
    assert_len("the offset", offset.len(), shape.channels);
    let (isa, blocks) = (Isa::current(), Blocks::new(shape.rows, shape.channels));
    let [multiplier, offset] = [multiplier, offset].map(|values| blocks.widen(values));
    for_each_chunk(blocks.chunk(), [values], [], |[values], []: [&[f32]; 0]| {
        apply_in_place(isa, activation, &multiplier, &offset, values);
    });
}

per_isa!(fn apply_in_place = apply_in_place_body(
    activation: Activation, multiplier: &[f32], offset: &[f32], values: &mut [f32],
));

#[inline(always)]
fn apply_in_place_body<const M: bool>(activation: Activation, multiplier: &[f32], offset: &[f32], values: &mut [f32]) {
    for_activation!(activation, F => apply_in_place_with::<M, F>(multiplier, offset, values));
}

#[inline(always)]
fn apply_in_place_with<const M: bool, F: Function>(multiplier: &[f32], offset: &[f32], values: &mut [f32]) {
    for values in values.chunks_mut(multiplier.len()) {
        for ((value, &multiplier), &offset) in values.iter_mut().zip(multiplier).zip(offset) {
            *value = F::value::<M>(multiply_add::<M>(*value, multiplier, offset));
        }
    }
}

/// The gradients of [`batch_norm_train`], whose `input`, `mean` and `variance` are given; its pre-activation is computed
/// anew.
/// Turns `input` into its gradient, given the output's, which has the same shape: nobody needs a norm's input after that.
/// Overwrites `scale_gradient` and `shift_gradient` (`[channels]`).
#[expect(clippy::too_many_arguments, reason = "what goes in and what comes out of a batch norm's gradient")]
pub fn batch_norm_gradient<E: Element>(
    shape: &NormShape,
    input: &mut [E],
    mean: &[f32],
    variance: &[f32],
    scale: &[f32],
    shift: &[f32],
    epsilon: f32,
    activation: Activation,
    gradient: &[E],
    scale_gradient: &mut [f32],
    shift_gradient: &mut [f32],
) {
    assert_len("the input", input.len(), shape.len());
    assert_len("the gradient", gradient.len(), shape.len());
    for (what, length) in [
        ("the mean", mean.len()),
        ("the variance", variance.len()),
        ("the scale", scale.len()),
        ("the shift", shift.len()),
        ("the scale's gradient", scale_gradient.len()),
        ("the shift's gradient", shift_gradient.len()),
    ] {
        assert_len(what, length, shape.channels);
    }
    let (isa, channels) = (Isa::current(), shape.channels);
    let blocks = Blocks::new(shape.rows, channels);
    let factor = factors(scale, variance, epsilon);
    let wide = [mean, &factor, shift].map(|values| blocks.widen(values));
    let wide = wide.each_ref().map(|values| &**values);
    let partial = blocks.gather(1, 2, |_, range, sums| {
        let values = [&input[range.clone()], &gradient[range]];
        gradient_sums(isa, activation, channels, values, wide, sums);
    });
    let totals = add_up(&partial, 2 * channels);
    let (mut constants, mut slopes) = (Scratch::take(channels), Scratch::take(channels));
    for channel in 0..channels {
        let inverse = inverse_deviation(variance[channel], epsilon);
        let (sum, product) = (totals[channel], totals[channels + channel]);
        shift_gradient[channel] = sum as f32;
        scale_gradient[channel] = (product * inverse) as f32;
        let share = f64::from(scale[channel]) * inverse / shape.rows.max(1) as f64;
        constants[channel] = (-share * sum) as f32;
        slopes[channel] = (-share * inverse * inverse * product) as f32;
    }
    let [constants, slopes] = [constants, slopes].map(|values| blocks.widen(&values));
    let parameters = [wide[0], wide[1], wide[2], &constants, &slopes];
    for_each_chunk(blocks.chunk(), [input], [gradient], |[input], [gradient]| {
        input_gradients(isa, activation, gradient, parameters, input);
    });
}

per_isa!(fn gradient_sums<E> = gradient_sums_body(
    activation: Activation, channels: usize, values: [&[E]; 2], parameters: [&[f32]; 3], sums: &mut [f64],
));

#[inline(always)]
fn gradient_sums_body<const M: bool, E: Element>(
    activation: Activation,
    channels: usize,
    values: [&[E]; 2],
    parameters: [&[f32]; 3],
    sums: &mut [f64],
) {
    for_activation!(activation, F => gradient_sums_with::<M, E, F>(channels, values, parameters, sums));
}

#[inline(always)]
fn gradient_sums_with<const M: bool, E: Element, F: Function>(
    channels: usize,
    values: [&[E]; 2],
    parameters: [&[f32]; 3],
    sums: &mut [f64],
) {
    let wide = parameters[0].len();
    sum_columns(channels, wide, values, parameters, sums, |[x, gradient], [mean, factor, shift]| {
        let centred = x - mean;
        let gradient = F::gradient::<M>(multiply_add::<M>(centred, factor, shift), gradient);
        [gradient, gradient * centred]
    });
}

per_isa!(fn input_gradients<E> = input_gradients_body(
    activation: Activation, gradient: &[E], parameters: [&[f32]; 5], input: &mut [E],
));

#[inline(always)]
fn input_gradients_body<const M: bool, E: Element>(
    activation: Activation,
    gradient: &[E],
    parameters: [&[f32]; 5],
    input: &mut [E],
) {
    for_activation!(activation, F => input_gradients_with::<M, E, F>(gradient, parameters, input));
}

#[inline(always)]
fn input_gradients_with<const M: bool, E: Element, F: Function>(
    gradient: &[E],
    [mean, factor, shift, constant, slope]: [&[f32]; 5],
    input: &mut [E],
) {
    let wide = mean.len();
    for (gradient, input) in gradient.chunks(wide).zip(input.chunks_mut(wide)) {
        let parameters = mean.iter().zip(factor).zip(shift).zip(constant.iter().zip(slope));
        let values = gradient.iter().zip(input);
        for ((&gradient, x), (((&mean, &factor), &shift), (&constant, &slope))) in values.zip(parameters) {
            let centred = x.value() - mean;
            let gradient = F::gradient::<M>(multiply_add::<M>(centred, factor, shift), gradient.value());
            *x = E::nearest(multiply_add::<M>(factor, gradient, multiply_add::<M>(slope, centred, constant)));
        }
    }
}
