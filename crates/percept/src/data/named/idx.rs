//! IDX files, the format of MNIST and of the datasets after it: gzipped or not, in a folder or inside EMNIST's zip.
//! Pictures are read one by one; the header, the labels and the lengths are checked, whatever they claim.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use flate2::bufread::{DeflateDecoder, GzDecoder};

use super::{catalogue, catalogue::Entry, find::Found, identity_of, md5_of, source_of, until_error};
use crate::{
    Error, Result,
    data::{Picture, Sample, Source, Split},
    image::{Image, ImageShape},
};

/// Which files a dataset is in, and their quirks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// What the names of the training files begin with.
    pub train: &'static str,
    /// What the names of the test files begin with.
    pub test: &'static str,
    /// Whether rows and columns are exchanged, as in EMNIST.
    pub transposed: bool,
    /// The label of the first class.
    pub first_label: u8,
}

impl Layout {
    /// MNIST's own.
    pub(super) const PLAIN: Self = Self { train: "train", test: "t10k", transposed: false, first_label: 0 };

    pub(super) const fn emnist(train: &'static str, test: &'static str) -> Self {
        Self { train, test, transposed: true, first_label: 0 }
    }
}

/// Names that one part's files go by, the published one first.
const SPELLINGS: [&str; 4] = ["-idx3-ubyte", "-idx3-ubyte.gz", ".idx3-ubyte", ".idx3-ubyte.gz"];
/// EMNIST's archive, as published and as people rename it.
const ZIPS: [&str; 3] = ["gzip.zip", "emnist-gzip.zip", "emnist.zip"];
/// A picture of more bytes than this is no picture of an IDX dataset.
const MAX_PICTURE: usize = 1 << 24;
const HINT: &str = "fetch the file again from its publisher";

/// One file, on its own or inside a zip.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    path: PathBuf,
    inside: Option<Inside>,
}

#[derive(Clone, Debug)]
struct Inside {
    name: String,
    start: u64,
    length: u64,
    deflated: bool,
}

/// Pictures and labels of one split.
#[derive(Clone, Debug)]
struct Part {
    split: Split,
    images: Stored,
    labels: Stored,
}

/// Everything of a dataset.
#[derive(Debug)]
pub(super) struct Files {
    train: Part,
    test: Part,
}

impl Files {
    fn parts(&self) -> [&Part; 2] {
        [&self.train, &self.test]
    }
}

/// Looks for a dataset's files straight in a folder (and in `gzip/`, where EMNIST's archive unpacks to).
pub(super) fn locate(folder: &Path, layout: &Layout) -> Result<Found<Files>> {
    let mut missing = Vec::new();
    let mut look = |stem: &str, kind: &str, dimensions: u8| {
        let found = locate_file(folder, stem, kind, dimensions);
        if found.is_none() {
            missing.push(format!("{stem}-{kind}-idx{dimensions}-ubyte"));
        }
        found
    };
    let mut part = |stem, split| Some((look(stem, "images", 3), look(stem, "labels", 1), split));
    let parts = [part(layout.train, Split::Train), part(layout.test, Split::Test)];
    match parts {
        [Some((Some(images), Some(labels), split)), Some((Some(test_images), Some(test_labels), test_split))] => {
            let train = Part { split, images, labels };
            Ok(Found::All(Files { train, test: Part { split: test_split, images: test_images, labels: test_labels } }))
        }
        _ if layout.transposed => match ZIPS.iter().map(|zip| folder.join(zip)).find(|path| path.is_file()) {
            Some(zip) => locate_in_zip(&zip, layout).map(Found::All),
            None if missing.len() < 4 => Ok(Found::Part(missing)),
            None => Ok(Found::Nothing),
        },
        _ if missing.len() < 4 => Ok(Found::Part(missing)),
        _ => Ok(Found::Nothing),
    }
}

fn locate_file(folder: &Path, stem: &str, kind: &str, dimensions: u8) -> Option<Stored> {
    let names = SPELLINGS.map(|spelling| format!("{stem}-{kind}{}", spelling.replace('3', &dimensions.to_string())));
    let mut paths = [folder.to_path_buf(), folder.join("gzip")]
        .into_iter()
        .flat_map(|folder| names.iter().map(move |name| folder.join(name)).collect::<Vec<_>>());
    paths.find(|path| path.is_file()).map(|path| Stored { path, inside: None })
}

fn locate_in_zip(path: &Path, layout: &Layout) -> Result<Files> {
    let broken = |error: zip::result::ZipError| Error::damaged(path, format!("not a readable zip: {error}"), HINT);
    let file = File::open(path).map_err(Error::io("read", path))?;
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(broken)?;
    let mut find = |stem: &str, kind: &str| -> Result<Stored> {
        let wanted = format!("{stem}-{kind}-ubyte.gz");
        for index in 0..archive.len() {
            let entry = archive.by_index_raw(index).map_err(broken)?;
            let name = entry.name().map_err(broken)?.into_owned();
            if name.rsplit(['/', '\\']).next() != Some(wanted.as_str()) {
                continue;
            }
            let deflated = match entry.compression() {
                zip::CompressionMethod::Stored => false,
                zip::CompressionMethod::Deflated => true,
                other => return Err(Error::damaged(path.join(&name), format!("packed by {other}"), HINT)),
            };
            let start =
                entry.data_start().ok_or_else(|| Error::damaged(path.join(&name), "no place in the zip", HINT))?;
            let inside = Inside { name, start, length: entry.compressed_size(), deflated };
            return Ok(Stored { path: path.to_path_buf(), inside: Some(inside) });
        }
        Err(Error::damaged(path, format!("it holds no {wanted}"), HINT))
    };
    let mut part = |stem, split| -> Result<Part> {
        Ok(Part { split, images: find(stem, "images-idx3")?, labels: find(stem, "labels-idx1")? })
    };
    Ok(Files { train: part(layout.train, Split::Train)?, test: part(layout.test, Split::Test)? })
}

impl Stored {
    /// How a message names it.
    fn place(&self) -> PathBuf {
        self.inside.as_ref().map_or_else(|| self.path.clone(), |inside| self.path.join(&inside.name))
    }

    /// The last part of its name, without `.gz`.
    fn name(&self) -> String {
        let place = self.place();
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        name.strip_suffix(".gz").unwrap_or(&name).to_string()
    }

    /// The unpacked content, as a stream.
    fn open(&self) -> Result<Box<dyn Read + Send>> {
        let fail = || Error::io("read", self.place());
        let mut file = File::open(&self.path).map_err(fail())?;
        let mut content: Box<dyn BufRead + Send> = match &self.inside {
            None => Box::new(BufReader::with_capacity(1 << 16, file)),
            Some(inside) => {
                file.seek(SeekFrom::Start(inside.start)).map_err(fail())?;
                let packed = BufReader::with_capacity(1 << 16, file.take(inside.length));
                if inside.deflated { Box::new(BufReader::new(DeflateDecoder::new(packed))) } else { Box::new(packed) }
            }
        };
        let gzipped = content.fill_buf().map_err(fail())?.starts_with(&[0x1f, 0x8b]);
        Ok(if gzipped { Box::new(GzDecoder::new(content)) } else { Box::new(content) })
    }

    fn damaged(&self, reason: impl Into<String>) -> Error {
        Error::damaged(self.place(), reason, HINT)
    }

    /// Opens the file and reads its header: the sizes along its `dimensions`.
    fn open_idx(&self, dimensions: u8) -> Result<(Box<dyn Read + Send>, Vec<usize>)> {
        let mut content = self.open()?;
        let mut header = vec![0; 4 + 4 * usize::from(dimensions)];
        content.read_exact(&mut header).map_err(|error| self.ended("the header", error))?;
        let expected = [0, 0, 8, dimensions];
        if header[..4] != expected {
            let found = &header[..4];
            return Err(self.damaged(format!(
                "it begins with {found:?}; IDX of u8 in {dimensions} dimensions begins with {expected:?}"
            )));
        }
        let (sizes, _) = header[4..].as_chunks::<4>();
        Ok((content, sizes.iter().map(|&size| u32::from_be_bytes(size) as usize).collect()))
    }

    /// An error of reading, in words: ended where, or broken how.
    fn ended(&self, inside: &str, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(format!("it ends inside {inside}")),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => self.damaged(format!("{error}, in {inside}")),
            _ => Error::io("read", self.place())(error),
        }
    }

    /// Nothing may follow; reading on also lets gzip compare its checksum.
    fn expect_end(&self, content: &mut dyn Read, what: &str) -> Result<()> {
        match content.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged(format!("more bytes follow after {what}"))),
            Err(error) => Err(self.ended("the checksum", error)),
        }
    }

    fn read_labels(&self) -> Result<Vec<u8>> {
        let (mut content, sizes) = self.open_idx(1)?;
        let mut labels = Vec::new();
        let read = content.by_ref().take(sizes[0] as u64).read_to_end(&mut labels);
        read.map_err(|error| self.ended(&format!("label {}", labels.len()), error))?;
        if labels.len() < sizes[0] {
            return Err(self.damaged(format!("expected {} labels, found {}", sizes[0], labels.len())));
        }
        self.expect_end(&mut content, &format!("{} labels", sizes[0]))?;
        Ok(labels)
    }
}

impl Part {
    /// Checks that pictures and labels fit together, and reads the labels, as classes.
    fn open(&self, layout: &Layout, classes: usize) -> Result<PartReader> {
        let labels = self.labels.read_labels()?;
        let (content, sizes) = self.images.open_idx(3)?;
        let [count, height, width] = [sizes[0], sizes[1], sizes[2]];
        if count != labels.len() {
            let reason = format!(
                "expected {} images, as many as {} has labels, found {count}",
                labels.len(),
                self.labels.name()
            );
            return Err(self.images.damaged(reason));
        }
        if height == 0 || width == 0 || height.saturating_mul(width) > MAX_PICTURE {
            return Err(self.images.damaged(format!("images of {height}x{width} pixels")));
        }
        let outside = |&label: &u8| label < layout.first_label || usize::from(label - layout.first_label) >= classes;
        if let Some(number) = labels.iter().position(outside) {
            let (first, last) = (layout.first_label, usize::from(layout.first_label) + classes - 1);
            let reason = format!("image {number} has label {}, but the labels are {first} to {last}", labels[number]);
            return Err(self.labels.damaged(reason));
        }
        let sides = if layout.transposed { [width, height] } else { [height, width] };
        let shape = ImageShape { height: sides[0], width: sides[1], channels: 1 };
        Ok(PartReader {
            part: self.clone(),
            name: self.images.name(),
            content,
            labels,
            shape,
            layout: *layout,
            next: 0,
        })
    }
}

/// Reads one split, picture by picture.
struct PartReader {
    part: Part,
    name: String,
    content: Box<dyn Read + Send>,
    labels: Vec<u8>,
    /// Upright.
    shape: ImageShape,
    layout: Layout,
    next: usize,
}

impl PartReader {
    fn read(&mut self, number: usize) -> Result<Sample> {
        let images = &self.part.images;
        let mut pixels = vec![0; self.shape.len()];
        let count = self.labels.len();
        self.content
            .read_exact(&mut pixels)
            .map_err(|error| images.ended(&format!("image {number} of {count}"), error))?;
        if number + 1 == count {
            images.expect_end(&mut self.content, &format!("{count} images"))?;
        }
        if self.layout.transposed {
            pixels = transpose(&pixels, self.shape);
        }
        Ok(Sample {
            name: format!("{}#{number}", self.name),
            label: (self.labels[number] - self.layout.first_label).into(),
            split: Some(self.part.split),
            picture: Picture::Pixels(Image { shape: self.shape, pixels }),
        })
    }
}

impl Iterator for PartReader {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        self.next += 1;
        (number < self.labels.len()).then(|| self.read(number))
    }
}

/// `stored` is column by column; `shape` is that of the result.
fn transpose(stored: &[u8], shape: ImageShape) -> Vec<u8> {
    let column = |row: usize| (0..shape.width).map(move |column| stored[column * shape.height + row]);
    (0..shape.height).flat_map(column).collect()
}

/// Opens a named dataset whose files were found.
pub(super) fn open(entry: &'static Entry, layout: &Layout, files: Files) -> Result<Source> {
    refuse_another_datasets(entry, &files)?;
    let identity =
        identity_of(entry.name, files.parts().into_iter().flat_map(|part| [&part.images.path, &part.labels.path]))?;
    let location = files.train.images.place().parent().unwrap_or(Path::new("")).display().to_string();
    let samples = reader(files, *layout, entry.classes.len());
    Ok(source_of(entry, location, identity, samples))
}

fn reader(files: Files, layout: Layout, classes: usize) -> crate::data::SampleReader {
    Box::new(move || {
        // Both parts are opened at once: what is wrong with a header or a label shows before any picture is read.
        let parts = files.parts().map(|part| part.open(&layout, classes));
        let [train, test] = parts;
        Ok(Box::new(until_error(train?.chain(test?))))
    })
}

/// MNIST, Fashion-MNIST and KMNIST use the same file names. A published labels file tells whose it is.
fn refuse_another_datasets(entry: &Entry, files: &Files) -> Result<()> {
    let Some(owner) = owner_of(&files.test.labels) else { return Ok(()) };
    if owner.name == entry.name {
        return Ok(());
    }
    let what = format!("{} belongs to {}, not to {}", files.test.labels.path.display(), owner.name, entry.name);
    Err(Error::invalid(what, format!("keep each dataset in a folder of its own name, such as {}", entry.name)))
}

/// The dataset that published this very file.
fn owner_of(labels: &Stored) -> Option<&'static Entry> {
    let small = std::fs::metadata(&labels.path).ok()?.len() < 1 << 16;
    let md5 = if small { md5_of(&labels.path).ok()? } else { return None };
    catalogue().iter().find(|entry| entry.files.iter().any(|file| file.md5 == md5))
}

/// Opens a folder of IDX files that was given by its path. Its own name or its parent's tells the dataset
/// (`FashionMNIST/raw`); otherwise the classes are called by their numbers.
pub(super) fn open_path(folder: &Path) -> Result<Option<Source>> {
    let files = match locate(folder, &Layout::PLAIN)? {
        Found::All(files) => files,
        Found::Part(missing) => {
            let what = format!("{} lacks {}", folder.display(), missing.join(", "));
            return Err(Error::missing(what, "put all four files of the dataset into the folder"));
        }
        Found::Nothing => return open_emnist_path(folder),
    };
    let known = owner_of(&files.test.labels).or_else(|| entry_called_as(folder));
    if let Some(entry) = known {
        return open(entry, &Layout::PLAIN, files).map(Some);
    }
    let labels = files.parts().map(|part| part.labels.read_labels());
    let [train, test] = labels;
    let classes = usize::from(train?.into_iter().chain(test?).max().unwrap_or(0)) + 1;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().to_string();
    let identity =
        identity_of(&name, files.parts().into_iter().flat_map(|part| [&part.images.path, &part.labels.path]))?;
    Ok(Some(Source {
        name,
        location: folder.display().to_string(),
        classes: (0..classes).map(|class| class.to_string()).collect(),
        sets: None,
        channels: 1,
        identity,
        mirrors: false,
        samples: reader(files, Layout::PLAIN, classes),
    }))
}

/// A plain entry by the name of the folder or of its parent, in any spelling.
fn entry_called_as(folder: &Path) -> Option<&'static Entry> {
    let simplify = |text: &str| text.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let names: Vec<String> = full.iter().rev().take(2).map(|part| simplify(&part.to_string_lossy())).collect();
    let plain = |entry: &&Entry| matches!(entry.layout, catalogue::Layout::Idx(Layout::PLAIN));
    names.iter().find_map(|name| catalogue().iter().filter(plain).find(|entry| simplify(entry.name) == *name))
}

/// EMNIST's folder may hold all its parts: one is opened, several are for the user to choose from.
fn open_emnist_path(folder: &Path) -> Result<Option<Source>> {
    let mut found = Vec::new();
    for entry in catalogue() {
        if let catalogue::Layout::Idx(layout) = &entry.layout
            && layout.transposed
            && let Found::All(files) = locate(folder, layout)?
        {
            found.push((entry, layout, files));
        }
    }
    if found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|(entry, ..)| entry.name).collect();
        let what = format!("{} holds several datasets: {}", folder.display(), names.join(", "));
        let hint = format!("name one, and the folder: {} --data-dir {}", names[0], folder.display());
        return Err(Error::invalid(what, hint));
    }
    found.pop().map(|(entry, layout, files)| open(entry, layout, files)).transpose()
}

#[cfg(test)]
mod tests;
