//! Stand-in: decodes through the `image` crate alone.

use std::io::Cursor;

use super::{Image, ImageShape};

/// Decodes an encoded picture to 1 (grey) or 3 (RGB) channels.
pub fn decode(bytes: &[u8], channels: usize) -> Result<Image, String> {
    let picture = image::load_from_memory(bytes).map_err(|e| e.to_string())?;
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    let pixels = if channels == 1 { picture.into_luma8().into_raw() } else { picture.into_rgb8().into_raw() };
    Ok(Image { shape: ImageShape { height, width, channels }, pixels })
}

/// Height and width, from the header.
pub fn dimensions(bytes: &[u8]) -> Result<[usize; 2], String> {
    let reader = image::ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let (width, height) = reader.into_dimensions().map_err(|e| e.to_string())?;
    Ok([height as usize, width as usize])
}
