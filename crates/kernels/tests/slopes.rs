//! Fused blocks, forward and backward as a network runs them in f32, against the slopes of the same block in f64 by
//! central differences: an oracle that knows no gradient. Convolutions by every algorithm.
//!
//! Tolerance: 1e-4 of the gradient's largest value (at least 1), for sums of about a hundred terms behind a norm, which
//! divides by deviations below 1. Values at the kink of ReLU are moved away from it.

mod common;

use common::{ACTIVATIONS, Random, assert_close, differences, on_every_isa, widen};
use percept_kernels::{
    Activation, Algorithm, ConvShape, LinearShape, NormShape, Padding, PoolShape, Targets, activate_gradient,
    batch_norm_apply, batch_norm_gradient, channel_sums, conv2d, conv2d_input_gradient, conv2d_weight_gradient,
    conv2d_with_statistics, global_average_pool, global_average_pool_gradient, global_max_pool,
    global_max_pool_gradient, linear, linear_input_gradient, linear_weight_gradient, max_pool, max_pool_gradient,
    reference, relu_gradient, softmax_cross_entropy,
};

const EPSILON: f32 = 1e-3;

/// The slopes of `objective` along every one of its parts, one after the other.
fn slopes(parts: &[Vec<f32>], objective: impl Fn(&[Vec<f64>]) -> f64) -> Vec<Vec<f64>> {
    let wide: Vec<Vec<f64>> = parts.iter().map(|part| widen(part)).collect();
    let slope = |part: usize| {
        differences(&wide[part], &[1.0], |moved| {
            let mut parts = wide.clone();
            parts[part] = moved.to_vec();
            vec![objective(&parts)]
        })
    };
    (0..parts.len()).map(slope).collect()
}

fn check(what: &str, names: &[&str], actual: &[Vec<f32>], expected: &[Vec<f64>]) {
    for ((name, actual), expected) in names.iter().zip(actual).zip(expected) {
        let largest = expected.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()));
        assert_close(&format!("{what}: {name}"), actual, expected, largest, 1e-4);
    }
}

fn weighted(values: &[f64], weights: &[f32]) -> f64 {
    values.iter().zip(weights).map(|(value, &weight)| value * f64::from(weight)).sum()
}

/// Whether a step of the differences could cross the kink of ReLU.
fn is_at_a_kink(values: &[f64]) -> bool {
    values.iter().any(|value| value.abs() < 1e-4)
}

fn conv_shapes() -> [ConvShape; 5] {
    // All algorithms with edge tiles; a stride, a larger kernel, a kernel for every channel, and groups, which are always
    // direct.
    let uneven = Padding { top: 1, bottom: 0, left: 0, right: 2 };
    [
        ConvShape::new([2, 5, 4, 3], 4, [3, 3], 1, 1),
        ConvShape::new([2, 6, 5, 2], 5, [3, 3], 2, 1),
        ConvShape::new([1, 7, 6, 2], 3, [5, 5], 1, 2),
        ConvShape::new([2, 5, 6, 4], 4, [3, 3], 1, 1).and_then(|shape| shape.with_groups(4)),
        ConvShape::new([1, 6, 5, 4], 6, [3, 3], 1, uneven)
            .and_then(|shape| shape.with_groups(2))
            .and_then(|shape| shape.with_dilation(2)),
    ]
    .map(|shape| shape.expect("a shape"))
}

/// `activation(norm(convolution) + residual)`, as the blocks of residual networks have it, and without the residual.
#[test]
fn convolution_norm_activation_and_residual() {
    let mut random = Random::new(30);
    for shape in conv_shapes() {
        let (outputs, channels) = (shape.output_len(), shape.out_channels);
        let norm = NormShape::new(outputs / channels, channels).expect("a shape");
        for (activation, with_residual) in
            ACTIVATIONS.map(|activation| (activation, false)).into_iter().chain([(Activation::Relu, true)])
        {
            // Where a norm and an addition follow each other, the activation belongs to the addition.
            let inner = if with_residual { Activation::Identity } else { activation };
            let before = |parts: &[Vec<f64>], activation: Activation| {
                let [mut plain, mut normal] = [0; 2].map(|_| vec![0.0; outputs]);
                let [mut mean, mut variance] = [0; 2].map(|_| vec![0.0; channels]);
                reference::conv2d(&shape, &parts[0], &parts[1], None, &mut plain);
                reference::batch_norm_train(
                    &norm,
                    &plain,
                    &parts[2],
                    &parts[3],
                    EPSILON,
                    activation,
                    &mut normal,
                    &mut mean,
                    &mut variance,
                );
                if with_residual {
                    normal.iter_mut().zip(&parts[4]).for_each(|(value, residual)| *value += residual);
                }
                normal
            };
            let weights = random.values(outputs);
            let mut parts: Vec<Vec<f32>>;
            loop {
                let lengths = [shape.input_len(), shape.weights_len(), channels, channels, outputs];
                parts = lengths
                    .map(|length| random.values(length))
                    .into_iter()
                    .take(4 + usize::from(with_residual))
                    .collect();
                let wide: Vec<Vec<f64>> = parts.iter().map(|part| widen(part)).collect();
                if !is_at_a_kink(&before(&wide, Activation::Identity)) {
                    break;
                }
            }
            let expected = slopes(&parts, |parts| {
                let mut values = before(parts, inner);
                if with_residual {
                    values.iter_mut().for_each(|value| *value = reference::activate(activation, *value));
                }
                weighted(&values, &weights)
            });
            on_every_isa(|isa| {
                for algorithm in Algorithm::ALL {
                    let run = || norm_block(&shape, &norm, inner, with_residual, &parts, &weights);
                    let what = format!("{algorithm:?} {activation:?} residual {with_residual} {shape:?} {isa}");
                    let names = ["input", "weights", "scale", "shift", "residual"];
                    check(&what, &names, &algorithm.run(run), &expected);
                }
            });
        }
    }
}

/// The block's gradients by its parts, `weights` being the gradient of its output.
fn norm_block(
    shape: &ConvShape,
    norm: &NormShape,
    activation: Activation,
    with_residual: bool,
    parts: &[Vec<f32>],
    weights: &[f32],
) -> Vec<Vec<f32>> {
    let channels = shape.out_channels;
    let [mut plain, mut output, mut of_plain] = [0; 3].map(|_| vec![f32::NAN; shape.output_len()]);
    let [mut mean, mut variance, mut of_scale, mut of_shift] = [0; 4].map(|_| vec![f32::NAN; channels]);
    let (scale, shift) = (&parts[2], &parts[3]);
    conv2d_with_statistics(shape, &parts[0], &parts[1], None, &mut plain, &mut mean, &mut variance);
    let (residual, at_last) = match with_residual {
        true => (Some(&parts[4][..]), Activation::Relu),
        false => (None, activation),
    };
    batch_norm_apply(norm, &plain, &mean, &variance, scale, shift, EPSILON, residual, at_last, &mut output);
    let mut gradient = weights.to_vec();
    if with_residual {
        relu_gradient(&output, &mut gradient);
    }
    of_plain.copy_from_slice(&plain);
    batch_norm_gradient(
        norm,
        &mut of_plain,
        &mean,
        &variance,
        scale,
        shift,
        EPSILON,
        activation,
        &gradient,
        &mut of_scale,
        &mut of_shift,
    );
    let (mut of_input, mut of_weights) = (vec![f32::NAN; shape.input_len()], vec![f32::NAN; shape.weights_len()]);
    conv2d_input_gradient(shape, &of_plain, &parts[1], &mut of_input);
    conv2d_weight_gradient(shape, &parts[0], &of_plain, &mut of_weights);
    vec![of_input, of_weights, of_scale, of_shift, gradient]
}

#[test]
fn convolution_bias_and_activation() {
    let mut random = Random::new(31);
    for shape in conv_shapes() {
        for activation in ACTIVATIONS {
            let before = |parts: &[Vec<f64>]| {
                let mut plain = vec![0.0; shape.output_len()];
                reference::conv2d(&shape, &parts[0], &parts[1], Some(&parts[2]), &mut plain);
                plain
            };
            let weights = random.values(shape.output_len());
            let mut parts: Vec<Vec<f32>>;
            loop {
                let lengths = [shape.input_len(), shape.weights_len(), shape.out_channels];
                parts = lengths.map(|length| random.values(length)).to_vec();
                if !is_at_a_kink(&before(&parts.iter().map(|part| widen(part)).collect::<Vec<_>>())) {
                    break;
                }
            }
            let expected = slopes(&parts, |parts| {
                let values: Vec<f64> = before(parts).iter().map(|&x| reference::activate(activation, x)).collect();
                weighted(&values, &weights)
            });
            on_every_isa(|isa| {
                for algorithm in Algorithm::ALL {
                    let what = format!("{algorithm:?} {activation:?} {shape:?} {isa}");
                    let actual = algorithm.run(|| bias_block(&shape, activation, &parts, &weights));
                    check(&what, &["input", "weights", "bias"], &actual, &expected);
                }
            });
        }
    }
}

fn bias_block(shape: &ConvShape, activation: Activation, parts: &[Vec<f32>], weights: &[f32]) -> Vec<Vec<f32>> {
    let mut plain = vec![f32::NAN; shape.output_len()];
    conv2d(shape, &parts[0], &parts[1], Some(&parts[2]), &mut plain);
    let mut gradient = weights.to_vec();
    activate_gradient(activation, &plain, &mut gradient);
    let (mut of_input, mut of_weights) = (vec![f32::NAN; shape.input_len()], vec![f32::NAN; shape.weights_len()]);
    let mut of_bias = vec![f32::NAN; shape.out_channels];
    conv2d_input_gradient(shape, &gradient, &parts[1], &mut of_input);
    conv2d_weight_gradient(shape, &parts[0], &gradient, &mut of_weights);
    channel_sums(shape.output_len() / shape.out_channels, shape.out_channels, &gradient, &mut of_bias);
    vec![of_input, of_weights, of_bias]
}

/// A linear layer and its loss, with smoothing and class weights, for labels and for probabilities.
#[test]
fn linear_layer_and_cross_entropy() {
    let mut random = Random::new(32);
    let (batch, inputs, classes) = (5, 7, 4);
    let shape = LinearShape::new(batch, inputs, classes).expect("a shape");
    let parts = [batch * inputs, inputs * classes, classes].map(|length| random.values(length)).to_vec();
    let class_weights = [1.0, 0.5, 2.0, 3.0];
    let mut probabilities = widen(&random.values(batch * classes));
    reference::softmax(classes, &mut probabilities);
    let probabilities: Vec<f32> = probabilities.iter().map(|&share| share as f32).collect();
    for (targets, smoothing, class_weights) in [
        (Targets::Labels(&[0, 3, 1, 2, 3]), 0.1, Some(&class_weights[..])),
        (Targets::Probabilities(&probabilities), 0.2, Some(&class_weights[..])),
        (Targets::Labels(&[0, 3, 1, 2, 3]), 0.0, None),
    ] {
        let expected = slopes(&parts, |parts| {
            let [mut logits, mut gradient] = [0; 2].map(|_| vec![0.0; batch * classes]);
            let mut losses = vec![0.0; batch];
            reference::linear(&shape, &parts[0], &parts[1], Some(&parts[2]), &mut logits);
            reference::softmax_cross_entropy(
                batch,
                classes,
                &logits,
                targets,
                smoothing,
                class_weights,
                &mut losses,
                &mut gradient,
            )
        });
        on_every_isa(|isa| {
            let [mut logits, mut gradient] = [0; 2].map(|_| vec![f32::NAN; batch * classes]);
            let mut losses = vec![f32::NAN; batch];
            linear(&shape, &parts[0], &parts[1], Some(&parts[2]), &mut logits);
            softmax_cross_entropy(
                batch,
                classes,
                &logits,
                targets,
                smoothing,
                class_weights,
                &mut losses,
                &mut gradient,
            );
            let mut actual = [batch * inputs, inputs * classes, classes].map(|length| vec![f32::NAN; length]);
            let [of_input, of_weights, of_bias] = &mut actual;
            linear_input_gradient(&shape, &gradient, &parts[1], of_input);
            linear_weight_gradient(&shape, &parts[0], &gradient, of_weights);
            channel_sums(batch, classes, &gradient, of_bias);
            check(&format!("{targets:?} on {isa}"), &["input", "weights", "bias"], &actual, &expected);
        });
    }
}

/// Values far enough apart that no step of the differences changes which of them is the largest.
fn spread_out(random: &mut Random, length: usize) -> Vec<f32> {
    let mut values: Vec<f32> = (0..length).map(|index| index as f32 / length as f32 - 0.5).collect();
    for index in (1..length).rev() {
        values.swap(index, random.below(index + 1));
    }
    values
}

#[test]
fn pools() {
    let mut random = Random::new(33);
    for (input, kernel, stride, padding) in [([2, 5, 6, 3], 2, 2, 0), ([1, 7, 6, 2], 3, 2, 1), ([1, 6, 5, 2], 3, 1, 1)]
    {
        let shape = PoolShape::new(input, kernel, stride, padding).expect("a shape");
        let [batch, height, width, channels] = input;
        let pixels = height * width;
        let parts = [spread_out(&mut random, shape.input_len())];
        let windows = random.values(shape.output_len());
        let means = random.values(batch * channels);
        let of_windows = slopes(&parts, |parts| {
            let (mut output, mut places) = (vec![0.0; shape.output_len()], vec![0; shape.output_len()]);
            reference::max_pool(&shape, &parts[0], &mut output, &mut places);
            weighted(&output, &windows)
        });
        let of_means = slopes(&parts, |parts| {
            let mut output = vec![0.0; batch * channels];
            reference::global_average_pool(batch, pixels, channels, &parts[0], &mut output);
            weighted(&output, &means)
        });
        let of_maxima = slopes(&parts, |parts| {
            let (mut output, mut places) = (vec![0.0; batch * channels], vec![0; batch * channels]);
            reference::global_max_pool(batch, pixels, channels, &parts[0], &mut output, &mut places);
            weighted(&output, &means)
        });
        on_every_isa(|isa| {
            let mut gradient = vec![f32::NAN; shape.input_len()];
            let (mut output, mut places) = (vec![f32::NAN; shape.output_len()], vec![9; shape.output_len()]);
            max_pool(&shape, &parts[0], &mut output, &mut places);
            max_pool_gradient(&shape, &windows, &places, &mut gradient);
            check(&format!("{shape:?} {isa}"), &["max pool"], &[gradient.clone()], &of_windows);
            let mut output = vec![f32::NAN; batch * channels];
            global_average_pool(batch, pixels, channels, &parts[0], &mut output);
            global_average_pool_gradient(batch, pixels, channels, &means, &mut gradient);
            check(&format!("{shape:?} {isa}"), &["global average pool"], &[gradient.clone()], &of_means);
            let mut places = vec![9; batch * channels];
            global_max_pool(batch, pixels, channels, &parts[0], &mut output, &mut places);
            global_max_pool_gradient(batch, pixels, channels, &means, &places, &mut gradient);
            check(&format!("{shape:?} {isa}"), &["global max pool"], &[gradient.clone()], &of_maxima);
        });
    }
}
