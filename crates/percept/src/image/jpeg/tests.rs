use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::*;
use crate::image::{Fit, Framing, MAX_PIXELS, decode, decode_for as decode_any, resize};

const SIZE: [usize; 2] = [93, 131];

/// Waves of colour, finer to the right, and an edge.
fn scene() -> Vec<u8> {
    let pixel = |place: usize| {
        let [y, x] = [place / SIZE[1], place % SIZE[1]].map(|side| side as f64);
        let edge = if x + 2.0 * y > 160.0 { 40.0 } else { 0.0 };
        [0.0, 2.0, 4.0].map(|phase| (110.0 + edge + 70.0 * (phase + x * x / 900.0 + y / 9.0).sin()) as u8)
    };
    (0..SIZE[0] * SIZE[1]).flat_map(pixel).collect()
}

fn encode(sampling: SamplingFactor, change: impl FnOnce(&mut Encoder<&mut Vec<u8>>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 92);
    encoder.set_sampling_factor(sampling);
    change(&mut encoder);
    encoder.encode(&scene(), SIZE[1] as u16, SIZE[0] as u16, ColorType::Rgb).unwrap();
    bytes
}

/// Of every way to lay out the components, and of the code.
fn files() -> Vec<(String, Vec<u8>)> {
    use SamplingFactor::{F_1_1, F_1_2, F_2_1, F_2_2};
    let mut files: Vec<_> =
        [F_1_1, F_2_1, F_1_2, F_2_2].map(|sampling| (format!("{sampling:?}"), encode(sampling, |_| {}))).into();
    files.push(("restarts".into(), encode(F_2_2, |encoder| encoder.set_restart_interval(3))));
    let luma: Vec<u8> = scene().chunks_exact(3).map(|pixel| pixel[1]).collect();
    // This encoder gives each colour a scan of its own where the code is its own; grey has one anyway.
    for (name, own_code) in [("grey", false), ("own code", true)] {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 92);
        encoder.set_optimized_huffman_tables(own_code);
        encoder.encode(&luma, SIZE[1] as u16, SIZE[0] as u16, ColorType::Luma).unwrap();
        files.push((name.into(), bytes));
    }
    files
}

/// What this decoder itself makes of it.
fn reduce(bytes: &[u8], channels: usize, [height, width]: [usize; 2], framing: Framing) -> Option<Image> {
    decode_for(bytes, channels, MAX_PIXELS, |shape| Some(Plan::new(shape, height, width, framing)))
}

/// Mean and largest distance, in levels.
fn apart(a: &Image, b: &Image) -> (f64, u8) {
    assert_eq!(a.shape, b.shape);
    let distances = || a.pixels.iter().zip(&b.pixels).map(|(&a, &b)| a.abs_diff(b));
    (distances().map(f64::from).sum::<f64>() / a.pixels.len() as f64, distances().max().unwrap_or(0))
}

#[test]
fn it_is_what_decoding_and_resizing_make() {
    let framings = [
        Framing::from(Fit::Stretch),
        Fit::Crop.into(),
        Fit::Pad.into(),
        Framing { fit: Fit::Crop, crop: 0.8, filter: Filter::Bicubic },
    ];
    for (name, bytes) in files() {
        for channels in [1, 3] {
            let whole = decode(&bytes, channels).unwrap();
            for framing in framings {
                for size in [[93, 131], [60, 60], [40, 70], [17, 16], [1, 1]] {
                    let what = format!("{name}, {channels} channels, {framing:?}, {size:?}");
                    let image = reduce(&bytes, channels, size, framing).expect(&what);
                    let (mean, most) = apart(&image, &resize(&whole, size[0], size[1], framing));
                    // Of a single pixel the mean is rounding alone.
                    assert!(most <= 1 || mean < 0.6 && most <= 6, "{what}: {mean} levels apart, at most {most}");
                }
            }
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_pixels_within_rounding() {
    let (_, bytes) = &files()[3];
    let images = percept_kernels::Isa::available()
        .into_iter()
        .map(|isa| isa.run(|| reduce(bytes, 3, [50, 60], Fit::Stretch.into()).unwrap()));
    let images: Vec<Image> = images.collect();
    for image in &images[1..] {
        assert!(apart(image, &images[0]).1 <= 1);
    }
}

#[test]
fn a_photograph_is_turned_upright() {
    let turned = |orientation: u8| {
        // TIFF, its byte order, and a directory of one entry: 0x0112, a number of 16 bits.
        let mut exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
        encode(SamplingFactor::F_2_1, |encoder| encoder.add_exif_metadata(&exif).unwrap())
    };
    for orientation in 1..=8 {
        let bytes = turned(orientation);
        for framing in [Framing::from(Fit::Stretch), Fit::Pad.into(), Framing { crop: 0.7, ..Fit::Crop.into() }] {
            let image = reduce(&bytes, 3, [50, 40], framing).unwrap();
            let (mean, most) = apart(&image, &resize(&decode(&bytes, 3).unwrap(), 50, 40, framing));
            assert!(mean < 0.6 && most <= 6, "{orientation}, {framing:?}: {mean} apart, at most {most}");
        }
    }
}

#[test]
fn other_kinds_are_left_to_the_other_decoder() {
    let progressive = encode(SamplingFactor::F_2_2, |encoder| encoder.set_progressive(true));
    // A scan for each component.
    let quartered = encode(SamplingFactor::F_4_1, |_| {});
    let mut inverted = Vec::new();
    let pixels: Vec<u8> = scene().chunks_exact(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 0]).collect();
    Encoder::new(&mut inverted, 92).encode(&pixels, SIZE[1] as u16, SIZE[0] as u16, ColorType::Cmyk).unwrap();
    for bytes in [progressive, quartered, inverted] {
        assert!(reduce(&bytes, 3, [40, 40], Fit::Stretch.into()).is_none());
        let whole = resize(&decode(&bytes, 3).unwrap(), 40, 40, Fit::Stretch);
        assert_eq!(decode_any(&bytes, 3, [40, 40], Fit::Stretch), Ok(whole));
    }
}

#[test]
fn a_picture_that_grows_is_resized_whole() {
    let (_, bytes) = &files()[0];
    for size in [[93, 131], [94, 100], [200, 200]] {
        let whole = resize(&decode(bytes, 3).unwrap(), size[0], size[1], Fit::Stretch);
        assert_eq!(decode_any(bytes, 3, size, Fit::Stretch), Ok(whole));
    }
}

#[test]
fn cut_files_are_refused_wherever_they_end() {
    for (name, bytes) in files() {
        for cut in 0..bytes.len() {
            let file = &bytes[..cut];
            assert!(reduce(file, 3, [20, 20], Fit::Stretch.into()).is_none(), "{name}, {cut} bytes");
        }
        let half = decode_any(&bytes[..bytes.len() / 2], 3, [20, 20], Fit::Stretch);
        assert_eq!(half, Err("truncated JPEG".into()), "{name}");
        // Cut in the middle and ended properly.
        let mut short = bytes[..bytes.len() / 2].to_vec();
        short.extend([0xff, END]);
        assert!(reduce(&short, 3, [20, 20], Fit::Stretch.into()).is_none(), "{name}");
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let mut random = 1u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    for (name, bytes) in files() {
        let mut accepted = 0;
        for round in 0..1000 {
            let mut flipped = bytes.clone();
            for _ in 0..1 + next() % 3 {
                // Every other time in the headers, where there is more to say.
                let at = next() % if round % 2 == 0 { 700 } else { flipped.len() };
                flipped[at] = next() as u8;
            }
            if let Some(image) = reduce(&flipped, 3, [9, 13], Fit::Stretch.into()) {
                assert_eq!(image.shape, ImageShape { height: 9, width: 13, channels: 3 }, "{name}");
                accepted += 1;
            }
        }
        assert!(accepted < 1000, "{name}");
    }
}
