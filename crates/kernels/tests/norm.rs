//! Batch normalisation, fused with its activation, and sums over rows.
//!
//! Tolerance: 2e-6 of the largest values for the forward pass, 2e-5 for gradients, whose sums run over all rows.

mod common;

use common::{ACTIVATIONS, Random, assert_close, assert_near, assert_same_bits, differences, on_every_isa, widen};
use percept_kernels::{
    Activation, NormShape, batch_norm_apply, batch_norm_gradient, batch_norm_infer, batch_norm_infer_in_place,
    batch_norm_train, channel_sums, reference,
};

const SHAPES: [[usize; 2]; 13] = [
    [0, 3],
    [1, 1],
    [2, 67],
    [7, 3],
    [67, 1],
    [64, 64],
    [129, 10],
    [300, 65],
    [1000, 24],
    [5000, 3],
    [40_000, 5],
    [33, 1030],
    [9000, 130],
];
const EPSILON: f32 = 1e-5;

struct Case {
    shape: NormShape,
    input: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    gradient: Vec<f32>,
}

fn case(random: &mut Random, [rows, channels]: [usize; 2]) -> Case {
    let shape = NormShape::new(rows, channels).expect("a shape");
    // each channel has a mean and a spread of its own
    let places: Vec<[f32; 2]> = (0..channels).map(|_| [3.0 * random.value(), 1.5 + random.value()]).collect();
    let input =
        (0..shape.len()).map(|place| random.value() * places[place % channels][1] + places[place % channels][0]);
    let input = input.collect();
    let [scale, shift] = [0, 1].map(|_| random.values(channels));
    Case { shape, input, scale, shift, gradient: random.values(shape.len()) }
}

#[test]
fn the_forward_pass_agrees_with_the_reference() {
    let mut random = Random::new(6);
    for sizes in SHAPES {
        let Case { shape, input, scale, shift, .. } = case(&mut random, sizes);
        for activation in ACTIVATIONS {
            let channels = shape.channels;
            let [wide_input, wide_scale, wide_shift] = [&input, &scale, &shift].map(|v| widen(v));
            let mut expected = [vec![0.0; shape.len()], vec![0.0; channels], vec![0.0; channels]];
            let [output, mean, variance] = &mut expected;
            reference::batch_norm_train(
                &shape,
                &wide_input,
                &wide_scale,
                &wide_shift,
                EPSILON,
                activation,
                output,
                mean,
                variance,
            );
            let mut normal = vec![0.0; shape.len()];
            let [mut same_mean, mut same_variance] = [0; 2].map(|_| vec![0.0; channels]);
            reference::batch_norm_train(
                &shape,
                &wide_input,
                &wide_scale,
                &wide_shift,
                EPSILON,
                Activation::Identity,
                &mut normal,
                &mut same_mean,
                &mut same_variance,
            );
            let mut inferred = vec![0.0; shape.len()];
            reference::batch_norm_infer(&shape, &wide_input, &wide_scale, &wide_shift, activation, &mut inferred);
            on_every_isa(|isa| {
                let what = format!("{sizes:?} {activation:?} {isa}");
                let (mut output, mut mean, mut variance) =
                    (vec![f32::NAN; shape.len()], vec![f32::NAN; channels], vec![f32::NAN; channels]);
                batch_norm_train(
                    &shape,
                    &input,
                    &scale,
                    &shift,
                    EPSILON,
                    activation,
                    &mut output,
                    &mut mean,
                    &mut variance,
                );
                assert_close(&format!("mean {what}"), &mean, &expected[1], 4.0, 2e-6);
                assert_close(&format!("variance {what}"), &variance, &expected[2], 1.0, 2e-6);
                // one row has no spread: what is divided by the root of epsilon alone
                let size = if shape.rows == 1 { 300.0 } else { 4.0 };
                assert_close(&format!("output {what}"), &output, &expected[0], size, 2e-6);
                let residual: Vec<f32> = input.iter().rev().copied().collect();
                let of_sum =
                    |(&normal, &residual): (&f64, &f32)| reference::activate(activation, normal + f64::from(residual));
                let summed: Vec<f64> = normal.iter().zip(&residual).map(of_sum).collect();
                batch_norm_apply(
                    &shape,
                    &input,
                    &mean,
                    &variance,
                    &scale,
                    &shift,
                    EPSILON,
                    Some(&residual),
                    activation,
                    &mut output,
                );
                assert_close(&format!("with a residual {what}"), &output, &summed, size, 2e-6);
                batch_norm_infer(&shape, &input, &scale, &shift, activation, &mut output);
                assert_close(&format!("inference {what}"), &output, &inferred, 4.0, 1e-6);
                let mut in_place = input.clone();
                batch_norm_infer_in_place(&shape, &scale, &shift, activation, &mut in_place);
                assert_close(&format!("inference in place {what}"), &in_place, &inferred, 4.0, 1e-6);
            });
        }
    }
}

#[test]
fn the_gradients_agree_with_the_reference() {
    let mut random = Random::new(7);
    for sizes in SHAPES.into_iter().filter(|&[rows, _]| rows != 1) {
        let Case { shape, input, scale, shift, gradient } = case(&mut random, sizes);
        for activation in ACTIVATIONS {
            let channels = shape.channels;
            let (mut output, mut mean, mut variance) =
                (vec![0.0; shape.len()], vec![0.0; channels], vec![0.0; channels]);
            batch_norm_train(
                &shape,
                &input,
                &scale,
                &shift,
                EPSILON,
                activation,
                &mut output,
                &mut mean,
                &mut variance,
            );
            let wide = [&input, &mean, &variance, &scale, &shift, &gradient].map(|v| widen(v));
            let mut expected = [vec![0.0; shape.len()], vec![0.0; channels], vec![0.0; channels]];
            let [input_gradient, scale_gradient, shift_gradient] = &mut expected;
            reference::batch_norm_gradient(
                &shape,
                &wide[0],
                &wide[1],
                &wide[2],
                &wide[3],
                &wide[4],
                EPSILON,
                activation,
                &wide[5],
                input_gradient,
                scale_gradient,
                shift_gradient,
            );
            on_every_isa(|isa| {
                let what = format!("{sizes:?} {activation:?} {isa}");
                let (mut input_gradient, mut scale_gradient, mut shift_gradient) =
                    (input.clone(), vec![f32::NAN; channels], vec![f32::NAN; channels]);
                batch_norm_gradient(
                    &shape,
                    &mut input_gradient,
                    &mean,
                    &variance,
                    &scale,
                    &shift,
                    EPSILON,
                    activation,
                    &gradient,
                    &mut scale_gradient,
                    &mut shift_gradient,
                );
                let rows = (shape.rows as f64).sqrt();
                assert_close(&format!("input {what}"), &input_gradient, &expected[0], 2.0, 2e-5);
                assert_close(&format!("scale {what}"), &scale_gradient, &expected[1], rows, 2e-5);
                assert_close(&format!("shift {what}"), &shift_gradient, &expected[2], rows, 2e-5);
            });
        }
    }
}

#[test]
fn the_reference_gradients_are_those_of_finite_differences() {
    let mut random = Random::new(8);
    let Case { shape, input, scale, shift, gradient } = case(&mut random, [9, 3]);
    let wide = [&input, &scale, &shift, &gradient].map(|v| widen(v));
    for activation in ACTIVATIONS {
        let forward = |input: &[f64], scale: &[f64], shift: &[f64]| {
            let (mut output, mut mean, mut variance) = (vec![0.0; shape.len()], vec![0.0; 3], vec![0.0; 3]);
            reference::batch_norm_train(
                &shape,
                input,
                scale,
                shift,
                EPSILON,
                activation,
                &mut output,
                &mut mean,
                &mut variance,
            );
            (output, mean, variance)
        };
        let (_, mean, variance) = forward(&wide[0], &wide[1], &wide[2]);
        let mut actual = [vec![0.0; shape.len()], vec![0.0; 3], vec![0.0; 3]];
        let [input_gradient, scale_gradient, shift_gradient] = &mut actual;
        reference::batch_norm_gradient(
            &shape,
            &wide[0],
            &mean,
            &variance,
            &wide[1],
            &wide[2],
            EPSILON,
            activation,
            &wide[3],
            input_gradient,
            scale_gradient,
            shift_gradient,
        );
        let expected = [
            differences(&wide[0], &wide[3], |input| forward(input, &wide[1], &wide[2]).0),
            differences(&wide[1], &wide[3], |scale| forward(&wide[0], scale, &wide[2]).0),
            differences(&wide[2], &wide[3], |shift| forward(&wide[0], &wide[1], shift).0),
        ];
        for (actual, expected) in actual.iter().zip(&expected) {
            assert_near(&format!("{activation:?}"), actual, expected, 1e-6);
        }
    }
}

#[test]
fn a_mean_far_from_zero_costs_no_digits() {
    let shape = NormShape::new(20_000, 2).expect("a shape");
    let mut random = Random::new(9);
    // whole numbers near a thousand: exact in f32, so that f64 statistics of the same values are the truth
    let input: Vec<f32> = (0..shape.len()).map(|_| 4096.0 + (random.below(5) as f32 - 2.0)).collect();
    let wide = widen(&input);
    let mut expected = [vec![0.0; shape.len()], vec![0.0; 2], vec![0.0; 2]];
    let [output, mean, variance] = &mut expected;
    let (one, zero) = ([1.0; 2], [0.0; 2]);
    reference::batch_norm_train(&shape, &wide, &one, &zero, 1e-5, Activation::Identity, output, mean, variance);
    on_every_isa(|isa| {
        let (mut output, mut mean, mut variance) = (vec![0.0; shape.len()], vec![0.0; 2], vec![0.0; 2]);
        let (one, zero) = ([1.0; 2], [0.0; 2]);
        batch_norm_train(
            &shape,
            &input,
            &one,
            &zero,
            1e-5,
            Activation::Identity,
            &mut output,
            &mut mean,
            &mut variance,
        );
        assert_close(&format!("variance {isa}"), &variance, &expected[2], 1.0, 1e-6);
        // the mean itself is rounded to f32: a unit in its last place is 5e-4
        assert_close(&format!("mean {isa}"), &mean, &expected[1], 1.0, 1e-7);
    });
}

#[test]
fn sums_agree_with_the_reference() {
    let mut random = Random::new(10);
    for [rows, channels] in SHAPES {
        let values = random.values(rows * channels);
        let mut expected = vec![0.0; channels];
        reference::channel_sums(rows, channels, &widen(&values), &mut expected);
        on_every_isa(|isa| {
            let mut sums = vec![f32::NAN; channels];
            channel_sums(rows, channels, &values, &mut sums);
            assert_close(&format!("{rows}x{channels} {isa}"), &sums, &expected, (rows as f64).sqrt(), 1e-6);
        });
    }
}

#[test]
fn norms_have_the_same_bits_whatever_the_threads() {
    let mut random = Random::new(11);
    for sizes in [[40_000, 5], [9000, 130]] {
        let Case { shape, input, scale, shift, gradient } = case(&mut random, sizes);
        let channels = shape.channels;
        assert_same_bits(&format!("{sizes:?}"), || {
            let (mut output, mut mean, mut variance) =
                (vec![0.0; shape.len()], vec![0.0; channels], vec![0.0; channels]);
            let activation = Activation::Gelu;
            batch_norm_train(
                &shape,
                &input,
                &scale,
                &shift,
                EPSILON,
                activation,
                &mut output,
                &mut mean,
                &mut variance,
            );
            let (mut input_gradient, mut scale_gradient, mut shift_gradient) =
                (input.clone(), vec![0.0; channels], vec![0.0; channels]);
            batch_norm_gradient(
                &shape,
                &mut input_gradient,
                &mean,
                &variance,
                &scale,
                &shift,
                EPSILON,
                activation,
                &gradient,
                &mut scale_gradient,
                &mut shift_gradient,
            );
            let mut sums = vec![0.0; channels];
            channel_sums(shape.rows, channels, &input, &mut sums);
            let mut inferred = vec![0.0; shape.len()];
            batch_norm_infer(&shape, &input, &scale, &shift, activation, &mut inferred);
            [output, mean, variance, input_gradient, scale_gradient, shift_gradient, sums, inferred].concat()
        });
    }
}

#[test]
fn a_nan_stays_in_its_channel_and_relu_keeps_it() {
    let shape = NormShape::new(50, 7).expect("a shape");
    let mut input = Random::new(12).values(shape.len());
    input[21 * 7 + 4] = f32::NAN;
    on_every_isa(|isa| {
        let (mut output, mut mean, mut variance) = (vec![0.0; shape.len()], vec![0.0; 7], vec![0.0; 7]);
        let activation = Activation::Relu;
        batch_norm_train(
            &shape,
            &input,
            &[1.0; 7],
            &[0.0; 7],
            EPSILON,
            activation,
            &mut output,
            &mut mean,
            &mut variance,
        );
        for (place, value) in output.iter().enumerate() {
            assert_eq!(value.is_nan(), place % 7 == 4, "{isa}: place {place}");
        }
        assert!(mean[4].is_nan() && variance[4].is_nan() && mean[3].is_finite(), "{isa}");
    });
}
