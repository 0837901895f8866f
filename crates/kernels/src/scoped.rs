//! What a thread has chosen, for the time of a closure.

use std::cell::Cell;
use std::thread::LocalKey;

/// Runs `work` with `value` in `cell`, and puts back what was there, also when it panics.
pub(crate) fn within<T: Copy, R>(cell: &'static LocalKey<Cell<T>>, value: T, work: impl FnOnce() -> R) -> R {
    struct Restore<T: Copy + 'static>(&'static LocalKey<Cell<T>>, T);
    impl<T: Copy> Drop for Restore<T> {
        fn drop(&mut self) {
            self.0.set(self.1);
        }
    }
    let _restore = Restore(cell, cell.replace(value));
    work()
}
