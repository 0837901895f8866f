//! Tiles of an image batch: where the values of each lie, and the way between them and the planes that are multiplied.
//! What lies outside of an image is read as zero, and written to a place that nobody reads.

use std::ops::Range;

use super::super::epilogue::{Epilogue, Region};
use crate::arch::{TILE, TransformFn, prefetch};
use crate::parallel::SharedMut;
use crate::scratch::Scratch;

/// Squares of `size` x `size` pixels, `step` apart, over each image of a batch.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    /// Rows and columns of pixels in an image.
    pub(super) image: [usize; 2],
    pub(super) channels: usize,
    /// Where the first tile starts.
    pub(super) origin: [isize; 2],
    pub(super) size: usize,
    pub(super) step: usize,
    /// Rows and columns of tiles over an image.
    pub(super) grid: [usize; 2],
}

/// The transformed values of a block of tiles: value v of tile t is row t of plane v.
pub(super) struct Planes {
    pub(super) values: Scratch,
    /// From one plane to the next.
    pub(super) plane: usize,
    /// From one row to the next.
    pub(super) row: usize,
}

/// Where a tile lies.
struct Place {
    /// Its first value in the batch; less than 0 where the tile starts above its image.
    first: isize,
    /// Its rows and columns that are in the image.
    inside: [Range<usize>; 2],
}

impl Planes {
    /// Room for `count` planes of `rows` rows of `width` values. Whole panels of the micro-kernels may be read.
    pub(super) fn take(count: usize, rows: usize, width: usize, panel: usize) -> Self {
        /// Floats in a cache line.
        const LINE: usize = 16;
        let row = width.next_multiple_of(panel / 2);
        // An odd number of lines, so that the planes' values do not all meet in the same few sets of the cache.
        let plane = ((rows * row).div_ceil(LINE) | 1) * LINE;
        Self { values: Scratch::take(count * plane + panel), plane, row }
    }

    fn reaches(&self, count: usize, rows: usize) -> bool {
        (count - 1) * self.plane + rows * self.row <= self.values.len()
    }
}

impl Tiles {
    /// Transforms `channels` of the tiles `range` of `images` into `planes`, of which there are `count`. Vectors have
    /// `lanes` channels.
    pub(super) fn read(
        &self,
        images: &[f32],
        range: Range<usize>,
        channels: Range<usize>,
        lanes: usize,
        transform: TransformFn,
        count: usize,
        planes: &mut Planes,
    ) {
        let width = channels.len();
        let length = width.max(lanes);
        assert!(channels.end <= self.channels && length <= planes.row && planes.reaches(count, range.len()));
        let zeros = Scratch::zeros(length);
        // Too few channels for a vector are copied to where there is room for one.
        let mut narrow = Scratch::zeros(if width < lanes { self.size * self.size * lanes } else { 0 });
        let mut into = [std::ptr::null_mut(); TILE];
        for (plane, into) in into.iter_mut().enumerate().take(count) {
            *into = planes.values[plane * planes.plane..].as_mut_ptr();
        }
        let last = range.end - 1;
        for (index, tile) in range.enumerate() {
            let place = self.place(tile);
            self.prefetch(images.as_ptr(), last.min(tile + 1), &channels);
            let mut from = [std::ptr::null(); TILE];
            for row in 0..self.size {
                for column in 0..self.size {
                    let from = &mut from[row * self.size + column];
                    *from = if place.inside[0].contains(&row) && place.inside[1].contains(&column) {
                        let first = place.first + ((row * self.image[1] + column) * self.channels) as isize;
                        let values = &images[first as usize..][channels.clone()];
                        if width < lanes {
                            let copy = &mut narrow[(row * self.size + column) * lanes..][..lanes];
                            copy[..width].copy_from_slice(values);
                            copy.as_ptr()
                        } else {
                            values.as_ptr()
                        }
                    } else {
                        zeros.as_ptr()
                    };
                }
            }
            // SAFETY: every place of the tile has `length` values: in the image, in `narrow` or in `zeros`. So has row
            // `index` of every plane, as was asserted; they are borrowed mutably.
            unsafe { transform(&from, 0, &into, index * planes.row, length) };
        }
    }

    /// Transforms `planes`, of which there are `count`, into `channels` of the tiles `range` of `images`.
    ///
    /// # Safety
    /// Nobody else uses those values meanwhile.
    pub(super) unsafe fn write(
        &self,
        planes: &Planes,
        count: usize,
        transform: TransformFn,
        lanes: usize,
        range: Range<usize>,
        channels: Range<usize>,
        epilogue: &Epilogue<'_>,
        images: SharedMut<'_, f32>,
    ) {
        let width = channels.len();
        let length = width.max(lanes);
        assert!(channels.end <= self.channels && length <= planes.row && planes.reaches(count, range.len()));
        let mut outside = Scratch::take(length);
        let mut narrow = Scratch::take(if width < lanes { self.size * self.size * lanes } else { 0 });
        let mut from = [std::ptr::null(); TILE];
        for (plane, from) in from.iter_mut().enumerate().take(count) {
            *from = planes.values[plane * planes.plane..].as_ptr();
        }
        let last = range.end - 1;
        for (index, tile) in range.enumerate() {
            let place = self.place(tile);
            self.prefetch(images.pointer(0), last.min(tile + 1), &channels);
            let mut into = [std::ptr::null_mut(); TILE];
            for row in 0..self.size {
                for column in 0..self.size {
                    let value = row * self.size + column;
                    into[value] = if !place.inside[0].contains(&row) || !place.inside[1].contains(&column) {
                        outside.as_mut_ptr()
                    } else if width < lanes {
                        narrow[value * lanes..].as_mut_ptr()
                    } else {
                        let first = place.first as usize + (row * self.image[1] + column) * self.channels;
                        // `pointer` checks that the last of the values lies in the images.
                        let _ = images.pointer(first + channels.end);
                        images.pointer(first + channels.start)
                    };
                }
            }
            // SAFETY: row `index` of every plane has `length` values, as was asserted. So has every place of the tile:
            // in the images, where they are ours by the caller's promise, or in buffers of this call.
            unsafe { transform(&from, index * planes.row, &into, 0, length) };
            if width < lanes {
                for row in place.inside[0].clone() {
                    for column in place.inside[1].clone() {
                        let first = place.first as usize + (row * self.image[1] + column) * self.channels;
                        // SAFETY: the caller's promise.
                        let into = unsafe { images.range(first + channels.start..first + channels.end) };
                        into.copy_from_slice(&narrow[(row * self.size + column) * lanes..][..width]);
                    }
                }
            }
            let [rows, columns] = place.inside.map(|inside| inside.len()); // a tile of outputs starts in its image
            let region = Region { first: place.first as usize, rows, columns, row: self.image[1] * self.channels };
            // SAFETY: the caller's promise.
            unsafe { epilogue.finish(region, channels.clone(), self.channels, images) };
        }
    }

    /// Asks for the pixels of a tile that no tile before it has: their places follow no order that a processor guesses.
    fn prefetch(&self, images: *const f32, tile: usize, channels: &Range<usize>) {
        /// Floats in a cache line.
        const LINE: usize = 16;
        let place = self.place(tile);
        for row in place.inside[0].clone() {
            for column in place.inside[1].clone().skip(self.size - self.step) {
                let pixel = place.first + ((row * self.image[1] + column) * self.channels) as isize;
                for channel in channels.clone().step_by(LINE) {
                    prefetch(images.wrapping_offset(pixel + channel as isize));
                }
            }
        }
    }

    fn place(&self, tile: usize) -> Place {
        let [rows, columns] = self.grid;
        let (x, y, image) = (tile % columns, tile / columns % rows, tile / columns / rows);
        let top = self.origin[0] + (y * self.step) as isize;
        let left = self.origin[1] + (x * self.step) as isize;
        let inside = |start: isize, pixels: usize| {
            let first = start.min(0).unsigned_abs().min(self.size);
            first..(pixels as isize - start).clamp(first as isize, self.size as isize) as usize
        };
        let [height, width] = self.image;
        Place {
            first: ((image * height) as isize + top) * (width * self.channels) as isize + left * self.channels as isize,
            inside: [inside(top, height), inside(left, width)],
        }
    }
}
