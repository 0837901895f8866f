//! Convolutions and linear layers against plain loops in f64, on awkward shapes, on every set of instructions.

mod common;

use common::{assert_close, assert_same_bits, each_isa, random};
use percept_kernels::{
    ConvShape, LinearShape, conv2d, conv2d_input_gradient, conv2d_weight_gradient, linear, linear_input_gradient,
    linear_weight_gradient, reference,
};

/// Batch, height, width, in, out, kernel height, kernel width, stride, padding.
const SHAPES: [[usize; 9]; 24] = [
    [1, 1, 1, 1, 1, 1, 1, 1, 0],
    [0, 5, 5, 3, 4, 3, 3, 1, 1],
    [2, 5, 7, 3, 4, 3, 3, 1, 1],
    [1, 8, 8, 16, 32, 3, 3, 1, 1],
    [3, 9, 6, 17, 33, 3, 3, 1, 1],
    [1, 67, 3, 5, 7, 3, 3, 1, 1],
    [2, 13, 13, 13, 19, 3, 3, 1, 0],
    [2, 8, 8, 12, 10, 3, 3, 2, 1],
    [2, 9, 7, 12, 10, 3, 3, 2, 1],
    [1, 11, 11, 20, 24, 5, 5, 1, 2],
    [1, 16, 16, 3, 8, 7, 7, 2, 3],
    [2, 15, 17, 3, 8, 7, 7, 2, 3],
    [2, 6, 6, 40, 50, 1, 1, 1, 0],
    [2, 7, 7, 40, 50, 1, 1, 2, 0],
    [1, 10, 10, 4, 6, 2, 2, 1, 0],
    [1, 10, 10, 14, 6, 2, 2, 2, 0],
    [1, 12, 9, 15, 6, 3, 1, 1, 1],
    [1, 9, 12, 15, 6, 1, 4, 3, 2],
    [1, 4, 4, 130, 65, 3, 3, 1, 1],
    [1, 3, 3, 300, 17, 3, 3, 1, 1],
    [5, 3, 3, 97, 31, 3, 3, 1, 1],
    [1, 2, 2, 12, 12, 3, 3, 3, 3],
    [1, 5, 5, 12, 12, 2, 2, 3, 1],
    [2, 20, 20, 64, 64, 3, 3, 1, 1],
];

fn shape(numbers: [usize; 9]) -> ConvShape {
    let [batch, height, width, in_channels, out_channels, kernel_height, kernel_width, stride, padding] = numbers;
    let kernel = [kernel_height, kernel_width];
    ConvShape { batch, height, width, in_channels, out_channels, kernel, stride, padding }.check().expect("fits")
}

#[test]
fn forward_and_gradients_are_those_of_plain_loops() {
    for shape in SHAPES.map(shape) {
        let input = random(shape.input_len(), 1);
        let weights = random(shape.weights_len(), 2);
        let bias = random(shape.out_channels, 3);
        let gradient = random(shape.output_len(), 4);
        let expected = reference::conv2d(&shape, &input, &weights, Some(&bias));
        let expected_input = reference::conv2d_input_gradient(&shape, &gradient, &weights);
        let expected_weights = reference::conv2d_weight_gradient(&shape, &input, &gradient);
        each_isa(|| {
            // What was in the output before must not matter.
            let mut output = vec![f32::NAN; shape.output_len()];
            conv2d(&shape, &input, &weights, Some(&bias), &mut output);
            let depth = shape.taps() * shape.in_channels;
            assert_close(&output, &expected, depth, &format!("output of {shape:?}"));
            let mut output = vec![f32::NAN; shape.input_len()];
            conv2d_input_gradient(&shape, &gradient, &weights, &mut output);
            let depth = shape.taps() * shape.out_channels;
            assert_close(&output, &expected_input, depth, &format!("input gradient of {shape:?}"));
            let mut output = vec![f32::NAN; shape.weights_len()];
            conv2d_weight_gradient(&shape, &input, &gradient, &mut output);
            let depth = gradient.len() / shape.out_channels;
            assert_close(&output, &expected_weights, depth, &format!("weight gradient of {shape:?}"));
        });
    }
}

#[test]
fn linear_layers_are_those_of_plain_loops() {
    for (batch, inputs, outputs) in [(1, 1, 1), (0, 5, 3), (100, 3072, 10), (7, 67, 33), (33, 300, 129), (2, 1000, 1)] {
        let shape = LinearShape { batch, inputs, outputs };
        let input = random(batch * inputs, 1);
        let weights = random(inputs * outputs, 2);
        let bias = random(outputs, 3);
        let gradient = random(batch * outputs, 4);
        let transpose = |matrix: &[f32], rows: usize, columns: usize| -> Vec<f32> {
            (0..rows * columns).map(|i| matrix[i % rows * columns + i / rows]).collect()
        };
        let expected = reference::linear(&shape, &input, &weights, Some(&bias));
        let back = LinearShape { batch, inputs: outputs, outputs: inputs };
        let expected_input = reference::linear(&back, &gradient, &transpose(&weights, inputs, outputs), None);
        let across = LinearShape { batch: inputs, inputs: batch, outputs };
        let expected_weights = reference::linear(&across, &transpose(&input, batch, inputs), &gradient, None);
        each_isa(|| {
            let mut output = vec![f32::NAN; batch * outputs];
            linear(&shape, &input, &weights, Some(&bias), &mut output);
            assert_close(&output, &expected, inputs, "output");
            let mut output = vec![f32::NAN; batch * inputs];
            linear_input_gradient(&shape, &gradient, &weights, &mut output);
            assert_close(&output, &expected_input, outputs, "input gradient");
            let mut output = vec![f32::NAN; inputs * outputs];
            linear_weight_gradient(&shape, &input, &gradient, &mut output);
            assert_close(&output, &expected_weights, batch, "weight gradient");
        });
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for numbers in [[7, 9, 11, 3, 17, 3, 3, 1, 1], [6, 16, 16, 32, 40, 3, 3, 2, 1], [9, 14, 14, 24, 130, 1, 1, 1, 0]] {
        let shape = shape(numbers);
        let (input, weights) = (random(shape.input_len(), 1), random(shape.weights_len(), 2));
        let gradient = random(shape.output_len(), 3);
        assert_same_bits(|| {
            let mut output = vec![0.0; shape.output_len()];
            conv2d(&shape, &input, &weights, None, &mut output);
            let mut input_gradient = vec![0.0; shape.input_len()];
            conv2d_input_gradient(&shape, &gradient, &weights, &mut input_gradient);
            let mut weight_gradient = vec![0.0; shape.weights_len()];
            conv2d_weight_gradient(&shape, &input, &gradient, &mut weight_gradient);
            (output, input_gradient, weight_gradient)
        });
    }
}

#[test]
fn not_a_number_reaches_every_output_that_it_should() {
    let shape = shape([1, 5, 5, 12, 8, 3, 3, 1, 1]);
    let mut input = random(shape.input_len(), 1);
    input[(2 * 5 + 2) * 12] = f32::NAN;
    let weights = random(shape.weights_len(), 2);
    each_isa(|| {
        let mut output = vec![0.0; shape.output_len()];
        conv2d(&shape, &input, &weights, None, &mut output);
        for (pixel, values) in output.chunks_exact(8).enumerate() {
            let near = (1..=3).contains(&(pixel / 5)) && (1..=3).contains(&(pixel % 5));
            assert!(values.iter().all(|value| value.is_nan() == near), "pixel {pixel}");
        }
    });
}

#[test]
fn a_window_that_does_not_fit_is_refused_with_its_numbers() {
    let shape = ConvShape {
        batch: 1,
        height: 2,
        width: 9,
        in_channels: 3,
        out_channels: 3,
        kernel: [5, 5],
        stride: 1,
        padding: 1,
    };
    let error = shape.check().expect_err("does not fit");
    assert_eq!(error.to_string(), "a window of 5x5 does not fit into 2x9 with padding 1");
}
