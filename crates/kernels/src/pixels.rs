//! From bytes to what a network reads.

use crate::lanes::{multiply_add, per_isa};
use crate::parallel::{CHUNK, for_each_chunk};
use crate::scratch::Scratch;
use crate::{Isa, assert_len, assert_sizes};

/// `output = input * multiplier + offset` for `images` images of `pixels_per_image x channels` bytes. `multiplier` and
/// `offset` are both `[channels]`, or both `[pixels_per_image x channels]` (a standardisation per place).
pub fn normalize(
    images: usize,
    pixels_per_image: usize,
    channels: usize,
    input: &[u8],
    multiplier: &[f32],
    offset: &[f32],
    output: &mut [f32],
) {
    assert_sizes("the input", input.len(), [images, pixels_per_image, channels]);
    assert_len("the output", output.len(), input.len());
    assert_len("the offset", offset.len(), multiplier.len());
    assert!(
        [channels, pixels_per_image * channels].contains(&multiplier.len()),
        "a multiplier of {} values fits neither {channels} channels nor {pixels_per_image} pixels of them",
        multiplier.len()
    );
    if input.is_empty() {
        return;
    }
    let isa = Isa::current();
    // Few factors make poor vectors: they are repeated.
    const WIDE: usize = 256;
    let wide = multiplier.len() * WIDE.div_ceil(multiplier.len());
    let [multiplier, offset] = [multiplier, offset].map(|values| {
        let mut repeated = Scratch::take(wide);
        repeated.chunks_exact_mut(values.len()).for_each(|part| part.copy_from_slice(values));
        repeated
    });
    for_each_chunk(CHUNK.next_multiple_of(wide), [output], [input], |[output], [input]| {
        normalize_bytes(isa, input, &multiplier, &offset, output);
    });
}

per_isa!(
    /// Factors as long as `multiplier`, over and over.
    pub(crate) fn normalize_bytes =
        normalize_body(input: &[u8], multiplier: &[f32], offset: &[f32], output: &mut [f32])
);

#[inline(always)]
fn normalize_body<const M: bool>(input: &[u8], multiplier: &[f32], offset: &[f32], output: &mut [f32]) {
    let wide = multiplier.len();
    for (input, output) in input.chunks(wide).zip(output.chunks_mut(wide)) {
        for (((output, &value), &multiplier), &offset) in output.iter_mut().zip(input).zip(multiplier).zip(offset) {
            *output = multiply_add::<M>(f32::from(value), multiplier, offset);
        }
    }
}

per_isa!(
    /// The same for a row that goes to panels of `width` values, `panel` values apart.
    pub(crate) fn normalize_to_panels = to_panels_body(
        input: &[u8], multiplier: &[f32], offset: &[f32], width: usize, panel: usize, panels: &mut [f32],
    )
);

#[inline(always)]
fn to_panels_body<const M: bool>(
    input: &[u8],
    multiplier: &[f32],
    offset: &[f32],
    width: usize,
    panel: usize,
    panels: &mut [f32],
) {
    match width {
        8 => to_panels_of::<M, 8>(input, multiplier, offset, panel, panels),
        16 => to_panels_of::<M, 16>(input, multiplier, offset, panel, panels),
        32 => to_panels_of::<M, 32>(input, multiplier, offset, panel, panels),
        _ => unreachable!("no micro-kernel has {width} columns"),
    }
}

#[inline(always)]
fn to_panels_of<const M: bool, const N: usize>(
    input: &[u8],
    multiplier: &[f32],
    offset: &[f32],
    panel: usize,
    panels: &mut [f32],
) {
    let (input, last) = input.as_chunks::<N>();
    let ((multiplier, last_multiplier), (offset, last_offset)) = (multiplier.as_chunks::<N>(), offset.as_chunks::<N>());
    for (number, ((input, multiplier), offset)) in input.iter().zip(multiplier).zip(offset).enumerate() {
        let Some(into) = panels.get_mut(number * panel..).and_then(|panel| panel.first_chunk_mut::<N>()) else {
            return;
        };
        for (((into, &value), &multiplier), &offset) in into.iter_mut().zip(input).zip(multiplier).zip(offset) {
            *into = multiply_add::<M>(f32::from(value), multiplier, offset);
        }
    }
    if !last.is_empty() {
        normalize_body::<M>(last, last_multiplier, last_offset, &mut panels[input.len() * panel..]);
    }
}
