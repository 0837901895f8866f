//! Convolutions and their gradients by the direct algorithm against the reference, and those with dilation, groups, a
//! kernel for every channel and padding that differs from side to side; Winograd's algorithm is in winograd.rs.
//!
//! Tolerance: 1e-6 times the square root of the number of terms, which are at most 1 each.

mod common;

use common::{Random, assert_close, assert_same_bits, every_pass, on_every_isa, reference_passes, widen};
use percept_kernels::{
    Algorithm, ConvShape, Padding, Pass, conv2d, conv2d_input_gradient, conv2d_weight_gradient, reference,
};

/// Input, output channels, kernel, stride, padding.
type Case = ([usize; 4], usize, [usize; 2], usize, usize);

const CASES: [Case; 27] = [
    ([1, 1, 1, 1], 1, [1, 1], 1, 0),
    ([0, 8, 8, 3], 5, [3, 3], 1, 1),
    ([2, 7, 5, 3], 16, [3, 3], 1, 1),
    ([1, 9, 9, 17], 33, [3, 3], 1, 0),
    ([3, 8, 8, 16], 20, [3, 3], 2, 1),
    ([2, 7, 9, 5], 7, [3, 3], 2, 0),
    ([1, 67, 3, 1], 2, [5, 3], 1, 2),
    ([1, 13, 11, 4], 6, [5, 5], 1, 2),
    ([2, 13, 11, 4], 6, [5, 5], 2, 2),
    ([1, 13, 11, 4], 6, [5, 5], 3, 1),
    ([1, 15, 17, 3], 64, [7, 7], 2, 3),
    ([1, 9, 8, 2], 3, [7, 7], 1, 3),
    ([2, 6, 6, 12], 10, [1, 1], 1, 0),
    ([2, 6, 7, 12], 10, [1, 1], 2, 0),
    ([1, 5, 5, 65], 9, [1, 1], 1, 1),
    ([1, 5, 5, 3], 9, [1, 1], 3, 2),
    ([1, 4, 4, 3], 4, [2, 2], 1, 0),
    ([1, 5, 4, 3], 4, [2, 2], 2, 1),
    ([1, 6, 5, 3], 4, [2, 2], 3, 0),
    ([1, 4, 5, 2], 3, [2, 5], 1, 3),
    ([2, 3, 3, 2], 2, [3, 3], 1, 3),
    ([1, 4, 4, 67], 67, [3, 3], 1, 1),
    ([2, 2, 2, 40], 24, [3, 3], 2, 1),
    ([1, 3, 3, 2], 2, [2, 2], 5, 1),
    ([1, 1, 67, 3], 8, [1, 7], 2, 0),
    ([5, 32, 32, 3], 10, [3, 3], 1, 1),
    ([3, 16, 16, 40], 48, [3, 3], 1, 1),
];

/// Input, output channels, kernel, stride; padding as top, bottom, left, right; dilation and groups.
type GeneralCase = ([usize; 4], usize, [usize; 2], usize, [usize; 4], [usize; 2]);

const GENERAL_CASES: [GeneralCase; 34] = [
    // padding that differs from side to side
    ([2, 8, 9, 5], 7, [3, 3], 2, [0, 1, 0, 1], [1, 1]),
    ([1, 5, 4, 3], 9, [3, 5], 1, [2, 0, 1, 3], [1, 1]),
    ([1, 2, 2, 3], 4, [3, 3], 1, [0, 1, 0, 1], [1, 1]),
    ([3, 7, 6, 4], 5, [1, 1], 1, [0, 0, 0, 1], [1, 1]),
    // dilation
    ([2, 9, 8, 5], 7, [3, 3], 1, [2, 2, 2, 2], [2, 1]),
    ([1, 17, 16, 3], 6, [3, 3], 2, [3, 2, 1, 0], [3, 1]),
    ([1, 16, 11, 3], 6, [3, 2], 3, [1, 2, 0, 5], [2, 1]),
    ([1, 7, 7, 2], 3, [3, 3], 2, [1, 1, 1, 1], [2, 1]),
    // groups
    ([2, 7, 5, 6], 9, [3, 3], 1, [1, 1, 1, 1], [1, 3]),
    ([1, 8, 8, 34], 66, [3, 3], 2, [1, 0, 1, 0], [1, 2]),
    ([3, 5, 6, 8], 4, [1, 1], 1, [0, 0, 0, 0], [1, 4]),
    ([2, 9, 9, 6], 12, [3, 3], 1, [2, 2, 2, 2], [2, 3]),
    ([2, 6, 6, 5], 15, [3, 3], 1, [1, 1, 1, 1], [1, 5]),
    ([0, 6, 6, 6], 6, [3, 3], 1, [1, 1, 1, 1], [1, 3]),
    // a kernel for every channel, on maps and channels of every kind
    ([1, 1, 1, 1], 1, [3, 3], 1, [1, 1, 1, 1], [1, 1]),
    ([2, 5, 7, 3], 3, [3, 3], 1, [1, 1, 1, 1], [1, 3]),
    ([2, 7, 7, 16], 16, [3, 3], 1, [1, 1, 1, 1], [1, 16]),
    ([1, 67, 3, 17], 17, [3, 3], 1, [1, 1, 1, 1], [1, 17]),
    ([3, 3, 67, 33], 33, [3, 3], 2, [0, 1, 0, 1], [1, 33]),
    ([1, 14, 15, 40], 40, [5, 5], 1, [2, 2, 2, 2], [1, 40]),
    ([2, 13, 16, 31], 31, [5, 5], 2, [1, 2, 1, 2], [1, 31]),
    ([1, 7, 7, 67], 67, [5, 5], 1, [2, 2, 2, 2], [1, 67]),
    ([1, 2, 3, 24], 24, [7, 7], 1, [3, 3, 3, 3], [1, 24]),
    ([1, 9, 11, 20], 20, [3, 3], 3, [2, 0, 0, 2], [1, 20]),
    ([2, 19, 18, 19], 19, [3, 3], 1, [2, 2, 2, 2], [2, 19]),
    ([1, 19, 18, 19], 19, [3, 3], 2, [3, 3, 3, 3], [3, 19]),
    ([1, 20, 9, 18], 18, [3, 2], 3, [6, 0, 1, 5], [3, 18]),
    ([1, 4, 4, 21], 21, [1, 1], 1, [2, 0, 0, 3], [1, 21]),
    ([1, 4, 4, 21], 21, [1, 1], 3, [0, 0, 0, 0], [1, 21]),
    ([1, 6, 6, 16], 16, [2, 4], 1, [3, 3, 5, 4], [1, 16]),
    ([2, 10, 10, 130], 130, [11, 9], 1, [5, 5, 4, 4], [1, 130]),
    ([0, 7, 7, 16], 16, [3, 3], 1, [1, 1, 1, 1], [1, 16]),
    ([9, 33, 34, 64], 64, [3, 3], 1, [1, 1, 1, 1], [1, 64]),
    ([5, 28, 28, 96], 96, [5, 5], 2, [1, 2, 1, 2], [1, 96]),
];

fn general_shape((input, outs, kernel, stride, padding, [dilation, groups]): GeneralCase) -> Option<ConvShape> {
    let [top, bottom, left, right] = padding;
    let shape = ConvShape::new(input, outs, kernel, stride, Padding { top, bottom, left, right }).ok()?;
    shape.with_dilation(dilation).ok()?.with_groups(groups).ok()
}

/// Small shapes with dilation, groups and any padding, those that are possible: a third of them depthwise.
fn random_general_shapes(random: &mut Random) -> Vec<ConvShape> {
    let made = (0..300).filter_map(|index| {
        let [height, width] = [0; 2].map(|_| 1 + random.below(14));
        let groups = 1 + random.below(if index % 3 == 0 { 40 } else { 3 });
        let [ins, outs] = [0; 2].map(|_| groups * if index % 3 == 0 { 1 } else { 1 + random.below(9) });
        let kernel = [0; 2].map(|_| 1 + random.below(5));
        let (batch, stride, dilation) = (random.below(4), 1 + random.below(3), 1 + random.below(3));
        let padding = [0; 4].map(|_| random.below(4));
        general_shape(([batch, height, width, ins], outs, kernel, stride, padding, [dilation, groups]))
    });
    made.collect()
}

fn shape(case: Case) -> ConvShape {
    let (input, out_channels, kernel, stride, padding) = case;
    ConvShape::new(input, out_channels, kernel, stride, padding).expect("a shape")
}

/// Small shapes of every kind, those that are possible.
fn random_shapes(random: &mut Random) -> Vec<ConvShape> {
    let made = (0..150).filter_map(|_| {
        let [height, width, ins, outs] = [0; 4].map(|_| 1 + random.below(13));
        let kernel = [0; 2].map(|_| 1 + random.below(5));
        let (batch, stride, padding) = (random.below(3), 1 + random.below(3), random.below(4));
        ConvShape::new([batch, height, width, ins], outs, kernel, stride, padding).ok()
    });
    made.collect()
}

#[test]
fn convolutions_agree_with_the_reference() {
    let mut random = Random::new(4);
    let shapes = [CASES.map(shape).to_vec(), random_shapes(&mut random)].concat();
    assert!(shapes.len() > 100, "too few of the random shapes were possible");
    shapes.into_iter().for_each(|shape| agree_with_the_reference(shape, &mut random));
}

#[test]
fn groups_dilation_and_uneven_padding_agree_with_the_reference() {
    let mut random = Random::new(14);
    let shapes: Vec<_> = GENERAL_CASES.into_iter().map(|case| general_shape(case).expect("a shape")).collect();
    let random_shapes = random_general_shapes(&mut random);
    assert!(random_shapes.len() > 150, "too few of the random shapes were possible: {}", random_shapes.len());
    [shapes, random_shapes].concat().into_iter().for_each(|shape| agree_with_the_reference(shape, &mut random));
}

/// Patches, and rows of the image as they lie where channels are few.
fn direct_algorithms(shape: &ConvShape) -> impl Iterator<Item = Algorithm> {
    let is_shallow = Algorithm::Shallow.run(|| Algorithm::of(shape, Pass::Forward)) == Algorithm::Shallow;
    [Algorithm::Direct].into_iter().chain(is_shallow.then_some(Algorithm::Shallow))
}

#[test]
fn images_of_few_channels_can_be_gathered_or_not() {
    let of = |case| direct_algorithms(&shape(case)).collect::<Vec<_>>();
    let both = [Algorithm::Direct, Algorithm::Shallow];
    assert_eq!(of(([1, 15, 17, 3], 64, [7, 7], 2, 3)), both);
    assert_eq!(of(([1, 9, 9, 3], 5, [3, 3], 1, 1)), both);
    assert_eq!(of(([1, 15, 17, 5], 64, [7, 7], 2, 3)), both[..1]);
    assert!(CASES.map(shape).iter().filter(|shape| direct_algorithms(shape).count() == 2).count() > 5);
}

fn agree_with_the_reference(shape: ConvShape, random: &mut Random) {
    {
        let (input, weights) = (random.values(shape.input_len()), random.values(shape.weights_len()));
        let (bias, gradient) = (random.values(shape.out_channels), random.values(shape.output_len()));
        let [wide_input, wide_weights, wide_bias, wide_gradient] =
            [&input, &weights, &bias, &gradient].map(|v| widen(v));
        let mut plain = vec![0.0; shape.output_len()];
        reference::conv2d(&shape, &wide_input, &wide_weights, None, &mut plain);
        let expected = reference_passes(&shape, &wide_input, &wide_weights, Some(&wide_bias), &wide_gradient);
        let places = shape.kernel[0] * shape.kernel[1];
        let pixels = shape.batch * shape.out_height() * shape.out_width();
        on_every_isa(|isa| {
            let check = |what: &str, actual: &[f32], expected: &[f64], terms: usize| {
                assert_close(&format!("{what} {shape:?} {isa}"), actual, expected, (terms as f64).sqrt(), 1e-6);
            };
            for algorithm in direct_algorithms(&shape) {
                let mut output = vec![f32::NAN; shape.output_len()];
                algorithm.run(|| conv2d(&shape, &input, &weights, Some(&bias), &mut output));
                let what = format!("forward with bias {algorithm:?}");
                check(&what, &output, &expected[0], places * shape.in_channels / shape.groups);
            }
            Algorithm::Direct.run(|| {
                let mut output = vec![f32::NAN; shape.output_len()];
                conv2d(&shape, &input, &weights, None, &mut output);
                check("forward", &output, &plain, places * shape.in_channels / shape.groups);
                let mut output = vec![f32::NAN; shape.input_len()];
                conv2d_input_gradient(&shape, &gradient, &weights, &mut output);
                check("input gradient", &output, &expected[1], places * shape.out_channels / shape.groups);
                let mut output = vec![f32::NAN; shape.weights_len()];
                conv2d_weight_gradient(&shape, &input, &gradient, &mut output);
                check("weight gradient", &output, &expected[2], pixels);
            })
        });
    }
}

#[test]
fn convolutions_have_the_same_bits_whatever_the_threads() {
    let mut random = Random::new(5);
    for case in [
        ([5, 32, 32, 3], 10, [3, 3], 1, 1),
        ([3, 16, 16, 40], 48, [3, 3], 1, 1),
        ([3, 17, 16, 24], 40, [3, 3], 2, 1),
        ([9, 20, 16, 24], 40, [1, 1], 2, 0),
    ] {
        let shape = shape(case);
        let (input, weights) = (random.values(shape.input_len()), random.values(shape.weights_len()));
        let gradient = random.values(shape.output_len());
        for algorithm in direct_algorithms(&shape) {
            assert_same_bits(&format!("{algorithm:?} {shape:?}"), || {
                algorithm.run(|| every_pass(&shape, &input, &weights, &gradient))
            });
        }
    }
}

#[test]
fn general_convolutions_have_the_same_bits_whatever_the_threads() {
    let mut random = Random::new(15);
    for case in GENERAL_CASES {
        let shape = general_shape(case).expect("a shape");
        if shape.output_len() > 5_000 {
            let (input, weights) = (random.values(shape.input_len()), random.values(shape.weights_len()));
            let gradient = random.values(shape.output_len());
            assert_same_bits(&format!("{shape:?}"), || every_pass(&shape, &input, &weights, &gradient));
        }
    }
}

#[test]
fn a_nan_stays_with_its_group() {
    for groups in [2, 48] {
        let shape = ConvShape::new([1, 6, 6, 48], 48, [3, 3], 1, 1).and_then(|shape| shape.with_groups(groups));
        let shape = shape.expect("a shape");
        let mut input = vec![1.0; shape.input_len()];
        input[(3 * 6 + 3) * 48 + 20] = f32::NAN;
        let weights = vec![1.0; shape.weights_len()];
        on_every_isa(|isa| {
            let mut output = vec![0.0; shape.output_len()];
            conv2d(&shape, &input, &weights, None, &mut output);
            for (place, value) in output.into_iter().enumerate() {
                let (y, x, channel) = (place / 48 / 6, place / 48 % 6, place % 48);
                let near = (2..=4).contains(&y) && (2..=4).contains(&x);
                let own = channel / (48 / groups) == 20 / (48 / groups);
                assert_eq!(value.is_nan(), near && own, "{groups} groups on {isa} at {y}, {x}, {channel}");
            }
        });
    }
}

#[test]
fn a_nan_reaches_the_pixels_around_it_only() {
    let shape = shape(([1, 9, 9, 3], 5, [3, 3], 1, 1));
    let mut input = vec![1.0; shape.input_len()];
    input[(4 * 9 + 4) * 3 + 1] = f32::NAN;
    let weights = vec![1.0; shape.weights_len()];
    on_every_isa(|isa| {
        for algorithm in [Algorithm::Direct, Algorithm::Shallow] {
            let mut output = vec![0.0; shape.output_len()];
            algorithm.run(|| conv2d(&shape, &input, &weights, None, &mut output));
            for (place, value) in output.into_iter().enumerate() {
                let (y, x) = (place / 5 / 9, place / 5 % 9);
                let near = (3..=5).contains(&y) && (3..=5).contains(&x);
                assert_eq!(value.is_nan(), near, "{algorithm:?} on {isa} at {y}, {x}");
            }
        }
    });
}

#[test]
fn impossible_shapes_are_refused_with_their_numbers() {
    let message = |case: Case| {
        let (input, out_channels, kernel, stride, padding) = case;
        ConvShape::new(input, out_channels, kernel, stride, padding).expect_err("impossible").to_string()
    };
    assert_eq!(
        message(([1, 4, 4, 3], 8, [7, 7], 1, 1)),
        "a convolution's kernel of 7 does not fit an input of 4 with padding 1"
    );
    assert_eq!(
        message(([1, 4, 4, 3], 8, [3, 3], 0, 1)),
        "a convolution's output channels, kernel and stride must all be 1 at least, not [8, 3, 3, 0]"
    );
    assert_eq!(message(([1, 0, 4, 3], 8, [3, 3], 1, 1)), "a convolution's input must all be 1 at least, not [0, 4, 3]");
    assert!(
        message(([usize::MAX / 4, 4, 4, 3], 8, [3, 3], 1, 1)).contains("more values than this machine can address")
    );
    let general = |dilation: usize, groups: usize| {
        let padding = Padding { top: 0, bottom: 1, left: 2, right: 1 };
        let shape = ConvShape::new([1, 8, 8, 6], 9, [3, 3], 1, padding).expect("a shape");
        shape.with_dilation(dilation).and_then(|shape| shape.with_groups(groups)).expect_err("impossible").to_string()
    };
    assert_eq!(
        general(5, 1),
        "a convolution's kernel of 3 with dilation 5 does not fit an input of 8 with padding 0 and 1"
    );
    assert_eq!(general(2, 2), "a convolution's 6 input and 9 output channels cannot both be cut into 2 groups");
    assert_eq!(general(1, 0), "a convolution's dilation and groups must all be 1 at least, not [1, 0]");
}
