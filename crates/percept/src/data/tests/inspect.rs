use image::ImageFormat;

use super::{Place, encode, png};
use crate::data::{DatasetConfig, Split, inspect};

#[test]
fn finds_copies_broken_files_and_imbalance() {
    let place = Place::new();
    for i in 0..30 {
        place.write(&format!("train/cat/{i:02}.png"), &png(i));
    }
    place.write("train/狗/a.jpg", &encode(100, 5, 9, ImageFormat::Jpeg));
    place.write("train/狗/copy.png", &png(3)); // another label
    place.write("test/cat/copy.png", &png(7)); // another split
    place.write("test/cat/own.bmp", &encode(102, 20, 30, ImageFormat::Bmp));
    place.write("test/cat/own copy.bmp", &encode(102, 20, 30, ImageFormat::Bmp));
    place.write("test/狗/broken.png", b"");
    place.write("test/readme.txt", b"x");
    let found = inspect(&place.config(), &|_| {}).unwrap();
    assert_eq!((found.images, found.total.train, found.total.validation, found.total.test), (35, 32, 0, 3));
    assert_eq!((found.classes[0].train, found.classes[0].test, found.classes[1].train), (30, 3, 2));
    let sizes = found.sizes.clone().unwrap();
    assert_eq!((sizes.smallest, sizes.median, sizes.largest, sizes.uniform), ([5, 9], [8, 8], [20, 30], false));
    assert_eq!(
        found.formats.iter().map(|(f, n)| (f.as_str(), *n)).collect::<Vec<_>>(),
        [("bmp", 2), ("jpeg", 1), ("png", 32)]
    );
    assert_eq!(found.unreadable.len(), 1);
    let copies = &found.duplicates;
    assert_eq!((copies.copies, copies.across_splits, copies.other_label), (3, 1, 1));
    let expected = ("train/cat/03.png", (Some(Split::Train), "cat".to_owned()), (Some(Split::Train), "狗".to_owned()));
    assert_eq!(
        (copies.pairs[0].first.as_str(), copies.pairs[0].first_in.clone(), copies.pairs[0].second_in.clone()),
        expected
    );
    let text = place.shorten(&found.to_text());
    assert_eq!(
        text,
        "\
data: 35 images in 2 classes, from data
splits: test: the 3 images that came as test; no validation: every training image trains

class     train  validation      test       all
cat          30           0         3        33
狗            2           0         0         2
total        32           0         3        35

size     smallest 9×5, median 8×8, largest 30×20 (width×height)
colour   35 in colour, 0 grey
format   2 bmp, 1 jpeg, 32 png

unreadable: 1
  test/狗/broken.png: the file is empty

copies of an earlier image: 3 (1 across splits, 1 with another label)
  train/cat/03.png (train, cat) = train/狗/copy.png (train, 狗)
  test/cat/copy.png (test, cat) = train/cat/07.png (train, cat)
  test/cat/own copy.bmp (test, cat) = test/cat/own.bmp (test, cat)

note: ignored 1 file that is no image: test/readme.txt
warning: class \"狗\" has no test image, so test figures say nothing of it: add images of it
warning: classes are unbalanced: \"cat\" has 30 training images, \"狗\" 2; weigh the classes, or add images
warning: few images: \"狗\" (2) with fewer than 20 training images
warning: 1 image is identical to one in another split: figures on that split are too good
warning: 1 image is identical to one with another label
"
    );
}

#[test]
fn shows_what_would_stop_a_training() {
    let place = Place::with(&["train/cat/1.png", "train/dog/1.png", "test/emu/1.png"]);
    let config = DatasetConfig { validation: 0.1, test: 0.1, ..place.config() };
    let found = inspect(&config, &|_| {}).unwrap();
    assert!(found.warnings[0].starts_with("no training image is left of class \"emu\""), "{:?}", found.warnings);
    let one = Place::with(&["cat/1.png"]);
    let found = inspect(&one.config(), &|_| {}).unwrap();
    assert!(found.warnings.contains(&"there is one class only, \"cat\": nothing can be learned".to_owned()));
    assert_eq!(serde_json::to_value(&found).unwrap()["total"]["train"], 1);
}
