//! Datasets that have a name: a table, the places where they are looked for, and a reader a format.

mod cifar;
mod digits;
mod idx;
mod locate;
mod pickle;

use std::path::Path;

use super::{DatasetConfig, Listener, Source};
use crate::{Error, Result};

/// How a dataset's files are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Inside the program.
    Embedded,
    /// CIFAR's binary or Python batches, 10 or 100 classes.
    Cifar(usize),
    /// MNIST's IDX files.
    Idx,
}

/// One row of the table.
pub struct Entry {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it holds.
    pub title: &'static str,
    /// Where it officially comes from.
    pub address: &'static str,
    format: Format,
    classes: &'static [&'static str],
}

const DIGITS: &[&str] = &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const CIFAR10: &[&str] = &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const FASHION: &[&str] =
    &["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];
const KUZUSHIJI: &[&str] = &["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"];

const CATALOGUE: &[Entry] = &[
    Entry {
        name: "digits",
        title: "1,797 handwritten digits of 8x8, inside the program",
        address: "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        format: Format::Embedded,
        classes: DIGITS,
    },
    Entry {
        name: "cifar10",
        title: "60,000 colour photographs of 32x32 in 10 classes",
        address: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        format: Format::Cifar(10),
        classes: CIFAR10,
    },
    Entry {
        name: "cifar100",
        title: "60,000 colour photographs of 32x32 in 100 classes",
        address: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        format: Format::Cifar(100),
        classes: &[],
    },
    Entry {
        name: "mnist",
        title: "70,000 handwritten digits of 28x28",
        address: "https://ossci-datasets.s3.amazonaws.com/mnist/",
        format: Format::Idx,
        classes: DIGITS,
    },
    Entry {
        name: "fashion-mnist",
        title: "70,000 pictures of clothing of 28x28 in 10 classes",
        address: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        format: Format::Idx,
        classes: FASHION,
    },
    Entry {
        name: "kmnist",
        title: "70,000 handwritten Japanese letters of 28x28 in 10 classes",
        address: "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        format: Format::Idx,
        classes: KUZUSHIJI,
    },
];

/// The table of named datasets.
pub fn catalogue() -> &'static [Entry] {
    CATALOGUE
}

/// Their names.
pub fn names() -> Vec<&'static str> {
    CATALOGUE.iter().map(|entry| entry.name).collect()
}

/// Whether there is a dataset of that name.
pub fn is_name(name: &str) -> bool {
    CATALOGUE.iter().any(|entry| entry.name == name)
}

/// Opens a dataset by name, from wherever it is on this machine.
///
/// # Errors
/// An unknown name, a dataset that is not on this machine, a damaged file.
pub fn open(name: &str, config: &DatasetConfig, _listener: Listener) -> Result<Source> {
    let Some(entry) = CATALOGUE.iter().find(|entry| entry.name == name) else {
        return Err(Error::invalid(
            format!("there is no dataset named {name}"),
            format!("choose {}", names().join(", ")),
        ));
    };
    if entry.format == Format::Embedded {
        return Ok(digits::open());
    }
    for folder in locate::folders(name, config) {
        let found = match entry.format {
            Format::Embedded => None,
            Format::Cifar(classes) => cifar::find(&folder, classes)?,
            Format::Idx => idx::find(&folder, entry)?,
        };
        if let Some(source) = found {
            return Ok(Source { name: name.into(), ..source });
        }
    }
    Err(locate::not_found(entry, config))
}

/// Opens a path that is one of these formats: CIFAR's folders and archives, a folder of IDX files.
///
/// # Errors
/// A damaged file.
pub fn open_path(path: &Path) -> Result<Option<Source>> {
    for classes in [10, 100] {
        if let Some(source) = cifar::open(path, classes)? {
            return Ok(Some(source));
        }
    }
    if path.is_dir() {
        let unnamed = Entry { name: "idx", title: "", address: "", format: Format::Idx, classes: &[] };
        return idx::find(path, &unnamed);
    }
    Ok(None)
}
