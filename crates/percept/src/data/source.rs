//! Decides where data comes from, and what can be known of a source before anything is decoded.
//! Reads no format itself: each has its own file.

use std::{
    cmp::Ordering,
    collections::HashMap,
    fs::File,
    io::Read,
    path::{self, Path},
};

use super::{
    DatasetConfig, Event, LabelKind, LabelSets, Listener, Picture, Sample, Source, Split, folder, named, parquet,
    reading, table,
};
use crate::{Error, Result, image};

impl Source {
    /// Opens what `config.data` means: a path that exists, or else the name of a dataset. A word without a
    /// separator that is both is the dataset; `./word` is always the path.
    ///
    /// # Errors
    /// When it is neither, or when what is found there cannot be used as labelled images.
    pub fn open(config: &DatasetConfig, listener: Listener) -> Result<Self> {
        let mut source = Self::find(config, listener)?;
        // Classes that come one an image need not exclude each other.
        if config.labels == Some(LabelKind::Several) && source.sets.is_none() {
            source.sets = Some(LabelSets::of_single(source.classes.len()));
        }
        Ok(source)
    }

    fn find(config: &DatasetConfig, listener: Listener) -> Result<Self> {
        let data = config.data.as_str();
        let path = Path::new(data);
        let is_word = !data.contains(path::is_separator);
        let exists = path.try_exists().map_err(Error::io("read", path))?;
        if is_word && named::is_name(data) {
            if exists {
                listener(Event::Note(format!("\"{data}\" is the dataset of that name; for the path, write ./{data}")));
            }
            return named::open(data, config, listener);
        }
        if data.is_empty() || !exists {
            return Err(unknown_data(data, is_word));
        }
        open_path(path, config, listener)
    }
}

fn unknown_data(data: &str, is_word: bool) -> Error {
    if is_word {
        let hint = match named::closest(data) {
            Some(entry) => format!("did you mean {}? `percept data list` shows every name", entry.name),
            None => {
                "check the path for a typing mistake, or choose one of the names that `percept data list` shows".into()
            }
        };
        return Error::missing(format!("\"{data}\" is neither a path that exists nor the name of a dataset"), hint);
    }
    Error::missing(format!("there is no file or folder at {data}"), "check the path for a typing mistake")
}

fn open_path(path: &Path, config: &DatasetConfig, listener: Listener) -> Result<Source> {
    if let Some(source) = named::open_path(path)? {
        return Ok(source);
    }
    if path.is_dir() {
        return match parquet::find_files(path)? {
            files if files.is_empty() => folder::open(path, config, listener),
            files => parquet::open(path, files, config, listener),
        };
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match extension.as_str() {
        "csv" | "tsv" => table::open(path, config, listener),
        "parquet" => parquet::open(path, vec![path.to_owned()], config, listener),
        _ if image::has_image_extension(path) => Err(Error::invalid(
            format!("{} is one image, not a set of labelled images", path.display()),
            "give the folder that holds one folder per class; `percept predict` takes single images",
        )),
        _ => Err(Error::invalid(
            format!("{} is not a kind of data that Percept reads", path.display()),
            "give a folder with one folder per class, a .csv or .tsv table, a .parquet file, or an official \
             archive of a dataset that `percept data list` shows",
        )),
    }
}

/// The last part of a path, as the name of a dataset.
pub(super) fn name_of(path: &Path) -> String {
    let absolute = path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let name = if path.is_dir() { absolute.file_name() } else { absolute.file_stem() };
    name.map_or_else(|| "data".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Sorts class names: by value where all are whole numbers, otherwise by their bytes.
pub(super) fn sort_classes(classes: &mut [String]) {
    fn compare_numbers(a: &str, b: &str) -> Ordering {
        let digits = |s: &str| s.trim_start_matches('0').to_owned();
        let (x, y) = (digits(a), digits(b));
        x.len().cmp(&y.len()).then_with(|| x.cmp(&y)).then_with(|| a.cmp(b))
    }
    let all_numbers = classes.iter().all(|class| !class.is_empty() && class.bytes().all(|b| b.is_ascii_digit()));
    classes.sort_by(|a, b| if all_numbers { compare_numbers(a, b) } else { a.cmp(b) });
}

/// Sorted class names without repetition, and the label of each.
pub(super) fn number_classes(names: impl IntoIterator<Item = String>) -> (Vec<String>, HashMap<String, u32>) {
    let mut classes: Vec<String> = names.into_iter().collect();
    sort_classes(&mut classes);
    classes.dedup();
    let labels = classes.iter().cloned().zip(0..).collect();
    (classes, labels)
}

/// Refuses what no training can use, before anything is decoded: no image, one class, a class that is measured
/// but was never learned. Labels are places in `sets`, where there are such: there one class may be there or not.
pub(super) fn check_classes(
    location: &Path,
    classes: &[String],
    sets: Option<&LabelSets>,
    listed: impl Iterator<Item = (u32, Option<Split>)>,
    config: &DatasetConfig,
    listener: Listener,
) -> Result<()> {
    let mut counts = vec![[0usize; 4]; classes.len()]; // [train, validation, test, no split]
    let mut images = 0;
    for (label, split) in listed {
        images += 1;
        let own = [label];
        for &class in sets.map_or(&own[..], |sets| sets.classes_of(label)) {
            counts[class as usize][split.map_or(3, |split| split as usize)] += 1;
        }
    }
    let place = location.display();
    if images == 0 {
        return Err(Error::invalid(format!("{place} holds no labelled image"), "check that it is the right path"));
    }
    if config.measures_only() {
        return Ok(());
    }
    let filled: Vec<&String> =
        classes.iter().zip(&counts).filter(|(_, row)| row.iter().any(|&n| n > 0)).map(|(c, _)| c).collect();
    if filled.is_empty() {
        return Err(Error::invalid(
            format!("no image of {place} has a label"),
            "write down at least for some images what they show",
        ));
    }
    if let ([only], None, false) = (&filled[..], sets, config.adds) {
        return Err(Error::invalid(
            format!("{place} holds one class only, \"{only}\": there is nothing to tell apart"),
            "add a second class; where classes stand deeper in that folder, give the folder right above them",
        ));
    }
    check_training_images(location, classes, &counts)?;
    let empty: Vec<&String> = classes.iter().filter(|class| !filled.contains(class)).collect();
    if let Some(first) = empty.first() {
        let more = and_more(empty.len());
        listener(Event::Note(format!("{place} declares class \"{first}\"{more} but holds no image of it")));
    }
    Ok(())
}

fn check_training_images(location: &Path, classes: &[String], counts: &[[usize; 4]]) -> Result<()> {
    let place = location.display();
    let comes_split = counts.iter().any(|row| row[..3].iter().any(|&n| n > 0));
    if comes_split && counts.iter().all(|row| row[0] + row[3] == 0) {
        return Err(Error::invalid(
            format!("{place} holds no training image, only a validation or test split"),
            "add a train split, or give a folder with one folder per class to have it split",
        ));
    }
    let untaught = |row: &[usize; 4]| row[0] + row[3] == 0 && row[1] + row[2] > 0;
    let untaught: Vec<usize> = (0..classes.len()).filter(|&i| untaught(&counts[i])).collect();
    let Some(&first) = untaught.first() else { return Ok(()) };
    let split = if counts[first][2] > 0 { Split::Test } else { Split::Validation };
    Err(Error::invalid(
        format!(
            "{place}: class \"{}\" has images in {split} but none in train{}",
            classes[first],
            match untaught.len() {
                1 => String::new(),
                n => format!(" ({} more classes likewise)", n - 1),
            }
        ),
        "add training images of it, or take it out; names must agree to the letter, capitals included",
    ))
}

/// " and 2 more", after the first of `count` things was named.
pub(super) fn and_more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        n => format!(" and {} more", n - 1),
    }
}

/// "1 image", "2 images".
pub(super) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// The verb after [`count`].
pub(super) fn is_or_are(n: usize) -> &'static str {
    if n == 1 { "is" } else { "are" }
}

/// What a look at some of a source's images tells, before any is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Images looked at.
    pub images: usize,
    /// Whether all of them have one size.
    pub uniform: bool,
    /// Median height.
    pub height: usize,
    /// Median width.
    pub width: usize,
    /// Images that may be trained on, where the source knows without reading them.
    pub train: Option<usize>,
}

/// Looks at the headers of up to 256 images, spread evenly over the source.
///
/// # Errors
/// When the source cannot be read, or when none of the images looked at has a readable header.
pub fn probe(source: &Source) -> Result<Probe> {
    const LOOKS: usize = 256;
    let samples = (source.samples)()?;
    let total = known_length(&*samples);
    let mut samples = samples.peekable();
    let is_raw = matches!(samples.peek(), Some(Ok(Sample { picture: Picture::Pixels(_), .. })));
    // Raw pixels share one size by nature, and skipping over them may mean unpacking an archive.
    let stride = if is_raw { 1 } else { total.map_or(1, |total| total.div_ceil(LOOKS).max(1)) };
    let mut sizes = Vec::new();
    for sample in samples.step_by(stride).take(LOOKS) {
        sizes.extend(header_size(&sample?.picture));
    }
    if sizes.is_empty() {
        return Err(Error::invalid(
            format!("{} holds no image that can be read", source.location),
            "see what is wrong with each file: percept data inspect",
        ));
    }
    let median = |axis: usize| {
        let mut values: Vec<usize> = sizes.iter().map(|size| size[axis]).collect();
        let middle = values.len() / 2;
        *values.select_nth_unstable(middle).1
    };
    let uniform = sizes.iter().all(|size| *size == sizes[0]);
    Ok(Probe {
        images: sizes.len(),
        uniform,
        height: median(0),
        width: median(1),
        train: count_train(source)?.or(total),
    })
}

/// Images that did not come for validation or test, where that shows without reading any.
fn count_train(source: &Source) -> Result<Option<usize>> {
    let mut count = 0;
    for sample in (source.samples)()? {
        let Sample { split, picture: Picture::File(_), .. } = sample? else { return Ok(None) };
        count += usize::from(split.is_none_or(|split| split == Split::Train));
    }
    Ok(Some(count))
}

/// The exact number of samples, where the iterator knows it.
pub(super) fn known_length(samples: &(dyn Iterator<Item = Result<Sample>> + Send)) -> Option<usize> {
    match samples.size_hint() {
        (low, Some(high)) if low == high => Some(high),
        _ => None,
    }
}

/// Height and width, from as few bytes as the format allows; nothing where they cannot be read.
fn header_size(picture: &Picture) -> Option<[usize; 2]> {
    const HEAD: u64 = 64 * 1024; // holds the header and the orientation of nearly every file
    match picture {
        Picture::Pixels(image) => Some([image.shape.height, image.shape.width]),
        Picture::Encoded(bytes) => image::dimensions(bytes).ok(),
        Picture::File(path) => {
            let mut head = Vec::new();
            File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
            image::dimensions(&head).ok().or_else(|| image::dimensions(&reading::read_file(path).ok()?).ok())
        }
    }
}
