//! What the targets share: sizes out of the fuzzer's bytes, and the comparisons of the kernels' own tests.

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use percept_kernels::Isa;

#[path = "../../crates/kernels/tests/common/mod.rs"]
pub mod common;

/// Sizes out of bytes. When they run out, every answer is the smallest one.
pub struct Choices<'a>(Unstructured<'a>);

impl<'a> Choices<'a> {
    /// Over the fuzzer's bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// From `low` to `high`, both possible.
    pub fn size(&mut self, low: usize, high: usize) -> usize {
        let size: Result<usize> = self.0.int_in_range(low..=high);
        size.unwrap_or(low)
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.size(0, from.len() - 1)]
    }

    /// Yes or no.
    pub fn flip(&mut self) -> bool {
        self.size(0, 1) == 1
    }
}

/// Runs `work` on every instruction set of this machine.
pub fn on_each_isa(work: impl Fn(Isa)) {
    for isa in Isa::available() {
        isa.run(|| work(isa));
    }
}
