//! Decoded, labelled, split images: what training, evaluation and reports read.

use sha2::{Digest, Sha256};

use super::{
    DatasetConfig, Event, LabelSets, Listener, Source, Split, UnreadableImage,
    cache::{self, Decoded, Facts, Pixels},
    labels::count_classes,
    reading::{ContentHash, hash_image},
    source::and_more,
    splits::{self, Splits},
};
use crate::{
    Error, Result,
    files::hexadecimal,
    image::{Image, ImageShape},
};

/// Decoded, labelled images, all of one size, and their splits.
pub struct Dataset {
    /// The dataset's name, or the last part of its path.
    pub name: String,
    /// Class names by label.
    pub classes: Vec<String>,
    /// Size of every image.
    pub shape: ImageShape,
    /// See [`Source::mirrors`].
    pub mirrors: bool,
    /// Labels by image: classes, or places in `sets` where there are such.
    pub labels: Vec<u32>,
    /// See [`Source::sets`].
    pub sets: Option<LabelSets>,
    /// Names by image, for reports.
    pub names: Vec<String>,
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
    pub(super) contents: Vec<ContentHash>,
    pub(super) pixels: Pixels,
}

impl Dataset {
    /// Opens a source, decodes it or takes it from the cache, and splits it.
    ///
    /// # Errors
    /// When the source is not there or cannot be used, when an image cannot be read and
    /// [`BadImages::Fail`](super::BadImages::Fail) is set, when images differ in size and none was asked for, and
    /// when a class is left without training images.
    pub fn open(config: &DatasetConfig, listener: Listener) -> Result<Self> {
        Self::from_source(&Source::open(config, listener)?, config, listener)
    }

    /// Decodes a source that is open already; see [`Dataset::open`].
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn from_source(source: &Source, config: &DatasetConfig, listener: Listener) -> Result<Self> {
        let Decoded { shape, facts, pixels } = cache::open(source, config, listener)?;
        check_readable(&facts, source, config)?;
        if let Some(note) = describe_unreadable(&facts) {
            listener(Event::Note(note));
        }
        let Facts { labels, given, contents, names, unreadable, .. } = facts;
        let mut splits = splits::assign(&given, &contents, config)?;
        splits::check_classes(&mut splits, &labels, source.sets.as_ref(), &source.classes, config)?;
        let Splits { train, validation, test, note, warnings } = splits;
        warnings.into_iter().for_each(|warning| listener(Event::Note(warning)));
        let dataset = Self {
            name: source.name.clone(),
            classes: source.classes.clone(),
            shape,
            mirrors: source.mirrors,
            labels,
            sets: source.sets.clone(),
            names,
            train,
            validation,
            test,
            unreadable,
            fingerprint: String::new(),
            splits_note: note,
            contents,
            pixels,
        };
        Ok(dataset.with_fingerprint())
    }

    /// A dataset of images in memory. `pixels` is `[images, height, width, channels]`; splits are indices.
    ///
    /// # Errors
    /// When lengths disagree, or a label or an index is out of range.
    #[allow(clippy::too_many_arguments)] // the parts that a dataset has
    pub fn from_images(
        name: impl Into<String>,
        classes: Vec<String>,
        shape: ImageShape,
        pixels: Vec<u8>,
        labels: Vec<u32>,
        train: Vec<u32>,
        validation: Vec<u32>,
        test: Vec<u32>,
    ) -> Result<Self> {
        let name = name.into();
        let images = labels.len();
        let invalid = |what: String| Err(Error::invalid(format!("dataset {name}: {what}"), ""));
        if shape.is_empty() || pixels.len() != images * shape.len() {
            let ImageShape { height, width, channels } = shape;
            let wanted = format!("{images} images of {height}×{width}×{channels}");
            return invalid(format!("{} bytes of pixels are not {wanted}", pixels.len()));
        }
        if let Some(label) = labels.iter().find(|&&label| label as usize >= classes.len()) {
            return invalid(format!("label {label} is out of range: there are {} classes", classes.len()));
        }
        if let Some(index) = [&train, &validation, &test].into_iter().flatten().find(|&&i| i as usize >= images) {
            return invalid(format!("image {index} of a split is out of range: there are {images} images"));
        }
        let hash = |pixels: &[u8]| hash_image(&Image { shape, pixels: pixels.to_vec() });
        let dataset = Self {
            contents: pixels.chunks_exact(shape.len()).map(hash).collect(),
            names: (0..images).map(|i| format!("{name}#{i}")).collect(),
            splits_note: format!(
                "as given: {} train, {} validation and {} test images",
                train.len(),
                validation.len(),
                test.len()
            ),
            name,
            classes,
            shape,
            mirrors: true,
            labels,
            sets: None,
            train,
            validation,
            test,
            unreadable: Vec::new(),
            fingerprint: String::new(),
            pixels: Pixels::Memory(pixels),
        };
        Ok(dataset.with_fingerprint())
    }

    /// A dataset of images in memory that may show several classes each, or none: `shown` are the classes of each image. See
    /// [`Dataset::from_images`].
    ///
    /// # Errors
    /// As there.
    #[allow(clippy::too_many_arguments)] // the parts that a dataset has
    pub fn from_label_sets(
        name: impl Into<String>,
        classes: Vec<String>,
        shape: ImageShape,
        pixels: Vec<u8>,
        shown: Vec<Vec<u32>>,
        train: Vec<u32>,
        validation: Vec<u32>,
        test: Vec<u32>,
    ) -> Result<Self> {
        let (name, count) = (name.into(), classes.len());
        if let Some(class) = shown.iter().flatten().find(|&&class| class as usize >= count) {
            return Err(Error::invalid(
                format!("dataset {name}: label {class} is out of range: there are {count} classes"),
                "",
            ));
        }
        let (sets, labels) = LabelSets::number(shown);
        let mut dataset =
            Self::from_images(name, classes, shape, pixels, vec![0; labels.len()], train, validation, test)?;
        (dataset.labels, dataset.sets) = (labels, Some(sets));
        Ok(dataset.with_fingerprint())
    }

    /// Counts labels as another set of classes does, of which these are all or some, in any order.
    ///
    /// # Errors
    /// When a class is not among them.
    pub fn rename_classes(&mut self, classes: &[String]) -> Result<()> {
        let place = |class: &String| classes.iter().position(|known| known == class).map(|label| label as u32);
        let places: Vec<Option<u32>> = self.classes.iter().map(place).collect();
        let unknown: Vec<&str> =
            self.classes.iter().zip(&places).filter(|(_, p)| p.is_none()).map(|(c, _)| c.as_str()).collect();
        if !unknown.is_empty() {
            return Err(Error::invalid(
                format!(
                    "the model knows no class \"{}\"{}: it knows {}",
                    unknown[0],
                    and_more(unknown.len()),
                    classes.join(", ")
                ),
                "measure on data with the model's class names; capitals count",
            ));
        }
        let places: Vec<u32> = places.into_iter().flatten().collect();
        match &mut self.sets {
            Some(sets) => sets.rename(&places),
            None => self.labels.iter_mut().for_each(|label| *label = places[*label as usize]),
        }
        self.classes = classes.to_vec();
        self.fingerprint = self.own_fingerprint();
        Ok(())
    }

    /// Images in all splits.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The pixels of one image: `[height, width, channels]`.
    ///
    /// # Panics
    /// When `index` is not below [`Dataset::len`].
    pub fn image(&self, index: usize) -> &[u8] {
        assert!(index < self.len(), "image {index} of {}", self.len());
        self.pixels.slice(index * self.shape.len(), self.shape.len())
    }

    /// All images: `[images, height, width, channels]`.
    pub fn pixels(&self) -> &[u8] {
        self.pixels.slice(0, self.len() * self.shape.len())
    }

    /// The images of a split, as indices.
    pub fn split(&self, split: Split) -> &[u32] {
        match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        }
    }

    /// Images of each class in a split, by label.
    pub fn class_counts(&self, split: Split) -> Vec<usize> {
        count_classes(self.split(split), &self.labels, self.sets.as_ref(), self.classes.len())
    }

    /// By image, what identifies its content: the first 16 bytes of the SHA-256 of its file, or of its pixels
    /// where it came as pixels. Equal where two files are byte-identical.
    pub fn content_hashes(&self) -> &[u128] {
        &self.contents
    }

    /// One sentence: how many images, classes and what size.
    pub fn describe(&self) -> String {
        let ImageShape { height, width, channels } = self.shape;
        format!(
            "{}: {} {} images of {width}×{height} pixels in {} classes{}; {} to train, {} to validate, {} to test",
            self.name,
            self.len(),
            if channels == 1 { "grey" } else { "colour" },
            self.classes.len(),
            if self.sets.is_some() { ", several at once or none" } else { "" },
            self.train.len(),
            self.validation.len(),
            self.test.len()
        )
    }

    fn own_fingerprint(&self) -> String {
        let splits = Split::ALL.map(|split| self.split(split));
        fingerprint(self.shape, &self.classes, self.sets.as_ref(), &self.labels, &self.contents, splits)
    }

    pub(super) fn with_fingerprint(mut self) -> Self {
        self.fingerprint = self.own_fingerprint();
        self
    }
}

/// See [`Dataset::fingerprint`].
pub(super) fn fingerprint(
    shape: ImageShape,
    classes: &[String],
    sets: Option<&LabelSets>,
    labels: &[u32],
    contents: &[ContentHash],
    splits: [&[u32]; 3],
) -> String {
    let mut digest = Sha256::new();
    let shape = [shape.height, shape.width, shape.channels].map(|side| side as u64);
    for count in shape.into_iter().chain([classes.len() as u64, labels.len() as u64]) {
        digest.update(count.to_le_bytes());
    }
    for class in classes {
        digest.update((class.len() as u64).to_le_bytes());
        digest.update(class);
    }
    for set in sets.into_iter().flat_map(LabelSets::iter) {
        digest.update((set.len() as u64).to_le_bytes());
        set.iter().for_each(|class| digest.update(class.to_le_bytes()));
    }
    for (label, content) in labels.iter().zip(contents) {
        digest.update(label.to_le_bytes());
        digest.update(content.to_le_bytes());
    }
    for split in splits {
        digest.update((split.len() as u64).to_le_bytes());
        split.iter().for_each(|index| digest.update(index.to_le_bytes()));
    }
    hexadecimal(&digest.finalize())
}

/// A class of which no file can be read would silently vanish.
fn check_readable(facts: &Facts, source: &Source, config: &DatasetConfig) -> Result<()> {
    let (mut readable, mut listed) = (vec![0u64; source.classes.len()], vec![0u64; source.classes.len()]);
    let count = |counts: &mut [u64], label: u32, images: u64| {
        let own = [label];
        let classes = source.sets.as_ref().map_or(&own[..], |sets| sets.classes_of(label));
        classes.iter().for_each(|&class| counts[class as usize] += images);
    };
    facts.labels.iter().for_each(|&label| count(&mut readable, label, 1));
    (0..).zip(&facts.listed).for_each(|(label, &images)| count(&mut listed, label, images));
    let lost: Vec<usize> = (0..readable.len()).filter(|&class| readable[class] == 0 && listed[class] > 0).collect();
    match lost.first() {
        Some(&label) if !config.measures_only() => Err(Error::invalid(
            format!(
                "no image of class \"{}\"{} can be read: all {} files are broken",
                source.classes[label],
                and_more(lost.len()),
                listed[label]
            ),
            "see what is wrong with each file: percept data inspect",
        )),
        _ => Ok(()),
    }
}

/// Names the first files that were left out, and says how many there are.
fn describe_unreadable(facts: &Facts) -> Option<String> {
    const SHOWN: usize = 5;
    let left_out = &facts.unreadable;
    let shown = left_out.iter().take(SHOWN).map(|image| format!("{} ({})", image.name, image.reason));
    let shown = shown.collect::<Vec<_>>().join("; ");
    let more = if left_out.len() > SHOWN { "; ..." } else { "" };
    let all = left_out.len() + facts.labels.len();
    (!left_out.is_empty())
        .then(|| format!("left out {} of {all} images that cannot be read: {shown}{more}", left_out.len()))
}
