//! What the rows of a table say of their images: one class, several in one cell, or a column of 0 and 1 for each class.
//! Decides which of these it is, and says so where it decides that there are several.

use std::path::Path;

use csv::StringRecord;

use super::{
    super::{Event, LabelKind, LabelSets, Listener, source::number_classes},
    refuse,
};
use crate::Result;

/// What separates the classes in a cell. A comma does only where several are asked for: names hold commas, too.
const SEPARATORS: [char; 2] = ['|', ';'];

/// Where a table's labels stand.
pub(super) enum Form {
    /// In one column.
    Names(usize),
    /// In a column for each class.
    Indicators(Vec<(usize, String)>),
}

/// What one row says.
pub(super) enum Said {
    Names(String),
    /// Places of the classes among the columns.
    Shown(Vec<u32>),
}

/// A row's number, as a spreadsheet counts, its file, and what it says.
pub(super) type Line<'a> = (usize, &'a str, &'a Said);

/// The classes of a table, the label of each row, and the sets that labels are places in, where there are such.
pub(super) struct Understood {
    pub classes: Vec<String>,
    pub labels: Vec<u32>,
    pub sets: Option<LabelSets>,
}

impl Form {
    /// Whether these columns hold 0 and 1: they do if most of the first row's cells are such, so that a wrong one is named.
    pub fn indicators(columns: Vec<(usize, String)>, first: &StringRecord) -> Option<Self> {
        let fits = columns.iter().filter(|(column, _)| first.get(*column).and_then(indicator).is_some()).count();
        (fits > columns.len() / 2).then_some(Self::Indicators(columns))
    }

    pub fn read(&self, path: &Path, number: usize, record: &StringRecord) -> Result<Said> {
        match self {
            Self::Names(column) => Ok(Said::Names(record.get(*column).unwrap_or_default().trim().to_owned())),
            Self::Indicators(columns) => {
                let mut shown = Vec::new();
                for (class, (column, name)) in (0..).zip(columns) {
                    let cell = record.get(*column).unwrap_or_default();
                    match indicator(cell) {
                        Some(true) => shown.push(class),
                        Some(false) => {}
                        None => {
                            let what = format!("\"{}\" in column \"{name}\" is neither 0 nor 1", cell.trim());
                            return Err(refuse(path, number, &what, INDICATORS));
                        }
                    }
                }
                Ok(Said::Shown(shown))
            }
        }
    }

    /// Whether cells beyond the header's may be labels that their separator parted.
    pub fn ends_with(&self, column: usize) -> bool {
        matches!(self, Self::Names(names) if *names == column)
    }

    /// Decides whether classes exclude each other, where `kind` leaves it open, and numbers them.
    pub fn understand(
        &self,
        path: &Path,
        rows: &[Line],
        kind: Option<LabelKind>,
        listener: Listener,
    ) -> Result<Understood> {
        match self {
            Self::Names(_) => understand_names(path, rows, kind, listener),
            Self::Indicators(columns) => understand_indicators(path, columns, rows, kind, listener),
        }
    }
}

const INDICATORS: &str = "a column for a class holds 1 where the image shows it and 0 where not: correct the value, or \
                          take out columns that are no classes";

fn indicator(cell: &str) -> Option<bool> {
    match cell.trim().to_ascii_lowercase().as_str() {
        "1" | "1.0" | "true" => Some(true),
        "0" | "0.0" | "false" => Some(false),
        _ => None,
    }
}

fn understand_names(path: &Path, rows: &[Line], kind: Option<LabelKind>, listener: Listener) -> Result<Understood> {
    let cells = || rows.iter().map(|&(number, file, said)| (number, file, said.text()));
    let separator = separator(path, rows, kind)?;
    if kind != Some(LabelKind::Several) && separator.is_none() {
        if let Some((number, file, _)) = cells().find(|(.., cell)| cell.is_empty()) {
            let hint = "write its class, or remove the row; --labels several if images may show nothing";
            return Err(refuse(path, number, &format!("{file} has no label"), hint));
        }
        let (classes, labels) = number_classes(cells().map(|(.., cell)| cell.to_owned()));
        let labels = cells().map(|(.., cell)| labels[cell]).collect();
        return Ok(Understood { classes, labels, sets: None });
    }
    let parts = |cell: &str| -> Vec<String> {
        let parts = cell.split(|c| Some(c) == separator).map(str::trim);
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let (classes, numbers) = number_classes(cells().flat_map(|(.., cell)| parts(cell)));
    // A class that is named twice is there once.
    let set = |cell: &str| {
        let mut set: Vec<u32> = parts(cell).iter().map(|part| numbers[part]).collect();
        set.sort_unstable();
        set.dedup();
        set
    };
    let shown: Vec<Vec<u32>> = cells().map(|(.., cell)| set(cell)).collect();
    let example = cells().map(|(.., cell)| cell).find(|cell| separator.is_some_and(|by| cell.contains(by)));
    let doubt = match (kind, separator, example) {
        (None, Some(by), Some(cell)) => {
            format!("; labels are separated by {by}: pass --labels one if \"{cell}\" is one class")
        }
        _ => String::new(),
    };
    listener(Event::Note(describe(&shown) + &doubt));
    let (sets, labels) = LabelSets::number(shown);
    Ok(Understood { classes, labels, sets: Some(sets) })
}

/// What separates the classes in the cells; nothing where each holds one. Two separators in one table are a mistake.
fn separator(path: &Path, rows: &[Line], kind: Option<LabelKind>) -> Result<Option<char>> {
    if kind == Some(LabelKind::One) {
        return Ok(None);
    }
    let first = |by: char| rows.iter().find(|(.., said)| said.text().contains(by));
    if let [Some((one, _, by_bar)), Some((other, _, by_semicolon))] = SEPARATORS.map(first) {
        let cells = [(one, by_bar), (other, by_semicolon)];
        let [(early, _), (late, cell)] = if one <= other { cells } else { [cells[1], cells[0]] };
        let what = format!("\"{}\" is not separated as the labels of row {early}", cell.text());
        let hint = "separate labels by | everywhere, or by ;, and by --labels one say that neither separates anything";
        return Err(refuse(path, *late, &what, hint));
    }
    let comma = [','].into_iter().filter(|_| kind == Some(LabelKind::Several));
    Ok(SEPARATORS.into_iter().chain(comma).find(|&by| first(by).is_some()))
}

fn understand_indicators(
    path: &Path,
    columns: &[(usize, String)],
    rows: &[Line],
    kind: Option<LabelKind>,
    listener: Listener,
) -> Result<Understood> {
    let (classes, numbers) = number_classes(columns.iter().map(|(_, name)| name.clone()));
    if classes.len() < columns.len() {
        let twice =
            columns.iter().enumerate().find(|(place, (_, name))| columns[..*place].iter().any(|c| &c.1 == name));
        let name = twice.map_or("", |(_, (_, name))| name);
        return Err(refuse(path, 1, &format!("two columns are called \"{name}\""), "give each class one column"));
    }
    let number = |&(_, _, said): &Line| -> Vec<u32> {
        let Said::Shown(shown) = said else { return Vec::new() };
        shown.iter().map(|&place| numbers[&columns[place as usize].1]).collect()
    };
    let shown: Vec<Vec<u32>> = rows.iter().map(number).collect();
    let other = shown.iter().position(|set| set.len() != 1);
    match (kind, other) {
        (Some(LabelKind::One), Some(place)) => {
            let (number, file, _) = rows[place];
            let what = format!("{file} has {} classes", shown[place].len());
            return Err(refuse(path, number, &what, "mark one class in each row, or pass --labels several"));
        }
        (None | Some(LabelKind::One), None) => {
            if kind.is_none() {
                listener(Event::Note(
                    "each row marks one class, so classes exclude each other; pass --labels several if they do not"
                        .into(),
                ));
            }
            let labels = shown.iter().flatten().copied().collect();
            return Ok(Understood { classes, labels, sets: None });
        }
        _ => {}
    }
    listener(Event::Note(describe(&shown)));
    let (sets, labels) = LabelSets::number(shown);
    Ok(Understood { classes, labels, sets: Some(sets) })
}

fn describe(shown: &[Vec<u32>]) -> String {
    let mean = shown.iter().map(Vec::len).sum::<usize>() as f64 / shown.len().max(1) as f64;
    let without = shown.iter().filter(|set| set.is_empty()).count();
    let none = if without > 0 { format!(", {without} of {} images show none", shown.len()) } else { String::new() };
    format!("an image may show several classes: {mean:.2} on average{none}")
}

impl Said {
    fn text(&self) -> &str {
        match self {
            Self::Names(text) => text,
            Self::Shown(_) => "",
        }
    }
}
