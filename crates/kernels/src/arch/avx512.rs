//! AVX-512: 14 rows of two vectors fill 28 of the 32 registers; two of B and one of A are left.
//!
//! Argued from sizes, never timed. A step is 28 multiplications for 2 vectors and 14 numbers that are loaded, less than
//! one load each; 28 sums outlast the latency of two units. 144 steps of a panel of B take 18 KiB, the tile of A that
//! passes 8 and the tile of C 2: together they leave room in the 32 KiB of Zen 4 and Skylake-X (192 steps did not), and
//! the multiples of 32 channels under a 3 x 3 kernel are whole blocks.

use std::arch::x86_64::{
    __m512 as Vector, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_max_ps, _mm512_min_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_storeu_ps, _mm512_sub_ps,
};

use super::{depthwise::depthwise, micro_kernels, transforms::transforms};

pub(super) const LANES: usize = 16;

micro_kernels! {
    #[target_feature(enable = "avx512f")]
    depth: 144, rows: 1 2 3 4 5 6 7 8 9 10 11 12 13 14
}

transforms! {
    #[target_feature(enable = "avx512f")]
}

depthwise! {
    #[target_feature(enable = "avx512f")]
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn zero() -> Vector {
    _mm512_setzero_ps()
}

/// # Safety
/// `from` can be read at `LANES` places.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: the caller's promise.
    unsafe { _mm512_loadu_ps(from) }
}

/// # Safety
/// `into` can be written at `LANES` places.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn store(into: *mut f32, value: Vector) {
    // SAFETY: the caller's promise.
    unsafe { _mm512_storeu_ps(into, value) }
}

/// # Safety
/// `from` can be read.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn splat(from: *const f32) -> Vector {
    // SAFETY: the caller's promise.
    _mm512_set1_ps(unsafe { *from })
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn constant(value: f32) -> Vector {
    _mm512_set1_ps(value)
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn add(a: Vector, b: Vector) -> Vector {
    _mm512_add_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn subtract(a: Vector, b: Vector) -> Vector {
    _mm512_sub_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
    _mm512_fmadd_ps(a, b, c)
}

/// Not below `low` and not above `high`; NaN stays NaN.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn clamp(low: Vector, value: Vector, high: Vector) -> Vector {
    _mm512_min_ps(high, _mm512_max_ps(low, value)) // of a NaN and another, the second
}
