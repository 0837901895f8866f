//! The numbers that values between layers are kept in.

use std::fmt::Debug;
use std::ops::Deref;

use crate::Isa;
use crate::arch::{Layouts, Matrix};
use crate::gemm::rounded;
use crate::lanes::per_isa;
use crate::parallel::{CHUNK, SharedMut, for_each_chunk};
use crate::scratch::{Plain, Scratch};

/// A number as memory holds it: f32, or [`Bf16`]. Whatever is computed with it is f32.
#[expect(private_bounds, reason = "sealed: kernels know two kinds of numbers")]
pub trait Element: Copy + Default + Debug + PartialEq + Send + Sync + 'static + Number {
    /// Its value.
    fn value(self) -> f32;

    /// The nearest one, ties to even.
    fn nearest(value: f32) -> Self;

    /// How many f32 have room for so many of them.
    fn words(length: usize) -> usize {
        (length * size_of::<Self>()).div_ceil(size_of::<f32>())
    }

    /// The first `length` that lie in a buffer of f32.
    ///
    /// # Panics
    /// If the buffer is shorter.
    fn of_words(words: &[f32], length: usize) -> &[Self] {
        assert!(Self::words(length) <= words.len(), "{length} numbers in {} words", words.len());
        // SAFETY: the words have room for so many, as was asserted; each pattern of bits is a value of a sealed type, and
        // an f32 is aligned at least as they are.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), length) }
    }

    /// [`Element::of_words`], to write.
    ///
    /// # Panics
    /// If the buffer is shorter.
    fn of_words_mut(words: &mut [f32], length: usize) -> &mut [Self] {
        assert!(Self::words(length) <= words.len(), "{length} numbers in {} words", words.len());
        // SAFETY: as above; every pattern of bits is an f32, too.
        unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), length) }
    }
}

/// The upper half of an f32: its range, with 8 bits of precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

impl Element for f32 {
    #[inline(always)]
    fn value(self) -> f32 {
        self
    }

    #[inline(always)]
    fn nearest(value: f32) -> Self {
        value
    }
}

impl Element for Bf16 {
    #[inline(always)]
    fn value(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)]
    fn nearest(value: f32) -> Self {
        Self((rounded(value) >> 16) as u16)
    }
}

// SAFETY: a u16 has no invalid pattern of bits, and is aligned to 2 bytes.
unsafe impl Plain for Bf16 {}

impl Number for f32 {
    fn layouts(matrix: &Matrix) -> &Layouts<Self> {
        &matrix.wide
    }

    fn as_f32(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }

    fn as_f32_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }

    fn as_f32_shared(values: SharedMut<'_, Self>) -> Option<SharedMut<'_, f32>> {
        Some(values)
    }
}

impl Number for Bf16 {
    fn layouts(matrix: &Matrix) -> &Layouts<Self> {
        &matrix.narrow
    }

    fn as_f32(_: &[Self]) -> Option<&[f32]> {
        None
    }

    fn as_f32_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    fn as_f32_shared(_: SharedMut<'_, Self>) -> Option<SharedMut<'_, f32>> {
        None
    }
}

/// What the kernels need of a number; there are no others.
pub(crate) trait Number: Plain {
    /// What lays out such numbers for products of whole tiles.
    fn layouts(matrix: &Matrix) -> &Layouts<Self>;

    /// The same numbers, where they are f32.
    fn as_f32(values: &[Self]) -> Option<&[f32]>;

    /// [`Number::as_f32`], to write.
    fn as_f32_mut(values: &mut [Self]) -> Option<&mut [f32]>;

    /// [`Number::as_f32`], to write in places of tasks' own.
    fn as_f32_shared(values: SharedMut<'_, Self>) -> Option<SharedMut<'_, f32>>;
}

/// Numbers as f32: where they are not, a copy.
pub(crate) enum Wide<'a> {
    Same(&'a [f32]),
    Copy(Scratch),
}

impl Deref for Wide<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Same(values) => values,
            Self::Copy(values) => values,
        }
    }
}

/// What an algorithm reads that knows f32 only.
pub(crate) fn widened<E: Element>(values: &[E]) -> Wide<'_> {
    if let Some(same) = E::as_f32(values) {
        return Wide::Same(same);
    }
    let (isa, mut copy) = (Isa::current(), Scratch::take(values.len()));
    for_each_chunk(CHUNK, [&mut *copy], [values], |[copy], [values]| widen(isa, values, copy));
    Wide::Copy(copy)
}

/// Lets an algorithm that knows f32 only fill `values`.
pub(crate) fn filled_by<E: Element>(values: &mut [E], compute: impl FnOnce(&mut [f32])) {
    if let Some(same) = E::as_f32_mut(values) {
        return compute(same);
    }
    let (isa, mut wide) = (Isa::current(), Scratch::take(values.len()));
    compute(&mut wide);
    for_each_chunk(CHUNK, [values], [&*wide], |[values], [wide]| narrow(isa, wide, values));
}

per_isa!(fn widen<E> = widen_body(from: &[E], into: &mut [f32]));

#[inline(always)]
fn widen_body<const M: bool, E: Element>(from: &[E], into: &mut [f32]) {
    into.iter_mut().zip(from).for_each(|(into, from)| *into = from.value());
}

per_isa!(pub(crate) fn narrow<E> = narrow_body(from: &[f32], into: &mut [E]));

#[inline(always)]
fn narrow_body<const M: bool, E: Element>(from: &[f32], into: &mut [E]) {
    into.iter_mut().zip(from).for_each(|(into, &from)| *into = E::nearest(from));
}
