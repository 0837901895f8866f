//! Pictures that nobody trusts: what decodes has the size that its header said; nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use percept::image::{Fit, MAX_PIXELS, decode, decode_for, dimensions, resize};

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let channels = if first & 1 == 0 { 3 } else { 1 };
    let size = dimensions(bytes);
    // Large ones take long, and are the same code.
    if size.as_ref().is_ok_and(|[height, width]| height * width > 1 << 20) {
        return;
    }
    // Photographs that become smaller have a decoder of their own.
    let small = decode_for(bytes, channels, [5, 7], Fit::default());
    assert!(small.as_ref().is_ok_and(|image| image.pixels.len() == 35 * channels) || small.is_err());
    if let Ok(image) = decode(bytes, channels) {
        assert!(small.is_ok(), "{small:?}");
        assert_eq!(image.pixels.len(), image.shape.len());
        assert!(image.shape.len() as u64 <= 3 * MAX_PIXELS && image.shape.channels == channels);
        assert_eq!(size, Ok([image.shape.height, image.shape.width]));
        assert_eq!(resize(&image, 5, 7, Fit::default()).pixels.len(), 35 * channels);
    }
});
