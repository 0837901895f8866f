//! The gradient of the weights: for every place of the kernel, inputs times gradients of outputs, summed over all pixels.

use std::ops::Range;

use super::taps_inside;
use crate::ConvShape;
use crate::arch::{Depthwise, DepthwiseTaps, LINE, TAPS};
use crate::gemm::{add_chunks, wanted_tasks};
use crate::parallel::{self, SharedMut};
use crate::scratch::Scratch;

/// The gradient of the weights of a depthwise convolution.
pub(crate) struct WeightGradient<'a> {
    pub(crate) kernels: &'static Depthwise,
    pub(crate) shape: &'a ConvShape,
    pub(crate) input: &'a [f32],
    pub(crate) output_gradient: &'a [f32],
}

/// Chunks of rows with sums of their own, at most.
const CHUNKS: usize = 16;

/// Outputs of a rectangle, at most where it has several rows: their inputs stay in the first-level cache.
const PIXELS: usize = 128;

/// Channels of a task at least: whole cache lines.
const CHANNELS: usize = 2 * LINE;

/// Outputs along an axis that have the same places of the kernel in the image.
struct Band {
    outputs: Range<usize>,
    taps: Range<usize>,
}

impl WeightGradient<'_> {
    pub(crate) fn run(&self, weight_gradient: &mut [f32]) {
        let ConvShape { batch, in_channels: channels, .. } = *self.shape;
        weight_gradient.fill(0.0);
        let rows = batch * self.shape.out_height();
        if rows == 0 {
            return;
        }
        let wanted = wanted_tasks(self.shape.multiply_adds() as usize);
        let chunk = rows.div_ceil(wanted.min(CHUNKS));
        let chunks = rows.div_ceil(chunk);
        let parts = (channels / CHANNELS).clamp(1, wanted.div_ceil(chunks));
        let length = weight_gradient.len();
        let mut sums = Scratch::zeros((chunks - 1) * length);
        let (shared, shared_sums) = (SharedMut::new(weight_gradient), SharedMut::new(&mut sums));
        parallel::for_each(chunks * parts, |task| {
            let (chunk_index, part) = (task / parts, task % parts);
            let rows = chunk_index * chunk..rows.min((chunk_index + 1) * chunk);
            let edge = |part: usize| if part == parts { channels } else { channels * part / parts / LINE * LINE };
            let (into, first) = if chunk_index == 0 { (shared, 0) } else { (shared_sums, (chunk_index - 1) * length) };
            // SAFETY: every task has a chunk or channels of its own.
            unsafe { self.compute(rows, edge(part)..edge(part + 1), into, first) };
        });
        if chunks > 1 {
            add_chunks(weight_gradient, &sums);
        }
    }

    /// One task: some rows of outputs, counted over all images, added to the gradient that starts at `first`.
    ///
    /// # Safety
    /// Nobody else uses these channels of it meanwhile.
    unsafe fn compute(&self, rows: Range<usize>, channels: Range<usize>, into: SharedMut<'_, f32>, first: usize) {
        let ConvShape { height, width, kernel, padding, .. } = *self.shape;
        let [out_height, out_width] = [self.shape.out_height(), self.shape.out_width()];
        let (tall, all_columns) = ((PIXELS / out_width).max(1), 0..out_width);
        let mut next = rows.start;
        while next < rows.end {
            let image = next / out_height;
            let here = next % out_height..out_height.min(rows.end - image * out_height);
            next += here.len();
            for row_band in self.bands(here, kernel[0], padding.top, height, tall) {
                for column_band in self.bands(all_columns.clone(), kernel[1], padding.left, width, usize::MAX) {
                    // SAFETY: the caller's promise.
                    unsafe { self.rectangle(image, &row_band, &column_band, &channels, into, first) };
                }
            }
        }
    }

    /// Cuts `outputs` along an axis into bands of at most `most`.
    fn bands(
        &self,
        outputs: Range<usize>,
        kernel: usize,
        padding: usize,
        size: usize,
        most: usize,
    ) -> impl Iterator<Item = Band> {
        let ConvShape { stride, dilation, .. } = *self.shape;
        let taps =
            move |output: usize| taps_inside((output * stride) as isize - padding as isize, dilation, kernel, size);
        let mut next = outputs.start;
        std::iter::from_fn(move || {
            let start = next;
            let inside = (start < outputs.end).then(|| taps(start))?;
            while next < outputs.end && next - start < most && taps(next) == inside {
                next += 1;
            }
            Some(Band { outputs: start..next, taps: inside })
        })
    }

    /// Adds what the outputs of a row band and a column band have to say.
    ///
    /// # Safety
    /// As for `compute`.
    unsafe fn rectangle(
        &self,
        image: usize,
        rows: &Band,
        columns: &Band,
        channels: &Range<usize>,
        into: SharedMut<'_, f32>,
        first: usize,
    ) {
        let ConvShape { height, width, in_channels: all, kernel, stride, padding, dilation, .. } = *self.shape;
        let out_width = self.shape.out_width();
        let output_row = image * self.shape.out_height() + rows.outputs.start;
        let gradient = (output_row * out_width + columns.outputs.start) * all + channels.start;
        let top = (image * height + rows.outputs.start * stride) as isize - padding.top as isize;
        let left = (columns.outputs.start * stride) as isize - padding.left as isize;
        let input = (top * width as isize + left) * all as isize + channels.start as isize;
        // Places of the kernel go in runs: over whole rows of it where all of its columns are inside.
        let whole = columns.taps.len() == kernel[1];
        let (runs, length) =
            if whole { (1, rows.taps.len() * kernel[1]) } else { (rows.taps.len(), columns.taps.len()) };
        for run in 0..runs {
            let start = (rows.taps.start + run) * kernel[1] + columns.taps.start;
            for tap in (start..start + length).step_by(TAPS) {
                let count = TAPS.min(start + length - tap);
                let offset = |index: usize| {
                    let tap = tap + index.min(count - 1);
                    let (row, column) = (tap / kernel[1], tap % kernel[1]);
                    ((row * width + column) * dilation * all) as isize
                };
                let offsets: [isize; TAPS] = std::array::from_fn(offset);
                let sums = first + tap * all + channels.start;
                // `pointer` checks that the last of the values is in the buffer.
                let _ = into.pointer(first + (tap + count - 1) * all + channels.end);
                let taps = DepthwiseTaps {
                    channels: channels.len(),
                    size: [rows.outputs.len(), columns.outputs.len()],
                    input: self.input.as_ptr().wrapping_offset(input),
                    input_step: [stride * width * all, stride * all],
                    offsets: &offsets,
                    gradient: &raw const self.output_gradient[gradient],
                    gradient_step: [out_width * all, all],
                    sums: into.pointer(sums),
                    sums_step: all,
                };
                // SAFETY: the places of the kernel are those that are in the image for all outputs of the rectangle, and
                // the slices have the lengths of the shape. The sums are ours by the caller's promise.
                unsafe { self.kernels.taps[count - 1](&taps) };
            }
        }
    }
}
