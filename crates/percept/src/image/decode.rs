//! From the bytes of a file to upright u8 pixels. The content decides the format, never the name; the header is
//! checked against the limits before memory for pixels is taken; a file that ends early or whose data does not
//! decode is refused, never half shown. Embedded colour profiles are not applied.

use std::{
    fs::File,
    io::{BufRead, BufReader, Cursor, ErrorKind, Read, Seek},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, error::LimitErrorKind,
    metadata::Orientation,
};
use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use super::{
    Framing, Image, ImageShape, jpeg,
    resize::{Plan, resize},
};

/// Pictures of more pixels than this are refused.
pub const MAX_PIXELS: u64 = 100_000_000;
/// What a decoder may allocate beside the pixels that it returns.
const MAX_MEMORY: u64 = 1 << 30;
/// Enough of a file to tell its format.
const SIGNATURE: usize = 64;

/// Decodes a file that is in memory: JPEG (grey, colour, CMYK, YCCK; baseline and progressive), PNG, WebP, BMP, GIF
/// and TIFF. Of an animation the first frame; over transparency, white; 16 bits become 8; turned as its EXIF
/// orientation says.
///
/// `channels` is 3 (red, green, blue) or 1 (luma by ITU-R BT.601: 0.299 red + 0.587 green + 0.114 blue).
///
/// # Errors
/// A short reason, for a message that names the file: `truncated JPEG`,
/// `60000x60000 pixels: more than 100 megapixels`, `not an image`.
pub fn decode(bytes: &[u8], channels: usize) -> Result<Image, String> {
    decode_within(bytes, channels, MAX_PIXELS)
}

/// [`decode`] for a picture of no more than `most` pixels, by its header: refusing a larger one costs next to nothing.
///
/// # Errors
/// A short reason, as [`decode`].
pub fn decode_within(bytes: &[u8], channels: usize, most: u64) -> Result<Image, String> {
    if channels != 1 && channels != 3 {
        return Err(format!("{channels} channels were asked for: 1 or 3 are possible"));
    }
    contain(|| {
        let picture = match recognise(bytes, most)? {
            ImageFormat::Jpeg => decode_jpeg(bytes, most)?,
            format => decode_other(bytes, format, most)?,
        };
        Ok(to_image(picture, channels))
    })
}

/// Decodes a file to `height` and `width` (both at least 1): what [`resize`] makes of what [`decode`] returns, up to
/// rounding. Photographs in plain JPEG that become smaller take about half the time of both.
///
/// # Errors
/// As [`decode`].
pub fn decode_for(
    bytes: &[u8],
    channels: usize,
    [height, width]: [usize; 2],
    framing: impl Into<Framing>,
) -> Result<Image, String> {
    decode_for_within(bytes, channels, [height, width], framing, MAX_PIXELS)
}

/// [`decode_for`] of a picture of no more than `most` pixels, as [`decode_within`].
///
/// # Errors
/// As [`decode`].
pub fn decode_for_within(
    bytes: &[u8],
    channels: usize,
    [height, width]: [usize; 2],
    framing: impl Into<Framing>,
    most: u64,
) -> Result<Image, String> {
    let framing = framing.into();
    let plan = |shape| Some(Plan::new(shape, height, width, framing)).filter(Plan::reduces);
    match contain(|| Ok(jpeg::decode_for(bytes, channels, most, plan)))? {
        Some(image) => Ok(image),
        None => Ok(resize(&decode_within(bytes, channels, most)?, height, width, framing)),
    }
}

/// Height and width of an encoded picture, turned as its orientation says; reads only the header.
///
/// # Errors
/// A short reason, as [`decode`].
pub fn dimensions(bytes: &[u8]) -> Result<[usize; 2], String> {
    contain(|| read_dimensions(Cursor::new(bytes), recognise(bytes, MAX_PIXELS)?))
}

/// [`dimensions`] of a file, without reading all of it where the format allows.
///
/// # Errors
/// A short reason, as [`decode`], or the system's own when the file cannot be read.
pub fn dimensions_of_file(path: &Path) -> Result<[usize; 2], String> {
    contain(|| {
        let mut reader = BufReader::new(File::open(path).map_err(|error| error.to_string())?);
        let mut signature = Vec::with_capacity(SIGNATURE);
        reader.by_ref().take(SIGNATURE as u64).read_to_end(&mut signature).map_err(|error| error.to_string())?;
        let format = recognise(&signature, MAX_PIXELS)?;
        reader.rewind().map_err(|error| error.to_string())?;
        read_dimensions(reader, format)
    })
}

/// Decoders of untrusted bytes are not ours and are large: should one panic, this file is bad, not the run.
fn contain<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("the decoder failed on it: corrupt".into()))
}

/// The format by the first bytes.
fn recognise(bytes: &[u8], most: u64) -> Result<ImageFormat, String> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    if bytes.is_empty() {
        return Err("empty file".into());
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return Err("HEIC, AVIF or video, which cannot be read: convert it to JPEG or PNG".into());
    }
    match image::guess_format(bytes) {
        Ok(Png) => check_png_size(bytes, most).map(|()| Png),
        Ok(format @ (Jpeg | WebP | Bmp | Gif | Tiff)) => Ok(format),
        Ok(format) => Err(format!("{format:?} images cannot be read: convert it to JPEG or PNG")),
        Err(_) => Err("not an image: no known format".into()),
    }
}

/// The size stands in the first chunk; the decoder itself would read on to the pixels before it tells.
fn check_png_size(bytes: &[u8], most: u64) -> Result<(), String> {
    match bytes.get(16..24).and_then(|size| size.as_chunks::<4>().0.first_chunk()) {
        Some(&[width, height]) => check_size(u32::from_be_bytes(width).into(), u32::from_be_bytes(height).into(), most),
        None => Err("truncated PNG".into()),
    }
}

fn name_of(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Gif => "GIF",
        _ => "TIFF",
    }
}

fn check_size(width: u64, height: u64, most: u64) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("{width}x{height} pixels: empty"));
    }
    if width.saturating_mul(height) > most {
        let limit =
            if most.is_multiple_of(1_000_000) { format!("{} megapixels", most / 1_000_000) } else { most.to_string() };
        return Err(format!("{width}x{height} pixels: more than {limit}"));
    }
    Ok(())
}

fn read_dimensions(reader: impl BufRead + Seek, format: ImageFormat) -> Result<[usize; 2], String> {
    let mut decoder = open_decoder(reader, format, MAX_PIXELS)?;
    let (width, height) = decoder.dimensions();
    let [width, height] = [width as usize, height as usize];
    Ok(if swaps_sides(orientation_of(&mut decoder)) { [width, height] } else { [height, width] })
}

pub(super) fn swaps_sides(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    )
}

/// Metadata that cannot be read does not make the pixels unreadable.
fn orientation_of(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

/// Opens a decoder and checks the header's size.
fn open_decoder<'a>(
    reader: impl BufRead + Seek + 'a,
    format: ImageFormat,
    most: u64,
) -> Result<impl ImageDecoder + 'a, String> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_MEMORY);
    let mut reader = ImageReader::with_format(reader, format);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| explain(error, format))?;
    let (width, height) = decoder.dimensions();
    check_size(width.into(), height.into(), most)?;
    Ok(decoder)
}

fn decode_other(bytes: &[u8], format: ImageFormat, most: u64) -> Result<DynamicImage, String> {
    let mut decoder = open_decoder(Cursor::new(bytes), format, most)?;
    let orientation = orientation_of(&mut decoder);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| explain(error, format))?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// JPEG goes to its decoder directly: only so can headers be read leniently and pixels strictly, which is what
/// keeps a file that was cut or damaged from becoming half a grey picture.
fn decode_jpeg(bytes: &[u8], most: u64) -> Result<DynamicImage, String> {
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(1 << 16).set_max_height(1 << 16);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let explain = |error: zune_jpeg::errors::DecodeErrors| {
        if ends_early(bytes) { "truncated JPEG".into() } else { format!("corrupt JPEG: {error}") }
    };
    decoder.decode_headers().map_err(explain)?;
    let (width, height) = decoder.dimensions().ok_or("JPEG without a size")?;
    check_size(width as u64, height as u64, most)?;
    if ends_early(bytes) {
        return Err("truncated JPEG".into());
    }
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let output = if grey { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(decoder.options().set_strict_mode(true).jpeg_set_out_colorspace(output));
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let pixels = decoder.decode().map_err(explain)?;
    let [width, height] = [width as u32, height as u32];
    let picture = if grey {
        image::GrayImage::from_raw(width, height, pixels).map(DynamicImage::from)
    } else {
        image::RgbImage::from_raw(width, height, pixels).map(DynamicImage::from)
    };
    let mut picture = picture.ok_or("corrupt JPEG: fewer pixels than its header says")?;
    picture.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
    Ok(picture)
}

/// Whether a JPEG lacks its end marker. Walks the segments, so that a thumbnail's own end inside the metadata is
/// not taken for it (ITU-T T.81, annex B).
fn ends_early(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr(0xff, rest)) {
        at += found + 1;
        match bytes.get(at) {
            None => return true,
            Some(0xd9) => return false,
            // A stuffed zero, a restart or a start inside the data; 0xff is a fill byte before the marker.
            Some(0x00 | 0x01 | 0xd0..=0xd8) => at += 1,
            Some(0xff) => {}
            Some(_) => match bytes.get(at + 1..at + 3) {
                Some(length) => at += 1 + usize::from(u16::from_be_bytes([length[0], length[1]])),
                None => return true,
            },
        }
    }
    true
}

fn explain(error: ImageError, format: ImageFormat) -> String {
    let name = name_of(format);
    match error {
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => format!("truncated {name}"),
        ImageError::Limits(limit) => match limit.kind() {
            LimitErrorKind::InsufficientMemory => format!("{name} that needs more than 1 GiB to decode"),
            _ => format!("{name} larger than the limits"),
        },
        ImageError::Unsupported(error) => format!("{name} of a kind that cannot be read: {error}"),
        error => {
            let reason = error.to_string();
            let early = ["end of file", "eof", "failed to fill whole buffer", "missing data"];
            if early.iter().any(|sign| reason.to_lowercase().contains(sign)) {
                format!("truncated {name}")
            } else {
                format!("corrupt {name}: {reason}")
            }
        }
    }
}

fn to_image(picture: DynamicImage, channels: usize) -> Image {
    let [height, width] = [picture.height() as usize, picture.width() as usize];
    let grey = picture.color().channel_count() < 3;
    let pixels = match (picture.color().has_alpha(), grey) {
        (false, true) => picture.into_luma8().into_raw(),
        (false, false) => picture.into_rgb8().into_raw(),
        (true, true) => over_white::<2, 1>(picture.into_luma_alpha8().as_raw()),
        (true, false) => over_white::<4, 3>(picture.into_rgba8().as_raw()),
    };
    let pixels = match (grey, channels) {
        (true, 3) => pixels.iter().flat_map(|&value| [value; 3]).collect(),
        (false, 1) => pixels.as_chunks::<3>().0.iter().map(luma).collect(),
        _ => pixels,
    };
    Image { shape: ImageShape { height, width, channels }, pixels }
}

/// Lays pixels of `WITH` values, the last of them opacity, over white; leaves `WITHOUT`.
fn over_white<const WITH: usize, const WITHOUT: usize>(pixels: &[u8]) -> Vec<u8> {
    let blend = |value: u8, opacity: u16| ((u16::from(value) * opacity + 255 * (255 - opacity) + 127) / 255) as u8;
    let mut out = Vec::with_capacity(pixels.len() / WITH * WITHOUT);
    for pixel in pixels.as_chunks::<WITH>().0 {
        let opacity = u16::from(pixel[WITHOUT]);
        out.extend(pixel[..WITHOUT].iter().map(|&value| blend(value, opacity)));
    }
    out
}

/// ITU-R BT.601 luma in 16-bit fixed point, rounded: the "L" of Pillow.
pub(super) fn luma(&[red, green, blue]: &[u8; 3]) -> u8 {
    ((19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue) + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests;
