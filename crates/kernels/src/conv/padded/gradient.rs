//! The gradient of the weights: for every place of the kernel, the input as it is seen from there, turned, times the
//! output's gradient, summed over positions.

use std::ops::Range;

use super::super::patches::Patches;
use super::positions::{Places, Positions};
use crate::arch::{MATRIX_SIDE, MATRIX_STEPS, Matrix, MatrixTile, POSITIONS};
use crate::gemm::wanted_tasks;
use crate::parallel::{self, SharedMut};
use crate::scratch::{Buffer, Halves, Scratch};
use crate::{ConvShape, Element};

/// The gradient of the weights of a convolution.
pub(crate) struct WeightGradient<'a, E, G> {
    pub(crate) matrix: &'static Matrix,
    pub(crate) shape: &'a ConvShape,
    pub(crate) patches: Patches<'a, E>,
    pub(crate) output_gradient: &'a [G],
}

/// Positions that are laid out at a time: with their channels they stay in the second-level cache.
const LAID_OUT: usize = 1024;

/// Positions that are multiplied at a time: of [`MATRIX_SIDE`] channels they stay in the first-level cache.
const TOGETHER: usize = 256;

/// Bytes that the sums of all groups of positions may take together.
const SUMS_BYTES: usize = 16 << 20;

/// Tasks that are enough.
const TASKS: usize = 16;

/// Sums of a tile.
const TILE: usize = MATRIX_SIDE * MATRIX_SIDE;

/// How the work is cut; it depends on the sizes alone.
struct Cut {
    /// Positions in a group, which has sums of its own.
    group: usize,
    /// Input channels in a task.
    channels: usize,
}

impl<E: Element, G: Element> WeightGradient<'_, E, G> {
    pub(crate) fn run(&self, weight_gradient: &mut [f32]) {
        let inputs = Positions::of(&self.patches, self.shape.batch);
        let size = [self.shape.out_height(), self.shape.out_width()];
        let (images, pixel) = (self.output_gradient, self.shape.out_channels);
        let Positions { batch, channel, pitch, .. } = inputs;
        let gradients = Positions { images, batch, size, pixel, channel, lead: [0; 2], stride: 1, pitch };
        let places = Places::of(&self.patches, &inputs);
        let all = inputs.count();
        let (ins, tiles) = (self.shape.in_channels, self.tiles_of_input());
        if all == 0 {
            return weight_gradient.fill(0.0);
        }
        let cut = self.cut(all);
        let (groups, parts) = (all.div_ceil(cut.group), ins.div_ceil(cut.channels));
        let of_group = ins.div_ceil(MATRIX_SIDE) * tiles * TILE;
        let mut sums = Scratch::take(groups * of_group);
        let shared = SharedMut::new(&mut sums);
        parallel::for_each(groups * parts, |task| {
            let (group, part) = (task % groups, task / groups * cut.channels);
            let channels = part..ins.min(part + cut.channels);
            let range = group * cut.group..all.min((group + 1) * cut.group);
            let first = group * of_group + part / MATRIX_SIDE * tiles * TILE;
            let length = channels.len().div_ceil(MATRIX_SIDE) * tiles * TILE;
            // SAFETY: every task has channels or a group of its own.
            let sums = unsafe { shared.range(first..first + length) };
            self.compute((&inputs, &gradients), &places, range, channels, sums);
        });
        self.deliver(&sums, of_group, weight_gradient);
    }

    /// Tiles of sums that [`MATRIX_SIDE`] input channels have: for every output channel's, those of all places.
    fn tiles_of_input(&self) -> usize {
        self.shape.kernel[0] * self.shape.kernel[1] * self.shape.out_channels.div_ceil(MATRIX_SIDE)
    }

    /// One task: the sums of some input channels over a group of positions.
    fn compute(
        &self,
        (inputs, gradients): (&Positions<'_, E>, &Positions<'_, G>),
        places: &Places,
        range: Range<usize>,
        channels: Range<usize>,
        sums: &mut [f32],
    ) {
        let (ins, outs) = (channels.len(), self.shape.out_channels);
        let (zeros, no_gradients) = (Buffer::zeros(ins), Buffer::zeros(outs));
        let most = LAID_OUT.min(range.len().next_multiple_of(POSITIONS));
        // An odd number of cache lines, so that the rows of a tile do not share their places in the cache.
        let row = ((most + places.reach()).div_ceil(POSITIONS) | 1) * POSITIONS;
        let phase = ins.next_multiple_of(MATRIX_SIDE) * row;
        let mut turned = Halves::take(places.phases().count() * phase);
        let seen_from: Vec<usize> = places.iter().map(|(at, position)| places.number(at) * phase + position).collect();
        let panel = most / 2 * MATRIX_SIDE;
        let mut pairs = Scratch::take(outs.div_ceil(MATRIX_SIDE) * panel);
        let seen = Positions { channel: channels.start, ..*inputs };
        for first in range.clone().step_by(LAID_OUT) {
            let end = range.end.min(first + LAID_OUT);
            let length = (end - first).next_multiple_of(POSITIONS);
            let reached = (length + places.reach()).next_multiple_of(POSITIONS);
            for (number, phase_values) in places.phases().zip(turned.chunks_exact_mut(phase)) {
                for position in (0..reached).step_by(POSITIONS) {
                    let sources = seen.sources(number, first + position, &zeros);
                    // SAFETY: every source has the channels of this task, or is `zeros`; every channel has a row.
                    unsafe {
                        (E::layouts(self.matrix).turned)(&sources, ins, row, phase_values[position..].as_mut_ptr())
                    };
                }
            }
            for position in (0..length).step_by(POSITIONS) {
                let mut sources = gradients.sources([0; 2], first + position, &no_gradients);
                // Those of the next group count there.
                sources[POSITIONS.min(end - first - position)..].fill(no_gradients.as_ptr());
                let into = pairs[position / 2 * MATRIX_SIDE..].as_mut_ptr();
                // SAFETY: every source has the channels of a pixel, or is `zeros`; every panel has all positions.
                unsafe { (G::layouts(self.matrix).pairs)(&sources, outs, panel, into.cast()) };
            }
            let compute = |multiply: &dyn Fn(&MatrixTile<'_>)| {
                for start in (0..length).step_by(TOGETHER) {
                    let blocks = TOGETHER.min(length - start) / MATRIX_STEPS;
                    let mut tiles = sums.chunks_exact_mut(TILE);
                    for in_tile in 0..ins.div_ceil(MATRIX_SIDE) {
                        for pairs in pairs.chunks_exact(panel) {
                            for (place, sums) in seen_from.iter().zip(&mut tiles) {
                                let a = &turned[place + in_tile * MATRIX_SIDE * row..];
                                let product = MatrixTile {
                                    a: a.as_ptr(),
                                    a_row: row,
                                    runs: &[start],
                                    blocks,
                                    b: pairs[start / 2 * MATRIX_SIDE..].as_ptr().cast(),
                                    accumulate: start > 0 || first > range.start,
                                    c: sums.as_mut_ptr(),
                                };
                                multiply(&product);
                            }
                        }
                    }
                }
            };
            // SAFETY: every channel's row has all positions of the block and what the furthest place sees from there, panels
            // have all positions, and the tiles are this task's own.
            unsafe { self.matrix.products(compute) };
        }
    }

    /// Adds up the groups in their order, and writes the sums to where they belong.
    fn deliver(&self, sums: &[f32], of_group: usize, weight_gradient: &mut [f32]) {
        let (ins, outs, tiles) = (self.shape.in_channels, self.shape.out_channels, self.tiles_of_input());
        let places = self.shape.kernel[0] * self.shape.kernel[1];
        let gradient = SharedMut::new(weight_gradient);
        parallel::for_each(ins.div_ceil(MATRIX_SIDE) * tiles, |tile| {
            let (first_in, tile_of_input) = (tile / tiles * MATRIX_SIDE, tile % tiles);
            let (place, first_out) = (tile_of_input % places, tile_of_input / places * MATRIX_SIDE);
            let width = MATRIX_SIDE.min(outs - first_out);
            for channel in 0..MATRIX_SIDE.min(ins - first_in) {
                let start = (place * ins + first_in + channel) * outs + first_out;
                // SAFETY: every tile has places of its own.
                let into = unsafe { gradient.range(start..start + width) };
                for (group, sums) in sums.chunks_exact(of_group).enumerate() {
                    let sums = &sums[tile * TILE + channel * MATRIX_SIDE..][..width];
                    if group == 0 {
                        into.copy_from_slice(sums);
                    } else {
                        into.iter_mut().zip(sums).for_each(|(into, sum)| *into += sum);
                    }
                }
            }
        });
    }

    fn cut(&self, all: usize) -> Cut {
        let (ins, tiles) = (self.shape.in_channels, self.tiles_of_input());
        let of_group = ins.div_ceil(MATRIX_SIDE) * tiles * TILE;
        let multiplications = all.saturating_mul(of_group);
        let wanted = wanted_tasks(multiplications / 8).min(TASKS);
        let affordable = (SUMS_BYTES / size_of::<f32>() / of_group).max(1);
        let groups = wanted.min(affordable).min(all.div_ceil(LAID_OUT)).max(1);
        let parts = wanted.div_ceil(groups).min(ins.div_ceil(2 * MATRIX_SIDE)).max(1);
        Cut {
            group: all.div_ceil(groups).next_multiple_of(POSITIONS),
            channels: ins.div_ceil(parts).next_multiple_of(MATRIX_SIDE),
        }
    }
}
