//! Real folders, where PERCEPT_TEST_DATA names them.

use std::{env, path::PathBuf};

use super::Place;
use crate::data::{Dataset, DatasetConfig, inspect, probe};

fn real(folder: &str) -> Option<PathBuf> {
    let path =
        env::var_os("PERCEPT_TEST_DATA").map(|root| PathBuf::from(root).join(folder)).filter(|path| path.is_dir());
    if path.is_none() {
        eprintln!("skipped: PERCEPT_TEST_DATA names no folder with {folder}");
    }
    path
}

#[test]
fn photographs_of_varied_size() {
    let Some(path) = real("ants-bees") else { return };
    let place = Place::new();
    let config = DatasetConfig { validation: 0.1, ..place.config_of(&path) };
    let source = crate::data::Source::open(&config, &place.listen()).unwrap();
    let sizes = probe(&source).unwrap();
    assert!(!sizes.uniform && sizes.height > 200 && sizes.train == Some(245), "{sizes:?}");
    assert!(
        place.refusal(Dataset::open(&config, &place.listen()))[0].starts_with("the images differ in size: train/ants/")
    );
    let config = DatasetConfig { image_size: Some([64, 64]), ..config };
    let dataset = Dataset::open(&config, &place.listen()).unwrap();
    assert_eq!(dataset.classes, ["ants", "bees"]);
    assert_eq!(dataset.len() + dataset.unreadable.len(), 398);
    assert_eq!(dataset.test.len(), 153);
    let note = "test: the 153 images that came as validation, measured once and choosing nothing; validation: ";
    assert!(dataset.splits_note.starts_with(note), "{}", dataset.splits_note);
    place.decoded();
    let again = Dataset::open(&config, &place.listen()).unwrap();
    assert_eq!((place.decoded(), again.fingerprint), (0, dataset.fingerprint));
    let found = inspect(&config, &|_| {}).unwrap();
    assert_eq!(found.total.test, 153);
    assert!(place.notes().contains(&"ignored 1 file that is no image: val/.DS_Store".to_owned()));
}

#[test]
fn sixty_thousand_files() {
    let Some(path) = real("cifar10") else { return };
    let place = Place::new();
    let config = DatasetConfig { validation: 0.1, ..place.config_of(&path) };
    let dataset = Dataset::open(&config, &place.listen()).unwrap();
    assert_eq!((dataset.len(), dataset.test.len(), dataset.unreadable.len()), (60_000, 10_000, 0));
    assert!((4_700..5_300).contains(&dataset.validation.len()), "{}", dataset.splits_note);
    let start = std::time::Instant::now();
    let again = Dataset::open(&config, &place.listen()).unwrap();
    eprintln!("60,000 files opened from the cache in {:?}", start.elapsed());
    assert_eq!(again.fingerprint, dataset.fingerprint);
}
