//! Decoded, labelled images with their splits.

use sha2::{Digest, Sha256};

use super::{
    DatasetConfig, Event, Listener, Source, Split, UnreadableImage,
    cache::{self, Pixels},
    folder::hex,
    splits,
};
use crate::{Error, Result, image::ImageShape};

/// Decoded, labelled images, all of one size, and their splits.
pub struct Dataset {
    /// The dataset's name, or the last part of its path.
    pub name: String,
    /// Class names by label.
    pub classes: Vec<String>,
    /// Size of every image.
    pub shape: ImageShape,
    /// Labels by image.
    pub labels: Vec<u32>,
    /// Names by image, for reports.
    pub names: Vec<String>,
    /// The first 8 bytes of each image's SHA-256.
    pub hashes: Vec<u64>,
    /// Images of each split, as indices.
    pub train: Vec<u32>,
    /// See [`Split::Validation`].
    pub validation: Vec<u32>,
    /// See [`Split::Test`].
    pub test: Vec<u32>,
    /// Files left out.
    pub unreadable: Vec<UnreadableImage>,
    /// Changes when any image, label or split changes: hexadecimal, 64 digits.
    pub fingerprint: String,
    /// How the splits came about, one sentence for people.
    pub splits_note: String,
    pixels: Pixels,
}

impl Dataset {
    /// Opens, decodes and splits what the configuration names.
    ///
    /// # Errors
    /// A source that cannot be used; see [`Source::open`].
    pub fn open(config: &DatasetConfig, listener: Listener) -> Result<Self> {
        Self::from_source(Source::open(config, listener)?, config, listener)
    }

    /// Decodes and splits an opened source.
    ///
    /// # Errors
    /// Images that cannot be used, or classes without training images.
    pub fn from_source(source: Source, config: &DatasetConfig, listener: Listener) -> Result<Self> {
        let (known, pixels) = cache::open(&source, config, listener)?;
        let shares = [config.validation, config.test];
        let splits = splits::split(&known.given, &known.hashes, &known.labels, &source.classes, shares)?;
        splits.warnings.into_iter().for_each(|warning| listener(Event::Note(warning)));
        let mut dataset = Self {
            name: source.name,
            classes: source.classes,
            shape: known.shape,
            labels: known.labels,
            names: known.names,
            hashes: known.hashes,
            train: splits.train,
            validation: splits.validation,
            test: splits.test,
            unreadable: known.unreadable,
            fingerprint: String::new(),
            splits_note: splits.note,
            pixels,
        };
        dataset.fingerprint = dataset.fingerprint_of_contents();
        Ok(dataset)
    }

    /// A dataset of pixels in memory, `[images, height, width, channels]`.
    ///
    /// # Errors
    /// Lengths that do not go together, a label that is no class, an index that is no image.
    pub fn from_images(
        name: &str,
        classes: Vec<String>,
        shape: ImageShape,
        pixels: Vec<u8>,
        labels: Vec<u32>,
        [train, validation, test]: [Vec<u32>; 3],
    ) -> Result<Self> {
        let images = labels.len();
        if shape.is_empty() || pixels.len() != images * shape.len() {
            return Err(Error::invalid(
                format!("{} bytes are not {images} images of {} bytes", pixels.len(), shape.len()),
                "pass as many images as labels",
            ));
        }
        if let Some(label) = labels.iter().find(|&&label| label as usize >= classes.len()) {
            return Err(Error::invalid(
                format!("label {label} is out of range: there are {} classes", classes.len()),
                "labels count from 0",
            ));
        }
        if let Some(index) = train.iter().chain(&validation).chain(&test).find(|&&index| index as usize >= images) {
            return Err(Error::invalid(format!("image {index} of {images} does not exist"), "indices count from 0"));
        }
        let hashes = pixels.chunks_exact(shape.len()).map(cache::hash_of);
        let mut dataset = Self {
            name: name.into(),
            classes,
            shape,
            names: (0..images).map(|index| format!("image {index}")).collect(),
            hashes: hashes.collect(),
            labels,
            train,
            validation,
            test,
            unreadable: Vec::new(),
            fingerprint: String::new(),
            splits_note: "splits as given".into(),
            pixels: Pixels::Owned(pixels),
        };
        dataset.fingerprint = dataset.fingerprint_of_contents();
        Ok(dataset)
    }

    /// One image, `[height, width, channels]`.
    ///
    /// # Panics
    /// If there is no image of that index.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels()[index * self.shape.len()..][..self.shape.len()]
    }

    /// All images, `[images, height, width, channels]`.
    pub fn pixels(&self) -> &[u8] {
        self.pixels.bytes()
    }

    /// The images of a split, as indices.
    pub fn split(&self, split: Split) -> &[u32] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    /// Images of each class in a split.
    pub fn class_counts(&self, split: Split) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.split(split).iter().for_each(|&index| counts[self.labels[index as usize] as usize] += 1);
        counts
    }

    fn fingerprint_of_contents(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(format!("{:?}{:?}", self.classes, self.shape));
        self.labels.iter().for_each(|label| hash.update(label.to_le_bytes()));
        self.hashes.iter().for_each(|content| hash.update(content.to_le_bytes()));
        for split in [&self.train, &self.validation, &self.test] {
            hash.update((split.len() as u64).to_le_bytes());
            split.iter().for_each(|index| hash.update(index.to_le_bytes()));
        }
        hex(&hash.finalize())
    }
}
