//! Convolutions, and with turned weights the gradients of their inputs.

use std::ops::Range;

use super::super::epilogue::{Epilogue, Region};
use super::super::patches::Patches;
use super::super::statistics::gather;
use super::{channel_blocks, taps_inside};
use crate::Activation;
use crate::arch::{DEPTHWISE_COLUMNS, Depthwise, DepthwiseFn, DepthwiseTile, PIXELS};
use crate::gemm::wanted_tasks;
use crate::parallel::{self, CHUNK, SharedMut};

/// `patches` times the weights of their channels, and an epilogue.
pub(crate) struct Convolution<'a> {
    pub(crate) kernels: &'static Depthwise,
    pub(crate) batch: usize,
    pub(crate) patches: Patches<'a>,
    /// `[kernel_height, kernel_width, channels]`, of all channels of the outputs.
    pub(crate) weights: &'a [f32],
    pub(crate) epilogue: Epilogue<'a>,
    pub(crate) outputs: Outputs,
}

/// Which pixels of the images that are written the outputs are: the row and column of the first, and how far the next.
/// Which channels: that of the first of the patches, among so many.
#[derive(Clone, Copy)]
pub(crate) struct Outputs {
    pub(crate) image: [usize; 2],
    pub(crate) first: [usize; 2],
    pub(crate) step: usize,
    pub(crate) channels: [usize; 2],
}

/// Multiplications of a matrix product that have the time of one here.
const SLOWER: usize = 2;

impl Convolution<'_> {
    /// Overwrites the outputs, and `statistics`, the mean and variance of their channels, where they are wanted.
    pub(crate) fn run(&self, output: &mut [f32], statistics: Option<[&mut [f32]; 2]>) {
        let Some(statistics) = statistics else { return self.compute_all(output) };
        let (all, rows, width) = (self.rows(), self.rows_in_task(), self.patches.out[1]);
        let blocks = (0..all.div_ceil(rows)).map(|block| rows.min(all - block * rows) * width);
        gather(blocks, statistics, |gather| {
            let epilogue = Epilogue { gather: Some(gather), ..self.epilogue };
            Convolution { epilogue, ..*self }.compute_all(output);
        });
    }

    fn compute_all(&self, output: &mut [f32]) {
        let (all, rows) = (self.rows(), self.rows_in_task());
        self.check(output.len());
        let output = SharedMut::new(output);
        parallel::for_each(all.div_ceil(rows), |block| {
            // SAFETY: every task has rows of its own.
            unsafe { self.compute_rows(block, block * rows..all.min((block + 1) * rows), output) };
        });
    }

    /// Overwrites the outputs on this thread alone.
    ///
    /// # Safety
    /// Nobody else uses those outputs meanwhile.
    pub(crate) unsafe fn run_here(&self, output: SharedMut<'_, f32>) {
        self.check(output.len());
        // SAFETY: the caller's promise.
        unsafe { self.compute_rows(0, 0..self.rows(), output) };
    }

    fn check(&self, output: usize) {
        let Outputs { image: [height, width], first, step, channels: [channel, all] } = self.outputs;
        let (patches, channels) = (&self.patches, self.patches.channels);
        let last = |axis: usize| first[axis] + patches.out[axis].saturating_sub(1) * step;
        assert!(last(0) < height && last(1) < width && output == self.batch * height * width * all);
        assert!(patches.images.len() == self.batch * patches.height * patches.width * channels);
        assert!(self.weights.len() == patches.kernel[0] * patches.kernel[1] * all && channel + channels <= all);
    }

    /// Some rows of outputs and their epilogue, after [`Self::check`]. With an epilogue, the outputs are all of the pixels.
    ///
    /// # Safety
    /// Nobody else uses those outputs meanwhile.
    unsafe fn compute_rows(&self, block: usize, rows: Range<usize>, output: SharedMut<'_, f32>) {
        let (bounds, epilogue) = self.split_epilogue();
        // SAFETY: the caller's promise.
        unsafe { self.compute(rows.clone(), bounds, output) };
        let (width, [channel, all]) = (self.patches.out[1], self.outputs.channels);
        let channels = channel..channel + self.patches.channels;
        let region = Region { first: rows.start * width * all, rows: 1, columns: rows.len() * width, row: 0 };
        // SAFETY: as above.
        unsafe { epilogue.finish(block, std::iter::once(region), channels, all, output) };
    }

    /// The bounds that make an activation, and what else is left to do after bias, residual and bounds.
    fn split_epilogue(&self) -> ([f32; 2], Epilogue<'_>) {
        let bounds = self.epilogue.activation.bounds();
        let activation = if bounds.is_some() { Activation::Identity } else { self.epilogue.activation };
        let bounds = bounds.unwrap_or([-f32::INFINITY, f32::INFINITY]);
        (bounds, Epilogue { bias: None, residual: None, activation, ..self.epilogue })
    }

    /// Rows of outputs, counted over all images, as far as the kernels bring them.
    ///
    /// # Safety
    /// Nobody else uses those outputs meanwhile.
    unsafe fn compute(&self, rows: Range<usize>, bounds: [f32; 2], output: SharedMut<'_, f32>) {
        let patches = &self.patches;
        let [height, width] = patches.out;
        let tiles = width.div_ceil(PIXELS);
        let kernels = self.kernels();
        let pixels =
            self.seen(width.div_ceil(tiles)) * patches.kernel[0] + patches.kernel[0] * patches.kernel[1] + PIXELS;
        let mut inside = Vec::with_capacity(patches.kernel[1]);
        let mut next = rows.start;
        while next < rows.end {
            let image = next / height;
            let here = next % height..height.min(rows.end - image * height);
            for channels in channel_blocks(patches.channels, pixels) {
                for tile in 0..tiles {
                    let columns = tile * width / tiles..(tile + 1) * width / tiles;
                    inside.clear();
                    inside.extend((0..patches.kernel[1]).map(|tap| self.outputs_inside(tap, &columns)));
                    for row in here.clone() {
                        // SAFETY: the caller's promise.
                        unsafe { self.tile(kernels, image, row, &columns, &channels, &inside, bounds, output) };
                    }
                }
            }
            next += here.len();
        }
    }

    /// Which of the outputs `columns` have column `tap` of the kernel in the image.
    fn outputs_inside(&self, tap: usize, columns: &Range<usize>) -> [u8; 2] {
        let Patches { stride, dilation, width, origin, .. } = self.patches;
        let first = origin[1] + (columns.start * stride + tap * dilation) as isize;
        // Outputs are to a column of the kernel what its places are to an output.
        let inside = taps_inside(first, stride, columns.len(), width);
        [inside.start as u8, inside.end as u8]
    }

    /// One call of a kernel.
    ///
    /// # Safety
    /// Nobody else uses those outputs meanwhile.
    #[expect(clippy::too_many_arguments, reason = "what a tile is")]
    unsafe fn tile(
        &self,
        kernels: &[DepthwiseFn; PIXELS],
        image: usize,
        row: usize,
        columns: &Range<usize>,
        channels: &Range<usize>,
        inside: &[[u8; 2]],
        bounds: [f32; 2],
        output: SharedMut<'_, f32>,
    ) {
        let Patches { images, height, width, channels: in_all, kernel, stride, dilation, origin, .. } = self.patches;
        let top = origin[0] + (row * stride) as isize;
        let taps = taps_inside(top, dilation, kernel[0], height);
        let left = origin[1] + (columns.start * stride) as isize;
        let seen = taps_inside(left, 1, self.seen(columns.len()), width);
        let first_row = ((image * height) as isize + top) + (taps.start * dilation) as isize;
        let place = (first_row * width as isize + left) * in_all as isize + channels.start as isize;
        let outputs = &self.outputs;
        let [channel, all] = [outputs.channels[0] + channels.start, outputs.channels[1]];
        let written_row = image * outputs.image[0] + outputs.first[0] + row * outputs.step;
        let written = written_row * outputs.image[1] + outputs.first[1] + columns.start * outputs.step;
        let written = written * all + channel;
        let tile = DepthwiseTile {
            channels: channels.len(),
            input: images.as_ptr().wrapping_offset(place),
            input_pixel: stride * in_all,
            input_step: [dilation * in_all, dilation * width * in_all],
            rows: taps.len(),
            inside,
            seen: [seen.start, seen.end],
            weights: self.weights.as_ptr().wrapping_add(taps.start * kernel[1] * all + channel),
            weights_step: all,
            bias: self.epilogue.bias.map_or(std::ptr::null(), |bias| &raw const bias[channel]),
            residual: self.epilogue.residual.map_or(std::ptr::null(), |residual| &raw const residual[written]),
            output: output.pointer(written),
            output_pixel: outputs.step * all,
            bounds,
        };
        // SAFETY: `MicroKernel::of` was given an instruction set of this machine. The rows of the kernel are those in the
        // image, `inside` and `seen` say it of its columns, and images, weights and outputs have the lengths that were asserted;
        // bias and residual have the channels and the shape of the output. The outputs are ours by the caller's promise.
        unsafe { kernels[columns.len() - 1](&tile) };
    }

    /// The kernels for this convolution, by the number of outputs.
    fn kernels(&self) -> &'static [DepthwiseFn; PIXELS] {
        let Patches { kernel, stride, dilation, .. } = self.patches;
        let own = DEPTHWISE_COLUMNS.iter().position(|&columns| columns == kernel[1] && stride == 1 && dilation == 1);
        own.map_or(&self.kernels.tiles, |index| &self.kernels.rows[index])
    }

    /// Columns of pixels under the kernel for so many outputs next to each other.
    fn seen(&self, outputs: usize) -> usize {
        let Patches { kernel, stride, dilation, .. } = self.patches;
        (outputs - 1) * stride + (kernel[1].max(1) - 1) * dilation + 1
    }

    /// Rows of outputs of all images.
    fn rows(&self) -> usize {
        self.batch * self.patches.out[0]
    }

    /// As many rows as keep their outputs in the second-level cache until they are finished, or fewer where there would
    /// be too few tasks.
    fn rows_in_task(&self) -> usize {
        let Patches { out, kernel, channels, .. } = self.patches;
        let row = out[1] * channels;
        let work = self.rows().saturating_mul(row * kernel[0] * kernel[1]);
        let wanted = wanted_tasks(work.saturating_mul(SLOWER));
        self.rows().div_ceil(wanted).min(CHUNK / row).max(1)
    }
}
