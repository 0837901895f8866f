//! Changing colours: what Pillow's `ImageEnhance` and `ImageOps`, and so torchvision, do to 8-bit images, to the
//! level. Draws nothing at random. Every function works in place on `[height, width, channels]`, 1 or 3 channels.

/// A new value for every value.
type Table = [u8; 256];

/// Mixes towards (`factor` below 1) or away from (above 1) a dull value, cut off at the ends and rounded down as
/// Pillow's `blend` does.
#[inline]
fn blend(dull: u8, value: u8, factor: f32) -> u8 {
    // Casts to u8 saturate.
    (f32::from(dull) + factor * (f32::from(value) - f32::from(dull))) as u8
}

/// Grey of a pixel: ITU-R BT.601 luma in 16-bit fixed point, as Pillow's `convert("L")`.
#[inline]
fn luma(pixel: &[u8]) -> u8 {
    match *pixel {
        [red, green, blue] => {
            ((u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471 + 0x8000) >> 16) as u8
        }
        _ => pixel.first().copied().unwrap_or(0),
    }
}

fn apply(pixels: &mut [u8], table: &Table) {
    for value in pixels {
        *value = table[usize::from(*value)];
    }
}

/// Brightness: 0 is black, 1 leaves the image as it is, 2 doubles every value.
pub(super) fn brightness(pixels: &mut [u8], factor: f32) {
    apply(pixels, &std::array::from_fn(|value| blend(0, value as u8, factor)));
}

/// Contrast: 0 is the image's mean grey everywhere, 1 leaves it as it is.
pub(super) fn contrast(pixels: &mut [u8], channels: usize, factor: f32) {
    let count = (pixels.len() / channels) as u64;
    let sum: u64 = pixels.chunks_exact(channels).map(|pixel| u64::from(luma(pixel))).sum();
    let mean = ((2 * sum + count) / (2 * count)) as u8;
    apply(pixels, &std::array::from_fn(|value| blend(mean, value as u8, factor)));
}

/// Saturation: 0 is grey, 1 leaves the image as it is. Grey images stay as they are.
pub(super) fn saturation(pixels: &mut [u8], channels: usize, factor: f32) {
    if channels == 1 {
        return;
    }
    for pixel in pixels.chunks_exact_mut(channels) {
        let grey = luma(pixel);
        for value in pixel {
            *value = blend(grey, *value, factor);
        }
    }
}

/// Sharpness: 0 is smoothed by a 3×3 kernel (5 in the middle, 1 around), 1 leaves the image as it is, 2 sharpens.
/// The outermost pixels stay as they are. `smooth`: room for one image.
pub(super) fn sharpness(pixels: &mut [u8], smooth: &mut [u8], width: usize, channels: usize, factor: f32) {
    let row = width * channels;
    let height = pixels.len() / row;
    smooth.copy_from_slice(pixels);
    for y in 1..height.saturating_sub(1) {
        for i in y * row + channels..(y + 1) * row - channels {
            let sum_of_three =
                |middle: usize| [middle - channels, middle, middle + channels].map(|at| u32::from(pixels[at]));
            let sum: u32 = [i - row, i, i + row].into_iter().flat_map(sum_of_three).sum();
            // 13 is odd, so no sum lies half-way between two levels.
            smooth[i] = ((2 * (sum + 4 * u32::from(pixels[i])) + 13) / 26) as u8;
        }
    }
    for (value, smooth) in pixels.iter_mut().zip(smooth) {
        *value = blend(*smooth, *value, factor);
    }
}

/// Keeps the highest `bits` of every value, 0 to 8.
pub(super) fn posterize(pixels: &mut [u8], bits: u32) {
    let mask = !((1_u32 << (8 - bits.min(8))) - 1) as u8;
    for value in pixels {
        *value &= mask;
    }
}

/// Inverts every value at or above a threshold.
pub(super) fn solarize(pixels: &mut [u8], threshold: f32) {
    for value in pixels {
        if f32::from(*value) >= threshold {
            *value = 255 - *value;
        }
    }
}

/// Stretches every channel so that its darkest value becomes 0 and its brightest 255.
pub(super) fn autocontrast(pixels: &mut [u8], channels: usize) {
    remap_channels(pixels, channels, |histogram| {
        let darkest = histogram.iter().position(|&count| count > 0)?;
        let brightest = histogram.iter().rposition(|&count| count > 0)?;
        if brightest == darkest {
            return None;
        }
        let scale = 255.0 / (brightest - darkest) as f64;
        let offset = -(darkest as f64) * scale;
        Some(std::array::from_fn(|value| (value as f64 * scale + offset) as u8))
    });
}

/// Gives every channel a histogram as flat as its values allow.
pub(super) fn equalize(pixels: &mut [u8], channels: usize) {
    remap_channels(pixels, channels, |histogram| {
        let brightest = histogram.iter().rev().find(|&&count| count > 0)?;
        let step = (histogram.iter().sum::<usize>() - brightest) / 255;
        if step == 0 {
            return None;
        }
        let mut below = step / 2;
        Some(std::array::from_fn(|value| {
            let level = below / step;
            below += histogram[value];
            level.min(255) as u8
        }))
    });
}

/// Replaces the values of each channel by a table made from its histogram; `None` leaves the channel alone.
fn remap_channels(pixels: &mut [u8], channels: usize, table: impl Fn(&[usize; 256]) -> Option<Table>) {
    for channel in 0..channels {
        let mut histogram = [0; 256];
        for &value in pixels[channel..].iter().step_by(channels) {
            histogram[usize::from(value)] += 1;
        }
        if let Some(table) = table(&histogram) {
            for value in pixels[channel..].iter_mut().step_by(channels) {
                *value = table[usize::from(*value)];
            }
        }
    }
}
