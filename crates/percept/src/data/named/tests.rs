use std::{fs, path::PathBuf, sync::Mutex};

use super::*;
use crate::data::{Event, Split};

fn places(folders: &[PathBuf], cache: &Path) -> find::Places {
    find::Places { folders: folders.to_vec(), cache: cache.join("data"), offline: true, mirror: None }
}

fn quiet(_: Event) {}

fn idx(sizes: &[u32], content: &[u8]) -> Vec<u8> {
    let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_be_bytes()).collect();
    [&[0, 0, 8, sizes.len() as u8 / 4], sizes.as_slice(), content].concat()
}

/// A tiny dataset in MNIST's layout whose pixels are all `value`.
fn write_idx(folder: &Path, value: u8) {
    fs::create_dir_all(folder).unwrap();
    for part in ["train", "t10k"] {
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), idx(&[1, 2, 2], &[value; 4])).unwrap();
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), idx(&[1], &[3])).unwrap();
    }
}

fn first_value(source: &Source) -> u8 {
    let sample = (source.samples)().unwrap().next().unwrap().unwrap();
    match sample.picture {
        crate::data::Picture::Pixels(image) => image.pixels[0],
        _ => panic!("not pixels"),
    }
}

#[test]
fn the_table_is_sound() {
    let mut names: Vec<&str> = catalogue().iter().map(|entry| entry.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), catalogue().len());
    for entry in catalogue() {
        let mut classes = entry.classes.to_vec();
        classes.sort();
        classes.dedup();
        assert_eq!(classes.len(), entry.classes.len(), "{} has a class twice", entry.name);
        for file in entry.files {
            assert!(file.md5.len() == 32 && file.md5.bytes().all(|digit| digit.is_ascii_hexdigit()), "{}", file.name);
            assert!(file.urls.iter().all(|url| url.ends_with(&format!("/{}", file.name))), "{}", file.name);
        }
    }
    let classes = |name: &str| find(name).unwrap().classes;
    let count = |name: &str| classes(name).len();
    assert_eq!(["digits", "cifar10", "cifar100", "kmnist"].map(count), [10, 10, 100, 10]);
    assert_eq!(["emnist", "emnist-letters", "emnist-byclass", "emnist-bymerge"].map(count), [47, 26, 62, 47]);
    let summary = "CIFAR-10: small colour photographs of animals and vehicles; 60000 of 32x32 in 10 classes";
    assert_eq!(find("cifar10").unwrap().summary(), summary);
    assert!(classes("cifar100").is_sorted() && classes("cifar10").is_sorted());
}

#[test]
fn an_unknown_name_is_answered_with_the_closest() {
    let hint = |name: &str| find(name).unwrap_err().hint().unwrap().to_string();
    assert_eq!(find("cifar11").unwrap_err().to_string(), "no dataset is called \"cifar11\"");
    assert_eq!(hint("cifar-10"), "did you mean cifar10?");
    assert_eq!(hint("CIFAR_100"), "did you mean cifar100?");
    let names = "the names are digits, cifar10, cifar100, mnist, fashion-mnist, kmnist, emnist, emnist-letters, \
                 emnist-digits, emnist-mnist, emnist-byclass, emnist-bymerge; anything else is taken for a path";
    assert_eq!(hint("photos"), names);
    assert_eq!(hint("fashion"), "did you mean fashion-mnist?");
    assert_eq!(hint("fashionmnist"), "did you mean fashion-mnist?");
    assert_eq!(hint("mnits"), "did you mean mnist?");
    assert_eq!(hint("digit"), "did you mean digits?");
    assert!(hint("imagenet").starts_with("the names are "));
    assert!(hint("").starts_with("the names are "));
    assert!(is_name("emnist-letters") && !is_name("photos"));
}

#[test]
fn the_own_sub_folder_comes_before_the_folder_itself_and_folders_come_in_order() {
    let root = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| root.path().join(name));
    write_idx(&first, 1);
    write_idx(&first.join("kmnist"), 2);
    write_idx(&second.join("MNIST/raw"), 3);
    write_idx(&root.path().join("cache/data/fashion-mnist"), 4);
    let cache = root.path().join("cache");
    let places = places(&[first, second.clone(), cache.join("data")], &cache);
    let open = |name: &str| open_entry(find(name).unwrap(), &places, &quiet).unwrap();
    assert_eq!(first_value(&open("kmnist")), 2);
    assert_eq!(first_value(&open("mnist")), 1);
    let only_second = find::Places { folders: vec![second, cache.join("data")], ..places.clone() };
    assert_eq!(first_value(&open_entry(find("mnist").unwrap(), &only_second, &quiet).unwrap()), 3);
    let source = open_entry(find("fashion-mnist").unwrap(), &only_second, &quiet).unwrap();
    assert_eq!((first_value(&source), source.mirrors, source.classes[3].as_str()), (4, false, "Dress"));
    let sample = (source.samples)().unwrap().last().unwrap().unwrap();
    assert_eq!((sample.split, sample.label), (Some(Split::Test), 3));
}

#[test]
fn offline_the_error_names_file_address_and_folder() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    write_idx(&data.join("mnist"), 1);
    fs::remove_file(data.join("mnist/t10k-labels-idx1-ubyte")).unwrap();
    let notes = Mutex::new(Vec::new());
    let listener = |event| {
        if let Event::Note(text) = event {
            notes.lock().unwrap().push(text);
        }
    };
    let error =
        open_entry(find("mnist").unwrap(), &places(std::slice::from_ref(&data), root.path()), &listener).err().unwrap();
    let url = "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz";
    assert_eq!(error.to_string(), format!("cannot download {url}: the network is switched off by PERCEPT_OFFLINE"));
    let folder = root.path().join("data").join("mnist");
    let rest = ["train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]
        .map(|name| format!(" https://ossci-datasets.s3.amazonaws.com/mnist/{name}-ubyte.gz"));
    let hint = format!(
        "fetch these files by hand and put them into {}, or name the folder that holds them with --data-dir: {url}{}",
        folder.display(),
        rest.concat()
    );
    assert_eq!(error.hint(), Some(hint.as_str()));
    let place = data.join("mnist");
    assert_eq!(
        *notes.lock().unwrap(),
        [format!("{} holds a part of mnist: t10k-labels-idx1-ubyte is missing", place.display())]
    );
}

#[test]
fn a_mirror_stands_in_for_the_official_address() {
    let root = tempfile::tempdir().unwrap();
    let mirror = Some("http://mirror.example/data/".to_string());
    let places = find::Places { mirror, ..places(&[], root.path()) };
    let error = open_entry(find("emnist-letters").unwrap(), &places, &quiet).err().unwrap();
    let text = error.to_string();
    assert!(text.starts_with("cannot download http://mirror.example/data/emnist/gzip.zip: "), "{text}");
    let hint = error.hint().unwrap();
    assert!(hint.ends_with(" with --data-dir: https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"), "{hint}");
}

#[test]
fn a_data_folder_that_is_not_there_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("typo");
    let config = DatasetConfig {
        data: "mnist".into(),
        data_dir: Some(folder.clone()),
        cache_dir: root.path().into(),
        image_size: None,
        fit: Default::default(),
        filter: Default::default(),
        labels: None,
        bad_images: Default::default(),
        validation: 0.0,
        test: 0.0,
        adds: false,
    };
    let error = open("mnist", &config, &quiet).err().unwrap();
    assert_eq!(error.to_string(), format!("the data folder {} does not exist", folder.display()));
}

#[test]
fn digits_need_nothing() {
    let root = tempfile::tempdir().unwrap();
    let source = open_entry(find("digits").unwrap(), &places(&[], root.path()), &quiet).unwrap();
    assert_eq!((source.samples)().unwrap().count(), 1797);
}

#[test]
fn a_path_that_is_no_layout_is_left_to_others() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("train/cat")).unwrap();
    fs::write(root.path().join("train/cat/1.jpg"), "x").unwrap();
    assert!(open_path(root.path()).unwrap().is_none());
    assert!(open_path(&root.path().join("train/cat/1.jpg")).unwrap().is_none());
    assert!(open_path(&root.path().join("nothing")).unwrap().is_none());
}
