//! What users of folders, tables, Parquet files, splits and the cache would notice. Files are made in temporary
//! folders; real ones are read where PERCEPT_TEST_DATA says that they are.

mod cache;
mod folder;
mod inspect;
mod parquet;
mod real;
mod source;
mod splits;
mod table;

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    sync::Mutex,
};

use image::{ImageFormat, RgbImage};
use tempfile::TempDir;

use super::{Dataset, DatasetConfig, Event, Picture, Sample, Source};
use crate::{Error, Result};

/// An encoded picture of its own for each seed.
fn encode(seed: u32, height: u32, width: u32, format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(width, height, |x, y| {
        let value = (seed + 1).wrapping_mul(2_654_435_761).rotate_left(x + y) ^ (y << 8 | x);
        let [red, green, blue, _] = value.to_le_bytes();
        image::Rgb([red, green, blue])
    });
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(seed: u32) -> Vec<u8> {
    encode(seed, 8, 8, ImageFormat::Png)
}

/// A folder of files that vanishes with it, and a cache beside it.
struct Place {
    folder: TempDir,
    notes: Mutex<Vec<String>>,
    decoded: Mutex<u64>,
}

impl Place {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), notes: Mutex::default(), decoded: Mutex::default() }
    }

    /// Pictures at relative paths, each with a content of its own.
    fn with(paths: &[&str]) -> Self {
        let place = Self::new();
        for (seed, path) in (0..).zip(paths) {
            place.write(path, &png(seed));
        }
        place
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn write(&self, relative: &str, bytes: &[u8]) -> PathBuf {
        let path = self.root().join(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn config(&self) -> DatasetConfig {
        self.config_of(&self.root())
    }

    fn config_of(&self, path: &Path) -> DatasetConfig {
        let cache_dir = self.folder.path().join("cache");
        DatasetConfig { cache_dir, validation: 0.0, test: 0.0, ..DatasetConfig::new(path.to_str().unwrap()) }
    }

    fn listen(&self) -> impl Fn(Event) + Sync {
        |event| match event {
            Event::Note(note) => self.notes.lock().unwrap().push(note),
            Event::Decode { done, .. } => *self.decoded.lock().unwrap() = done,
            Event::Download { .. } => panic!("nothing is to be downloaded"),
        }
    }

    fn source(&self) -> Result<Source> {
        Source::open(&self.config(), &self.listen())
    }

    fn dataset(&self) -> Result<Dataset> {
        Dataset::open(&self.config(), &self.listen())
    }

    /// The notes so far, without the temporary folder's name.
    fn notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.notes.lock().unwrap()).iter().map(|note| self.shorten(note)).collect()
    }

    /// The number of images decoded since the last question.
    fn decoded(&self) -> u64 {
        std::mem::take(&mut *self.decoded.lock().unwrap())
    }

    /// Message and hint of a refusal, without the temporary folder's name.
    fn refusal<T>(&self, result: Result<T>) -> [String; 2] {
        let error: Error = result.err().expect("this must be refused");
        [self.shorten(&error.to_string()), self.shorten(error.hint().unwrap_or_default())]
    }

    fn shorten(&self, text: &str) -> String {
        text.replace(&format!("{}{}", self.folder.path().display(), std::path::MAIN_SEPARATOR), "").replace('\\', "/")
    }
}

fn samples(source: &Source) -> Vec<Sample> {
    (source.samples)().unwrap().collect::<Result<_>>().unwrap()
}

/// `name class split` of each sample.
fn listing(source: &Source) -> Vec<String> {
    let line = |sample: Sample| {
        let split = sample.split.map_or("-".to_owned(), |split| split.to_string());
        format!("{} {} {split}", sample.name, source.classes[sample.label as usize])
    };
    samples(source).into_iter().map(line).collect()
}

fn bytes_of(picture: &Picture) -> &[u8] {
    match picture {
        Picture::Encoded(bytes) => bytes,
        other => panic!("{other:?} is not encoded"),
    }
}
