//! Which columns of a Parquet file hold images and labels, and the labels themselves.

use std::{collections::HashMap, fs::File, path::Path, sync::Arc};

use ::parquet::{
    basic::Type,
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::DataType,
    errors::Result as ParquetResult,
    file::{metadata::FileMetaData, reader::FileReader, serialized_reader::SerializedFileReader},
};
use serde_json::Value;

use super::{
    UNLABELLED, damaged, guard,
    lists::{Levels, List},
};
use crate::{Error, Result};

const IMAGE_NAMES: [&str; 2] = ["image", "img"];
const LABEL_NAMES: [&str; 3] = ["label", "labels", "fine_label"];
const LIST_NAMES: [&str; 3] = ["labels", "label", "tags"];

/// What Hugging Face's `datasets` writes about the columns: `info.features` of the key "huggingface".
pub(super) struct Features(serde_json::Map<String, Value>);

impl Features {
    pub(super) fn read(metadata: &FileMetaData) -> Self {
        let entry = metadata.key_value_metadata().into_iter().flatten().find(|entry| entry.key == "huggingface");
        let parsed = || serde_json::from_str::<Value>(entry?.value.as_ref()?).ok();
        let features = parsed().and_then(|value| value.pointer("/info/features").and_then(Value::as_object).cloned());
        Self(features.unwrap_or_default())
    }

    /// The first of some names, or else any column, that is declared to be of a kind.
    fn of_kind<'a>(&'a self, kind: &str, preferred: &[&'a str]) -> Option<&'a str> {
        let is_kind = |name: &str| self.0.get(name).and_then(|f| f.get("_type")).and_then(Value::as_str) == Some(kind);
        let preferred = preferred.iter().copied().find(|name| is_kind(name));
        preferred.or_else(|| self.0.keys().map(String::as_str).find(|name| is_kind(name)))
    }

    pub(super) fn class_names(&self, column: &str) -> Option<Vec<String>> {
        let feature = self.0.get(column)?;
        // A list's feature stands inside: `[feature]`, or `{"_type": "Sequence", "feature": feature}`.
        let feature = feature.get(0).or_else(|| feature.get("feature")).unwrap_or(feature);
        let names = feature.get("names")?.as_array()?;
        let names: Vec<String> = names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
        (!names.is_empty()).then_some(names)
    }
}

/// Where images and labels stand, as indices of leaf columns.
pub(super) struct Columns {
    /// The encoded picture.
    pub bytes: usize,
    /// The path of its file, for pictures that are not inside.
    pub path: Option<usize>,
    label: usize,
    pub label_name: String,
    /// Where the labels are lists.
    lists: Option<Levels>,
}

impl Columns {
    pub(super) fn find(file: &Path, metadata: &FileMetaData, features: &Features) -> Result<Self> {
        let schema = metadata.schema_descr();
        let leaves: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
        let plain = |index: usize| schema.column(index).max_rep_level() == 0;
        let find = |path: &str| leaves.iter().position(|leaf| leaf == path).filter(|&index| plain(index));
        let binary = |index: &usize| schema.column(*index).physical_type() == Type::BYTE_ARRAY;
        let candidates = |kind: &str, names: &'static [&'static str]| {
            features
                .of_kind(kind, names)
                .into_iter()
                .map(str::to_owned)
                .chain(names.iter().map(|&name| name.to_owned()))
        };
        let image = candidates("Image", &IMAGE_NAMES).find_map(|name| {
            let bytes = find(&format!("{name}.bytes")).or_else(|| find(&name)).filter(binary)?;
            Some((bytes, find(&format!("{name}.path")).filter(binary)))
        });
        let label = candidates("ClassLabel", &LABEL_NAMES).find_map(|name| Some((find(&name)?, name)));
        let list = |name: &&str| {
            let prefix = format!("{name}.");
            let index = leaves.iter().position(|leaf| leaf.starts_with(&prefix))?;
            Some((index, name.to_string(), Levels::of(&schema.column(index))?))
        };
        let list = LIST_NAMES.iter().find_map(list).filter(|_| label.is_none());
        let lists = list.as_ref().map(|(.., levels)| *levels);
        let label = label.or(list.map(|(index, name, _)| (index, name)));
        let lacking = match (&image, &label) {
            (None, _) => "images (image or img, with bytes)",
            (_, None) => "labels (label, labels or fine_label)",
            (Some((bytes, path)), Some((label, name))) => {
                return Ok(Self { bytes: *bytes, path: *path, label: *label, label_name: name.clone(), lists });
            }
        };
        Err(Error::invalid(
            format!("{} has no column of {lacking}; its columns are {}", file.display(), leaves.join(", ")),
            "rename the columns, or give a folder or a CSV table instead",
        ))
    }

    /// Whether labels are lists.
    pub(super) fn has_lists(&self) -> bool {
        self.lists.is_some()
    }

    /// The list of labels of every row; where labels are no lists, one that holds the label.
    pub(super) fn read_lists(&self, path: &Path, reader: &SerializedFileReader<File>) -> Result<Vec<List>> {
        match self.lists {
            Some(levels) => levels.read(path, reader, self.label),
            None => {
                let alone = |label| if let Label::None = label { None } else { Some(vec![label]) };
                Ok(self.read_labels(path, reader)?.into_iter().map(alone).collect())
            }
        }
    }

    /// The label of every row.
    pub(super) fn read_labels(&self, path: &Path, reader: &SerializedFileReader<File>) -> Result<Vec<Label>> {
        let mut labels = Vec::new();
        let mut texts = HashMap::new();
        for group in 0..reader.num_row_groups() {
            let read = || reader.get_row_group(group)?.get_column_reader(self.label);
            let rows = reader.metadata().row_group(group).num_rows();
            let rows = usize::try_from(rows).map_err(|_| damaged(path, &format!("a group of {rows} rows")))?;
            let read = guard(|| read_group(read()?, rows, &mut texts)).map_err(|error| damaged(path, &error))?;
            let Some(read) = read else {
                return Err(Error::invalid(
                    format!("the labels of {} are neither whole numbers nor text", path.display()),
                    "give a column of whole numbers, or of class names",
                ));
            };
            if read.len() != rows {
                return Err(damaged(path, &format!("row group {group} has {} labels, not {rows}", read.len())));
            }
            labels.extend(read);
        }
        Ok(labels)
    }
}

/// A label as it stands in the file.
#[derive(Clone)]
pub(super) enum Label {
    Number(u32),
    Text(Arc<str>),
    /// Null, or the -1 of unlabelled test sets.
    None,
}

impl Label {
    /// Its class.
    pub(super) fn number(
        &self,
        numbers: &HashMap<String, u32>,
        classes: usize,
        path: &Path,
        row: usize,
    ) -> Result<u32> {
        let number = match self {
            Self::None => return Ok(UNLABELLED),
            Self::Number(number) if (*number as usize) < classes => Some(*number),
            Self::Text(text) => numbers.get(&**text).copied(),
            Self::Number(_) => None,
        };
        let given = || match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => format!("\"{text}\""),
            Self::None => String::new(),
        };
        number.ok_or_else(|| {
            Error::invalid(
                format!("{}, row {row}: label {} is none of the {classes} classes", path.display(), given()),
                "correct the label, or the class names in the file's metadata",
            )
        })
    }
}

pub(super) fn number_of(value: i64) -> Label {
    if value < 0 { Label::None } else { Label::Number(value.min(i64::from(UNLABELLED)) as u32) }
}

/// Equal texts share their memory.
pub(super) fn text_of(bytes: &[u8], texts: &mut HashMap<String, Arc<str>>) -> Label {
    let shared = texts.entry(String::from_utf8_lossy(bytes).into_owned());
    let text = shared.or_insert_with_key(|text| Arc::from(text.as_str()));
    if text.is_empty() { Label::None } else { Label::Text(Arc::clone(text)) }
}

/// The labels of one row group; nothing where the column is of no kind that can hold labels.
fn read_group(
    column: ColumnReader,
    rows: usize,
    texts: &mut HashMap<String, Arc<str>>,
) -> ParquetResult<Option<Vec<Label>>> {
    Ok(Some(match column {
        ColumnReader::BoolColumnReader(column) => read_column(column, rows, |&value| number_of(i64::from(value)))?,
        ColumnReader::Int32ColumnReader(column) => read_column(column, rows, |&value| number_of(i64::from(value)))?,
        ColumnReader::Int64ColumnReader(column) => read_column(column, rows, |&value| number_of(value))?,
        ColumnReader::ByteArrayColumnReader(column) => read_column(column, rows, |value| text_of(value.data(), texts))?,
        _ => return Ok(None),
    }))
}

fn read_column<T: DataType>(
    mut column: ColumnReaderImpl<T>,
    rows: usize,
    mut label: impl FnMut(&T::T) -> Label,
) -> ParquetResult<Vec<Label>> {
    let mut labels = Vec::new();
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    while labels.len() < rows {
        values.clear();
        levels.clear();
        let wanted = (rows - labels.len()).min(8192);
        let (records, _, _) = column.read_records(wanted, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            break;
        }
        if levels.is_empty() {
            labels.extend(values.iter().map(&mut label));
            continue;
        }
        // A value stands for each row whose level is the highest; in a plain column that is 1.
        let mut values = values.iter();
        labels.extend(levels.iter().map(|&level| match level {
            0 => Label::None,
            _ => values.next().map_or(Label::None, &mut label),
        }));
    }
    Ok(labels)
}
