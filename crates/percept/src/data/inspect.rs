//! What a set of labelled images is made of, before anyone trains on it: splits, classes, sizes, broken files,
//! copies. Reads and decodes every image and changes nothing.

mod text;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use serde::Serialize;

use super::{
    DatasetConfig, Event, LabelSets, Listener, Source, Split, UnreadableImage,
    labels::count_classes,
    reading::{ContentHash, PictureReader},
    source::{count as count_of, is_or_are},
    splits::{self, Splits},
};
use crate::{Result, image::Image};

/// Pictures in memory at once; each is as large as its file makes it, so only as many as there are threads decode.
const BATCH: usize = 256;
/// Pairs of copies that are named.
const SHOWN_PAIRS: usize = 10;

/// What [`inspect`] found.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The dataset's name, or the last part of its path.
    pub name: String,
    /// Where it was found.
    pub location: String,
    /// Readable images.
    pub images: usize,
    /// Images of each class by split, in the order of their labels.
    pub classes: Vec<ClassCounts>,
    /// Images of all classes by split.
    pub total: ClassCounts,
    /// Where an image may show several classes, or none: how many it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub several: Option<Several>,
    /// How the splits came about.
    pub splits: String,
    /// Sizes of the images, where there is one.
    pub sizes: Option<Sizes>,
    /// Grey and coloured images.
    pub colours: Colours,
    /// Images by file format: "jpeg", "png"; "raw" for pixels that were never encoded.
    pub formats: BTreeMap<String, usize>,
    /// Files that cannot be read, with the reason.
    pub unreadable: Vec<UnreadableImage>,
    /// Byte-identical images.
    pub duplicates: Duplicates,
    /// What should be looked at.
    pub warnings: Vec<String>,
    /// What the source said when it was opened: files that it left out, for example.
    pub notes: Vec<String>,
}

/// Images of one class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClassCounts {
    /// The class.
    pub name: String,
    /// Images to train on.
    pub train: usize,
    /// Images to validate on.
    pub validation: usize,
    /// Images to test on.
    pub test: usize,
}

/// How many classes the images show.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Several {
    /// Classes an image, on average.
    pub mean: f64,
    /// The most that one shows.
    pub most: usize,
    /// Images that show none.
    pub without: usize,
    /// Sets of classes that occur.
    pub sets: usize,
}

impl Several {
    fn count(sets: &LabelSets, labels: &[u32]) -> Self {
        let shown = || labels.iter().map(|&label| sets.classes_of(label).len());
        let mut distinct = labels.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        Self {
            mean: shown().sum::<usize>() as f64 / labels.len().max(1) as f64,
            most: shown().max().unwrap_or(0),
            without: shown().filter(|&count| count == 0).count(),
            sets: distinct.len(),
        }
    }
}

/// Heights and widths, `[height, width]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// The image of the fewest pixels.
    pub smallest: [usize; 2],
    /// Median height and median width.
    pub median: [usize; 2],
    /// The image of the most pixels.
    pub largest: [usize; 2],
    /// Whether all are equal.
    pub uniform: bool,
}

/// Images without and with colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Colours {
    /// Red, green and blue are equal everywhere.
    pub grey: usize,
    /// All others.
    pub colour: usize,
}

/// Images that are byte for byte the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Duplicates {
    /// Images that are a copy of an earlier one.
    pub copies: usize,
    /// Of these, copies of an image that is in another split.
    pub across_splits: usize,
    /// Of these, copies of an image that has another label.
    pub other_label: usize,
    /// The first of them, those across splits and with other labels before the rest.
    pub pairs: Vec<DuplicatePair>,
}

/// Two identical images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DuplicatePair {
    /// The earlier one.
    pub first: String,
    /// The later one.
    pub second: String,
    /// Split and class of the earlier one.
    pub first_in: (Option<Split>, String),
    /// Split and class of the later one.
    pub second_in: (Option<Split>, String),
}

/// Looks at every image of a source.
///
/// # Errors
/// When the source is not there, or cannot be understood as labelled images at all.
pub fn inspect(config: &DatasetConfig, listener: Listener) -> Result<Inspection> {
    let notes = Mutex::new(Vec::new());
    let keep_notes = |event: Event| match event {
        Event::Note(note) => notes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(note),
        other => listener(other),
    };
    // Opened as data that is only measured: what would stop a training is to be shown here.
    let source = Source::open(&DatasetConfig { test: 1.0, ..config.clone() }, &keep_notes)?;
    let found = Found::read(&source, &keep_notes)?;
    let given: Vec<_> = found.images.iter().map(|image| image.given).collect();
    let contents: Vec<_> = found.images.iter().map(|image| image.content).collect();
    let labels: Vec<_> = found.images.iter().map(|image| image.label).collect();
    let mut splits = splits::assign(&given, &contents, config)?;
    let refusal = splits::check_classes(&mut splits, &labels, source.sets.as_ref(), &source.classes, config).err();
    let mut warnings: Vec<String> = refusal.into_iter().map(|error| error.to_string()).collect();
    warnings.append(&mut splits.warnings);
    let (classes, total) = count(&source, &labels, &splits);
    let places = places(&splits, labels.len());
    let several = source.sets.as_ref().map(|sets| Several::count(sets, &labels));
    let duplicates = find_duplicates(&found.images, &places, &source);
    warnings.extend(warn(&classes, several.as_ref(), &duplicates));
    Ok(Inspection {
        images: found.images.len(),
        classes,
        total,
        several,
        splits: splits.note,
        sizes: measure(&found.images),
        colours: found.colours,
        formats: found.formats,
        unreadable: found.unreadable,
        duplicates,
        warnings,
        notes: notes.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()),
        name: source.name,
        location: source.location,
    })
}

/// What was seen of the images.
#[derive(Default)]
struct Found {
    images: Vec<Seen>,
    colours: Colours,
    formats: BTreeMap<String, usize>,
    unreadable: Vec<UnreadableImage>,
}

struct Seen {
    name: String,
    label: u32,
    given: Option<Split>,
    content: ContentHash,
    size: [usize; 2],
}

impl Found {
    fn read(source: &Source, listener: Listener) -> Result<Self> {
        let mut found = Self::default();
        let mut reader = PictureReader::open(source, listener)?;
        let look = |image: Image, encoded: Option<&[u8]>| {
            Ok(([image.shape.height, image.shape.width], is_grey(&image), format_of(encoded)))
        };
        loop {
            let batch = reader.next_batch(BATCH, look)?;
            if batch.is_empty() {
                reader.finish();
                return Ok(found);
            }
            for reading in batch {
                let (name, label) = (reading.name, reading.label);
                match reading.outcome {
                    Ok(_) if label as usize >= source.labels() => {
                        let classes = source.classes.len();
                        let reason = format!("its label {label} is none of the {classes} classes");
                        found.unreadable.push(UnreadableImage { name, reason });
                    }
                    Ok((size, grey, format)) => {
                        *found.formats.entry(format).or_default() += 1;
                        *if grey { &mut found.colours.grey } else { &mut found.colours.colour } += 1;
                        let (given, content) = (reading.split, reading.content);
                        found.images.push(Seen { name, label, given, content, size });
                    }
                    Err(reason) => found.unreadable.push(UnreadableImage { name, reason }),
                }
            }
        }
    }
}

fn is_grey(image: &Image) -> bool {
    image.shape.channels == 1 || image.pixels.chunks_exact(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2])
}

fn format_of(encoded: Option<&[u8]>) -> String {
    match encoded {
        None => "raw".to_owned(),
        Some(bytes) => match ::image::guess_format(bytes) {
            Ok(format) => format!("{format:?}").to_lowercase(),
            Err(_) => "other".to_owned(),
        },
    }
}

fn count(source: &Source, labels: &[u32], splits: &Splits) -> (Vec<ClassCounts>, ClassCounts) {
    let Source { classes, sets, .. } = source;
    let count = |indices: &[u32]| count_classes(indices, labels, sets.as_ref(), classes.len());
    let (train, validation, test) = (count(&splits.train), count(&splits.validation), count(&splits.test));
    let row = |(i, name): (usize, &String)| ClassCounts {
        name: name.clone(),
        train: train[i],
        validation: validation[i],
        test: test[i],
    };
    let total = ClassCounts {
        name: "total".to_owned(),
        train: splits.train.len(),
        validation: splits.validation.len(),
        test: splits.test.len(),
    };
    (classes.iter().enumerate().map(row).collect(), total)
}

/// The split of each image.
fn places(splits: &Splits, images: usize) -> Vec<Option<Split>> {
    let mut places = vec![None; images];
    for (split, indices) in
        [(Split::Train, &splits.train), (Split::Validation, &splits.validation), (Split::Test, &splits.test)]
    {
        indices.iter().for_each(|&index| places[index as usize] = Some(split));
    }
    places
}

fn measure(images: &[Seen]) -> Option<Sizes> {
    let area = |size: &[usize; 2]| size[0] * size[1];
    let sizes = || images.iter().map(|image| image.size);
    let median = |axis: usize| {
        let mut values: Vec<usize> = sizes().map(|size| size[axis]).collect();
        let middle = values.len() / 2;
        *values.select_nth_unstable(middle).1
    };
    let (smallest, largest) = (sizes().min_by_key(area)?, sizes().max_by_key(area)?);
    let uniform = sizes().all(|size| size == smallest);
    Some(Sizes { smallest, median: [median(0), median(1)], largest, uniform })
}

fn find_duplicates(images: &[Seen], places: &[Option<Split>], source: &Source) -> Duplicates {
    let mut firsts: HashMap<ContentHash, usize> = HashMap::new();
    let mut pairs = Vec::new();
    for (second, image) in images.iter().enumerate() {
        let first = *firsts.entry(image.content).or_insert(second);
        if first != second {
            pairs.push((first, second));
        }
    }
    let crosses = |&&(a, b): &&(usize, usize)| places[a] != places[b];
    let disagrees = |&&(a, b): &&(usize, usize)| images[a].label != images[b].label;
    let across_splits = pairs.iter().filter(crosses).count();
    let other_label = pairs.iter().filter(disagrees).count();
    let copies = pairs.len();
    pairs.sort_by_key(|pair| (!disagrees(&pair), !crosses(&pair)));
    let name = |label: u32| match &source.sets {
        Some(sets) => sets.describe(label, &source.classes),
        None => source.classes[label as usize].clone(),
    };
    let place = |i: usize| (places[i], name(images[i].label));
    let describe = |&(a, b): &(usize, usize)| DuplicatePair {
        first: images[a].name.clone(),
        second: images[b].name.clone(),
        first_in: place(a),
        second_in: place(b),
    };
    Duplicates { copies, across_splits, other_label, pairs: pairs.iter().take(SHOWN_PAIRS).map(describe).collect() }
}

fn warn(classes: &[ClassCounts], several: Option<&Several>, duplicates: &Duplicates) -> Vec<String> {
    const FEW: usize = 20;
    const UNBALANCED: usize = 10;
    let mut warnings = Vec::new();
    if let ([only], None) = (classes, several) {
        warnings.push(format!("there is one class only, \"{}\": nothing can be learned", only.name));
    }
    let most = classes.iter().max_by_key(|class| class.train);
    let least = classes.iter().filter(|class| class.train > 0).min_by_key(|class| class.train);
    if let (Some(most), Some(least)) = (most, least)
        && most.train > UNBALANCED * least.train
    {
        warnings.push(format!(
            "classes are unbalanced: \"{}\" has {} training images, \"{}\" {}; weigh the classes, or add images",
            most.name, most.train, least.name, least.train
        ));
    }
    let few: Vec<&ClassCounts> = classes.iter().filter(|class| (1..FEW).contains(&class.train)).collect();
    if let Some(first) = few.first() {
        let others = if few.len() > 1 { format!(" and {} more classes", few.len() - 1) } else { String::new() };
        warnings.push(format!(
            "few images: \"{}\" ({}){others} with fewer than {FEW} training images",
            first.name, first.train
        ));
    }
    let copies = [
        (duplicates.across_splits, "in another split: figures on that split are too good"),
        (duplicates.other_label, "with another label"),
    ];
    for (n, where_and_why) in copies.into_iter().filter(|(n, _)| *n > 0) {
        warnings.push(format!("{} {} identical to one {where_and_why}", count_of(n, "image"), is_or_are(n)));
    }
    warnings
}
