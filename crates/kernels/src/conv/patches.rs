//! A convolution's left operand: patches of an image batch, gathered block by block; the matrix of all patches never
//! exists.

use std::ops::Range;

use crate::gemm::{Block, GROUP, Left, spread};

/// The patches under a kernel that moves over images: a matrix of output pixels x places of the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Patches<'a> {
    /// `[batch, height, width, channels]`
    pub(crate) images: &'a [f32],
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    /// Output pixels along each axis.
    pub(crate) out: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    /// Where the kernel's first row and column lie on the image for the first output pixel: the padding, negated, or
    /// what a gradient needs.
    pub(crate) origin: [isize; 2],
}

/// The same matrix turned: places of the kernel x output pixels.
pub(crate) struct Turned<'a>(pub(crate) Patches<'a>);

impl Patches<'_> {
    /// Values of one row of the kernel.
    fn kernel_row(&self) -> usize {
        self.kernel[1] * self.channels
    }

    /// Writes `places` of the patches of `pixels`, patch after patch.
    fn gather(&self, pixels: Range<usize>, places: Range<usize>, into: &mut [f32]) {
        if places.is_empty() {
            return;
        }
        let [out_height, out_width] = self.out;
        let (mut x, mut y) = (pixels.start % out_width, pixels.start / out_width % out_height);
        let mut image = pixels.start / out_width / out_height;
        let first_row = places.start / self.kernel_row();
        for patch in into.chunks_exact_mut(places.len()).take(pixels.len()) {
            self.gather_patch(image, y, x, places.start, first_row, patch);
            x += 1;
            if x == out_width {
                (x, y) = (0, y + 1);
                if y == out_height {
                    (y, image) = (0, image + 1);
                }
            }
        }
    }

    /// Fills `into` with the places of one patch from `place` on, which lies in row `row` of the kernel. Every row of
    /// the kernel is a run of values in a row of the image, cut at its ends.
    #[inline]
    fn gather_patch(&self, image: usize, y: usize, x: usize, mut place: usize, mut row: usize, mut into: &mut [f32]) {
        let (kernel_row, image_row) = (self.kernel_row(), self.width * self.channels);
        let column = (self.origin[1] + (x * self.stride) as isize) * self.channels as isize;
        let top = self.origin[0] + (y * self.stride) as isize;
        while !into.is_empty() {
            let (run, rest) = into.split_at_mut(((row + 1) * kernel_row - place).min(into.len()));
            let first = column + (place - row * kernel_row) as isize;
            place += run.len();
            match usize::try_from(top + row as isize) {
                Ok(y) if y < self.height => {
                    let from = &self.images[(image * self.height + y) * image_row..][..image_row];
                    copy_with_zeros(from, first, run);
                }
                _ => run.fill(0.0),
            }
            (row, into) = (row + 1, rest);
        }
    }
}

/// Copies `from[first..]`, with zeros for what lies before and behind `from`.
#[inline]
fn copy_with_zeros(from: &[f32], first: isize, into: &mut [f32]) {
    let length = into.len();
    if let Ok(first) = usize::try_from(first)
        && first + length <= from.len()
    {
        return copy(&from[first..first + length], into);
    }
    let before = first.min(0).unsigned_abs().min(length);
    let start = first.max(0).unsigned_abs().min(from.len());
    let count = (length - before).min(from.len() - start);
    into[..before].fill(0.0);
    into[before..before + count].copy_from_slice(&from[start..start + count]);
    into[before + count..].fill(0.0);
}

/// Copies a run; the short ones of few channels without a call.
#[inline]
fn copy(from: &[f32], into: &mut [f32]) {
    const SHORT: usize = 8;
    if into.len() >= 8 * SHORT {
        return into.copy_from_slice(from);
    }
    let (mut parts, mut into_parts) = (from.chunks_exact(SHORT), into.chunks_exact_mut(SHORT));
    for (from, into) in (&mut parts).zip(&mut into_parts) {
        into.copy_from_slice(from);
    }
    for (into, &from) in into_parts.into_remainder().iter_mut().zip(parts.remainder()) {
        *into = from;
    }
}

impl Left for Patches<'_> {
    fn block<'s>(
        &'s self,
        rows: Range<usize>,
        steps: Range<usize>,
        tile_rows: usize,
        scratch: &'s mut [f32],
    ) -> Block<'s> {
        let depth = steps.len();
        self.gather(rows, steps, scratch);
        Block { values: scratch, tile: tile_rows * depth, row: depth, step: 1 }
    }
}

impl Left for Turned<'_> {
    fn block<'s>(
        &'s self,
        rows: Range<usize>,
        steps: Range<usize>,
        tile_rows: usize,
        scratch: &'s mut [f32],
    ) -> Block<'s> {
        let (depth, width) = (steps.len(), rows.len());
        let (tiles, group) = scratch.split_at_mut(width.next_multiple_of(tile_rows) * depth);
        for first in (0..depth).step_by(GROUP) {
            let count = GROUP.min(depth - first);
            let pixels = steps.start + first..steps.start + first + count;
            self.0.gather(pixels, rows.clone(), group);
            spread(group, width, first..first + count, width, depth, tile_rows, tiles);
        }
        Block { values: tiles, tile: tile_rows * depth, row: 1, step: tile_rows }
    }
}
