//! CIFAR-10 and CIFAR-100: the official binary and Python batches, in a folder or inside the official archive.
//! Pickles are read as data (`pickle`) and archives without unpacking (`archive.rs`).
//!
//! The formats: <https://www.cs.toronto.edu/~kriz/cifar.html>.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use super::{archive, catalogue::Entry, find::Found, identity_of, source_of, until_error};
use crate::{
    Error, Result,
    data::{Picture, Sample, Source, Split},
    image::{Image, ImageShape},
    pickle::{Pickle, Raw},
};

/// One of the two datasets.
#[derive(Debug)]
pub(super) struct Kind {
    classes: usize,
    /// Batches in order: the name in the Python version (the binary one adds `.bin`), the split, the images.
    batches: &'static [(&'static str, Split, usize)],
    /// Labels before each image of the binary version; the last of them is the class.
    label_bytes: usize,
    /// Where the Python version keeps the classes.
    labels_key: &'static str,
    /// The official folders and archives; the binary ones first, being the faster.
    folders: [&'static str; 2],
    archives: [&'static str; 2],
}

pub(super) static CIFAR10: Kind = Kind {
    classes: 10,
    batches: &[
        ("data_batch_1", Split::Train, 10_000),
        ("data_batch_2", Split::Train, 10_000),
        ("data_batch_3", Split::Train, 10_000),
        ("data_batch_4", Split::Train, 10_000),
        ("data_batch_5", Split::Train, 10_000),
        ("test_batch", Split::Test, 10_000),
    ],
    label_bytes: 1,
    labels_key: "labels",
    folders: ["cifar-10-batches-bin", "cifar-10-batches-py"],
    archives: ["cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"],
};
pub(super) static CIFAR100: Kind = Kind {
    classes: 100,
    batches: &[("train", Split::Train, 50_000), ("test", Split::Test, 10_000)],
    label_bytes: 2,
    labels_key: "fine_labels",
    folders: ["cifar-100-binary", "cifar-100-python"],
    archives: ["cifar-100-binary.tar.gz", "cifar-100-python.tar.gz"],
};

const SIDE: usize = 32;
/// One colour of one image.
const PLANE: usize = SIDE * SIDE;
const PIXELS: usize = 3 * PLANE;
/// The largest official batch is 155 MB.
const MAX_BATCH: u64 = 256 << 20;
const HINT: &str = "fetch the data again from https://www.cs.toronto.edu/~kriz/cifar.html";

/// How batches are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Binary,
    Python,
}

/// Where the batches are.
#[derive(Clone, Debug)]
pub(super) enum Files {
    Folder(PathBuf),
    Archive(PathBuf),
}

impl Files {
    fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Archive(path) => path,
        }
    }
}

impl Kind {
    /// The names of the batches in one coding.
    fn names(&self, coding: Coding) -> Vec<String> {
        let suffix = if coding == Coding::Binary { ".bin" } else { "" };
        self.batches.iter().map(|(stem, ..)| format!("{stem}{suffix}")).collect()
    }
}

/// Looks for the batches in a folder: straight in it, in an official sub-folder, or in an official archive.
pub(super) fn locate(folder: &Path, kind: &Kind) -> Found<Files> {
    let archive = kind.archives.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    match (locate_folder(folder, kind), archive) {
        (Found::All(path), _) => Found::All(Files::Folder(path)),
        (_, Some(path)) => Found::All(Files::Archive(path)),
        (Found::Part(missing), None) => Found::Part(missing),
        (Found::Nothing, None) => Found::Nothing,
    }
}

fn locate_folder(folder: &Path, kind: &Kind) -> Found<PathBuf> {
    let mut part = None;
    for place in [folder.to_path_buf()].into_iter().chain(kind.folders.map(|name| folder.join(name))) {
        for coding in [Coding::Binary, Coding::Python] {
            let (there, missing): (Vec<_>, Vec<_>) =
                kind.names(coding).into_iter().partition(|name| place.join(name).is_file());
            if missing.is_empty() {
                return Found::All(place);
            }
            if !there.is_empty() {
                part = Some(missing);
            }
        }
    }
    part.map_or(Found::Nothing, Found::Part)
}

/// Opens a dataset whose files were found. `exact`: each batch must hold as many images as the official one.
pub(super) fn open(entry: &'static Entry, kind: &'static Kind, files: Files, exact: bool) -> Result<Source> {
    let paths = match &files {
        Files::Archive(path) => vec![path.clone()],
        Files::Folder(path) => kind.names(coding_of(path, kind)).iter().map(|name| path.join(name)).collect(),
    };
    let identity = identity_of(entry.name, &paths)?;
    let location = files.path().display().to_string();
    let samples = Box::new(move || match &files {
        Files::Folder(path) => Ok(read_folder(path.clone(), kind, exact)),
        Files::Archive(path) => read_archive(path, kind, exact),
    });
    Ok(source_of(entry, location, identity, samples))
}

/// The coding of a complete folder.
fn coding_of(folder: &Path, kind: &Kind) -> Coding {
    let binary = kind.names(Coding::Binary).iter().all(|name| folder.join(name).is_file());
    if binary { Coding::Binary } else { Coding::Python }
}

type Samples = Box<dyn Iterator<Item = Result<Sample>> + Send>;

/// Batch after batch: one is in memory at a time.
fn read_folder(folder: PathBuf, kind: &'static Kind, exact: bool) -> Samples {
    let coding = coding_of(&folder, kind);
    let batches = kind.names(coding).into_iter().enumerate().flat_map(move |(index, name)| {
        let path = folder.join(&name);
        samples_of(read_bounded(&path).and_then(|bytes| Batch::new(bytes, kind, index, coding, exact, &path)), name)
    });
    Box::new(until_error(batches))
}

fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(Error::io("read", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    if length > MAX_BATCH {
        let reason = format!("{length} bytes, more than any batch of CIFAR holds");
        return Err(Error::damaged(path, reason, HINT));
    }
    bytes.reserve_exact(length as usize + 1);
    file.take(MAX_BATCH).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// The batches lie in an archive in any order, so all are read, and given up one by one.
fn read_archive(path: &Path, kind: &'static Kind, exact: bool) -> Result<Samples> {
    let codings = [Coding::Binary, Coding::Python];
    let wanted: Vec<String> = codings.iter().flat_map(|&coding| kind.names(coding)).collect();
    let mut found = archive::read_entries(path, &wanted, MAX_BATCH, HINT)?;
    let python = found.split_off(kind.batches.len());
    let complete = |entries: &[Option<_>]| entries.iter().all(Option::is_some);
    let (coding, entries) = if complete(&found) || python.iter().all(Option::is_none) {
        (Coding::Binary, found)
    } else {
        (Coding::Python, python)
    };
    let names = kind.names(coding);
    let missing: Vec<&str> =
        names.iter().zip(&entries).filter(|(_, entry)| entry.is_none()).map(|(name, _)| name.as_str()).collect();
    if !missing.is_empty() {
        return Err(Error::damaged(path, format!("it holds no {}", missing.join(", ")), HINT));
    }
    let archive = path.to_path_buf();
    let batches = entries.into_iter().flatten().zip(names).enumerate().flat_map(move |(index, (entry, name))| {
        let place = archive.join(&entry.path);
        samples_of(Batch::new(entry.bytes, kind, index, coding, exact, &place), name)
    });
    Ok(Box::new(until_error(batches)))
}

/// Decoded labels, and images as planes of red, green and blue.
struct Batch {
    split: Split,
    labels: Vec<u32>,
    bytes: Vec<u8>,
    /// The first image's first byte, and the bytes from one image to the next.
    start: usize,
    stride: usize,
}

impl Batch {
    fn new(bytes: Vec<u8>, kind: &Kind, index: usize, coding: Coding, exact: bool, path: &Path) -> Result<Self> {
        let damaged = |reason: String| Error::damaged(path, reason, HINT);
        let (_, split, official) = kind.batches[index];
        let images = exact.then_some(official);
        let batch = match coding {
            Coding::Binary => Self::from_binary(bytes, kind, split, images),
            Coding::Python => Self::from_python(bytes, kind, split, images),
        };
        let batch = batch.map_err(damaged)?;
        if let Some(number) = batch.labels.iter().position(|&label| label as usize >= kind.classes) {
            let last = kind.classes - 1;
            let reason = format!("image {number} has label {}, but the labels are 0 to {last}", batch.labels[number]);
            return Err(damaged(reason));
        }
        Ok(batch)
    }

    fn from_binary(bytes: Vec<u8>, kind: &Kind, split: Split, images: Option<usize>) -> Result<Self, String> {
        let stride = kind.label_bytes + PIXELS;
        let found = bytes.len();
        match images {
            Some(images) if found != images * stride => {
                return Err(format!("expected {} bytes ({images} images of {stride}), found {found}", images * stride));
            }
            None if found == 0 || !found.is_multiple_of(stride) => {
                return Err(format!("expected whole images of {stride} bytes, found {found} bytes"));
            }
            _ => {}
        }
        let labels = bytes.chunks_exact(stride).map(|record| record[kind.label_bytes - 1].into()).collect();
        Ok(Self { split, labels, bytes, start: kind.label_bytes, stride })
    }

    fn from_python(bytes: Vec<u8>, kind: &Kind, split: Split, images: Option<usize>) -> Result<Self, String> {
        let pickle = Pickle::read(&bytes)?;
        let data = pickle.entry("data").ok_or("it holds no \"data\"")?;
        let (shape, raw) = pickle.byte_array(data).ok_or("its \"data\" is no array of bytes")?;
        let &[count, PIXELS] = shape else {
            return Err(format!("expected \"data\" of shape [images, {PIXELS}], found {shape:?}"));
        };
        if images.is_some_and(|images| images != count) || count == 0 {
            return Err(format!("expected {} images, found {count}", images.unwrap_or(1)));
        }
        let key = kind.labels_key;
        let labels = pickle.entry(key).ok_or_else(|| format!("it holds no \"{key}\""))?;
        let labels = pickle.integers(labels).ok_or_else(|| format!("its \"{key}\" are no integers"))?;
        if labels.len() != count {
            return Err(format!("expected {count} labels, found {}", labels.len()));
        }
        let labels = labels.into_iter().enumerate().map(|(number, label)| {
            u32::try_from(label).map_err(|_| format!("image {number} has label {label}, but the labels begin at 0"))
        });
        let labels = labels.collect::<Result<_, _>>()?;
        let (own, start) = match raw {
            Raw::Part(range) => (None, range.start),
            Raw::Own(own) => (Some(own.to_vec()), 0),
        };
        Ok(Self { split, labels, bytes: own.unwrap_or(bytes), start, stride: PIXELS })
    }

    fn sample(&self, number: usize, batch: &str) -> Sample {
        let planes = &self.bytes[self.start + number * self.stride..][..PIXELS];
        let (red, rest) = planes.split_at(PLANE);
        let (green, blue) = rest.split_at(PLANE);
        let mut pixels = Vec::with_capacity(PIXELS);
        for ((&red, &green), &blue) in red.iter().zip(green).zip(blue) {
            pixels.extend([red, green, blue]);
        }
        let shape = ImageShape { height: SIDE, width: SIDE, channels: 3 };
        Sample {
            name: format!("{batch}#{number}"),
            label: self.labels[number],
            split: Some(self.split),
            picture: Picture::Pixels(Image { shape, pixels }),
        }
    }
}

fn samples_of(batch: Result<Batch>, name: String) -> Samples {
    match batch {
        Ok(batch) => Box::new((0..batch.labels.len()).map(move |number| Ok(batch.sample(number, &name)))),
        Err(error) => Box::new(std::iter::once(Err(error))),
    }
}

/// What a path is, should it be one of CIFAR's layouts: an archive by the names inside, a folder by its files. The
/// files of CIFAR-100 have names that others use too, so its official folder's name, or files that belong to it
/// (`meta`, `fine_label_names.txt`), must be there.
pub(super) fn recognise(path: &Path) -> Result<Option<(&'static str, &'static Kind, Files)>> {
    let kinds = [("cifar10", &CIFAR10), ("cifar100", &CIFAR100)];
    if path.is_file() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if ![".tar.gz", ".tgz", ".tar"].iter().any(|end| name.ends_with(end)) {
            return Ok(None);
        }
        let inside = archive::first_match(path, HINT, |parts| {
            let found = kinds.iter().find(|(_, kind)| {
                parts.iter().any(|part| kind.folders.contains(part))
                    || kind.classes == 10 && parts.last().is_some_and(|part| part.starts_with("data_batch_"))
            });
            found.copied()
        })?;
        return Ok(inside.map(|(name, kind)| (name, kind, Files::Archive(path.to_path_buf()))));
    }
    for (name, kind) in kinds {
        match locate_folder(path, kind) {
            Found::All(folder) if is_certain(&folder, kind) => return Ok(Some((name, kind, Files::Folder(folder)))),
            Found::Part(missing) if kind.classes == 10 => {
                let what = format!("{} lacks {}", path.display(), missing.join(", "));
                return Err(Error::missing(what, "put all batches of the dataset into the folder"));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn is_certain(folder: &Path, kind: &Kind) -> bool {
    let named = folder.file_name().is_some_and(|name| kind.folders.iter().any(|official| name == *official));
    let known = ["meta", "fine_label_names.txt"].iter().any(|name| fs::exists(folder.join(name)).unwrap_or(false));
    kind.classes == 10 || named || known
}

#[cfg(test)]
mod tests;
