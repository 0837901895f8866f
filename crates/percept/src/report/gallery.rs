//! Pictures with captions, in rows: as a drawing of their own. A page shows the same in rows that fit the screen.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    Shown,
    svg::{Anchor, Drawing, escape, fit_text, text_width},
};
use crate::image::{Image, encode_png};

/// Pictures up to this side are shown with their pixels.
const SMALL: usize = 64;
const SIDE: f64 = 120.0;
const GAP: f64 = 12.0;
const LINE: f64 = 15.0;
const LETTERS: f64 = 12.0;
/// A caption that needs more lines is cut.
const LINES: usize = 3;
const IN_A_ROW: usize = 5;

pub(super) fn grid(title: &str, pictures: &[Shown]) -> Drawing {
    let columns = pictures.len().clamp(1, IN_A_ROW);
    let rows = pictures.len().div_ceil(columns);
    let captions: Vec<Vec<String>> = pictures.iter().map(|shown| wrap(&shown.caption)).collect();
    let lines = captions.iter().map(Vec::len).max().unwrap_or(0);
    let (width, height) = (SIDE + GAP, SIDE + LINE * lines as f64 + GAP);
    let mut drawing = Drawing::new(title, GAP + columns as f64 * width, GAP + rows as f64 * height);
    for (place, (Shown { image, name, .. }, caption)) in pictures.iter().zip(&captions).enumerate() {
        let x = GAP + (place % columns) as f64 * width;
        let y = GAP + (place / columns) as f64 * height;
        drawing.add(format_args!(
            "<image x=\"{x:.1}\" y=\"{y:.1}\" width=\"{SIDE}\" height=\"{SIDE}\" style=\"image-rendering:{}\" \
             href=\"{}\"><title>{}</title></image>",
            if is_small(image) { "pixelated" } else { "auto" },
            data_address(image),
            escape(name)
        ));
        for (line, text) in caption.iter().enumerate() {
            drawing.text(x + SIDE / 2.0, y + SIDE + LINE * (line + 1) as f64, Anchor::Middle, LETTERS, text);
        }
    }
    drawing
}

/// A caption in lines, cut between words; what is left for the last one is shortened.
fn wrap(caption: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in caption.split(' ') {
        match lines.last_mut() {
            Some(line) if text_width(line, LETTERS) + text_width(word, LETTERS) + LETTERS / 2.0 <= SIDE => {
                *line = format!("{line} {word}")
            }
            _ => lines.push(word.into()),
        }
    }
    if lines.len() > LINES {
        let rest = lines.split_off(LINES - 1).join(" ");
        lines.push(rest);
    }
    lines.iter().map(|line| fit_text(line, LETTERS, SIDE)).collect()
}

pub(super) fn is_small(image: &Image) -> bool {
    image.shape.height.max(image.shape.width) <= SMALL
}

/// A picture as an address that holds it.
pub(super) fn data_address(image: &Image) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(encode_png(image)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_cut_between_words_and_end_in_time() {
        assert_eq!(wrap("cat"), ["cat"]);
        let lines = wrap("automobile, taken for ship (97\u{a0}%)");
        assert_eq!((lines.len(), lines.join(" ").as_str()), (2, "automobile, taken for ship (97\u{a0}%)"));
        let long = wrap(&"a long name ".repeat(20));
        assert!(long.len() == LINES && long[LINES - 1].contains('…'), "{long:?}");
    }
}
