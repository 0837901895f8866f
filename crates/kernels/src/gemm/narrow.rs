//! Operands in bf16: any operand, rounded while it is laid out for the micro-kernels.
//!
//! The unit of a narrow operand is a word, the size of an f32: a rounded number, or two of them, which are two steps of
//! the sum, where the micro-kernel multiplies pairs.

use std::ops::Range;

use super::{Block, Left, Right, scratch_len};
use crate::Isa;
use crate::arch::Words;
use crate::lanes::per_isa;
use crate::scratch::Scratch;

/// An operand whose steps are words of `inner`'s.
pub(super) struct Narrow<'a, T> {
    inner: &'a T,
    /// Steps of `inner`.
    steps: usize,
    words: Words,
    /// The caller's: tasks run on other threads.
    isa: Isa,
}

/// Panels that are laid out in f32 at a time: they stay in the second-level cache until they are rounded.
const TOGETHER: usize = 4;

/// Both operands of a product of so many steps, and how many words those are.
pub(super) fn narrow<'a, L, R>(
    left: &'a L,
    right: &'a R,
    steps: usize,
    words: Words,
) -> (Narrow<'a, L>, Narrow<'a, R>, usize) {
    let isa = Isa::current();
    let (left, right) = (Narrow { inner: left, steps, words, isa }, Narrow { inner: right, steps, words, isa });
    (left, right, steps.div_ceil(words.steps()))
}

impl<T> Narrow<'_, T> {
    fn steps(&self, words: Range<usize>) -> Range<usize> {
        let each = self.words.steps();
        each * words.start..self.steps.min(each * words.end)
    }

    /// Rounds `width` values a step, step after step.
    fn round_steps(&self, from: &[f32], width: usize, into: &mut [f32]) {
        match self.words {
            Words::Whole | Words::Rounded => round(self.isa, from, into),
            Words::Pairs => pair_steps(self.isa, from, width, into),
        }
    }

    /// Rounds a run of steps.
    fn round_run(&self, from: &[f32], into: &mut [f32]) {
        match self.words {
            Words::Whole | Words::Rounded => round(self.isa, from, into),
            Words::Pairs => pair_run(self.isa, from, into),
        }
    }
}

impl<L: Left> Left for Narrow<'_, L> {
    fn block<'s>(
        &'s self,
        rows: Range<usize>,
        words: Range<usize>,
        tile_rows: usize,
        scratch: &'s mut [f32],
    ) -> Block<'s> {
        let (count, depth, steps) = (rows.len(), words.len(), self.steps(words));
        let steps_len = steps.len();
        let mut wide = Scratch::take(scratch_len(count, steps_len, tile_rows));
        let wide = self.inner.block(rows, steps, tile_rows, &mut wide);
        if wide.step == 1 {
            for (row, into) in scratch.chunks_exact_mut(depth.max(1)).take(count).enumerate() {
                let first = row / tile_rows * wide.tile + row % tile_rows * wide.row;
                self.round_run(&wide.values[first..][..steps_len], into);
            }
            return Block { values: scratch, tile: tile_rows * depth, row: depth, step: 1 };
        }
        debug_assert!(wide.row == 1 && wide.step == tile_rows, "blocks lie row after row or step after step");
        for tile in 0..count.div_ceil(tile_rows) {
            let from = &wide.values[tile * wide.tile..][..steps_len * tile_rows];
            self.round_steps(from, tile_rows, &mut scratch[tile * tile_rows * depth..][..tile_rows * depth]);
        }
        Block { values: scratch, tile: tile_rows * depth, row: 1, step: tile_rows }
    }
}

impl<R: Right> Right for Narrow<'_, R> {
    fn pack(&self, words: Range<usize>, columns: Range<usize>, width: usize, panel: usize, panels: &mut [f32]) {
        let (depth, steps) = (words.len(), self.steps(words));
        let wide_panel = width * steps.len();
        let mut wide = Scratch::take(TOGETHER.min(columns.len().div_ceil(width)) * wide_panel);
        for (group, first) in columns.clone().step_by(TOGETHER * width).enumerate() {
            let part = first..columns.end.min(first + TOGETHER * width);
            let count = part.len().div_ceil(width);
            self.inner.pack(steps.clone(), part, width, wide_panel, &mut wide);
            for number in 0..count {
                let into = &mut panels[(group * TOGETHER + number) * panel..][..width * depth];
                self.round_steps(&wide[number * wide_panel..][..wide_panel], width, into);
            }
        }
    }
}

/// The bits of a bf16, to the nearest and ties to even, as the upper half of an f32's; the lower half is 0.
#[inline(always)]
pub(crate) fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    let nearest = bits.wrapping_add(0x7FFF + (bits >> 16 & 1));
    // Rounding could make an infinity of a NaN: those keep their upper half, made quiet.
    (if value.is_nan() { bits | 0x40_0000 } else { nearest }) & 0xFFFF_0000
}

#[inline(always)]
fn word(first: f32, second: f32) -> f32 {
    f32::from_bits(rounded(first) >> 16 | rounded(second))
}

per_isa!(fn round = round_body(from: &[f32], into: &mut [f32]));

#[inline(always)]
fn round_body<const M: bool>(from: &[f32], into: &mut [f32]) {
    into.iter_mut().zip(from).for_each(|(into, &value)| *into = f32::from_bits(rounded(value)));
}

per_isa!(
    /// Word w of `into` is steps 2 w and 2 w + 1 of `from`; a last odd one has a zero beside it.
    fn pair_run = pair_run_body(from: &[f32], into: &mut [f32])
);

#[inline(always)]
fn pair_run_body<const M: bool>(from: &[f32], into: &mut [f32]) {
    let (pairs, last) = from.as_chunks::<2>();
    into.iter_mut().zip(pairs).for_each(|(into, &[first, second])| *into = word(first, second));
    if let ([last], Some(into)) = (last, into.get_mut(pairs.len())) {
        *into = word(*last, 0.0);
    }
}

per_isa!(
    /// The same, with `width` values a step.
    pub(crate) fn pair_steps = pair_steps_body(from: &[f32], width: usize, into: &mut [f32])
);

#[inline(always)]
fn pair_steps_body<const M: bool>(from: &[f32], width: usize, into: &mut [f32]) {
    for (from, into) in from.chunks(2 * width).zip(into.chunks_exact_mut(width)) {
        let (first, second) = from.split_at(width);
        if second.is_empty() {
            into.iter_mut().zip(first).for_each(|(into, &first)| *into = word(first, 0.0));
        }
        let steps = first.iter().zip(second);
        into.iter_mut().zip(steps).for_each(|(into, (&first, &second))| *into = word(first, second));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_to_the_nearest_bf16_and_ties_to_even() {
        let check = |value: f32, expected: f32| assert_eq!(f32::from_bits(rounded(value)), expected, "{value}");
        let step = 1.0 / 128.0; // from 1 to the next bf16
        check(1.0 + 0.5 * step, 1.0);
        check(1.0 + 0.501 * step, 1.0 + step);
        check(1.0 + 1.5 * step, 1.0 + 2.0 * step);
        check(-1.0 - 1.5 * step, -1.0 - 2.0 * step);
        check(f32::MAX, f32::INFINITY);
        check(f32::NEG_INFINITY, f32::NEG_INFINITY);
        assert!(f32::from_bits(rounded(f32::from_bits(0x7F80_0001))).is_nan());
        assert!(f32::from_bits(rounded(f32::from_bits(0xFFFF_FFFF))).is_nan());
    }

    #[test]
    fn words_hold_two_steps_the_first_in_the_lower_half() {
        let halves = |word: f32| [word.to_bits() << 16, word.to_bits() & 0xFFFF_0000].map(f32::from_bits);
        for isa in Isa::available() {
            let mut words = [9.0; 2];
            pair_run(isa, &[1.0, 2.0, 3.0], &mut words);
            assert_eq!(words.map(halves), [[1.0, 2.0], [3.0, 0.0]]);
            let mut words = [9.0; 4];
            pair_steps(isa, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, &mut words);
            assert_eq!(words.map(halves), [[1.0, 3.0], [2.0, 4.0], [5.0, 0.0], [6.0, 0.0]]);
        }
    }
}
