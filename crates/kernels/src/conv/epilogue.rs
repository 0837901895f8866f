//! What is done to outputs while they are still in the cache of the task that computed them.

use std::ops::Range;

use super::statistics::{Gather, Sums};
use crate::activation::{Activation, Function, for_activation};
use crate::lanes::per_isa;
use crate::parallel::SharedMut;
use crate::{Element, Isa};

/// `output = activation(output + bias + residual)`, and what is to be known of the outputs.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    /// The caller's: tasks run on other threads.
    pub(crate) isa: Isa,
    /// `[channels]`
    pub(crate) bias: Option<&'a [f32]>,
    /// The shape of the output.
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) activation: Activation,
    /// Gathers the mean and variance of the channels of each block.
    pub(crate) gather: Option<Gather<'a>>,
}

/// A rectangle of pixels.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    /// Where its first pixel starts.
    pub(crate) first: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Values from one row to the next.
    pub(crate) row: usize,
}

impl Region {
    /// The runs of values that `channels` of its pixels are, which are `all` values apart: rows of whole pixels, or parts
    /// of each pixel.
    fn runs(self, channels: Range<usize>, all: usize) -> impl Iterator<Item = Range<usize>> {
        let whole = channels.len() == all;
        let (runs, length) = if whole { (1, self.columns * all) } else { (self.columns, channels.len()) };
        let starts = (0..self.rows).flat_map(move |row| (0..runs).map(move |run| row * self.row + run * all));
        starts.map(move |start| self.first + channels.start + start).map(move |start| start..start + length)
    }
}

impl<'a> Epilogue<'a> {
    /// Leaves the outputs as they are.
    pub(crate) fn nothing() -> Self {
        let (bias, residual, gather) = (None, None, None);
        Self { isa: Isa::current(), bias, residual, activation: Activation::Identity, gather }
    }

    fn keeps_values(&self) -> bool {
        self.bias.is_none() && self.residual.is_none() && self.activation == Activation::Identity
    }

    /// Whether there is anything to do.
    pub(crate) fn is_needed(&self) -> bool {
        self.gather.is_some() || !self.keeps_values()
    }

    /// Finishes `channels` of all regions of a block; pixels are `all` values apart.
    ///
    /// # Safety
    /// Nobody else uses those outputs meanwhile, and no other task has these channels of this block.
    pub(crate) unsafe fn finish<E: Element>(
        &self,
        block: usize,
        regions: impl Iterator<Item = Region>,
        channels: Range<usize>,
        all: usize,
        output: SharedMut<'_, E>,
    ) {
        if !self.is_needed() {
            return;
        }
        let bias = self.bias.map(|bias| &bias[channels.clone()]);
        let mut sums = self.gather.map(|gather| (gather, Sums::new(channels.len())));
        for run in regions.flat_map(|region| region.runs(channels.clone(), all)) {
            let residual = self.residual.map(|residual| &residual[run.clone()]);
            // SAFETY: the caller's promise.
            let values = unsafe { output.range(run) };
            if !self.keeps_values() {
                finish_run(self.isa, self.activation, bias, residual, values);
            }
            if let Some((_, sums)) = &mut sums {
                sums.add(self.isa, values);
            }
        }
        if let Some((gather, sums)) = sums {
            // SAFETY: the caller's promise.
            unsafe { sums.deliver(block, channels, gather) };
        }
    }
}

per_isa!(fn finish_run<E> = finish_run_body(
    activation: Activation, bias: Option<&[f32]>, residual: Option<&[f32]>, output: &mut [E],
));

#[inline(always)]
fn finish_run_body<const M: bool, E: Element>(
    activation: Activation,
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    output: &mut [E],
) {
    for_activation!(activation, F => finish_with::<M, E, F>(bias, residual, output));
}

#[inline(always)]
fn finish_with<const M: bool, E: Element, F: Function>(
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    output: &mut [E],
) {
    match (bias, residual) {
        (None, None) => output.iter_mut().for_each(|value| *value = E::nearest(F::value::<M>(value.value()))),
        (None, Some(residual)) => {
            for (value, &other) in output.iter_mut().zip(residual) {
                *value = E::nearest(F::value::<M>(value.value() + other));
            }
        }
        (Some(bias), None) => {
            for output in output.chunks_exact_mut(bias.len()) {
                for (value, &bias) in output.iter_mut().zip(bias) {
                    *value = E::nearest(F::value::<M>(value.value() + bias));
                }
            }
        }
        (Some(bias), Some(residual)) => {
            for (output, residual) in output.chunks_exact_mut(bias.len()).zip(residual.chunks_exact(bias.len())) {
                for ((value, &bias), &other) in output.iter_mut().zip(bias).zip(residual) {
                    *value = E::nearest(F::value::<M>(value.value() + bias + other));
                }
            }
        }
    }
}
