//! Plain loops in f64: what every test compares with.

use crate::shape::{ConvShape, LinearShape};

/// See [`crate::conv2d`].
pub fn conv2d(shape: &ConvShape, input: &[f32], weights: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    let mut output = vec![0.0; shape.output_len()];
    for_each_product(shape, |input_place, weight, output_place| {
        output[output_place] += f64::from(input[input_place]) * f64::from(weights[weight]);
    });
    if let Some(bias) = bias {
        let bias = bias.iter().cycle();
        output.iter_mut().zip(bias).for_each(|(value, &bias)| *value += f64::from(bias));
    }
    output
}

/// See [`crate::conv2d_input_gradient`].
pub fn conv2d_input_gradient(shape: &ConvShape, output_gradient: &[f32], weights: &[f32]) -> Vec<f64> {
    let mut gradient = vec![0.0; shape.input_len()];
    for_each_product(shape, |input, weight, output| {
        gradient[input] += f64::from(output_gradient[output]) * f64::from(weights[weight]);
    });
    gradient
}

/// See [`crate::conv2d_weight_gradient`].
pub fn conv2d_weight_gradient(shape: &ConvShape, input: &[f32], output_gradient: &[f32]) -> Vec<f64> {
    let mut gradient = vec![0.0; shape.weights_len()];
    for_each_product(shape, |place, weight, output| {
        gradient[weight] += f64::from(input[place]) * f64::from(output_gradient[output]);
    });
    gradient
}

/// Visits every product of a convolution: places of input, weight and output.
fn for_each_product(shape: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    let ConvShape { batch, height, width, in_channels, out_channels, kernel, stride, padding } = *shape;
    for n in 0..batch {
        for y in 0..shape.out_height() {
            for x in 0..shape.out_width() {
                for ky in 0..kernel[0] {
                    for kx in 0..kernel[1] {
                        let Some(iy) = (y * stride + ky).checked_sub(padding).filter(|&iy| iy < height) else { continue };
                        let Some(ix) = (x * stride + kx).checked_sub(padding).filter(|&ix| ix < width) else { continue };
                        for i in 0..in_channels {
                            for o in 0..out_channels {
                                visit(
                                    ((n * height + iy) * width + ix) * in_channels + i,
                                    ((ky * kernel[1] + kx) * in_channels + i) * out_channels + o,
                                    ((n * shape.out_height() + y) * shape.out_width() + x) * out_channels + o,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

/// See [`crate::linear`].
pub fn linear(shape: &LinearShape, input: &[f32], weights: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    let LinearShape { batch, inputs, outputs } = *shape;
    let mut output = vec![0.0; batch * outputs];
    for n in 0..batch {
        for o in 0..outputs {
            let terms = (0..inputs).map(|i| f64::from(input[n * inputs + i]) * f64::from(weights[i * outputs + o]));
            output[n * outputs + o] = terms.sum::<f64>() + bias.map_or(0.0, |bias| f64::from(bias[o]));
        }
    }
    output
}
