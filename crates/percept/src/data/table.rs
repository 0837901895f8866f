//! A CSV of file names and labels.

use std::path::Path;

use super::{
    Source,
    folder::{self, Entry, split_named},
};
use crate::{Error, Result};

/// Opens a CSV with the columns `file_name` and `label`, and perhaps `split`; paths are relative to the CSV.
///
/// # Errors
/// A missing column or file, or an unknown split, with the row's number.
pub(super) fn open(path: &Path) -> Result<Source> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let text = text.trim_start_matches('\u{feff}');
    let header = text.lines().next().unwrap_or_default();
    let delimiter = [b'\t', b';', b','].into_iter().find(|&d| header.contains(char::from(d))).unwrap_or(b',');
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).trim(csv::Trim::All).from_reader(text.as_bytes());
    let damaged = |error: csv::Error| Error::damaged(path, error.to_string(), "correct the row, or quote its fields");
    let names: Vec<String> = reader.headers().map_err(damaged)?.iter().map(str::to_lowercase).collect();
    let column = |wanted: &[&str]| names.iter().position(|name| wanted.contains(&name.as_str()));
    let (Some(file), Some(label)) =
        (column(&["file_name", "filename", "file", "image", "path"]), column(&["label", "class"]))
    else {
        return Err(Error::invalid(
            format!("{} has the columns {}", path.display(), names.join(", ")),
            "name two of them file_name and label in the first row",
        ));
    };
    let split = column(&["split"]);
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut entries = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(damaged)?;
        let row = index + 2;
        let name = record.get(file).unwrap_or_default();
        let class = record.get(label).unwrap_or_default();
        if name.is_empty() || class.is_empty() {
            return Err(Error::invalid(
                format!("row {row} of {} has no file name or no label", path.display()),
                "fill it in, or delete the row",
            ));
        }
        let image = folder.join(name);
        if !image.is_file() {
            return Err(Error::missing(
                format!("row {row} of {} names {name}, which is not there", path.display()),
                format!(
                    "paths are relative to {}",
                    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }.display()
                ),
            ));
        }
        let split = match split.and_then(|column| record.get(column)).unwrap_or_default() {
            "" => None,
            text => Some(split_named(text).ok_or_else(|| {
                Error::invalid(
                    format!("row {row} of {} has the split \"{text}\"", path.display()),
                    "use train, validation or test",
                )
            })?),
        };
        entries.push(Entry { name: name.into(), path: image, class: class.into(), split });
    }
    if entries.is_empty() {
        return Err(Error::invalid(format!("{} has no rows", path.display()), "add a row an image below the first"));
    }
    folder::source(path, entries)
}
