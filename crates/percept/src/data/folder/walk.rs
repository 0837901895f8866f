//! Lists every file below a folder, in parallel, with one question to the system per file. Links are followed
//! unless they lead back; folders that tools leave behind are not entered.

use std::{
    ffi::OsStr,
    fs::{self, DirEntry, Metadata},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use rayon::prelude::*;

use crate::{Error, Result};

/// Length and time of the last change, in nanoseconds.
pub(in super::super) type Stamp = (u64, u128);

pub(in super::super) fn stamp(metadata: &Metadata) -> Stamp {
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    (metadata.len(), changed.map_or(0, |time| time.as_nanos()))
}

/// Everything below a folder; paths are relative to it.
#[derive(Default)]
pub(super) struct Tree {
    pub folders: Vec<PathBuf>,
    pub files: Vec<File>,
}

pub(super) struct File {
    pub relative: PathBuf,
    pub stamp: Stamp,
    /// Whether it can be opened and read to an end: pipes and sockets cannot. A link that leads nowhere counts, so
    /// that reading it names it.
    pub is_regular: bool,
}

/// Lists everything below `root`, in no particular order.
pub(super) fn walk(root: &Path) -> Result<Tree> {
    Tree::read(root, Path::new(""), &[])
}

impl Tree {
    /// Lists one folder and all below. `entered` holds where the links lead that were followed to get there.
    fn read(root: &Path, relative: &Path, entered: &[PathBuf]) -> Result<Self> {
        let folder = root.join(relative);
        let mut tree = Self::default();
        let mut below = Vec::new();
        for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
            let entry = entry.map_err(Error::io("read", &folder))?;
            let name = relative.join(entry.file_name());
            let (metadata, is_link) = look(&entry);
            if !metadata.as_ref().is_some_and(Metadata::is_dir) {
                let is_regular = metadata.as_ref().is_none_or(Metadata::is_file);
                tree.files.push(File {
                    relative: name,
                    stamp: metadata.as_ref().map(stamp).unwrap_or_default(),
                    is_regular,
                });
            } else if !is_hidden_folder(&entry.file_name()) {
                let links = if is_link { follow(&folder, &entry.path(), entered) } else { Some(entered.to_vec()) };
                below.extend(links.map(|links| (name, links)));
            }
        }
        let read = |(name, links): &(PathBuf, Vec<PathBuf>)| Self::read(root, name, links);
        let trees = below.par_iter().map(read).collect::<Result<Vec<Self>>>()?;
        tree.folders.extend(below.into_iter().map(|(name, _)| name));
        for other in trees {
            tree.folders.extend(other.folders);
            tree.files.extend(other.files);
        }
        Ok(tree)
    }
}

/// What an entry is, or what it leads to if it is a link; nothing where it cannot be asked.
fn look(entry: &DirEntry) -> (Option<Metadata>, bool) {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => (fs::metadata(entry.path()).ok(), true),
        _ => (entry.metadata().ok(), false),
    }
}

/// The links followed once this one is too; nothing where it leads back to a folder that it was reached through.
fn follow(folder: &Path, link: &Path, entered: &[PathBuf]) -> Option<Vec<PathBuf>> {
    let (here, target) = (fs::canonicalize(folder).ok()?, fs::canonicalize(link).ok()?);
    let leads_back = entered.iter().chain([&here]).any(|place| place.starts_with(&target));
    (!leads_back).then(|| entered.iter().cloned().chain([here, target]).collect())
}

pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// Folders that tools leave behind: `.git`, `.ipynb_checkpoints`, what macOS adds to archives.
fn is_hidden_folder(name: &OsStr) -> bool {
    is_hidden(name) || name == "__MACOSX"
}
