//! Linear layers, forward and backward.

use rayon::prelude::*;

use super::{
    pack_panels, packed_len,
    rows::{Product, Row, Shared, multiply},
};
use crate::{
    arch::{Kernels, MAX_TILE, kernels},
    isa::Isa,
    scratch::with_scratch,
    shape::LinearShape,
};

/// Columns of the left operand that a task of the weights' gradient takes.
const INPUTS: usize = 96;
/// Rows that it takes at once, so that both operands stay in the second cache.
const ROWS: usize = 128;

/// `output = input × weights + bias`; `[batch, inputs] × [inputs, outputs]`.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn linear(shape: &LinearShape, input: &[f32], weights: &[f32], bias: Option<&[f32]>, output: &mut [f32]) {
    let LinearShape { batch, inputs, outputs } = *shape;
    check(shape, input, weights, output);
    assert!(bias.is_none_or(|bias| bias.len() == outputs));
    product([batch, inputs, outputs], input, weights, [outputs, 1], bias, output);
}

/// Gradient of the input: `output_gradient × weightsᵀ`.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn linear_input_gradient(shape: &LinearShape, output_gradient: &[f32], weights: &[f32], input_gradient: &mut [f32]) {
    let LinearShape { batch, inputs, outputs } = *shape;
    check(shape, input_gradient, weights, output_gradient);
    product([batch, outputs, inputs], output_gradient, weights, [1, outputs], None, input_gradient);
}

/// Gradient of the weights: `inputᵀ × output_gradient`.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn linear_weight_gradient(shape: &LinearShape, input: &[f32], output_gradient: &[f32], weight_gradient: &mut [f32]) {
    let LinearShape { batch, inputs, outputs } = *shape;
    check(shape, input, weight_gradient, output_gradient);
    transposed_product(batch, inputs, outputs, input, output_gradient, weight_gradient);
}

fn check(shape: &LinearShape, input: &[f32], weights: &[f32], output: &[f32]) {
    assert_eq!(input.len(), shape.batch * shape.inputs, "numbers in the input of {shape:?}");
    assert_eq!(weights.len(), shape.inputs * shape.outputs, "numbers in the weights of {shape:?}");
    assert_eq!(output.len(), shape.batch * shape.outputs, "numbers in the output of {shape:?}");
}

/// `output = left × right + bias` for a left operand `[rows, depth]` and a right one addressed by strides.
pub(crate) fn product(
    [rows, depth, columns]: [usize; 3],
    left: &[f32],
    right: &[f32],
    strides: [usize; 2],
    bias: Option<&[f32]>,
    output: &mut [f32],
) {
    let kernels = kernels(Isa::current());
    with_scratch(packed_len(depth, columns, kernels.columns), |panels| {
        pack_panels(depth, columns, kernels.columns, right, strides, panels);
        let output = Shared::new(output);
        let product = Product { rows, taps: 1, run: depth, columns, panels, parallel: true };
        let store = |row: usize, column: usize, values: &[f32]| {
            // SAFETY: each row and panel is stored by one task.
            let target = unsafe { output.part(row * columns + column, values.len()) };
            match bias {
                Some(bias) => target.iter_mut().zip(values).zip(&bias[column..]).for_each(|((t, v), b)| *t = v + b),
                None => target.copy_from_slice(values),
            }
        };
        // SAFETY: every row of `left` holds `depth` numbers.
        unsafe { multiply(kernels, &product, |row, _| Row(left[row * depth..].as_ptr()), store) };
    });
}

/// `output = leftᵀ × right` for a left operand `[rows, height]` and a right one `[rows, columns]`.
pub(crate) fn transposed_product(
    rows: usize,
    height: usize,
    columns: usize,
    left: &[f32],
    right: &[f32],
    output: &mut [f32],
) {
    if columns == 0 || height == 0 {
        return;
    }
    let kernels = kernels(Isa::current());
    output.par_chunks_mut(INPUTS * columns).enumerate().for_each(|(block, output)| {
        let first = block * INPUTS;
        let sums = BlockSums::new(kernels, INPUTS.min(height - first), columns);
        with_scratch(sums.len(), |tiles| {
            tiles.fill(0.0);
            for start in (0..rows).step_by(ROWS) {
                let count = ROWS.min(rows - start);
                let fill = |p: usize, into: &mut [f32]| {
                    let source = &left[(start + p) * height + first..];
                    into.copy_from_slice(&source[..into.len()]);
                };
                sums.add(count, fill, &right[start * columns..(start + count) * columns], tiles);
            }
            sums.write(tiles, output);
        });
    });
}

/// A block of a transposed product, summed up in tiles `[row tile][panel][tile]`.
pub(crate) struct BlockSums {
    kernels: Kernels,
    height: usize,
    columns: usize,
}

impl BlockSums {
    pub fn new(kernels: Kernels, height: usize, columns: usize) -> Self {
        Self { kernels, height, columns }
    }

    /// Numbers in the tiles.
    pub fn len(&self) -> usize {
        self.height.div_ceil(self.kernels.rows) * self.columns.div_ceil(self.kernels.columns) * MAX_TILE
    }

    /// Adds the products of `count` rows. `fill(p, into)` copies row p of the block's left operand.
    pub fn add(&self, count: usize, fill: impl Fn(usize, &mut [f32]), right: &[f32], tiles: &mut [f32]) {
        let Kernels { rows: tile_rows, columns: width, by_columns, .. } = self.kernels;
        let padded = self.height.div_ceil(tile_rows) * tile_rows;
        let panels = self.columns.div_ceil(width);
        with_scratch(count * padded + packed_len(count, self.columns, width), |scratch| {
            let (left, packed) = scratch.split_at_mut(count * padded);
            for (p, row) in left.chunks_exact_mut(padded).enumerate() {
                fill(p, &mut row[..self.height]);
                row[self.height..].fill(0.0);
            }
            pack_panels(count, self.columns, width, right, [self.columns, 1], packed);
            for (index, tile) in tiles.chunks_exact_mut(MAX_TILE).enumerate() {
                let (row, panel) = (index / panels * tile_rows, index % panels);
                let right = &packed[panel * count * width..][..count * width];
                // SAFETY: `left` holds `count` rows of `padded` numbers, of which each tile reads `tile_rows`; the
                // panel holds `count` rows; the tile is whole.
                unsafe { by_columns(left[row..].as_ptr(), padded, count, right.as_ptr(), tile.as_mut_ptr()) };
            }
        });
    }

    /// Writes the sums as `[height, columns]`.
    pub fn write(&self, tiles: &[f32], output: &mut [f32]) {
        let Kernels { rows: tile_rows, columns: width, .. } = self.kernels;
        let panels = self.columns.div_ceil(width);
        for (index, tile) in tiles.chunks_exact(MAX_TILE).enumerate() {
            let (first, column) = (index / panels * tile_rows, index % panels * width);
            let filled = width.min(self.columns - column);
            for r in 0..tile_rows.min(self.height - first) {
                output[(first + r) * self.columns + column..][..filled].copy_from_slice(&tile[r * width..][..filled]);
            }
        }
    }
}
