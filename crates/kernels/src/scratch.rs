//! Working memory that each thread keeps and uses again: in the steady state nothing is allocated.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// One cache line, so that buffers start on one.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

thread_local! {
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of numbers, aligned to a cache line, that goes back to its thread's store when dropped.
pub(crate) struct Buffer<T> {
    lines: Vec<Line>,
    length: usize,
    /// Whether it goes back to the store.
    lent: bool,
    number: PhantomData<T>,
}

/// A buffer of f32.
pub(crate) type Scratch = Buffer<f32>;

/// A buffer of bf16.
pub(crate) type Halves = Buffer<u16>;

/// A buffer of f64.
pub(crate) type DoubleScratch = Buffer<f64>;

/// Numbers for which every pattern of bits is a value.
///
/// # Safety
/// That must be so, and their alignment may be 64 at most.
pub(crate) unsafe trait Plain: Copy + Default {}

// SAFETY: a float has no invalid pattern of bits, and is aligned to 4 bytes.
unsafe impl Plain for f32 {}
// SAFETY: as above, aligned to 2 bytes.
unsafe impl Plain for u16 {}
// SAFETY: as above, aligned to 8 bytes.
unsafe impl Plain for f64 {}

impl<T: Plain> Buffer<T> {
    /// A buffer of `length` numbers with unspecified (but valid) values.
    pub(crate) fn take(length: usize) -> Self {
        let needed = (length * size_of::<T>()).div_ceil(size_of::<Line>());
        let mut lines = FREE.with_borrow_mut(|free| {
            // The smallest that is large enough, or else the largest, which then grows.
            let enough = (0..free.len()).filter(|&i| free[i].len() >= needed).min_by_key(|&i| free[i].len());
            let chosen = enough.or_else(|| (0..free.len()).max_by_key(|&i| free[i].len()));
            chosen.map(|index| free.swap_remove(index)).unwrap_or_default()
        });
        if lines.len() < needed {
            lines = Vec::new(); // nothing to keep: growing must not copy
            lines.resize(needed, Line([0; 64]));
        }
        Self { lines, length, lent: true, number: PhantomData }
    }

    /// A copy for long use: no larger than it must be, and not of the store.
    pub(crate) fn lasting(&self) -> Self {
        let lines = self.lines[..(self.length * size_of::<T>()).div_ceil(size_of::<Line>())].to_vec();
        Self { lines, length: self.length, lent: false, number: PhantomData }
    }

    /// A buffer of `length` zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let mut scratch = Self::take(length);
        scratch.fill(T::default());
        scratch
    }
}

impl<T: Plain> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the lines lie one after the other and hold at least `length` numbers, as `take` made sure; all their
        // bytes are initialised, which is a value of every `Plain` type, and their alignment is enough for one.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl<T: Plain> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; the lines are borrowed mutably through `self`.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

impl<T> Drop for Buffer<T> {
    fn drop(&mut self) {
        if !self.lent {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        // A thread that is ending has no store any more: the buffer is then freed.
        let _ = FREE.try_with(|free| free.borrow_mut().push(lines));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_and_used_again() {
        let first = Scratch::take(1000);
        let place = first.as_ptr();
        assert_eq!(place as usize % 64, 0);
        assert_eq!(first.len(), 1000);
        drop(first);
        let (small, other) = (Scratch::zeros(17), Scratch::take(5));
        assert_eq!(small.as_ptr(), place);
        assert_ne!(other.as_ptr(), place);
        assert_eq!(*small, [0.0; 17]);
    }
}
