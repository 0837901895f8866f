//! From one size to another, antialiased, and back to a file for reports.

use std::borrow::Cow;

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image as Pixels, ImageRef},
};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use super::{Filter, Fit, Framing, Image, ImageShape};

/// What [`Fit::Pad`] fills the rest with: the grey closest to ImageNet's mean colour, so that after the usual
/// normalisation the border is near zero.
pub const PADDING: u8 = 114;

/// Brings a picture to `height` and `width` (both at least 1) by a filter that widens with the reduction, as Pillow's
/// `BILINEAR` or `BICUBIC` and torchvision's `antialias=True`. A picture that has the size already is copied, unless a
/// margin is to be cut off.
pub fn resize(image: &Image, height: usize, width: usize, framing: impl Into<Framing>) -> Image {
    resize_or_lend(image, height, width, framing).into_owned()
}

/// [`resize`], but what has the size already is not copied.
pub(crate) fn resize_or_lend(
    image: &Image,
    height: usize,
    width: usize,
    framing: impl Into<Framing>,
) -> Cow<'_, Image> {
    let Framing { fit, filter, crop } = framing.into();
    let shape = image.shape;
    let cuts = fit == Fit::Crop && crop < 1.0;
    if shape.is_empty() || ([shape.height, shape.width] == [height, width] && !cuts) {
        return Cow::Borrowed(image);
    }
    let plan = Plan::new(shape, height, width, Framing { fit, filter, crop });
    Cow::Owned(plan.pad(resample(image, plan.part, plan.size[0], plan.size[1], filter)))
}

/// What a picture of one shape becomes.
pub(super) struct Plan {
    /// The part that is resampled: left, top, width and height in the picture's pixels.
    pub(super) part: [f64; 4],
    /// The height and width that it gets.
    pub(super) size: [usize; 2],
    pub(super) filter: Filter,
    /// The height and width of the whole; around the part it is filled.
    whole: [usize; 2],
}

impl Plan {
    pub(super) fn new(shape: ImageShape, height: usize, width: usize, framing: Framing) -> Self {
        let Framing { fit, filter, crop } = framing;
        let all = [0.0, 0.0, shape.width as f64, shape.height as f64];
        let whole = [height, width];
        let (part, size) = match fit {
            Fit::Stretch => (all, whole),
            Fit::Crop if crop < 1.0 => (within_margin(shape, height, width, crop), whole),
            Fit::Crop => (middle(shape, height, width), whole),
            Fit::Pad => (all, inside(shape, height, width)),
        };
        Self { part, size, filter, whole }
    }

    /// Whether no side gets more pixels and one gets less.
    pub(super) fn reduces(&self) -> bool {
        let [_, _, width, height] = self.part;
        let [rows, columns] = self.size.map(|side| side as f64);
        height >= rows && width >= columns && (height > rows || width > columns)
    }

    /// Adds what is around the part.
    pub(super) fn pad(&self, image: Image) -> Image {
        if self.size == self.whole { image } else { pad(&image, self.whole[0], self.whole[1]) }
    }
}

/// The part of a picture of this shape that [`resize`] brings to `height` and `width`: left, top, width and height in the
/// picture's pixels. With [`Fit::Pad`] it reaches beyond the picture.
pub fn part_seen(shape: ImageShape, height: usize, width: usize, framing: impl Into<Framing>) -> [f64; 4] {
    let Plan { part, size, whole, .. } = Plan::new(shape, height, width, framing.into());
    if size == whole {
        return part;
    }
    let [top, left] = before(size, height, width).map(|pixels| pixels as f64);
    let pixel = [part[2] / size[1] as f64, part[3] / size[0] as f64];
    [part[0] - left * pixel[0], part[1] - top * pixel[1], width as f64 * pixel[0], height as f64 * pixel[1]]
}

/// What would be the middle if the picture were first resized to cover the target over `crop`: left, top, width, height.
/// Sides and margins are whole pixels there, as in torchvision's `Resize` and `CenterCrop`.
fn within_margin(shape: ImageShape, height: usize, width: usize, crop: f64) -> [f64; 4] {
    let sides = [shape.height as f64, shape.width as f64];
    let wanted = [height as f64, width as f64];
    let covered = wanted.map(|side| (side / crop).floor());
    let scale = (covered[0] / sides[0]).max(covered[1] / sides[1]);
    let [vertical, horizontal] = [0, 1].map(|axis| {
        // The side that decides is exact; rounding errors must not take a pixel off it.
        let resized = (sides[axis] * scale + 1e-9).floor().max(wanted[axis]);
        let pixel = sides[axis] / resized;
        let start = ((resized - wanted[axis]) / 2.0).round_ties_even();
        [start * pixel, wanted[axis] * pixel]
    });
    [horizontal[0], vertical[0], horizontal[1], vertical[1]]
}

/// The largest box of the target's aspect ratio in the middle of the picture: left, top, width, height.
fn middle(shape: ImageShape, height: usize, width: usize) -> [f64; 4] {
    let [full_width, full_height] = [shape.width as f64, shape.height as f64];
    let ratio = width as f64 / height as f64;
    let box_width = full_width.min(full_height * ratio);
    let box_height = full_height.min(full_width / ratio);
    [(full_width - box_width) / 2.0, (full_height - box_height) / 2.0, box_width, box_height]
}

/// The largest height and width of the picture's own aspect ratio inside the target.
fn inside(shape: ImageShape, height: usize, width: usize) -> [usize; 2] {
    let scale = (height as f64 / shape.height as f64).min(width as f64 / shape.width as f64);
    let fit = |side: usize, limit: usize| ((side as f64 * scale).round() as usize).clamp(1, limit);
    [fit(shape.height, height), fit(shape.width, width)]
}

/// Resamples the box `[left, top, width, height]` of a picture.
fn resample(
    image: &Image,
    [left, top, box_width, box_height]: [f64; 4],
    height: usize,
    width: usize,
    filter: Filter,
) -> Image {
    let shape = ImageShape { height, width, channels: image.shape.channels };
    let kind = if shape.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(match filter {
            Filter::Bilinear => FilterType::Bilinear,
            Filter::Bicubic => FilterType::CatmullRom,
        }))
        .crop(left, top, box_width, box_height)
        .use_alpha(false);
    let mut target = Pixels::new(width as u32, height as u32, kind);
    let source = ImageRef::new(image.shape.width as u32, image.shape.height as u32, &image.pixels, kind);
    // Both fail only where pixels and shape, or box and picture, disagree, which their makers rule out.
    let done = source.ok().and_then(|source| Resizer::new().resize(&source, &mut target, &options).ok());
    debug_assert!(done.is_some(), "{:?} to {height}x{width}", image.shape);
    Image { shape, pixels: target.into_vec() }
}

/// Rows above and columns left of a picture of the size `[height, width]` in the middle of a larger one.
fn before(inner: [usize; 2], height: usize, width: usize) -> [usize; 2] {
    [(height - inner[0]) / 2, (width - inner[1]) / 2]
}

/// Puts a picture in the middle of a grey one.
fn pad(image: &Image, height: usize, width: usize) -> Image {
    let channels = image.shape.channels;
    let mut pixels = vec![PADDING; height * width * channels];
    let [top, left] = before([image.shape.height, image.shape.width], height, width);
    for (row, line) in image.pixels.chunks_exact(image.shape.width * channels).enumerate() {
        let start = ((top + row) * width + left) * channels;
        pixels[start..start + line.len()].copy_from_slice(line);
    }
    Image { shape: ImageShape { height, width, channels }, pixels }
}

/// The picture as the bytes of a PNG file; nothing where it holds no pixel.
pub fn encode_png(image: &Image) -> Vec<u8> {
    let colour = if image.shape.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut bytes = Vec::new();
    if image.shape.is_empty() || image.pixels.len() != image.shape.len() {
        return bytes;
    }
    let [width, height] = [image.shape.width as u32, image.shape.height as u32];
    match PngEncoder::new(&mut bytes).write_image(&image.pixels, width, height, colour) {
        Ok(()) => bytes,
        Err(_) => Vec::new(), // writing to memory does not fail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(height: usize, width: usize, channels: usize) -> Image {
        let shape = ImageShape { height, width, channels };
        let pixels = (0..shape.len()).map(|i| ((i * 7919 + i * i * 31) % 256) as u8).collect();
        Image { shape, pixels }
    }

    /// Weights of one output pixel along a side: the triangle filter of the definition, in f64.
    fn weights(start: f64, length: f64, from: usize, to: usize, at: usize) -> Vec<(usize, f64)> {
        let scale = length / to as f64;
        let (centre, support) = (start + (at as f64 + 0.5) * scale, scale.max(1.0));
        let taps: Vec<(usize, f64)> = (0..from)
            .map(|i| (i, (1.0 - ((i as f64 + 0.5 - centre) / support).abs()).max(0.0)))
            .filter(|tap| tap.1 > 0.0)
            .collect();
        let sum: f64 = taps.iter().map(|tap| tap.1).sum();
        taps.into_iter().map(|(i, weight)| (i, weight / sum)).collect()
    }

    fn reference(image: &Image, [left, top, w, h]: [f64; 4], height: usize, width: usize) -> Vec<f64> {
        let ImageShape { height: from_height, width: from_width, channels } = image.shape;
        let mut out = Vec::new();
        for y in 0..height {
            for x in 0..width {
                for c in 0..channels {
                    let mut sum = 0.0;
                    for &(j, wy) in &weights(top, h, from_height, height, y) {
                        for &(i, wx) in &weights(left, w, from_width, width, x) {
                            sum += wy * wx * f64::from(image.pixels[(j * from_width + i) * channels + c]);
                        }
                    }
                    out.push(sum);
                }
            }
        }
        out
    }

    fn assert_close(image: &Image, expected: &[f64], what: &str) {
        assert_eq!(image.pixels.len(), expected.len(), "{what}");
        for (at, (&got, &want)) in image.pixels.iter().zip(expected).enumerate() {
            assert!((f64::from(got) - want).abs() <= 1.5, "{what}: value {at} is {got}, expected {want:.2}");
        }
    }

    const SIZES: [[usize; 2]; 8] = [[1, 1], [1, 9], [9, 1], [2, 3], [8, 8], [17, 5], [31, 64], [50, 33]];

    #[test]
    fn stretching_agrees_with_the_definition_on_odd_sizes() {
        for channels in [1, 3] {
            for [from_height, from_width] in SIZES {
                for [height, width] in SIZES {
                    let image = picture(from_height, from_width, channels);
                    let got = resize(&image, height, width, Fit::Stretch);
                    let whole = [0.0, 0.0, from_width as f64, from_height as f64];
                    let what = format!("{from_height}x{from_width}x{channels} to {height}x{width}");
                    assert_eq!(got.shape, ImageShape { height, width, channels }, "{what}");
                    if [from_height, from_width] == [height, width] {
                        assert_eq!(got, image, "{what}");
                    } else {
                        assert_close(&got, &reference(&image, whole, height, width), &what);
                    }
                }
            }
        }
    }

    #[test]
    fn cropping_keeps_the_middle_and_the_aspect_ratio() {
        let image = picture(20, 50, 3);
        let got = resize(&image, 10, 10, Fit::Crop);
        assert_close(&got, &reference(&image, [15.0, 0.0, 20.0, 20.0], 10, 10), "wide");
        let image = picture(50, 20, 1);
        let got = resize(&image, 10, 20, Fit::Crop);
        assert_close(&got, &reference(&image, [0.0, 20.0, 20.0, 10.0], 10, 20), "tall");
        assert_eq!(resize(&picture(1, 300, 1), 7, 7, Fit::Crop).shape.len(), 49);
        assert_eq!(resize(&picture(300, 1, 3), 7, 9, Fit::Crop).shape.len(), 189);
    }

    #[test]
    fn padding_keeps_everything_and_fills_the_rest_with_grey() {
        let image = Image { shape: ImageShape { height: 4, width: 8, channels: 1 }, pixels: vec![9; 32] };
        let got = resize(&image, 8, 8, Fit::Pad);
        let grey = |rows: usize| vec![PADDING; rows * 8];
        assert_eq!(got.pixels, [grey(2), vec![9; 32], grey(2)].concat());
        let thin = resize(&picture(1, 300, 3), 5, 10, Fit::Pad);
        assert_eq!(thin.pixels.iter().filter(|&&value| value == PADDING).count(), 4 * 10 * 3);
        assert_eq!(resize(&picture(7, 7, 3), 7, 7, Fit::Pad), picture(7, 7, 3));
    }

    #[test]
    fn the_part_that_is_seen_is_the_one_that_is_resampled() {
        let image = picture(30, 50, 3);
        for framing in [Framing::from(Fit::Stretch), Fit::Crop.into(), Framing { crop: 0.8, ..Fit::Crop.into() }] {
            let seen = part_seen(image.shape, 12, 16, framing);
            assert_eq!(resample(&image, seen, 12, 16, framing.filter), resize(&image, 12, 16, framing), "{framing:?}");
        }
        // 30x50 becomes 10x16 with a row of grey above and one below.
        assert_eq!(part_seen(image.shape, 12, 16, Fit::Pad), [0.0, -3.0, 50.0, 36.0]);
    }

    #[test]
    fn a_png_holds_the_same_pixels() {
        for channels in [1, 3] {
            let image = picture(5, 3, channels);
            assert_eq!(crate::image::decode(&encode_png(&image), channels), Ok(image));
        }
        let colour = picture(5, 3, 3);
        assert_eq!(crate::image::decode(&encode_png(&colour), 1), Ok(colour.clone().in_grey()));
        assert_eq!(colour.clone().in_grey().with_channels(3).with_channels(1), colour.in_grey());
        let empty = Image { shape: ImageShape { height: 0, width: 3, channels: 1 }, pixels: vec![] };
        assert!(encode_png(&empty).is_empty());
    }
}
