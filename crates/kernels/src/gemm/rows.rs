//! A product whose left rows are found through pointers: an implicit matrix, such as the patches of an image.

use rayon::prelude::*;

use crate::{
    arch::{Kernels, MAX_TILE},
    scratch::with_scratch,
};

/// Depth that is computed at once, so that a panel's part stays in the first cache.
const DEPTH: usize = 256;
/// Tiles that share a panel's part while it is there.
const TILES: usize = 8;
/// Tasks that even a small product is cut into.
const LEAST_TASKS: usize = 16;

/// A product of `rows` × (`taps` · `run`) and a packed right operand of `columns` columns.
pub(crate) struct Product<'a> {
    pub rows: usize,
    pub taps: usize,
    pub run: usize,
    pub columns: usize,
    /// See [`super::pack_panels`], with the kernels' width.
    pub panels: &'a [f32],
    /// Whether to cut it into tasks; not where it is part of one already.
    pub parallel: bool,
}

/// A slice that several tasks write to, each at places of its own.
pub(crate) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    slice: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: it only lends parts of a slice that it borrows alone; `write` asks its callers to keep them apart.
unsafe impl Sync for Shared<'_> {}
// SAFETY: as above.
unsafe impl Send for Shared<'_> {}

impl<'a> Shared<'a> {
    pub fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), slice: std::marker::PhantomData }
    }

    /// The numbers from `first` on.
    ///
    /// # Safety
    /// No other task uses a number of the same range while the result lives.
    #[expect(clippy::mut_from_ref, reason = "tasks write to one slice at places of their own")]
    pub unsafe fn part(&self, first: usize, count: usize) -> &mut [f32] {
        assert!(first + count <= self.len);
        // SAFETY: the range lies in the slice, and is the caller's alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), count) }
    }
}

/// A pointer that may go to another thread, which only reads through it.
#[derive(Clone, Copy)]
pub(crate) struct Row(pub *const f32);

/// Computes a product. `locate(row, tap)` points to `run` numbers of the left operand; `store(row, column, values)`
/// receives each row's results, a panel at a time.
///
/// # Safety
/// Every pointer that `locate` gives for a row below `product.rows` and a tap below `product.taps` must be good for
/// reading `product.run` numbers until the call ends.
pub(crate) unsafe fn multiply(
    kernels: Kernels,
    product: &Product,
    locate: impl Fn(usize, usize) -> Row + Sync,
    store: impl Fn(usize, usize, &[f32]) + Sync,
) {
    let Product { rows, taps, run, columns, panels, parallel } = *product;
    let (tile_rows, width) = (kernels.rows, kernels.columns);
    let depth = taps * run;
    assert_eq!(panels.len(), super::packed_len(depth, columns, width));
    if rows == 0 || columns == 0 {
        return;
    }
    let tiles = rows.div_ceil(tile_rows);
    let tiles_a_task = if parallel { TILES.min(tiles.div_ceil(LEAST_TASKS)).max(1) } else { TILES };
    let compute = |task: usize| {
        let first_row = task * tiles_a_task * tile_rows;
        let task_tiles = tiles_a_task.min(tiles - task * tiles_a_task);
        // Rows past the end repeat the last one; their results are not stored.
        let mut pointers = Vec::with_capacity(task_tiles * taps * tile_rows);
        for tile in 0..task_tiles {
            for tap in 0..taps {
                for r in 0..tile_rows {
                    pointers.push(locate((first_row + tile * tile_rows + r).min(rows - 1), tap).0);
                }
            }
        }
        with_scratch(task_tiles * MAX_TILE, |sums| {
            for panel in 0..columns.div_ceil(width) {
                let right = &panels[panel * depth * width..][..depth * width];
                // SAFETY: the pointers are the caller's promise; `right` holds the panel's whole depth.
                unsafe { accumulate(kernels, taps, run, &pointers, right, sums) };
                let first_column = panel * width;
                let filled = width.min(columns - first_column);
                for (tile, sums) in sums.chunks_exact(MAX_TILE).enumerate() {
                    for r in 0..tile_rows {
                        let row = first_row + tile * tile_rows + r;
                        if row < rows {
                            store(row, first_column, &sums[r * width..][..filled]);
                        }
                    }
                }
            }
        });
    };
    let tasks = 0..tiles.div_ceil(tiles_a_task);
    if parallel { tasks.into_par_iter().for_each(compute) } else { tasks.for_each(compute) }
}

/// Sums up the tiles of one panel, part of the depth by part.
///
/// # Safety
/// `pointers` holds `taps * kernels.rows` pointers a tile, each good for `run` numbers.
unsafe fn accumulate(
    kernels: Kernels,
    taps: usize,
    run: usize,
    pointers: &[*const f32],
    right: &[f32],
    sums: &mut [f32],
) {
    let (tile_rows, width) = (kernels.rows, kernels.columns);
    if taps * run == 0 {
        return sums.fill(0.0);
    }
    let taps_at_once = (DEPTH / run.max(1)).clamp(1, taps.max(1));
    for first_tap in (0..taps).step_by(taps_at_once) {
        let some = taps_at_once.min(taps - first_tap);
        // A single long run is cut; several short ones are computed together.
        let part = if some == 1 { DEPTH } else { run };
        for start in (0..run).step_by(part) {
            let length = part.min(run - start);
            let panel = &right[(first_tap * run + start) * width..];
            let add = first_tap > 0 || start > 0;
            for (tile, sums) in sums.chunks_exact_mut(MAX_TILE).enumerate() {
                let rows = &pointers[(tile * taps + first_tap) * tile_rows..][..some * tile_rows];
                let mut shifted = [std::ptr::null(); crate::arch::MAX_ROWS];
                let rows = if start == 0 {
                    rows
                } else {
                    // SAFETY: `start` lies within the run that each pointer is good for.
                    shifted.iter_mut().zip(rows).for_each(|(to, from)| *to = unsafe { from.add(start) });
                    &shifted[..tile_rows]
                };
                // SAFETY: the pointers are good for the run, the panel for the rest of its depth, the tile is whole.
                unsafe { (kernels.by_rows)(rows.as_ptr(), some, length, panel.as_ptr(), sums.as_mut_ptr(), add) };
            }
        }
    }
}
