//! Tiles of an image batch: where the values of each lie, and the way between them and the planes that are multiplied.
//! What lies outside of an image is read as zero, and written to a place that nobody reads.

use std::ops::Range;

use super::super::epilogue::Region;
use crate::arch::{GRID_ROWS, Grid, LINE, TransformFn, prefetch};
use crate::element::narrow;
use crate::lanes::per_isa;
use crate::parallel::SharedMut;
use crate::scratch::Scratch;
use crate::{Element, Isa};

/// Channels of a tile that are copied at a time, where they are: they stay in the first-level cache.
const COPIED: usize = 64;

/// Squares of `size` x `size` pixels, `step` apart, over each image of a batch.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    /// Rows and columns of pixels in an image.
    pub(super) image: [usize; 2],
    pub(super) channels: usize,
    /// Channels of a vector.
    pub(super) lanes: usize,
    /// Where the first tile starts.
    pub(super) origin: [isize; 2],
    pub(super) size: usize,
    pub(super) step: usize,
    /// Rows and columns of tiles over an image.
    pub(super) grid: [usize; 2],
}

/// How tiles are written to planes of an operand.
#[derive(Clone, Copy)]
pub(super) struct Writing<'a> {
    /// One for each of the tiles that share a row.
    pub(super) transforms: &'a [TransformFn],
    /// Channels of a tile in a word.
    pub(super) channels: usize,
}

/// The transformed values of a block of tiles: value v of tile t is row t of plane v, or row t / 2 where tiles share one.
pub(super) struct Planes {
    pub(super) values: Scratch,
    /// Planes along each axis of a tile.
    pub(super) size: usize,
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
    /// Room for `size` x `size` planes of `rows` rows of `width` values. Whole panels of the micro-kernels may be read.
    pub(super) fn take(size: usize, rows: usize, width: usize, panel: usize) -> Self {
        let row = width.next_multiple_of(panel / 2);
        // An odd number of lines, so that the planes' values do not all meet in the same few sets of the cache.
        let plane = ((rows * row).div_ceil(LINE) | 1) * LINE;
        Self { values: Scratch::take(size * size * plane + panel), size, plane, row }
    }

    /// Row `index` of every plane, as a tile to read.
    pub(super) fn tile(&self, index: usize) -> Grid<*const f32> {
        self.grid(self.values.as_ptr(), index).0
    }

    /// The same, to write.
    pub(super) fn tile_mut(&mut self, index: usize) -> Grid<*mut f32> {
        let start = self.values.as_mut_ptr();
        let (grid, offsets) = self.grid(start.cast_const(), index);
        let rows = offsets.map(|offset| start.wrapping_add(offset));
        Grid { rows, step: grid.step, inside: grid.inside, outside: start }
    }

    fn grid(&self, start: *const f32, index: usize) -> (Grid<*const f32>, [usize; GRID_ROWS]) {
        let offsets = std::array::from_fn(|row| row.min(self.size - 1) * self.size * self.plane + index * self.row);
        let rows = offsets.map(|offset| start.wrapping_add(offset));
        (Grid { rows, step: self.plane, inside: [0, self.size], outside: start }, offsets)
    }

    /// Whether every plane has `rows` rows of `length` values.
    fn reaches(&self, rows: usize, length: usize) -> bool {
        let last = (self.size * self.size - 1) * self.plane + rows.saturating_sub(1) * self.row;
        length <= self.row && last + length <= self.values.len()
    }
}

impl Tiles {
    /// Transforms `channels` of the tiles `range` of `images` into `planes`.
    pub(super) fn read<E: Element>(
        &self,
        images: &[E],
        range: Range<usize>,
        channels: Range<usize>,
        writing: Writing<'_>,
        planes: &mut Planes,
    ) {
        let (lanes, sharing) = (self.lanes, writing.transforms.len());
        let length = channels.len().max(lanes);
        self.check(images.len(), &range, &channels);
        assert!(planes.reaches(range.len().div_ceil(sharing), length.div_ceil(writing.channels)));
        let zeros = Scratch::zeros(length + self.size * self.channels);
        // Too few channels for a vector are copied to where there is room for one; so is what is no f32.
        let plain = E::as_f32(images).filter(|_| channels.len() >= lanes);
        let room = if plain.is_some() { 0 } else { length.min(COPIED) };
        let (isa, mut copy) = (Isa::current(), Scratch::take(self.size * self.size * room));
        for (index, tile) in range.enumerate() {
            let place = self.place(tile);
            let transform = writing.transforms[index % sharing];
            let into = planes.tile_mut(index / sharing);
            if let Some(images) = plain {
                let first = images.as_ptr().wrapping_offset(place.first).wrapping_add(channels.start);
                let from = self.grid(&place, first, zeros.as_ptr(), |place, values| place.wrapping_add(values));
                // SAFETY: every place of the tile has `length` values: in the image, as was checked, or in `zeros`, which has
                // room for a row of pixels. So has this row of every plane, as was asserted.
                unsafe { transform(&from, &into, length) };
                continue;
            }
            for start in (0..length).step_by(COPIED) {
                // The last ones with some before them once more: at least a vector.
                let count = COPIED.min(length);
                let start = start.min(length - count);
                let width = count.min(channels.len());
                let is_whole = place.inside.iter().all(|inside| inside.len() == self.size);
                if !is_whole || width < count {
                    copy.fill(0.0);
                }
                for row in place.inside[0].clone() {
                    let columns = &place.inside[1];
                    let first = self.pixel(&place, row, columns.start) + channels.start + start;
                    let into = &mut copy[(row * self.size + columns.start) * count..];
                    widen_pixels(isa, &images[first..], self.channels, columns.len(), width, into, count);
                }
                let from = self.copied(copy.as_ptr(), count, |place, values| place.wrapping_add(values));
                let words = |place: *mut f32| place.wrapping_add(start / writing.channels);
                let into = Grid { rows: into.rows.map(words), ..into };
                // SAFETY: as above, of the copy.
                unsafe { transform(&from, &into, count) };
            }
        }
    }

    /// Transforms `planes` into `channels` of the tiles `range` of `images`.
    ///
    /// # Safety
    /// Nobody else uses those values meanwhile.
    pub(super) unsafe fn write<E: Element>(
        &self,
        planes: &Planes,
        transform: TransformFn,
        range: Range<usize>,
        channels: Range<usize>,
        images: SharedMut<'_, E>,
    ) {
        let lanes = self.lanes;
        let (width, length) = (channels.len(), channels.len().max(lanes));
        self.check(images.len(), &range, &channels);
        assert!(planes.reaches(range.len(), length));
        let mut outside = Scratch::take(length + self.size * self.channels);
        // As in `read`.
        let plain = E::as_f32_shared(images).filter(|_| width >= lanes);
        let room = if plain.is_some() { 0 } else { length };
        let (isa, mut copy) = (Isa::current(), Scratch::take(self.size * self.size * room));
        for (index, tile) in range.enumerate() {
            let place = self.place(tile);
            if let Some(images) = plain {
                let first = images.pointer(0).wrapping_offset(place.first).wrapping_add(channels.start);
                let into = self.grid(&place, first, outside.as_mut_ptr(), |place, values| place.wrapping_add(values));
                // SAFETY: row `index` of every plane has `length` values, as was asserted. So has every place of the
                // tile: in the images, as was checked, where they are ours by the caller's promise, or in `outside`.
                unsafe { transform(&planes.tile(index), &into, length) };
                continue;
            }
            let into = self.copied(copy.as_mut_ptr(), length, |place, values| place.wrapping_add(values));
            // SAFETY: as above; every place of the tile is in the copy.
            unsafe { transform(&planes.tile(index), &into, length) };
            for row in place.inside[0].clone() {
                for column in place.inside[1].clone() {
                    let pixel = self.pixel(&place, row, column);
                    // SAFETY: the caller's promise.
                    let into = unsafe { images.range(pixel + channels.start..pixel + channels.end) };
                    narrow(isa, &copy[(row * self.size + column) * length..][..width], into);
                }
            }
        }
    }

    /// The pixels of the tiles `range` that are in their images, where all tiles start: a region for each run of tiles
    /// next to each other.
    pub(super) fn regions(&self, range: Range<usize>) -> impl Iterator<Item = Region> {
        let columns = self.grid[1];
        let mut tile = range.start;
        std::iter::from_fn(move || {
            if tile == range.end {
                return None;
            }
            let count = (columns - tile % columns).min(range.end - tile);
            let (first, last) = (self.place(tile), self.place(tile + count - 1));
            tile += count;
            Some(Region {
                first: first.first as usize,
                rows: first.inside[0].len(),
                columns: (count - 1) * self.step + last.inside[1].len(),
                row: self.image[1] * self.channels,
            })
        })
    }

    /// Asserts that `channels` of the tiles `range` lie in images of `length` values.
    fn check(&self, length: usize, range: &Range<usize>, channels: &Range<usize>) {
        let tiles = length / (self.image[0] * self.image[1] * self.channels) * self.grid[0] * self.grid[1];
        assert!(range.end <= tiles && channels.end <= self.channels, "no such tiles or channels");
    }

    /// Where the pixel begins of a row and a column of a tile, which is in the image.
    fn pixel(&self, place: &Place, row: usize, column: usize) -> usize {
        (place.first + ((row * self.image[1] + column) * self.channels) as isize) as usize
    }

    /// The places of a tile that lies by itself, of `length` values each.
    fn copied<P: Copy>(&self, first: P, length: usize, add: impl Fn(P, usize) -> P) -> Grid<P> {
        let rows = std::array::from_fn(|row| add(first, row.min(self.size - 1) * self.size * length));
        Grid { rows, step: length, inside: [0, self.size], outside: first }
    }

    /// The places of a tile whose first value is, or would be, at `first`.
    fn grid<P: Copy>(&self, place: &Place, first: P, outside: P, add: impl Fn(P, usize) -> P) -> Grid<P> {
        let [rows, columns] = &place.inside;
        Grid {
            rows: std::array::from_fn(|row| {
                if rows.contains(&row) { add(first, row * self.image[1] * self.channels) } else { outside }
            }),
            step: self.channels,
            inside: [columns.start, columns.end],
            outside,
        }
    }

    /// Asks for the pixels that the tiles `range` do not share with tiles before them, while there is something else to
    /// do: their places follow no order that a processor guesses.
    pub(super) fn prefetch<E>(&self, images: *const E, range: Range<usize>, channels: &Range<usize>) {
        for tile in range {
            let place = self.place(tile);
            for row in place.inside[0].clone() {
                for column in place.inside[1].clone().skip(self.size - self.step) {
                    let pixel = place.first + ((row * self.image[1] + column) * self.channels) as isize;
                    for channel in channels.clone().step_by(LINE) {
                        prefetch(images.wrapping_offset(pixel + channel as isize).cast());
                    }
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

per_isa!(
    /// Copies `width` values of some pixels, which are `step` values apart, to where they are `into_step` apart.
    fn widen_pixels<E> = widen_pixels_body(
        pixels: &[E], step: usize, count: usize, width: usize, into: &mut [f32], into_step: usize,
    )
);

#[inline(always)]
fn widen_pixels_body<const M: bool, E: Element>(
    pixels: &[E],
    step: usize,
    count: usize,
    width: usize,
    into: &mut [f32],
    into_step: usize,
) {
    for (from, into) in pixels.chunks(step).zip(into.chunks_mut(into_step)).take(count) {
        into[..width].iter_mut().zip(&from[..width]).for_each(|(into, from)| *into = from.value());
    }
}
