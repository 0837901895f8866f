use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
};

use image::ImageFormat;

use super::{Place, encode, png};
use crate::{
    data::{BadImages, Dataset, DatasetConfig, Picture, Sample, Source, Split},
    image::{Image, ImageShape},
};

fn cats_and_dogs(images: u32) -> Place {
    let place = Place::new();
    for i in 0..images {
        place.write(&format!("{}/{i:04}.png", ["cat", "dog"][i as usize % 2]), &png(i));
    }
    place
}

fn cache_files(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.folder.path().join("cache/decoded")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_second_look_decodes_nothing_and_sees_the_same() {
    let place = cats_and_dogs(30);
    place.write("cat/broken.png", &png(3)[..40]);
    let first = place.dataset().unwrap();
    assert_eq!(place.decoded(), 31);
    let second = place.dataset().unwrap();
    assert_eq!(place.decoded(), 0);
    assert_eq!((first.len(), first.shape), (30, ImageShape { height: 8, width: 8, channels: 3 }));
    for index in 0..30 {
        let expected = image::open(place.root().join(&first.names[index])).unwrap().into_rgb8().into_raw();
        assert_eq!(first.image(index), expected, "{index}");
        assert_eq!(second.image(index), expected, "{index}");
    }
    assert_eq!(
        (first.names, first.labels, first.fingerprint),
        (second.names.clone(), second.labels.clone(), second.fingerprint.clone())
    );
    assert_eq!(first.unreadable, second.unreadable);
    assert_eq!(second.unreadable[0].name, "cat/broken.png");
    let left_out = |note: &String| note.starts_with("left out 1 of 31 images that cannot be read: cat/broken.png (");
    assert_eq!(place.notes().iter().filter(|note| left_out(note)).count(), 2);
    assert_eq!(cache_files(&place).len(), 1);
}

#[test]
fn another_size_or_changed_files_are_decoded_anew() {
    let place = cats_and_dogs(4);
    let open = |image_size| Dataset::open(&DatasetConfig { image_size, ..place.config() }, &place.listen()).unwrap();
    assert_eq!(open(None).shape.height, 8);
    let small = open(Some([4, 6]));
    assert_eq!((place.decoded(), small.shape), (4, ImageShape { height: 4, width: 6, channels: 3 }));
    assert_eq!(small.image(3).len(), 72);
    place.write("cat/new.png", &png(99));
    assert_eq!(open(None).len(), 5);
    assert_eq!(place.decoded(), 5);
    assert_eq!(cache_files(&place).len(), 3);
}

#[test]
fn a_damaged_file_is_said_and_made_again() {
    let place = cats_and_dogs(10);
    let sound = place.dataset().unwrap();
    let path = cache_files(&place).remove(0);
    drop(sound);
    let bytes = fs::read(&path).unwrap();
    let flip = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    let (cut, longer) = (bytes[..bytes.len() - 1].to_vec(), [&bytes[..], &[0]].concat());
    let cases = [
        (cut, "it has 6386 bytes, not those that its header says"),
        (longer, "it has 6388 bytes, not those that its header says"),
        (bytes[..50].to_vec(), "it is too short"),
        (Vec::new(), "it is too short"),
        (flip(0), "its header is broken"),
        (flip(25), "its header is broken"),
        (flip(bytes.len() - 3), "its checksum does not match"),
    ];
    place.notes();
    place.decoded();
    for (damaged, reason) in cases {
        let reason =
            reason.replace("6386", &(bytes.len() - 1).to_string()).replace("6388", &(bytes.len() + 1).to_string());
        fs::write(&path, damaged).unwrap();
        assert_eq!(place.dataset().unwrap().len(), 10);
        assert_eq!(place.decoded(), 10);
        let notes = place.notes();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].starts_with("the decoded images in cache/decoded/"), "{notes:?}");
        assert!(notes[0].ends_with(&format!(".percept cannot be used ({reason}) and are made again")), "{notes:?}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_folder_that_cannot_be_written_costs_memory_only() {
    let place = cats_and_dogs(6);
    fs::write(place.folder.path().join("cache"), b"a file where the folder should be").unwrap();
    let dataset = place.dataset().unwrap();
    assert_eq!(dataset.len(), 6);
    assert_eq!(dataset.image(5).len(), 192);
    let notes = place.notes();
    assert_eq!(notes.len(), 1);
    let start = "decoded images stay in memory and are decoded again next time: cannot write cache/decoded (";
    assert!(notes[0].starts_with(start), "{notes:?}");
}

#[test]
fn nothing_unfinished_stays_behind() {
    let place = cats_and_dogs(6);
    place.write("dog/odd.png", &encode(1, 8, 9, ImageFormat::Png));
    assert_eq!(
        place.refusal(place.dataset()),
        [
            "the images differ in size: cat/0000.png has 8×8 pixels, dog/odd.png has 9×8 (width×height)",
            "pass --image-size to bring them to one size, for example --image-size 64"
        ]
    );
    assert!(cache_files(&place).is_empty());
}

#[test]
fn two_at_once_both_work() {
    let place = cats_and_dogs(40);
    let fingerprints: Vec<String> = std::thread::scope(|scope| {
        let open = || scope.spawn(|| Dataset::open(&place.config(), &|_| {}).unwrap().fingerprint);
        let threads: Vec<_> = (0..4).map(|_| open()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(fingerprints.iter().all(|fingerprint| *fingerprint == fingerprints[0]));
    assert_eq!(cache_files(&place).len(), 1);
}

#[test]
fn bad_images_stop_the_work_where_asked() {
    let place = cats_and_dogs(6);
    place.write("dog/broken.png", b"");
    let strict = DatasetConfig { bad_images: BadImages::Fail, ..place.config() };
    let expected = [
        "cannot read image dog/broken.png of data: the file is empty",
        "replace or remove the file, or pass --bad-images skip to go on without it",
    ];
    assert_eq!(place.refusal(Dataset::open(&strict, &place.listen())), expected);
    place.dataset().unwrap();
    assert_eq!(place.refusal(Dataset::open(&strict, &place.listen())), expected, "from the cache too");
}

#[test]
fn a_class_of_broken_files_is_named() {
    let place = cats_and_dogs(6);
    place.write("emu/1.png", b"x");
    place.write("emu/2.png", b"y");
    for _ in 0..2 {
        assert_eq!(
            place.refusal(place.dataset()),
            [
                "no image of class \"emu\" can be read: all 2 files are broken",
                "see what is wrong with each file: percept data inspect"
            ]
        );
    }
    let broken = Place::new();
    broken.write("cat/1.png", b"");
    broken.write("dog/1.png", b"");
    assert_eq!(
        broken.refusal(broken.dataset())[0],
        "none of the 2 images of data can be read; the first is cat/1.png: the file is empty"
    );
}

#[test]
fn sizes_out_of_range_are_refused() {
    let place = cats_and_dogs(2);
    for (size, text) in [([0, 8], "0×8"), ([8, 5000], "8×5000")] {
        let open = Dataset::open(&DatasetConfig { image_size: Some(size), ..place.config() }, &place.listen());
        let message = format!("image size {text} is out of range");
        assert_eq!(place.refusal(open), [message.as_str(), "choose sides from 1 to 4096 pixels"]);
    }
}

/// A source of raw grey pixels, as the named datasets are.
fn raw_source(images: usize, side: usize, last_label: u32) -> Source {
    let shape = ImageShape { height: side, width: side, channels: 1 };
    let samples = move || {
        let sample = move |i: usize| {
            let picture = Picture::Pixels(Image { shape, pixels: vec![i as u8; shape.len()] });
            let label = if i + 1 == images { last_label } else { i as u32 % 2 };
            Ok(Sample { name: format!("raw#{i}"), label, split: None, picture })
        };
        Ok(Box::new((0..images).map(sample)) as Box<dyn Iterator<Item = _> + Send>)
    };
    Source {
        name: "raw".to_owned(),
        location: "raw".to_owned(),
        classes: vec!["a".to_owned(), "b".to_owned()],
        sets: None,
        channels: 1,
        identity: format!("{images} {side} {last_label}"),
        mirrors: false,
        samples: Box::new(samples),
    }
}

#[test]
fn small_raw_pixels_need_no_file() {
    let place = Place::new();
    let open = |source: &Source| Dataset::from_source(source, &place.config(), &place.listen());
    let small = open(&raw_source(1000, 8, 0)).unwrap();
    assert_eq!((small.len(), small.image(7)), (1000, &[7; 64][..]));
    assert!(!small.mirrors && cache_files(&place).is_empty());
    let large = open(&raw_source(5000, 32, 0)).unwrap();
    assert_eq!((large.len(), large.image(4999)), (5000, &[4999_u16 as u8; 1024][..]));
    assert_eq!(cache_files(&place).len(), 1);
    assert_eq!(
        place.refusal(open(&raw_source(10, 8, 2))),
        [
            "raw#9 of raw has label 2, but there are 2 classes",
            "labels count from 0 and stay below the number of classes: correct the labels or the class names"
        ]
    );
}

#[test]
fn progress_is_told_now_and_then() {
    let place = Place::new();
    let reports = AtomicUsize::new(0);
    let count = |_| {
        reports.fetch_add(1, Ordering::Relaxed);
    };
    Dataset::from_source(&raw_source(50_000, 2, 0), &place.config(), &count).unwrap();
    let reports = reports.into_inner();
    assert!((1..1000).contains(&reports), "{reports}");
}

#[test]
fn a_dataset_in_memory_is_checked() {
    let place = Place::new();
    let shape = ImageShape { height: 1, width: 2, channels: 1 };
    let classes = vec!["a".to_owned(), "b".to_owned()];
    let make = |pixels: &[u8], labels: &[u32], train: &[u32]| {
        Dataset::from_images(
            "toy",
            classes.clone(),
            shape,
            pixels.to_vec(),
            labels.to_vec(),
            train.to_vec(),
            vec![1],
            vec![],
        )
    };
    let dataset = make(&[1, 2, 3, 4], &[0, 1], &[0]).unwrap();
    assert_eq!(dataset.image(1), [3, 4]);
    assert_eq!(dataset.class_counts(Split::Validation), [0, 1]);
    assert_eq!(
        dataset.describe(),
        "toy: 2 grey images of 2×1 pixels in 2 classes; 1 to train, 1 to validate, 0 to test"
    );
    assert_eq!(dataset.fingerprint.len(), 64);
    assert_ne!(dataset.fingerprint, make(&[1, 2, 3, 5], &[0, 1], &[0]).unwrap().fingerprint);
    assert_ne!(dataset.fingerprint, make(&[1, 2, 3, 4], &[0, 0], &[0]).unwrap().fingerprint);
    assert_ne!(dataset.fingerprint, make(&[1, 2, 3, 4], &[0, 1], &[]).unwrap().fingerprint);
    for (result, message) in [
        (make(&[1, 2, 3], &[0, 1], &[0]), "dataset toy: 3 bytes of pixels are not 2 images of 1×2×1"),
        (make(&[1, 2, 3, 4], &[0, 2], &[0]), "dataset toy: label 2 is out of range: there are 2 classes"),
        (make(&[1, 2, 3, 4], &[0, 1], &[2]), "dataset toy: image 2 of a split is out of range: there are 2 images"),
    ] {
        assert_eq!(place.refusal(result)[0], message);
    }
}
