//! Plain arrays that the compiler turns into whatever vectors its target has: SSE2 on x86-64.

use super::{depthwise::depthwise, micro_kernels, transforms::transforms};

const LANES: usize = 4;

type Vector = [f32; LANES];

micro_kernels! { depth: 256, rows: 1 2 3 4 }

transforms! {}

depthwise! {}

#[inline(always)]
fn zero() -> Vector {
    [0.0; LANES]
}

/// # Safety
/// `from` can be read at `LANES` places.
#[inline(always)]
unsafe fn load(from: *const f32) -> Vector {
    // SAFETY: the caller's promise.
    unsafe { from.cast::<Vector>().read_unaligned() }
}

/// # Safety
/// `into` can be written at `LANES` places.
#[inline(always)]
unsafe fn store(into: *mut f32, value: Vector) {
    // SAFETY: the caller's promise.
    unsafe { into.cast::<Vector>().write_unaligned(value) }
}

/// # Safety
/// `from` can be read.
#[inline(always)]
unsafe fn splat(from: *const f32) -> Vector {
    // SAFETY: the caller's promise.
    [unsafe { *from }; LANES]
}

#[inline(always)]
fn constant(value: f32) -> Vector {
    [value; LANES]
}

#[inline(always)]
fn add(a: Vector, b: Vector) -> Vector {
    std::array::from_fn(|lane| a[lane] + b[lane])
}

#[inline(always)]
fn subtract(a: Vector, b: Vector) -> Vector {
    std::array::from_fn(|lane| a[lane] - b[lane])
}

#[inline(always)]
fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
    std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
}

/// Not below `low` and not above `high`; NaN stays NaN.
#[inline(always)]
fn clamp(low: Vector, value: Vector, high: Vector) -> Vector {
    let bounded: Vector = std::array::from_fn(|lane| if value[lane] < low[lane] { low[lane] } else { value[lane] });
    std::array::from_fn(|lane| if bounded[lane] > high[lane] { high[lane] } else { bounded[lane] })
}
