//! Mean and variance of each channel of an output, gathered block by block while the block is in the cache: as `norm`
//! gathers them from memory, of values less those of the block's first pixel, in f32 for a few pixels and then in f64.

use std::ops::Range;

use crate::lanes::per_isa;
use crate::norm::merge;
use crate::parallel::SharedMut;
use crate::scratch::{DoubleScratch, Scratch};
use crate::{Element, Isa};

/// Where tasks leave what they measured: `[blocks, 2, channels]`, means and sums of squares around them.
#[derive(Clone, Copy)]
pub(crate) struct Gather<'a> {
    blocks: SharedMut<'a, f64>,
    channels: usize,
}

/// Lets `compute` gather what it computes, in blocks of so many pixels each, and combines the blocks in their order.
pub(crate) fn gather(
    pixels: impl ExactSizeIterator<Item = usize>,
    [mean, variance]: [&mut [f32]; 2],
    compute: impl FnOnce(Gather<'_>),
) {
    let channels = mean.len();
    let mut blocks = DoubleScratch::take(pixels.len() * 2 * channels);
    compute(Gather { blocks: SharedMut::new(&mut blocks), channels });
    merge(pixels.zip(blocks.chunks_exact(2 * channels)), mean, variance);
}

/// What a task has seen of some channels of a block.
pub(crate) struct Sums {
    /// The values of the block's first pixel.
    first: Scratch,
    /// Sums of differences from them, then of their squares: of the last few pixels, and of those before.
    fast: Scratch,
    slow: DoubleScratch,
    /// How many pixels are in `fast`, and in both.
    recent: usize,
    pixels: usize,
}

/// Pixels whose sums stay in f32.
const F32_PIXELS: usize = 64;

impl Sums {
    /// Nothing yet, of so many channels.
    pub(crate) fn new(channels: usize) -> Self {
        let fast = Scratch::zeros(2 * channels);
        Self { first: Scratch::take(channels), fast, slow: DoubleScratch::zeros(2 * channels), recent: 0, pixels: 0 }
    }

    /// Adds pixels that lie one after the other.
    pub(crate) fn add<E: Element>(&mut self, isa: Isa, values: &[E]) {
        let channels = self.first.len();
        if self.pixels == 0 && !values.is_empty() {
            self.first.iter_mut().zip(values).for_each(|(first, value)| *first = value.value());
        }
        for values in values.chunks(F32_PIXELS * channels) {
            let pixels = values.len() / channels;
            if self.recent + pixels > F32_PIXELS {
                self.settle();
            }
            add_pixels(isa, values, &self.first, &mut self.fast);
            self.recent += pixels;
            self.pixels += pixels;
        }
    }

    fn settle(&mut self) {
        self.slow.iter_mut().zip(&*self.fast).for_each(|(slow, &fast)| *slow += f64::from(fast));
        self.fast.fill(0.0);
        self.recent = 0;
    }

    /// Leaves what was seen of `channels` as those of a block.
    ///
    /// # Safety
    /// No other task has these channels of this block.
    pub(crate) unsafe fn deliver(mut self, block: usize, channels: Range<usize>, gather: Gather<'_>) {
        self.settle();
        let start = block * 2 * gather.channels;
        let places = [start, start + gather.channels].map(|start| start + channels.start..start + channels.end);
        // SAFETY: the caller's promise.
        let [means, squares] = places.map(|place| unsafe { gather.blocks.range(place) });
        let count = self.pixels.max(1) as f64;
        let (sums, square_sums) = self.slow.split_at(channels.len());
        for (index, (mean, square)) in means.iter_mut().zip(squares).enumerate() {
            *mean = f64::from(self.first[index]) + sums[index] / count;
            *square = square_sums[index] - sums[index] * sums[index] / count;
        }
    }
}

per_isa!(fn add_pixels<E> = add_pixels_body(values: &[E], first: &[f32], sums: &mut [f32]));

#[inline(always)]
fn add_pixels_body<const M: bool, E: Element>(values: &[E], first: &[f32], sums: &mut [f32]) {
    // Four pixels at a time take a quarter of the loads and stores of sums.
    let mut groups = values.chunks_exact(4 * first.len());
    for group in &mut groups {
        add_group::<E, 4>(group, first, sums);
    }
    for pixel in groups.remainder().chunks_exact(first.len()) {
        add_group::<E, 1>(pixel, first, sums);
    }
}

#[inline(always)]
fn add_group<E: Element, const P: usize>(values: &[E], first: &[f32], sums: &mut [f32]) {
    let channels = first.len();
    let pixels: [&[E]; P] = std::array::from_fn(|pixel| &values[pixel * channels..][..channels]);
    let (sums, squares) = sums.split_at_mut(channels);
    let squares = &mut squares[..channels];
    for channel in 0..channels {
        let (mut sum, mut square) = (0.0, 0.0);
        for pixel in pixels {
            let difference = pixel[channel].value() - first[channel];
            sum += difference;
            square += difference * difference;
        }
        sums[channel] += sum;
        squares[channel] += square;
    }
}
