//! Linear layers: matrix products with a batch on one side.

use crate::arch::MicroKernel;
use crate::gemm::{Destination, Product, Rows};
use crate::{Isa, Layout, LinearShape, assert_len, gemm};

/// `output = input weights + bias`; `bias` is `[outputs]` where there is one. Overwrites `output`.
pub fn linear(shape: &LinearShape, input: &[f32], weights: &[f32], bias: Option<&[f32]>, output: &mut [f32]) {
    assert_len("the input", input.len(), shape.batch * shape.inputs);
    assert_len("the weights", weights.len(), shape.inputs * shape.outputs);
    assert_len("the output", output.len(), shape.batch * shape.outputs);
    if let Some(bias) = bias {
        assert_len("the bias", bias.len(), shape.outputs);
    }
    let LinearShape { batch, inputs, outputs } = *shape;
    let kernel = MicroKernel::of(Isa::current());
    let left = Rows { values: input, stride: inputs, copy: outputs > 3 * kernel.columns };
    let right = Rows { values: weights, stride: outputs, copy: false };
    Product { sizes: [batch, outputs, inputs], left: &left, right: &right, bias, accumulate: false, finish: None }
        .run(kernel, Destination::Rows(output));
}

/// The gradient of the input, given that of the output. Overwrites `input_gradient`.
pub fn linear_input_gradient(
    shape: &LinearShape,
    output_gradient: &[f32],
    weights: &[f32],
    input_gradient: &mut [f32],
) {
    assert_len("the output's gradient", output_gradient.len(), shape.batch * shape.outputs);
    assert_len("the weights", weights.len(), shape.inputs * shape.outputs);
    assert_len("the input's gradient", input_gradient.len(), shape.batch * shape.inputs);
    let LinearShape { batch, inputs, outputs } = *shape;
    let (plain, turned) = (Layout::RowMajor, Layout::Transposed);
    gemm(batch, inputs, outputs, output_gradient, plain, weights, turned, false, input_gradient);
}

/// The gradient of the weights, given that of the output. Overwrites `weight_gradient`. That of the bias is
/// [`crate::channel_sums`] of `output_gradient`.
pub fn linear_weight_gradient(
    shape: &LinearShape,
    input: &[f32],
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    assert_len("the input", input.len(), shape.batch * shape.inputs);
    assert_len("the output's gradient", output_gradient.len(), shape.batch * shape.outputs);
    assert_len("the weights' gradient", weight_gradient.len(), shape.inputs * shape.outputs);
    let LinearShape { batch, inputs, outputs } = *shape;
    let (plain, turned) = (Layout::RowMajor, Layout::Transposed);
    gemm(inputs, outputs, batch, input, turned, output_gradient, plain, false, weight_gradient);
}
