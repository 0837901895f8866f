//! A convolution's left operand: patches of an image batch, gathered block by block; the matrix of all patches never
//! exists.

use std::ops::Range;

use crate::gemm::{Block, Left, spread_gathered};

/// The patches under a kernel that moves over images: a matrix of output pixels x places of the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Patches<'a, E = f32> {
    /// `[batch, height, width, channels]`
    pub(crate) images: &'a [E],
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Values from one pixel to the next.
    pub(crate) pixel: usize,
    /// Channels that are seen of each pixel: all of them, or those of a group, which then start `images`.
    pub(crate) channels: usize,
    /// Output pixels along each axis.
    pub(crate) out: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    /// Pixels from one place of the kernel to the next.
    pub(crate) dilation: usize,
    /// Where the kernel's first row and column lie on the image for the first output pixel: the padding, negated, or
    /// what a gradient needs.
    pub(crate) origin: [isize; 2],
}

/// The same matrix turned: places of the kernel x output pixels.
pub(crate) struct Turned<'a>(pub(crate) Patches<'a>);

impl Patches<'_> {
    /// The same patches of all channels of each pixel.
    pub(crate) fn of_all_channels(self) -> Self {
        Self { channels: self.pixel, ..self }
    }

    /// Values of a patch.
    pub(super) fn places(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels
    }

    /// Values of a patch that lie next to each other in the images: a row of the kernel, or one place of it.
    fn run(&self) -> usize {
        if self.pixel == self.channels && self.dilation == 1 { self.kernel[1] * self.channels } else { self.channels }
    }

    /// Writes `places` of the patches of `pixels`, patch after patch.
    fn gather(&self, pixels: Range<usize>, places: Range<usize>, into: &mut [f32]) {
        if places.is_empty() {
            return;
        }
        let [out_height, out_width] = self.out;
        let (mut x, mut y) = (pixels.start % out_width, pixels.start / out_width % out_height);
        let mut image = pixels.start / out_width / out_height;
        let first_run = places.start / self.run();
        let is_whole = places == (0..self.places());
        let is_plain = is_whole && self.dilation == 1 && self.run() == self.kernel[1] * self.channels;
        for patch in into.chunks_exact_mut(places.len()).take(pixels.len()) {
            match self.inside([y, x]).filter(|_| is_plain) {
                Some(place) => self.gather_inside(image, place, patch),
                None => self.gather_patch([image, y, x], places.start, first_run, patch),
            }
            x += 1;
            if x == out_width {
                (x, y) = (0, y + 1);
                if y == out_height {
                    (y, image) = (0, image + 1);
                }
            }
        }
    }

    /// The row and column of the image where a patch begins that lies in it whole, its places next to each other.
    #[inline]
    fn inside(&self, out: [usize; 2]) -> Option<[usize; 2]> {
        let first = [0, 1].map(|axis| self.origin[axis] + (out[axis] * self.stride) as isize);
        let [top, left] = first.map(|first| usize::try_from(first).ok());
        let (top, left) = (top?, left?);
        (top + self.kernel[0] <= self.height && left + self.kernel[1] <= self.width).then_some([top, left])
    }

    /// Fills `into` with such a patch: a run for each row of the kernel.
    #[inline]
    fn gather_inside(&self, image: usize, [top, left]: [usize; 2], into: &mut [f32]) {
        let first = ((image * self.height + top) * self.width + left) * self.pixel;
        let run = self.kernel[1] * self.channels;
        for (row, into) in into.chunks_exact_mut(run).enumerate() {
            copy(&self.images[first + row * self.width * self.pixel..][..run], into);
        }
    }

    /// Fills `into` with the places of the patch of `[image, y, x]` from `place` on, which lies in run `number`. Every run
    /// is one of values in a row of the image, cut at its ends.
    #[inline]
    fn gather_patch(&self, [image, y, x]: [usize; 3], mut place: usize, mut number: usize, mut into: &mut [f32]) {
        let (length, image_row) = (self.run(), (self.width - 1) * self.pixel + self.channels);
        let in_row = self.kernel[1] * self.channels / length;
        let left = self.origin[1] + (x * self.stride) as isize;
        let top = self.origin[0] + (y * self.stride) as isize;
        let (mut row, mut column) = (number / in_row, number % in_row);
        while !into.is_empty() {
            let (run, rest) = into.split_at_mut(((number + 1) * length - place).min(into.len()));
            let first = (left + (column * self.dilation) as isize) * self.pixel as isize;
            let first = first + (place - number * length) as isize;
            place += run.len();
            match usize::try_from(top + (row * self.dilation) as isize) {
                Ok(y) if y < self.height => {
                    let from = &self.images[(image * self.height + y) * self.width * self.pixel..][..image_row];
                    self.copy_run(from, left + (column * self.dilation) as isize, first, run);
                }
                _ => run.fill(0.0),
            }
            (number, column, into) = (number + 1, column + 1, rest);
            if column == in_row {
                (row, column) = (row + 1, 0);
            }
        }
    }

    /// Copies a run that starts at `first` of a row of pixels, in the pixel `column`.
    #[inline]
    fn copy_run(&self, row: &[f32], column: isize, first: isize, run: &mut [f32]) {
        // Of a group, what lies beside its channels belongs to others, and not into a patch over the border.
        if self.pixel == self.channels || (0..self.width as isize).contains(&column) {
            copy_with_zeros(row, first, run);
        } else {
            run.fill(0.0);
        }
    }
}

/// Copies `from[first..]`, with zeros for what lies before and behind `from`.
#[inline]
pub(super) fn copy_with_zeros(from: &[f32], first: isize, into: &mut [f32]) {
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
    let length = into.len();
    if length >= 8 * SHORT {
        return into.copy_from_slice(from);
    }
    if length >= SHORT && from.len() == length {
        for (from, into) in from.chunks_exact(SHORT).zip(into.chunks_exact_mut(SHORT)) {
            into.copy_from_slice(from);
        }
        // The last ones once more, with some before them.
        return into[length - SHORT..].copy_from_slice(&from[length - SHORT..]);
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
        spread_gathered(rows.len(), steps, tile_rows, scratch, |pixels, group| {
            self.0.gather(pixels, rows.clone(), group);
        })
    }
}
