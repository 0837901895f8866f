//! Where the files of a named dataset may lie on this machine. Looks, and never downloads.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::{catalogue, catalogue::Entry, cifar, idx};
use crate::{
    Result,
    data::{DatasetConfig, Event, Listener, Source},
};

/// What a folder holds of a dataset.
#[derive(Debug)]
pub(super) enum Found<T> {
    /// Every file.
    All(T),
    /// Some; the names of the others.
    Part(Vec<String>),
    /// None.
    Nothing,
}

/// Where to look, and how the network may be used.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Folders that users name, and those of packages, in the order of looking.
    pub folders: Vec<PathBuf>,
    /// `<cache>/data`: a folder for each dataset is below it.
    pub cache: PathBuf,
    /// `PERCEPT_OFFLINE`: no network.
    pub offline: bool,
    /// `PERCEPT_MIRROR`: the address that stands in for the official ones.
    pub mirror: Option<String>,
}

impl Places {
    /// `data_dir`, `PERCEPT_DATA`, the cache, and what Debian's `dataset-fashion-mnist` installs.
    pub(super) fn from_environment(config: &DatasetConfig) -> Self {
        let cache = config.cache_dir.join("data");
        let named = config.data_dir.clone().into_iter().chain(env::var_os("PERCEPT_DATA").map(PathBuf::from));
        Self {
            folders: named.chain([cache.clone(), PathBuf::from("/usr/share/datasets")]).collect(),
            cache,
            offline: crate::download::is_offline(),
            mirror: env::var("PERCEPT_MIRROR").ok().filter(|address| !address.is_empty()),
        }
    }

    /// Where downloads of a dataset go.
    pub(super) fn download_folder(&self, entry: &Entry) -> PathBuf {
        self.cache.join(entry.folders.first().unwrap_or(&entry.name))
    }
}

/// The first folder that holds all of a dataset. The dataset's own sub-folder is looked at first: in the folder
/// itself may lie another dataset whose files have the same names.
pub(super) fn find(entry: &'static Entry, places: &Places, listener: Listener) -> Result<Option<Source>> {
    for folder in &places.folders {
        let below = entry.folders.iter().map(|name| folder.join(name));
        // What packages and the cache hold is always in sub-folders.
        let itself = (*folder != places.cache).then(|| folder.clone());
        for folder in below.chain(itself).filter(|folder| folder.is_dir()) {
            match open_in(entry, &folder)? {
                Found::All(source) => return Ok(Some(source)),
                Found::Part(missing) => {
                    let missing = missing.join(", ");
                    listener(Event::Note(format!(
                        "{} holds a part of {}: {missing} is missing",
                        folder.display(),
                        entry.name
                    )));
                }
                Found::Nothing => {}
            }
        }
    }
    Ok(None)
}

fn open_in(entry: &'static Entry, folder: &Path) -> Result<Found<Source>> {
    Ok(match &entry.layout {
        catalogue::Layout::Embedded => Found::Nothing,
        catalogue::Layout::Cifar(kind) => match cifar::locate(folder, kind) {
            Found::All(files) => Found::All(cifar::open(entry, kind, files, true)?),
            Found::Part(missing) => Found::Part(missing),
            Found::Nothing => Found::Nothing,
        },
        catalogue::Layout::Idx(layout) => match idx::locate(folder, layout)? {
            Found::All(files) => Found::All(idx::open(entry, layout, files)?),
            Found::Part(missing) => Found::Part(missing),
            Found::Nothing => Found::Nothing,
        },
    })
}
