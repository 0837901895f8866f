//! What a source holds, for people and programs: splits, classes, sizes, unreadable files, duplicates.

use std::{collections::HashMap, fmt::Write};

use serde::Serialize;

use super::{Dataset, DatasetConfig, Listener, Source, Split, UnreadableImage, probe};
use crate::Result;

/// Duplicates that are named; all are counted.
const NAMED: usize = 10;

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The data's name.
    pub name: String,
    /// Where it is.
    pub location: String,
    /// How the splits came about.
    pub splits: String,
    /// Median height and width before images are brought to one size.
    pub median_size: [usize; 2],
    /// Whether all images have that size.
    pub one_size: bool,
    /// Images of each class.
    pub classes: Vec<ClassCounts>,
    /// Files that cannot be read.
    pub unreadable: Vec<UnreadableImage>,
    /// Images whose content is there more than once.
    pub duplicates: usize,
    /// Copies that lie in different splits.
    pub across_splits: usize,
    /// Copies with different labels.
    pub across_labels: usize,
    /// Some of the copies, by name.
    pub examples: Vec<[String; 2]>,
}

/// Images of one class.
#[derive(Clone, Debug, Serialize)]
pub struct ClassCounts {
    /// The class.
    pub class: String,
    /// In training.
    pub train: usize,
    /// In validation.
    pub validation: usize,
    /// In the test.
    pub test: usize,
}

/// Looks at every image of a source.
///
/// # Errors
/// See [`Dataset::from_source`].
pub fn inspect(config: &DatasetConfig, listener: Listener) -> Result<Inspection> {
    let source = Source::open(config, listener)?;
    let seen = probe(&source)?;
    let location = source.location.clone();
    let mut config = config.clone();
    if config.image_size.is_none() && !seen.uniform {
        // Only contents and counts matter here: any size does.
        config.image_size = Some([32, 32]);
    }
    let dataset = Dataset::from_source(source, &config, listener)?;
    let counts = [Split::Train, Split::Validation, Split::Test].map(|split| dataset.class_counts(split));
    let classes = dataset.classes.iter().enumerate().map(|(index, class)| ClassCounts {
        class: class.clone(),
        train: counts[0][index],
        validation: counts[1][index],
        test: counts[2][index],
    });
    let mut inspection = Inspection {
        name: dataset.name.clone(),
        location,
        splits: dataset.splits_note.clone(),
        median_size: [seen.height, seen.width],
        one_size: seen.uniform,
        classes: classes.collect(),
        unreadable: dataset.unreadable.clone(),
        duplicates: 0,
        across_splits: 0,
        across_labels: 0,
        examples: Vec::new(),
    };
    find_copies(&dataset, &mut inspection);
    Ok(inspection)
}

fn find_copies(dataset: &Dataset, found: &mut Inspection) {
    let mut split_of = vec![Split::Train; dataset.labels.len()];
    for split in [Split::Validation, Split::Test] {
        dataset.split(split).iter().for_each(|&index| split_of[index as usize] = split);
    }
    let mut first = HashMap::new();
    for (index, &hash) in dataset.hashes.iter().enumerate() {
        let other = *first.entry(hash).or_insert(index);
        if other == index {
            continue;
        }
        found.duplicates += 1;
        found.across_splits += usize::from(split_of[other] != split_of[index]);
        found.across_labels += usize::from(dataset.labels[other] != dataset.labels[index]);
        if found.examples.len() < NAMED {
            found.examples.push([dataset.names[other].clone(), dataset.names[index].clone()]);
        }
    }
}

impl Inspection {
    /// The same for a terminal.
    pub fn to_text(&self) -> String {
        let mut text = format!("{} at {}\n{}\n", self.name, self.location, self.splits);
        let [height, width] = self.median_size;
        let size = if self.one_size { "all images are" } else { "the median image is" };
        _ = writeln!(text, "{size} {height}x{width}\n");
        let longest = self.classes.iter().map(|c| c.class.chars().count()).max().unwrap_or(0).max(5);
        _ = writeln!(text, "{:<longest$} {:>8} {:>11} {:>8}", "class", "train", "validation", "test");
        for ClassCounts { class, train, validation, test } in &self.classes {
            _ = writeln!(text, "{class:<longest$} {train:>8} {validation:>11} {test:>8}");
        }
        _ = writeln!(text, "\nunreadable files: {}", self.unreadable.len());
        for UnreadableImage { name, reason } in self.unreadable.iter().take(NAMED) {
            _ = writeln!(text, "  {name}: {reason}");
        }
        _ = writeln!(
            text,
            "exact copies: {} ({} across splits, {} with different labels)",
            self.duplicates, self.across_splits, self.across_labels
        );
        for [one, other] in &self.examples {
            _ = writeln!(text, "  {one} = {other}");
        }
        let sizes = self.classes.iter().map(|c| c.train);
        let (few, many) = (sizes.clone().min().unwrap_or(0), sizes.max().unwrap_or(0));
        if many > 10 * few {
            _ = writeln!(text, "classes differ more than tenfold in size: see --class-weights balanced");
        }
        text
    }
}
