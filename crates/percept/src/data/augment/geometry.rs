//! Moving pixels: mirrored and shifted copies, and affine maps with bilinear interpolation. Draws nothing at random.

use serde::{Deserialize, Serialize};

/// What is seen where a shift, a turn or a zoom looks past an image's edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// The image mirrored at its edge, the edge pixel itself not repeated: no seam that a network could learn.
    #[default]
    Reflect,
    /// Black.
    Zeros,
}

impl Padding {
    /// The pixel of an axis of `side` pixels that is seen at a position inside or outside of it; `None` is black.
    #[inline]
    fn locate(self, position: isize, side: usize) -> Option<usize> {
        match self {
            _ if position >= 0 && (position as usize) < side => Some(position as usize),
            Self::Zeros => None,
            Self::Reflect if side == 1 => Some(0),
            Self::Reflect => {
                let period = 2 * (side - 1);
                let folded = position.rem_euclid(period as isize) as usize;
                Some(folded.min(period - folded))
            }
        }
    }
}

/// Height and width in pixels of an image whose channels are known to the compiler.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) height: usize,
    pub(super) width: usize,
}

/// Copies an image so that pixel (y, x) shows what stood at (y + down, x + right), mirrored left to right first if
/// asked. `source`, `target`: `[height, width, C]`.
pub(super) fn shift<const C: usize>(
    source: &[u8],
    target: &mut [u8],
    size: Size,
    [down, right]: [isize; 2],
    padding: Padding,
    mirrored: bool,
) {
    let Size { height, width } = size;
    // The columns [first, end) of the target lie inside the source; the source's columns begin at `start`.
    let first = (-right).clamp(0, width as isize) as usize;
    let end = (width as isize - right).clamp(first as isize, width as isize) as usize;
    let start = first.saturating_add_signed(right).min(width);
    for (y, row) in target.chunks_exact_mut(width * C).enumerate() {
        let Some(line) = padding.locate(y as isize + down, height) else {
            row.fill(0);
            continue;
        };
        let line = &source[line * width * C..][..width * C];
        let inside = &mut row[first * C..end * C];
        if mirrored {
            let seen = &line[(width - start - (end - first)) * C..(width - start) * C];
            for (to, from) in inside.chunks_exact_mut(C).zip(seen.chunks_exact(C).rev()) {
                to.copy_from_slice(from);
            }
        } else {
            inside.copy_from_slice(&line[start * C..(start + end - first) * C]);
        }
        for x in (0..first).chain(end..width) {
            let pixel = &mut row[x * C..][..C];
            match padding.locate(x as isize + right, width) {
                Some(column) => {
                    let column = if mirrored { width - 1 - column } else { column };
                    pixel.copy_from_slice(&line[column * C..][..C]);
                }
                None => pixel.fill(0),
            }
        }
    }
}

/// An affine map from places in the target to places in the source: `x' = m[0] x + m[1] y + m[2]`,
/// `y' = m[3] x + m[4] y + m[5]`. Places are in pixels; the centre of the first pixel is (0.5, 0.5).
pub(super) type Matrix = [f64; 6];

/// The map that turns an image counter-clockwise about its middle and enlarges it. The sine and cosine are
/// `libm`'s, so that every machine computes the same map.
pub(super) fn turn_and_zoom(size: Size, degrees: f64, zoom: f64) -> Matrix {
    let (sine, cosine) = libm::sincos(degrees.to_radians());
    let (a, b) = (cosine / zoom, sine / zoom);
    let (x, y) = (size.width as f64 / 2.0, size.height as f64 / 2.0);
    [a, -b, x - a * x + b * y, b, a, y - b * x - a * y]
}

/// Draws the target by looking every pixel up in the source, between its four neighbours. Black begins at the
/// source's edge, half a pixel beyond the centres of its last pixels, as in Pillow. Places are counted in fixed point,
/// which is the same everywhere, and several times as fast as converting floats. `source`, `target`: `[height, width,
/// C]`.
pub(super) fn warp<const C: usize>(source: &[u8], target: &mut [u8], size: Size, matrix: Matrix, padding: Padding) {
    let Size { height, width } = size;
    let [across_x, down_x, begin_x, across_y, down_y, begin_y] = matrix.map(|number| (number * ONE as f64) as i64);
    // To the centre of the first pixel, and back from there, since the source's pixels are counted by their centres.
    let first_x = begin_x + (across_x + down_x - ONE) / 2;
    let first_y = begin_y + (across_y + down_y - ONE) / 2;
    for (y, row) in target.chunks_exact_mut(width * C).enumerate() {
        let (mut seen_x, mut seen_y) = (first_x + y as i64 * down_x, first_y + y as i64 * down_y);
        for pixel in row.chunks_exact_mut(C) {
            let outside = is_outside(seen_x, width) || is_outside(seen_y, height);
            if outside && padding == Padding::Zeros {
                pixel.fill(0);
            } else {
                let ([left, right], across) = neighbours(seen_x, width, padding);
                let ([top, bottom], along) = neighbours(seen_y, height, padding);
                let corner = |line: usize, column: usize| &source[(line * width + column) * C..][..C];
                let (a, b) = (corner(top, left), corner(top, right));
                let (c, d) = (corner(bottom, left), corner(bottom, right));
                for (channel, value) in pixel.iter_mut().enumerate() {
                    let [a, b, c, d] = [a, b, c, d].map(|corner| u32::from(corner[channel]));
                    let (upper, lower) = (a * (PARTS - across) + b * across, c * (PARTS - across) + d * across);
                    *value = ((upper * (PARTS - along) + lower * along + PARTS * PARTS / 2) / (PARTS * PARTS)) as u8;
                }
            }
            seen_x += across_x;
            seen_y += across_y;
        }
    }
}

/// One pixel in fixed point: 32 bits behind the point.
const ONE: i64 = 1 << 32;

/// Places between two pixels are told apart to this many parts; its square times 255 fits 32 bits.
const PARTS: u32 = 1 << 11;

/// Whether a place, counted from the centre of the first pixel, lies beyond the outer borders of an axis.
#[inline]
fn is_outside(place: i64, side: usize) -> bool {
    !(0..side as i64 * ONE).contains(&(place + ONE / 2))
}

/// The two pixels of an axis on both sides of a place, and how many of `PARTS` it lies from the first to the second.
#[inline]
fn neighbours(place: i64, side: usize, padding: Padding) -> ([usize; 2], u32) {
    let first = place.div_euclid(ONE) as isize;
    let pixels = if first >= 0 && (first as usize) + 1 < side {
        [first as usize, first as usize + 1]
    } else {
        [first, first + 1].map(|pixel| match padding {
            Padding::Reflect => padding.locate(pixel, side).unwrap_or(0),
            Padding::Zeros => pixel.clamp(0, side as isize - 1) as usize,
        })
    };
    (pixels, (place.rem_euclid(ONE) / (ONE / i64::from(PARTS))) as u32)
}
