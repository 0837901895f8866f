//! Buffers for reuse.

/// Free buffers. What is taken holds arbitrary old numbers.
#[derive(Default)]
pub(super) struct Pool(Vec<Vec<f32>>);

impl Pool {
    /// A buffer of `len` numbers: the smallest free one that holds them, or a new one.
    pub fn take(&mut self, len: usize) -> Vec<f32> {
        let fitting = self.0.iter().enumerate().filter(|(_, buffer)| buffer.capacity() >= len);
        let mut buffer = match fitting.min_by_key(|(_, buffer)| buffer.capacity()).map(|(index, _)| index) {
            // A much larger one is left for whoever needs it.
            Some(index) if self.0[index].capacity() <= 2 * len + 1024 => self.0.swap_remove(index),
            _ => Vec::with_capacity(len),
        };
        buffer.resize(len, 0.0);
        buffer
    }

    /// Returns a buffer.
    pub fn give(&mut self, buffer: Vec<f32>) {
        if buffer.capacity() > 0 {
            self.0.push(buffer);
        }
    }
}
