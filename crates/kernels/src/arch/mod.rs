//! Micro-kernels: small tiles of a product in registers. Nothing here knows a shape.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::isa::Isa;

/// Most rows of any tile.
pub const MAX_ROWS: usize = 12;
/// Most numbers of any tile.
pub const MAX_TILE: usize = 12 * 32;

/// Rows of the left operand, each found through a pointer: `tile[r][j] (+)= sum over k of row[r][k] * panel[k][j]`,
/// where the sum runs over `taps` groups of `run` numbers, and `rows[tap * tile_rows + r]` points to a group.
type RowsKernel = unsafe fn(rows: *const *const f32, taps: usize, run: usize, panel: *const f32, tile: *mut f32, add: bool);

/// Columns of the left operand: `tile[r][j] += sum over p of left[p * step + r] * right[p][j]`.
type ColumnsKernel = unsafe fn(left: *const f32, step: usize, count: usize, right: *const f32, tile: *mut f32);

/// The micro-kernels of an instruction set, and the size of their tiles.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// Rows of a tile.
    pub rows: usize,
    /// Columns of a tile.
    pub columns: usize,
    /// See [`RowsKernel`].
    pub by_rows: RowsKernel,
    /// See [`ColumnsKernel`].
    pub by_columns: ColumnsKernel,
}

/// The micro-kernels of a set.
pub fn kernels(isa: Isa) -> Kernels {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Kernels { rows: 6, columns: 16, by_rows: avx2::by_rows, by_columns: avx2::by_columns },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Kernels { rows: 12, columns: 32, by_rows: avx512::by_rows, by_columns: avx512::by_columns },
        _ => Kernels { rows: 4, columns: 8, by_rows: portable::by_rows, by_columns: portable::by_columns },
    }
}
