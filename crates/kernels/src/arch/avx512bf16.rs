//! AVX-512 BF16: the tiles of AVX-512; a word of their operands holds two steps of the sum.

use std::arch::x86_64::{
    __m256i, __m512 as Vector, __m512bh, __m512i, _mm256_storeu_si256, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_cvtepu16_epi32, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_or_si512, _mm512_slli_epi32,
};

use super::avx512::{
    self, DEPTHWISE, LANES, add, clamp, constant, input_axis_2, input_axis_4, load, output_gradient_axis_2,
    output_gradient_axis_4, splat, store, zero,
};
use super::transforms::{NarrowTransforms, both_axes};
use super::{Transforms, micro_kernels};

micro_kernels! {
    #[target_feature(enable = "avx512f,avx512bf16")]
    depth: 144, rows: 1 2 3 4 5 6 7 8 9 10 11 12 13 14
}

const TWO: Transforms = Transforms {
    narrow: Some(&NarrowTransforms {
        input: input_2,
        paired_input: [first_input_2, second_input_2],
        paired_output_gradient: [first_output_gradient_2, second_output_gradient_2],
    }),
    ..avx512::TWO
};

const FOUR: Transforms = Transforms {
    narrow: Some(&NarrowTransforms {
        input: input_4,
        paired_input: [first_input_4, second_input_4],
        paired_output_gradient: [first_output_gradient_4, second_output_gradient_4],
    }),
    ..avx512::FOUR
};

both_axes!(
    #[target_feature(enable = "avx512f,avx512bf16")]
    input_2 = input_axis_2, put, edges (true, false): 0 1 2 3 => 0 1 2 3
);
both_axes!(
    #[target_feature(enable = "avx512f,avx512bf16")]
    first_input_2 = input_axis_2, put_first, edges (true, false): 0 1 2 3 => 0 1 2 3
);
both_axes!(
    #[target_feature(enable = "avx512f,avx512bf16")]
    second_input_2 = input_axis_2, put_second, edges (true, false): 0 1 2 3 => 0 1 2 3
);
both_axes!(
    #[target_feature(enable = "avx512f,avx512bf16")]
    first_output_gradient_2 = output_gradient_axis_2, put_first, edges (true, false): 0 1 => 0 1 2 3
);
both_axes!(
    #[target_feature(enable = "avx512f,avx512bf16")]
    second_output_gradient_2 = output_gradient_axis_2, put_second, edges (true, false): 0 1 => 0 1 2 3
);
both_axes!(
    #[target_feature(enable = "avx512f,avx512bf16")]
    input_4 = input_axis_4, put, edges (true, false): 0 1 2 3 4 5 => 0 1 2 3 4 5
);
both_axes!(
    #[target_feature(enable = "avx512f,avx512bf16")]
    first_input_4 = input_axis_4, put_first, edges (true, false): 0 1 2 3 4 5 => 0 1 2 3 4 5
);
both_axes!(
    #[target_feature(enable = "avx512f,avx512bf16")]
    second_input_4 = input_axis_4, put_second, edges (true, false): 0 1 2 3 4 5 => 0 1 2 3 4 5
);
both_axes!(
    #[target_feature(enable = "avx512f,avx512bf16")]
    first_output_gradient_4 = output_gradient_axis_4, put_first, edges (true, false): 0 1 2 3 => 0 1 2 3 4 5
);
both_axes!(
    #[target_feature(enable = "avx512f,avx512bf16")]
    second_output_gradient_4 = output_gradient_axis_4, put_second, edges (true, false): 0 1 2 3 => 0 1 2 3 4 5
);

/// `c`, and for every word the products of both halves of `a` and `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
    // SAFETY: vectors of one size, of which every pattern of bits is a value.
    let [a, b] = unsafe { std::mem::transmute::<[Vector; 2], [__m512bh; 2]>([a, b]) };
    _mm512_dpbf16_ps(c, a, b)
}

/// To the nearest bf16, ties to even.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn rounded(values: Vector) -> __m256i {
    // SAFETY: vectors of one size, of which every pattern of bits is a value.
    unsafe { std::mem::transmute(_mm512_cvtneps_pbh(values)) }
}

/// Channels next to each other in words of two.
///
/// # Safety
/// `place` can be written at `LANES` halves of words from `channel` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn put(place: *mut f32, channel: usize, values: Vector) {
    // SAFETY: the caller's promise.
    unsafe { _mm256_storeu_si256(place.cast::<u16>().wrapping_add(channel).cast(), rounded(values)) };
}

/// The lower halves of words, and 0 for the upper ones.
///
/// # Safety
/// `place` can be written at `LANES` words from `channel` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn put_first(place: *mut f32, channel: usize, values: Vector) {
    let words = _mm512_cvtepu16_epi32(rounded(values));
    // SAFETY: the caller's promise.
    unsafe { store(place.wrapping_add(channel), _mm512_castsi512_ps(words)) };
}

/// The upper halves of words whose lower ones [`put_first`] wrote.
///
/// # Safety
/// `place` can be read and written at `LANES` words from `channel` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn put_second(place: *mut f32, channel: usize, values: Vector) {
    let place = place.wrapping_add(channel);
    let upper: __m512i = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(rounded(values)));
    // SAFETY: the caller's promise.
    unsafe { store(place, _mm512_castsi512_ps(_mm512_or_si512(upper, _mm512_castps_si512(load(place))))) };
}
