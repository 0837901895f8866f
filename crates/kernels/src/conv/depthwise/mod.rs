//! Convolutions whose every channel has a kernel of its own: no matrix product, for each input serves no more than the
//! few places of one kernel. Vectors are channels; the input is read where it lies.
//!
//! Work is cut into runs of rows. Within one, channels are taken so few at a time that what the kernel sees of them
//! stays in the first-level cache from one row to the next.

mod forward;
mod gradient;

pub(super) use forward::{Convolution, Outputs};
pub(super) use gradient::WeightGradient;

use std::ops::Range;

use crate::ConvShape;
use crate::arch::{LINE, MicroKernel};

/// Whether these kernels take a convolution: its channels have to fill a vector.
pub(super) fn takes(shape: &ConvShape, kernel: &MicroKernel) -> bool {
    shape.is_depthwise() && shape.in_channels >= kernel.columns / 2
}

/// Values in a part of the first-level cache that all of today's have.
const CACHE: usize = 24 * 1024 / size_of::<f32>();

/// Cuts channels into runs of which `pixels` stay in the first-level cache; each is a vector at least.
fn channel_blocks(channels: usize, pixels: usize) -> impl Iterator<Item = Range<usize>> {
    let length = (CACHE / pixels / LINE * LINE).max(LINE);
    let count = (channels / length).max(1);
    (0..count).map(move |block| block * length..if block + 1 == count { channels } else { (block + 1) * length })
}

/// The places `0..taps` of a kernel that lie in `0..size`, if its first one lies at `first` and each next one `dilation`
/// further.
fn taps_inside(first: isize, dilation: usize, taps: usize, size: usize) -> Range<usize> {
    let before = |end: isize| if end <= first { 0 } else { ((end - first) as usize).div_ceil(dilation).min(taps) };
    before(0)..before(size as isize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_a_kernel_are_in_the_image_or_not() {
        assert_eq!(taps_inside(-1, 1, 3, 5), 1..3);
        assert_eq!(taps_inside(3, 1, 3, 5), 0..2);
        assert_eq!(taps_inside(-3, 2, 5, 4), 2..4);
        assert!(taps_inside(-9, 1, 3, 5).is_empty() && taps_inside(7, 1, 3, 5).is_empty());
    }

    #[test]
    fn blocks_hold_every_channel_once() {
        for (channels, pixels) in [(16, 1), (17, 10_000), (144, 30), (1152, 55), (100, 90)] {
            let blocks: Vec<_> = channel_blocks(channels, pixels).collect();
            assert!(blocks.iter().all(|block| block.len() >= LINE), "{blocks:?}");
            assert_eq!(blocks.into_iter().flatten().collect::<Vec<_>>(), (0..channels).collect::<Vec<_>>());
        }
    }
}
