//! What is multiplied, and how a block of it is laid out for the micro-kernels. Matrices that lie in memory are here;
//! convolutions bring operands of their own, gathered from images.

use std::ops::Range;

use super::packed::Packed;

/// The left operand, A: `rows x steps`.
pub(crate) trait Left: Sync {
    /// The values of `rows x steps`, in place or gathered into `scratch`, which holds at least [`scratch_len`] of them.
    fn block<'s>(
        &'s self,
        rows: Range<usize>,
        steps: Range<usize>,
        tile_rows: usize,
        scratch: &'s mut [f32],
    ) -> Block<'s>;
}

/// The right operand, B: `steps x columns`.
pub(crate) trait Right: Sync {
    /// Writes `columns` of `steps` to panels of `width` columns each: panel after panel, `panel` values apart, and in a
    /// panel `width` values a step. What stands behind the last column goes into sums that nobody reads.
    fn pack(&self, steps: Range<usize>, columns: Range<usize>, width: usize, panel: usize, panels: &mut [f32]);

    /// The whole matrix where it already lies row after row, and how far apart the rows are.
    fn in_place(&self) -> Option<(&[f32], usize)> {
        None
    }

    /// The whole matrix where it was packed before.
    fn packed(&self) -> Option<&Packed> {
        None
    }
}

/// A block of A where the micro-kernels can read it: row r of tile t at step s is `values[t * tile + r * row + s *
/// step]`.
#[derive(Clone, Copy)]
pub(crate) struct Block<'s> {
    pub(crate) values: &'s [f32],
    pub(crate) tile: usize,
    pub(crate) row: usize,
    pub(crate) step: usize,
}

/// Values that a block of `rows x depth` may need as scratch.
pub(crate) fn scratch_len(rows: usize, depth: usize, tile_rows: usize) -> usize {
    rows.next_multiple_of(tile_rows) * depth + GROUP * rows
}

/// Steps that are spread to tiles together: enough to write whole cache lines, few enough to stay in the first-level
/// cache.
const GROUP: usize = 16;

/// A matrix that lies row after row, each `stride` values long.
pub(crate) struct Rows<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    /// Whether blocks of A are worth a copy: they are read more than a few times.
    pub(crate) copy: bool,
}

impl Left for Rows<'_> {
    fn block<'s>(
        &'s self,
        rows: Range<usize>,
        steps: Range<usize>,
        tile_rows: usize,
        scratch: &'s mut [f32],
    ) -> Block<'s> {
        let (depth, stride) = (steps.len(), self.stride);
        if !self.copy {
            let values = &self.values[rows.start * stride + steps.start..];
            return Block { values, tile: tile_rows * stride, row: stride, step: 1 };
        }
        if depth > 0 {
            for (row, into) in rows.zip(scratch.chunks_exact_mut(depth)) {
                into.copy_from_slice(&self.values[row * stride..][steps.clone()]);
            }
        }
        Block { values: scratch, tile: tile_rows * depth, row: depth, step: 1 }
    }
}

impl Right for Rows<'_> {
    fn pack(&self, steps: Range<usize>, columns: Range<usize>, width: usize, panel: usize, panels: &mut [f32]) {
        match width {
            8 => self.pack_rows::<8>(steps, columns, panel, panels),
            16 => self.pack_rows::<16>(steps, columns, panel, panels),
            32 => self.pack_rows::<32>(steps, columns, panel, panels),
            _ => unreachable!("no micro-kernel has {width} columns"),
        }
    }

    fn in_place(&self) -> Option<(&[f32], usize)> {
        Some((self.values, self.stride))
    }
}

impl Rows<'_> {
    /// Row after row, so that memory is read in its order.
    fn pack_rows<const N: usize>(&self, steps: Range<usize>, columns: Range<usize>, panel: usize, panels: &mut [f32]) {
        for (index, step) in steps.enumerate() {
            let from = &self.values[step * self.stride + columns.start..];
            for (number, first) in (0..columns.len()).step_by(N).enumerate() {
                let into = &mut panels[number * panel + index * N..][..N];
                match from[first..].first_chunk::<N>() {
                    // A copy of a known size; of fewer columns than `N`, what follows them comes along.
                    Some(from) => into.copy_from_slice(from),
                    None => into.iter_mut().zip(&from[first..]).for_each(|(into, &from)| *into = from),
                }
            }
        }
    }
}

/// A matrix that lies column after column, each `stride` values long.
pub(crate) struct Columns<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
}

impl Left for Columns<'_> {
    fn block<'s>(
        &'s self,
        rows: Range<usize>,
        steps: Range<usize>,
        tile_rows: usize,
        scratch: &'s mut [f32],
    ) -> Block<'s> {
        let depth = steps.len();
        for first in (0..depth).step_by(GROUP) {
            let count = GROUP.min(depth - first);
            let values = &self.values[(steps.start + first) * self.stride + rows.start..];
            spread(values, self.stride, first..first + count, rows.len(), depth, tile_rows, scratch);
        }
        Block { values: scratch, tile: tile_rows * depth, row: 1, step: tile_rows }
    }
}

impl Right for Columns<'_> {
    fn pack(&self, steps: Range<usize>, columns: Range<usize>, width: usize, panel: usize, panels: &mut [f32]) {
        for (number, first) in columns.clone().step_by(width).enumerate() {
            let values = &self.values[first * self.stride + steps.start..];
            let count = width.min(columns.end - first);
            transpose(values, self.stride, count, steps.len(), width, &mut panels[number * panel..]);
        }
    }
}

/// `panel[step * width + column] = values[column * stride + step]` for every step and column.
pub(crate) fn transpose(values: &[f32], stride: usize, columns: usize, steps: usize, width: usize, panel: &mut [f32]) {
    /// Steps at a time, so that a line of `values` is read once and the lines of `panel` stay in the cache.
    const BLOCK: usize = 16;
    for first in (0..steps).step_by(BLOCK) {
        let count = BLOCK.min(steps - first);
        let panel = &mut panel[first * width..][..count * width];
        for column in 0..columns {
            let values = &values[column * stride + first..][..count];
            for (into, &value) in panel.chunks_exact_mut(width).zip(values) {
                into[column] = value;
            }
        }
    }
}

/// A block of `rows` x `steps` in tiles, of an operand that has to be gathered: `gather` writes the rows of some steps,
/// step after step.
pub(crate) fn spread_gathered(
    rows: usize,
    steps: Range<usize>,
    tile_rows: usize,
    scratch: &mut [f32],
    gather: impl Fn(Range<usize>, &mut [f32]),
) -> Block<'_> {
    let depth = steps.len();
    let (tiles, group) = scratch.split_at_mut(rows.next_multiple_of(tile_rows) * depth);
    for first in (0..depth).step_by(GROUP) {
        let part = first..depth.min(first + GROUP);
        gather(steps.start + part.start..steps.start + part.end, group);
        spread(group, rows, part, rows, depth, tile_rows, tiles);
    }
    Block { values: tiles, tile: tile_rows * depth, row: 1, step: tile_rows }
}

/// Spreads values that lie step after step over tiles: `tiles[t * tile_rows * depth + s * tile_rows + r]` becomes row
/// `t * tile_rows + r` of step s, for the steps of `steps` among `depth`. Step `steps.start` starts at `values[0]`, the
/// next `stride` further.
fn spread(
    values: &[f32],
    stride: usize,
    steps: Range<usize>,
    rows: usize,
    depth: usize,
    tile_rows: usize,
    tiles: &mut [f32],
) {
    match tile_rows {
        4 => spread_tiles::<4>(values, stride, steps, rows, depth, tiles),
        6 => spread_tiles::<6>(values, stride, steps, rows, depth, tiles),
        8 => spread_tiles::<8>(values, stride, steps, rows, depth, tiles),
        14 => spread_tiles::<14>(values, stride, steps, rows, depth, tiles),
        _ => unreachable!("no micro-kernel has {tile_rows} rows"),
    }
}

fn spread_tiles<const N: usize>(
    values: &[f32],
    stride: usize,
    steps: Range<usize>,
    rows: usize,
    depth: usize,
    tiles: &mut [f32],
) {
    let whole = rows / N;
    for (tile, tiles) in tiles.chunks_exact_mut(N * depth).take(rows.div_ceil(N)).enumerate() {
        let count = if tile < whole { N } else { rows % N };
        for (index, into) in tiles[steps.start * N..steps.end * N].chunks_exact_mut(N).enumerate() {
            let from = &values[index * stride + tile * N..][..count];
            match from.first_chunk::<N>() {
                Some(from) => into.copy_from_slice(from),
                // Too short for a call.
                None => into.iter_mut().zip(from).for_each(|(into, &from)| *into = from),
            }
        }
    }
}
