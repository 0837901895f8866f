use std::time::Instant;

use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::data::named::open_path;
use crate::pickle::tests::python2_batch;

/// One image: every red is `label`, every green 100, and the blues count.
fn planes(label: u8) -> Vec<u8> {
    let blue = (0..PLANE).map(|at| at as u8);
    [label; PLANE].into_iter().chain([100; PLANE]).chain(blue).collect()
}

fn binary(labels: &[u8]) -> Vec<u8> {
    labels.iter().flat_map(|&label| [vec![label], planes(label)].concat()).collect()
}

fn python(labels: &[u8]) -> Vec<u8> {
    python2_batch(labels, &labels.iter().flat_map(|&label| planes(label)).collect::<Vec<_>>(), PIXELS)
}

/// CIFAR-10's files with two images each.
fn batches(coding: Coding) -> Vec<(String, Vec<u8>)> {
    let write = if coding == Coding::Binary { binary } else { python };
    let names = CIFAR10.names(coding);
    names.into_iter().enumerate().map(|(index, name)| (name, write(&[index as u8, 9 - index as u8]))).collect()
}

fn write_folder(folder: &Path, coding: Coding) {
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in batches(coding) {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Packs entries, paths as they are, whatever they are.
fn pack(path: &Path, entries: &[(String, Vec<u8>)]) {
    let mut builder = tar::Builder::new(GzEncoder::new(File::create(path).unwrap(), Compression::fast()));
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap();
}

fn in_folder(folder: &str, entries: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    entries.into_iter().map(|(name, bytes)| (format!("{folder}/{name}"), bytes)).collect()
}

fn read(source: &Source) -> Result<Vec<Sample>> {
    (source.samples)()?.collect()
}

fn message(result: Result<impl Sized>, folder: &Path) -> String {
    let error = result.err().unwrap();
    error.to_string().replace(&format!("{}{}", folder.display(), std::path::MAIN_SEPARATOR), "")
}

fn check_small(source: &Source) {
    assert_eq!((source.name.as_str(), source.channels, source.classes[3].as_str()), ("cifar10", 3, "cat"));
    let samples = read(source).unwrap();
    let labels: Vec<u32> = samples.iter().map(|sample| sample.label).collect();
    assert_eq!(labels, [0, 9, 1, 8, 2, 7, 3, 6, 4, 5, 5, 4]);
    let tests: Vec<bool> = samples.iter().map(|sample| sample.split == Some(Split::Test)).collect();
    assert_eq!(tests, [[false; 10].as_slice(), &[true; 2]].concat());
    let Picture::Pixels(image) = &samples[3].picture else { panic!("not pixels") };
    assert_eq!(image.shape, ImageShape { height: 32, width: 32, channels: 3 });
    assert_eq!(image.pixels[..6], [8, 100, 0, 8, 100, 1]);
    assert_eq!(image.pixels[33 * 3..34 * 3], [8, 100, 33]); // second row, second column
}

#[test]
fn folders_and_archives_of_both_codings_hold_the_same() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    for (coding, folder) in [(Coding::Binary, "bin"), (Coding::Python, "py")] {
        write_folder(&path(folder), coding);
        let source = open_path(&path(folder)).unwrap().unwrap();
        check_small(&source);
        let suffix = if coding == Coding::Binary { ".bin" } else { "" };
        assert_eq!(read(&source).unwrap()[11].name, format!("test_batch{suffix}#1"));
        // The published archives hold the batches in no order.
        let mut entries = in_folder("cifar-10-batches", batches(coding));
        entries.reverse();
        entries.insert(2, ("cifar-10-batches/readme.html".into(), b"<html>".to_vec()));
        pack(&path("some.tar.gz"), &entries);
        check_small(&open_path(&path("some.tar.gz")).unwrap().unwrap());
    }
    fs::create_dir(path("outer")).unwrap();
    write_folder(&path("outer/cifar-10-batches-py"), Coding::Python);
    check_small(&open_path(&path("outer")).unwrap().unwrap());
    let identity = |name: &str| open_path(&path(name)).unwrap().unwrap().identity;
    assert_eq!(identity("bin"), identity("bin"));
    assert_ne!(identity("bin"), identity("py"));
}

#[test]
fn cifar_100_has_two_labels_and_its_fine_one_counts() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("cifar-100-binary");
    fs::create_dir(&folder).unwrap();
    let record = |fine: u8| [vec![3, fine], planes(fine)].concat();
    fs::write(folder.join("train.bin"), [record(99), record(0)].concat()).unwrap();
    fs::write(folder.join("test.bin"), record(50)).unwrap();
    let source = open_path(&folder).unwrap().unwrap();
    assert_eq!((source.name.as_str(), source.classes[99].as_str()), ("cifar100", "worm"));
    let labels: Vec<u32> = read(&source).unwrap().iter().map(|sample| sample.label).collect();
    assert_eq!(labels, [99, 0, 50]);
    // The same names in a folder that is not CIFAR's are somebody else's.
    let other = root.path().join("mine");
    fs::rename(&folder, &other).unwrap();
    assert!(open_path(&other).unwrap().is_none());
}

#[test]
fn damage_is_named_with_what_was_expected() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let damage = |coding: Coding, index: usize, bytes: Vec<u8>| {
        let folder = folder.join(format!("{coding:?}"));
        write_folder(&folder, coding);
        fs::write(folder.join(&CIFAR10.names(coding)[index]), bytes).unwrap();
        message(open_path(&folder).and_then(|source| read(&source.unwrap())), &folder)
    };
    let binary_case = |index, bytes| damage(Coding::Binary, index, bytes);
    let short = binary(&[1, 2])[..6000].to_vec();
    assert_eq!(
        binary_case(2, short),
        "data_batch_3.bin is damaged: expected whole images of 3073 bytes, found 6000 bytes"
    );
    assert_eq!(
        binary_case(5, binary(&[1, 12])),
        "test_batch.bin is damaged: image 1 has label 12, but the labels are 0 to 9"
    );
    let python_case = |bytes| damage(Coding::Python, 0, bytes);
    assert_eq!(
        python_case(python(&[1, 10])),
        "data_batch_1 is damaged: image 1 has label 10, but the labels are 0 to 9"
    );
    assert_eq!(
        python_case(b"cposix\nsystem\n(S'id'\ntR.".to_vec()),
        "data_batch_1 is damaged: refuses to call posix.system (at byte 0 of 24)"
    );
    let half = python(&[1, 2]);
    let text = python_case(half[..half.len() / 2].to_vec());
    assert!(text.starts_with("data_batch_1 is damaged: the pickle ends early (at byte "), "{text}");
    assert_eq!(python_case(b"}.".to_vec()), "data_batch_1 is damaged: it holds no \"data\"");
    assert_eq!(
        python_case(python2_batch(&[1, 2], &[0; 20], 10)),
        "data_batch_1 is damaged: expected \"data\" of shape [images, 3072], found [2, 10]"
    );
    fs::remove_file(folder.join("Binary/data_batch_4.bin")).unwrap();
    fs::remove_file(folder.join("Binary/test_batch.bin")).unwrap();
    assert_eq!(message(open_path(&folder.join("Binary")), folder), "Binary lacks data_batch_4.bin, test_batch.bin");
}

#[test]
fn a_dataset_by_name_must_be_whole() {
    let root = tempfile::tempdir().unwrap();
    write_folder(root.path(), Coding::Binary);
    let entry = super::super::find("cifar10").unwrap();
    let source = open(entry, &CIFAR10, Files::Folder(root.path().into()), true).unwrap();
    assert_eq!(
        message(read(&source), root.path()),
        "data_batch_1.bin is damaged: expected 30730000 bytes (10000 images of 3073), found 6146"
    );
}

#[test]
fn hostile_and_broken_archives_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("x.tar.gz");
    let good = in_folder("cifar-10-batches-bin", batches(Coding::Binary));
    let case = |entries: &[(String, Vec<u8>)]| {
        pack(&path, entries);
        message(open_path(&path).and_then(|source| read(&source.unwrap())), root.path())
    };
    let with = |name: &str| [good.as_slice(), &[(name.to_string(), vec![1])]].concat();
    assert_eq!(
        case(&with("../../etc/passwd")),
        "x.tar.gz is damaged: its entry \"../../etc/passwd\" points out of the archive"
    );
    assert_eq!(case(&with("/etc/passwd")), "x.tar.gz is damaged: its entry \"/etc/passwd\" points out of the archive");
    let text = case(&with("C:\\evil"));
    assert!(text.starts_with("x.tar.gz is damaged: its entry \"C:") && text.ends_with("points out of the archive"));
    assert_eq!(case(&good[1..]), "x.tar.gz is damaged: it holds no data_batch_1.bin");
    let twice = [good.as_slice(), &good[..1]].concat();
    assert!(case(&twice).ends_with("data_batch_1.bin is damaged: the archive holds it twice"));

    let mut builder = tar::Builder::new(GzEncoder::new(File::create(&path).unwrap(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "cifar-10-batches-bin/data_batch_1.bin", "/etc/passwd").unwrap();
    builder.into_inner().unwrap().finish().unwrap();
    let result = open_path(&path).and_then(|source| read(&source.unwrap()));
    let expected = "x.tar.gz is damaged: its entry \"cifar-10-batches-bin/data_batch_1.bin\" is a link";
    assert_eq!(message(result, root.path()), expected);

    pack(&path, &good);
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, 10, 100, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let result = open_path(&path).and_then(|source| source.map(|source| read(&source)).transpose());
        assert!(!matches!(result, Ok(Some(_))), "cut at {length} of {}", whole.len());
    }
    let mut flipped = whole.clone();
    let at = whole.len() - 6; // in gzip's checksum
    flipped[at] ^= 0x10;
    fs::write(&path, &flipped).unwrap();
    let text = message(open_path(&path).and_then(|source| read(&source.unwrap())), root.path());
    assert!(text.starts_with("x.tar.gz is damaged: not a readable archive: "), "{text}");
    pack(&path, &[("notes/readme.txt".into(), vec![1])]);
    assert!(open_path(&path).unwrap().is_none());
}

#[test]
fn the_official_layouts_of_real_data_agree() {
    let Some(root) = std::env::var_os("PERCEPT_TEST_DATA") else {
        eprintln!("skipped: PERCEPT_TEST_DATA is not set");
        return;
    };
    let official = Path::new(&root).join("official");
    let entry = super::super::find("cifar10").unwrap();
    let mut seen: Option<(usize, u64)> = None;
    for name in CIFAR10.folders.iter().chain(&CIFAR10.archives) {
        let path = official.join(name);
        let files = if path.is_dir() { Files::Folder(path) } else { Files::Archive(path) };
        let source = open(entry, &CIFAR10, files, true).unwrap();
        let begin = Instant::now();
        let mut sum = (0, 0u64);
        for sample in (source.samples)().unwrap() {
            let sample = sample.unwrap();
            let Picture::Pixels(image) = sample.picture else { panic!("not pixels") };
            let content = image
                .pixels
                .iter()
                .fold(u64::from(sample.label), |sum, &value| sum.wrapping_mul(31).wrapping_add(value.into()));
            sum = (sum.0 + 1, sum.1.wrapping_mul(1_000_003).wrapping_add(content));
        }
        eprintln!("{name}: {:.2} s", begin.elapsed().as_secs_f64());
        assert_eq!(sum.0, 60_000, "{name}");
        assert_eq!(*seen.get_or_insert(sum), sum, "{name} differs");
    }
}
