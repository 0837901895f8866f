//! The gradient of the weights: tiles of the input times tiles of the output's gradient, both transformed, summed over
//! all tiles plane by plane, and transformed back once.

use std::ops::Range;

use super::tiles::{Planes, Tiles, Writing};
use crate::arch::{Grid, MicroKernel, Transforms, Words};
use crate::gemm::{Block, Panels, Target, add_chunks, multiply, wanted_tasks};
use crate::parallel::{self, SharedMut};
use crate::scratch::Scratch;
use crate::{ConvShape, Element};

/// The gradient of the weights of a 3 x 3 convolution of stride 1.
pub(crate) struct WeightGradient<'a, E, G> {
    pub(crate) kernel: &'static MicroKernel,
    pub(crate) transforms: &'static Transforms,
    pub(crate) shape: &'a ConvShape,
    pub(crate) input: &'a [E],
    pub(crate) output_gradient: &'a [G],
}

/// Input and output channels of a task at most: their sums take 36 x 32 KiB.
const CHANNELS: [usize; 2] = [64, 128];

/// Tiles in a block: enough that the sums, which every block adds to, are not all that is moved.
const TILES: usize = 72;

/// Chunks of tiles with sums of their own, at most.
const CHUNKS: usize = 16;

/// How the work is cut; it depends on the sizes alone.
struct Cut {
    /// Tiles in a chunk, which has sums of its own.
    chunk: usize,
    /// Input and output channels of a task.
    channels: [usize; 2],
}

impl<E: Element, G: Element> WeightGradient<'_, E, G> {
    pub(crate) fn run(&self, weight_gradient: &mut [f32]) {
        let shape = self.shape;
        let (outputs, size) = (self.transforms.outputs, self.transforms.inputs);
        let out = [shape.out_height(), shape.out_width()];
        let inputs = Tiles {
            image: [shape.height, shape.width],
            channels: shape.in_channels,
            lanes: self.kernel.columns / 2,
            origin: [-(shape.padding.top as isize), -(shape.padding.left as isize)],
            size,
            step: outputs,
            grid: out.map(|pixels| pixels.div_ceil(outputs)),
        };
        let gradients = Tiles { image: out, channels: shape.out_channels, origin: [0; 2], size: outputs, ..inputs };
        let tiles = shape.batch * inputs.grid[0] * inputs.grid[1];
        if tiles == 0 {
            return weight_gradient.fill(0.0);
        }
        let cut = self.cut(tiles);
        let [in_step, out_step] = cut.channels;
        let parts = shape.in_channels.div_ceil(in_step);
        let all_parts = parts * shape.out_channels.div_ceil(out_step);
        let chunks = tiles.div_ceil(cut.chunk);
        let mut sums = Scratch::take((chunks - 1) * shape.weights_len());
        let (shared, shared_sums) = (SharedMut::new(weight_gradient), SharedMut::new(&mut sums));
        parallel::for_each(chunks * all_parts, |task| {
            let (chunk, part) = (task / all_parts, task % all_parts);
            let (first_in, first_out) = (part % parts * in_step, part / parts * out_step);
            let ins = first_in..shape.in_channels.min(first_in + in_step);
            let outs = first_out..shape.out_channels.min(first_out + out_step);
            let range = chunk * cut.chunk..tiles.min((chunk + 1) * cut.chunk);
            let (into, first) = if chunk == 0 { (shared, 0) } else { (shared_sums, (chunk - 1) * shape.weights_len()) };
            // SAFETY: every task has a chunk or channels of its own.
            unsafe { self.compute([&inputs, &gradients], range, [ins, outs], into, first) };
        });
        if chunks > 1 {
            add_chunks(weight_gradient, &sums);
        }
    }

    /// One task: the gradient of the weights between some channels, summed over the tiles `range`. That of all weights
    /// starts at `first`.
    ///
    /// # Safety
    /// Nobody else uses those places of `into` meanwhile.
    unsafe fn compute(
        &self,
        [inputs, gradients]: [&Tiles; 2],
        range: Range<usize>,
        [ins, outs]: [Range<usize>; 2],
        into: SharedMut<'_, f32>,
        first: usize,
    ) {
        let (kernel, count) = (self.kernel, self.transforms.inputs * self.transforms.inputs);
        let block = TILES.min(range.len());
        let Transforms { input, output_gradient, narrow, .. } = self.transforms;
        let writing: [&[_]; 2] = match narrow {
            Some(narrow) if kernel.words == Words::Pairs => [&narrow.paired_input, &narrow.paired_output_gradient],
            _ => [&[*input], &[*output_gradient]],
        };
        let [of_inputs, of_gradients] = writing.map(|transforms| Writing { transforms, channels: 1 });
        let sharing = of_inputs.transforms.len();
        let mut left = Planes::take(self.transforms.inputs, block.div_ceil(sharing), ins.len(), kernel.columns);
        let mut right = Planes::take(self.transforms.inputs, block.div_ceil(sharing), outs.len(), kernel.columns);
        let mut sums = Planes::take(self.transforms.inputs, ins.len(), outs.len(), kernel.columns);
        let (plane, row) = (sums.plane, sums.row);
        for start in range.clone().step_by(block) {
            let tiles = start..range.end.min(start + block);
            inputs.read(self.input, tiles.clone(), ins.clone(), of_inputs, &mut left);
            gradients.read(self.output_gradient, tiles.clone(), outs.clone(), of_gradients, &mut right);
            let shared = SharedMut::new(&mut sums.values);
            for number in 0..count {
                let values = &left.values[number * left.plane..];
                let turned = Block { values, tile: kernel.rows, row: 1, step: left.row };
                let values = &right.values[number * right.plane..];
                let panels = Panels { values, panel: kernel.columns, step: right.row };
                let accumulate = start > range.start;
                let target = Target { c: shared, first: number * plane, row, bias: &[], accumulate };
                // SAFETY: the sums are this task's own.
                unsafe {
                    multiply(kernel, [ins.len(), outs.len(), tiles.len().div_ceil(sharing)], turned, panels, target)
                };
            }
        }
        // SAFETY: the caller's promise.
        unsafe { self.deliver(&sums, [ins, outs], into, first) };
    }

    /// Transforms the sums back to the gradient of the weights.
    ///
    /// # Safety
    /// As for `compute`.
    unsafe fn deliver(&self, sums: &Planes, [ins, outs]: [Range<usize>; 2], into: SharedMut<'_, f32>, first: usize) {
        let (lanes, width) = (self.kernel.columns / 2, outs.len());
        let mut narrow = Scratch::take(if width < lanes { 9 * lanes } else { 0 });
        for (index, channel) in ins.enumerate() {
            let place = |tap: usize| {
                let start = first + (tap * self.shape.in_channels + channel) * self.shape.out_channels;
                start + outs.start..start + outs.end
            };
            // `pointer` checks that the last of the values is in the buffer.
            let _ = into.pointer(place(8).end);
            let (start, step) = if width < lanes {
                (narrow.as_mut_ptr(), lanes)
            } else {
                (into.pointer(place(0).start), place(1).start - place(0).start)
            };
            let rows = std::array::from_fn(|row| start.wrapping_add(row * 3 * step));
            let taps = Grid { rows, step, inside: [0, 3], outside: start };
            // SAFETY: every row of the sums and every place has as many values as `outs`, or a vector where that is
            // more; nobody else uses them, by the caller's promise.
            unsafe { (self.transforms.weight_gradient)(&sums.tile(index), &taps, width.max(lanes)) };
            if width < lanes {
                for tap in 0..9 {
                    // SAFETY: the caller's promise.
                    unsafe { into.range(place(tap)) }.copy_from_slice(&narrow[tap * lanes..][..width]);
                }
            }
        }
    }

    fn cut(&self, tiles: usize) -> Cut {
        let (ins, outs) = (self.shape.in_channels, self.shape.out_channels);
        let even = |channels: usize, most: usize| channels.div_ceil(channels.div_ceil(most)).next_multiple_of(8);
        let channels = [even(ins, CHANNELS[0]), even(outs, CHANNELS[1])];
        let parts = ins.div_ceil(channels[0]) * outs.div_ceil(channels[1]);
        let planes = self.transforms.inputs * self.transforms.inputs;
        let wanted = wanted_tasks(planes.saturating_mul(tiles).saturating_mul(ins * outs));
        let chunks = wanted.div_ceil(parts).min(tiles.div_ceil(2 * TILES)).min(CHUNKS);
        Cut { chunk: tiles.div_ceil(chunks).next_multiple_of(8), channels }
    }
}
