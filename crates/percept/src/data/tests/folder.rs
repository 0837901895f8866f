use std::{collections::BTreeSet, fs};

use super::{Place, listing};
use crate::data::{DatasetConfig, Source};

#[test]
fn lists_class_folders_in_an_order_of_bytes() {
    let place =
        Place::with(&["dog/b.PNG", "dog/deep/er/a.jpeg", "cat/z.Jfif", "cat/B.tif", "cat/a.webp", "Zebra/1.gif"]);
    let source = place.source().unwrap();
    assert_eq!(source.classes, ["Zebra", "cat", "dog"]);
    assert_eq!(
        listing(&source),
        [
            "Zebra/1.gif Zebra -",
            "cat/B.tif cat -",
            "cat/a.webp cat -",
            "cat/z.Jfif cat -",
            "dog/b.PNG dog -",
            "dog/deep/er/a.jpeg dog -"
        ]
    );
    assert_eq!((source.name.as_str(), source.channels, source.mirrors), ("data", 3, true));
    assert!(place.notes().is_empty());
}

#[test]
fn sorts_numbers_by_value() {
    let place = Place::with(&["10/a.png", "9/a.png", "007/a.png"]);
    assert_eq!(place.source().unwrap().classes, ["007", "9", "10"]);
    let mixed = Place::with(&["10/a.png", "9/a.png", "x/a.png"]);
    assert_eq!(mixed.source().unwrap().classes, ["10", "9", "x"]);
}

#[test]
fn finds_splits_in_any_capitalisation() {
    let place =
        Place::with(&["Train/cat/1.png", "TRAIN2/x.txt", "Train/dog/2.png", "Valid/cat/3.png", "testing/dog/4.png"]);
    let source = place.source().unwrap();
    assert_eq!(
        listing(&source),
        [
            "Train/cat/1.png cat train",
            "Train/dog/2.png dog train",
            "Valid/cat/3.png cat validation",
            "testing/dog/4.png dog test"
        ]
    );
    assert_eq!(place.notes(), ["left out 1 folder beside the splits: TRAIN2"]);
}

#[test]
fn train_may_be_a_class() {
    let place = Place::with(&["train/steam/1.png", "bus/1.png", "car/1.png"]);
    assert_eq!(place.source().unwrap().classes, ["bus", "car", "train"]);
}

#[test]
fn leaves_out_unlabelled_test_images() {
    let place = Place::with(&["train/cat/1.png", "train/dog/2.png", "test/3.png", "test/4.png"]);
    assert_eq!(listing(&place.source().unwrap()), ["train/cat/1.png cat train", "train/dog/2.png dog train"]);
    assert_eq!(place.notes(), ["left out 2 images outside the class folders: test/3.png, test/4.png"]);
}

#[test]
fn ignores_strays_and_counts_them() {
    let place = Place::with(&["cat/1.png", "dog/1.png", "loose.jpg"]);
    for stray in ["README", "cat/.DS_Store", "cat/._1.png", "cat/Thumbs.db", "dog/notes.txt"] {
        place.write(stray, b"x");
    }
    place.write("dog/.ipynb_checkpoints/1.png", b"x");
    place.write(".git/1.png", b"x");
    place.write("__MACOSX/cat/1.png", b"x");
    fs::create_dir(place.root().join("mouse")).unwrap();
    let source = place.source().unwrap();
    assert_eq!(listing(&source), ["cat/1.png cat -", "dog/1.png dog -"]);
    let notes = place.notes();
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes[0].starts_with("ignored 5 files that are no image: README, cat/"), "{notes:?}");
    assert!(notes[0].ends_with(" and 2 more"), "{notes:?}");
    assert_eq!(
        notes[1..],
        ["left out 1 image outside the class folders: loose.jpg", "left out 1 class folder without images: mouse"]
    );
}

#[cfg(unix)]
#[test]
fn survives_loops_links_pipes_and_odd_names() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt, os::unix::fs::symlink};
    let place = Place::with(&["cat/1.png", "dog/1.png"]);
    let root = place.root();
    symlink(&root, root.join("cat/loop")).unwrap();
    symlink("..", root.join("up")).unwrap();
    symlink("loop", root.join("dog/itself")).unwrap();
    symlink(root.join("cat/1.png"), root.join("dog/linked.png")).unwrap();
    symlink(root.join("nowhere"), root.join("dog/broken.png")).unwrap();
    fs::write(root.join("cat").join(OsStr::from_bytes(b"\xff\xfe.png")), super::png(9)).unwrap();
    fs::create_dir(root.join(OsStr::from_bytes(b"\xff"))).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"\xff/1.png")), super::png(10)).unwrap();
    let source = place.source().unwrap();
    let listed: BTreeSet<String> = listing(&source).into_iter().collect();
    for expected in [
        "cat/1.png cat -",
        "dog/1.png dog -",
        "dog/linked.png dog -",
        "dog/broken.png dog -",
        "cat/\u{fffd}\u{fffd}.png cat -",
        "\u{fffd}/1.png \u{fffd} -",
    ] {
        assert!(listed.contains(expected), "{expected}: {listed:?}");
    }
    assert_eq!(source.classes, ["cat", "dog", "\u{fffd}"]);
    let dataset = place.dataset().unwrap();
    let unreadable: Vec<_> = dataset.unreadable.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(unreadable, ["dog/broken.png"]);
    assert!(dataset.names.contains(&"cat/\u{fffd}\u{fffd}.png".to_owned()));
}

#[test]
fn changes_its_identity_with_the_files() {
    let place = Place::with(&["cat/1.png", "dog/1.png"]);
    let identity = || place.source().unwrap().identity;
    let before = identity();
    assert_eq!(before, identity());
    place.write("dog/1.png", b"other length");
    let changed = identity();
    assert_ne!(before, changed);
    fs::rename(place.root().join("dog/1.png"), place.root().join("dog/2.png")).unwrap();
    assert_ne!(changed, identity());
}

#[test]
fn names_what_is_wrong() {
    let place = Place::new();
    let missing = Source::open(&place.config(), &place.listen());
    assert_eq!(place.refusal(missing), ["there is no file or folder at data", "check the path for a typing mistake"]);

    fs::create_dir_all(place.root()).unwrap();
    let [message, hint] = place.refusal(place.source());
    assert_eq!(message, "data holds no image");
    assert!(hint.starts_with("give a folder with one folder of images per class; images end in .jpg .jpeg"), "{hint}");

    let flat = Place::with(&["1.png", "2.png"]);
    let message = "data holds 2 images but no class folders";
    assert_eq!(flat.refusal(flat.source()), [message, "put each class's images in a folder of its own"]);
    flat.write("labels.csv", b"file_name,label\n");
    assert_eq!(
        flat.refusal(flat.source()),
        [
            message,
            "put each class's images in a folder of its own, or give data/labels.csv if it names each image's class"
        ]
    );

    let flat_splits = Place::with(&["train/1.png", "test/2.png"]);
    assert_eq!(flat_splits.refusal(flat_splits.source())[0], "data holds 2 images but no class folders");

    let one = Place::with(&["cat/1.png", "cat/2.png"]);
    assert_eq!(
        one.refusal(one.source()),
        [
            "data holds one class only, \"cat\": there is nothing to tell apart",
            "add a second class; where classes stand deeper in that folder, give the folder right above them"
        ]
    );

    let raw = Place::with(&["cat/1.png", "dog/1.png"]);
    raw.write("bird/1.heic", b"x");
    assert_eq!(
        raw.refusal(raw.source()),
        [
            "class \"bird\" has no image: data/bird holds 1.heic, which is of no image format that Percept reads",
            "convert its files to JPEG or PNG, or take the folder out"
        ]
    );
}

#[test]
fn names_classes_that_are_measured_but_not_taught() {
    let place =
        Place::with(&["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/Dog/1.png", "test/emu/1.png"]);
    assert_eq!(
        place.refusal(place.source()),
        [
            "data: class \"Dog\" has images in test but none in train (1 more classes likewise)",
            "add training images of it, or take it out; names must agree to the letter, capitals included"
        ]
    );
    let only_test = Place::with(&["test/cat/1.png", "test/dog/1.png"]);
    assert_eq!(
        only_test.refusal(only_test.source())[0],
        "data holds no training image, only a validation or test split"
    );
    let measured = DatasetConfig { test: 1.0, ..only_test.config() };
    assert_eq!(Source::open(&measured, &only_test.listen()).unwrap().classes, ["cat", "dog"]);
}
