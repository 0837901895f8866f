//! Mixing images of a batch in pairs: mixup and cutmix. The first image is paired with the last, the second with the
//! last but one, and so on (batches are in random order already); both of a pair are mixed, each with the other, and
//! the middle one of an odd number stays as it is.

use rayon::prelude::*;

use super::geometry::Size;
use crate::data::random::Draws;

/// Mixup's weights are whole multiples of 1/256, so that 16-bit integers hold the products.
const WHOLE: u16 = 256;

/// Mixup: every pixel is a weighted mean of the pair's, the weight from Beta(alpha, alpha), one for the batch. Zhang
/// et al., "mixup: Beyond empirical risk minimization" (ICLR 2018). Returns each image's own share.
pub(super) fn mixup(pixels: &mut [u8], image_len: usize, alpha: f64, draws: &mut Draws) -> f32 {
    let own = (draws.beta(alpha) * f64::from(WHOLE)).round() as u16;
    for_each_pair(pixels, image_len, |first, second| blend_pair(first, second, own));
    f32::from(own) / f32::from(WHOLE)
}

/// Blends two images in place; a function of its own, since a weight passed by value lets the loop be vectorised.
fn blend_pair(first: &mut [u8], second: &mut [u8], own: u16) {
    let mix = |a: u8, b: u8| ((u16::from(a) * own + u16::from(b) * (WHOLE - own) + WHOLE / 2) / WHOLE) as u8;
    for (a, b) in first.iter_mut().zip(second) {
        (*a, *b) = (mix(*a, *b), mix(*b, *a));
    }
}

/// Cutmix: a pair exchanges one rectangle, the same in the whole batch; the part kept is from Beta(alpha, alpha), the
/// place uniform, and what hangs over the edge is cut off. Yun et al., "CutMix: Regularization strategy to train
/// strong classifiers with localizable features" (ICCV 2019). Returns each image's own share of the area.
pub(super) fn cutmix(pixels: &mut [u8], size: Size, channels: usize, alpha: f64, draws: &mut Draws) -> f32 {
    let side = (1.0 - draws.beta(alpha)).sqrt();
    let [top, bottom] = draw_span(size.height, side, draws);
    let [left, right] = draw_span(size.width, side, draws);
    let row = size.width * channels;
    for_each_pair(pixels, size.height * row, |first, second| {
        for y in top..bottom {
            let part = y * row + left * channels..y * row + right * channels;
            first[part.clone()].swap_with_slice(&mut second[part]);
        }
    });
    let area = size.height * size.width;
    (area - (bottom - top) * (right - left)) as f32 / area as f32
}

/// Begin and end of a part of an axis around a random middle, cut off at the axis's ends.
fn draw_span(side: usize, part: f64, draws: &mut Draws) -> [usize; 2] {
    let length = (side as f64 * part) as usize;
    let middle = draws.below(side as u32) as usize;
    let begin = middle.saturating_sub(length / 2);
    [begin, (middle + length - length / 2).min(side)]
}

fn for_each_pair(pixels: &mut [u8], image_len: usize, work: impl Fn(&mut [u8], &mut [u8]) + Sync) {
    let images = pixels.len() / image_len;
    let (front, back) = pixels.split_at_mut(images.div_ceil(2) * image_len);
    let partners = back.par_chunks_exact_mut(image_len).rev();
    front.par_chunks_exact_mut(image_len).zip(partners).for_each(|(first, second)| work(first, second));
}
