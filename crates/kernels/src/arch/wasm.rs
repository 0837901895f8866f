//! WebAssembly's fixed-width SIMD: its engines have 16 registers at least, as x86-64 does, of which 6 rows of two vectors
//! fill 12. Multiplications and additions are not fused: relaxed SIMD would do so, but where it is enabled LLVM also takes
//! its minima and maxima, which lose NaN.

use std::arch::wasm32::{
    f32x4_add, f32x4_max, f32x4_min, f32x4_mul, f32x4_splat, f32x4_sub, v128 as Vector, v128_load, v128_store,
};

use super::{depthwise::depthwise, micro_kernels, transforms::transforms};

const LANES: usize = 4;

micro_kernels! {
    #[target_feature(enable = "simd128")]
    depth: 256, rows: 1 2 3 4 5 6
}

transforms! {
    #[target_feature(enable = "simd128")]
}

depthwise! {
    #[target_feature(enable = "simd128")]
}

#[inline]
#[target_feature(enable = "simd128")]
fn zero() -> Vector {
    f32x4_splat(0.0)
}

/// # Safety
/// `from` can be read at `LANES` places.
#[inline]
#[target_feature(enable = "simd128")]
unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: the caller's promise; the instruction asks for no alignment.
    unsafe { v128_load(from.cast()) }
}

/// # Safety
/// `into` can be written at `LANES` places.
#[inline]
#[target_feature(enable = "simd128")]
unsafe fn store(into: *mut f32, value: Vector) {
    // SAFETY: the caller's promise; the instruction asks for no alignment.
    unsafe { v128_store(into.cast(), value) }
}

/// # Safety
/// `from` can be read.
#[inline]
#[target_feature(enable = "simd128")]
unsafe fn splat(from: *const f32) -> Vector {
    // SAFETY: the caller's promise.
    f32x4_splat(unsafe { *from })
}

#[inline]
#[target_feature(enable = "simd128")]
fn constant(value: f32) -> Vector {
    f32x4_splat(value)
}

#[inline]
#[target_feature(enable = "simd128")]
fn add(a: Vector, b: Vector) -> Vector {
    f32x4_add(a, b)
}

#[inline]
#[target_feature(enable = "simd128")]
fn subtract(a: Vector, b: Vector) -> Vector {
    f32x4_sub(a, b)
}

#[inline]
#[target_feature(enable = "simd128")]
fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
    f32x4_add(f32x4_mul(a, b), c)
}

/// Not below `low` and not above `high`; NaN stays NaN.
#[inline]
#[target_feature(enable = "simd128")]
fn clamp(low: Vector, value: Vector, high: Vector) -> Vector {
    f32x4_min(high, f32x4_max(low, value))
}
