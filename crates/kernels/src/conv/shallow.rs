//! Convolutions of images with few channels, as the first layer of a network is one.
//!
//! The values under a row of the kernel lie next to each other, and are the left operand as they lie: a patch is never
//! gathered. Rows of the image are only copied to where there are zeros beside them.

use std::ops::Range;

use super::epilogue::{Epilogue, Region};
use super::patches::{Patches, copy_with_zeros};
use super::statistics::gather;
use crate::arch::MicroKernel;
use crate::element::narrow;
use crate::gemm::{Block, Ending, Panels, Right, Rows, Target, multiply_and_end, padded, wanted_tasks};
use crate::parallel::{self, SharedMut};
use crate::scratch::Scratch;
use crate::{Activation, ConvShape, Element};

/// Channels that are few: with more, gathering a patch takes less than computing with it.
const CHANNELS: usize = 4;

/// Outputs in a row that are worth a product of their own: about a tile of them.
const ROW: usize = 8;

/// Weights that are packed anew for every call: it has to be little beside what is computed with them.
const WEIGHTS: usize = 1 << 14;

/// Values of the image's rows that a task copies at a time, at most but for those of one row: they stay in the first-level
/// cache.
const COPIED: usize = 4096;

/// Whether a convolution is one of these. Their products are made in f32 whatever the precision.
pub(super) fn takes(shape: &ConvShape) -> bool {
    let plain = shape.groups == 1 && shape.dilation == 1;
    let few = (1..=CHANNELS).contains(&shape.in_channels) && shape.weights_len() <= WEIGHTS;
    plain && few && shape.kernel != [1, 1] && shape.out_width() >= ROW
}

/// `patches` of few channels times weights, and an epilogue.
pub(super) struct Convolution<'a> {
    pub(super) kernel: &'static MicroKernel,
    pub(super) batch: usize,
    pub(super) patches: Patches<'a>,
    /// `[kernel_height, kernel_width, in_channels, out_channels]`
    pub(super) weights: &'a [f32],
    pub(super) epilogue: Epilogue<'a>,
    pub(super) out_channels: usize,
}

impl Convolution<'_> {
    /// Overwrites `output`, and `statistics`, the mean and variance of its channels, where they are wanted.
    pub(super) fn run<O: Element>(&self, output: &mut [O], statistics: Option<[&mut [f32]; 2]>) {
        let [height, width] = self.patches.out;
        let bands = self.bands();
        let rows = |task: usize| task % bands * height / bands..(task % bands + 1) * height / bands;
        let compute_all = |epilogue: Epilogue<'_>, output: &mut [O]| {
            let packed = self.pack();
            let output = SharedMut::new(output);
            parallel::for_each(self.batch * bands, |task| {
                let (image, rows) = (task / bands, rows(task));
                let first = (image * height + rows.start) * width * self.out_channels;
                // SAFETY: every task has rows of its own.
                let output = unsafe { output.range(first..first + rows.len() * width * self.out_channels) };
                if let Some(output) = O::as_f32_mut(output) {
                    return self.compute(task, image, rows, &packed, epilogue, output);
                }
                let mut wide = Scratch::take(output.len());
                self.compute(task, image, rows, &packed, epilogue, &mut wide);
                narrow(epilogue.isa, &wide, output);
            });
        };
        let Some(statistics) = statistics else { return compute_all(self.epilogue, output) };
        let pixels = (0..self.batch * bands).map(|task| rows(task).len() * width);
        gather(pixels, statistics, |gather| {
            compute_all(Epilogue { gather: Some(gather), ..self.epilogue }, output);
        });
    }

    /// How many bands of rows an image is cut into.
    fn bands(&self) -> usize {
        let [height, width] = self.patches.out;
        let work = self.patches.places() * width * height * self.out_channels;
        let wanted = wanted_tasks(work.saturating_mul(self.batch)).div_ceil(self.batch.max(1));
        wanted.clamp(1, height.max(1))
    }

    /// The weights in panels, and the bias in whole panels, where there is one.
    fn pack(&self) -> [Scratch; 2] {
        let (width, steps) = (self.kernel.columns, self.patches.places());
        let columns = self.out_channels.next_multiple_of(width);
        let mut panels = Scratch::take(columns * steps);
        Rows { values: self.weights, stride: self.out_channels, copy: false }.pack(
            0..steps,
            0..self.out_channels,
            width,
            width * steps,
            &mut panels,
        );
        [panels, padded(self.epilogue.bias, width)]
    }

    /// Some rows of an image's outputs, as those of a block.
    fn compute(
        &self,
        block: usize,
        image: usize,
        rows: Range<usize>,
        [panels, bias]: &[Scratch; 2],
        epilogue: Epilogue<'_>,
        output: &mut [f32],
    ) {
        let Patches { stride, kernel: [kernel_rows, kernel_columns], channels, out, .. } = self.patches;
        let (outs, width, steps) = (self.out_channels, self.kernel.columns, self.patches.places());
        let (in_kernel_row, pixel) = (kernel_columns * channels, stride * channels);
        let in_row = (out[1].max(1) - 1) * pixel + in_kernel_row;
        let together = (COPIED / in_row).saturating_sub(kernel_rows) / stride + 1;
        let mut copied = Scratch::take(((together - 1) * stride + kernel_rows) * in_row);
        let bounds = epilogue.activation.bounds();
        let first_of = |row: usize| row * out[1] * outs;
        let (output, before) = (SharedMut::new(output), (image * out[0] + rows.start) * out[1] * outs);
        let residual = epilogue.residual.map_or(&[][..], |residual| &residual[before..][..output.len()]);
        let at_last = Ending { residual, bounds };
        for first in rows.clone().step_by(together) {
            let part = first..rows.end.min(first + together);
            self.copy_rows(image, first, (part.len() - 1) * stride + kernel_rows, in_row, &mut copied);
            for (row, kernel_row) in part.clone().flat_map(|row| (0..kernel_rows).map(move |place| (row, place))) {
                let values = &copied[((row - first) * stride + kernel_row) * in_row..];
                let left = Block { values, tile: self.kernel.rows * pixel, row: pixel, step: 1 };
                let values = &panels[kernel_row * in_kernel_row * width..];
                let right = Panels { values, panel: steps * width, step: width };
                let first = first_of(row - rows.start);
                let bias = if kernel_row == 0 { &bias[..] } else { &[] };
                let target = Target { c: output, first, row: outs, bias, accumulate: kernel_row > 0 };
                let ending = if kernel_row + 1 == kernel_rows { at_last } else { Ending::NOTHING };
                // SAFETY: the outputs are borrowed mutably.
                unsafe { multiply_and_end(self.kernel, [out[1], outs, in_kernel_row], left, right, target, ending) };
            }
        }
        // The bias and the residual are there, and what has bounds is cut off.
        let activation = if bounds.is_some() { Activation::Identity } else { epilogue.activation };
        let rest = Epilogue { bias: None, residual: None, activation, ..epilogue };
        let region = Region { first: 0, rows: 1, columns: rows.len() * out[1], row: 0 };
        // SAFETY: as above; no other task has this block.
        unsafe { rest.finish(block, std::iter::once(region), 0..outs, outs, output) };
    }

    /// Copies what the kernel sees of some rows of an image from the output row `first` on, with zeros around it.
    fn copy_rows(&self, image: usize, first: usize, count: usize, in_row: usize, into: &mut [f32]) {
        let Patches { images, height, width, channels, origin, stride, .. } = self.patches;
        let top = origin[0] + (first * stride) as isize;
        for (row, into) in into.chunks_exact_mut(in_row).take(count).enumerate() {
            match usize::try_from(top + row as isize) {
                Ok(y) if y < height => {
                    let from = &images[(image * height + y) * width * channels..][..width * channels];
                    copy_with_zeros(from, origin[1] * channels as isize, into);
                }
                _ => into.fill(0.0),
            }
        }
    }
}
