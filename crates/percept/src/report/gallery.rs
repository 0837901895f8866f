//! Pictures with captions, in rows: as a drawing of their own. A page shows the same in rows that fit the screen.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Shown,
    svg::{Anchor, Drawing, escape, fit_text},
};
use crate::image::{Image, encode_png};

/// Pictures up to this side are shown with their pixels.
const SMALL: usize = 64;
const SIDE: f64 = 120.0;
const GAP: f64 = 12.0;
const CAPTION: f64 = 24.0;
const IN_A_ROW: usize = 5;

pub(super) fn grid(title: &str, pictures: &[Shown]) -> Drawing {
    let columns = pictures.len().clamp(1, IN_A_ROW);
    let rows = pictures.len().div_ceil(columns);
    let (width, height) = (SIDE + GAP, SIDE + CAPTION + GAP);
    let mut drawing = Drawing::new(title, GAP + columns as f64 * width, GAP + rows as f64 * height);
    for (place, Shown { image, caption, name }) in pictures.iter().enumerate() {
        let x = GAP + (place % columns) as f64 * width;
        let y = GAP + (place / columns) as f64 * height;
        drawing.add(format_args!(
            "<image x=\"{x:.1}\" y=\"{y:.1}\" width=\"{SIDE}\" height=\"{SIDE}\" style=\"image-rendering:{}\" \
             href=\"{}\"><title>{}</title></image>",
            if is_small(image) { "pixelated" } else { "auto" },
            data_address(image),
            escape(name)
        ));
        let caption = fit_text(caption, 12.0, SIDE);
        drawing.text(x + SIDE / 2.0, y + SIDE + 16.0, Anchor::Middle, 12.0, &caption);
    }
    drawing
}

pub(super) fn is_small(image: &Image) -> bool {
    image.shape.height.max(image.shape.width) <= SMALL
}

/// A picture as an address that holds it.
pub(super) fn data_address(image: &Image) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(encode_png(image)))
}
