//! What the pixels of a resized picture take of a JPEG's frequencies, along one axis: the inverse cosine transform, the
//! doubling of a component that was stored at half the size, and the antialiased resampling, all in one weight.

use std::{f64::consts::PI, ops::Range};

use percept_kernels::{OUTPUTS, Weights};

use super::Filter;

/// Samples, and frequencies, of a block along an axis.
const SIDE: usize = 8;

/// The part of an axis that is seen, and what it becomes.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Seen {
    /// Pixels of the stored picture, from 0.
    pub(super) start: f64,
    pub(super) length: f64,
    /// Pixels that they become.
    pub(super) outputs: usize,
    pub(super) filter: Filter,
}

/// Pixels, the first with its number, and how much of each is in an output. The weights sum to 1.
struct Taps {
    first: usize,
    weights: Vec<f64>,
}

/// An axis of one component.
pub(super) struct Axis {
    /// What each block adds to the outputs from `starts` on: the weights of its eight frequencies, output by output.
    parts: Vec<Vec<[f32; SIDE]>>,
    starts: Vec<usize>,
}

/// The same for a row of blocks, whose outputs are summed in groups.
pub(super) struct Across {
    /// The blocks that are seen.
    pub(super) blocks: Range<usize>,
    pub(super) starts: Vec<usize>,
    pub(super) weights: Vec<Weights>,
    /// Outputs, and room for the last group.
    pub(super) width: usize,
}

impl Seen {
    /// What makes an output (as Pillow's and torchvision's antialiasing): the filter is as wide as the reduction, and
    /// at least as the distance of two pixels.
    fn taps(&self, pixels: usize, output: usize) -> Taps {
        let scale = self.length / self.outputs as f64;
        let (centre, stretch) = (self.start + (output as f64 + 0.5) * scale, scale.max(1.0));
        let reach = stretch * self.filter.reach();
        let first = ((centre - reach + 0.5).floor().max(0.0) as usize).min(pixels - 1);
        let end = ((centre + reach + 0.5).floor().max(0.0) as usize).clamp(first + 1, pixels);
        let mut weights: Vec<f64> =
            (first..end).map(|pixel| self.filter.at((pixel as f64 + 0.5 - centre) / stretch)).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        Taps { first, weights }
    }
}

impl Taps {
    /// The same of the `samples` of a component that has one for every pixel, or for two, which are then mixed from it and
    /// the next one on their side, as by libjpeg ("fancy upsampling").
    fn of_samples(self, pixels: usize, samples: usize) -> Self {
        if pixels == 1 {
            return self;
        }
        let last = samples - 1;
        let first = (self.first / pixels).saturating_sub(1).min(last);
        let mut weights = vec![0.0; (self.first + self.weights.len()) / pixels + 2 - first];
        for (pixel, weight) in (self.first..).zip(self.weights) {
            let nearest = (pixel / pixels).min(last);
            let next = if pixel % 2 == 0 { nearest.saturating_sub(1) } else { (nearest + 1).min(last) };
            weights[nearest - first] += weight * 0.75;
            weights[next - first] += weight * 0.25;
        }
        weights.truncate(last + 1 - first);
        Self { first, weights }
    }
}

impl Axis {
    /// Of a component that has a sample for every one or two `pixels`, in a picture of `length` pixels.
    pub(super) fn new(seen: &Seen, length: usize, pixels: usize) -> Self {
        let samples = length.div_ceil(pixels);
        let blocks = samples.div_ceil(SIDE);
        let cosines: [[f64; SIDE]; SIDE] = std::array::from_fn(|sample| {
            std::array::from_fn(|frequency| {
                let angle = (2 * sample + 1) as f64 * frequency as f64 * PI / 16.0;
                if frequency == 0 { 0.125f64.sqrt() } else { 0.5 * angle.cos() }
            })
        });
        let mut parts: Vec<Vec<[f32; SIDE]>> = vec![Vec::new(); blocks];
        let mut starts = vec![0; blocks];
        for output in 0..seen.outputs {
            let Taps { mut first, weights } = seen.taps(length, output).of_samples(pixels, samples);
            let mut rest = weights.as_slice();
            while !rest.is_empty() {
                let (here, beyond) = rest.split_at(rest.len().min(SIDE - first % SIDE));
                let mut sums = [0.0; SIDE];
                for (weight, cosines) in here.iter().zip(&cosines[first % SIDE..]) {
                    sums.iter_mut().zip(cosines).for_each(|(sum, cosine)| *sum += weight * cosine);
                }
                let (start, part) = (&mut starts[first / SIDE], &mut parts[first / SIDE]);
                if part.is_empty() {
                    *start = output;
                }
                // One output after the other sees a block: none is left out between.
                part.resize(output - *start, [0.0; SIDE]);
                part.push(sums.map(|sum| sum as f32));
                first += here.len();
                rest = beyond;
            }
        }
        Self { parts, starts }
    }

    /// What a block adds, and to which output first; nothing where it is not seen.
    pub(super) fn part(&self, block: usize) -> (usize, &[[f32; SIDE]]) {
        match self.parts.get(block) {
            Some(part) => (self.starts[block], part),
            None => (0, &[]),
        }
    }

    pub(super) fn across(&self, outputs: usize) -> Across {
        let is_seen = |part: &Vec<[f32; SIDE]>| !part.is_empty();
        let begin = self.parts.iter().position(is_seen).unwrap_or(0);
        let end = self.parts.iter().rposition(is_seen).map_or(begin, |last| last + 1);
        let longest = self.parts.iter().map(Vec::len).max().unwrap_or(0);
        let groups = longest.div_ceil(OUTPUTS);
        let mut weights = vec![[[0.0; OUTPUTS]; SIDE]; (end - begin) * groups];
        for (part, weights) in self.parts[begin..end].iter().zip(weights.chunks_exact_mut(groups.max(1))) {
            for (output, sums) in part.iter().enumerate() {
                for (frequency, &sum) in sums.iter().enumerate() {
                    weights[output / OUTPUTS][frequency][output % OUTPUTS] = sum;
                }
            }
        }
        let width = (outputs + groups * OUTPUTS).next_multiple_of(OUTPUTS);
        Across { blocks: begin..end, starts: self.starts[begin..end].to_vec(), weights, width }
    }
}
