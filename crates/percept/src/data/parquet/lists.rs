//! Columns of lists of labels: an image may show several classes, or none. Knows how Parquet writes lists down, and nothing
//! of images.

use std::{collections::HashMap, fs::File, path::Path, sync::Arc};

use ::parquet::{
    basic::Repetition,
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::DataType,
    errors::Result as ParquetResult,
    file::{reader::FileReader, serialized_reader::SerializedFileReader},
    schema::types::ColumnDescriptor,
};

use super::{
    columns::{Label, number_of, text_of},
    damaged, guard,
};
use crate::{Error, Result};

/// The levels of a column of lists, which say where rows begin and what is there.
#[derive(Clone, Copy)]
pub(super) struct Levels {
    /// From this level on a list has an element.
    element: i16,
    /// At this level the element is there.
    present: i16,
}

/// What one row says: nothing where it has no list at all.
pub(super) type List = Option<Vec<Label>>;

impl Levels {
    /// Those of a column that holds lists, and no lists of lists.
    pub fn of(column: &ColumnDescriptor) -> Option<Self> {
        let present = column.max_def_level();
        let nullable = column.self_type().get_basic_info().repetition() == Repetition::OPTIONAL;
        (column.max_rep_level() == 1).then_some(Self { element: present - i16::from(nullable), present })
    }

    /// The list of every row.
    pub fn read(self, path: &Path, reader: &SerializedFileReader<File>, column: usize) -> Result<Vec<List>> {
        let mut lists = Vec::new();
        let mut texts = HashMap::new();
        for group in 0..reader.num_row_groups() {
            let rows = reader.metadata().row_group(group).num_rows();
            let rows = usize::try_from(rows).map_err(|_| damaged(path, &format!("a group of {rows} rows")))?;
            let open = || reader.get_row_group(group)?.get_column_reader(column);
            let read = guard(|| self.read_group(open()?, rows, &mut texts)).map_err(|error| damaged(path, &error))?;
            let Some(read) = read else {
                return Err(Error::invalid(
                    format!("the lists of labels of {} hold neither whole numbers nor text", path.display()),
                    "give lists of whole numbers, or of class names",
                ));
            };
            if read.len() != rows {
                return Err(damaged(path, &format!("row group {group} has {} lists, not {rows}", read.len())));
            }
            lists.extend(read);
        }
        Ok(lists)
    }

    fn read_group(
        self,
        column: ColumnReader,
        rows: usize,
        texts: &mut HashMap<String, Arc<str>>,
    ) -> ParquetResult<Option<Vec<List>>> {
        Ok(Some(match column {
            ColumnReader::Int32ColumnReader(column) => self.read_column(column, rows, |&v| number_of(i64::from(v)))?,
            ColumnReader::Int64ColumnReader(column) => self.read_column(column, rows, |&v| number_of(v))?,
            ColumnReader::ByteArrayColumnReader(column) => {
                self.read_column(column, rows, |value| text_of(value.data(), texts))?
            }
            _ => return Ok(None),
        }))
    }

    fn read_column<T: DataType>(
        self,
        mut column: ColumnReaderImpl<T>,
        rows: usize,
        mut label: impl FnMut(&T::T) -> Label,
    ) -> ParquetResult<Vec<List>> {
        let mut lists: Vec<List> = Vec::new();
        let (mut values, mut present, mut begins) = (Vec::new(), Vec::new(), Vec::new());
        while lists.len() < rows {
            values.clear();
            present.clear();
            begins.clear();
            let wanted = (rows - lists.len()).min(8192);
            let (records, _, _) = column.read_records(wanted, Some(&mut present), Some(&mut begins), &mut values)?;
            if records == 0 {
                break;
            }
            let mut values = values.iter();
            for (&level, &inside) in present.iter().zip(&begins) {
                if inside == 0 {
                    // Below the element's level by one the list is there and empty.
                    lists.push((level + 1 >= self.element).then(Vec::new));
                }
                if level == self.present
                    && let (Some(Some(list)), Some(value)) = (lists.last_mut(), values.next())
                {
                    list.push(label(value));
                }
            }
        }
        Ok(lists)
    }
}
