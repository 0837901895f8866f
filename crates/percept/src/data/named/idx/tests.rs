use std::{fs, io::Write};

use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::data::named::catalogue::catalogue;

fn entry(name: &str) -> (&'static Entry, &'static Layout) {
    let entry = catalogue().iter().find(|entry| entry.name == name).unwrap();
    let catalogue::Layout::Idx(layout) = &entry.layout else { panic!("{name} is not in IDX") };
    (entry, layout)
}

fn idx(sizes: &[u32], content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(content);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Three training pictures and one for the test, of 2x3.
fn write_small(folder: &Path, spellings: [&str; 4]) {
    let images: Vec<u8> = (0..18).collect();
    let [train_images, train_labels, test_images, test_labels] = spellings.map(|name| folder.join(name));
    let pack = |path: &Path, bytes: Vec<u8>| {
        let gzipped = path.extension().is_some_and(|extension| extension == "gz");
        fs::write(path, if gzipped { gzip(&bytes) } else { bytes }).unwrap();
    };
    pack(&train_images, idx(&[3, 2, 3], &images));
    pack(&train_labels, idx(&[3], &[5, 0, 9]));
    pack(&test_images, idx(&[1, 2, 3], &[9; 6]));
    pack(&test_labels, idx(&[1], &[1]));
}

const PLAIN: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

fn open_plain(folder: &Path) -> Result<Source> {
    let (entry, layout) = entry("mnist");
    match locate(folder, layout)? {
        Found::All(files) => open(entry, layout, files),
        other => panic!("{other:?}"),
    }
}

fn read(source: &Source) -> Result<Vec<Sample>> {
    (source.samples)()?.collect()
}

fn message(result: Result<Vec<Sample>>, folder: &Path) -> String {
    result.unwrap_err().to_string().replace(&format!("{}{}", folder.display(), std::path::MAIN_SEPARATOR), "")
}

#[test]
fn every_spelling_is_found_and_read_in_order() {
    let mixed = [
        "train-images.idx3-ubyte",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels.idx1-ubyte",
    ];
    let zipped = PLAIN.map(|name| format!("{name}.gz"));
    for names in [PLAIN, mixed, zipped.each_ref().map(String::as_str)] {
        let folder = tempfile::tempdir().unwrap();
        write_small(folder.path(), names);
        let samples = read(&open_plain(folder.path()).unwrap()).unwrap();
        let facts: Vec<_> = samples.iter().map(|sample| (sample.name.as_str(), sample.label, sample.split)).collect();
        let (train, test) = (names[0].trim_end_matches(".gz"), names[2].trim_end_matches(".gz"));
        assert_eq!(
            facts,
            [
                (format!("{train}#0").as_str(), 5, Some(Split::Train)),
                (format!("{train}#1").as_str(), 0, Some(Split::Train)),
                (format!("{train}#2").as_str(), 9, Some(Split::Train)),
                (format!("{test}#0").as_str(), 1, Some(Split::Test)),
            ]
        );
        let Picture::Pixels(image) = &samples[1].picture else { panic!("not pixels") };
        assert_eq!(image.shape, ImageShape { height: 2, width: 3, channels: 1 });
        assert_eq!(image.pixels, [6, 7, 8, 9, 10, 11]);
    }
}

#[test]
fn emnist_is_turned_upright_and_its_letters_count_from_zero() {
    let folder = tempfile::tempdir().unwrap();
    let name = |part: &str, kind: &str| format!("emnist-letters-{part}-{kind}-ubyte.gz");
    let write = |name: String, bytes: Vec<u8>| fs::write(folder.path().join(name), gzip(&bytes)).unwrap();
    write(name("train", "images-idx3"), idx(&[1, 2, 3], &[1, 2, 3, 4, 5, 6]));
    write(name("train", "labels-idx1"), idx(&[1], &[26]));
    write(name("test", "images-idx3"), idx(&[1, 2, 3], &[0; 6]));
    write(name("test", "labels-idx1"), idx(&[1], &[1]));
    let (_, layout) = entry("emnist-letters");
    assert!(matches!(locate(folder.path(), layout), Ok(Found::All(_))));
    let source = open_path(folder.path()).unwrap().unwrap();
    assert_eq!((source.name.as_str(), source.classes[25].as_str()), ("emnist-letters", "Z"));
    let samples = read(&source).unwrap();
    let Picture::Pixels(image) = &samples[0].picture else { panic!("not pixels") };
    assert_eq!((image.shape.height, image.shape.width), (3, 2));
    assert_eq!(image.pixels, [1, 4, 2, 5, 3, 6]);
    assert_eq!((samples[0].label, samples[1].label), (25, 0));
    write(name("test", "labels-idx1"), idx(&[1], &[0]));
    let text = message(read(&source), folder.path());
    assert!(text.ends_with("is damaged: image 0 has label 0, but the labels are 1 to 26"), "{text}");
}

#[test]
fn emnist_is_read_out_of_its_zip() {
    let folder = tempfile::tempdir().unwrap();
    for method in [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated] {
        let mut writer = zip::ZipWriter::new(File::create(folder.path().join("gzip.zip")).unwrap());
        let mut add = |name: &str, bytes: Vec<u8>| {
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            writer.start_file(name, options).unwrap();
            writer.write_all(&bytes).unwrap();
        };
        add("gzip/emnist-balanced-mapping.txt", b"0 48".to_vec());
        for (part, count) in [("train", 2), ("test", 1)] {
            let images: Vec<u8> = (0..4 * count).map(|value| value as u8).collect();
            add(&format!("gzip/emnist-balanced-{part}-images-idx3-ubyte.gz"), gzip(&idx(&[count, 2, 2], &images)));
            add(
                &format!("gzip/emnist-balanced-{part}-labels-idx1-ubyte.gz"),
                gzip(&idx(&[count], &vec![46; count as usize])),
            );
        }
        writer.finish().unwrap();
        let source = open_path(folder.path());
        // Other parts are not in this zip.
        let text = source.err().unwrap().to_string();
        assert!(text.ends_with("gzip.zip is damaged: it holds no emnist-letters-train-images-idx3-ubyte.gz"), "{text}");
        let (entry, layout) = entry("emnist");
        let Found::All(files) = locate(folder.path(), layout).unwrap() else { panic!("not found") };
        let samples = read(&open(entry, layout, files).unwrap()).unwrap();
        assert_eq!(samples.iter().map(|sample| sample.label).collect::<Vec<_>>(), [46; 3]);
        assert_eq!(samples[1].name, "emnist-balanced-train-images-idx3-ubyte#1");
        let Picture::Pixels(image) = &samples[1].picture else { panic!("not pixels") };
        assert_eq!(image.pixels, [4, 6, 5, 7]);
    }
}

#[test]
fn damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let damage = |name: &str, bytes: Vec<u8>| {
        write_small(folder.path(), PLAIN);
        let source = open_plain(folder.path()).unwrap();
        fs::write(folder.path().join(name), bytes).unwrap();
        message(read(&source), folder.path())
    };
    let [images, labels, ..] = PLAIN;
    assert_eq!(
        damage(images, idx(&[3, 2, 3], &[0; 17])),
        "train-images-idx3-ubyte is damaged: it ends inside image 2 of 3"
    );
    assert_eq!(
        damage(images, idx(&[3, 2, 3], &[0; 19])),
        "train-images-idx3-ubyte is damaged: more bytes follow after 3 images"
    );
    assert_eq!(
        damage(images, idx(&[2, 2, 3], &[0; 12])),
        "train-images-idx3-ubyte is damaged: expected 3 images, as many as train-labels-idx1-ubyte has labels, found 2"
    );
    assert_eq!(damage(images, vec![0, 0]), "train-images-idx3-ubyte is damaged: it ends inside the header");
    assert_eq!(
        damage(images, idx(&[3], &[0; 40])),
        "train-images-idx3-ubyte is damaged: it begins with [0, 0, 8, 1]; IDX of u8 in 3 dimensions begins with [0, 0, 8, 3]"
    );
    assert_eq!(
        damage(images, idx(&[3, 60_000, 60_000], &[])),
        "train-images-idx3-ubyte is damaged: images of 60000x60000 pixels"
    );
    assert_eq!(
        damage(labels, idx(&[3], &[5, 10, 9])),
        "train-labels-idx1-ubyte is damaged: image 1 has label 10, but the labels are 0 to 9"
    );
    assert_eq!(
        damage(labels, idx(&[u32::MAX], &[5, 1, 9])),
        "train-labels-idx1-ubyte is damaged: expected 4294967295 labels, found 3"
    );
    let packed = gzip(&idx(&[3, 2, 3], &[7; 18]));
    let text = damage(images, packed[..packed.len() - 12].to_vec());
    assert!(text.starts_with("train-images-idx3-ubyte is damaged: it ends inside "), "{text}");
    let mut wrong = packed.clone();
    let at = wrong.len() - 8;
    wrong[at] ^= 1;
    let text = damage(images, wrong);
    assert!(text.starts_with("train-images-idx3-ubyte is damaged: ") && text.contains("checksum"), "{text}");
}

#[test]
fn a_folder_by_its_path_is_told_by_its_name_or_numbers_its_classes() {
    let root = tempfile::tempdir().unwrap();
    for (place, name, class) in
        [("FashionMNIST/raw", "fashion-mnist", "Trouser"), ("kmnist", "kmnist", "ki"), ("mine", "mine", "1")]
    {
        let folder = root.path().join(place);
        fs::create_dir_all(&folder).unwrap();
        write_small(&folder, PLAIN);
        let source = open_path(&folder).unwrap().unwrap();
        assert_eq!((source.name.as_str(), source.classes.len(), source.classes[1].as_str()), (name, 10, class));
        assert_eq!(read(&source).unwrap().len(), 4);
    }
    let folder = root.path().join("mine");
    fs::remove_file(folder.join(PLAIN[3])).unwrap();
    let text = open_path(&folder).err().unwrap().to_string();
    assert_eq!(text, format!("{} lacks t10k-labels-idx1-ubyte", folder.display()));
    assert!(open_path(root.path()).unwrap().is_none());
}

#[test]
fn no_bytes_make_it_panic() {
    let folder = tempfile::tempdir().unwrap();
    write_small(folder.path(), PLAIN);
    let source = open_plain(folder.path()).unwrap();
    let mut random = 3u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize
    };
    for name in PLAIN {
        let path = folder.path().join(name);
        let plain = fs::read(&path).unwrap();
        for original in [plain.clone(), gzip(&plain)] {
            for length in 0..original.len() {
                fs::write(&path, &original[..length]).unwrap();
                assert!(read(&source).is_err(), "{name} cut at {length}");
            }
            for _ in 0..150 {
                let mut bytes = original.clone();
                let at = next() % bytes.len();
                bytes[at] = next() as u8;
                fs::write(&path, &bytes).unwrap();
                let _ = read(&source);
            }
        }
        fs::write(&path, plain).unwrap();
    }
}

#[test]
fn fashion_mnist_of_debian_is_read() {
    let folder = Path::new("/usr/share/datasets/fashion-mnist");
    if !folder.is_dir() {
        eprintln!("skipped: {} is not there", folder.display());
        return;
    }
    let source = open_path(folder).unwrap().unwrap();
    assert_eq!((source.name.as_str(), source.mirrors), ("fashion-mnist", false));
    let mut count = [[0; 10]; 2];
    for sample in (source.samples)().unwrap() {
        let sample = sample.unwrap();
        count[usize::from(sample.split == Some(Split::Test))][sample.label as usize] += 1;
    }
    assert_eq!(count, [[6000; 10], [1000; 10]]);
}
