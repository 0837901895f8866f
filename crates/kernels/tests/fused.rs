//! Convolutions fused with what follows them: bias, residual and activation, or the statistics of a batch norm.
//!
//! Tolerance of values: that of the algorithm (see winograd.rs), and GELU's own 3e-7. Statistics are held against those of
//! the very outputs, in f64: within 3e-6 of the outputs' spread.

mod common;

use common::{ACTIVATIONS, Random, assert_close, assert_same_bits, bits, on_every_isa, widen};
use percept_kernels::{
    Activation, Algorithm, ConvShape, NormShape, batch_norm_apply, batch_norm_train, conv2d, conv2d_fused,
    conv2d_with_statistics, reference,
};

const ALGORITHMS: [(Algorithm, f64); 4] =
    [(Algorithm::Direct, 1e-6), (Algorithm::Shallow, 1e-6), (Algorithm::Winograd2, 1e-6), (Algorithm::Winograd4, 6e-6)];

/// Input, output channels, kernel, stride, padding.
const CASES: [([usize; 4], usize, usize, usize, usize); 12] = [
    ([0, 8, 8, 3], 5, 3, 1, 1),
    ([1, 1, 1, 1], 1, 3, 1, 1),
    ([2, 7, 5, 3], 16, 3, 1, 1),
    ([1, 9, 9, 17], 33, 3, 1, 0),
    ([3, 15, 14, 24], 70, 3, 1, 2),
    ([9, 16, 16, 12], 40, 3, 1, 1),
    ([40, 4, 4, 130], 200, 3, 1, 1),
    ([2, 6, 6, 12], 10, 1, 1, 0),
    ([9, 20, 16, 24], 40, 1, 2, 0),
    ([2, 13, 11, 4], 6, 5, 2, 2),
    ([5, 32, 32, 3], 10, 3, 1, 1),
    ([1, 67, 3, 1], 2, 3, 1, 1),
];

/// Input, output channels, kernel, stride, padding, groups.
const GROUPED_CASES: [([usize; 4], usize, usize, usize, usize, usize); 6] = [
    ([0, 8, 8, 24], 24, 3, 1, 1, 24),
    ([2, 7, 5, 17], 17, 3, 1, 1, 17),
    ([3, 15, 14, 40], 40, 5, 2, 2, 40),
    ([5, 28, 28, 64], 64, 3, 1, 1, 64),
    ([2, 6, 6, 12], 18, 3, 1, 1, 3),
    ([9, 13, 12, 3], 3, 3, 1, 1, 3),
];

fn shapes() -> impl Iterator<Item = ConvShape> {
    let plain =
        CASES.into_iter().map(|(input, outs, kernel, stride, padding)| (input, outs, kernel, stride, padding, 1));
    plain.chain(GROUPED_CASES).map(|(input, outs, kernel, stride, padding, groups)| {
        let shape = ConvShape::new(input, outs, [kernel; 2], stride, padding).expect("a shape");
        shape.with_groups(groups).expect("a shape")
    })
}

#[test]
fn bias_residual_and_activation_are_those_of_the_reference() {
    let mut random = Random::new(8);
    for shape in shapes() {
        let (input, weights) = (random.values(shape.input_len()), random.values(shape.weights_len()));
        let (bias, residual) = (random.values(shape.out_channels), random.values(shape.output_len()));
        let mut plain = vec![0.0; shape.output_len()];
        reference::conv2d(&shape, &widen(&input), &widen(&weights), None, &mut plain);
        let terms = shape.kernel[0] * shape.kernel[1] * shape.in_channels / shape.groups;
        on_every_isa(|isa| {
            for (algorithm, tolerance) in ALGORITHMS {
                for activation in ACTIVATIONS {
                    for (bias, residual) in
                        [(None, None), (Some(&bias), None), (None, Some(&residual)), (Some(&bias), Some(&residual))]
                    {
                        let expected = plain.iter().enumerate().map(|(place, &value)| {
                            let bias = bias.map_or(0.0, |bias| f64::from(bias[place % shape.out_channels]));
                            let residual = residual.map_or(0.0, |residual| f64::from(residual[place]));
                            reference::activate(activation, value + bias + residual)
                        });
                        let expected: Vec<f64> = expected.collect();
                        let mut output = vec![f32::NAN; shape.output_len()];
                        let [bias, residual] = [bias, residual].map(|values| values.map(|values| &values[..]));
                        algorithm
                            .run(|| conv2d_fused(&shape, &input, &weights, bias, residual, activation, &mut output));
                        let what = format!("{algorithm:?} {activation:?} {shape:?} {isa}");
                        assert_close(&what, &output, &expected, (terms as f64).sqrt(), tolerance);
                    }
                }
            }
        });
    }
}

#[test]
fn statistics_are_those_of_the_outputs_even_where_the_mean_is_large() {
    let mut random = Random::new(9);
    for (shape, offset) in shapes().flat_map(|shape| [(shape, 0.0), (shape, 1000.0)]) {
        let (input, weights) = (random.values(shape.input_len()), random.values(shape.weights_len()));
        let bias: Vec<f32> = random.values(shape.out_channels).iter().map(|value| value + offset).collect();
        let norm = NormShape::new(shape.output_len() / shape.out_channels, shape.out_channels).expect("a shape");
        on_every_isa(|isa| {
            for (algorithm, _) in ALGORITHMS {
                algorithm.run(|| {
                    let what = format!("{algorithm:?} {shape:?} {offset} {isa}");
                    let (mut output, mut plain) =
                        (vec![f32::NAN; shape.output_len()], vec![f32::NAN; shape.output_len()]);
                    let [mut mean, mut variance] = [0; 2].map(|_| vec![f32::NAN; shape.out_channels]);
                    conv2d(&shape, &input, &weights, Some(&bias), &mut plain);
                    conv2d_with_statistics(
                        &shape,
                        &input,
                        &weights,
                        Some(&bias),
                        &mut output,
                        &mut mean,
                        &mut variance,
                    );
                    assert_eq!(bits(&output), bits(&plain), "{what}");
                    let (means, variances) = statistics(&norm, &output);
                    let largest = variances.iter().copied().fold(0.0, f64::max);
                    assert_close(&format!("mean {what}"), &mean, &means, largest.sqrt(), 3e-6);
                    assert_close(&format!("variance {what}"), &variance, &variances, largest, 3e-6);
                });
            }
        });
    }
}

/// Mean and biased variance of each channel, in two passes.
fn statistics(shape: &NormShape, values: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let rows = shape.rows.max(1) as f64;
    let column = |channel: usize| values.iter().skip(channel).step_by(shape.channels).map(|&value| f64::from(value));
    let means: Vec<f64> = (0..shape.channels).map(|channel| column(channel).sum::<f64>() / rows).collect();
    let variance = |channel: usize| column(channel).map(|value| (value - means[channel]).powi(2)).sum::<f64>() / rows;
    let variances = (0..shape.channels).map(variance).collect();
    (means, variances)
}

#[test]
fn a_convolution_and_a_norm_that_knows_its_statistics_are_a_convolution_and_a_norm() {
    let mut random = Random::new(10);
    let shape = ConvShape::new([5, 16, 16, 12], 40, [3, 3], 1, 1).expect("a shape");
    let norm = NormShape::new(5 * 256, 40).expect("a shape");
    let (input, weights) = (random.values(shape.input_len()), random.values(shape.weights_len()));
    let (scale, shift) = (random.values(40), random.values(40));
    on_every_isa(|isa| {
        let [mut output, mut apart, mut fused] = [0; 3].map(|_| vec![0.0; shape.output_len()]);
        let [mut mean, mut variance, mut other_mean, mut other_variance] = [0; 4].map(|_| vec![0.0; 40]);
        conv2d_with_statistics(&shape, &input, &weights, None, &mut output, &mut mean, &mut variance);
        let activation = Activation::Relu;
        batch_norm_apply(&norm, &output, &mean, &variance, &scale, &shift, 1e-5, None, activation, &mut fused);
        let (mean, variance) = (&mut other_mean, &mut other_variance);
        batch_norm_train(&norm, &output, &scale, &shift, 1e-5, activation, &mut apart, mean, variance);
        assert_close(&format!("fused on {isa}"), &fused, &widen(&apart), 1.0, 2e-6);
    });
}

#[test]
fn fused_convolutions_have_the_same_bits_whatever_the_threads() {
    let mut random = Random::new(11);
    for shape in shapes().filter(|shape| shape.output_len() > 10_000) {
        let (input, weights) = (random.values(shape.input_len()), random.values(shape.weights_len()));
        let (bias, residual) = (random.values(shape.out_channels), random.values(shape.output_len()));
        for (algorithm, _) in ALGORITHMS {
            assert_same_bits(&format!("{algorithm:?} {shape:?}"), || {
                algorithm.run(|| {
                    let mut output = vec![0.0; shape.output_len()];
                    let [mut mean, mut variance] = [0; 2].map(|_| vec![0.0; shape.out_channels]);
                    conv2d_with_statistics(&shape, &input, &weights, None, &mut output, &mut mean, &mut variance);
                    let mut fused = vec![0.0; shape.output_len()];
                    let (bias, residual) = (Some(&bias[..]), Some(&residual[..]));
                    conv2d_fused(&shape, &input, &weights, bias, residual, Activation::Gelu, &mut fused);
                    [output, mean, variance, fused].concat()
                })
            });
        }
    }
}
