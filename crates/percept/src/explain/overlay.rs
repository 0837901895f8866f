//! An explanation drawn over its picture.

use super::{Explanation, Method};
use crate::image::{Fit, Image, ImageShape, resize};

/// Pictures are drawn with sides of about this many pixels: small ones with pixels that can be seen, large ones reduced.
const SMALLEST: usize = 160;
const LARGEST: usize = 1024;
/// Share of the colour where an explanation is strongest.
const OPACITY: f32 = 0.75;
/// From hardly to strongest: dark red, orange, pale yellow. Their lightness rises, so that they order themselves for
/// whoever sees no colours.
const HEAT: [[f32; 3]; 3] = [[150.0, 0.0, 60.0], [245.0, 100.0, 20.0], [255.0, 245.0, 160.0]];
/// For and against: orange and blue, which nearly everybody tells apart.
const FOR: [f32; 3] = [255.0, 140.0, 0.0];
const AGAINST: [f32; 3] = [40.0, 110.0, 255.0];
/// Share of the votes that may be beyond the scale, so that one outlier does not hide all others.
const OUTLIERS: f64 = 0.01;

/// The picture in grey, and over it in colour what spoke for the class (orange, yellow) or against it (blue). `part` is
/// what the network saw of the picture, as [`crate::image::part_seen`] gives it.
pub fn overlay(picture: &Image, part: [f64; 4], explanation: &Explanation) -> Image {
    let base = enlarge_or_reduce(&picture.clone().in_grey());
    let scale =
        [picture.shape.width as f64 / base.shape.width as f64, picture.shape.height as f64 / base.shape.height as f64];
    let [left, top, width, height] = part;
    let strongest = strongest(explanation).max(f32::MIN_POSITIVE);
    let mut pixels = Vec::with_capacity(3 * base.shape.len());
    for (place, &grey) in base.pixels.iter().enumerate() {
        let [x, y] = [place % base.shape.width, place / base.shape.width].map(|place| place as f64 + 0.5);
        // As shares of the part that the network saw.
        let [x, y] = [(x * scale[0] - left) / width, (y * scale[1] - top) / height];
        let value = (value_at(explanation, x, y) / strongest).clamp(-1.0, 1.0);
        let colour = match explanation.method {
            Method::GradCam => heat(value),
            Method::PixelVotes if value < 0.0 => AGAINST,
            Method::PixelVotes => FOR,
        };
        let (grey, opacity) = (f32::from(grey), OPACITY * value.abs());
        pixels.extend(colour.map(|colour| (grey + opacity * (colour - grey)).round() as u8));
    }
    Image { shape: ImageShape { channels: 3, ..base.shape }, pixels }
}

/// A grey picture at a size that can be looked at.
fn enlarge_or_reduce(picture: &Image) -> Image {
    let ImageShape { height, width, .. } = picture.shape;
    let longest = height.max(width);
    if longest > LARGEST {
        let side = |side: usize| (side * LARGEST / longest).max(1);
        return resize(picture, side(height), side(width), Fit::Stretch);
    }
    let times = SMALLEST.div_ceil(longest.max(1));
    let shape = ImageShape { height: height * times, width: width * times, channels: 1 };
    let wide = |row: &[u8]| row.iter().flat_map(|&pixel| std::iter::repeat_n(pixel, times)).collect::<Vec<u8>>();
    let rows = picture.pixels.chunks_exact(width.max(1));
    Image { shape, pixels: rows.flat_map(|row| wide(row).repeat(times)).collect() }
}

/// What the strongest colour stands for.
fn strongest(explanation: &Explanation) -> f32 {
    let mut sizes: Vec<f32> = explanation.map.iter().map(|value| value.abs()).filter(|size| size.is_finite()).collect();
    sizes.sort_by(f32::total_cmp);
    let outliers = match explanation.method {
        Method::GradCam => 0,
        Method::PixelVotes => (sizes.len() as f64 * OUTLIERS) as usize,
    };
    sizes.iter().rev().nth(outliers).copied().unwrap_or(0.0)
}

/// The map at a place given in shares of its sides: as it is for votes, between pixels for a map of features. Nothing
/// outside.
fn value_at(explanation: &Explanation, x: f64, y: f64) -> f32 {
    let Explanation { height, width, ref map, .. } = *explanation;
    if !(0.0..1.0).contains(&x) || !(0.0..1.0).contains(&y) {
        return 0.0;
    }
    let at = |row: usize, column: usize| map[row * width + column];
    if explanation.method == Method::PixelVotes {
        return at((y * height as f64) as usize, (x * width as f64) as usize);
    }
    let between = |share: f64, length: usize| {
        let place = (share * length as f64 - 0.5).clamp(0.0, (length - 1) as f64);
        let first = place as usize;
        (first, (first + 1).min(length - 1), place.fract() as f32)
    };
    let ((top, bottom, down), (left, right, across)) = (between(y, height), between(x, width));
    let mix = |a: f32, b: f32, share: f32| a + share * (b - a);
    mix(mix(at(top, left), at(top, right), across), mix(at(bottom, left), at(bottom, right), across), down)
}

/// The colour of a heat from 0 to 1.
fn heat(value: f32) -> [f32; 3] {
    let place = value.clamp(0.0, 1.0) * (HEAT.len() - 1) as f32;
    let first = (place as usize).min(HEAT.len() - 2);
    let share = place - first as f32;
    [0, 1, 2].map(|channel| HEAT[first][channel] + share * (HEAT[first + 1][channel] - HEAT[first][channel]))
}
