//! TrivialAugment: one operation of a fixed list at one random strength, nothing to tune.
//!
//! Müller and Hutter, "TrivialAugment: Tuning-free yet state-of-the-art data augmentation" (ICCV 2021), with the
//! ranges of its "wide" list and the 31 strengths of torchvision's `TrivialAugmentWide`. Pixels are interpolated and
//! black appears beyond the edge. One change: the paper moves images of every size by up to 32 pixels; here an image
//! smaller than that moves by at most its own side.

use super::{
    color,
    geometry::{Matrix, Padding, Size, shift, turn_and_zoom, warp},
};
use crate::data::random::Draws;

/// The strongest of the strengths 0, 1, ..., 30.
const STRONGEST: u32 = 30;

/// One entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
}

use Operation as Op;

/// The list; every entry is equally likely.
pub(super) const OPERATIONS: [Operation; 14] = [
    Op::Identity,
    Op::ShearX,
    Op::ShearY,
    Op::TranslateX,
    Op::TranslateY,
    Op::Rotate,
    Op::Brightness,
    Op::Color,
    Op::Contrast,
    Op::Sharpness,
    Op::Posterize,
    Op::Solarize,
    Op::AutoContrast,
    Op::Equalize,
];

/// Draws an operation, a strength and a direction, and applies them. `pixels`, `scratch`: `[height, width, C]`.
pub(super) fn trivial_augment<const C: usize>(pixels: &mut [u8], scratch: &mut [u8], size: Size, draws: &mut Draws) {
    let operation = OPERATIONS[draws.below(OPERATIONS.len() as u32) as usize];
    let strength = draws.below(STRONGEST + 1);
    operate::<C>(operation, strength, draws.coin(), pixels, scratch, size);
}

/// Applies one operation at a strength of 0 to 30, forwards or backwards where it has two directions.
pub(super) fn operate<const C: usize>(
    operation: Operation,
    strength: u32,
    backwards: bool,
    pixels: &mut [u8],
    scratch: &mut [u8],
    size: Size,
) {
    let part = f64::from(strength) / f64::from(STRONGEST);
    let signed = |most: f64| if backwards { -most * part } else { most * part };
    let factor = (1.0 + signed(0.99)) as f32;
    let pixels_of = |side: usize| {
        let moved = (side.min(32) * strength as usize / STRONGEST as usize) as isize;
        if backwards { -moved } else { moved }
    };
    match operation {
        Op::Identity => {}
        Op::ShearX => warp_in_place::<C>(pixels, scratch, size, [1.0, signed(0.99), 0.0, 0.0, 1.0, 0.0]),
        Op::ShearY => warp_in_place::<C>(pixels, scratch, size, [1.0, 0.0, 0.0, signed(0.99), 1.0, 0.0]),
        Op::TranslateX => move_in_place::<C>(pixels, scratch, size, [0, -pixels_of(size.width)]),
        Op::TranslateY => move_in_place::<C>(pixels, scratch, size, [-pixels_of(size.height), 0]),
        Op::Rotate => warp_in_place::<C>(pixels, scratch, size, turn_and_zoom(size, signed(135.0), 1.0)),
        Op::Brightness => color::brightness(pixels, factor),
        Op::Color => color::saturation(pixels, C, factor),
        Op::Contrast => color::contrast(pixels, C, factor),
        Op::Sharpness => color::sharpness(pixels, scratch, size.width, C, factor),
        Op::Posterize => color::posterize(pixels, 8 - (2 * strength + 5) / 10),
        Op::Solarize => color::solarize(pixels, 255.0 * (1.0 - part as f32)),
        Op::AutoContrast => color::autocontrast(pixels, C),
        Op::Equalize => color::equalize(pixels, C),
    }
}

fn warp_in_place<const C: usize>(pixels: &mut [u8], scratch: &mut [u8], size: Size, matrix: Matrix) {
    scratch.copy_from_slice(pixels);
    warp::<C>(scratch, pixels, size, matrix, Padding::Zeros);
}

fn move_in_place<const C: usize>(pixels: &mut [u8], scratch: &mut [u8], size: Size, by: [isize; 2]) {
    scratch.copy_from_slice(pixels);
    shift::<C>(scratch, pixels, size, by, Padding::Zeros, false);
}
