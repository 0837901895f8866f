//! Products of whole matrix tiles in bf16, where a processor has an instruction for them, and what lays out their
//! operands. The portable functions say what each of them does; they are for tests, and slow.

use crate::{Bf16, Element};

/// Rows and columns of a tile of C.
pub(crate) const MATRIX_SIDE: usize = 32;

/// Steps of the sum that a tile's product takes at a time.
pub(crate) const MATRIX_STEPS: usize = 32;

/// Positions whose values are laid out at a time.
pub(crate) const POSITIONS: usize = 32;

/// The operands of one product: a tile of `C = A B` of [`MATRIX_SIDE`] rows and columns.
#[derive(Clone, Copy)]
pub(crate) struct MatrixTile<'a> {
    /// The first value of A, which are bf16; a row's steps lie next to each other.
    pub(crate) a: *const u16,
    /// From one row of A to the next.
    pub(crate) a_row: usize,
    /// Where in a row of A the runs of its steps begin.
    pub(crate) runs: &'a [usize],
    /// A run has so many times [`MATRIX_STEPS`] steps.
    pub(crate) blocks: usize,
    /// B: for every two steps, pairs of their bf16 for each column.
    pub(crate) b: *const u32,
    /// Whether the tile is added to what C holds.
    pub(crate) accumulate: bool,
    /// C: a row after the other.
    pub(crate) c: *mut f32,
}

/// Where the values of [`POSITIONS`] positions begin.
pub(crate) type Sources<E> = [*const E; POSITIONS];

/// How an instruction set multiplies matrix tiles.
pub(crate) struct Matrix {
    /// Whether it is worth laying out operands for it.
    pub(crate) is_native: bool,
    /// Readies the registers of this thread for tiles, which takes as long as some products.
    ///
    /// # Safety
    /// The machine has the instruction set.
    pub(super) begin: unsafe fn(),
    /// Gives them back.
    ///
    /// # Safety
    /// As for `begin`, which came before.
    pub(super) end: unsafe fn(),
    /// Computes a tile.
    ///
    /// # Safety
    /// The registers are ready. `a` can be read at `row * a_row + run + step` for every row, every run and each of its steps, `b` at
    /// `step / 2 * MATRIX_SIDE + column` for every step of all runs, `c` can be read and written at `row * MATRIX_SIDE +
    /// column`, and nobody else uses those places meanwhile.
    pub(super) multiply: unsafe fn(&MatrixTile<'_>),
    /// What lays out values that are to be rounded, and values that are bf16.
    pub(crate) wide: Layouts<f32>,
    pub(crate) narrow: Layouts<Bf16>,
}

/// How values of some positions become operands of tiles.
pub(crate) struct Layouts<E> {
    /// Rounds `channels` values of each position to `position * stride + channel`, with zeros up to `stride`.
    ///
    /// # Safety
    /// Each source can be read at `channels` places, the last argument written at `POSITIONS * stride`.
    pub(crate) rows: unsafe fn(&Sources<E>, usize, usize, *mut u16),
    /// Rounds them to pairs of positions: the pair p of channel c to `c / MATRIX_SIDE * panel + p * MATRIX_SIDE + c %
    /// MATRIX_SIDE`, with zeros for the channels up to the next multiple of [`MATRIX_SIDE`].
    ///
    /// # Safety
    /// Each source can be read at `channels` places, the last argument written at all these.
    pub(crate) pairs: unsafe fn(&Sources<E>, usize, usize, *mut u32),
    /// Rounds them turned, to `channel * stride + position`, with zeros for the channels up to the next multiple of
    /// [`MATRIX_SIDE`].
    ///
    /// # Safety
    /// Each source can be read at `channels` places, the last argument written at all these.
    pub(crate) turned: unsafe fn(&Sources<E>, usize, usize, *mut u16),
}

impl Matrix {
    /// Lets `work` multiply tiles by the function that it is given. No other work may go on meanwhile on this thread.
    ///
    /// # Safety
    /// The function given is called as [`Matrix::multiply`] says.
    pub(crate) unsafe fn products(&self, work: impl FnOnce(&dyn Fn(&MatrixTile<'_>))) {
        /// Gives the registers back even when `work` panics.
        struct Ready<'a>(&'a Matrix);

        impl Drop for Ready<'_> {
            fn drop(&mut self) {
                // SAFETY: `begin` came before.
                unsafe { (self.0.end)() };
            }
        }
        // SAFETY: a matrix is that of an instruction set of this machine.
        unsafe { (self.begin)() };
        let ready = Ready(self);
        // SAFETY: the registers are ready; the rest is the caller's promise.
        work(&|tile| unsafe { (self.multiply)(tile) });
        drop(ready);
    }
}

/// For every machine.
pub(super) const PORTABLE: Matrix = Matrix {
    is_native: false,
    begin: nothing,
    end: nothing,
    multiply,
    wide: Layouts::PORTABLE,
    narrow: Layouts::PORTABLE,
};

impl<E: Element> Layouts<E> {
    const PORTABLE: Self = Self { rows, pairs, turned };
}

unsafe fn nothing() {}

fn wide(half: u32) -> f32 {
    f32::from_bits(half << 16)
}

unsafe fn multiply(tile: &MatrixTile<'_>) {
    for (row, column) in (0..MATRIX_SIDE).flat_map(|row| (0..MATRIX_SIDE).map(move |column| (row, column))) {
        let steps =
            tile.runs.iter().flat_map(|run| (0..tile.blocks * MATRIX_STEPS / 2).map(move |pair| run + 2 * pair));
        let mut sum = 0.0;
        for (pair, step) in steps.enumerate() {
            // SAFETY: the caller's promise.
            let (a, b) = unsafe {
                let a = tile.a.add(row * tile.a_row + step);
                ([*a, *a.add(1)].map(|half| wide(half.into())), *tile.b.add(pair * MATRIX_SIDE + column))
            };
            sum += a[0] * wide(b & 0xFFFF);
            sum += a[1] * wide(b >> 16);
        }
        // SAFETY: as above.
        let c = unsafe { &mut *tile.c.add(row * MATRIX_SIDE + column) };
        *c = if tile.accumulate { *c + sum } else { sum };
    }
}

/// The value of a channel, and 0 behind the last.
///
/// # Safety
/// `source` can be read at `channels` places.
unsafe fn value<E: Element>(source: *const E, channel: usize, channels: usize) -> u16 {
    // SAFETY: the caller's promise.
    if channel < channels { Bf16::nearest(unsafe { *source.add(channel) }.value()).0 } else { 0 }
}

unsafe fn rows<E: Element>(sources: &Sources<E>, channels: usize, stride: usize, into: *mut u16) {
    for (position, &source) in sources.iter().enumerate() {
        for channel in 0..stride {
            // SAFETY: the caller's promise.
            unsafe { *into.add(position * stride + channel) = value(source, channel, channels) };
        }
    }
}

unsafe fn pairs<E: Element>(sources: &Sources<E>, channels: usize, panel: usize, into: *mut u32) {
    for (pair, sources) in sources.chunks_exact(2).enumerate() {
        for channel in 0..channels.next_multiple_of(MATRIX_SIDE) {
            let place = channel / MATRIX_SIDE * panel + pair * MATRIX_SIDE + channel % MATRIX_SIDE;
            // SAFETY: the caller's promise.
            let [first, second] = [0, 1].map(|place| u32::from(unsafe { value(sources[place], channel, channels) }));
            // SAFETY: as above.
            unsafe { *into.add(place) = first | second << 16 };
        }
    }
}

unsafe fn turned<E: Element>(sources: &Sources<E>, channels: usize, stride: usize, into: *mut u16) {
    for (position, &source) in sources.iter().enumerate() {
        for channel in 0..channels.next_multiple_of(MATRIX_SIDE) {
            // SAFETY: the caller's promise.
            unsafe { *into.add(channel * stride + position) = value(source, channel, channels) };
        }
    }
}
