//! Convolutions, and with turned weights the gradients of their inputs.

use std::ops::Range;

use super::super::depthwise::Outputs;
use super::super::epilogue::{Epilogue, Region};
use super::super::patches::Patches;
use super::super::statistics::gather;
use super::positions::{Places, Positions};
use crate::arch::{MATRIX_SIDE, MATRIX_STEPS, Matrix, MatrixTile, POSITIONS};
use crate::gemm::{Right, pair_steps, wanted_tasks};
use crate::lanes::per_isa;
use crate::parallel::{self, SharedMut};
use crate::scratch::{Buffer, Halves, Scratch};
use crate::{Element, Isa};

/// `patches` times weights, and an epilogue.
pub(crate) struct Convolution<'a, E, R> {
    pub(crate) matrix: &'static Matrix,
    pub(crate) batch: usize,
    pub(crate) patches: Patches<'a, E>,
    pub(crate) weights: &'a R,
    /// Only of outputs that are all of the pixels.
    pub(crate) epilogue: Epilogue<'a>,
    pub(crate) outputs: Outputs,
}

/// Bytes of a task's pixels and outputs: they stay in the second-level cache until they are finished.
const TASK_BYTES: usize = 1 << 20;

/// Positions that a task has at least, where there are as many: all weights are read for them.
const LEAST: usize = 512;

/// Tasks that are enough.
const TASKS: usize = 16;

/// How the work is cut; it depends on the sizes alone.
struct Cut {
    /// Rows of outputs, of all images, in a task.
    rows: usize,
    /// Output channels in a task, a multiple of [`MATRIX_SIDE`].
    channels: usize,
}

impl<E: Element, R: Right> Convolution<'_, E, R> {
    /// Overwrites the outputs, and `statistics`, the mean and variance of their channels, where they are wanted.
    pub(crate) fn run<O: Element>(&self, output: &mut [O], statistics: Option<[&mut [f32]; 2]>) {
        let cut = self.cut();
        let Some(statistics) = statistics else { return self.compute_all(&cut, output) };
        let (all, width) = (self.rows(), self.patches.out[1]);
        let pixels = (0..all.div_ceil(cut.rows)).map(|block| cut.rows.min(all - block * cut.rows) * width);
        gather(pixels, statistics, |gather| {
            let epilogue = Epilogue { gather: Some(gather), ..self.epilogue };
            Convolution { epilogue, ..*self }.compute_all(&cut, output);
        });
    }

    /// Rows of outputs of all images.
    fn rows(&self) -> usize {
        self.batch * self.patches.out[0]
    }

    fn channels(&self) -> usize {
        self.outputs.channels[1]
    }

    /// Channels of a pixel's copy: whole blocks of steps, and of many channels an odd number of those, so that the rows of
    /// a tile do not share their places in the cache.
    fn stride(&self) -> usize {
        let blocks = self.steps() / MATRIX_STEPS;
        MATRIX_STEPS * if blocks >= 8 { blocks | 1 } else { blocks }
    }

    /// Steps of a sum at each place of the kernel.
    fn steps(&self) -> usize {
        self.patches.channels.next_multiple_of(MATRIX_STEPS)
    }

    fn compute_all<O: Element>(&self, cut: &Cut, output: &mut [O]) {
        let (all, channels) = (self.rows(), self.channels());
        if all == 0 || self.patches.out[1] == 0 {
            return;
        }
        let weights = self.pack();
        let blocks = all.div_ceil(cut.rows);
        let output = SharedMut::new(output);
        parallel::for_each(blocks * channels.div_ceil(cut.channels), |task| {
            let (block, part) = (task % blocks, task / blocks * cut.channels);
            let rows = block * cut.rows..all.min((block + 1) * cut.rows);
            let part = part..channels.min(part + cut.channels);
            // SAFETY: every task has rows or channels of its own.
            unsafe { self.compute(block, rows, part, &weights, output) };
        });
    }

    /// Panels of [`MATRIX_SIDE`] output channels, each the pairs of all steps.
    fn pack(&self) -> Scratch {
        let (channels, steps, isa) = (self.channels(), self.steps(), Isa::current());
        let places = self.patches.kernel[0] * self.patches.kernel[1];
        let length = steps / 2 * MATRIX_SIDE;
        let mut panels = Scratch::take(channels.div_ceil(MATRIX_SIDE) * places * length);
        let shared = SharedMut::new(&mut panels);
        parallel::for_each(channels.div_ceil(MATRIX_SIDE) * places, |task| {
            let (panel, place, ins) = (task / places, task % places, self.patches.channels);
            let columns = panel * MATRIX_SIDE..channels.min((panel + 1) * MATRIX_SIDE);
            let mut wide = Scratch::take(ins * MATRIX_SIDE);
            self.weights.pack(place * ins..(place + 1) * ins, columns, MATRIX_SIDE, ins * MATRIX_SIDE, &mut wide);
            // SAFETY: every task has a place of a panel of its own.
            let into = unsafe { shared.range(task * length..(task + 1) * length) };
            let (into, rest) = into.split_at_mut(ins.div_ceil(2) * MATRIX_SIDE);
            pair_steps(isa, &wide, MATRIX_SIDE, into);
            rest.fill(0.0);
        });
        panels
    }

    /// One task: some channels of some rows of outputs.
    ///
    /// # Safety
    /// Nobody else uses those outputs meanwhile.
    unsafe fn compute<O: Element>(
        &self,
        block: usize,
        rows: Range<usize>,
        channels: Range<usize>,
        weights: &[f32],
        output: SharedMut<'_, O>,
    ) {
        let positions = Positions::of(&self.patches, self.batch);
        let places = Places::of(&self.patches, &positions);
        let [height, width] = self.patches.out;
        let first_of = |row: usize| (row / height * positions.pitch[0] + row % height) * positions.pitch[1];
        let first = first_of(rows.start);
        let count = first_of(rows.end - 1) + width - first;
        let (steps, stride) = (self.steps(), self.stride());
        let length = (count.next_multiple_of(POSITIONS) + places.reach()).next_multiple_of(POSITIONS);
        let zeros = Buffer::zeros(self.patches.channels);
        let mut copy = Halves::take(places.phases().count() * length * stride);
        for (phase, copy) in places.phases().zip(copy.chunks_exact_mut((length * stride).max(1))) {
            for (group, into) in copy.chunks_exact_mut(POSITIONS * stride).enumerate() {
                let sources = positions.sources(phase, first + group * POSITIONS, &zeros);
                // SAFETY: every source has the values of a pixel, or is `zeros`; `into` has a stride for each.
                unsafe { (E::layouts(self.matrix).rows)(&sources, self.patches.channels, stride, into.as_mut_ptr()) };
            }
        }
        let run = |(phase, position)| (places.number(phase) * length + position) * stride;
        let runs: Vec<usize> = places.iter().map(run).collect();
        let panel = runs.len() * steps / 2 * MATRIX_SIDE;
        let mut sums = Scratch::take(MATRIX_SIDE * MATRIX_SIDE);
        let compute = |multiply: &dyn Fn(&MatrixTile<'_>)| {
            for first_channel in channels.clone().step_by(MATRIX_SIDE) {
                let part = first_channel..channels.end.min(first_channel + MATRIX_SIDE);
                let b = &weights[first_channel / MATRIX_SIDE * panel..][..panel];
                for tile in 0..count.div_ceil(MATRIX_SIDE) {
                    let product = MatrixTile {
                        a: copy.as_ptr().wrapping_add(tile * MATRIX_SIDE * stride),
                        a_row: stride,
                        runs: &runs,
                        blocks: steps / MATRIX_STEPS,
                        b: b.as_ptr().cast(),
                        accumulate: false,
                        c: sums.as_mut_ptr(),
                    };
                    multiply(&product);
                    // SAFETY: the caller's promise.
                    unsafe { self.deliver(&sums, &positions, first + tile * MATRIX_SIDE, &rows, part.clone(), output) };
                }
            }
        };
        // SAFETY: the copy of every phase has as many positions as all rows of all tiles, and what the furthest place of
        // the kernel sees from there; panels have all their steps.
        unsafe { self.matrix.products(compute) };
        let all = self.channels();
        let region = Region { first: rows.start * width * all, rows: 1, columns: rows.len() * width, row: 0 };
        // SAFETY: the caller's promise.
        unsafe { self.epilogue.finish(block, std::iter::once(region), channels, all, output) };
    }

    /// Writes those of a tile's sums that are outputs; its first row is that of the position `first`.
    ///
    /// # Safety
    /// Nobody else uses these channels of `rows` of the outputs meanwhile.
    unsafe fn deliver<O: Element>(
        &self,
        sums: &[f32],
        positions: &Positions<'_, E>,
        first: usize,
        rows: &Range<usize>,
        channels: Range<usize>,
        output: SharedMut<'_, O>,
    ) {
        let Outputs { image: [image_height, image_width], first: [top, left], step, channels: [_, all] } = self.outputs;
        let [height, width] = self.patches.out;
        if positions.pitch == self.patches.out && step == 1 {
            let count = MATRIX_SIDE.min(rows.end * width - first);
            let start = first * all + channels.start;
            // SAFETY: the caller's promise.
            let into = unsafe { output.range(start..start + (count - 1) * all + channels.len()) };
            return copy_rows(self.epilogue.isa, sums, channels.len(), into, all);
        }
        let (mut row, mut x) = (first / positions.pitch[1], first % positions.pitch[1]);
        let mut number = 0;
        while number < MATRIX_SIDE {
            let (image, y) = (row / positions.pitch[0], row % positions.pitch[0]);
            if image * height + y.min(height) >= rows.end {
                return;
            }
            let count = width.saturating_sub(x).min(MATRIX_SIDE - number);
            if y < height && count > 0 {
                let pixel = (image * image_height + top + y * step) * image_width + left + x * step;
                let start = pixel * all + channels.start;
                let end = start + (count - 1) * step * all + channels.len();
                // SAFETY: the caller's promise; a row's pixels go one after the other.
                let into = unsafe { output.range(start..end) };
                copy_rows(self.epilogue.isa, &sums[number * MATRIX_SIDE..], channels.len(), into, step * all);
            }
            number += positions.pitch[1] - x;
            (row, x) = (row + 1, 0);
        }
    }

    fn cut(&self) -> Cut {
        let positions = Positions::of(&self.patches, self.batch);
        let phases = Places::of(&self.patches, &positions).phases().count();
        let (row, all, outs) = (positions.pitch[1].max(1), self.rows(), self.channels());
        let bytes = row * (phases * self.stride() * size_of::<u16>() + outs * size_of::<f32>());
        let least = LEAST.div_ceil(row);
        let multiplications = all.saturating_mul(row * self.steps() * self.patches.kernel[0] * self.patches.kernel[1]);
        let wanted = wanted_tasks(multiplications.saturating_mul(outs) / 8).min(TASKS);
        let mut rows = (TASK_BYTES / bytes.max(1)).max(least);
        let mut channels = outs.next_multiple_of(MATRIX_SIDE);
        while all.div_ceil(rows) * outs.div_ceil(channels) < wanted {
            if rows > least {
                rows = (rows / 2).max(least);
            } else if channels > 2 * MATRIX_SIDE {
                channels = (channels / 2).next_multiple_of(MATRIX_SIDE);
            } else {
                break;
            }
        }
        Cut { rows, channels }
    }
}

per_isa!(
    /// Copies the first `width` sums of each row of a tile to rows that are `stride` values apart.
    fn copy_rows<O> = copy_rows_body(sums: &[f32], width: usize, into: &mut [O], stride: usize)
);

#[inline(always)]
fn copy_rows_body<const M: bool, O: Element>(sums: &[f32], width: usize, into: &mut [O], stride: usize) {
    let copy = |sums: &[f32], into: &mut [O]| {
        into.iter_mut().zip(sums).for_each(|(into, &sum)| *into = O::nearest(sum));
    };
    for (sums, into) in sums.chunks_exact(MATRIX_SIDE).zip(into.chunks_mut(stride)) {
        match into.first_chunk_mut::<MATRIX_SIDE>() {
            // A copy of a known size.
            Some(into) if width == MATRIX_SIDE => copy(&sums[..MATRIX_SIDE], into),
            _ => copy(&sums[..width], &mut into[..width]),
        }
    }
}
