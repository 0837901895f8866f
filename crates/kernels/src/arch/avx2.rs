//! AVX2 with FMA: 6 rows of two vectors fill 12 of the 16 registers.

use std::arch::x86_64::{
    __m256 as Vector, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_storeu_ps, _mm256_sub_ps,
};

use super::{depthwise::depthwise, micro_kernels, transforms::transforms};

const LANES: usize = 8;

micro_kernels! {
    #[target_feature(enable = "avx2,fma")]
    depth: 256, rows: 1 2 3 4 5 6
}

transforms! {
    #[target_feature(enable = "avx2,fma")]
}

depthwise! {
    #[target_feature(enable = "avx2,fma")]
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn zero() -> Vector {
    _mm256_setzero_ps()
}

/// # Safety
/// `from` can be read at `LANES` places.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_ps(from) }
}

/// # Safety
/// `into` can be written at `LANES` places.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn store(into: *mut f32, value: Vector) {
    // SAFETY: the caller's promise.
    unsafe { _mm256_storeu_ps(into, value) }
}

/// # Safety
/// `from` can be read.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn splat(from: *const f32) -> Vector {
    // SAFETY: the caller's promise.
    _mm256_set1_ps(unsafe { *from })
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn constant(value: f32) -> Vector {
    _mm256_set1_ps(value)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn add(a: Vector, b: Vector) -> Vector {
    _mm256_add_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn subtract(a: Vector, b: Vector) -> Vector {
    _mm256_sub_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
    _mm256_fmadd_ps(a, b, c)
}

/// Not below `low` and not above `high`; NaN stays NaN.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn clamp(low: Vector, value: Vector, high: Vector) -> Vector {
    _mm256_min_ps(high, _mm256_max_ps(low, value)) // of a NaN and another, the second
}
