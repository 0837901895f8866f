//! Matrix products. The algorithm stands here once; `arch` brings the micro-kernels, an operand its own packing.
//!
//! `C = A B` is cut three ways (Goto and van de Geijn, 2008): steps of the sum into blocks whose panel of B stays in
//! the first-level cache, rows into blocks of A that stay in the second-level cache, and tiles of C that stay in
//! registers. Every value of C is summed in the order of its steps, whatever the cut of rows and columns: the bits
//! depend on `k` and on the instruction set alone.

mod bytes;
mod narrow;
mod operand;
mod packed;
mod product;
mod reduction;

pub(crate) use bytes::{ByteColumns, ByteRows};
pub(crate) use narrow::{pair_steps, rounded};
pub(crate) use operand::{Block, Columns, Left, Right, Rows, scratch_len, spread_gathered, transpose};
pub(crate) use packed::Packed;
pub(crate) use product::{Destination, Finish, Product, padded, rows_in_task};
pub(crate) use reduction::{Reduction, add_chunks};

use std::ops::Range;

use crate::arch::{LINE, MATRIX_SIDE, MicroKernel, Tile, prefetch};
use crate::conv::{tile_product, turned_tile_product};
use crate::parallel::SharedMut;
use crate::{Isa, assert_sizes};

/// How a matrix of `rows x columns` lies in its slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Row after row: `[rows, columns]`.
    RowMajor,
    /// Column after column: `[columns, rows]`.
    Transposed,
}

/// `c = a b`, or `c += a b` when `accumulate`: `a` is `m x k`, `b` is `k x n`, `c` is `m x n` and row-major.
#[expect(clippy::too_many_arguments, reason = "the signature of a matrix product is what it is")]
pub fn gemm(
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    a_layout: Layout,
    b: &[f32],
    b_layout: Layout,
    accumulate: bool,
    c: &mut [f32],
) {
    assert_sizes("a", a.len(), [m, k]);
    assert_sizes("b", b.len(), [k, n]);
    assert_sizes("c", c.len(), [m, n]);
    let kernel = MicroKernel::for_products(Isa::current());
    let plain = Rows { values: b, stride: n, copy: false };
    let turned = Columns { values: b, stride: k };
    if kernel.matrix.is_native && !accumulate && [m, n, k].iter().all(|&size| size >= MATRIX_SIDE) {
        let sizes = [m, n, k];
        match (a_layout, b_layout) {
            (Layout::RowMajor, Layout::RowMajor) => return tile_product(kernel, sizes, a, &plain, c),
            (Layout::RowMajor, Layout::Transposed) => {
                return tile_product(kernel, sizes, a, &turned, c);
            }
            (Layout::Transposed, Layout::RowMajor) => return turned_tile_product(kernel, sizes, a, b, c),
            (Layout::Transposed, Layout::Transposed) => {}
        }
    }
    let rows = Rows { values: a, stride: k, copy: n > 3 * kernel.columns };
    let columns = Columns { values: a, stride: m };
    match (a_layout, b_layout) {
        (Layout::RowMajor, Layout::RowMajor) => product(kernel, [m, n, k], &rows, &plain, accumulate, c),
        (Layout::RowMajor, Layout::Transposed) => product(kernel, [m, n, k], &rows, &turned, accumulate, c),
        (Layout::Transposed, Layout::RowMajor) => {
            let rows = Rows { values: a, stride: m, copy: false };
            turned_product(kernel, [m, n, k], &columns, &rows, b, accumulate, c);
        }
        (Layout::Transposed, Layout::Transposed) => product(kernel, [m, n, k], &columns, &turned, accumulate, c),
    }
}

/// `c = aT b`: the sum goes over the rows of `a`, which is there as an operand of either kind.
pub(crate) fn turned_product(
    kernel: &MicroKernel,
    [m, n, k]: [usize; 3],
    columns: &impl Left,
    rows: &impl Right,
    b: &[f32],
    accumulate: bool,
    c: &mut [f32],
) {
    if is_tall(kernel, m, n) {
        let left = &Columns { values: b, stride: n };
        Product { sizes: [n, m, k], left, right: rows, bias: None, accumulate, finish: None }
            .run(kernel, Destination::Turned(c));
    } else {
        let right = &Rows { values: b, stride: n, copy: false };
        Reduction { sizes: [m, n, k], left: columns, right, accumulate }.run(kernel, c);
    }
}

/// Whether C is so tall and narrow, as the gradient of a classifier's last layer is, that its transpose is computed,
/// which has no idle columns.
pub(crate) fn is_tall(kernel: &MicroKernel, m: usize, n: usize) -> bool {
    n <= 2 * kernel.rows && m >= 8 * kernel.columns
}

fn product(
    kernel: &MicroKernel,
    sizes: [usize; 3],
    left: &impl Left,
    right: &impl Right,
    accumulate: bool,
    c: &mut [f32],
) {
    Product { sizes, left, right, bias: None, accumulate, finish: None }.run(kernel, Destination::Rows(c));
}

/// Multiplications that are worth a task of their own: some microseconds.
const TASK: usize = 1 << 18;

/// Tasks that the work is cut into where it is large enough: enough to keep many cores busy to the end.
pub(crate) const TASKS: usize = 32;

/// Tasks that so many multiplications should be cut into.
pub(crate) fn wanted_tasks(multiplications: usize) -> usize {
    (multiplications / TASK).clamp(1, TASKS)
}

/// Bytes of A in a block: a part of the second-level cache that all of today's have.
const LEFT_BYTES: usize = 192 * 1024;

/// Cuts `0..k` into blocks of nearly equal length, at most `depth` each; one empty block where `k` is 0.
pub(crate) fn step_blocks(k: usize, depth: usize) -> impl Iterator<Item = Range<usize>> {
    let count = k.div_ceil(depth).max(1);
    let length = k.div_ceil(count).next_multiple_of(8).min(depth).max(1);
    (0..k.div_ceil(length).max(1)).map(move |block| block * length..k.min((block + 1) * length))
}

/// Rows of A in a block, a multiple of the kernel's.
pub(crate) fn block_rows(kernel: &MicroKernel) -> usize {
    LEFT_BYTES / size_of::<f32>() / kernel.depth / kernel.rows * kernel.rows
}

/// Panels of B: panel p starts at `values[p * panel]`, and each of its steps `step` values after the one before.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) panel: usize,
    pub(crate) step: usize,
}

/// Where a block of C lies, and what it starts from.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) c: SharedMut<'a, f32>,
    pub(crate) first: usize,
    pub(crate) row: usize,
    /// Added to each row, padded to whole panels; null-like when empty.
    pub(crate) bias: &'a [f32],
    pub(crate) accumulate: bool,
}

/// What is done to values of C when their sums are complete.
#[derive(Clone, Copy)]
pub(crate) struct Ending<'a> {
    /// As long as the whole of C, and added to it; empty for nothing.
    pub(crate) residual: &'a [f32],
    /// Where values are cut off, if they are.
    pub(crate) bounds: Option<[f32; 2]>,
}

impl Ending<'_> {
    pub(crate) const NOTHING: Self = Self { residual: &[], bounds: None };
}

/// Steps that take longer than to fetch a tile of C from memory: it is asked for before they begin.
const PREFETCHED: usize = 128;

/// Bytes of panels that stay in the first-level cache beside a tile of A and of C.
const NEAR_BYTES: usize = 16 * 1024;

/// Multiplies a block of A (`rows x depth`) by panels of B (`depth x columns`).
///
/// # Safety
/// Nobody else uses the block of C meanwhile.
pub(crate) unsafe fn multiply(
    kernel: &MicroKernel,
    sizes: [usize; 3],
    left: Block<'_>,
    right: Panels<'_>,
    target: Target<'_>,
) {
    // SAFETY: the caller's promise.
    unsafe { multiply_and_end(kernel, sizes, left, right, target, Ending::NOTHING) };
}

/// [`multiply`] by the last steps of the sums, and what is done to them then.
///
/// # Safety
/// Nobody else uses the block of C meanwhile.
pub(crate) unsafe fn multiply_and_end(
    kernel: &MicroKernel,
    [rows, columns, depth]: [usize; 3],
    left: Block<'_>,
    right: Panels<'_>,
    target: Target<'_>,
    ending: Ending<'_>,
) {
    if rows == 0 || columns == 0 {
        return;
    }
    let width = kernel.columns;
    let (last_tile, last_panel) = ((rows - 1) / kernel.rows, (columns - 1) / width);
    if depth > 0 {
        let last_row = (rows - 1) % kernel.rows;
        let largest_row = if last_tile > 0 { kernel.rows - 1 } else { last_row };
        let ends = [
            last_tile * left.tile + last_row * left.row,
            last_tile.saturating_sub(1) * left.tile + largest_row * left.row,
        ];
        assert!(ends.iter().all(|end| end + (depth - 1) * left.step < left.values.len()), "a block of A is too short");
        let end = last_panel * right.panel + (depth - 1) * right.step + width;
        assert!(end <= right.values.len(), "a panel of B is too short");
    }
    assert!(target.bias.is_empty() || (last_panel + 1) * width <= target.bias.len(), "the bias is too short");
    assert!(ending.residual.is_empty() || ending.residual.len() == target.c.len(), "the residual is not as long as C");
    // `pointer` checks that the last value of the block lies in C.
    let _ = target.c.pointer(target.first + (rows - 1) * target.row + columns);
    let cut = Tiles { rows, most: kernel.rows, tiles: last_tile + 1, even: left.tile == kernel.rows * left.row };
    let run = |panel: usize, tile: usize| {
        let first_column = panel * width;
        let in_panel = width.min(columns - first_column);
        let rows = cut.rows(tile);
        let first = target.first + rows.start * target.row + first_column;
        let bias = if target.bias.is_empty() { std::ptr::null() } else { &raw const target.bias[first_column] };
        let residual = if ending.residual.is_empty() { std::ptr::null() } else { &raw const ending.residual[first] };
        let start = if cut.even { rows.start * left.row } else { tile * left.tile };
        let operands = Tile {
            depth,
            a: left.values.as_ptr().wrapping_add(start),
            a_row: left.row,
            a_step: left.step,
            b: right.values.as_ptr().wrapping_add(panel * right.panel),
            b_step: right.step,
            bias,
            accumulate: target.accumulate,
            residual,
            bounds: ending.bounds,
            c: target.c.pointer(first),
            c_row: target.row,
            columns: in_panel,
        };
        if depth >= PREFETCHED {
            for row in 0..rows.len() {
                for line in 0..width / LINE {
                    prefetch(operands.c.wrapping_add(row * target.row + line * LINE));
                }
            }
        }
        // SAFETY: `MicroKernel::of` was given an instruction set of this machine; the assertions above hold for the
        // last row, step and column, and so for all before them, wherever the tiles begin; C is ours by the caller's
        // promise, and a residual is as long.
        unsafe { kernel.tile(rows.len(), in_panel)(&operands) };
    };
    // Where all panels stay close, C is written row after row.
    if (last_panel + 1) * width * depth * size_of::<f32>() <= NEAR_BYTES {
        (0..=last_tile).for_each(|tile| (0..=last_panel).for_each(|panel| run(panel, tile)));
    } else {
        (0..=last_panel).for_each(|panel| (0..=last_tile).for_each(|tile| run(panel, tile)));
    }
}

/// How rows are cut into tiles.
#[derive(Clone, Copy)]
struct Tiles {
    rows: usize,
    /// Rows of the largest tile.
    most: usize,
    tiles: usize,
    /// Whether A may be cut anywhere, its rows being as far apart from tile to tile as within one. Then tiles are of nearly
    /// one height: the last of a few rows would take as long as one of many.
    even: bool,
}

impl Tiles {
    fn rows(self, tile: usize) -> Range<usize> {
        if self.even {
            tile * self.rows / self.tiles..(tile + 1) * self.rows / self.tiles
        } else {
            tile * self.most..self.rows.min((tile + 1) * self.most)
        }
    }
}
