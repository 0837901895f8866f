//! A table of files and labels: CSV or TSV, with a header, paths relative to the table.

mod labels;

use std::{
    fs,
    path::{Path, PathBuf},
};

use csv::StringRecord;
use rayon::prelude::*;

use self::labels::{Form, Line, Said, Understood};
use super::{
    BadImages, DatasetConfig, Event, Listener, Source, Split,
    folder::{ListedFile, Stamp, identify, serve, stamp},
    source::{and_more, check_classes, name_of},
};
use crate::{Error, Result};

/// Names of columns, the best first; spelled in any capitalisation, with spaces or hyphens for underscores.
const FILE_COLUMNS: [&str; 9] =
    ["file_name", "filename", "file", "image_path", "filepath", "file_path", "path", "image", "img"];
const LABEL_COLUMNS: [&str; 6] = ["label", "class", "class_name", "category", "labels", "tags"];
const SPLIT_COLUMNS: [&str; 1] = ["split"];
const LAYOUT: &str = "the first line must name the columns: file_name,label and, if there is one, split; for several \
                      labels an image, separate them by |, or give each class a column of 0 and 1";

/// Opens a table of files and labels.
pub(super) fn open(path: &Path, config: &DatasetConfig, listener: Listener) -> Result<Source> {
    let (rows, form) = read_rows(path)?;
    let lines: Vec<Line> = rows.iter().map(|row| (row.number, row.file.as_str(), &row.said)).collect();
    let Understood { classes, labels, sets } = form.understand(path, &lines, config.labels, listener)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let located: Vec<_> = rows.par_iter().map(|row| locate(folder, &row.file)).collect();
    let missing: Vec<&Row> =
        rows.iter().zip(&located).filter(|(_, (_, stamp))| stamp.is_none()).map(|(row, _)| row).collect();
    check_missing(path, &missing, rows.len(), config, listener)?;
    let files: Vec<ListedFile> = rows
        .iter()
        .zip(located)
        .zip(labels)
        .map(|((row, (path, stamp)), label)| ListedFile {
            name: if stamp.is_some() { row.file.clone() } else { format!("{} (row {})", row.file, row.number) },
            path,
            label,
            split: row.split,
            stamp: stamp.unwrap_or_default(),
        })
        .collect();
    let listed = files.iter().map(|file| (file.label, file.split));
    check_classes(path, &classes, sets.as_ref(), listed, config, listener)?;
    Ok(Source {
        name: name_of(path),
        location: path.display().to_string(),
        classes,
        sets,
        channels: 3,
        identity: identify(path, &files),
        mirrors: true,
        samples: serve(files),
    })
}

/// One line of a table.
struct Row {
    /// As a spreadsheet counts: the header is row 1.
    number: usize,
    file: String,
    said: Said,
    split: Option<Split>,
}

fn read_rows(path: &Path) -> Result<(Vec<Row>, Form)> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let text = decode_text(path, &bytes)?;
    let (columns, delimiter) = Columns::find(path, text)?;
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
    let mut rows = Vec::new();
    for (number, record) in (2..).zip(reader.records()) {
        let record = record.map_err(|error| refuse(path, number, &error.to_string(), LAYOUT))?;
        rows.push(columns.read(path, number, &record)?);
    }
    if rows.is_empty() {
        return Err(Error::invalid(format!("{} names no image", path.display()), LAYOUT));
    }
    if rows.iter().any(|row| row.split.is_some()) {
        rows.iter_mut().for_each(|row| row.split = row.split.or(Some(Split::Train)));
    }
    Ok((rows, columns.form))
}

/// The text without the mark that some programs put before it.
fn decode_text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        Error::damaged(path, format!("line {line} is not UTF-8 text"), "save the table as CSV in UTF-8")
    })
}

fn refuse(path: &Path, row: usize, what: &str, hint: &str) -> Error {
    Error::invalid(format!("{}, row {row}: {what}", path.display()), hint)
}

/// Where the columns stand.
struct Columns {
    file: usize,
    form: Form,
    split: Option<usize>,
    /// How many there are.
    count: usize,
}

impl Columns {
    /// Tries one delimiter after another on the header.
    fn find(path: &Path, text: &str) -> Result<(Self, u8)> {
        for delimiter in *b",;\t" {
            let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
            let Ok(header) = reader.headers() else { continue };
            let own: Vec<String> = header.iter().map(|column| column.trim().to_owned()).collect();
            let header: Vec<String> = header.iter().map(normalise).collect();
            let find = |names: &[&str]| names.iter().find_map(|name| header.iter().position(|column| column == name));
            let Some(file) = find(&FILE_COLUMNS) else { continue };
            let (split, count) = (find(&SPLIT_COLUMNS), header.len());
            let form = find(&LABEL_COLUMNS).map(Form::Names).or_else(|| {
                let others = own
                    .into_iter()
                    .enumerate()
                    .filter(|(column, name)| *column != file && Some(*column) != split && !name.is_empty());
                Form::indicators(others.collect(), &reader.records().next()?.ok()?)
            });
            if let Some(form) = form {
                return Ok((Self { file, form, split, count }, delimiter));
            }
        }
        let header: String = text.lines().next().unwrap_or_default().chars().take(100).collect();
        let place = path.display();
        Err(Error::invalid(format!("{place} has no columns for files and labels: it begins \"{header}\""), LAYOUT))
    }

    fn read(&self, path: &Path, number: usize, record: &StringRecord) -> Result<Row> {
        let cell = |column: usize| record.get(column).unwrap_or_default().trim().to_owned();
        let file = cell(self.file);
        if file.is_empty() {
            return Err(refuse(path, number, "there is no file name", LAYOUT));
        }
        let beyond = record.iter().skip(self.count).any(|cell| !cell.trim().is_empty());
        if beyond && self.form.ends_with(self.count - 1) {
            let what = format!("it has {} cells, but there are {} columns", record.len(), self.count);
            let hint =
                "several labels stand in one cell: separate them by |, as in cat|dog, or put the cell into quotes";
            return Err(refuse(path, number, &what, hint));
        }
        let said = self.form.read(path, number, record)?;
        let split = match self.split.map(cell).unwrap_or_default() {
            word if word.is_empty() => None,
            word => Some(Split::from_word(&word).ok_or_else(|| {
                let hint = "write train, validation or test, or leave it empty for train";
                refuse(path, number, &format!("\"{word}\" is not a split"), hint)
            })?),
        };
        Ok(Row { number, file, said, split })
    }
}

fn normalise(column: &str) -> String {
    column.trim().to_lowercase().replace([' ', '-'], "_")
}

/// Where a file is, and its length and time; nothing for those if it is not there. A table written on Windows
/// works elsewhere too.
fn locate(folder: &Path, file: &str) -> (PathBuf, Option<Stamp>) {
    let look = |name: &str| {
        let path = folder.join(name);
        let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file);
        (path, metadata.as_ref().map(stamp))
    };
    match look(file) {
        (_, None) if file.contains('\\') => look(&file.replace('\\', "/")),
        found => found,
    }
}

fn check_missing(path: &Path, missing: &[&Row], rows: usize, config: &DatasetConfig, listener: Listener) -> Result<()> {
    let Some(first) = missing.first() else { return Ok(()) };
    let what = format!("there is no file {}{}", first.file, and_more(missing.len()));
    if missing.len() == rows || config.bad_images == BadImages::Fail {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let hint = format!("paths count from the table's own folder, {}", folder.display());
        return Err(refuse(path, first.number, &what, &hint));
    }
    listener(Event::Note(format!("{}, row {}: {what}", path.display(), first.number)));
    Ok(())
}
