//! Linear layers: matrix products with a batch on one side.

use std::ops::Range;

use crate::arch::MicroKernel;
use crate::gemm::{ByteColumns, ByteRows, Columns, Destination, Product, Reduction, Rows, is_tall, turned_product};
use crate::optimizer::{Update, UpdateInParts};
use crate::{Isa, Layout, LinearShape, assert_len, gemm};

/// What a linear layer reads: `[batch, inputs]`.
#[derive(Clone, Copy)]
pub enum LinearInput<'a> {
    /// The values themselves.
    Values(&'a [f32]),
    /// `multiplier[i] * byte + offset[i]` for input i: the layer normalises pixels as it reads them.
    Bytes {
        /// `[batch, inputs]`
        bytes: &'a [u8],
        /// `[inputs]`
        multiplier: &'a [f32],
        /// `[inputs]`
        offset: &'a [f32],
    },
}

impl<'a> From<&'a [f32]> for LinearInput<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self::Values(values)
    }
}

impl<'a> From<&'a Vec<f32>> for LinearInput<'a> {
    fn from(values: &'a Vec<f32>) -> Self {
        Self::Values(values)
    }
}

impl LinearInput<'_> {
    fn check(&self, shape: &LinearShape) {
        let length = shape.batch * shape.inputs;
        match self {
            Self::Values(values) => assert_len("the input", values.len(), length),
            Self::Bytes { bytes, multiplier, offset } => {
                assert_len("the input", bytes.len(), length);
                assert_len("the multiplier", multiplier.len(), shape.inputs);
                assert_len("the offset", offset.len(), shape.inputs);
            }
        }
    }
}

/// `output = input weights + bias`; `bias` is `[outputs]` where there is one. Overwrites `output`.
pub fn linear<'a>(
    shape: &LinearShape,
    input: impl Into<LinearInput<'a>>,
    weights: &[f32],
    bias: Option<&[f32]>,
    output: &mut [f32],
) {
    let input = input.into();
    input.check(shape);
    assert_len("the weights", weights.len(), shape.inputs * shape.outputs);
    assert_len("the output", output.len(), shape.batch * shape.outputs);
    if let Some(bias) = bias {
        assert_len("the bias", bias.len(), shape.outputs);
    }
    let LinearShape { batch, inputs, outputs } = *shape;
    let (isa, kernel) = (Isa::current(), MicroKernel::for_products(Isa::current()));
    let sizes = [batch, outputs, inputs];
    let right = &Rows { values: weights, stride: outputs, copy: false };
    let destination = Destination::Rows(output);
    match input {
        LinearInput::Values(values) => {
            let left = &Rows { values, stride: inputs, copy: outputs > 3 * kernel.columns };
            Product { sizes, left, right, bias, accumulate: false, finish: None }.run(kernel, destination);
        }
        LinearInput::Bytes { bytes: values, multiplier, offset } => {
            let left = &ByteRows { isa, values, multiplier, offset };
            Product { sizes, left, right, bias, accumulate: false, finish: None }.run(kernel, destination);
        }
    }
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
pub fn linear_weight_gradient<'a>(
    shape: &LinearShape,
    input: impl Into<LinearInput<'a>>,
    output_gradient: &[f32],
    weight_gradient: &mut [f32],
) {
    let input = input.into();
    input.check(shape);
    assert_len("the output's gradient", output_gradient.len(), shape.batch * shape.outputs);
    assert_len("the weights' gradient", weight_gradient.len(), shape.inputs * shape.outputs);
    let LinearShape { batch, inputs, outputs } = *shape;
    let (isa, kernel) = (Isa::current(), MicroKernel::for_products(Isa::current()));
    let sizes = [inputs, outputs, batch];
    match input {
        LinearInput::Values(values) => {
            let rows = &Rows { values, stride: inputs, copy: false };
            let columns = &Columns { values, stride: inputs };
            turned_product(kernel, sizes, columns, rows, output_gradient, false, weight_gradient);
        }
        LinearInput::Bytes { bytes: values, multiplier, offset } => {
            let rows = ByteRows { isa, values, multiplier, offset };
            turned_product(kernel, sizes, &ByteColumns(rows), &rows, output_gradient, false, weight_gradient);
        }
    }
}

/// [`linear_weight_gradient`] and an optimiser's step by it, as one pass over the weights where there are many of them:
/// their gradient then never goes to memory. Nobody may need the old weights afterwards: [`linear_input_gradient`]
/// comes first.
pub fn linear_weight_update<'a>(
    shape: &LinearShape,
    input: impl Into<LinearInput<'a>>,
    output_gradient: &[f32],
    update: Update<'_>,
    weights: &mut [f32],
) {
    let input = input.into();
    input.check(shape);
    assert_len("the output's gradient", output_gradient.len(), shape.batch * shape.outputs);
    assert_len("the weights", weights.len(), shape.inputs * shape.outputs);
    let LinearShape { batch, inputs, outputs } = *shape;
    let (isa, kernel) = (Isa::current(), MicroKernel::for_products(Isa::current()));
    let sizes = [inputs, outputs, batch];
    let right = &Rows { values: output_gradient, stride: outputs, copy: false };
    let parts = UpdateInParts::new(update, weights);
    // SAFETY: the rows of different tasks do not overlap.
    let consume = |rows: Range<usize>, gradient: &[f32]| unsafe {
        parts.apply(rows.start * outputs..rows.end * outputs, gradient);
    };
    if is_tall(kernel, inputs, outputs) {
        let (sizes, left) = ([outputs, inputs, batch], &Columns { values: output_gradient, stride: outputs });
        let destination = Destination::Streamed(&consume);
        return match input {
            LinearInput::Values(values) => {
                let right = &Rows { values, stride: inputs, copy: false };
                Product { sizes, left, right, bias: None, accumulate: false, finish: None }.run(kernel, destination);
            }
            LinearInput::Bytes { bytes: values, multiplier, offset } => {
                let right = &ByteRows { isa, values, multiplier, offset };
                Product { sizes, left, right, bias: None, accumulate: false, finish: None }.run(kernel, destination);
            }
        };
    }
    match input {
        LinearInput::Values(values) => {
            let left = &Columns { values, stride: inputs };
            Reduction { sizes, left, right, accumulate: false }.stream(kernel, consume);
        }
        LinearInput::Bytes { bytes: values, multiplier, offset } => {
            let left = &ByteColumns(ByteRows { isa, values, multiplier, offset });
            Reduction { sizes, left, right, accumulate: false }.stream(kernel, consume);
        }
    }
}
