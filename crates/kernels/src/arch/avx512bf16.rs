//! AVX-512 BF16: the tiles of AVX-512; a word of their operands holds two steps of the sum.

use std::arch::x86_64::{__m512 as Vector, __m512bh, _mm512_dpbf16_ps};

use super::avx512::{DEPTHWISE, FOUR, LANES, TWO, add, clamp, constant, load, splat, store, zero};
use super::micro_kernels;

micro_kernels! {
    #[target_feature(enable = "avx512f,avx512bf16")]
    depth: 144, rows: 1 2 3 4 5 6 7 8 9 10 11 12 13 14
}

/// `c`, and for every word the products of both halves of `a` and `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
    // SAFETY: vectors of one size, of which every pattern of bits is a value.
    let [a, b] = unsafe { std::mem::transmute::<[Vector; 2], [__m512bh; 2]>([a, b]) };
    _mm512_dpbf16_ps(c, a, b)
}
