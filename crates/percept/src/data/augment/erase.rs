//! Random erasing: a rectangle of the image is lost in noise, so that no single part decides.

use super::geometry::Size;
use crate::data::random::Draws;

/// Rectangles that are tried before an image is left whole, as in torchvision.
const ATTEMPTS: usize = 10;

/// Fills one rectangle with random bytes. Zhong et al., "Random erasing data augmentation" (AAAI 2020): 2 to 33 % of
/// the area, sides in a ratio of 0.3 to 3.3 (drawn on a logarithmic scale, so that lying and standing rectangles are
/// equally likely), filled with noise, which the paper found best. `pixels`: `[height, width, channels]`.
pub(super) fn erase(pixels: &mut [u8], size: Size, channels: usize, draws: &mut Draws) {
    let Some([top, left, height, width]) = draw_rectangle(size, draws) else {
        return;
    };
    let rows = pixels.chunks_exact_mut(size.width * channels);
    for row in rows.skip(top).take(height) {
        draws.fill(&mut row[left * channels..(left + width) * channels]);
    }
}

/// Top, left, height and width of a rectangle smaller than the image in both directions; `None` when none came up.
fn draw_rectangle(size: Size, draws: &mut Draws) -> Option<[usize; 4]> {
    for _ in 0..ATTEMPTS {
        let area = draws.between(0.02, 0.33) * (size.height * size.width) as f64;
        let ratio = libm::exp(draws.between(libm::log(0.3), libm::log(3.3)));
        let (height, width) = ((area * ratio).sqrt().round() as usize, (area / ratio).sqrt().round() as usize);
        if (1..size.height).contains(&height) && (1..size.width).contains(&width) {
            let top = draws.below((size.height - height + 1) as u32) as usize;
            let left = draws.below((size.width - width + 1) as u32) as usize;
            return Some([top, left, height, width]);
        }
    }
    None
}
