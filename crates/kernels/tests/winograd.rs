//! Winograd's algorithm, forced, against the reference.
//!
//! Tolerance: F(2 x 2, 3 x 3) as the direct algorithm, 1e-6 times the square root of the number of terms, which are at
//! most 1 each; F(4 x 4, 3 x 3) ten times that, for the large factors of its transforms.

mod common;

use common::{Random, assert_close, assert_same_bits, every_pass, on_every_isa, reference_passes, widen};
use percept_kernels::{
    Algorithm, ConvShape, Padding, Pass, Precision, conv2d, conv2d_input_gradient, conv2d_weight_gradient, reference,
};

const ALGORITHMS: [(Algorithm, f64); 2] = [(Algorithm::Winograd2, 1e-6), (Algorithm::Winograd4, 6e-6)];

/// Batch, height, width, input and output channels, padding.
const CASES: [[usize; 6]; 23] = [
    [0, 8, 8, 3, 5, 1],
    [1, 1, 1, 1, 1, 1],
    [1, 1, 1, 1, 1, 2],
    [1, 3, 3, 2, 3, 0],
    [2, 2, 3, 9, 17, 2],
    [2, 7, 5, 3, 16, 1],
    [1, 67, 3, 1, 2, 1],
    [1, 3, 67, 5, 7, 2],
    [1, 9, 9, 17, 33, 0],
    [3, 15, 15, 24, 32, 1],
    [2, 31, 31, 24, 32, 1],
    [4, 7, 7, 40, 129, 1],
    [9, 3, 3, 128, 65, 1],
    [2, 4, 4, 300, 80, 1],
    [2, 8, 8, 64, 67, 1],
    [3, 16, 16, 32, 64, 1],
    [1, 33, 34, 13, 11, 0],
    [1, 6, 6, 67, 67, 2],
    [5, 5, 4, 8, 8, 1],
    [3, 12, 11, 16, 15, 1],
    [1, 4, 5, 1, 300, 1],
    [2, 32, 32, 3, 10, 1],
    [2, 4, 3, 520, 520, 1],
];

fn shape([batch, height, width, ins, outs, padding]: [usize; 6]) -> ConvShape {
    ConvShape::new([batch, height, width, ins], outs, [3, 3], 1, padding).expect("a shape")
}

/// Shapes whose padding differs from side to side.
fn uneven_shapes() -> impl Iterator<Item = ConvShape> {
    let cases = [([0, 1, 2, 0], 8, 9), ([2, 0, 0, 1], 20, 7), ([1, 2, 2, 1], 5, 33), ([0, 0, 0, 2], 16, 16)];
    cases.into_iter().map(|([top, bottom, left, right], ins, outs)| {
        let padding = Padding { top, bottom, left, right };
        ConvShape::new([2, 9, 10, ins], outs, [3, 3], 1, padding).expect("a shape")
    })
}

fn random_shapes(random: &mut Random) -> Vec<ConvShape> {
    let made = (0..60).map(|_| {
        let [height, width] = [0; 2].map(|_| 1 + random.below(20));
        let [ins, outs] = [0; 2].map(|_| 1 + random.below(40));
        [random.below(4), height, width, ins, outs, random.below(3)]
    });
    made.filter(|&[_, height, width, .., padding]| height.min(width) + 2 * padding >= 3).map(shape).collect()
}

#[test]
fn winograd_agrees_with_the_reference() {
    let mut random = Random::new(6);
    for shape in [CASES.map(shape).to_vec(), uneven_shapes().collect(), random_shapes(&mut random)].concat() {
        let (input, weights) = (random.values(shape.input_len()), random.values(shape.weights_len()));
        let (bias, gradient) = (random.values(shape.out_channels), random.values(shape.output_len()));
        let [wide_input, wide_weights, wide_bias, wide_gradient] =
            [&input, &weights, &bias, &gradient].map(|v| widen(v));
        let mut plain = vec![0.0; shape.output_len()];
        reference::conv2d(&shape, &wide_input, &wide_weights, None, &mut plain);
        let expected = reference_passes(&shape, &wide_input, &wide_weights, Some(&wide_bias), &wide_gradient);
        let pixels = shape.batch * shape.out_height() * shape.out_width();
        on_every_isa(|isa| {
            for (algorithm, tolerance) in ALGORITHMS {
                let check = |what: &str, actual: &[f32], expected: &[f64], terms: usize| {
                    let what = format!("{what} {algorithm:?} {shape:?} {isa}");
                    assert_close(&what, actual, expected, (terms as f64).sqrt(), tolerance);
                };
                algorithm.run(|| {
                    assert_eq!(Algorithm::of(&shape, Pass::Forward), algorithm);
                    let mut output = vec![f32::NAN; shape.output_len()];
                    conv2d(&shape, &input, &weights, None, &mut output);
                    check("forward", &output, &plain, 9 * shape.in_channels);
                    conv2d(&shape, &input, &weights, Some(&bias), &mut output);
                    check("forward with bias", &output, &expected[0], 9 * shape.in_channels);
                    let mut output = vec![f32::NAN; shape.input_len()];
                    conv2d_input_gradient(&shape, &gradient, &weights, &mut output);
                    check("input gradient", &output, &expected[1], 9 * shape.out_channels);
                    let mut output = vec![f32::NAN; shape.weights_len()];
                    conv2d_weight_gradient(&shape, &input, &gradient, &mut output);
                    check("weight gradient", &output, &expected[2], pixels);
                });
            }
        });
    }
}

#[test]
fn winograd_has_the_same_bits_whatever_the_threads() {
    let mut random = Random::new(7);
    for shape in
        [[5, 32, 32, 32, 32, 1], [3, 16, 16, 40, 48, 1], [9, 4, 4, 130, 200, 1], [64, 8, 8, 20, 33, 0]].map(shape)
    {
        let (input, weights) = (random.values(shape.input_len()), random.values(shape.weights_len()));
        let gradient = random.values(shape.output_len());
        for (algorithm, _) in ALGORITHMS {
            assert_same_bits(&format!("{algorithm:?} {shape:?}"), || {
                algorithm.run(|| every_pass(&shape, &input, &weights, &gradient))
            });
        }
    }
}

#[test]
fn a_nan_reaches_all_pixels_around_it_and_no_other_tile_or_image() {
    let shape = shape([2, 16, 16, 8, 8, 1]);
    let (y, x) = (6, 6);
    let mut input = vec![1.0; shape.input_len()];
    input[(y * 16 + x) * 8 + 1] = f32::NAN;
    let weights = vec![1.0; shape.weights_len()];
    on_every_isa(|isa| {
        let sizes = [(Algorithm::Winograd2, 2), (Algorithm::Winograd4, 4)];
        for ((algorithm, size), precision) in
            sizes.into_iter().flat_map(|s| [Precision::F32, Precision::Bf16].map(|p| (s, p)))
        {
            let mut output = vec![0.0; shape.output_len()];
            precision.run(|| algorithm.run(|| conv2d(&shape, &input, &weights, None, &mut output)));
            for (place, value) in output.into_iter().enumerate() {
                let (image, row, column) = (place / 8 / 256, place / 8 / 16 % 16, place / 8 % 16);
                let near = |at: usize, of: usize| at.abs_diff(of) <= 1;
                let must = image == 0 && near(row, y) && near(column, x);
                // The tiles of the outputs that must be NaN.
                let same_tile = |at: usize, of: usize| (of - 1..=of + 1).any(|of| of / size == at / size);
                let may = image == 0 && same_tile(row, y) && same_tile(column, x);
                assert!(!must || value.is_nan(), "{algorithm:?} on {isa} at {row}, {column}: {value}");
                assert!(may || !value.is_nan(), "{algorithm:?} on {isa} at {row}, {column}: {value}");
            }
        }
    });
}
