//! An inspection as lines for a terminal.

use std::fmt::{self, Write};

use super::{ClassCounts, DuplicatePair, Inspection, Several};
use crate::data::Split;

/// Unreadable files that are named.
const SHOWN_FILES: usize = 10;

impl Inspection {
    /// The findings as aligned lines.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let _ = self.write(&mut text); // a String takes everything
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "{}: {} images in {} classes, from {}",
            self.name,
            self.images,
            self.classes.len(),
            self.location
        )?;
        if let Some(Several { mean, most, without, sets }) = &self.several {
            writeln!(
                out,
                "labels: several an image, {mean:.2} on average, {most} at most; {without} images without; {sets} sets of classes"
            )?;
        }
        writeln!(out, "splits: {}\n", self.splits)?;
        self.write_classes(out)?;
        self.write_images(out)?;
        self.write_unreadable(out)?;
        self.write_duplicates(out)?;
        for (kind, lines) in [("note", &self.notes), ("warning", &self.warnings)] {
            for line in lines {
                writeln!(out, "{kind}: {line}")?;
            }
        }
        Ok(())
    }

    fn write_classes(&self, out: &mut String) -> fmt::Result {
        let rows = || self.classes.iter().chain([&self.total]);
        let name_width = rows().map(|row| columns(&row.name)).max().unwrap_or(0).max("class".len());
        let sum = |row: &ClassCounts| row.train + row.validation + row.test;
        let heads = ["train", "validation", "test", "all"];
        writeln!(
            out,
            "{}  {:>8}  {:>10}  {:>8}  {:>8}",
            pad("class", name_width),
            heads[0],
            heads[1],
            heads[2],
            heads[3]
        )?;
        for row in rows() {
            let name = pad(&row.name, name_width);
            writeln!(out, "{name}  {:>8}  {:>10}  {:>8}  {:>8}", row.train, row.validation, row.test, sum(row))?;
        }
        writeln!(out)
    }

    fn write_images(&self, out: &mut String) -> fmt::Result {
        let size = |[height, width]: [usize; 2]| format!("{width}×{height}");
        match &self.sizes {
            None => {}
            Some(sizes) if sizes.uniform => writeln!(out, "size     all {} (width×height)", size(sizes.median))?,
            Some(sizes) => writeln!(
                out,
                "size     smallest {}, median {}, largest {} (width×height)",
                size(sizes.smallest),
                size(sizes.median),
                size(sizes.largest)
            )?,
        }
        writeln!(out, "colour   {} in colour, {} grey", self.colours.colour, self.colours.grey)?;
        let formats = self.formats.iter().map(|(format, count)| format!("{count} {format}"));
        writeln!(out, "format   {}", formats.collect::<Vec<_>>().join(", "))
    }

    fn write_unreadable(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "\nunreadable: {}", self.unreadable.len())?;
        for image in self.unreadable.iter().take(SHOWN_FILES) {
            writeln!(out, "  {}: {}", image.name, image.reason)?;
        }
        write_rest(out, self.unreadable.len(), SHOWN_FILES)
    }

    fn write_duplicates(&self, out: &mut String) -> fmt::Result {
        let found = &self.duplicates;
        write!(out, "\ncopies of an earlier image: {}", found.copies)?;
        if found.copies > 0 {
            write!(out, " ({} across splits, {} with another label)", found.across_splits, found.other_label)?;
        }
        writeln!(out)?;
        for pair in &found.pairs {
            writeln!(out, "  {}", describe_pair(pair))?;
        }
        write_rest(out, found.copies, found.pairs.len())?;
        writeln!(out)
    }
}

fn describe_pair(pair: &DuplicatePair) -> String {
    let place = |(split, class): &(Option<Split>, String)| match split {
        Some(split) => format!("{split}, {class}"),
        None => class.clone(),
    };
    let (first, second) = (place(&pair.first_in), place(&pair.second_in));
    format!("{} ({first}) = {} ({second})", pair.first, pair.second)
}

fn write_rest(out: &mut String, all: usize, shown: usize) -> fmt::Result {
    if all > shown { writeln!(out, "  ... and {} more", all - shown) } else { Ok(()) }
}

fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// Columns that a text takes on a terminal: two for a Chinese, Japanese or Korean character.
fn columns(text: &str) -> usize {
    let is_wide = |c: char| matches!(c, '\u{1100}'..='\u{115F}' | '\u{2E80}'..='\u{A4CF}' | '\u{AC00}'..='\u{D7A3}' | '\u{F900}'..='\u{FAFF}' | '\u{FE30}'..='\u{FE6F}' | '\u{FF00}'..='\u{FF60}' | '\u{1F300}'..='\u{1FAFF}' | '\u{20000}'..='\u{3FFFD}');
    text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum()
}
