//! Models that are served: each has a name, and a current version that can be replaced while requests on the old one are
//! still answered.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use percept::{
    Classifier,
    weights::{self, MODEL_FILE, ModelCard, SavedModel},
};

use crate::{
    batcher::Batcher,
    config::{Batching, ModelSource, Origin},
    failure::StartError,
};

/// A name and what is served under it now.
pub(crate) struct Slot {
    pub name: String,
    origin: Option<PathBuf>,
    current: RwLock<Arc<Loaded>>,
    batching: Batching,
}

/// One version of a model, running. Requests hold it until they are answered.
pub(crate) struct Loaded {
    pub version: u64,
    pub card: ModelCard,
    pub batcher: Batcher,
    pub saved: Arc<SavedModel>,
}

impl Slot {
    pub fn open(source: ModelSource, batching: Batching) -> Result<Self, StartError> {
        let (saved, origin) = match source.origin {
            Origin::Path(path) => (weights::load(&path)?, Some(path)),
            Origin::Memory(saved) => (*saved, None),
        };
        let loaded = Loaded::start(&source.name, saved, 1, batching)?;
        Ok(Self { name: source.name, origin, current: RwLock::new(Arc::new(loaded)), batching })
    }

    pub fn current(&self) -> Arc<Loaded> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the model's file again and serves it from now on; the version grows by one. What was served stays if that
    /// fails. Models that came from memory stay as they are.
    pub fn reload(&self) -> Result<Option<u64>, StartError> {
        let Some(path) = &self.origin else { return Ok(None) };
        let version = self.current().version + 1;
        let loaded = Loaded::start(&self.name, weights::load(path)?, version, self.batching)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        Ok(Some(version))
    }

    /// The file that is watched.
    pub fn file(&self) -> Option<PathBuf> {
        self.origin.as_deref().and_then(|path| weights::locate(path).ok())
    }

    /// The run's folder, where the model came from one.
    pub fn run_folder(&self) -> Option<PathBuf> {
        let path = self.origin.as_deref()?;
        let folder = if path.is_dir() { path } else { path.parent().filter(|_| path.ends_with(MODEL_FILE))? };
        Some(folder.to_path_buf()).filter(|folder| folder.join("config.toml").exists())
    }
}

impl Loaded {
    fn start(name: &str, saved: SavedModel, version: u64, batching: Batching) -> Result<Self, StartError> {
        let saved = Arc::new(saved);
        let owned = saved.clone();
        let make = move || {
            let mut classifier = Classifier::from_saved((*owned).clone());
            move |pixels: &[u8]| classifier.outcome(pixels)
        };
        let observer = Box::new(|_: &[_], _| {});
        let batcher = Batcher::start(name, batching, make, observer).map_err(StartError::Thread)?;
        Ok(Self { version, card: saved.card.clone(), batcher, saved })
    }
}

/// The name that a path goes by: the run's folder, or the model file without its extension.
pub fn name_of(path: &Path) -> String {
    let own = if path.ends_with(MODEL_FILE) { path.parent().unwrap_or(path) } else { path };
    let whole = own.canonicalize().unwrap_or_else(|_| own.to_path_buf());
    let name = if whole.is_dir() { whole.file_name() } else { whole.file_stem() };
    let name = name.unwrap_or_default().to_string_lossy();
    let sound = |letter: char| if letter.is_alphanumeric() || "-_.".contains(letter) { letter } else { '-' };
    let name: String = name.chars().map(sound).collect();
    if name.trim_matches(['.', '-']).is_empty() { "model".into() } else { name }
}
