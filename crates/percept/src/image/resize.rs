//! Stand-in: nearest neighbour.

use super::{Fit, Image, ImageShape};

/// Brings a picture to a height and width.
pub fn resize(image: &Image, height: usize, width: usize, _fit: Fit) -> Image {
    let ImageShape { height: rows, width: columns, channels } = image.shape;
    let shape = ImageShape { height, width, channels };
    let mut pixels = Vec::with_capacity(shape.len());
    for y in 0..height {
        for x in 0..width {
            let at = ((y * rows / height) * columns + x * columns / width) * channels;
            pixels.extend_from_slice(&image.pixels[at..at + channels]);
        }
    }
    Image { shape, pixels }
}
