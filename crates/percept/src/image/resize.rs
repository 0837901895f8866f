//! temporary
use super::{Fit, Image};
pub fn resize(image: &Image, _h: usize, _w: usize, _fit: Fit) -> Image { image.clone() }
