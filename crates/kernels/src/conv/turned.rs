//! What the gradient of a convolution's input needs: phases of the stride, and the weights turned round.

use std::ops::Range;

use crate::ConvShape;
use crate::gemm::{Right, transpose};
use crate::scratch::Scratch;

/// The input's pixels `first, first + stride, ..` along one axis, and the part of the kernel that reaches them.
///
/// Output pixel o, kernel place t and input pixel i belong together when `o stride + t dilation = i + padding`. With the
/// greatest common divisor d of stride and dilation, all t of one phase are `first_tap + j stride / d`, and then
/// `o = (i + padding - first_tap dilation) / stride - j dilation / d`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Phase {
    pub(super) first: usize,
    pub(super) pixels: usize,
    /// The first place of the kernel in this phase, and how far the next one is.
    pub(super) first_tap: usize,
    pub(super) tap_step: usize,
    /// How many places of the kernel there are in it.
    pub(super) taps: usize,
    /// Output pixels from one of them to the next.
    pub(super) dilation: usize,
    /// The output pixel that the last of them meets at the first input pixel.
    pub(super) origin: isize,
}

impl Phase {
    /// The place of the kernel that is `place`th in reverse.
    pub(super) fn tap(&self, place: usize) -> usize {
        self.first_tap + self.tap_step * (self.taps - 1 - place)
    }
}

/// The phases of rows and columns that have pixels.
pub(super) fn phases(shape: &ConvShape) -> impl Iterator<Item = [Phase; 2]> {
    let ConvShape { stride, dilation, kernel, padding, height, width, .. } = *shape;
    let divisor = greatest_common_divisor(stride, dilation);
    let (tap_step, dilation_out) = (stride / divisor, dilation / divisor);
    let axis = move |size: usize, kernel: usize, padding: usize| {
        (0..stride.min(size)).map(move |first| {
            let place = first + padding;
            let first_tap = (0..tap_step).find(|tap| tap * dilation % stride == place % stride).unwrap_or(kernel);
            let taps = kernel.saturating_sub(first_tap).div_ceil(tap_step);
            // Exact where there is a tap.
            let meets = (place as isize - (first_tap * dilation) as isize) / stride as isize;
            let origin = meets - (taps.saturating_sub(1) * dilation_out) as isize;
            let pixels = (size - first).div_ceil(stride);
            Phase { first, pixels, first_tap, tap_step, taps, dilation: dilation_out, origin }
        })
    };
    let rows = axis(height, kernel[0], padding.top);
    rows.flat_map(move |row| axis(width, kernel[1], padding.left).map(move |column| [row, column]))
}

/// Where pixel `pixel` of a phase starts in the gradient of the input, all images counted.
pub(super) fn place(shape: &ConvShape, rows: &Phase, columns: &Phase, pixel: usize) -> usize {
    let (x, y) = (pixel % columns.pixels, pixel / columns.pixels % rows.pixels);
    let image = pixel / columns.pixels / rows.pixels;
    let (row, column) = (rows.first + y * shape.stride, columns.first + x * shape.stride);
    ((image * shape.height + row) * shape.width + column) * shape.in_channels
}

/// The weights of one phase of a depthwise convolution as those of a convolution: kernel places in reverse, x channels.
pub(super) fn depthwise_weights(shape: &ConvShape, weights: &[f32], rows: &Phase, columns: &Phase) -> Scratch {
    let channels = shape.in_channels;
    let mut turned = Scratch::take(rows.taps * columns.taps * channels);
    for (place, into) in turned.chunks_exact_mut(channels).enumerate() {
        let (row, column) = (rows.tap(place / columns.taps), columns.tap(place % columns.taps));
        into.copy_from_slice(&weights[(row * shape.kernel[1] + column) * channels..][..channels]);
    }
    turned
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The weights of one phase as a right operand: kernel places in reverse, then output channels, x input channels. Of a
/// group, `weights` starts at its first output channel.
pub(super) struct Weights<'a> {
    pub(super) shape: &'a ConvShape,
    pub(super) weights: &'a [f32],
    pub(super) row_phase: Phase,
    pub(super) column_phase: Phase,
}

impl Weights<'_> {
    /// Where the `[in_channels, out_channels]` of a place of this phase start.
    fn tap(&self, tap: usize) -> usize {
        let ConvShape { kernel, in_channels, out_channels, groups, .. } = *self.shape;
        let row = self.row_phase.tap(tap / self.column_phase.taps);
        let column = self.column_phase.tap(tap % self.column_phase.taps);
        (row * kernel[1] + column) * (in_channels / groups) * out_channels
    }
}

impl Right for Weights<'_> {
    fn pack(&self, steps: Range<usize>, columns: Range<usize>, width: usize, panel: usize, panels: &mut [f32]) {
        let (all, outs) = (self.shape.out_channels, self.shape.out_channels / self.shape.groups);
        let mut step = steps.start;
        while step < steps.end {
            let (tap, channel) = (step / outs, step % outs);
            let count = (outs - channel).min(steps.end - step);
            let from = self.tap(tap) + channel;
            for (number, first) in columns.clone().step_by(width).enumerate() {
                let into = &mut panels[number * panel + (step - steps.start) * width..];
                transpose(&self.weights[from + first * all..], all, width.min(columns.end - first), count, width, into);
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
        let even = Phase { first: 0, pixels: 3, first_tap: 1, tap_step: 2, taps: 1, dilation: 1, origin: 0 };
        let odd = Phase { first: 1, pixels: 2, first_tap: 0, taps: 2, ..even };
        assert_eq!(rows, [even, odd]);
        // with a dilation of 2 all places of the kernel meet the odd pixels, and none the even ones
        let rows: Vec<Phase> = phases(&shape.with_dilation(2).expect("a shape")).map(|[row, _]| row).collect();
        let even =
            Phase { first: 0, pixels: 3, first_tap: 3, tap_step: 1, taps: 0, dilation: 1, origin: rows[0].origin };
        let odd = Phase { first: 1, pixels: 2, first_tap: 0, tap_step: 1, taps: 3, dilation: 1, origin: -1 };
        assert_eq!(rows, [even, odd]);
    }
}
