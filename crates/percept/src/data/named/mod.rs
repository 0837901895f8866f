//! Datasets by name: found on this machine or downloaded, checked, and read as they were published. Official layouts
//! that are given by path are recognised too. Nothing is unpacked to disk and nothing in a file is executed.
//!
//! The environment: `PERCEPT_DATA` names a folder to look in, `PERCEPT_OFFLINE=1` forbids the network, and
//! `PERCEPT_MIRROR=http://host/path` takes `<mirror>/<dataset>/<file>` in place of the official addresses.

mod archive;
mod catalogue;
mod cifar;
mod digits;
mod find;
mod idx;

use std::{fs::File, path::Path};

use md5::Md5;
use sha2::{Digest, Sha256};

pub use catalogue::{Entry, RemoteFile, catalogue};

use super::{DatasetConfig, Event, Listener, Sample, SampleReader, Source, folder};
use crate::{
    Error, Result,
    download::{Checksum, Request, digest_of},
    files::hexadecimal,
};

/// The names of all datasets.
pub fn names() -> Vec<&'static str> {
    catalogue().iter().map(|entry| entry.name).collect()
}

/// Whether a word is the name of a dataset.
pub fn is_name(name: &str) -> bool {
    catalogue().iter().any(|entry| entry.name == name)
}

/// Opens a named dataset. Looks in `config.data_dir`, in the folder that `PERCEPT_DATA` names, in
/// `<config.cache_dir>/data`, and where system packages install data; in each also in the dataset's own sub-folder,
/// which is looked at first. Downloads what is nowhere.
///
/// A file that was downloaded was checked against its published checksum. A file that was put there is read whatever
/// its checksum (the same data goes around in other packings), but its structure is checked to the last byte.
///
/// # Errors
/// [`Error::Missing`] for an unknown name, [`Error::Download`] if the data is nowhere and cannot be fetched, and
/// [`Error::Damaged`] for files that are not what they should be; some of that shows only when samples are read.
pub fn open(name: &str, config: &DatasetConfig, listener: Listener) -> Result<Source> {
    let entry = find(name)?;
    if let Some(folder) = config.data_dir.as_ref().filter(|folder| !folder.is_dir()) {
        let hint = "check the path for a typing mistake, or leave the folder out";
        return Err(Error::missing(format!("the data folder {} does not exist", folder.display()), hint));
    }
    open_entry(entry, &find::Places::from_environment(config), listener)
}

fn open_entry(entry: &'static Entry, places: &find::Places, listener: Listener) -> Result<Source> {
    if matches!(entry.layout, catalogue::Layout::Embedded) {
        return Ok(digits::open(entry));
    }
    if let Some(source) = find::find(entry, places, listener)? {
        return Ok(source);
    }
    fetch_all(entry, places, listener)?;
    find::find(entry, places, &|_| {})?.ok_or_else(|| {
        let folder = places.download_folder(entry);
        Error::missing(format!("{} is not in {} after its download", entry.name, folder.display()), "try again")
    })
}

/// Opens a path that holds an official layout: CIFAR's batches or archive, or a folder of IDX files. `None` where it
/// holds none of them.
///
/// # Errors
/// As [`open`], for a path that is recognised and incomplete or damaged.
pub fn open_path(path: &Path) -> Result<Option<Source>> {
    if let Some((name, kind, files)) = cifar::recognise(path)? {
        return cifar::open(find(name)?, kind, files, false).map(Some);
    }
    if path.is_dir() { idx::open_path(path) } else { Ok(None) }
}

/// The entry of a name.
fn find(name: &str) -> Result<&'static Entry> {
    catalogue().iter().find(|entry| entry.name == name).ok_or_else(|| {
        let hint = match closest(name) {
            Some(entry) => format!("did you mean {}?", entry.name),
            None => format!("the names are {}; anything else is taken for a path", names().join(", ")),
        };
        Error::missing(format!("no dataset is called \"{}\"", name.escape_debug()), hint)
    })
}

/// The name that a typing mistake or another spelling ("CIFAR-10", "fashion_mnist") was meant to be.
pub fn closest(name: &str) -> Option<&'static Entry> {
    let simplify = |text: &str| -> Vec<char> {
        text.to_lowercase().chars().filter(char::is_ascii_alphanumeric).take(40).collect()
    };
    let typed = simplify(name);
    let distance = |entry: &Entry| {
        let known = simplify(entry.name);
        // A name that was only begun is close, however much is missing.
        if typed.len() >= 3 && known.len() > typed.len() && known.starts_with(&typed) {
            1
        } else {
            edit_distance(&typed, &known)
        }
    };
    let (distance, entry) = catalogue().iter().map(|entry| (distance(entry), entry)).min_by_key(|pair| pair.0)?;
    (distance <= typed.len() / 4 + 1 && distance < typed.len()).then_some(entry)
}

/// Levenshtein's distance.
fn edit_distance(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

fn source_of(entry: &Entry, location: String, identity: String, samples: SampleReader) -> Source {
    Source {
        name: entry.name.into(),
        location,
        classes: entry.classes.iter().map(|&class| class.into()).collect(),
        sets: None,
        channels: entry.shape[2],
        identity,
        mirrors: entry.mirrors,
        samples,
    }
}

/// Changes with the names, sizes and times of the files: 32 hexadecimal digits.
fn identity_of(name: &str, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(name);
    for path in paths {
        let path = path.as_ref();
        let facts = path.metadata().map_err(Error::io("read", path))?;
        let (length, changed) = folder::stamp(&facts);
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        hash.update(format!("\0{file}\0{length}\0{changed}"));
    }
    Ok(hexadecimal(&hash.finalize()[..16]))
}

fn md5_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    digest_of::<Md5>(&mut file).map_err(Error::io("read", path))
}

/// Downloads the files of a dataset that are not there yet.
fn fetch_all(entry: &Entry, places: &find::Places, listener: Listener) -> Result<()> {
    let folder = places.download_folder(entry);
    let missing: Vec<_> = entry.files.iter().filter(|file| !folder.join(file.name).is_file()).collect();
    for (index, file) in missing.iter().enumerate() {
        let urls = match &places.mirror {
            Some(mirror) => {
                let dataset = entry.folders.first().unwrap_or(&entry.name);
                vec![format!("{}/{dataset}/{}", mirror.trim_end_matches('/'), file.name)]
            }
            None => file.urls.iter().map(ToString::to_string).collect(),
        };
        let addresses: Vec<&str> = missing[index..].iter().map(|file| file.urls[0]).collect();
        let request = Request {
            name: file.name,
            urls,
            by_hand: by_hand(&folder, &addresses),
            bytes: file.bytes,
            checksum: Checksum::Md5(file.md5.into()),
            folder: &folder,
        };
        if places.offline {
            return Err(request.failed(&request.urls[0], "the network is switched off by PERCEPT_OFFLINE"));
        }
        request.fetch(&|done, total| listener(Event::Download { file: file.name.into(), done, total }))?;
    }
    Ok(())
}

/// How a user puts files there without this program.
fn by_hand(folder: &Path, addresses: &[&str]) -> String {
    let (what, them) = if addresses.len() == 1 { ("it", "it") } else { ("these files", "them") };
    format!(
        "fetch {what} by hand and put {them} into {}, or name the folder that holds {them} with --data-dir: {}",
        folder.display(),
        addresses.join(" ")
    )
}

/// Ends after the first error: what follows a broken part means nothing.
fn until_error(samples: impl Iterator<Item = Result<Sample>>) -> impl Iterator<Item = Result<Sample>> {
    samples.scan(false, |failed, sample| {
        let ended = *failed;
        *failed = sample.is_err();
        (!ended).then_some(sample)
    })
}

#[cfg(test)]
mod tests;
