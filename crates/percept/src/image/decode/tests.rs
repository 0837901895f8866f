use std::io::Cursor;

use image::{DynamicImage, ImageBuffer, Luma, LumaA, Rgb, Rgba};

use super::*;

/// The scene of `testdata/make.py`: colours at the middle of each quarter.
const QUARTERS: [([usize; 2], [u8; 3]); 4] =
    [([4, 4], [220, 30, 30]), ([4, 18], [30, 200, 40]), ([12, 4], [40, 50, 210]), ([12, 18], [200, 200, 200])];

macro_rules! file {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../testdata/", $name)).as_slice())
    };
}

const TURNED: [(&str, &[u8]); 11] = [
    file!("turned_1.jpg"),
    file!("turned_2.jpg"),
    file!("turned_3.jpg"),
    file!("turned_4.jpg"),
    file!("turned_5.jpg"),
    file!("turned_6.jpg"),
    file!("turned_7.jpg"),
    file!("turned_8.jpg"),
    file!("turned_6.png"),
    file!("turned_6.webp"),
    file!("turned_6.tiff"),
];
const COLOUR: [(&str, &[u8]); 10] = [
    file!("progressive.jpg"),
    file!("subsampled.jpg"),
    file!("cmyk.jpg"),
    file!("ycck.jpg"),
    file!("palette.png"),
    file!("lossy.webp"),
    file!("animated.webp"),
    file!("animated.gif"),
    file!("lzw.tiff"),
    file!("cmyk.tiff"),
];
const CLEAR: [(&str, &[u8]); 2] = [file!("alpha.webp"), file!("transparent.gif")];
const BILEVEL: [(&str, &[u8]); 2] = [file!("bilevel.png"), file!("bilevel.tiff")];

fn pixel(image: &Image, [row, column]: [usize; 2]) -> &[u8] {
    let at = (row * image.shape.width + column) * image.shape.channels;
    &image.pixels[at..at + image.shape.channels]
}

fn assert_near(got: &[u8], want: &[u8], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let near = got.iter().zip(want).all(|(&got, &want)| got.abs_diff(want) <= 6);
    assert!(near, "{what}: {got:?}, expected about {want:?}");
}

fn encode(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn every_coding_gives_the_same_scene_upright() {
    for (name, bytes) in TURNED.into_iter().chain(COLOUR) {
        let image = decode(bytes, 3).unwrap_or_else(|reason| panic!("{name}: {reason}"));
        assert_eq!(image.shape, ImageShape { height: 16, width: 24, channels: 3 }, "{name}");
        assert_eq!(dimensions(bytes), Ok([16, 24]), "{name}");
        for (at, colour) in QUARTERS {
            assert_near(pixel(&image, at), &colour, &format!("{name} at {at:?}"));
        }
        let grey = decode(bytes, 1).unwrap();
        assert_eq!(grey.shape, ImageShape { height: 16, width: 24, channels: 1 }, "{name}");
        for (at, colour) in QUARTERS {
            assert_near(pixel(&grey, at), &[luma(&colour)], &format!("{name} at {at:?}, grey"));
        }
    }
}

#[test]
fn transparency_shows_white_and_bilevel_shows_black_and_white() {
    for (name, bytes) in CLEAR {
        let image = decode(bytes, 3).unwrap();
        assert_near(pixel(&image, [4, 4]), &[255; 3], name);
        assert_near(pixel(&image, [4, 18]), &[30, 200, 40], name);
    }
    for (name, bytes) in BILEVEL {
        let image = decode(bytes, 3).unwrap();
        assert_eq!((pixel(&image, [4, 4]), pixel(&image, [4, 18])), (&[0; 3][..], &[255; 3][..]), "{name}");
    }
    let (_, grey) = file!("grey.jpg");
    assert_near(pixel(&decode(grey, 3).unwrap(), [4, 18]), &[131; 3], "grey.jpg");
}

#[test]
fn depths_and_opacity_of_png_become_eight_bits_over_white() {
    let one = |bytes: Vec<u8>, channels| decode(&bytes, channels).unwrap().pixels;
    let deep = ImageBuffer::from_pixel(1, 1, Rgb([65535u16, 32768, 0]));
    assert_eq!(one(encode(deep, ImageFormat::Png), 3), [255, 128, 0]);
    let deep = ImageBuffer::from_pixel(1, 1, Luma([32768u16]));
    assert_eq!(one(encode(deep, ImageFormat::Png), 3), [128; 3]);
    let half = ImageBuffer::from_pixel(1, 1, Rgba([200u8, 0, 100, 51]));
    assert_eq!(one(encode(half, ImageFormat::Png), 3), [244, 204, 224]);
    let half = ImageBuffer::from_pixel(1, 1, LumaA([100u8, 51]));
    assert_eq!(one(encode(half, ImageFormat::Png), 1), [224]);
    let colour = ImageBuffer::from_pixel(1, 1, Rgb([200u8, 100, 50]));
    assert_eq!(one(encode(colour, ImageFormat::Bmp), 1), [124]); // 0.299 x 200 + 0.587 x 100 + 0.114 x 50 = 124.2
}

#[test]
fn what_is_no_image_is_named() {
    let reason = |bytes: &[u8]| decode(bytes, 3).unwrap_err();
    assert_eq!(reason(b""), "empty file");
    assert_eq!(reason(b"<!DOCTYPE html>"), "not an image: no known format");
    assert_eq!(
        reason(b"\0\0\0\x18ftypheic\0\0\0\0"),
        "HEIC, AVIF or video, which cannot be read: convert it to JPEG or PNG"
    );
    assert_eq!(reason(b"\x76\x2f\x31\x01\0\0"), "OpenExr images cannot be read: convert it to JPEG or PNG");
    assert_eq!(decode(b"", 2), Err("2 channels were asked for: 1 or 3 are possible".into()));
}

/// A PNG of nothing but the header and an end: what it claims must cost nothing.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let _ = encoder.write_header().unwrap();
    bytes
}

#[test]
fn oversized_pictures_are_refused_by_their_header() {
    let reason = "60000x60000 pixels: more than 100 megapixels";
    assert_eq!(decode(&png_header(60_000, 60_000), 3), Err(reason.into()));
    assert_eq!(dimensions(&png_header(60_000, 60_000)), Err(reason.into()));
    let (_, jpeg) = file!("turned_1.jpg");
    let mut jpeg = jpeg.to_vec();
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    assert_eq!(decode(&jpeg, 3), Err(reason.into()));
}

fn small_files() -> Vec<(String, Vec<u8>)> {
    let scene = decode(COLOUR[4].1, 3).unwrap();
    let scene = image::RgbImage::from_raw(24, 16, scene.pixels).unwrap();
    let mut files = vec![("scene.bmp".to_string(), encode(scene.clone(), ImageFormat::Bmp))];
    files.push(("scene.png".into(), encode(scene.clone(), ImageFormat::Png)));
    files.push(("scene.webp".into(), encode(scene, ImageFormat::WebP)));
    files.push(("grey.jpg".into(), include_bytes!("../testdata/grey.jpg").to_vec()));
    let fixed = TURNED.into_iter().chain(COLOUR).chain(CLEAR).chain(BILEVEL);
    files.extend(fixed.map(|(name, bytes)| (name.to_string(), bytes.to_vec())));
    files
}

#[test]
fn half_a_file_is_an_error_in_every_format() {
    for (name, bytes) in small_files() {
        // Half of an animation may hold all of its first frame.
        if !name.starts_with("animated") {
            let reason = decode(&bytes[..bytes.len() / 2], 3).err();
            assert!(reason.is_some(), "{name} cut in half was accepted");
            if name.ends_with("jpg") || name.ends_with("png") || name.ends_with("gif") {
                let reason = reason.unwrap();
                assert!(reason.starts_with("truncated "), "{name}: {reason}");
            }
        }
    }
    let (_, jpeg) = file!("turned_1.jpg");
    assert_eq!(decode(&jpeg[..jpeg.len() - 2], 3), Err("truncated JPEG".into()));
}

#[test]
fn no_bytes_make_it_panic_or_run_away() {
    let mut random = 1u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    for (name, bytes) in small_files() {
        for cut in (0..bytes.len()).step_by(5) {
            let _ = (decode(&bytes[..cut], 3), dimensions(&bytes[..cut]));
        }
        for _ in 0..150 {
            let mut flipped = bytes.clone();
            for _ in 0..1 + next() % 4 {
                let at = next() % flipped.len();
                flipped[at] = next() as u8;
            }
            if let Ok(image) = decode(&flipped, 1) {
                assert_eq!(image.pixels.len(), image.shape.len(), "{name}");
            }
        }
    }
}

#[test]
fn a_file_tells_its_size_without_being_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.dat");
    std::fs::write(&path, include_bytes!("../testdata/turned_6.webp")).unwrap();
    assert_eq!(dimensions_of_file(&path), Ok([16, 24]));
    std::fs::write(&path, "text").unwrap();
    assert_eq!(dimensions_of_file(&path), Err("not an image: no known format".into()));
    assert!(dimensions_of_file(&folder.path().join("none")).is_err());
}

#[test]
fn real_photographs_decode() {
    let Some(root) = std::env::var_os("PERCEPT_TEST_DATA") else {
        eprintln!("skipped: PERCEPT_TEST_DATA is not set");
        return;
    };
    let mut count = 0;
    for entry in walkdir::WalkDir::new(Path::new(&root).join("ants-bees")).into_iter().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("jpg")) {
            let bytes = std::fs::read(path).unwrap();
            let image = decode(&bytes, 3).unwrap_or_else(|reason| panic!("{}: {reason}", path.display()));
            assert_eq!(dimensions_of_file(path), Ok([image.shape.height, image.shape.width]), "{}", path.display());
            let half = decode(&bytes[..bytes.len() / 2], 3);
            assert_eq!(half, Err("truncated JPEG".into()), "{}", path.display());
            count += 1;
        }
    }
    assert!(count > 300, "{count} photographs");
}
