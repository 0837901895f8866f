//! Pooling against the reference: maxima exactly, means within 1e-6.

mod common;

use common::{Random, assert_close, assert_near, assert_same_bits, bits, differences, on_every_isa, widen};
use percept_kernels::{
    PoolShape, global_average_pool, global_average_pool_gradient, global_max_pool, global_max_pool_gradient, max_pool,
    max_pool_gradient, reference,
};

/// Input, kernel, stride, padding.
const CASES: [([usize; 4], usize, usize, usize); 13] = [
    ([0, 4, 4, 3], 2, 2, 0),
    ([1, 1, 1, 1], 1, 1, 0),
    ([2, 4, 4, 3], 2, 2, 0),
    ([2, 5, 7, 33], 2, 2, 0),
    ([1, 7, 7, 67], 3, 2, 1),
    ([3, 9, 5, 32], 3, 1, 1),
    ([1, 6, 8, 4], 3, 3, 0),
    ([1, 10, 10, 2], 2, 5, 1),
    ([1, 67, 3, 1], 3, 2, 1),
    ([2, 16, 16, 5], 16, 16, 8),
    ([2, 11, 12, 64], 5, 3, 2),
    ([2, 3, 3, 4], 4, 4, 2),
    ([4, 32, 32, 40], 2, 2, 0),
];

fn shape((input, kernel, stride, padding): ([usize; 4], usize, usize, usize)) -> PoolShape {
    PoolShape::new(input, kernel, stride, padding).expect("a shape")
}

/// Values with many ties, so that the first of equals is put to the test.
fn coarse(random: &mut Random, length: usize) -> Vec<f32> {
    (0..length).map(|_| random.below(5) as f32 - 4.0).collect()
}

#[test]
fn maxima_and_their_places_agree_with_the_reference() {
    let mut random = Random::new(13);
    for shape in CASES.map(shape) {
        for input in [random.values(shape.input_len()), coarse(&mut random, shape.input_len())] {
            let gradient = random.values(shape.output_len());
            let (mut expected, mut places) = (vec![0.0; shape.output_len()], vec![0; shape.output_len()]);
            reference::max_pool(&shape, &input, &mut expected, &mut places);
            let mut expected_gradient = vec![0.0; shape.input_len()];
            reference::max_pool_gradient(&shape, &widen(&gradient), &places, &mut expected_gradient);
            on_every_isa(|isa| {
                let (mut output, mut argmax) = (vec![f32::NAN; shape.output_len()], vec![255; shape.output_len()]);
                max_pool(&shape, &input, &mut output, &mut argmax);
                assert_eq!(output, expected, "{shape:?} {isa}");
                assert_eq!(argmax, places, "{shape:?} {isa}");
                let mut input_gradient = vec![f32::NAN; shape.input_len()];
                max_pool_gradient(&shape, &gradient, &argmax, &mut input_gradient);
                assert_close(&format!("{shape:?} {isa}"), &input_gradient, &expected_gradient, 4.0, 1e-6);
            });
        }
    }
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    let shape = shape(([1, 7, 6, 2], 3, 2, 1));
    let mut random = Random::new(14);
    let input = widen(&random.values(shape.input_len()));
    let weights = widen(&random.values(shape.output_len()));
    let forward = |input: &[f64]| {
        let (mut output, mut argmax) = (vec![0.0; shape.output_len()], vec![0; shape.output_len()]);
        reference::max_pool(&shape, input, &mut output, &mut argmax);
        (output, argmax)
    };
    let mut gradient = vec![0.0; shape.input_len()];
    reference::max_pool_gradient(&shape, &weights, &forward(&input).1, &mut gradient);
    assert_near("max pool", &gradient, &differences(&input, &weights, |input| forward(input).0), 1e-6);
}

#[test]
fn a_nan_wins_and_minus_infinity_has_a_place() {
    let shape = shape(([1, 4, 4, 35], 2, 2, 0));
    let mut input = vec![f32::NEG_INFINITY; shape.input_len()];
    input[(4 + 1) * 35 + 34] = f32::NAN;
    on_every_isa(|isa| {
        let (mut output, mut argmax) = (vec![0.0; shape.output_len()], vec![255; shape.output_len()]);
        max_pool(&shape, &input, &mut output, &mut argmax);
        for (place, (value, at)) in output.iter().zip(&argmax).enumerate() {
            if place == 34 {
                assert!(value.is_nan() && *at == 3, "{isa}: {value} at {at}");
            } else {
                assert!(*value == f32::NEG_INFINITY && *at == 0, "{isa}: {value} at {at}");
            }
        }
    });
}

#[test]
fn global_pools_agree_with_the_reference() {
    let mut random = Random::new(15);
    for [batch, pixels, channels] in [[0, 4, 3], [1, 1, 1], [2, 49, 67], [3, 16, 512], [5, 1000, 7], [9, 64, 32]] {
        let input = random.values(batch * pixels * channels);
        let gradient = random.values(batch * channels);
        let (wide, wide_gradient) = (widen(&input), widen(&gradient));
        let mut averages = vec![0.0; batch * channels];
        reference::global_average_pool(batch, pixels, channels, &wide, &mut averages);
        let mut spread = vec![0.0; input.len()];
        reference::global_average_pool_gradient(batch, pixels, channels, &wide_gradient, &mut spread);
        let (mut maxima, mut places) = (vec![0.0; batch * channels], vec![0; batch * channels]);
        reference::global_max_pool(batch, pixels, channels, &input, &mut maxima, &mut places);
        let mut scattered = vec![0.0; input.len()];
        reference::global_max_pool_gradient(batch, pixels, channels, &gradient, &places, &mut scattered);
        on_every_isa(|isa| {
            let what = format!("{batch}x{pixels}x{channels} {isa}");
            let mut output = vec![f32::NAN; batch * channels];
            global_average_pool(batch, pixels, channels, &input, &mut output);
            assert_close(&what, &output, &averages, 1.0, 1e-6);
            let mut input_gradient = vec![f32::NAN; input.len()];
            global_average_pool_gradient(batch, pixels, channels, &gradient, &mut input_gradient);
            assert_close(&what, &input_gradient, &spread, 1.0, 1e-7);
            let mut argmax = vec![7; batch * channels];
            global_max_pool(batch, pixels, channels, &input, &mut output, &mut argmax);
            assert_eq!((&output, &argmax), (&maxima, &places), "{what}");
            global_max_pool_gradient(batch, pixels, channels, &gradient, &argmax, &mut input_gradient);
            assert_eq!(bits(&input_gradient), bits(&scattered), "{what}");
        });
    }
}

#[test]
fn pools_have_the_same_bits_whatever_the_threads() {
    let mut random = Random::new(16);
    for shape in [shape(([4, 32, 32, 40], 2, 2, 0)), shape(([5, 31, 33, 40], 3, 2, 1))] {
        let (input, gradient) = (random.values(shape.input_len()), random.values(shape.output_len()));
        assert_same_bits(&format!("{shape:?}"), || {
            let (mut output, mut argmax) = (vec![0.0; shape.output_len()], vec![0; shape.output_len()]);
            max_pool(&shape, &input, &mut output, &mut argmax);
            let mut input_gradient = vec![0.0; shape.input_len()];
            max_pool_gradient(&shape, &gradient, &argmax, &mut input_gradient);
            let pixels = shape.height * shape.width;
            let mut averages = vec![0.0; shape.batch * shape.channels];
            global_average_pool(shape.batch, pixels, shape.channels, &input, &mut averages);
            [output, input_gradient, averages].concat()
        });
    }
}

#[test]
fn impossible_windows_are_refused_with_their_numbers() {
    let message = |input, kernel, stride, padding| {
        PoolShape::new(input, kernel, stride, padding).expect_err("impossible").to_string()
    };
    assert_eq!(message([1, 4, 4, 3], 17, 1, 0), "a pooling's kernel may be 16 at most, not 17");
    assert_eq!(
        message([1, 4, 4, 3], 2, 2, 2),
        "a pooling's padding may be half its kernel at most: padding 2, kernel 2"
    );
    assert_eq!(message([1, 4, 2, 3], 3, 2, 0), "a pooling's kernel of 3 does not fit an input of 2 with padding 0");
    assert_eq!(message([1, 4, 4, 3], 2, 0, 0), "a pooling's kernel and stride must all be 1 at least, not [2, 0]");
}
