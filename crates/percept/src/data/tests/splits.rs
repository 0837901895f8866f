use std::collections::BTreeMap;

use super::{Place, png};
use crate::{
    Result,
    data::{Dataset, DatasetConfig, Split, splits::assign},
};

/// Contents as evenly spread as real hashes are.
fn contents(images: usize) -> Vec<u128> {
    use sha2::{Digest, Sha256};
    (0..images)
        .map(|i| Sha256::digest(i.to_le_bytes()).iter().take(16).fold(0, |hash, &byte| hash << 8 | u128::from(byte)))
        .collect()
}

fn config(validation: f64, test: f64) -> DatasetConfig {
    DatasetConfig { validation, test, ..DatasetConfig::new("data") }
}

#[test]
fn shares_are_near_the_fractions_and_independent() {
    let contents = contents(20_000);
    let splits = assign(&vec![None; 20_000], &contents, &config(0.2, 0.1)).unwrap();
    let near = |count: usize, expected: f64| (count as f64 - expected).abs() < 4.0 * expected.sqrt();
    assert!(near(splits.test.len(), 2_000.0), "{}", splits.test.len());
    assert!(near(splits.validation.len(), 3_600.0), "{}", splits.validation.len());
    assert_eq!(splits.train.len() + splits.validation.len() + splits.test.len(), 20_000);
    assert_eq!(
        splits.note,
        format!(
            "test: {} of all 20000 images, by content hash (10 %); validation: {} of the {} training images, by content hash (20 %)",
            splits.test.len(),
            splits.validation.len(),
            20_000 - splits.test.len()
        )
    );
}

#[test]
fn what_came_with_the_data_is_measured_and_chooses_nothing() {
    let contents = contents(300);
    let given = |splits: &[Option<Split>]| -> Vec<_> { (0..300).map(|i| splits[i % splits.len()]).collect() };
    let (train, validation, test) = (Some(Split::Train), Some(Split::Validation), Some(Split::Test));
    let thirds: Vec<Vec<u32>> = (0..3).map(|r| (0..300).filter(|i| i % 3 == r).collect()).collect();
    let pairs: Vec<Vec<u32>> = (0..2).map(|r| (0..300).filter(|i| i % 2 == r).collect()).collect();

    let splits = assign(&given(&[train, validation, test]), &contents, &config(0.1, 0.1)).unwrap();
    assert_eq!([&splits.train, &splits.validation, &splits.test], [&thirds[0], &thirds[1], &thirds[2]]);
    assert_eq!(splits.note, "train, validation and test as they came with the data (100, 100 and 100 images)");

    let splits = assign(&given(&[train, validation, test]), &contents, &config(0.0, 0.1)).unwrap();
    assert_eq!([splits.train, splits.validation, splits.test], [thirds[0].clone(), vec![], thirds[2].clone()]);
    assert_eq!(splits.note, "train and test as they came with the data (100 and 100 images); no validation");
    assert_eq!(splits.warnings, ["the validation images that came with the data are not used: validation is 0"]);

    for (second, words) in [
        (validation, "the 150 images that came as validation, measured once and choosing nothing"),
        (test, "the 150 images that came as test"),
    ] {
        let splits = assign(&given(&[train, second]), &contents, &config(0.3, 0.9)).unwrap();
        assert_eq!(splits.test, pairs[1]);
        assert!(!splits.validation.is_empty() && splits.validation.iter().all(|i| i % 2 == 0));
        let n = splits.validation.len();
        assert_eq!(
            splits.note,
            format!("test: {words}; validation: {n} of the 150 training images, by content hash (30 %)")
        );

        let splits = assign(&given(&[train, second]), &contents, &config(0.0, 0.9)).unwrap();
        assert_eq!([splits.train, splits.validation], [pairs[0].clone(), vec![]]);
        assert_eq!(splits.note, format!("test: {words}; no validation: every training image trains"));
    }

    let splits = assign(&given(&[train]), &contents, &config(0.0, 0.0)).unwrap();
    assert_eq!(
        (splits.train.len(), splits.note.as_str()),
        (300, "no test; no validation: every training image trains")
    );
    let splits = assign(&given(&[None]), &contents, &config(0.5, 1.0)).unwrap();
    assert_eq!((splits.test.len(), splits.note.as_str()), (300, "test: all 300 images"));
}

#[test]
fn fractions_out_of_range_are_refused() {
    let place = Place::new();
    let assign = |validation, test| assign(&[None], &[0], &config(validation, test));
    assert_eq!(
        place.refusal(assign(1.0, 0.1)),
        [
            "validation must be at least 0 and below 1, not 1",
            "give a fraction at least 0 and below 1: 0.1 holds out every tenth image"
        ]
    );
    assert_eq!(place.refusal(assign(0.1, 1.5))[0], "test must be between 0 and 1, not 1.5");
    assert_eq!(place.refusal(assign(f64::NAN, 0.1))[0], "validation must be at least 0 and below 1, not NaN");
    assert_eq!(place.refusal(assign(-0.1, 0.1))[0], "validation must be at least 0 and below 1, not -0.1");
}

/// The split of each image of a dataset, by name.
fn places(dataset: &Dataset) -> BTreeMap<String, Split> {
    let name = |&index: &u32| dataset.names[index as usize].clone();
    Split::ALL.into_iter().flat_map(|split| dataset.split(split).iter().map(move |i| (name(i), split))).collect()
}

#[test]
fn growing_a_folder_moves_no_image_and_copies_stay_together() {
    let place = Place::new();
    let open =
        || Dataset::open(&DatasetConfig { validation: 0.2, test: 0.2, ..place.config() }, &place.listen()).unwrap();
    for i in 0..80 {
        place.write(&format!("{}/{i}.png", i % 2), &png(i));
    }
    let before = open();
    assert!(Split::ALL.iter().all(|&split| !before.split(split).is_empty()));
    for i in 80..200 {
        place.write(&format!("{}/0{i}.png", i % 2), &png(i));
    }
    for i in 0..80 {
        place.write(&format!("{}/copy{i}.png", i % 2), &png(i));
    }
    let after = open();
    assert_eq!(after.len(), 280);
    assert_ne!(before.fingerprint, after.fingerprint);
    let (before, after) = (places(&before), places(&after));
    for (name, split) in before {
        assert_eq!(after[&name], split, "{name}");
        assert_eq!(after[&name.replace('/', "/copy")], split, "copy of {name}");
    }
}

#[test]
fn classes_without_images_in_a_split_are_named() {
    let place = Place::new();
    for i in 0..100 {
        place.write(&format!("train/cat/{i}.png"), &png(i));
        place.write(&format!("train/dog/{i}.png"), &png(100 + i));
    }
    place.write("train/emu/1.png", &png(500));
    place.write("test/cat/1.png", &png(501));
    let open = |validation| Dataset::open(&DatasetConfig { validation, ..place.config() }, &place.listen());
    let dataset = open(0.5).unwrap();
    assert_eq!(dataset.class_counts(Split::Test), [1, 0, 0]);
    let notes = place.notes();
    assert!(
        notes.contains(
            &"classes \"dog\", \"emu\" have no test image, so test figures say nothing of them: add images of them"
                .to_owned()
        ),
        "{notes:?}"
    );
    assert!(
        notes.contains(
            &"class \"emu\" has no validation image, so validation figures say nothing of it: add images of it"
                .to_owned()
        ),
        "{notes:?}"
    );

    let left: Result<Dataset> = open(0.999);
    assert_eq!(
        place.refusal(left),
        [
            "no training image is left of class \"cat\" and 2 more: all went to validation or test",
            "add images of it (a dozen at least), or take the class out"
        ]
    );
}
