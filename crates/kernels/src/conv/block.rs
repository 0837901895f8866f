//! Blocks that look around in every channel between two convolutions of 1 x 1 (inverted residuals; Sandler et al., 2018,
//! "MobileNetV2") as one operation, for prediction.
//!
//! What is between the layers is several times as large as what goes in and comes out. A task computes a band of rows of
//! an image's outputs strip by strip: it expands the rows of the input that a strip sees, unless the strip before did,
//! looks around in them, and narrows the result, all in memory that stays in the second-level cache. Few images of few
//! rows are cut by channels instead: a task expands some of them and looks around in these, and the last layer follows
//! when all are there. Every value is computed as by the layers one after the other.

use std::ops::Range;

use super::PreparedConv;
use super::pointwise::{Pointwise, wanted_tasks};
use crate::parallel::{self, SharedMut};
use crate::scratch::Scratch;
use crate::{Activation, ConvShape, assert_len};

/// A layer of a block.
#[derive(Clone, Copy)]
pub struct BlockLayer<'a> {
    /// What it computes, its norm folded in.
    pub convolution: &'a PreparedConv,
    /// What is done to the outputs.
    pub activation: Activation,
}

/// The layers of a block.
#[derive(Clone, Copy)]
pub struct InvertedResidual<'a> {
    /// A 1 x 1 to more channels, if the block has one.
    pub expand: Option<BlockLayer<'a>>,
    /// A depthwise convolution.
    pub depthwise: BlockLayer<'a>,
    /// A 1 x 1 to the channels that come out.
    pub project: BlockLayer<'a>,
}

/// Bytes of what is between the layers of a strip: they stay in the second-level cache, beside the rows and weights that
/// pass, where it has 512 KiB.
const STRIP_BYTES: usize = 320 * 1024;

/// Pixels of a strip that make whole tiles of the products.
const STRIP_PIXELS: usize = 48;

/// Tasks that have to be there, or threads would wait.
const FEWEST_TASKS: usize = 4;

/// Tasks that images are not cut for into more bands, of which each expands rows that its neighbour expands too.
const ENOUGH_TASKS: usize = 8;

/// Rows that a band expands, for each that its neighbour expands too.
const ROWS_FOR_ONE: usize = 6;

/// How a block is cut.
struct Cut {
    /// Bands of an image.
    bands: usize,
    /// Rows of outputs in a strip, at most.
    rows: usize,
}

/// A block whose layers have kernels for parts of images.
struct Layers<'a> {
    expand: Option<Pointwise<'a>>,
    depthwise: BlockLayer<'a>,
    project: Pointwise<'a>,
}

impl InvertedResidual<'_> {
    /// `output = project(depthwise(expand(input))) + residual`, each with its activation, the last one behind the addition,
    /// of `batch` images; `residual` has the shape of the output. Overwrites `output`.
    ///
    /// # Panics
    /// When a length is not that of the layers' shapes, or these do not follow each other.
    pub fn run(&self, batch: usize, input: &[f32], residual: Option<&[f32]>, output: &mut [f32]) {
        let [first, middle, last] = [self.expand.unwrap_or(self.depthwise), self.depthwise, self.project]
            .map(|layer| ConvShape { batch, ..layer.convolution.shape });
        assert_len("the input", input.len(), first.input_len());
        assert_len("the output", output.len(), last.output_len());
        if let Some(residual) = residual {
            assert_len("the residual", residual.len(), last.output_len());
        }
        if self.expand.is_some() {
            assert_len("the depthwise layer's input", first.output_len(), middle.input_len());
        }
        assert_len("the last layer's input", middle.output_len(), last.input_len());
        let layers = self.layers(residual);
        if let (Some(cut), Some(layers)) = (self.cut(batch), &layers) {
            let height = middle.out_height();
            let output = SharedMut::new(output);
            return parallel::for_each(batch * cut.bands, |task| {
                let (image, band) = (task / cut.bands, task % cut.bands);
                let rows = band * height / cut.bands..(band + 1) * height / cut.bands;
                // SAFETY: every task has rows of its own.
                unsafe { layers.compute(image, rows, cut.rows, input, output) };
            });
        }
        let mut seen = Scratch::take(middle.output_len());
        match (&layers, self.expand) {
            (Some(Layers { expand: Some(expand), .. }), _) => self.look_around(expand, batch, input, &mut seen),
            (_, Some(expand)) => {
                let mut wide = Scratch::take(middle.input_len());
                expand.convolution.run(batch, input, None, expand.activation, &mut wide);
                self.depthwise.convolution.run(batch, &wide, None, self.depthwise.activation, &mut seen);
            }
            (_, None) => self.depthwise.convolution.run(batch, input, None, self.depthwise.activation, &mut seen),
        }
        self.project.convolution.run(batch, &seen, residual, self.project.activation, output);
    }

    /// What the last layer reads: each task expands some channels of an image and looks around in them.
    fn look_around(&self, expand: &Pointwise<'_>, batch: usize, input: &[f32], seen: &mut [f32]) {
        let BlockLayer { convolution: depthwise, activation } = self.depthwise;
        let shape = &depthwise.shape;
        let (pixels, ins, all) = (shape.height * shape.width, expand.channels[0], shape.in_channels);
        let work = pixels.saturating_mul(ins).saturating_mul(all).saturating_mul(batch);
        let wanted = wanted_tasks(work).div_ceil(batch.max(1));
        let columns = expand.kernel.columns;
        let width = (all / wanted / columns * columns).max(columns);
        let slices = (all / width).max(1);
        let length = shape.out_height() * shape.out_width() * all;
        let seen = SharedMut::new(seen);
        parallel::for_each(batch * slices, |task| {
            let (image, slice) = (task / slices, task % slices);
            let channels = slice * width..if slice + 1 == slices { all } else { (slice + 1) * width };
            let mut wide = Scratch::take(pixels * channels.len());
            let (from, new) = (&input[image * pixels * ins..][..pixels * ins], SharedMut::new(&mut wide));
            // SAFETY: they are borrowed mutably.
            unsafe { expand.compute_to(from, pixels, channels.clone(), [0, channels.len()], new) };
            let [rows, out_rows] = [0..shape.height, 0..shape.out_height()];
            let part = depthwise.depthwise_part(&wide, &rows, &out_rows, &channels, activation);
            // SAFETY: every task has an image or channels of its own.
            unsafe { part.run_here(seen.part(image * length..(image + 1) * length)) };
        });
    }

    /// How `batch` images are cut into bands, or nothing where there would be too few tasks. Bands of an image are no shorter than makes up for the rows that two of them expand.
    fn cut(&self, batch: usize) -> Option<Cut> {
        let shape = &self.depthwise.convolution.shape;
        let (height, width) = (shape.out_height(), shape.out_width());
        let reach = (shape.kernel[0] - 1) * shape.dilation + 1;
        let twice = if self.expand.is_some() { reach.saturating_sub(shape.stride) } else { 0 };
        let most = (shape.height / ROWS_FOR_ONE).checked_div(twice).map_or(height, |bands| bands + 1).min(height);
        let layers = [self.expand, Some(self.depthwise), Some(self.project)].into_iter().flatten();
        let work: u64 = layers.map(|layer| layer.convolution.shape.multiply_adds()).sum();
        let wanted = if twice > 0 { ENOUGH_TASKS } else { wanted_tasks((work as usize).saturating_mul(batch)) };
        let bands = wanted.div_ceil(batch.max(1)).min(most).max(1);
        let bands = 1 << bands.ilog2();
        let (row, out_row) = (shape.width * shape.in_channels, width * shape.in_channels);
        let bytes = |rows: usize| size_of::<f32>() * (((rows - 1) * shape.stride + reach) * row + rows * out_row);
        let in_band = height.div_ceil(bands);
        let fitting = (1..=in_band).rev().find(|&rows| bytes(rows) <= STRIP_BYTES).unwrap_or(1);
        let rows = fitting.max(STRIP_PIXELS.div_ceil(width)).min(in_band);
        (batch * bands >= FEWEST_TASKS).then_some(Cut { bands, rows: in_band.div_ceil(in_band.div_ceil(rows)) })
    }
}

impl<'a> InvertedResidual<'a> {
    /// The kernels for parts of images, where all layers have them.
    fn layers(&self, residual: Option<&'a [f32]>) -> Option<Layers<'a>> {
        let pointwise = |layer: BlockLayer<'a>, residual| layer.convolution.pointwise(residual, layer.activation);
        let expand = match self.expand {
            Some(expand) => Some(pointwise(expand, None)?),
            None => None,
        };
        let project = pointwise(self.project, residual)?;
        self.depthwise.convolution.is_depthwise().then_some(Layers { expand, depthwise: self.depthwise, project })
    }
}

impl Layers<'_> {
    /// Computes rows of an image's outputs, some at a time.
    ///
    /// # Safety
    /// Nobody else uses those outputs meanwhile.
    unsafe fn compute(
        &self,
        image: usize,
        rows: Range<usize>,
        together: usize,
        input: &[f32],
        output: SharedMut<'_, f32>,
    ) {
        let shape = &self.depthwise.convolution.shape;
        let (channels, out_width) = (shape.in_channels, shape.out_width());
        let row = shape.width * channels;
        let most = self.seen(&(0..together)).len() + shape.padding.top;
        let mut wide = Scratch::take(if self.expand.is_some() { most * row } else { 0 });
        let mut narrow = Scratch::take(together * out_width * channels);
        let mut have = 0..0;
        for first in rows.clone().step_by(together) {
            let strip = first..rows.end.min(first + together);
            let seen = self.seen(&strip);
            let images = match &self.expand {
                Some(expand) => {
                    self.expand_rows(expand, image, &mut have, seen.clone(), input, &mut wide);
                    &wide[..seen.len() * row]
                }
                None => &input[(image * shape.height + seen.start) * row..][..seen.len() * row],
            };
            let depthwise = self.depthwise.convolution;
            let narrow = &mut narrow[..strip.len() * out_width * channels];
            let part = depthwise.depthwise_part(images, &seen, &strip, &(0..channels), self.depthwise.activation);
            // SAFETY: they are borrowed mutably.
            unsafe { part.run_here(SharedMut::new(narrow)) };
            let before = image * shape.out_height();
            let pixels = (before + strip.start) * out_width..(before + strip.end) * out_width;
            // SAFETY: the caller's promise.
            unsafe { self.project.compute(narrow, pixels, 0..self.project.channels[1], output) };
        }
    }

    /// Rows of the depthwise layer's input that are under its kernel for these rows of outputs.
    fn seen(&self, outputs: &Range<usize>) -> Range<usize> {
        let shape = &self.depthwise.convolution.shape;
        let last = outputs.end.saturating_sub(1) * shape.stride + (shape.kernel[0] - 1) * shape.dilation;
        let start = (outputs.start * shape.stride).saturating_sub(shape.padding.top).min(shape.height);
        let end = (last + 1).saturating_sub(shape.padding.top).min(shape.height);
        start..end.max(start)
    }

    /// Brings the rows `seen` of the expanded image to the start of `wide`, which has the rows `have`.
    fn expand_rows(
        &self,
        expand: &Pointwise<'_>,
        image: usize,
        have: &mut Range<usize>,
        seen: Range<usize>,
        input: &[f32],
        wide: &mut [f32],
    ) {
        let shape = &self.depthwise.convolution.shape;
        let ([ins, outs], width) = (expand.channels, shape.width);
        let kept = seen.start..have.end.clamp(seen.start, seen.end);
        if !kept.is_empty() {
            let from = (kept.start - have.start) * width * outs;
            wide.copy_within(from..from + kept.len() * width * outs, 0);
        }
        let pixels = (seen.end - kept.end) * width;
        let input = &input[(image * shape.height + kept.end) * width * ins..][..pixels * ins];
        let new = SharedMut::new(&mut wide[kept.len() * width * outs..][..pixels * outs]);
        // SAFETY: they are borrowed mutably.
        unsafe { expand.compute(input, 0..pixels, 0..outs, new) };
        *have = seen;
    }
}
