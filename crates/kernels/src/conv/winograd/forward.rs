//! Convolutions, and with turned weights the gradients of their inputs.

use std::ops::Range;

use super::super::epilogue::Epilogue;
use super::super::patches::Patches;
use super::super::statistics::gather;
use super::tiles::{Planes, Tiles, Writing};
use crate::arch::{Grid, LINE, MicroKernel, Transforms, Words};
use crate::gemm::{Block, Panels, Right, Target, multiply, pair_steps, step_blocks, wanted_tasks};
use crate::parallel::{self, SharedMut};
use crate::scratch::Scratch;
use crate::{Element, Isa};

/// `patches` of 3 x 3 at stride 1, times weights, and an epilogue.
pub(crate) struct Convolution<'a, E, R> {
    pub(crate) kernel: &'static MicroKernel,
    pub(crate) transforms: &'static Transforms,
    pub(crate) batch: usize,
    pub(crate) patches: Patches<'a, E>,
    pub(crate) weights: &'a R,
    /// The weights, transformed before.
    pub(crate) transformed: Option<&'a TransformedWeights>,
    pub(crate) epilogue: Epilogue<'a>,
    pub(crate) out_channels: usize,
}

/// Output channels that a block of tiles computes at a time; a multiple of every micro-kernel's columns.
const PASS: usize = 64;

/// Tiles in a block: enough that the weights, which every block reads again, are not what is waited for, few enough that
/// at up to 64 channels the block's planes stay in the second-level cache. From 24 to 96 the times differ little.
const TILES: usize = 48;

/// Tasks that are enough: more would read the weights more often.
const TASKS: usize = 12;

/// Input channels from which on the weights of a block outgrow the caches close by.
const MANY: usize = 256;

/// Bytes of transformed weights that are there at a time, unless a task's are more: what a last-level cache may hold.
const WEIGHT_BYTES: usize = 20 << 20;

/// Input channels whose weights are transformed at a time: nine panels of them stay in the first-level cache.
const WEIGHT_CHANNELS: usize = 32;

/// How the work is cut; it depends on the sizes alone.
struct Cut {
    /// Tiles of all images, and in a block.
    all: usize,
    tiles: usize,
    /// Output channels in a task: a multiple of `PASS`.
    channels: usize,
}

impl Cut {
    fn blocks(&self) -> usize {
        self.all.div_ceil(self.tiles)
    }

    /// The tiles of a block.
    fn range(&self, block: usize) -> Range<usize> {
        block * self.tiles..self.all.min((block + 1) * self.tiles)
    }
}

/// The transformed weights: for each pass of output channels, for each plane, panels of them.
pub(crate) struct TransformedWeights {
    values: Scratch,
    /// The first of the output channels.
    first: usize,
    /// From one plane to the next: of a whole pass.
    plane: usize,
}

impl<E: Element, R: Right> Convolution<'_, E, R> {
    /// Overwrites `output`, and `statistics`, the mean and variance of its channels, where they are wanted.
    pub(crate) fn run<O: Element>(&self, output: &mut [O], statistics: Option<[&mut [f32]; 2]>) {
        let cut = self.cut();
        let Some(statistics) = statistics else { return self.compute_all(&cut, output) };
        let tiles = self.output_tiles();
        let pixels = |block| tiles.regions(cut.range(block)).map(|region| region.rows * region.columns).sum();
        gather((0..cut.blocks()).map(pixels), statistics, |gather| {
            let epilogue = Epilogue { gather: Some(gather), ..self.epilogue };
            Convolution { epilogue, ..*self }.compute_all(&cut, output);
        });
    }

    fn compute_all<O: Element>(&self, cut: &Cut, output: &mut [O]) {
        let blocks = cut.blocks();
        if blocks == 0 {
            return;
        }
        let output = SharedMut::new(output);
        let compute = |channels: Range<usize>, weights: &TransformedWeights| {
            parallel::for_each(blocks * channels.len().div_ceil(cut.channels), |task| {
                let (block, part) = (task % blocks, channels.start + task / blocks * cut.channels);
                let part = part..channels.end.min(part + cut.channels);
                // SAFETY: every task has tiles or channels of its own.
                unsafe { self.compute(block, cut.range(block), part, weights, output) };
            });
        };
        if let Some(weights) = self.transformed {
            return compute(0..self.out_channels, weights);
        }
        let ins = self.patches.channels;
        let bytes = self.planes() * ins * self.out_channels * size_of::<f32>();
        let together = self.out_channels.div_ceil(bytes.div_ceil(WEIGHT_BYTES)).next_multiple_of(cut.channels);
        for first in (0..self.out_channels).step_by(together) {
            let channels = first..self.out_channels.min(first + together);
            let weights = TransformedWeights::new(self.kernel, self.transforms, self.weights, ins, channels.clone());
            compute(channels, &weights);
        }
    }

    /// One task: `channels` of the outputs of a block, of the tiles `range`.
    ///
    /// # Safety
    /// Nobody else uses those outputs meanwhile.
    unsafe fn compute<O: Element>(
        &self,
        block: usize,
        range: Range<usize>,
        channels: Range<usize>,
        weights: &TransformedWeights,
        output: SharedMut<'_, O>,
    ) {
        let (inputs, outputs) = (self.input_tiles(), self.output_tiles());
        let (ins, width, count) = (self.patches.channels, self.kernel.columns, self.planes());
        let writing = match self.transforms.narrow {
            Some(narrow) if self.kernel.words == Words::Pairs => Writing { transforms: &[narrow.input], channels: 2 },
            _ => Writing { transforms: &[self.transforms.input], channels: 1 },
        };
        let words = ins.div_ceil(writing.channels);
        let mut transformed = Planes::take(self.transforms.inputs, range.len(), words, width);
        inputs.read(self.patches.images, range.clone(), 0..ins, writing, &mut transformed);
        let mut products =
            Planes::take(self.transforms.inputs, range.len(), PASS.min(channels.len().next_multiple_of(width)), width);
        for first in channels.clone().step_by(PASS) {
            let pass = first..channels.end.min(first + PASS);
            let (row, plane) = (products.row, products.plane);
            let shared = SharedMut::new(&mut products.values);
            for number in 0..count {
                let start = ((first - weights.first) / PASS * count + number) * weights.plane;
                let ready = &weights.values[start..];
                let left = &transformed.values[number * transformed.plane..];
                let first = number * plane;
                let mut target = Target { c: shared, first, row, bias: &[], accumulate: false };
                let share = [number, number + 1].map(|part| range.start + range.len() * part / count);
                outputs.prefetch(output.pointer(0), share[0]..share[1], &pass);
                if let Some(residual) = self.epilogue.residual {
                    outputs.prefetch(residual.as_ptr(), share[0]..share[1], &pass);
                }
                for steps in step_blocks(words, self.kernel.depth) {
                    let left = Block {
                        values: &left[steps.start..],
                        tile: self.kernel.rows * transformed.row,
                        row: transformed.row,
                        step: 1,
                    };
                    let panels = Panels { values: &ready[steps.start * width..], panel: width * words, step: width };
                    let sizes = [range.len(), pass.len(), steps.len()];
                    // SAFETY: the products are this task's own.
                    unsafe { multiply(self.kernel, sizes, left, panels, target) };
                    target.accumulate = true;
                }
            }
            // SAFETY: the caller's promise.
            unsafe { outputs.write(&products, self.transforms.output, range.clone(), pass, output) };
        }
        // SAFETY: the caller's promise.
        unsafe { self.epilogue.finish(block, outputs.regions(range), channels, self.out_channels, output) };
    }

    fn planes(&self) -> usize {
        self.transforms.inputs * self.transforms.inputs
    }

    fn input_tiles(&self) -> Tiles {
        Tiles {
            image: [self.patches.height, self.patches.width],
            channels: self.patches.channels,
            lanes: self.kernel.columns / 2,
            origin: self.patches.origin,
            size: self.transforms.inputs,
            step: self.transforms.outputs,
            grid: self.patches.out.map(|pixels| pixels.div_ceil(self.transforms.outputs)),
        }
    }

    fn output_tiles(&self) -> Tiles {
        Tiles {
            image: self.patches.out,
            channels: self.out_channels,
            origin: [0; 2],
            size: self.transforms.outputs,
            ..self.input_tiles()
        }
    }

    fn cut(&self) -> Cut {
        let (rows, ins, outs) = (self.kernel.rows, self.patches.channels, self.out_channels);
        let [height, width] = self.output_tiles().grid;
        let tiles = self.batch * height * width;
        let wanted = wanted_tasks(self.planes() * tiles * ins * outs).min(TASKS);
        let (mut block, mut channels) = (TILES.min(tiles).max(1).next_multiple_of(rows), outs.next_multiple_of(PASS));
        while tiles.div_ceil(block) * outs.div_ceil(channels) < wanted {
            // Blocks read all weights of their channels, and tasks that share tiles each transform the input for
            // themselves: of many input channels, that is little beside the weights.
            if channels > 2 * PASS && (ins >= MANY || block <= 4 * rows) {
                channels = (channels / 2).next_multiple_of(PASS);
            } else if block > 4 * rows || channels <= PASS && block > 2 * rows {
                block = (block / 2).next_multiple_of(rows);
            } else if channels > PASS {
                channels = PASS;
            } else {
                break;
            }
        }
        Cut { all: tiles, tiles: block, channels }
    }
}

impl TransformedWeights {
    /// A copy that stays.
    pub(crate) fn lasting(&self) -> Self {
        Self { values: self.values.lasting(), ..*self }
    }

    /// Transforms `weights` between the input channels and some of the output channels.
    pub(crate) fn new(
        kernel: &MicroKernel,
        transforms: &Transforms,
        weights: &impl Right,
        ins: usize,
        outs: Range<usize>,
    ) -> Self {
        let (width, count, in_word) = (kernel.columns, transforms.inputs * transforms.inputs, kernel.words.steps());
        let (words, isa) = (ins / in_word, Isa::current());
        let panels = outs.len().div_ceil(width);
        let in_pass = panels.min(PASS / width);
        // An odd number of lines, as in `Planes`.
        let plane = ((in_pass * width * words).div_ceil(LINE) | 1) * LINE;
        let mut values = Scratch::take(panels.div_ceil(in_pass) * count * plane);
        let shared = SharedMut::new(&mut values);
        let pieces = ins.div_ceil(WEIGHT_CHANNELS);
        parallel::for_each(panels * pieces, |task| {
            let (panel, piece) = (task / pieces, task % pieces * WEIGHT_CHANNELS);
            let channels = piece..ins.min(piece + WEIGHT_CHANNELS);
            let first = outs.start + panel * width;
            let columns = first..outs.end.min(first + width);
            let length = channels.len() * width;
            let mut taps = Scratch::take(9 * length);
            for (tap, part) in taps.chunks_exact_mut(length).enumerate() {
                let steps = tap * ins + channels.start..tap * ins + channels.end;
                weights.pack(steps, columns.clone(), width, length, part);
            }
            let (pass, panel) = (panel / in_pass, panel % in_pass);
            let start = pass * count * plane + panel * width * words + channels.start / in_word * width;
            let size = transforms.inputs;
            // `pointer` checks that the last of the values is in the buffer.
            let _ = shared.pointer(start + (count - 1) * plane + length / in_word);
            let mut whole = Scratch::take(if in_word > 1 { count * length } else { 0 });
            let (place, step) = if in_word > 1 { (whole.as_mut_ptr(), length) } else { (shared.pointer(start), plane) };
            let row = |row: usize| place.wrapping_add(row * size * step);
            let into = Grid { rows: std::array::from_fn(row), step, inside: [0, size], outside: place };
            let row = |row: usize| taps.as_ptr().wrapping_add(row * 3 * length);
            let from = Grid { rows: std::array::from_fn(row), step: length, inside: [0, 3], outside: taps.as_ptr() };
            // SAFETY: each of the nine taps and of the planes has `length` values, at least one panel; no other task
            // has this panel, or this run of channels of it.
            unsafe { (transforms.weights)(&from, &into, length) };
            for (number, values) in whole.chunks_exact(length).enumerate() {
                let place = start + number * plane;
                // SAFETY: as above.
                pair_steps(isa, values, width, unsafe { shared.range(place..place + length / in_word) });
            }
        });
        Self { values, first: outs.start, plane }
    }
}
