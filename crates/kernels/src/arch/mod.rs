//! Micro-kernels, a file per instruction set: loads, multiplications, stores, and no shape logic.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512bf16;
mod depthwise;
mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod transforms;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;

#[cfg(target_arch = "x86_64")]
pub(crate) use amx::is_available as has_amx;
pub(crate) use depthwise::{
    COLUMNS as DEPTHWISE_COLUMNS, Depthwise, DepthwiseFn, DepthwiseTaps, DepthwiseTile, PIXELS, TAPS,
};
pub(crate) use matrix::{Layouts, MATRIX_SIDE, MATRIX_STEPS, Matrix, MatrixTile, POSITIONS, Sources};
pub(crate) use transforms::{GRID_ROWS, Grid, TransformFn, Transforms};

use crate::{Isa, Precision};

/// The operands of one micro-kernel call: a small tile of `C = A B`.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// Products to sum for every value of the tile.
    pub(crate) depth: usize,
    /// The first value of A.
    pub(crate) a: *const f32,
    /// From one row of A to the next.
    pub(crate) a_row: usize,
    /// From one step of the sum to the next in A.
    pub(crate) a_step: usize,
    /// A panel of B: [`MicroKernel::columns`] values per step.
    pub(crate) b: *const f32,
    /// From one step to the next in B: the same number where the panel is packed.
    pub(crate) b_step: usize,
    /// What the sums start from, [`MicroKernel::columns`] values; null for zeros.
    pub(crate) bias: *const f32,
    /// Whether the tile is added to what C holds.
    pub(crate) accumulate: bool,
    /// What is added to the complete sums, lying as C does; null for nothing.
    pub(crate) residual: *const f32,
    /// Where the complete sums are cut off, if they are.
    pub(crate) bounds: Option<[f32; 2]>,
    /// The first value of C.
    pub(crate) c: *mut f32,
    /// From one row of C to the next.
    pub(crate) c_row: usize,
    /// How many columns of the tile C has, 1 to [`MicroKernel::columns`].
    pub(crate) columns: usize,
}

/// Computes a tile of a fixed number of rows.
///
/// # Safety
/// The machine has the kernel's instruction set; `a` can be read at `row * a_row + step * a_step` for every row of the
/// kernel and every step below `depth`, `b` at `step * b_step + column` for every column of the kernel, `bias` (unless
/// null) at `columns`; `c` can be read and written at `row * c_row + column` for every column below `Tile::columns`,
/// and nobody else uses those places meanwhile; `residual` (unless null) can be read at the same places.
pub(crate) type TileFn = unsafe fn(&Tile);

/// The micro-kernels of an instruction set and the sizes they want.
pub(crate) struct MicroKernel {
    /// Rows of the largest tile.
    pub(crate) rows: usize,
    /// Columns of a tile: the width of a packed panel of B.
    pub(crate) columns: usize,
    /// Steps whose panel of B leaves room in the first-level cache.
    pub(crate) depth: usize,
    /// `wide[r - 1]` computes `r` rows and all columns.
    wide: &'static [TileFn],
    /// `narrow[r - 1]` computes `r` rows and the first half of the columns.
    narrow: &'static [TileFn],
    /// What a step of its operands is.
    pub(crate) words: Words,
    /// Winograd's F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3).
    pub(crate) winograd: [&'static Transforms; 2],
    /// Where every channel has a kernel of its own.
    pub(crate) depthwise: &'static Depthwise,
    /// Products of whole tiles in bf16.
    pub(crate) matrix: &'static Matrix,
}

/// What a word of an operand, as large as an f32, holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    /// An f32.
    Whole,
    /// An f32 that was rounded to bf16.
    Rounded,
    /// Two bf16, which are two steps of the sum, the first in the lower half.
    Pairs,
}

impl Words {
    /// Steps of the sum in a word.
    pub(crate) fn steps(self) -> usize {
        if self == Self::Pairs { 2 } else { 1 }
    }
}

/// A kernel of f32 as one that multiplies rounded numbers.
const fn rounded(kernel: MicroKernel) -> MicroKernel {
    MicroKernel { words: Words::Rounded, ..kernel }
}

impl MicroKernel {
    /// The kernels by which Winograd's algorithm multiplies sums over so many channels: those of the current precision
    /// where its transforms can write their operands, else of f32.
    pub(crate) fn for_transformed(isa: Isa, channels: usize) -> &'static Self {
        let kernel = Self::for_products(isa);
        if kernel.words == Words::Pairs && channels.is_multiple_of(2) { kernel } else { Self::of(isa) }
    }

    /// The kernels that multiply in the current precision.
    pub(crate) fn for_products(isa: Isa) -> &'static Self {
        #[cfg(target_arch = "x86_64")]
        const AVX2: MicroKernel = rounded(avx2::KERNEL);
        #[cfg(target_arch = "x86_64")]
        const AVX512: MicroKernel = rounded(avx512::KERNEL);
        #[cfg(target_arch = "x86_64")]
        const AVX512_BF16: MicroKernel = MicroKernel { words: Words::Pairs, ..avx512bf16::KERNEL };
        #[cfg(target_arch = "x86_64")]
        const AMX: MicroKernel = MicroKernel { matrix: &amx::MATRIX, ..AVX512_BF16 };
        #[cfg(target_arch = "aarch64")]
        const NEON: MicroKernel = rounded(neon::KERNEL);
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        const SIMD128: MicroKernel = rounded(wasm::KERNEL);
        const PORTABLE: MicroKernel = rounded(portable::KERNEL);
        match (Precision::current(), isa) {
            (Precision::F32, isa) => Self::of(isa),
            #[cfg(target_arch = "x86_64")]
            (Precision::Bf16, Isa::Avx2) => &AVX2,
            #[cfg(target_arch = "x86_64")]
            (Precision::Bf16, Isa::Avx512) => &AVX512,
            #[cfg(target_arch = "x86_64")]
            (Precision::Bf16, Isa::Avx512Bf16) => &AVX512_BF16,
            #[cfg(target_arch = "x86_64")]
            (Precision::Bf16, Isa::Amx) => &AMX,
            #[cfg(target_arch = "aarch64")]
            (Precision::Bf16, Isa::Neon) => &NEON,
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            (Precision::Bf16, Isa::Simd128) => &SIMD128,
            (Precision::Bf16, _) => &PORTABLE,
        }
    }

    /// The kernels of `isa` for f32.
    pub(crate) fn of(isa: Isa) -> &'static Self {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => &avx2::KERNEL,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => &avx512::KERNEL,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => &neon::KERNEL,
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Isa::Simd128 => &wasm::KERNEL,
            _ => &portable::KERNEL,
        }
    }

    /// The kernel for a tile of `rows` and `columns`, neither above the largest.
    pub(crate) fn tile(&self, rows: usize, columns: usize) -> TileFn {
        let kernels = if columns <= self.columns / 2 { self.narrow } else { self.wide };
        kernels[rows - 1]
    }
}

/// Floats in a cache line.
pub(crate) const LINE: usize = 16;

/// Brings the cache line of `place` to the first-level cache, where there is an instruction for it. Any address will do.
#[inline(always)]
pub(crate) fn prefetch(place: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint: it reads nothing, and SSE belongs to every x86-64 target.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Writes the micro-kernels of an instruction set out of its vector operations, which the file that calls this has in
/// scope: `zero`, `load`, `store`, `splat`, `constant`, `add`, `clamp` and `multiply_add`, on vectors of type `Vector` with
/// `LANES` floats.
macro_rules! micro_kernels {
    ($(#[$features:meta])* depth: $depth:literal, rows: $($rows:literal)*) => {
        const COLUMNS: usize = 2 * LANES;

        pub(super) const KERNEL: super::MicroKernel = super::MicroKernel {
            rows: [$($rows),*].len(),
            columns: COLUMNS,
            depth: $depth,
            wide: &[$(tile::<$rows, 2>),*],
            narrow: &[$(tile::<$rows, 1>),*],
            words: super::Words::Whole,
            winograd: [&TWO, &FOUR],
            depthwise: &DEPTHWISE,
            matrix: &super::matrix::PORTABLE,
        };

        /// `R` rows of `V` vectors: all of the sums stay in registers.
        ///
        /// # Safety
        /// As [`super::TileFn`] says, for `R` rows.
        $(#[$features])*
        unsafe fn tile<const R: usize, const V: usize>(tile: &super::Tile) {
            let mut sums = [[zero(); V]; R];
            if !tile.bias.is_null() {
                let mut bias = [zero(); V];
                for (vector, bias) in bias.iter_mut().enumerate() {
                    // SAFETY: the bias has `COLUMNS` values.
                    *bias = unsafe { load(tile.bias.add(vector * LANES)) };
                }
                sums = [bias; R];
            }
            // A pointer for every three rows: the others are one or two rows from it, which costs no addition.
            let mut a: [*const f32; KERNEL.rows.div_ceil(3)] =
                std::array::from_fn(|group| tile.a.wrapping_add(3 * group * tile.a_row));
            let mut b = tile.b;
            for _ in 0..tile.depth {
                let mut columns = [zero(); V];
                for (vector, column) in columns.iter_mut().enumerate() {
                    // SAFETY: `b` can be read for every step and each of the `V` vectors.
                    *column = unsafe { load(b.add(vector * LANES)) };
                }
                // Row by row in the source, not in a loop: the sums stay in registers only where every index is known.
                $(if $rows <= R {
                    // SAFETY: `a` can be read for every row and step.
                    let value = unsafe { splat(a[($rows - 1) / 3].add(($rows - 1) % 3 * tile.a_row)) };
                    for (sum, &column) in sums[$rows - 1].iter_mut().zip(&columns) {
                        *sum = multiply_add(value, column, *sum);
                    }
                })*
                a = a.map(|a| a.wrapping_add(tile.a_step));
                b = b.wrapping_add(tile.b_step);
            }
            if tile.columns < V * LANES {
                $(if $rows <= R {
                    // SAFETY: `c` and the residual can be used for every row and each of its columns.
                    unsafe { write_part(tile, ($rows - 1) * tile.c_row, sums[$rows - 1]) };
                })*
                return;
            }
            if tile.accumulate {
                $(if $rows <= R {
                    // SAFETY: `c` can be read for every row, and all `V` vectors are columns of it.
                    unsafe { add_row(tile.c.add(($rows - 1) * tile.c_row), &mut sums[$rows - 1]) };
                })*
            }
            if !tile.residual.is_null() {
                $(if $rows <= R {
                    // SAFETY: the residual can be read where `c` can be.
                    unsafe { add_row(tile.residual.add(($rows - 1) * tile.c_row), &mut sums[$rows - 1]) };
                })*
            }
            if let Some([low, high]) = tile.bounds {
                let [low, high] = [constant(low), constant(high)];
                $(if $rows <= R {
                    sums[$rows - 1] = sums[$rows - 1].map(|sum| clamp(low, sum, high));
                })*
            }
            $(if $rows <= R {
                for (vector, &sum) in sums[$rows - 1].iter().enumerate() {
                    // SAFETY: `c` can be written for every row, and all `V` vectors are columns of it.
                    unsafe { store(tile.c.add(($rows - 1) * tile.c_row + vector * LANES), sum) };
                }
            })*
        }

        /// `sums += from`
        ///
        /// # Safety
        /// `from` can be read at `V` vectors.
        #[inline]
        $(#[$features])*
        unsafe fn add_row<const V: usize>(from: *const f32, sums: &mut [Vector; V]) {
            for (vector, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *sum = add(unsafe { load(from.add(vector * LANES)) }, *sum);
            }
        }

        /// Writes a row of a tile that has less columns than its vectors.
        ///
        /// # Safety
        /// `c` can be read and written, and the residual unless null read, at `tile.columns` values from `place` on.
        $(#[$features])*
        unsafe fn write_part<const V: usize>(tile: &super::Tile, place: usize, sums: [Vector; V]) {
            for (vector, mut sum) in sums.into_iter().enumerate() {
                let first = vector * LANES;
                if first + LANES <= tile.columns {
                    // SAFETY: all columns of this vector are columns of `c`, and of the residual.
                    unsafe {
                        if tile.accumulate {
                            sum = add(load(tile.c.add(place + first)), sum);
                        }
                        if !tile.residual.is_null() {
                            sum = add(load(tile.residual.add(place + first)), sum);
                        }
                        if let Some([low, high]) = tile.bounds {
                            sum = clamp(constant(low), sum, constant(high));
                        }
                        store(tile.c.add(place + first), sum);
                    }
                    continue;
                }
                let mut part = [0f32; LANES];
                // SAFETY: it holds a vector.
                unsafe { store(part.as_mut_ptr(), sum) };
                for (lane, &sum) in part.iter().enumerate().take(tile.columns.saturating_sub(first)) {
                    // SAFETY: the lane is one of the columns of `c`.
                    let c = unsafe { &mut *tile.c.add(place + first + lane) };
                    let mut value = if tile.accumulate { *c + sum } else { sum };
                    if !tile.residual.is_null() {
                        // SAFETY: the residual can be read where `c` can be.
                        value += unsafe { *tile.residual.add(place + first + lane) };
                    }
                    *c = match tile.bounds {
                        Some([low, _]) if value < low => low,
                        Some([_, high]) if value > high => high,
                        _ => value,
                    };
                }
            }
        }
    };
}
use micro_kernels;
