//! Pooling, channels last. A NaN wins every maximum.

use std::ops::Range;

use crate::lanes::per_isa;
use crate::parallel::{CHUNK, SharedMut, for_each};
use crate::{Element, Isa, PoolShape, assert_len, assert_sizes};

/// Channels that are compared together, in registers.
const LANES: usize = 32;

/// The largest value under each window, and in `argmax` (the length of the output) its place in the window,
/// `row * kernel + column`. The first of equal values wins; NaN wins over all.
pub fn max_pool<E: Element>(shape: &PoolShape, input: &[E], output: &mut [E], argmax: &mut [u8]) {
    assert_len("the input", input.len(), shape.input_len());
    assert_len("the output", output.len(), shape.output_len());
    assert_len("the argmax", argmax.len(), shape.output_len());
    let isa = Isa::current();
    let row = shape.out_width() * shape.channels;
    let rows = shape.batch * shape.out_height();
    let together = rows_together(row * shape.kernel * shape.kernel);
    let (output, argmax) = (SharedMut::new(output), SharedMut::new(argmax));
    for_each(rows.div_ceil(together), |task| {
        for index in task * together..rows.min((task + 1) * together) {
            let range = index * row..(index + 1) * row;
            // SAFETY: each task has rows of its own.
            let (output, argmax) = unsafe { (output.range(range.clone()), argmax.range(range)) };
            max_row(isa, shape, index, input, output, argmax);
        }
    });
}

/// Rows of `length` values (or as much work) that make a task.
fn rows_together(length: usize) -> usize {
    (CHUNK / length.max(1)).max(1)
}

per_isa!(fn max_row<E> = max_row_body(
    shape: &PoolShape, index: usize, input: &[E], output: &mut [E], argmax: &mut [u8],
));

/// One row of output pixels; `index` counts the rows of all images.
#[inline(always)]
fn max_row_body<const M: bool, E: Element>(
    shape: &PoolShape,
    index: usize,
    input: &[E],
    output: &mut [E],
    argmax: &mut [u8],
) {
    let (image, y) = (index / shape.out_height(), index % shape.out_height());
    let channels = shape.channels;
    let rows = window(y, shape.height, shape);
    for x in 0..shape.out_width() {
        let columns = window(x, shape.width, shape);
        for first in (0..channels).step_by(LANES) {
            let count = LANES.min(channels - first);
            let (mut best, mut places) = ([f32::NEG_INFINITY; LANES], [u32::MAX; LANES]);
            for row in rows.clone() {
                for column in columns.clone() {
                    let place = (row + shape.padding - y * shape.stride) * shape.kernel + column + shape.padding
                        - x * shape.stride;
                    let pixel = (image * shape.height + row) * shape.width + column;
                    let from = &input[pixel * channels + first..][..count];
                    // The whole vectors have a length that the compiler sees.
                    match from.first_chunk::<LANES>() {
                        Some(from) => keep_largest(from, place as u32, &mut best, &mut places),
                        None => keep_largest(from, place as u32, &mut best[..count], &mut places[..count]),
                    }
                }
            }
            let start = x * channels + first;
            for (output, &best) in output[start..start + count].iter_mut().zip(&best) {
                *output = E::nearest(best);
            }
            for (argmax, &place) in argmax[start..start + count].iter_mut().zip(&places) {
                *argmax = place as u8;
            }
        }
    }
}

#[inline(always)]
fn keep_largest<E: Element>(from: &[E], place: u32, best: &mut [f32], places: &mut [u32]) {
    for ((value, best), at) in from.iter().zip(best).zip(places) {
        let value = value.value();
        // The first place counts even when all values are -infinity; a NaN always does, and nothing is above it.
        let wins = (value > *best) | value.is_nan() | (*at == u32::MAX);
        *best = if wins { value } else { *best };
        *at = if wins { place } else { *at };
    }
}

/// The rows (or columns) of the image under window `index`.
#[inline(always)]
fn window(index: usize, size: usize, shape: &PoolShape) -> Range<usize> {
    let start = index * shape.stride;
    start.saturating_sub(shape.padding)..(start + shape.kernel - shape.padding).min(size)
}

/// The gradient of the input of [`max_pool`], given that of its output. Overwrites `input_gradient`.
pub fn max_pool_gradient<E: Element>(
    shape: &PoolShape,
    output_gradient: &[E],
    argmax: &[u8],
    input_gradient: &mut [E],
) {
    assert_len("the output's gradient", output_gradient.len(), shape.output_len());
    assert_len("the argmax", argmax.len(), shape.output_len());
    assert_len("the input's gradient", input_gradient.len(), shape.input_len());
    let isa = Isa::current();
    let image_row = shape.width * shape.channels;
    // Windows that do not overlap have rows of the input of their own; otherwise an image is one task.
    let bands = if shape.stride >= shape.kernel { shape.out_height() } else { 1 };
    let rows_per_band = shape.out_height() / bands;
    let gradient = SharedMut::new(input_gradient);
    for_each(shape.batch * bands, |task| {
        let (image, band) = (task / bands, task % bands);
        let start = |band: usize| (band * rows_per_band * shape.stride).saturating_sub(shape.padding).min(shape.height);
        let first = if band == 0 { 0 } else { start(band) };
        let last = if band + 1 == bands { shape.height } else { start(band + 1) };
        let range = (image * shape.height + first) * image_row..(image * shape.height + last) * image_row;
        // SAFETY: the bands of an image share no row, and different tasks have different bands or images.
        let gradient = unsafe { gradient.range(range) };
        gradient.fill(E::default());
        for y in band * rows_per_band..(band + 1) * rows_per_band {
            scatter_row(isa, shape, image, y, first, output_gradient, argmax, gradient);
        }
    });
}

per_isa!(fn scatter_row<E> = scatter_row_body(
    shape: &PoolShape, image: usize, y: usize, first: usize, output_gradient: &[E], argmax: &[u8],
    gradient: &mut [E],
));

/// Adds the gradients of output row `y` to `gradient`, which begins at the image's row `first`.
#[inline(always)]
fn scatter_row_body<const M: bool, E: Element>(
    shape: &PoolShape,
    image: usize,
    y: usize,
    first: usize,
    output_gradient: &[E],
    argmax: &[u8],
    gradient: &mut [E],
) {
    let channels = shape.channels;
    let rows = window(y, shape.height, shape);
    for x in 0..shape.out_width() {
        let output = ((image * shape.out_height() + y) * shape.out_width() + x) * channels;
        let (from, places) = (&output_gradient[output..][..channels], &argmax[output..][..channels]);
        for row in rows.clone() {
            for column in window(x, shape.width, shape) {
                let place =
                    (row + shape.padding - y * shape.stride) * shape.kernel + column + shape.padding - x * shape.stride;
                let into = &mut gradient[((row - first) * shape.width + column) * channels..][..channels];
                for ((into, from), &at) in into.iter_mut().zip(from).zip(places) {
                    let from = if u32::from(at) == place as u32 { from.value() } else { 0.0 };
                    *into = E::nearest(into.value() + from);
                }
            }
        }
    }
}

/// The mean over the pixels of each image: `[batch, pixels, channels]` to `[batch, channels]`.
pub fn global_average_pool<E: Element>(batch: usize, pixels: usize, channels: usize, input: &[E], output: &mut [f32]) {
    assert_sizes("the input", input.len(), [batch, pixels, channels]);
    assert_sizes("the output", output.len(), [batch, channels]);
    let isa = Isa::current();
    for_each_image(batch, pixels * channels, channels, output, |image, output| {
        average_image(isa, &input[image * pixels * channels..][..pixels * channels], pixels, output);
    });
}

/// Runs `task` for each image and its `length` values of the output, some images together.
fn for_each_image<T: Send>(
    batch: usize,
    work: usize,
    length: usize,
    output: &mut [T],
    task: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    let together = rows_together(work);
    let output = SharedMut::new(output);
    for_each(batch.div_ceil(together), |index| {
        for image in index * together..batch.min((index + 1) * together) {
            // SAFETY: each task has images of its own.
            task(image, unsafe { output.range(image * length..(image + 1) * length) });
        }
    });
}

per_isa!(fn average_image<E> = average_image_body(input: &[E], pixels: usize, output: &mut [f32]));

#[inline(always)]
fn average_image_body<const M: bool, E: Element>(input: &[E], pixels: usize, output: &mut [f32]) {
    let channels = output.len();
    let factor = 1.0 / pixels as f32;
    for (block, output) in output.chunks_mut(LANES).enumerate() {
        let (first, count) = (block * LANES, output.len());
        let mut sums = [0.0; LANES];
        for pixel in 0..pixels {
            let from = &input[pixel * channels + first..][..count];
            match from.first_chunk::<LANES>() {
                Some(from) => sums.iter_mut().zip(from).for_each(|(sum, value)| *sum += value.value()),
                None => sums.iter_mut().zip(from).for_each(|(sum, value)| *sum += value.value()),
            }
        }
        output.iter_mut().zip(&sums).for_each(|(output, sum)| *output = sum * factor);
    }
}

/// The gradient of the input of [`global_average_pool`]. Overwrites `input_gradient`.
pub fn global_average_pool_gradient<E: Element>(
    batch: usize,
    pixels: usize,
    channels: usize,
    output_gradient: &[f32],
    input_gradient: &mut [E],
) {
    assert_sizes("the output's gradient", output_gradient.len(), [batch, channels]);
    assert_sizes("the input's gradient", input_gradient.len(), [batch, pixels, channels]);
    if channels == 0 {
        return;
    }
    let (isa, factor) = (Isa::current(), 1.0 / pixels as f32);
    for_each_image(batch, pixels * channels, pixels * channels, input_gradient, |image, gradient| {
        spread_image(isa, &output_gradient[image * channels..][..channels], factor, gradient);
    });
}

per_isa!(fn spread_image<E> = spread_image_body(from: &[f32], factor: f32, into: &mut [E]));

#[inline(always)]
fn spread_image_body<const M: bool, E: Element>(from: &[f32], factor: f32, into: &mut [E]) {
    for pixel in into.chunks_exact_mut(from.len()) {
        pixel.iter_mut().zip(from).for_each(|(into, from)| *into = E::nearest(from * factor));
    }
}

/// The largest value over the pixels of each image, `[batch, pixels, channels]` to `[batch, channels]`, and in `argmax`
/// its pixel. `pixels` is 1 at least. The first of equal values wins; NaN wins over all.
pub fn global_max_pool<E: Element>(
    batch: usize,
    pixels: usize,
    channels: usize,
    input: &[E],
    output: &mut [f32],
    argmax: &mut [u32],
) {
    assert!((1..u32::MAX as usize).contains(&pixels), "an image of {pixels} pixels has no largest value");
    assert_sizes("the input", input.len(), [batch, pixels, channels]);
    assert_sizes("the output", output.len(), [batch, channels]);
    assert_sizes("the argmax", argmax.len(), [batch, channels]);
    let (isa, argmax) = (Isa::current(), SharedMut::new(argmax));
    for_each_image(batch, pixels * channels, channels, output, |image, output| {
        // SAFETY: each task has images of its own.
        let argmax = unsafe { argmax.range(image * channels..(image + 1) * channels) };
        output.fill(f32::NEG_INFINITY);
        argmax.fill(u32::MAX);
        max_image(isa, &input[image * pixels * channels..][..pixels * channels], output, argmax);
    });
}

per_isa!(fn max_image<E> = max_image_body(input: &[E], output: &mut [f32], argmax: &mut [u32]));

#[inline(always)]
fn max_image_body<const M: bool, E: Element>(input: &[E], output: &mut [f32], argmax: &mut [u32]) {
    for (pixel, from) in input.chunks_exact(output.len().max(1)).enumerate() {
        keep_largest(from, pixel as u32, output, argmax);
    }
}

/// The gradient of the input of [`global_max_pool`]. Overwrites `input_gradient`.
pub fn global_max_pool_gradient<E: Element>(
    batch: usize,
    pixels: usize,
    channels: usize,
    output_gradient: &[f32],
    argmax: &[u32],
    input_gradient: &mut [E],
) {
    assert_sizes("the output's gradient", output_gradient.len(), [batch, channels]);
    assert_sizes("the argmax", argmax.len(), [batch, channels]);
    assert_sizes("the input's gradient", input_gradient.len(), [batch, pixels, channels]);
    for_each_image(batch, pixels * channels, pixels * channels, input_gradient, |image, gradient| {
        gradient.fill(E::default());
        let places = image * channels..(image + 1) * channels;
        for (channel, (&pixel, &value)) in argmax[places.clone()].iter().zip(&output_gradient[places]).enumerate() {
            gradient[pixel as usize * channels + channel] = E::nearest(value);
        }
    });
}
