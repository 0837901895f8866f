//! Operands whose values are bytes, normalised on their way to the micro-kernels: the pixels that a network's first
//! layer reads never lie in memory as floats.

use std::ops::Range;

use super::operand::{Block, Left, Right, spread_gathered};
use crate::Isa;
use crate::pixels::{normalize_bytes, normalize_to_panels};

/// A matrix of `multiplier[column] * byte + offset[column]`, row after row; both factors are as long as a row.
#[derive(Clone, Copy)]
pub(crate) struct ByteRows<'a> {
    pub(crate) isa: Isa,
    pub(crate) values: &'a [u8],
    pub(crate) multiplier: &'a [f32],
    pub(crate) offset: &'a [f32],
}

impl ByteRows<'_> {
    fn normalize(&self, row: usize, columns: Range<usize>, into: &mut [f32]) {
        let values = &self.values[row * self.multiplier.len()..][columns.clone()];
        normalize_bytes(self.isa, values, &self.multiplier[columns.clone()], &self.offset[columns], into);
    }
}

impl Left for ByteRows<'_> {
    fn block<'s>(
        &'s self,
        rows: Range<usize>,
        steps: Range<usize>,
        tile_rows: usize,
        scratch: &'s mut [f32],
    ) -> Block<'s> {
        let depth = steps.len();
        if depth > 0 {
            for (row, into) in rows.zip(scratch.chunks_exact_mut(depth)) {
                self.normalize(row, steps.clone(), into);
            }
        }
        Block { values: scratch, tile: tile_rows * depth, row: depth, step: 1 }
    }
}

impl Right for ByteRows<'_> {
    fn pack(&self, steps: Range<usize>, columns: Range<usize>, width: usize, panel: usize, panels: &mut [f32]) {
        let (multiplier, offset) = (&self.multiplier[columns.clone()], &self.offset[columns.clone()]);
        for (index, step) in steps.enumerate() {
            let values = &self.values[step * self.multiplier.len()..][columns.clone()];
            normalize_to_panels(self.isa, values, multiplier, offset, width, panel, &mut panels[index * width..]);
        }
    }
}

/// The same matrix as an operand whose rows are its columns.
pub(crate) struct ByteColumns<'a>(pub(crate) ByteRows<'a>);

impl Left for ByteColumns<'_> {
    fn block<'s>(
        &'s self,
        rows: Range<usize>,
        steps: Range<usize>,
        tile_rows: usize,
        scratch: &'s mut [f32],
    ) -> Block<'s> {
        spread_gathered(rows.len(), steps, tile_rows, scratch, |steps, group| {
            for (step, into) in steps.zip(group.chunks_exact_mut(rows.len())) {
                self.0.normalize(step, rows.clone(), into);
            }
        })
    }
}
