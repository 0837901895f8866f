//! What is done to outputs while they are still in the cache of the task that computed them.

use std::ops::Range;

use crate::Isa;
use crate::activation::{Activation, Function, Gelu, Identity, Relu};
use crate::lanes::per_isa;
use crate::parallel::SharedMut;

/// `output = activation(output + bias + residual)`.
#[derive(Clone, Copy)]
pub(crate) struct Epilogue<'a> {
    /// The caller's: tasks run on other threads.
    pub(crate) isa: Isa,
    /// `[channels]`
    pub(crate) bias: Option<&'a [f32]>,
    /// The shape of the output.
    pub(crate) residual: Option<&'a [f32]>,
    pub(crate) activation: Activation,
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

impl Epilogue<'_> {
    /// Finishes `channels` of a region; pixels are `all` values apart.
    ///
    /// # Safety
    /// Nobody else uses those outputs meanwhile.
    pub(crate) unsafe fn finish(&self, region: Region, channels: Range<usize>, all: usize, output: SharedMut<'_, f32>) {
        if self.bias.is_none() && self.residual.is_none() && self.activation == Activation::Identity {
            return;
        }
        let bias = self.bias.map(|bias| &bias[channels.clone()]);
        for row in 0..region.rows {
            let start = region.first + row * region.row;
            // Whole pixels are one run of values.
            let (runs, length) =
                if channels.len() == all { (1, region.columns * all) } else { (region.columns, channels.len()) };
            for run in 0..runs {
                let range = start + run * all + channels.start;
                let range = range..range + length;
                let residual = self.residual.map(|residual| &residual[range.clone()]);
                // SAFETY: the caller's promise.
                finish_run(self.isa, self.activation, bias, residual, channels.len(), unsafe { output.range(range) });
            }
        }
    }
}

per_isa!(fn finish_run = finish_run_body(
    activation: Activation, bias: Option<&[f32]>, residual: Option<&[f32]>, channels: usize, output: &mut [f32],
));

#[inline(always)]
fn finish_run_body<const M: bool>(
    activation: Activation,
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    channels: usize,
    output: &mut [f32],
) {
    match activation {
        Activation::Identity => finish_with::<M, Identity>(bias, residual, channels, output),
        Activation::Relu => finish_with::<M, Relu>(bias, residual, channels, output),
        Activation::Gelu => finish_with::<M, Gelu>(bias, residual, channels, output),
    }
}

#[inline(always)]
fn finish_with<const M: bool, F: Function>(
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    channels: usize,
    output: &mut [f32],
) {
    match (bias, residual) {
        (None, None) => output.iter_mut().for_each(|value| *value = F::value::<M>(*value)),
        (None, Some(residual)) => {
            for (value, &other) in output.iter_mut().zip(residual) {
                *value = F::value::<M>(*value + other);
            }
        }
        (Some(bias), None) => {
            for output in output.chunks_exact_mut(channels) {
                for (value, &bias) in output.iter_mut().zip(bias) {
                    *value = F::value::<M>(*value + bias);
                }
            }
        }
        (Some(bias), Some(residual)) => {
            for (output, residual) in output.chunks_exact_mut(channels).zip(residual.chunks_exact(channels)) {
                for ((value, &bias), &other) in output.iter_mut().zip(bias).zip(residual) {
                    *value = F::value::<M>(*value + bias + other);
                }
            }
        }
    }
}
