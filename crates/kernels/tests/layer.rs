//! Layer normalisation against the reference.
//!
//! Tolerance: 2e-6 of the largest values for the forward pass, 2e-5 for gradients.

mod common;

use common::{Random, assert_close, assert_near, assert_same_bits, differences, on_every_isa, widen};
use percept_kernels::{NormShape, layer_norm, layer_norm_gradient, reference};

const SHAPES: [[usize; 2]; 14] = [
    [0, 3],
    [1, 1],
    [7, 1],
    [5, 2],
    [1, 67],
    [64, 31],
    [130, 32],
    [49, 33],
    [3136, 96],
    [197, 192],
    [70, 768],
    [33, 1030],
    [6000, 7],
    [3, 20_000],
];
const EPSILON: f32 = 1e-6;

struct Case {
    shape: NormShape,
    input: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    gradient: Vec<f32>,
}

/// Every row has a mean of its own, and values apart from each other: what is rounded in a mean counts by the deviation.
fn case(random: &mut Random, [rows, channels]: [usize; 2]) -> Case {
    let shape = NormShape::new(rows, channels).expect("a shape");
    let means = random.values(rows);
    let value = |place: usize| means[place / channels] + 3.0 * (place % channels % 2) as f32 + random.value();
    let input = (0..shape.len()).map(value).collect();
    let [scale, shift] = [0, 1].map(|_| random.values(channels));
    Case { shape, input, scale, shift, gradient: random.values(shape.len()) }
}

/// What has to be expected of a row's rounding: one value has no deviation, and is divided by the root of epsilon.
fn size(shape: &NormShape) -> f64 {
    if shape.channels == 1 { 1000.0 } else { 4.0 }
}

#[test]
fn the_forward_pass_agrees_with_the_reference() {
    let mut random = Random::new(61);
    for sizes in SHAPES {
        let Case { shape, input, scale, shift, .. } = case(&mut random, sizes);
        let mut expected = vec![0.0; shape.len()];
        reference::layer_norm(&shape, &widen(&input), &widen(&scale), &widen(&shift), EPSILON, &mut expected);
        on_every_isa(|isa| {
            let mut output = vec![f32::NAN; shape.len()];
            layer_norm(&shape, &input, &scale, &shift, EPSILON, &mut output);
            assert_close(&format!("{sizes:?} {isa}"), &output, &expected, size(&shape), 2e-6);
        });
    }
}

#[test]
fn the_gradients_agree_with_the_reference() {
    let mut random = Random::new(62);
    for sizes in SHAPES {
        let Case { shape, input, scale, gradient, .. } = case(&mut random, sizes);
        let wide = [&input, &scale, &gradient].map(|values| widen(values));
        let mut expected = [vec![0.0; shape.len()], vec![0.0; shape.channels], vec![0.0; shape.channels]];
        let [of_input, of_scale, of_shift] = &mut expected;
        reference::layer_norm_gradient(&shape, &wide[0], &wide[1], EPSILON, &wide[2], of_input, of_scale, of_shift);
        on_every_isa(|isa| {
            let what = format!("{sizes:?} {isa}");
            let mut found = [shape.len(), shape.channels, shape.channels].map(|length| vec![f32::NAN; length]);
            let [of_input, of_scale, of_shift] = &mut found;
            layer_norm_gradient(&shape, &input, &scale, EPSILON, &gradient, of_input, of_scale, of_shift);
            let rows = (shape.rows as f64).sqrt();
            assert_close(&format!("input {what}"), &found[0], &expected[0], size(&shape), 2e-5);
            assert_close(&format!("scale {what}"), &found[1], &expected[1], rows, 2e-5);
            assert_close(&format!("shift {what}"), &found[2], &expected[2], rows, 2e-5);
        });
    }
}

#[test]
fn the_reference_gradients_are_those_of_finite_differences() {
    let mut random = Random::new(63);
    let Case { shape, input, scale, shift, gradient } = case(&mut random, [4, 9]);
    let wide = [&input, &scale, &shift, &gradient].map(|values| widen(values));
    let forward = |input: &[f64], scale: &[f64], shift: &[f64]| {
        let mut output = vec![0.0; shape.len()];
        reference::layer_norm(&shape, input, scale, shift, EPSILON, &mut output);
        output
    };
    let mut actual = [vec![0.0; shape.len()], vec![0.0; 9], vec![0.0; 9]];
    let [of_input, of_scale, of_shift] = &mut actual;
    reference::layer_norm_gradient(&shape, &wide[0], &wide[1], EPSILON, &wide[3], of_input, of_scale, of_shift);
    let expected = [
        differences(&wide[0], &wide[3], |input| forward(input, &wide[1], &wide[2])),
        differences(&wide[1], &wide[3], |scale| forward(&wide[0], scale, &wide[2])),
        differences(&wide[2], &wide[3], |shift| forward(&wide[0], &wide[1], shift)),
    ];
    for (actual, expected) in actual.iter().zip(&expected) {
        assert_near("layer norm", actual, expected, 1e-6);
    }
}

#[test]
fn layer_norms_have_the_same_bits_whatever_the_threads() {
    let mut random = Random::new(64);
    for sizes in [[3136, 96], [40_000, 5]] {
        let Case { shape, input, scale, shift, gradient } = case(&mut random, sizes);
        assert_same_bits(&format!("{sizes:?}"), || {
            let mut output = vec![0.0; shape.len()];
            layer_norm(&shape, &input, &scale, &shift, EPSILON, &mut output);
            let mut found = [shape.len(), shape.channels, shape.channels].map(|length| vec![0.0; length]);
            let [of_input, of_scale, of_shift] = &mut found;
            layer_norm_gradient(&shape, &input, &scale, EPSILON, &gradient, of_input, of_scale, of_shift);
            [output, found.concat()].concat()
        });
    }
}

#[test]
fn a_nan_stays_in_its_row() {
    let shape = NormShape::new(50, 40).expect("a shape");
    let mut input = Random::new(65).values(shape.len());
    input[21 * 40 + 4] = f32::NAN;
    on_every_isa(|isa| {
        let mut output = vec![0.0; shape.len()];
        layer_norm(&shape, &input, &[1.0; 40], &[0.0; 40], EPSILON, &mut output);
        for (place, value) in output.iter().enumerate() {
            assert_eq!(value.is_nan(), place / 40 == 21, "{isa}: place {place}");
        }
    });
}
