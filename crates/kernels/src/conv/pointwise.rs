//! Convolutions of 1 x 1 that are ready to predict: the input is the left operand as it lies, and what follows is done to
//! the outputs while they are in registers.

use std::ops::Range;

use super::epilogue::{Epilogue, Region};
use crate::Activation;
use crate::arch::MicroKernel;
use crate::gemm::{Block, Ending, Packed, TASKS, Target, block_rows, multiply_and_end, step_blocks};
use crate::parallel::{self, SharedMut};

/// Multiplications that are worth a task of their own: with fewer, waiting for the last one saves less than starting them
/// costs.
const TASK: usize = 1 << 19;

/// Tasks that so many multiplications should be cut into.
pub(super) fn wanted_tasks(multiplications: usize) -> usize {
    (multiplications / TASK).clamp(1, TASKS)
}

/// Weights, and what follows.
#[derive(Clone, Copy)]
pub(super) struct Pointwise<'a> {
    pub(super) kernel: &'static MicroKernel,
    /// Of the input, and of the output.
    pub(super) channels: [usize; 2],
    pub(super) weights: &'a Packed,
    /// Padded to whole panels; empty for none.
    pub(super) bias: &'a [f32],
    /// Without a bias and statistics.
    pub(super) epilogue: Epilogue<'a>,
}

impl Pointwise<'_> {
    /// Overwrites `output`, `pixels` of them.
    pub(super) fn run(&self, pixels: usize, input: &[f32], output: &mut [f32]) {
        let [ins, outs] = self.channels;
        let [row_tasks, columns] = self.cut(pixels);
        let output = SharedMut::new(output);
        parallel::for_each(row_tasks * outs.div_ceil(columns), |task| {
            let (row, column) = (task % row_tasks, task / row_tasks * columns);
            let rows = row * pixels / row_tasks..(row + 1) * pixels / row_tasks;
            let input = &input[rows.start * ins..rows.end * ins];
            // SAFETY: every task has pixels or channels of its own.
            unsafe { self.compute(input, rows, column..outs.min(column + columns), output) };
        });
    }

    /// Computes `channels` of the outputs `pixels`, whose inputs are `input`, on this thread alone.
    ///
    /// # Safety
    /// Nobody else uses those outputs meanwhile.
    pub(super) unsafe fn compute(
        &self,
        input: &[f32],
        pixels: Range<usize>,
        channels: Range<usize>,
        output: SharedMut<'_, f32>,
    ) {
        let outs = self.channels[1];
        let place = [pixels.start * outs + channels.start, outs];
        // SAFETY: the caller's promise.
        unsafe { self.compute_to(input, pixels.len(), channels, place, output) };
    }

    /// The same to another place: where the first of the channels of the first pixel goes, and how far those of the next.
    /// A residual lies as the output does.
    ///
    /// # Safety
    /// Nobody else uses those outputs meanwhile.
    pub(super) unsafe fn compute_to(
        &self,
        input: &[f32],
        pixels: usize,
        channels: Range<usize>,
        [place, row]: [usize; 2],
        output: SharedMut<'_, f32>,
    ) {
        let (kernel, ins) = (self.kernel, self.channels[0]);
        let Epilogue { residual, activation, .. } = self.epilogue;
        let ending = Ending { residual: residual.unwrap_or_default(), bounds: activation.bounds() };
        let bias = self.bias.get(channels.start..).unwrap_or_default();
        let rows = block_rows(kernel);
        for first in (0..pixels).step_by(rows) {
            let part = first..pixels.min(first + rows);
            let input = &input[first * ins..];
            let mut target = Target { c: output, first: place + first * row, row, bias, accumulate: false };
            for steps in step_blocks(ins, kernel.depth) {
                let left = Block { values: &input[steps.start..], tile: kernel.rows * ins, row: ins, step: 1 };
                let panels = self.weights.panels(&steps, channels.start);
                let sizes = [part.len(), channels.len(), steps.len()];
                let ending = if steps.end == ins { ending } else { Ending::NOTHING };
                // SAFETY: the caller's promise.
                unsafe { multiply_and_end(kernel, sizes, left, panels, target, ending) };
                target.bias = &[];
                target.accumulate = true;
            }
        }
        if activation.bounds().is_none() && activation != Activation::Identity {
            let epilogue = Epilogue { bias: None, residual: None, ..self.epilogue };
            let region = Region { first: place, rows: 1, columns: pixels, row: 0 };
            // SAFETY: the caller's promise.
            unsafe { epilogue.finish(0, std::iter::once(region), 0..channels.len(), row, output) };
        }
    }

    /// How many runs of nearly equal length the pixels are cut into, and the channels of a task. What is longer is cut
    /// first: each task reads its pixels and the weights of its channels.
    fn cut(&self, pixels: usize) -> [usize; 2] {
        let (kernel, [ins, outs]) = (self.kernel, self.channels);
        let wanted = wanted_tasks(pixels.saturating_mul(ins).saturating_mul(outs));
        let mut row_tasks = pixels.div_ceil(block_rows(kernel));
        let mut columns = outs.next_multiple_of(kernel.columns);
        while row_tasks * outs.div_ceil(columns) < wanted {
            let rows = pixels / row_tasks;
            let cuts_rows = rows > 2 * kernel.rows;
            if columns > 2 * kernel.columns && (columns > rows || !cuts_rows) {
                columns = (columns / 2).next_multiple_of(kernel.columns);
            } else if cuts_rows {
                row_tasks *= 2;
            } else {
                break;
            }
        }
        [row_tasks, columns]
    }
}
