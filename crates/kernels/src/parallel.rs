//! How work is shared out: cut by its size, never by the number of threads, each value written by one task.

use std::marker::PhantomData;
use std::ops::Range;

use rayon::prelude::*;

use crate::team::Sharing;

/// Values in a task of element-wise work: 64 KiB a slice, small enough for the second-level cache.
pub(crate) const CHUNK: usize = 16 * 1024;

/// Runs `task(0)`, `task(1)`, ... on all threads, in any order.
pub(crate) fn for_each(count: usize, task: impl Fn(usize) + Sync + Send) {
    match Sharing::current() {
        Sharing::Pool if count > 1 && rayon::current_num_threads() > 1 => {
            (0..count).into_par_iter().with_max_len(1).for_each(task);
        }
        // SAFETY: the team lives as long as this thread leads it.
        Sharing::Team(team) if count > 1 => unsafe { (*team).run(count, &task) },
        _ => (0..count).for_each(task),
    }
}

/// Runs `task` over chunks of `chunk` values (the last one may be shorter) of slices of one length.
pub(crate) fn for_each_chunk<const W: usize, const R: usize, T: Send, U: Sync>(
    chunk: usize,
    written: [&mut [T]; W],
    read: [&[U]; R],
    task: impl Fn([&mut [T]; W], [&[U]; R]) + Sync + Send,
) {
    let length = written[0].len();
    assert!(written.iter().all(|slice| slice.len() == length) && read.iter().all(|slice| slice.len() == length));
    if length <= chunk {
        return task(written, read);
    }
    let written = written.map(SharedMut::new);
    for_each(length.div_ceil(chunk), |index| {
        let range = index * chunk..length.min((index + 1) * chunk);
        // SAFETY: the ranges of different tasks do not overlap, and lie within slices of `length` values.
        task(written.map(|slice| unsafe { slice.range(range.clone()) }), read.map(|slice| &slice[range.clone()]));
    });
}

/// A slice that tasks write to in places of their own.
pub(crate) struct SharedMut<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

impl<T> Clone for SharedMut<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SharedMut<'_, T> {}

// SAFETY: it stands for a `&mut [T]`; whoever turns parts of it into slices promises that they do not overlap.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), slice: PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// A part of it.
    pub(crate) fn part(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end, "{range:?}");
        let _ = self.pointer(range.end);
        Self { start: self.pointer(range.start), length: range.len(), slice: PhantomData }
    }

    /// The values of `range`.
    ///
    /// # Safety
    /// No value of the range may be in another living slice, nor be written through a pointer meanwhile.
    pub(crate) unsafe fn range(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.length, "{range:?} of {}", self.length);
        // SAFETY: within the slice by the assertion, not aliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// Where the value `index` lies, which must be in the slice or just behind it.
    pub(crate) fn pointer(&self, index: usize) -> *mut T {
        assert!(index <= self.length, "{index} of {}", self.length);
        // SAFETY: within the slice, or one past its end, by the assertion.
        unsafe { self.start.add(index) }
    }
}
