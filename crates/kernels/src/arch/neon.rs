//! AArch64's Advanced SIMD: 8 rows of two vectors fill 16 of the 32 registers.

use std::arch::aarch64::{
    float32x4_t as Vector, vaddq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32, vmaxq_f32, vminq_f32, vst1q_f32, vsubq_f32,
};

use super::{depthwise::depthwise, micro_kernels, transforms::transforms};

const LANES: usize = 4;

micro_kernels! {
    #[target_feature(enable = "neon")]
    depth: 256, rows: 1 2 3 4 5 6 7 8
}

transforms! {
    #[target_feature(enable = "neon")]
}

depthwise! {
    #[target_feature(enable = "neon")]
}

#[inline]
#[target_feature(enable = "neon")]
fn zero() -> Vector {
    vdupq_n_f32(0.0)
}

/// # Safety
/// `from` can be read at `LANES` places.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: the caller's promise.
    unsafe { vld1q_f32(from) }
}

/// # Safety
/// `into` can be written at `LANES` places.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store(into: *mut f32, value: Vector) {
    // SAFETY: the caller's promise.
    unsafe { vst1q_f32(into, value) }
}

/// # Safety
/// `from` can be read.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn splat(from: *const f32) -> Vector {
    // SAFETY: the caller's promise.
    vdupq_n_f32(unsafe { *from })
}

#[inline]
#[target_feature(enable = "neon")]
fn constant(value: f32) -> Vector {
    vdupq_n_f32(value)
}

#[inline]
#[target_feature(enable = "neon")]
fn add(a: Vector, b: Vector) -> Vector {
    vaddq_f32(a, b)
}

#[inline]
#[target_feature(enable = "neon")]
fn subtract(a: Vector, b: Vector) -> Vector {
    vsubq_f32(a, b)
}

#[inline]
#[target_feature(enable = "neon")]
fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
    vfmaq_f32(c, a, b)
}

/// Not below `low` and not above `high`; NaN stays NaN.
#[inline]
#[target_feature(enable = "neon")]
fn clamp(low: Vector, value: Vector, high: Vector) -> Vector {
    vminq_f32(high, vmaxq_f32(low, value))
}
