use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{
    trivial::{OPERATIONS, Operation as Op, operate},
    *,
};
use crate::data::batches::{Batch, Images};

const SIZE: Size = Size { height: 16, width: 24 };

/// A picture of 16×24 pixels by formula, so that Pillow can be given the same.
fn picture(channels: usize) -> Vec<u8> {
    let value = |y: usize, x: usize, channel: usize| ((x * x + 3 * y * x + 40 * channel + 11 * y) % 223 + 20) as u8;
    let places = (0..16).flat_map(|y| (0..24).map(move |x| (y, x)));
    places.flat_map(|(y, x)| (0..channels).map(move |channel| value(y, x, channel))).collect()
}

fn operated(operation: Op, strength: u32, backwards: bool, channels: usize) -> Vec<u8> {
    let mut pixels = picture(channels);
    let mut scratch = vec![99; pixels.len()];
    match channels {
        1 => operate::<1>(operation, strength, backwards, &mut pixels, &mut scratch, SIZE),
        _ => operate::<3>(operation, strength, backwards, &mut pixels, &mut scratch, SIZE),
    }
    pixels
}

/// Hashes of what Pillow 12.3's ImageEnhance, ImageOps and transform make of the same pictures.
#[test]
fn colour_operations_and_translations_are_pillows_to_the_level() {
    for (operation, strength, backwards, channels, expected) in [
        (Op::Identity, 30, true, 3, "bf650dcc3f39fb84"),
        (Op::TranslateX, 20, false, 3, "f28555fc34ac2ddb"),
        (Op::TranslateY, 13, true, 3, "19b2df095c97a57f"),
        (Op::Brightness, 20, false, 3, "e88a5cba26afff5a"),
        (Op::Brightness, 20, true, 3, "780a686469701202"),
        (Op::Color, 13, false, 3, "4721fa4cf40a4a66"),
        (Op::Color, 25, true, 3, "2a2e28d05d24608f"),
        (Op::Contrast, 20, false, 3, "f2e4627ee2b73966"),
        (Op::Contrast, 13, true, 3, "2cb47f78128e0fb5"),
        (Op::Sharpness, 30, false, 3, "a2678686a9ce2f29"),
        (Op::Sharpness, 30, true, 3, "d635a68539c5fdcc"),
        (Op::Posterize, 22, false, 3, "896a0b60b23be262"),
        (Op::Solarize, 13, false, 3, "aed46bb1fe3d9153"),
        (Op::AutoContrast, 0, false, 3, "2be41202ca7f819a"),
        (Op::Equalize, 0, false, 3, "31c909e573d2e60a"),
        (Op::TranslateX, 20, false, 1, "c9a12ade77891646"),
        (Op::TranslateY, 13, true, 1, "6fbf1b83b18cd5aa"),
        (Op::Brightness, 20, false, 1, "eeb57d657137a416"),
        (Op::Color, 25, true, 1, "b7f0250f2938587a"),
        (Op::Contrast, 20, false, 1, "530d5419584436f8"),
        (Op::Sharpness, 30, false, 1, "6ab24e437cbc4abe"),
        (Op::Sharpness, 30, true, 1, "7d48325cd4ee89ab"),
        (Op::Posterize, 22, false, 1, "4a1e2d1d04b8e179"),
        (Op::Solarize, 13, false, 1, "ec1b6102af0c4f2c"),
        (Op::AutoContrast, 0, false, 1, "53826d6395d1780a"),
        (Op::Equalize, 0, false, 1, "75c9235d3a73aa42"),
    ] {
        let hash = Sha256::digest(operated(operation, strength, backwards, channels));
        let found: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected, "{operation:?} at {strength}, backwards: {backwards}, {channels} channels");
    }
}

/// Pixels at five places as Pillow's bilinear `transform` and `rotate` make them; it rounds down, so 1 level apart.
#[test]
fn shears_and_turns_are_pillows_within_one_level() {
    for (operation, strength, backwards, expected) in [
        (Op::ShearX, 20, false, [[20, 60, 100], [172, 212, 29], [171, 211, 115], [0; 3], [0; 3]]),
        (Op::ShearY, 10, true, [[20, 60, 100], [75, 115, 155], [123, 163, 203], [122, 162, 150], [181, 53, 93]]),
        (Op::Rotate, 5, false, [[0; 3], [100, 140, 180], [90, 130, 170], [168, 80, 120], [0; 3]]),
        (Op::Rotate, 24, true, [[0; 3], [188, 56, 96], [96, 78, 113], [0; 3], [0; 3]]),
    ] {
        let pixels = operated(operation, strength, backwards, 3);
        for ((y, x), expected) in [(0, 0), (3, 5), (8, 12), (12, 20), (15, 23)].into_iter().zip(expected) {
            let found = &pixels[(y * 24 + x) * 3..][..3];
            let apart = found.iter().zip(expected).all(|(&a, b)| a.abs_diff(b) <= 1);
            assert!(apart, "{operation:?}: {found:?} at ({y}, {x}), not {expected:?}");
        }
    }
}

#[test]
fn shifts_reflect_without_repeating_the_edge() {
    let shifted = |by, padding, mirrored| {
        let mut target = [77; 8];
        geometry::shift::<1>(
            &[1, 2, 3, 4, 5, 6, 7, 8],
            &mut target,
            Size { height: 2, width: 4 },
            by,
            padding,
            mirrored,
        );
        target
    };
    assert_eq!(shifted([0, 0], Padding::Reflect, false), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(shifted([0, 0], Padding::Reflect, true), [4, 3, 2, 1, 8, 7, 6, 5]);
    assert_eq!(shifted([0, 2], Padding::Reflect, false), [3, 4, 3, 2, 7, 8, 7, 6]);
    assert_eq!(shifted([1, -2], Padding::Reflect, false), [7, 6, 5, 6, 3, 2, 1, 2]);
    assert_eq!(shifted([-1, 3], Padding::Zeros, false), [0, 0, 0, 0, 4, 0, 0, 0]);
    assert_eq!(shifted([0, 1], Padding::Zeros, true), [3, 2, 1, 0, 7, 6, 5, 0]);
    assert_eq!(shifted([0, -1], Padding::Reflect, true), [3, 4, 3, 2, 7, 8, 7, 6]);
    assert_eq!(shifted([0, 9], Padding::Zeros, true), [0; 8]);
}

#[test]
fn a_quarter_turn_is_exact_and_counter_clockwise() {
    let size = Size { height: 3, width: 3 };
    for padding in [Padding::Zeros, Padding::Reflect] {
        let mut target = [0; 9];
        let matrix = geometry::turn_and_zoom(size, 90.0, 1.0);
        geometry::warp::<1>(&[10, 20, 30, 40, 50, 60, 70, 80, 90], &mut target, size, matrix, padding);
        assert_eq!(target, [30, 60, 90, 20, 50, 80, 10, 40, 70]);
    }
}

#[test]
fn alternating_flips_show_every_image_both_ways_in_two_epochs() {
    let mirrored = |flip: Flip, epoch, image| flip.mirrors(Moment { seed: 5, epoch, step: 40 * epoch }, image);
    let first = (0..1000).filter(|&image| mirrored(Flip::Alternating, 0, image)).count();
    assert!((440..560).contains(&first), "{first} of 1000 mirrored in the first epoch");
    for image in 0..1000 {
        let ways: Vec<bool> = (0..4).map(|epoch| mirrored(Flip::Alternating, epoch, image)).collect();
        assert!(ways[0] != ways[1] && ways[0] == ways[2] && ways[1] == ways[3]);
        assert!(!mirrored(Flip::None, 1, image));
    }
    let twice = (0..1000).filter(|&image| mirrored(Flip::Random, 0, image) == mirrored(Flip::Random, 1, image));
    assert!((440..560).contains(&twice.count()));
}

#[test]
fn random_erasing_takes_its_share_of_the_area() {
    let size = Size { height: 32, width: 32 };
    let mut shares = Vec::new();
    for step in 0..500 {
        let mut pixels = vec![0; 1024];
        erase::erase(&mut pixels, size, 1, &mut Draws::new(0, Purpose::RandomErasing, step, 0));
        // Noise is 0 in one pixel of 256.
        shares.push(pixels.iter().filter(|&&value| value > 0).count() as f64 / 1024.0);
    }
    let mean = shares.iter().sum::<f64>() / 500.0;
    assert!((0.16..0.185).contains(&mean), "mean share {mean}");
    assert!(shares.iter().all(|share| (0.012..0.36).contains(share)));
}

#[test]
fn values_out_of_range_are_named() {
    let shape = ImageShape { height: 32, width: 28, channels: 3 };
    let message = |change: fn(&mut Augmentation)| {
        let mut augmentation = Augmentation::default();
        change(&mut augmentation);
        augmentation.validate(shape).unwrap_err().to_string()
    };
    assert_eq!(message(|a| a.crop = 28), "crop of 28 pixels is too large for images of 28×32 pixels");
    assert_eq!(message(|a| a.rotation = 181.0), "rotation is 181, but must be from 0 to 180 degrees");
    assert_eq!(message(|a| a.zoom = 1.0), "zoom is 1, but must be from 0 to 0.9");
    assert_eq!(message(|a| a.color_jitter = -0.1), "color jitter is -0.1, but must be from 0 to 1");
    assert_eq!(message(|a| a.random_erasing = 1.5), "random erasing is 1.5, but must be a probability from 0 to 1");
    assert_eq!(message(|a| a.mixup = -0.2), "mixup is -0.2, but must be 0 (off) or a positive alpha");
    assert_eq!(message(|a| a.cutmix = f64::NAN), "cutmix is NaN, but must be 0 (off) or a positive alpha");
    assert_eq!(message(|a| a.cutmix = f64::INFINITY), "cutmix is inf, but must be 0 (off) or a positive alpha");
    assert!(Augmentation { crop: 27, zoom: 0.9, mixup: 32.0, ..Default::default() }.validate(shape).is_ok());
}

#[test]
fn defaults_suit_and_are_valid() {
    let shape = |side, channels| ImageShape { height: side, width: side, channels };
    let cifar = Augmentation::defaults_for(true, shape(32, 3), true);
    assert_eq!(cifar, Augmentation { flip: Flip::Alternating, crop: 2, ..Default::default() });
    let photographs = Augmentation::defaults_for(true, shape(224, 3), true);
    assert_eq!((photographs.flip, photographs.crop), (Flip::Alternating, 28));
    let digits = Augmentation::defaults_for(false, shape(8, 1), true);
    assert!(digits.is_none());
    let mnist = Augmentation::defaults_for(false, shape(28, 1), true);
    assert_eq!(mnist, Augmentation { crop: 1, ..Default::default() });
    assert!(Augmentation::defaults_for(false, shape(28, 1), false).is_none());
    for side in 1..300 {
        for (mirrors, convolutional) in [(false, false), (false, true), (true, false), (true, true)] {
            let augmentation = Augmentation::defaults_for(mirrors, shape(side, 3), convolutional);
            augmentation.validate(shape(side, 3)).unwrap();
            assert!(mirrors || augmentation.flip == Flip::None);
        }
    }
}

#[test]
fn settings_go_into_a_file_and_back() {
    let augmentation = Augmentation { flip: Flip::Alternating, crop: 4, mixup: 0.2, ..Default::default() };
    let text = toml::to_string(&augmentation).unwrap();
    assert!(text.contains("flip = \"alternating\"") && text.contains("mixup = 0.2\n"), "{text}");
    assert_eq!(toml::from_str::<Augmentation>(&text).unwrap(), augmentation);
    assert_eq!(toml::from_str::<Augmentation>("").unwrap(), Augmentation::default());
    assert!(toml::from_str::<Augmentation>("crops = 4").unwrap_err().to_string().contains("crops"));
}

/// Ten real pictures, a column each; their originals in the first row, then an augmentation a row: look at it.
#[test]
fn a_contact_sheet_shows_every_augmentation() {
    let Some(folder) = std::env::var_os("PERCEPT_TEST_DATA").map(PathBuf::from) else {
        eprintln!("skipped: set PERCEPT_TEST_DATA to a folder that holds cifar10/");
        return;
    };
    let mut classes: Vec<PathBuf> =
        std::fs::read_dir(folder.join("cifar10/train")).unwrap().map(|entry| entry.unwrap().path()).collect();
    classes.retain(|path| path.is_dir());
    classes.sort();
    let shape = ImageShape { height: 32, width: 32, channels: 3 };
    let picture = |class: &PathBuf| {
        let first = std::fs::read_dir(class).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
        ::image::open(first).unwrap().to_rgb8().into_raw()
    };
    let pixels: Vec<u8> = classes.iter().flat_map(picture).collect();
    let labels: Vec<u32> = (0..10).collect();
    let images = Images { shape, pixels: &pixels, labels: &labels, sets: None, classes: 10 };

    let mut sheet = pixels.clone();
    let none = Augmentation::default;
    for (augmentation, steps) in [
        (Augmentation { flip: Flip::Random, ..none() }, 1),
        (Augmentation { crop: 4, ..none() }, 2),
        (Augmentation { crop: 4, padding: Padding::Zeros, ..none() }, 1),
        (Augmentation { rotation: 20.0, zoom: 0.3, ..none() }, 2),
        (Augmentation { rotation: 20.0, zoom: 0.3, padding: Padding::Zeros, ..none() }, 1),
        (Augmentation { color_jitter: 0.4, ..none() }, 2),
        (Augmentation { random_erasing: 1.0, ..none() }, 1),
        (Augmentation { mixup: 0.4, ..none() }, 2),
        (Augmentation { cutmix: 1.0, ..none() }, 2),
        (Augmentation { trivial_augment: true, ..none() }, 2),
    ] {
        for step in 0..steps {
            let mut batch = Batch::default();
            batch.fill(&images, &labels, &augmentation, Moment { seed: 1, epoch: 0, step }).unwrap();
            assert_ne!(batch.pixels, pixels, "{augmentation:?} changed nothing");
            sheet.extend(batch.pixels);
        }
    }
    let size = Size { height: 32, width: 32 };
    for operation in OPERATIONS.into_iter().skip(1) {
        for (column, image) in pixels.chunks(shape.len()).enumerate() {
            let (mut image, mut scratch) = (image.to_vec(), vec![0; shape.len()]);
            operate::<3>(operation, 3 * column as u32 + 3, column % 2 == 1, &mut image, &mut scratch, size);
            sheet.extend(image);
        }
    }
    let file = std::env::temp_dir().join("percept-augmentations.png");
    save_sheet(&file, &sheet, 10, 3);
    eprintln!("wrote {}", file.display());
}

/// Lays 32×32 colour images out, so many to a row, each pixel enlarged.
fn save_sheet(file: &std::path::Path, images: &[u8], columns: usize, scale: usize) {
    let rows = images.len() / 3072 / columns;
    let (width, height) = (columns * 34 * scale, rows * 34 * scale);
    let mut canvas = vec![255; width * height * 3];
    for (i, image) in images.chunks(3072).enumerate() {
        let (top, left) = (i / columns * 34 * scale, i % columns * 34 * scale);
        for y in 0..32 * scale {
            for x in 0..32 * scale {
                let from = (y / scale * 32 + x / scale) * 3;
                let to = ((top + y) * width + left + x) * 3;
                canvas[to..to + 3].copy_from_slice(&image[from..from + 3]);
            }
        }
    }
    let mut encoder = png::Encoder::new(std::fs::File::create(file).unwrap(), width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&canvas).unwrap();
}
