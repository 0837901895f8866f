//! Hugging Face's Parquet files: a column of encoded images, a column of labels, the class names in the file's
//! metadata. Labels are read when a source is opened, pictures one at a time when they are wanted.

mod columns;
mod lists;
mod rows;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::Arc,
};

use ::parquet::{
    errors::{ParquetError, Result as ParquetResult},
    file::{metadata::ColumnChunkMetaData, reader::FileReader, serialized_reader::SerializedFileReader},
};
use sha2::{Digest, Sha256};

use self::{
    columns::{Columns, Features, Label},
    rows::Rows,
};
use super::{
    DatasetConfig, Event, LabelKind, LabelSets, Listener, Source, Split, folder,
    source::{check_classes, name_of, number_classes},
};
use crate::{Error, Result, files::hexadecimal};

/// A row without a label: it is left out.
const UNLABELLED: u32 = u32::MAX;

/// One opened and listed file.
struct Part {
    path: PathBuf,
    /// How messages name it.
    name: String,
    split: Option<Split>,
    columns: Columns,
    /// By row.
    labels: Vec<u32>,
}

/// The Parquet files of a folder: its own, or those of `data` or of its only folder that has any, or of folders
/// called as splits. In order of their names.
pub(super) fn find_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let own = parquet_files(folder)?;
    if !own.is_empty() {
        return Ok(own);
    }
    let mut folders = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        if path.is_dir() {
            let files = parquet_files(&path).unwrap_or_default(); // a closed folder is the folder reader's to name
            if !files.is_empty() {
                folders.insert(file_name(&path), files);
            }
        }
    }
    if folders.keys().any(|name| name == "data") {
        folders.retain(|name, _| name == "data");
    }
    if folders.len() > 1 && folders.keys().any(|name| Split::from_word(name).is_none()) {
        let names: Vec<String> = folders.into_keys().collect();
        return Err(Error::invalid(
            format!("{} holds Parquet files in several folders: {}", folder.display(), names.join(", ")),
            "give one of these folders",
        ));
    }
    Ok(folders.into_values().flatten().collect())
}

fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let is_parquet = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"));
        if is_parquet && !file_name(&path).starts_with('.') && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The split that a file's name begins with, or that its folder is called.
fn split_of(path: &Path) -> Option<Split> {
    let name = file_name(path);
    let word: String = name.chars().take_while(char::is_ascii_alphabetic).collect();
    Split::from_word(&word).or_else(|| Split::from_word(&file_name(path.parent()?)))
}

/// Opens Parquet files as one source. `location` is what the user gave.
pub(super) fn open(
    location: &Path,
    mut files: Vec<PathBuf>,
    config: &DatasetConfig,
    listener: Listener,
) -> Result<Source> {
    if files.len() > 1 && files.iter().any(|file| split_of(file).is_some()) {
        let (named, others): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| split_of(file).is_some());
        if let Some(first) = others.first() {
            listener(Event::Note(format!(
                "left out {} Parquet files whose names begin with no split, the first is {}",
                others.len(),
                first.display()
            )));
        }
        files = named;
    }
    let (parts, classes, sets) = list(&files, config.labels, listener)?;
    let listed = parts.iter().flat_map(|part| part.labels.iter().map(|&label| (label, part.split)));
    check_classes(
        location,
        &classes,
        sets.as_ref(),
        listed.filter(|(label, _)| *label != UNLABELLED),
        config,
        listener,
    )?;
    let identity = identify(&files)?;
    let parts = Arc::new(parts);
    Ok(Source {
        name: name_of(location),
        location: location.display().to_string(),
        classes,
        sets,
        channels: 3,
        identity,
        mirrors: true,
        samples: Box::new(move || Ok(Box::new(Rows::new(Arc::clone(&parts))))),
    })
}

/// Names, lengths and times of the files.
fn identify(files: &[PathBuf]) -> Result<String> {
    let mut digest = Sha256::new();
    for file in files {
        let metadata = fs::metadata(file).map_err(Error::io("read", file))?;
        let path = fs::canonicalize(file).map_err(Error::io("read", file))?;
        digest.update(path.as_os_str().as_encoded_bytes());
        digest.update(format!(" {:?}\n", folder::stamp(&metadata)));
    }
    Ok(hexadecimal(&digest.finalize()))
}

/// Reads every label, and makes numbers of them: of classes, or of sets of classes where labels are lists.
fn list(
    files: &[PathBuf],
    kind: Option<LabelKind>,
    listener: Listener,
) -> Result<(Vec<Part>, Vec<String>, Option<LabelSets>)> {
    let mut opened = Vec::new();
    for path in files {
        let reader = open_file(path)?;
        let features = Features::read(reader.metadata().file_metadata());
        let columns = Columns::find(path, reader.metadata().file_metadata(), &features)?;
        opened.push((path, features, columns));
    }
    match opened.iter().find(|(.., columns)| columns.has_lists()) {
        Some((path, ..)) if kind == Some(LabelKind::One) => Err(Error::invalid(
            format!("the labels of {} are lists, but an image is to have one", path.display()),
            "leave --labels out, or name a column of one label a row label",
        )),
        Some(_) => list_sets(opened, listener),
        None => list_labels(opened, listener).map(|(parts, classes)| (parts, classes, None)),
    }
}

/// A file with what its columns are. It is closed again: there may be more than a process may have open.
type Opened<'a> = (&'a PathBuf, Features, Columns);

fn list_sets(opened: Vec<Opened>, listener: Listener) -> Result<(Vec<Part>, Vec<String>, Option<LabelSets>)> {
    let names = opened.iter().find_map(|(_, features, columns)| features.class_names(&columns.label_name));
    let mut listed = Vec::new();
    for (path, _, columns) in opened {
        let lists = columns.read_lists(path, &open_file(path)?)?;
        listed.push((path, columns, lists));
    }
    let classes =
        names.unwrap_or_else(|| name_classes(listed.iter().flat_map(|(.., lists)| lists.iter().flatten().flatten())));
    let numbers = classes.iter().cloned().zip(0..).collect();
    let (mut shown, mut places) = (Vec::new(), Vec::new());
    for (path, _, lists) in &listed {
        for (row, list) in lists.iter().enumerate() {
            let Some(list) = list else {
                places.push(false);
                continue;
            };
            let own = list.iter().map(|label| label.number(&numbers, classes.len(), path, row));
            let own = own.collect::<Result<Vec<u32>>>()?;
            shown.push(own.into_iter().filter(|&label| label != UNLABELLED).collect::<Vec<u32>>());
            places.push(true);
        }
    }
    let mean = shown.iter().map(Vec::len).sum::<usize>() as f64 / shown.len().max(1) as f64;
    listener(Event::Note(format!("an image may show several classes: {mean:.2} on average")));
    let (sets, labels) = LabelSets::number(shown);
    let (mut labels, mut places) = (labels.into_iter(), places.into_iter());
    let mut parts = Vec::new();
    for (path, columns, lists) in listed {
        let own = places.by_ref().take(lists.len());
        let labels: Vec<u32> =
            own.map(|there| if there { labels.next().unwrap_or(UNLABELLED) } else { UNLABELLED }).collect();
        parts.push(Part { path: path.clone(), name: file_name(path), split: split_of(path), columns, labels });
    }
    tell_unlabelled(&parts, listener);
    Ok((parts, classes, Some(sets)))
}

fn tell_unlabelled(parts: &[Part], listener: Listener) {
    let unlabelled = parts.iter().flat_map(|part| &part.labels).filter(|&&label| label == UNLABELLED).count();
    if unlabelled > 0 {
        listener(Event::Note(format!("left out {unlabelled} images without a label")));
    }
}

fn list_labels(opened: Vec<Opened>, listener: Listener) -> Result<(Vec<Part>, Vec<String>)> {
    let mut listed = Vec::new();
    let mut names: Option<Vec<String>> = None;
    for (path, features, columns) in opened {
        let labels = columns.read_labels(path, &open_file(path)?)?;
        names = names.or_else(|| features.class_names(&columns.label_name));
        listed.push((path, columns, labels));
    }
    let classes = match names {
        Some(names) => names,
        None => name_classes(listed.iter().flat_map(|(_, _, labels)| labels)),
    };
    let numbers = classes.iter().cloned().zip(0..).collect();
    let mut parts = Vec::new();
    for (path, columns, labels) in listed {
        let name = file_name(path);
        let number = |(row, label): (usize, &Label)| label.number(&numbers, classes.len(), path, row);
        let labels = labels.iter().enumerate().map(number).collect::<Result<Vec<u32>>>()?;
        parts.push(Part { path: path.clone(), name, split: split_of(path), columns, labels });
    }
    tell_unlabelled(&parts, listener);
    Ok((parts, classes))
}

/// Class names where the file gives none: the texts that stand as labels, or the numbers up to the largest.
fn name_classes<'a>(labels: impl Iterator<Item = &'a Label>) -> Vec<String> {
    let (mut texts, mut largest) = (Vec::new(), None);
    for label in labels {
        match label {
            Label::Text(text) => texts.push(text.to_string()),
            Label::Number(number) => largest = largest.max(Some(*number)),
            Label::None => {}
        }
    }
    match largest {
        // A hostile label must not take memory: beyond this the check of the range names it.
        Some(largest) if texts.is_empty() => (0..=largest.min(65_535)).map(|n| n.to_string()).collect(),
        _ => {
            texts.sort_unstable();
            texts.dedup();
            number_classes(texts).0
        }
    }
}

fn open_file(path: &Path) -> Result<SerializedFileReader<File>> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    let reader = guard(|| SerializedFileReader::new(file)).map_err(|error| damaged(path, &error))?;
    let chunks = reader.metadata().row_groups().iter().flat_map(|group| group.columns());
    match chunks.into_iter().all(|chunk| lies_within(chunk, length)) {
        true => Ok(reader),
        false => Err(damaged(path, &"a column lies outside the file")),
    }
}

/// Whether a column's place makes sense: the reader takes it for granted.
fn lies_within(chunk: &ColumnChunkMetaData, length: u64) -> bool {
    let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
    let (start, size) = (u64::try_from(start), u64::try_from(chunk.compressed_size()));
    matches!((start, size), (Ok(start), Ok(size)) if start.checked_add(size).is_some_and(|end| end <= length))
}

/// Turns a panic of the reader on a hostile file into an error.
fn guard<T>(read: impl FnOnce() -> ParquetResult<T>) -> ParquetResult<T> {
    panic::catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(ParquetError::General("its contents make no sense".to_owned())))
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::damaged(path, error.to_string(), "fetch the file again")
}
