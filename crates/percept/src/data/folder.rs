//! A folder of class folders, with or without split folders above them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::{Event, Listener, Picture, Sample, Source, Split};
use crate::{Error, Result, image::has_image_extension};

/// An image file and what its place says of it.
pub(super) struct Entry {
    pub name: String,
    pub path: PathBuf,
    pub class: String,
    pub split: Option<Split>,
}

/// The split that a folder's name means.
pub(super) fn split_named(name: &str) -> Option<Split> {
    match name.to_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "val" | "valid" | "validation" => Some(Split::Validation),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}

/// Opens `root/<class>/*` or `root/{train,val,test}/<class>/*`.
///
/// # Errors
/// A folder without class folders, without images, or with one class only.
pub(super) fn open(root: &Path, listener: Listener) -> Result<Source> {
    let folders = subfolders(root)?;
    let splits: Vec<(Split, &PathBuf)> =
        folders.iter().filter_map(|(name, path)| Some((split_named(name)?, path))).collect();
    let has_train = splits.iter().any(|(split, _)| *split == Split::Train);
    let mut entries = Vec::new();
    let mut ignored = 0;
    let mut empty = BTreeSet::new();
    let groups: Vec<(Option<Split>, BTreeMap<String, PathBuf>)> = if has_train {
        splits.iter().map(|(split, path)| Ok((Some(*split), subfolders(path)?))).collect::<Result<_>>()?
    } else {
        vec![(None, folders.clone())]
    };
    for (split, classes) in &groups {
        for (class, folder) in classes {
            let before = entries.len();
            for file in WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter().filter_map(Result::ok) {
                if !file.file_type().is_file() {
                    continue;
                }
                if !is_image(file.path()) {
                    ignored += 1;
                    continue;
                }
                let name = file.path().strip_prefix(root).unwrap_or(file.path()).to_string_lossy().into_owned();
                entries.push(Entry { name, path: file.into_path(), class: class.clone(), split: *split });
            }
            if entries.len() == before {
                empty.insert(class.clone());
            }
        }
    }
    if entries.is_empty() {
        return Err(no_images(root));
    }
    for class in &empty {
        if !entries.iter().any(|entry| entry.class == *class) {
            listener(Event::Note(format!("class folder {class} holds no images and is left out")));
        }
    }
    if ignored > 0 {
        listener(Event::Note(format!("{ignored} files that are not images were ignored")));
    }
    source(root, entries)
}

/// Builds a source of listed files.
///
/// # Errors
/// One class only.
pub(super) fn source(root: &Path, entries: Vec<Entry>) -> Result<Source> {
    let mut classes: Vec<String> =
        entries.iter().map(|e| e.class.clone()).collect::<BTreeSet<_>>().into_iter().collect();
    if classes.iter().all(|class| class.parse::<u64>().is_ok()) {
        classes.sort_by_key(|class| class.parse::<u64>().unwrap_or(0));
    }
    if let [only] = classes.as_slice() {
        return Err(Error::invalid(
            format!("{} has one class only: {only}", root.display()),
            "add a folder of images of another class: telling apart takes two",
        ));
    }
    let identity = identity(root, &entries)?;
    let labels: BTreeMap<&String, u32> = classes.iter().zip(0..).collect();
    let labels: Vec<u32> = entries.iter().map(|entry| labels[&entry.class]).collect();
    let entries = Arc::new(entries);
    let samples = move || {
        let (entries, labels) = (entries.clone(), labels.clone());
        let each = labels.into_iter().enumerate().map(move |(index, label)| {
            let Entry { name, path, split, .. } = &entries[index];
            Ok(Sample { name: name.clone(), label, split: *split, picture: Picture::File(path.clone()) })
        });
        Ok(Box::new(each) as Box<dyn Iterator<Item = Result<Sample>> + Send>)
    };
    let name = root.canonicalize().unwrap_or_else(|_| root.into());
    Ok(Source {
        name: name.file_stem().map_or("images".into(), |name| name.to_string_lossy().into_owned()),
        location: root.display().to_string(),
        classes,
        channels: 3,
        identity,
        mirrors: true,
        samples: Box::new(samples),
    })
}

/// Changes with the files' names, sizes and times, and with what is said of them.
fn identity(root: &Path, entries: &[Entry]) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(root.canonicalize().unwrap_or_else(|_| root.into()).to_string_lossy().as_bytes());
    for entry in entries {
        let about = entry.path.metadata().map_err(Error::io("read", &entry.path))?;
        let time = about.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        let nanoseconds = time.map_or(0, |time| time.as_nanos());
        hash.update(format!("{}\0{}\0{:?}\0{}\0{nanoseconds}\n", entry.name, entry.class, entry.split, about.len()));
    }
    Ok(hex(&hash.finalize()))
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn subfolders(root: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let listing = root.read_dir().map_err(Error::io("read", root))?;
    let mut folders = BTreeMap::new();
    for entry in listing {
        let path = entry.map_err(Error::io("read", root))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && !name.starts_with('.') {
            folders.insert(name, path);
        }
    }
    Ok(folders)
}

fn is_image(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !hidden && has_image_extension(path)
}

fn no_images(root: &Path) -> Error {
    let loose = root.read_dir().into_iter().flatten().filter_map(Result::ok).any(|entry| is_image(&entry.path()));
    let (what, hint) = if loose {
        ("has images, but no class folders", "put each class's images into a folder of its own, named after the class")
    } else {
        ("holds no images", "pass a folder with one folder of images a class")
    };
    Error::invalid(format!("{} {what}", root.display()), hint)
}
