//! The rows of Parquet files, one after another, without holding more than a page of pictures in memory.

use std::{fs::File, path::Component, path::Path, sync::Arc};

use ::parquet::{
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::{ByteArray, ByteArrayType},
    errors::{ParquetError, Result as ParquetResult},
    file::{reader::FileReader, serialized_reader::SerializedFileReader},
};

use super::{
    super::{Picture, Sample},
    Part, UNLABELLED, damaged, guard, open_file,
};
use crate::Result;

/// An iterator over all labelled rows; skipping reads nothing.
pub(super) struct Rows {
    parts: Arc<Vec<Part>>,
    part: usize,
    /// The next row of that part to look at.
    row: usize,
    left: usize,
    open: Option<OpenFile>,
    failed: bool,
}

/// A file, and the row group in it that is being read.
struct OpenFile {
    part: usize,
    reader: SerializedFileReader<File>,
    /// First row of each row group, and the number of all rows.
    starts: Vec<usize>,
    group: Option<OpenGroup>,
}

struct OpenGroup {
    index: usize,
    /// The row that the columns stand at, counted in the file.
    row: usize,
    bytes: TextColumn,
    path: Option<TextColumn>,
}

struct TextColumn {
    reader: ColumnReaderImpl<ByteArrayType>,
    present: i16,
}

impl Rows {
    pub(super) fn new(parts: Arc<Vec<Part>>) -> Self {
        let labelled = |part: &Part| part.labels.iter().filter(|&&label| label != UNLABELLED).count();
        let left = parts.iter().map(labelled).sum();
        Self { parts, part: 0, row: 0, left, open: None, failed: false }
    }

    /// Moves on to the next labelled row and returns where it is.
    fn advance(&mut self) -> Option<(usize, usize)> {
        while let Some(part) = self.parts.get(self.part) {
            if let Some(ahead) = part.labels[self.row..].iter().position(|&label| label != UNLABELLED) {
                let row = self.row + ahead;
                self.row = row + 1;
                self.left -= 1;
                return Some((self.part, row));
            }
            self.part += 1;
            self.row = 0;
        }
        None
    }

    fn read(&mut self, index: usize, row: usize) -> Result<Sample> {
        let part = &self.parts[index];
        if self.open.as_ref().is_none_or(|open| open.part != index) {
            self.open = Some(OpenFile::new(index, open_file(&part.path)?));
        }
        let open = self.open.as_mut().ok_or_else(|| damaged(&part.path, &"it could not be opened"))?;
        let (bytes, path) = guard(|| open.read(part, row)).map_err(|error| damaged(&part.path, &error))?;
        Ok(Sample {
            name: format!("{}#{row}", part.name),
            label: part.labels[row],
            split: part.split,
            picture: picture(&part.path, bytes, path),
        })
    }
}

impl Iterator for Rows {
    type Item = Result<Sample>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let (part, row) = self.advance()?;
        let sample = self.read(part, row);
        self.failed = sample.is_err();
        Some(sample)
    }

    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        for _ in 0..n {
            self.advance()?;
        }
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// The picture inside the file, or else the file beside it that it names: never one outside its folder.
fn picture(file: &Path, bytes: Option<ByteArray>, path: Option<ByteArray>) -> Picture {
    if let Some(bytes) = bytes {
        return Picture::Encoded(bytes.data().to_vec());
    }
    let path = path.map(|path| String::from_utf8_lossy(path.data()).into_owned()).unwrap_or_default();
    let inside = !path.is_empty() && Path::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
    match file.parent() {
        Some(folder) if inside => Picture::File(folder.join(path)),
        _ => Picture::Encoded(Vec::new()),
    }
}

impl OpenFile {
    fn new(part: usize, reader: SerializedFileReader<File>) -> Self {
        let mut starts = vec![0];
        for group in reader.metadata().row_groups() {
            starts.push(starts[starts.len() - 1] + usize::try_from(group.num_rows()).unwrap_or(0));
        }
        Self { part, reader, starts, group: None }
    }

    /// The bytes and the path of a row that is not behind.
    fn read(&mut self, part: &Part, row: usize) -> ParquetResult<(Option<ByteArray>, Option<ByteArray>)> {
        let index = self.starts.partition_point(|&start| start <= row) - 1;
        if self.group.as_ref().is_none_or(|group| group.index != index) {
            let group = self.reader.get_row_group(index)?;
            let column = |leaf: usize| TextColumn::new(group.get_column_reader(leaf)?, &self.reader, leaf);
            self.group = Some(OpenGroup {
                index,
                row: self.starts[index],
                bytes: column(part.columns.bytes)?,
                path: part.columns.path.map(column).transpose()?,
            });
        }
        let group = self.group.as_mut().ok_or_else(|| ParquetError::General("no row group".to_owned()))?;
        let ahead = row - group.row;
        group.row = row + 1;
        let bytes = group.bytes.read_after(ahead)?;
        Ok((bytes, group.path.as_mut().map(|path| path.read_after(ahead)).transpose()?.flatten()))
    }
}

impl TextColumn {
    fn new(reader: ColumnReader, file: &SerializedFileReader<File>, leaf: usize) -> ParquetResult<Self> {
        let present = file.metadata().file_metadata().schema_descr().column(leaf).max_def_level();
        match reader {
            ColumnReader::ByteArrayColumnReader(reader) => Ok(Self { reader, present }),
            _ => Err(ParquetError::General("a column of images holds no bytes".to_owned())),
        }
    }

    /// Skips some rows and reads one.
    fn read_after(&mut self, rows: usize) -> ParquetResult<Option<ByteArray>> {
        let skipped = if rows > 0 { self.reader.skip_records(rows)? } else { 0 };
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let (records, _, _) = self.reader.read_records(1, Some(&mut levels), None, &mut values)?;
        if skipped != rows || records != 1 {
            return Err(ParquetError::General("a column has fewer rows than the file says".to_owned()));
        }
        let is_present = levels.first().is_none_or(|&level| level == self.present);
        Ok(if is_present { values.pop() } else { None })
    }
}
