//! Buffers for reuse.

/// How many times larger a buffer may be than what is asked for.
const MUCH_LARGER: usize = 16;

/// Free buffers. What is taken holds arbitrary old numbers.
#[derive(Default)]
pub(super) struct Pool(Vec<Vec<f32>>);

impl Pool {
    /// A buffer of `len` numbers for a moment: the smallest free one that holds them, or a new one.
    pub fn take(&mut self, len: usize) -> Vec<f32> {
        // A much larger one is left for whoever needs it.
        self.take_up_to(len, MUCH_LARGER * len)
    }

    /// A buffer of `len` numbers that stays for long: none that is larger, since what it has too much nobody could use.
    pub fn take_for_long(&mut self, len: usize) -> Vec<f32> {
        self.take_up_to(len, len + len / 8)
    }

    fn take_up_to(&mut self, len: usize, most: usize) -> Vec<f32> {
        let fitting = |buffer: &Vec<f32>| (len..=most.max(1024)).contains(&buffer.capacity());
        let places = (0..self.0.len()).filter(|&place| fitting(&self.0[place]));
        let mut buffer = match places.min_by_key(|&place| self.0[place].capacity()) {
            Some(place) => self.0.swap_remove(place),
            None => Vec::with_capacity(len),
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
