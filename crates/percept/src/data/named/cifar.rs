//! CIFAR-10 and CIFAR-100 in their official layouts: binary or Python batches, in a folder or in the archive.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use super::pickle;
use crate::{
    Error, Result,
    data::{Picture, Sample, Source, Split, folder::hex},
    image::{Image, ImageShape},
};

const SHAPE: ImageShape = ImageShape { height: 32, width: 32, channels: 3 };
/// The largest batch, CIFAR-100's training file, with room to spare.
const LARGEST: u64 = 256 << 20;

/// A layout: its folder's name, its batches, and the file of class names.
struct Layout {
    classes: usize,
    python: bool,
    folder: &'static str,
    archive: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    names: &'static str,
}

const LAYOUTS: [Layout; 4] = [
    Layout {
        classes: 10,
        python: false,
        folder: "cifar-10-batches-bin",
        archive: "cifar-10-binary.tar.gz",
        train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
        test: "test_batch.bin",
        names: "batches.meta.txt",
    },
    Layout {
        classes: 10,
        python: true,
        folder: "cifar-10-batches-py",
        archive: "cifar-10-python.tar.gz",
        train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
        test: "test_batch",
        names: "batches.meta",
    },
    Layout {
        classes: 100,
        python: false,
        folder: "cifar-100-binary",
        archive: "cifar-100-binary.tar.gz",
        train: &["train.bin"],
        test: "test.bin",
        names: "fine_label_names.txt",
    },
    Layout {
        classes: 100,
        python: true,
        folder: "cifar-100-python",
        archive: "cifar-100-python.tar.gz",
        train: &["train"],
        test: "test",
        names: "meta",
    },
];

/// Looks into a folder for an unpacked layout or an archive.
pub(super) fn find(folder: &Path, classes: usize) -> Result<Option<Source>> {
    for layout in LAYOUTS.iter().filter(|layout| layout.classes == classes) {
        for name in [layout.folder, layout.archive] {
            let path = folder.join(name);
            if path.exists() {
                return open(&path, classes);
            }
        }
    }
    open(folder, classes)
}

/// Opens a path that is an unpacked layout or an archive, by its name and contents.
pub(super) fn open(path: &Path, classes: usize) -> Result<Option<Source>> {
    for layout in LAYOUTS.iter().filter(|layout| layout.classes == classes) {
        let unpacked = path.is_dir() && path.join(layout.test).is_file() && path.join(layout.names).is_file();
        let archive = path.is_file() && path.file_name().is_some_and(|name| name == layout.archive);
        if unpacked || archive {
            return source(path, layout).map(Some);
        }
    }
    Ok(None)
}

fn source(path: &Path, layout: &'static Layout) -> Result<Source> {
    let classes = if path.is_dir() {
        let file = path.join(layout.names);
        let bytes = std::fs::read(&file).map_err(Error::io("read", &file))?;
        class_names(layout, &bytes, &file)?
    } else {
        archive_names(path, layout)?
    };
    let identity = identity(path, layout)?;
    let root = path.to_path_buf();
    let samples = move || {
        let files: Box<dyn Iterator<Item = Result<(String, Vec<u8>)>> + Send> = match root.is_dir() {
            true => Box::new(read_folder(root.clone(), layout)),
            false => Box::new(read_archive(&root, layout)?.into_iter().map(Ok)),
        };
        let root = root.clone();
        let each =
            files.flat_map(move |file| match file.and_then(|(name, bytes)| batch(layout, &root, &name, &bytes)) {
                Ok(samples) => samples.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            });
        Ok(Box::new(each) as Box<dyn Iterator<Item = Result<Sample>> + Send>)
    };
    Ok(Source {
        name: format!("cifar{}", layout.classes),
        location: path.display().to_string(),
        classes,
        channels: 3,
        identity,
        mirrors: true,
        samples: Box::new(samples),
    })
}

fn identity(path: &Path, layout: &Layout) -> Result<String> {
    let files: Vec<PathBuf> = match path.is_dir() {
        true => layout.train.iter().chain([&layout.test]).map(|name| path.join(name)).collect(),
        false => vec![path.into()],
    };
    let mut hash = Sha256::new();
    for file in files {
        let about = file.metadata().map_err(Error::io("read", &file))?;
        let time = about.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        let place = file.canonicalize().unwrap_or_else(|_| file.clone());
        hash.update(format!("{}\0{}\0{time:?}\n", place.display(), about.len()));
    }
    Ok(hex(&hash.finalize()))
}

fn read_folder(root: PathBuf, layout: &'static Layout) -> impl Iterator<Item = Result<(String, Vec<u8>)>> + Send {
    layout.train.iter().chain([&layout.test]).map(move |name| {
        let path = root.join(name);
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        Ok((name.to_string(), bytes))
    })
}

/// The batches in an archive, in the layout's order. Nothing is unpacked to disk.
fn read_archive(path: &Path, layout: &Layout) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = entries(path, |name| layout.train.contains(&name) || layout.test == name)?;
    let place = |name: &str| layout.train.iter().position(|n| *n == name).unwrap_or(layout.train.len());
    found.sort_by_key(|(name, _)| place(name));
    let wanted = layout.train.len() + 1;
    if found.len() != wanted {
        return Err(damaged(path, format!("it holds {} of {wanted} batches", found.len())));
    }
    Ok(found)
}

fn archive_names(path: &Path, layout: &Layout) -> Result<Vec<String>> {
    let found = entries(path, |name| name == layout.names)?;
    let (_, bytes) = found.first().ok_or_else(|| damaged(path, format!("it holds no {}", layout.names)))?;
    class_names(layout, bytes, path)
}

/// The wanted entries of an archive. Entries that climb out of it are refused, wanted or not.
fn entries(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, Vec<u8>)>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let broken = |error: std::io::Error| damaged(path, error.to_string());
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::with_capacity(1 << 20, file)));
    let mut found = Vec::new();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.into_owned();
        let climbs = name
            .components()
            .any(|part| !matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir));
        if climbs {
            return Err(damaged(path, format!("its entry {} climbs out of the archive", name.display())));
        }
        let file_name = name.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if !entry.header().entry_type().is_file() || !wanted(&file_name) {
            continue;
        }
        if entry.size() > LARGEST {
            return Err(damaged(path, format!("its entry {} has {} bytes", name.display(), entry.size())));
        }
        let mut bytes = Vec::with_capacity(entry.size() as usize);
        entry.read_to_end(&mut bytes).map_err(broken)?;
        if bytes.len() as u64 != entry.size() {
            return Err(damaged(path, format!("its entry {} was cut", name.display())));
        }
        found.push((file_name, bytes));
    }
    Ok(found)
}

fn damaged(path: &Path, reason: String) -> Error {
    Error::damaged(path, reason, "fetch the file again")
}

fn class_names(layout: &Layout, bytes: &[u8], path: &Path) -> Result<Vec<String>> {
    let names: Vec<String> = if layout.python {
        let value = pickle::read(bytes).map_err(|reason| damaged(path, reason))?;
        let key = if layout.classes == 10 { "label_names" } else { "fine_label_names" };
        value.get(key).and_then(pickle::Value::texts).unwrap_or_default()
    } else {
        let text = String::from_utf8_lossy(bytes);
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect()
    };
    if names.len() != layout.classes {
        return Err(damaged(path, format!("it names {} classes, not {}", names.len(), layout.classes)));
    }
    Ok(names)
}

fn batch(layout: &Layout, root: &Path, name: &str, bytes: &[u8]) -> Result<Vec<Sample>> {
    let place = root.join(name);
    let (labels, planes) = match layout.python {
        true => python_batch(layout, bytes).map_err(|reason| damaged(&place, reason))?,
        false => binary_batch(layout, bytes).map_err(|reason| damaged(&place, reason))?,
    };
    let split = if name == layout.test { Split::Test } else { Split::Train };
    let mut samples = Vec::with_capacity(labels.len());
    for (index, (&label, planes)) in labels.iter().zip(planes.chunks_exact(SHAPE.len())).enumerate() {
        if label as usize >= layout.classes {
            let reason = format!("image {index} has label {label}; there are {} classes", layout.classes);
            return Err(damaged(&place, reason));
        }
        samples.push(Sample {
            name: format!("{name}#{index}"),
            label,
            split: Some(split),
            picture: Picture::Pixels(interleave(planes)),
        });
    }
    Ok(samples)
}

/// Records of one label (or a coarse and a fine one) and 3,072 bytes.
fn binary_batch(layout: &Layout, bytes: &[u8]) -> Result<(Vec<u32>, Vec<u8>), String> {
    let labels = if layout.classes == 10 { 1 } else { 2 };
    let record = labels + SHAPE.len();
    if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
        return Err(format!("{} bytes are not whole records of {record}", bytes.len()));
    }
    let records = bytes.chunks_exact(record);
    Ok((
        records.clone().map(|r| u32::from(r[labels - 1])).collect(),
        records.flat_map(|r| &r[labels..]).copied().collect(),
    ))
}

fn python_batch(layout: &Layout, bytes: &[u8]) -> Result<(Vec<u32>, Vec<u8>), String> {
    let value = pickle::read(bytes)?;
    let key = if layout.classes == 10 { "labels" } else { "fine_labels" };
    let labels = value.get(key).and_then(pickle::Value::numbers).ok_or_else(|| format!("it has no list {key}"))?;
    let data = value.get("data").and_then(pickle::Value::bytes).ok_or("it has no array data")?;
    if data.len() != labels.len() * SHAPE.len() {
        return Err(format!("{} bytes are not {} images of {}", data.len(), labels.len(), SHAPE.len()));
    }
    let labels = labels.iter().map(|&label| u32::try_from(label).unwrap_or(u32::MAX)).collect();
    Ok((labels, data.to_vec()))
}

/// From a red, a green and a blue plane to pixels.
fn interleave(planes: &[u8]) -> Image {
    let size = SHAPE.height * SHAPE.width;
    let pixels = (0..size).flat_map(|place| [planes[place], planes[size + place], planes[2 * size + place]]).collect();
    Image { shape: SHAPE, pixels }
}
