//! Labelled images: where they come from, how they are split, and the batches that training reads.
//! Knows no tensors and no models.

pub mod augment;
pub mod batches;
mod cache;
mod dataset;
mod folder;
pub mod inspect;
pub mod named;
mod random;
mod source;
mod splits;
mod table;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use dataset::Dataset;
pub use source::{Probe, probe};

use crate::{
    Result,
    image::{Fit, Image},
};

/// What a part of the data may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Fits the parameters.
    Train,
    /// Chooses, stops, calibrates.
    Validation,
    /// Is measured once, at the end, and chooses nothing.
    Test,
}

/// One labelled picture as its source gives it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// How a message names it: a path relative to the source, or `data_batch_1.bin#17`.
    pub name: String,
    /// Index into the source's classes.
    pub label: u32,
    /// The split that it came with, if any. "val" alone beside "train" is [`Split::Test`]: see `splits`.
    pub split: Option<Split>,
    /// The picture, decoded or not yet.
    pub picture: Picture,
}

/// A picture on its way to the cache.
#[derive(Clone, Debug)]
pub enum Picture {
    /// A file that has not been read.
    File(PathBuf),
    /// The bytes of an encoded file, for example a Parquet cell.
    Encoded(Vec<u8>),
    /// Pixels that need no decoding.
    Pixels(Image),
}

/// A reader of all samples, from the first, in an order that does not change.
pub type SampleReader = Box<dyn Fn() -> Result<Box<dyn Iterator<Item = Result<Sample>> + Send>> + Send + Sync>;

/// Where labelled images come from: opened and listed, not yet decoded.
pub struct Source {
    /// The dataset's name, or the last part of its path.
    pub name: String,
    /// Where it was found, for people.
    pub location: String,
    /// Class names by label.
    pub classes: Vec<String>,
    /// 1 where every picture is grey by nature (digits, Fashion-MNIST), otherwise 3.
    pub channels: usize,
    /// Changes when the files change (names, sizes, times): names the cache of decoded images.
    pub identity: String,
    /// Whether a mirrored image is still the same thing; false for digits and letters.
    pub mirrors: bool,
    /// Reads every sample.
    pub samples: SampleReader,
}

/// What long work on data reports while it runs; the library itself prints nothing.
#[derive(Clone, Debug)]
pub enum Event {
    /// A sentence that a user should see.
    Note(String),
    /// A download went on: bytes so far, and in all where known.
    Download {
        /// The file's name.
        file: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: Option<u64>,
    },
    /// Images were decoded: images so far, and in all where known.
    Decode {
        /// Images so far.
        done: u64,
        /// Images in all.
        total: Option<u64>,
    },
}

/// Who listens to [`Event`]s.
pub type Listener<'a> = &'a (dyn Fn(Event) + Sync);

/// What to do with a file that cannot be read as an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BadImages {
    /// Name it, count it, go on.
    #[default]
    Skip,
    /// Name it and stop.
    Fail,
}

/// How a [`Dataset`] is made from a source.
#[derive(Clone, Debug)]
pub struct DatasetConfig {
    /// The name of a dataset or a path.
    pub data: String,
    /// Where named data is looked for first.
    pub data_dir: Option<PathBuf>,
    /// Where downloads and decoded images are kept.
    pub cache_dir: PathBuf,
    /// Height and width that images are brought to; `None` keeps the size that they all share.
    pub image_size: Option<[usize; 2]>,
    /// How other aspect ratios are brought to it.
    pub fit: Fit,
    /// What to do with unreadable files.
    pub bad_images: BadImages,
    /// The part of the training images held out for validation where none came with the data; 0 for none.
    pub validation: f64,
    /// The part of all images held out for the test where none came with the data.
    pub test: f64,
}

/// A file that could not be read as an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableImage {
    /// Its name, as in [`Sample::name`].
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Where downloads and decoded images are kept: PERCEPT_CACHE, else the user's cache folder.
pub fn default_cache_dir() -> PathBuf {
    let own = || dirs::cache_dir().unwrap_or_else(std::env::temp_dir).join("percept");
    std::env::var_os("PERCEPT_CACHE").map_or_else(own, PathBuf::from)
}

impl DatasetConfig {
    /// A tenth for validation and a tenth for the test where the data has none, images in their own size.
    pub fn new(data: &str, cache_dir: PathBuf) -> Self {
        Self {
            data: data.into(),
            data_dir: None,
            cache_dir,
            image_size: None,
            fit: Fit::default(),
            bad_images: BadImages::default(),
            validation: 0.1,
            test: 0.1,
        }
    }
}
