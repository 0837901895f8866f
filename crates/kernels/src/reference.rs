//! The oracle of every test: each operation as the plainest loop that says what it means, with sums in f64.
//! It never cares for speed, uses no thread and no instruction set, and is the same for f32 and f64 slices.

use crate::{Activation, AdamW, ConvShape, Layout, LinearShape, NormShape, PoolShape, Sgd, Targets};

/// What a slice may hold: values that are read as f64 and written from f64.
pub trait Number: Copy {
    /// This value as f64.
    fn read(self) -> f64;
    /// The nearest value to `value`.
    fn write(value: f64) -> Self;
}

impl Number for f32 {
    fn read(self) -> f64 {
        f64::from(self)
    }
    fn write(value: f64) -> Self {
        value as f32
    }
}

impl Number for f64 {
    fn read(self) -> f64 {
        self
    }
    fn write(value: f64) -> Self {
        value
    }
}

/// Calls `visit(output pixel, tap, input pixel)` for every place of the kernel that lies on the image.
fn for_each_tap(shape: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    let [kernel_height, kernel_width] = shape.kernel;
    let (out_height, out_width) = (shape.out_height(), shape.out_width());
    let place = |output: usize, tap: usize, padding: usize, size: usize| {
        (output * shape.stride + tap * shape.dilation).checked_sub(padding).filter(|&place| place < size)
    };
    for image in 0..shape.batch {
        for (y, x) in (0..out_height).flat_map(|y| (0..out_width).map(move |x| (y, x))) {
            for (ky, kx) in (0..kernel_height).flat_map(|ky| (0..kernel_width).map(move |kx| (ky, kx))) {
                let Some(row) = place(y, ky, shape.padding.top, shape.height) else { continue };
                let Some(column) = place(x, kx, shape.padding.left, shape.width) else { continue };
                let output_pixel = (image * out_height + y) * out_width + x;
                visit(output_pixel, ky * kernel_width + kx, (image * shape.height + row) * shape.width + column);
            }
        }
    }
}

/// Calls `visit(input channel, its place among those of its group, output channel)` for all that belong together.
fn for_each_channel(shape: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    let (ins, outs) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    for group in 0..shape.groups {
        for (i, o) in (0..ins).flat_map(|i| (0..outs).map(move |o| (i, o))) {
            visit(group * ins + i, i, group * outs + o);
        }
    }
}

fn store<T: Number>(from: &[f64], into: &mut [T]) {
    for (into, &value) in into.iter_mut().zip(from) {
        *into = T::write(value);
    }
}

/// [`crate::conv2d`].
pub fn conv2d<T: Number>(shape: &ConvShape, input: &[T], weights: &[T], bias: Option<&[T]>, output: &mut [T]) {
    let (ins, outs) = (shape.in_channels, shape.out_channels);
    let mut sums = vec![0.0; shape.output_len()];
    if let Some(bias) = bias {
        sums.iter_mut().enumerate().for_each(|(index, sum)| *sum = bias[index % outs].read());
    }
    for_each_tap(shape, |output_pixel, tap, input_pixel| {
        for_each_channel(shape, |i, in_group, o| {
            sums[output_pixel * outs + o] +=
                input[input_pixel * ins + i].read() * weights[(tap * ins / shape.groups + in_group) * outs + o].read();
        });
    });
    store(&sums, output);
}

/// [`crate::conv2d_input_gradient`].
pub fn conv2d_input_gradient<T: Number>(
    shape: &ConvShape,
    output_gradient: &[T],
    weights: &[T],
    input_gradient: &mut [T],
) {
    let (ins, outs) = (shape.in_channels, shape.out_channels);
    let mut sums = vec![0.0; shape.input_len()];
    for_each_tap(shape, |output_pixel, tap, input_pixel| {
        for_each_channel(shape, |i, in_group, o| {
            sums[input_pixel * ins + i] += output_gradient[output_pixel * outs + o].read()
                * weights[(tap * ins / shape.groups + in_group) * outs + o].read();
        });
    });
    store(&sums, input_gradient);
}

/// [`crate::conv2d_weight_gradient`].
pub fn conv2d_weight_gradient<T: Number>(
    shape: &ConvShape,
    input: &[T],
    output_gradient: &[T],
    weight_gradient: &mut [T],
) {
    let (ins, outs) = (shape.in_channels, shape.out_channels);
    let mut sums = vec![0.0; shape.weights_len()];
    for_each_tap(shape, |output_pixel, tap, input_pixel| {
        for_each_channel(shape, |i, in_group, o| {
            sums[(tap * ins / shape.groups + in_group) * outs + o] +=
                input[input_pixel * ins + i].read() * output_gradient[output_pixel * outs + o].read();
        });
    });
    store(&sums, weight_gradient);
}

/// [`crate::channel_sums`].
pub fn channel_sums<T: Number>(rows: usize, channels: usize, values: &[T], sums: &mut [T]) {
    for channel in 0..channels {
        sums[channel] = T::write((0..rows).map(|row| values[row * channels + channel].read()).sum());
    }
}

/// [`crate::gemm`].
#[expect(clippy::too_many_arguments, reason = "the signature of a matrix product is what it is")]
pub fn gemm<T: Number>(
    m: usize,
    n: usize,
    k: usize,
    a: &[T],
    a_layout: Layout,
    b: &[T],
    b_layout: Layout,
    accumulate: bool,
    c: &mut [T],
) {
    let at = |layout, row: usize, column: usize, rows: usize, columns: usize| match layout {
        Layout::RowMajor => row * columns + column,
        Layout::Transposed => column * rows + row,
    };
    for (row, column) in (0..m).flat_map(|row| (0..n).map(move |column| (row, column))) {
        let product: f64 = (0..k)
            .map(|step| a[at(a_layout, row, step, m, k)].read() * b[at(b_layout, step, column, k, n)].read())
            .sum();
        let start = if accumulate { c[row * n + column].read() } else { 0.0 };
        c[row * n + column] = T::write(start + product);
    }
}

/// [`crate::linear`].
pub fn linear<T: Number>(shape: &LinearShape, input: &[T], weights: &[T], bias: Option<&[T]>, output: &mut [T]) {
    for (row, o) in (0..shape.batch).flat_map(|row| (0..shape.outputs).map(move |o| (row, o))) {
        let product: f64 = (0..shape.inputs)
            .map(|i| input[row * shape.inputs + i].read() * weights[i * shape.outputs + o].read())
            .sum();
        output[row * shape.outputs + o] = T::write(product + bias.map_or(0.0, |bias| bias[o].read()));
    }
}

/// [`crate::linear_input_gradient`].
pub fn linear_input_gradient<T: Number>(
    shape: &LinearShape,
    output_gradient: &[T],
    weights: &[T],
    input_gradient: &mut [T],
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    let (plain, turned) = (Layout::RowMajor, Layout::Transposed);
    gemm(batch, inputs, outputs, output_gradient, plain, weights, turned, false, input_gradient);
}

/// [`crate::linear_weight_gradient`].
pub fn linear_weight_gradient<T: Number>(
    shape: &LinearShape,
    input: &[T],
    output_gradient: &[T],
    weight_gradient: &mut [T],
) {
    let LinearShape { batch, inputs, outputs } = *shape;
    let (plain, turned) = (Layout::RowMajor, Layout::Transposed);
    gemm(inputs, outputs, batch, input, turned, output_gradient, plain, false, weight_gradient);
}

/// The error function, by its Maclaurin series up to 2 and by its continued fraction above: about 1e-14.
pub fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    let z = x.abs();
    let value = if z < 2.0 {
        let (mut term, mut sum) = (z, z);
        for n in 1..100 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let fraction = (1..=60).rev().fold(z, |tail, n| z + f64::from(n) / 2.0 / tail);
        1.0 - (-z * z).exp() / fraction / std::f64::consts::PI.sqrt()
    };
    value.copysign(x)
}

/// `activation(x)`.
pub fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => x,
        Activation::Relu if x < 0.0 => 0.0,
        Activation::Relu => x,
        Activation::Relu6 if x > 6.0 => 6.0,
        Activation::Relu6 => activate(Activation::Relu, x),
        Activation::HardSwish if x <= -3.0 => 0.0,
        Activation::HardSwish if x >= 3.0 => x,
        Activation::HardSwish => x * (x + 3.0) / 6.0,
        Activation::HardSigmoid => ((x + 3.0) / 6.0).clamp(0.0, 1.0),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
    }
}

/// The derivative of `activation` at `x`.
pub fn slope(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Identity => 1.0,
        Activation::Relu if x <= 0.0 => 0.0,
        Activation::Relu => 1.0,
        Activation::Relu6 if x <= 0.0 || x >= 6.0 => 0.0,
        Activation::Relu6 => 1.0,
        Activation::HardSwish if x <= -3.0 => 0.0,
        Activation::HardSwish if x >= 3.0 => 1.0,
        Activation::HardSwish => (2.0 * x + 3.0) / 6.0,
        Activation::HardSigmoid if x <= -3.0 || x >= 3.0 => 0.0,
        Activation::HardSigmoid => 1.0 / 6.0,
        Activation::Silu => {
            let logistic = 1.0 / (1.0 + (-x).exp());
            logistic * (1.0 + x * (1.0 - logistic))
        }
        Activation::Gelu => {
            let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
            0.5 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)) + x * density
        }
    }
}

/// [`crate::batch_norm_train`].
#[expect(clippy::too_many_arguments, reason = "what goes in and what comes out of a batch norm")]
pub fn batch_norm_train<T: Number>(
    shape: &NormShape,
    input: &[T],
    scale: &[T],
    shift: &[T],
    epsilon: f32,
    activation: Activation,
    output: &mut [T],
    mean: &mut [T],
    variance: &mut [T],
) {
    let NormShape { rows, channels } = *shape;
    for channel in 0..channels {
        let column = || (0..rows).map(|row| input[row * channels + channel].read());
        let count = rows.max(1) as f64;
        let average = column().sum::<f64>() / count;
        let spread = column().map(|x| (x - average).powi(2)).sum::<f64>() / count;
        let factor = scale[channel].read() / (spread + f64::from(epsilon)).sqrt();
        for row in 0..rows {
            let place = row * channels + channel;
            let z = (input[place].read() - average) * factor + shift[channel].read();
            output[place] = T::write(activate(activation, z));
        }
        mean[channel] = T::write(average);
        variance[channel] = T::write(spread);
    }
}

/// [`crate::batch_norm_infer`].
pub fn batch_norm_infer<T: Number>(
    shape: &NormShape,
    input: &[T],
    multiplier: &[T],
    offset: &[T],
    activation: Activation,
    output: &mut [T],
) {
    for (place, output) in output.iter_mut().enumerate() {
        let channel = place % shape.channels;
        let z = input[place].read() * multiplier[channel].read() + offset[channel].read();
        *output = T::write(activate(activation, z));
    }
}

/// [`crate::batch_norm_gradient`].
#[expect(clippy::too_many_arguments, reason = "what goes in and what comes out of a batch norm's gradient")]
pub fn batch_norm_gradient<T: Number>(
    shape: &NormShape,
    input: &[T],
    mean: &[T],
    variance: &[T],
    scale: &[T],
    shift: &[T],
    epsilon: f32,
    activation: Activation,
    output_gradient: &[T],
    input_gradient: &mut [T],
    scale_gradient: &mut [T],
    shift_gradient: &mut [T],
) {
    let NormShape { rows, channels } = *shape;
    for channel in 0..channels {
        let inverse = 1.0 / (variance[channel].read() + f64::from(epsilon)).sqrt();
        let normal = |row: usize| (input[row * channels + channel].read() - mean[channel].read()) * inverse;
        let gradient = |row: usize| {
            let z = normal(row) * scale[channel].read() + shift[channel].read();
            let slope = slope(activation, z);
            if slope == 0.0 { 0.0 } else { output_gradient[row * channels + channel].read() * slope }
        };
        let sum: f64 = (0..rows).map(gradient).sum();
        let product: f64 = (0..rows).map(|row| gradient(row) * normal(row)).sum();
        let count = rows as f64;
        for row in 0..rows {
            let centred = gradient(row) - sum / count - normal(row) * product / count;
            input_gradient[row * channels + channel] = T::write(centred * scale[channel].read() * inverse);
        }
        scale_gradient[channel] = T::write(product);
        shift_gradient[channel] = T::write(sum);
    }
}

/// Mean of a row, and one over the root of its variance and epsilon.
fn measure_row<T: Number>(row: &[T], epsilon: f32) -> [f64; 2] {
    let count = row.len() as f64;
    let mean = row.iter().map(|x| x.read()).sum::<f64>() / count;
    let variance = row.iter().map(|x| (x.read() - mean).powi(2)).sum::<f64>() / count;
    [mean, 1.0 / (variance + f64::from(epsilon)).sqrt()]
}

/// [`crate::layer_norm`].
pub fn layer_norm<T: Number>(shape: &NormShape, input: &[T], scale: &[T], shift: &[T], epsilon: f32, output: &mut [T]) {
    for (input, output) in input.chunks_exact(shape.channels).zip(output.chunks_exact_mut(shape.channels)) {
        let [mean, factor] = measure_row(input, epsilon);
        for channel in 0..shape.channels {
            let normal = (input[channel].read() - mean) * factor;
            output[channel] = T::write(normal * scale[channel].read() + shift[channel].read());
        }
    }
}

/// [`crate::layer_norm_gradient`].
#[expect(clippy::too_many_arguments, reason = "what goes in and what comes out of a norm's gradient")]
pub fn layer_norm_gradient<T: Number>(
    shape: &NormShape,
    input: &[T],
    scale: &[T],
    epsilon: f32,
    output_gradient: &[T],
    input_gradient: &mut [T],
    scale_gradient: &mut [T],
    shift_gradient: &mut [T],
) {
    let channels = shape.channels;
    let mut sums = vec![0.0; 2 * channels];
    for row in 0..shape.rows {
        let place = row * channels;
        let [mean, factor] = measure_row(&input[place..place + channels], epsilon);
        let normal = |channel: usize| (input[place + channel].read() - mean) * factor;
        let gradient = |channel: usize| output_gradient[place + channel].read() * scale[channel].read();
        let average = (0..channels).map(gradient).sum::<f64>() / channels as f64;
        let product = (0..channels).map(|c| gradient(c) * normal(c)).sum::<f64>() / channels as f64;
        for channel in 0..channels {
            let centred = gradient(channel) - average - normal(channel) * product;
            input_gradient[place + channel] = T::write(centred * factor);
            sums[channel] += output_gradient[place + channel].read() * normal(channel);
            sums[channels + channel] += output_gradient[place + channel].read();
        }
    }
    store(&sums[..channels], scale_gradient);
    store(&sums[channels..], shift_gradient);
}

/// [`crate::channel_gate`].
pub fn channel_gate<T: Number>(
    batch: usize,
    pixels: usize,
    channels: usize,
    input: &[T],
    gate: &[T],
    output: &mut [T],
) {
    for (row, channel) in (0..batch * pixels).flat_map(|row| (0..channels).map(move |channel| (row, channel))) {
        let (place, factor) = (row * channels + channel, gate[row / pixels * channels + channel]);
        output[place] = T::write(input[place].read() * factor.read());
    }
}

/// [`crate::channel_gate_gradient`].
pub fn channel_gate_gradient<T: Number>(
    batch: usize,
    pixels: usize,
    channels: usize,
    input: &[T],
    gate: &[T],
    gradient: &mut [T],
    gate_gradient: &mut [T],
) {
    let mut sums = vec![0.0; batch * channels];
    for (row, channel) in (0..batch * pixels).flat_map(|row| (0..channels).map(move |channel| (row, channel))) {
        let (place, of_gate) = (row * channels + channel, row / pixels * channels + channel);
        sums[of_gate] += input[place].read() * gradient[place].read();
        gradient[place] = T::write(gradient[place].read() * gate[of_gate].read());
    }
    store(&sums, gate_gradient);
}

/// [`crate::max_pool`].
pub fn max_pool<T: Number>(shape: &PoolShape, input: &[T], output: &mut [T], argmax: &mut [u8]) {
    for (place, (output, argmax)) in output.iter_mut().zip(argmax).enumerate() {
        let mut best: Option<(f64, usize)> = None;
        for tap in 0..shape.kernel * shape.kernel {
            let Some(from) = pool_source(shape, place, tap) else { continue };
            let value = input[from].read();
            if best.is_none_or(|(best, _)| value > best || value.is_nan()) {
                best = Some((value, tap));
            }
        }
        let (value, tap) = best.expect("padding is at most half the kernel, so a window always meets its image");
        *output = T::write(value);
        *argmax = tap as u8;
    }
}

/// The input's place under tap `tap` of the window that makes output `place`; none in the padding.
fn pool_source(shape: &PoolShape, place: usize, tap: usize) -> Option<usize> {
    let (channel, pixel) = (place % shape.channels, place / shape.channels);
    let (x, y) = (pixel % shape.out_width(), pixel / shape.out_width() % shape.out_height());
    let image = pixel / shape.out_width() / shape.out_height();
    let row = (y * shape.stride + tap / shape.kernel).checked_sub(shape.padding).filter(|&row| row < shape.height)?;
    let column = (x * shape.stride + tap % shape.kernel).checked_sub(shape.padding).filter(|&c| c < shape.width)?;
    Some(((image * shape.height + row) * shape.width + column) * shape.channels + channel)
}

/// [`crate::max_pool_gradient`].
pub fn max_pool_gradient<T: Number>(shape: &PoolShape, output_gradient: &[T], argmax: &[u8], input_gradient: &mut [T]) {
    let mut sums = vec![0.0; shape.input_len()];
    for (place, (gradient, &tap)) in output_gradient.iter().zip(argmax).enumerate() {
        if let Some(from) = pool_source(shape, place, usize::from(tap)) {
            sums[from] += gradient.read();
        }
    }
    store(&sums, input_gradient);
}

/// [`crate::global_average_pool`].
pub fn global_average_pool<T: Number>(batch: usize, pixels: usize, channels: usize, input: &[T], output: &mut [T]) {
    for (image, channel) in (0..batch).flat_map(|image| (0..channels).map(move |channel| (image, channel))) {
        let sum: f64 = (0..pixels).map(|pixel| input[(image * pixels + pixel) * channels + channel].read()).sum();
        output[image * channels + channel] = T::write(sum / pixels as f64);
    }
}

/// [`crate::global_average_pool_gradient`].
pub fn global_average_pool_gradient<T: Number>(
    batch: usize,
    pixels: usize,
    channels: usize,
    output_gradient: &[T],
    input_gradient: &mut [T],
) {
    for (row, channel) in (0..batch * pixels).flat_map(|row| (0..channels).map(move |channel| (row, channel))) {
        let gradient = output_gradient[row / pixels * channels + channel].read();
        input_gradient[row * channels + channel] = T::write(gradient / pixels as f64);
    }
}

/// [`crate::global_max_pool`].
pub fn global_max_pool<T: Number>(
    batch: usize,
    pixels: usize,
    channels: usize,
    input: &[T],
    output: &mut [T],
    argmax: &mut [u32],
) {
    for (image, channel) in (0..batch).flat_map(|image| (0..channels).map(move |channel| (image, channel))) {
        let mut best = (f64::NEG_INFINITY, 0);
        for pixel in 0..pixels {
            let value = input[(image * pixels + pixel) * channels + channel].read();
            if pixel == 0 || value > best.0 || value.is_nan() {
                best = (value, pixel);
            }
        }
        output[image * channels + channel] = T::write(best.0);
        argmax[image * channels + channel] = best.1 as u32;
    }
}

/// [`crate::global_max_pool_gradient`].
pub fn global_max_pool_gradient<T: Number>(
    batch: usize,
    pixels: usize,
    channels: usize,
    output_gradient: &[T],
    argmax: &[u32],
    input_gradient: &mut [T],
) {
    input_gradient.fill(T::write(0.0));
    for (image, channel) in (0..batch).flat_map(|image| (0..channels).map(move |channel| (image, channel))) {
        let pixel = argmax[image * channels + channel] as usize;
        input_gradient[(image * pixels + pixel) * channels + channel] = output_gradient[image * channels + channel];
    }
}

/// [`crate::normalize`].
pub fn normalize<T: Number>(input: &[u8], multiplier: &[T], offset: &[T], output: &mut [T]) {
    for (place, (output, &value)) in output.iter_mut().zip(input).enumerate() {
        let factor = place % multiplier.len();
        *output = T::write(f64::from(value) * multiplier[factor].read() + offset[factor].read());
    }
}

/// [`crate::softmax`].
pub fn softmax<T: Number>(classes: usize, logits: &mut [T]) {
    for row in logits.chunks_exact_mut(classes) {
        let largest = row.iter().fold(f64::NEG_INFINITY, |largest, value| largest.max(value.read()));
        let sum: f64 = row.iter().map(|value| (value.read() - largest).exp()).sum();
        row.iter_mut().for_each(|value| *value = T::write((value.read() - largest).exp() / sum));
    }
}

/// [`crate::softmax_cross_entropy`].
#[expect(clippy::too_many_arguments, reason = "what goes in and what comes out of a loss")]
pub fn softmax_cross_entropy<T: Number>(
    batch: usize,
    classes: usize,
    logits: &[T],
    targets: Targets<'_>,
    label_smoothing: f32,
    class_weights: Option<&[f32]>,
    losses: &mut [T],
    gradient: &mut [T],
) -> f64 {
    let smoothing = f64::from(label_smoothing);
    let weight = |class: usize| class_weights.map_or(1.0, |weights| f64::from(weights[class]));
    let target = |row: usize, class: usize| match targets {
        Targets::Labels(labels) => f64::from(u8::from(labels[row] as usize == class)),
        Targets::Probabilities(probabilities) => f64::from(probabilities[row * classes + class]),
    };
    let denominator = match targets {
        Targets::Labels(labels) => labels.iter().map(|&label| weight(label as usize)).sum::<f64>(),
        Targets::Probabilities(_) => batch as f64,
    };
    let mut total = 0.0;
    for row in 0..batch {
        let logits = &logits[row * classes..][..classes];
        let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, value| largest.max(value.read()));
        let sum: f64 = logits.iter().map(|value| (value.read() - largest).exp()).sum();
        let log_probability = |class: usize| logits[class].read() - largest - sum.ln();
        let share =
            |class: usize| weight(class) * (target(row, class) * (1.0 - smoothing) + smoothing / classes as f64);
        let counted = (0..classes).filter(|&class| share(class) != 0.0);
        let loss: f64 = -counted.map(|class| share(class) * log_probability(class)).sum::<f64>();
        let shares: f64 = (0..classes).map(share).sum();
        for class in 0..classes {
            let slope = log_probability(class).exp() * shares - share(class);
            gradient[row * classes + class] = T::write(slope / denominator);
        }
        losses[row] = T::write(loss);
        total += loss;
    }
    if batch == 0 { 0.0 } else { total / denominator }
}

/// [`crate::sigmoid`].
pub fn sigmoid<T: Number>(logits: &mut [T]) {
    logits.iter_mut().for_each(|value| *value = T::write(1.0 / (1.0 + (-value.read()).exp())));
}

/// [`crate::sigmoid_cross_entropy`].
#[expect(clippy::too_many_arguments, reason = "what goes in and what comes out of a loss")]
pub fn sigmoid_cross_entropy<T: Number>(
    batch: usize,
    classes: usize,
    logits: &[T],
    targets: &[f32],
    label_smoothing: f32,
    positive_weights: Option<&[f32]>,
    losses: &mut [T],
    gradient: &mut [T],
) -> f64 {
    let smoothing = f64::from(label_smoothing);
    // ln(1 + e^x) for any x
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let mut total = 0.0;
    for (row, into) in losses.iter_mut().enumerate().take(batch) {
        let mut loss = 0.0;
        for class in 0..classes {
            let place = row * classes + class;
            let logit = logits[place].read();
            let target = f64::from(targets[place]) * (1.0 - smoothing) + smoothing / 2.0;
            let there = target * positive_weights.map_or(1.0, |weights| f64::from(weights[class]));
            loss += there * softplus(-logit) + (1.0 - target) * softplus(logit);
            let probability = 1.0 / (1.0 + (-logit).exp());
            let slope = (1.0 - target) * probability - there * (1.0 - probability);
            gradient[place] = T::write(slope / batch as f64);
        }
        *into = T::write(loss);
        total += loss;
    }
    if batch == 0 { 0.0 } else { total / batch as f64 }
}

/// [`crate::Update::Sgd`].
pub fn sgd_step<T: Number>(settings: &Sgd, parameters: &mut [T], gradients: &[T], velocity: &mut [T]) {
    let [rate, momentum, decay] = [settings.learning_rate, settings.momentum, settings.weight_decay].map(f64::from);
    for ((parameter, gradient), velocity) in parameters.iter_mut().zip(gradients).zip(velocity) {
        let gradient = gradient.read() + decay * parameter.read();
        let moved = momentum * velocity.read() + gradient;
        let step = if settings.nesterov { gradient + momentum * moved } else { moved };
        *velocity = T::write(moved);
        *parameter = T::write(parameter.read() - rate * step);
    }
}

/// [`crate::Update::AdamW`].
pub fn adamw_step<T: Number>(
    settings: &AdamW,
    step: u64,
    parameters: &mut [T],
    gradients: &[T],
    first_moment: &mut [T],
    second_moment: &mut [T],
) {
    let AdamW { learning_rate, beta1, beta2, epsilon, weight_decay } = *settings;
    let [rate, beta1, beta2, epsilon, decay] = [learning_rate, beta1, beta2, epsilon, weight_decay].map(f64::from);
    let [correction1, correction2] = [beta1, beta2].map(|beta| 1.0 - beta.powf(step as f64));
    for (index, parameter) in parameters.iter_mut().enumerate() {
        let gradient = gradients[index].read();
        let first = beta1 * first_moment[index].read() + (1.0 - beta1) * gradient;
        let second = beta2 * second_moment[index].read() + (1.0 - beta2) * gradient * gradient;
        let step = rate * (first / correction1) / ((second / correction2).sqrt() + epsilon);
        *parameter = T::write(parameter.read() * (1.0 - rate * decay) - step);
        first_moment[index] = T::write(first);
        second_moment[index] = T::write(second);
    }
}

/// [`crate::newton_schulz`].
pub fn newton_schulz(rows: usize, columns: usize, matrix: &mut [f32], iterations: usize) {
    let mut x: Vec<f64> = matrix.iter().map(|&value| f64::from(value)).collect();
    let norm = x.iter().map(|value| value * value).sum::<f64>().sqrt() + 1e-7;
    x.iter_mut().for_each(|value| *value /= norm);
    // X (XᵀX) and (XXᵀ) X are the same product: no need to turn a tall matrix here.
    let (plain, turned) = (Layout::RowMajor, Layout::Transposed);
    for _ in 0..iterations {
        let mut gram = vec![0.0; rows * rows];
        gemm(rows, rows, columns, &x, plain, &x, turned, false, &mut gram);
        let mut once = vec![0.0; rows * columns];
        gemm(rows, columns, rows, &gram, plain, &x, plain, false, &mut once);
        let mut twice = vec![0.0; rows * columns];
        gemm(rows, columns, rows, &gram, plain, &once, plain, false, &mut twice);
        for ((x, once), twice) in x.iter_mut().zip(&once).zip(&twice) {
            *x = 3.4445 * *x - 4.7750 * once + 2.0315 * twice;
        }
    }
    store(&x, matrix);
}
