//! Pooling, forward and backward.

use rayon::prelude::*;

use crate::shape::PoolShape;

/// The largest value of each window, and its place in the window, counted row by row. NaN is larger than any number.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn max_pool(shape: &PoolShape, input: &[f32], output: &mut [f32], argmax: &mut [u8]) {
    assert_eq!(input.len(), shape.input_len(), "numbers in the input of {shape:?}");
    assert_eq!(output.len(), shape.output_len(), "numbers in the output of {shape:?}");
    assert_eq!(argmax.len(), output.len());
    let (channels, width) = (shape.channels, shape.out_width());
    let row_len = width * channels;
    if row_len == 0 {
        return;
    }
    output.par_chunks_mut(row_len).zip(argmax.par_chunks_mut(row_len)).enumerate().for_each(|(row, (output, argmax))| {
        let (image, row) = (row / shape.out_height(), row % shape.out_height());
        for (column, (output, argmax)) in
            output.chunks_exact_mut(channels).zip(argmax.chunks_exact_mut(channels)).enumerate()
        {
            output.fill(f32::NEG_INFINITY);
            let mut first = true;
            for (place, source) in window(shape, image, row, column) {
                let values = &input[source..source + channels];
                for ((out, arg), &value) in output.iter_mut().zip(argmax.iter_mut()).zip(values) {
                    if first || value > *out || (value.is_nan() && !out.is_nan()) {
                        *out = value;
                        *arg = place as u8;
                    }
                }
                first = false;
            }
        }
    });
}

/// The places of an output pixel's window that lie inside the image: their number, and where they are in the input.
fn window(shape: &PoolShape, image: usize, row: usize, column: usize) -> impl Iterator<Item = (usize, usize)> {
    let shape = *shape;
    (0..shape.kernel * shape.kernel).filter_map(move |place| {
        let y = (row * shape.stride + place / shape.kernel).checked_sub(shape.padding)?;
        let x = (column * shape.stride + place % shape.kernel).checked_sub(shape.padding)?;
        let inside = y < shape.height && x < shape.width;
        inside.then(|| (place, ((image * shape.height + y) * shape.width + x) * shape.channels))
    })
}

/// Sends each gradient to the place that was largest.
///
/// # Panics
/// If a slice has another length than the shape says.
pub fn max_pool_gradient(shape: &PoolShape, output_gradient: &[f32], argmax: &[u8], input_gradient: &mut [f32]) {
    assert_eq!(input_gradient.len(), shape.input_len(), "numbers in the input of {shape:?}");
    assert_eq!(output_gradient.len(), shape.output_len(), "numbers in the output of {shape:?}");
    assert_eq!(argmax.len(), output_gradient.len());
    let (channels, width, height) = (shape.channels, shape.out_width(), shape.out_height());
    let size = shape.height * shape.width * channels;
    if size == 0 {
        return;
    }
    input_gradient.par_chunks_mut(size).enumerate().for_each(|(image, into)| {
        into.fill(0.0);
        for pixel in 0..height * width {
            let first = (image * height * width + pixel) * channels;
            let (row, column) = (pixel / width, pixel % width);
            for c in 0..channels {
                let place = usize::from(argmax[first + c]);
                let y = row * shape.stride + place / shape.kernel - shape.padding;
                let x = column * shape.stride + place % shape.kernel - shape.padding;
                into[(y * shape.width + x) * channels + c] += output_gradient[first + c];
            }
        }
    });
}

/// The mean of each channel over an image's pixels.
///
/// # Panics
/// If a slice has another length than the numbers say.
pub fn global_average_pool(batch: usize, pixels: usize, channels: usize, input: &[f32], output: &mut [f32]) {
    check(batch, pixels, channels, input, output);
    let share = 1.0 / pixels as f32;
    for_each_image(pixels, channels, input, output, |image, out| {
        out.fill(0.0);
        for pixel in image.chunks_exact(channels) {
            out.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
        }
        out.iter_mut().for_each(|sum| *sum *= share);
    });
}

fn check(batch: usize, pixels: usize, channels: usize, large: &[f32], small: &[f32]) {
    assert_eq!(large.len(), batch * pixels * channels);
    assert_eq!(small.len(), batch * channels);
}

fn for_each_image(
    pixels: usize,
    channels: usize,
    input: &[f32],
    output: &mut [f32],
    work: impl Fn(&[f32], &mut [f32]) + Sync,
) {
    if channels > 0 && pixels > 0 {
        let images = input.par_chunks(pixels * channels);
        output.par_chunks_mut(channels).zip(images).for_each(|(out, image)| work(image, out));
    }
}

/// Spreads each gradient evenly over the pixels.
///
/// # Panics
/// If a slice has another length than the numbers say.
pub fn global_average_pool_gradient(
    batch: usize,
    pixels: usize,
    channels: usize,
    output_gradient: &[f32],
    input_gradient: &mut [f32],
) {
    check(batch, pixels, channels, input_gradient, output_gradient);
    if channels == 0 || pixels == 0 {
        return;
    }
    let share = 1.0 / pixels as f32;
    let images = output_gradient.par_chunks(channels);
    input_gradient.par_chunks_mut(pixels * channels).zip(images).for_each(|(image, gradient)| {
        for pixel in image.chunks_exact_mut(channels) {
            pixel.iter_mut().zip(gradient).for_each(|(into, g)| *into = g * share);
        }
    });
}

/// The largest value of each channel over an image's pixels, and the pixel where it is.
///
/// # Panics
/// If a slice has another length than the numbers say.
pub fn global_max_pool(
    batch: usize,
    pixels: usize,
    channels: usize,
    input: &[f32],
    output: &mut [f32],
    argmax: &mut [u32],
) {
    check(batch, pixels, channels, input, output);
    assert_eq!(argmax.len(), output.len());
    if channels == 0 || pixels == 0 {
        return;
    }
    let images = input.par_chunks(pixels * channels);
    output.par_chunks_mut(channels).zip(argmax.par_chunks_mut(channels)).zip(images).for_each(|((out, arg), image)| {
        out.copy_from_slice(&image[..channels]);
        arg.fill(0);
        for (pixel, values) in image.chunks_exact(channels).enumerate().skip(1) {
            for ((out, arg), &value) in out.iter_mut().zip(arg.iter_mut()).zip(values) {
                if value > *out || (value.is_nan() && !out.is_nan()) {
                    *out = value;
                    *arg = pixel as u32;
                }
            }
        }
    });
}

/// Sends each gradient to the pixel that was largest.
///
/// # Panics
/// If a slice has another length than the numbers say.
pub fn global_max_pool_gradient(
    batch: usize,
    pixels: usize,
    channels: usize,
    output_gradient: &[f32],
    argmax: &[u32],
    input_gradient: &mut [f32],
) {
    check(batch, pixels, channels, input_gradient, output_gradient);
    assert_eq!(argmax.len(), output_gradient.len());
    input_gradient.fill(0.0);
    for image in 0..batch {
        for c in 0..channels {
            let place = image * channels + c;
            input_gradient[(image * pixels + argmax[place] as usize) * channels + c] = output_gradient[place];
        }
    }
}
