//! What the gradient of a convolution's input needs: phases of the stride, and the weights turned round.

use std::ops::Range;

use crate::ConvShape;
use crate::gemm::{Right, transpose};

/// The input's pixels `first, first + stride, ..` along one axis, and the part of the kernel that reaches them.
///
/// Output pixel o, kernel place t and input pixel i belong together when `o stride + t = i + padding`: of one phase,
/// all t are `first_tap + j stride`, and then `o = (i + padding - first_tap) / stride - j`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Phase {
    pub(super) first: usize,
    pub(super) pixels: usize,
    /// The first place of the kernel in this phase.
    pub(super) first_tap: usize,
    /// How many places of the kernel there are in it.
    pub(super) taps: usize,
    /// The output pixel that the last of them meets at the first input pixel.
    pub(super) origin: isize,
}

/// The phases of rows and columns that have pixels.
pub(super) fn phases(shape: &ConvShape) -> impl Iterator<Item = [Phase; 2]> {
    let axis = |size: usize, kernel: usize| {
        let ConvShape { stride, padding, .. } = *shape;
        (0..stride.min(size)).map(move |first| {
            let first_tap = (first + padding) % stride;
            let taps = kernel.saturating_sub(first_tap).div_ceil(stride);
            let origin = ((first + padding) / stride) as isize - taps as isize + 1;
            Phase { first, pixels: (size - first).div_ceil(stride), first_tap, taps, origin }
        })
    };
    let rows = axis(shape.height, shape.kernel[0]);
    rows.flat_map(move |row| axis(shape.width, shape.kernel[1]).map(move |column| [row, column]))
}

/// The weights of one phase as a right operand: kernel places in reverse, then output channels, x input channels.
pub(super) struct Weights<'a> {
    pub(super) shape: &'a ConvShape,
    pub(super) weights: &'a [f32],
    pub(super) row_phase: Phase,
    pub(super) column_phase: Phase,
}

impl Weights<'_> {
    /// Where the `[in_channels, out_channels]` of a place of this phase start.
    fn tap(&self, tap: usize) -> usize {
        let ConvShape { kernel, stride, in_channels, out_channels, .. } = *self.shape;
        let last = |phase: &Phase, place: usize| phase.first_tap + stride * (phase.taps - 1 - place);
        let row = last(&self.row_phase, tap / self.column_phase.taps);
        let column = last(&self.column_phase, tap % self.column_phase.taps);
        (row * kernel[1] + column) * in_channels * out_channels
    }
}

impl Right for Weights<'_> {
    fn pack(&self, steps: Range<usize>, columns: Range<usize>, width: usize, panel: usize, panels: &mut [f32]) {
        let outs = self.shape.out_channels;
        let mut step = steps.start;
        while step < steps.end {
            let (tap, channel) = (step / outs, step % outs);
            let count = (outs - channel).min(steps.end - step);
            let from = self.tap(tap) + channel;
            for (number, first) in columns.clone().step_by(width).enumerate() {
                let into = &mut panels[number * panel + (step - steps.start) * width..];
                transpose(
                    &self.weights[from + first * outs..],
                    outs,
                    width.min(columns.end - first),
                    count,
                    width,
                    into,
                );
            }
            step += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_split_the_pixels_and_the_kernel() {
        let shape = ConvShape::new([1, 5, 1, 1], 1, [3, 1], 2, 1).expect("a shape");
        let rows: Vec<Phase> = phases(&shape).map(|[row, _]| row).collect();
        // padding 1 shifts the even pixels to the kernel's middle, the odd ones to its ends
        let even = Phase { first: 0, pixels: 3, first_tap: 1, taps: 1, origin: 0 };
        let odd = Phase { first: 1, pixels: 2, first_tap: 0, taps: 2, origin: 0 };
        assert_eq!(rows, [even, odd]);
    }
}
