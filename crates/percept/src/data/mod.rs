//! Labelled images: where they come from, how they are split, and the batches that training reads.
//! Knows no tensors and no models.

pub mod augment;
pub mod batches;
mod cache;
mod dataset;
mod folder;
mod inspect;
mod join;
mod labels;
pub mod named;
mod parquet;
mod random;
mod reading;
mod source;
mod splits;
mod table;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use self::{
    cache::default_cache_dir,
    dataset::Dataset,
    inspect::{ClassCounts, Colours, DuplicatePair, Duplicates, Inspection, Several, Sizes, inspect},
    join::Joined,
    labels::{LabelKind, LabelSets},
    source::{Probe, probe},
};
use crate::{
    Result,
    image::{Filter, Fit, Framing, Image},
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

impl Split {
    /// Every split, in the order in which they are used.
    pub const ALL: [Self; 3] = [Self::Train, Self::Validation, Self::Test];

    /// The split that a folder, a table or a file name means by a word, in any capitalisation.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "val" | "valid" | "validation" => Some(Self::Validation),
            "test" | "testing" => Some(Self::Test),
            _ => None,
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// One labelled picture as its source gives it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// How a message names it: a path relative to the source, or `data_batch_1.bin#17`.
    pub name: String,
    /// Index into the source's classes, or into its [`Source::sets`] of classes where it has such.
    pub label: u32,
    /// The split that it came with, by its own name, if any; what each may be used for is decided later.
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
    /// Where an image may show several classes, or none: their sets, by label.
    pub sets: Option<LabelSets>,
    /// 1 where every picture is grey by nature (digits, Fashion-MNIST), otherwise 3.
    pub channels: usize,
    /// Changes when the files change (names, sizes, times): names the cache of decoded images.
    pub identity: String,
    /// Whether a mirrored image is still the same thing and to be expected; false for digits and letters.
    pub mirrors: bool,
    /// Reads every sample.
    pub samples: SampleReader,
}

impl Source {
    /// Has every picture shown with so many channels, for a network that takes nothing else: 3 for colour, grey pictures
    /// too, or 1 for grey.
    pub fn show_with_channels(&mut self, channels: usize) {
        self.channels = channels;
    }

    /// What labels stay below: the number of classes, or of their sets.
    pub(crate) fn labels(&self) -> usize {
        self.sets.as_ref().map_or(self.classes.len(), LabelSets::len)
    }
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
    /// How pixels are made.
    pub filter: Filter,
    /// What to do with unreadable files.
    pub bad_images: BadImages,
    /// Whether classes exclude each other, where it is not to be told from the data.
    pub labels: Option<LabelKind>,
    /// The part of the training images held out for validation where none came with the data; 0 for none.
    pub validation: f64,
    /// The part of all images held out for the test where none came with the data. With 1 the data is only
    /// measured: every image is a test image, and no class needs training images.
    pub test: f64,
    /// Whether it comes on top of other data: one class is then enough, and a folder of pictures is one.
    pub adds: bool,
}

impl DatasetConfig {
    /// The defaults for a name or a path: the size that all images share, a tenth each for validation and test.
    pub fn new(data: impl Into<String>) -> Self {
        Self {
            data: data.into(),
            data_dir: None,
            cache_dir: default_cache_dir(),
            image_size: None,
            fit: Fit::default(),
            filter: Filter::default(),
            bad_images: BadImages::default(),
            labels: None,
            validation: 0.1,
            test: 0.1,
            adds: false,
        }
    }

    /// How images are brought to the size.
    pub(crate) fn framing(&self) -> Framing {
        Framing { filter: self.filter, ..self.fit.into() }
    }

    /// Whether the data is only measured, so that classes may lack training images.
    pub(crate) fn measures_only(&self) -> bool {
        self.test >= 1.0
    }
}

/// A file that could not be read as an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadableImage {
    /// Its name, as in [`Sample::name`].
    pub name: String,
    /// Why.
    pub reason: String,
}
