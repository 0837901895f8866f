//! Loops over the rows of a `[rows, channels]` matrix that have something for each channel: sums, or factors.
//!
//! Few channels make poor vectors, so several rows are taken as one wide row, with what belongs to a channel repeated.

use std::ops::Range;

use crate::Element;
use crate::parallel::{CHUNK, SharedMut, for_each};
use crate::scratch::{DoubleScratch, Scratch};

/// Channels that make good vectors.
const WIDE: usize = 64;

/// Blocks at most: their sums are combined by one thread.
const BLOCKS: usize = 128;

/// Wide rows whose sums stay in f32.
pub(super) const F32_ROWS: usize = 64;

/// How rows are widened and cut into blocks. It depends on the shape alone.
#[derive(Clone, Copy)]
pub(crate) struct Blocks {
    pub(super) channels: usize,
    /// Values in a wide row: a multiple of the channels.
    pub(crate) wide: usize,
    /// Values of the whole matrix, and in a block: a multiple of `wide`.
    length: usize,
    block: usize,
}

impl Blocks {
    /// `channels` is 1 at least.
    pub(crate) fn new(rows: usize, channels: usize) -> Self {
        let wide = channels * WIDE.div_ceil(channels);
        let length = rows * channels;
        let block = CHUNK.max(length.div_ceil(BLOCKS)).next_multiple_of(wide);
        Self { channels, wide, length, block }
    }

    /// Values in a task of work that only reads what belongs to a channel.
    pub(super) fn chunk(&self) -> usize {
        CHUNK.next_multiple_of(self.wide)
    }

    /// What belongs to the channels, repeated to the width of a wide row.
    pub(crate) fn widen(&self, values: &[f32]) -> Scratch {
        let mut wide = Scratch::take(self.wide);
        wide.chunks_exact_mut(self.channels).for_each(|part| part.copy_from_slice(values));
        wide
    }

    /// The rows of each block.
    pub(super) fn rows(&self) -> impl Iterator<Item = usize> {
        (0..self.count()).map(|index| self.range(index).len() / self.channels)
    }

    /// Blocks of a matrix.
    pub(crate) fn count(&self) -> usize {
        self.length.div_ceil(self.block)
    }

    /// Runs `task(matrix, block, values)` on all threads for each block of `matrices` matrices that lie one after the
    /// other; blocks and values are counted over all of them.
    pub(crate) fn for_each(&self, matrices: usize, task: impl Fn(usize, usize, Range<usize>) + Sync + Send) {
        let count = self.count();
        for_each(matrices * count, |index| {
            let (matrix, range) = (index / count, self.range(index % count));
            task(matrix, index, matrix * self.length + range.start..matrix * self.length + range.end);
        });
    }

    /// Lets `sum(matrix, values, sums)` fill `quantities x channels` sums for each block, as [`Blocks::for_each`] runs
    /// them: `[matrices, blocks, quantities, channels]`.
    pub(crate) fn gather(
        &self,
        matrices: usize,
        quantities: usize,
        sum: impl Fn(usize, Range<usize>, &mut [f64]) + Sync + Send,
    ) -> DoubleScratch {
        let each = quantities * self.channels;
        let mut sums = DoubleScratch::take(matrices * self.count() * each);
        let shared = SharedMut::new(&mut sums);
        self.for_each(matrices, |matrix, block, range| {
            // SAFETY: each task has the sums of a block of its own.
            sum(matrix, range, unsafe { shared.range(block * each..(block + 1) * each) });
        });
        sums
    }

    fn range(&self, index: usize) -> Range<usize> {
        index * self.block..self.length.min((index + 1) * self.block)
    }
}

/// The sums of `blocks x length` numbers over the blocks, in their order.
pub(crate) fn add_up(blocks: &[f64], length: usize) -> DoubleScratch {
    let mut totals = DoubleScratch::zeros(length);
    for block in blocks.chunks_exact(length) {
        totals.iter_mut().zip(block).for_each(|(total, sum)| *total += sum);
    }
    totals
}

/// Adds up what `term` makes of each value (of `S` matrices, with `P` parameters of its channel): `totals` is `[Q,
/// channels]`. The parameters are as wide as a wide row.
#[inline(always)]
pub(crate) fn sum_columns<E: Element, const Q: usize, const S: usize, const P: usize>(
    channels: usize,
    wide: usize,
    values: [&[E]; S],
    parameters: [&[f32]; P],
    totals: &mut [f64],
    term: impl Fn([f32; S], [f32; P]) -> [f32; Q],
) {
    let length = values[0].len();
    let mut fast = Scratch::take(Q * wide);
    let mut slow = DoubleScratch::zeros(Q * wide);
    for start in (0..length).step_by(F32_ROWS * wide) {
        let end = length.min(start + F32_ROWS * wide);
        fast.fill(0.0);
        let mut place = start;
        while place < end {
            // Four rows at a time take a quarter of the loads and stores of sums.
            place += if place + 4 * wide <= end {
                add_rows::<E, 4, Q, S, P>(wide, place, values, parameters, &mut fast, wide, &term);
                4 * wide
            } else {
                let width = wide.min(end - place);
                add_rows::<E, 1, Q, S, P>(width, place, values, parameters, &mut fast, wide, &term);
                width
            };
        }
        slow.iter_mut().zip(&*fast).for_each(|(slow, &fast)| *slow += f64::from(fast));
    }
    for (totals, slow) in totals.chunks_exact_mut(channels).zip(slow.chunks_exact(wide)) {
        totals.fill(0.0);
        for part in slow.chunks_exact(channels) {
            totals.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
    }
}

/// Adds the terms of `R` rows of `width` values, from `place` on, to the sums, which lie `stride` apart.
#[inline(always)]
fn add_rows<E: Element, const R: usize, const Q: usize, const S: usize, const P: usize>(
    width: usize,
    place: usize,
    values: [&[E]; S],
    parameters: [&[f32]; P],
    sums: &mut [f32],
    stride: usize,
    term: &impl Fn([f32; S], [f32; P]) -> [f32; Q],
) {
    // Slices of one visible length, so that the loop needs no checks.
    let rows: [[&[E]; S]; R] = std::array::from_fn(|row| values.map(|values| &values[place + row * width..][..width]));
    let parameters = parameters.map(|parameter| &parameter[..width]);
    let mut rest = sums;
    let sums: [&mut [f32]; Q] = std::array::from_fn(|_| {
        let (first, others) = std::mem::take(&mut rest).split_at_mut(stride);
        rest = others;
        &mut first[..width]
    });
    for column in 0..width {
        let parameters = parameters.map(|parameter| parameter[column]);
        let mut total = [0.0; Q];
        for row in &rows {
            let terms = term(row.map(|values| values[column].value()), parameters);
            for quantity in 0..Q {
                total[quantity] += terms[quantity];
            }
        }
        for quantity in 0..Q {
            sums[quantity][column] += total[quantity];
        }
    }
}
