//! Pictures that people look at: no larger than is seen, as addresses that hold them.

use base64::{Engine, prelude::BASE64_STANDARD};
use percept::image::{self, Fit, Image, ImageShape};

/// A picture whose longer side is no longer than this.
pub(crate) fn reduced(picture: &Image, longest: usize) -> Image {
    let ImageShape { height, width, .. } = picture.shape;
    let longer = height.max(width);
    if longer <= longest {
        return picture.clone();
    }
    let side = |side: usize| (side * longest / longer).max(1);
    image::resize(picture, side(height), side(width), Fit::Stretch)
}

/// A picture as an address that holds it.
pub(crate) fn address(picture: &Image) -> String {
    format!("data:image/png;base64,{}", BASE64_STANDARD.encode(image::encode_png(picture)))
}
