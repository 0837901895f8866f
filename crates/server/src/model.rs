//! Models that are served: each has a name, and a current version that can be replaced while requests on the old one are
//! still answered.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use percept::{
    Classifier,
    explain::Interpreter,
    weights::{self, MODEL_FILE, ModelCard, SavedModel},
};

use crate::{
    admission::Places,
    batcher::{Batcher, Row, Workers},
    config::{Batching, ModelSource, Origin},
    failure::StartError,
    metrics::Metrics,
    v2::Statistics,
};

/// Multiply-adds of a batch from which on it is worth sharing among cores that have nothing else to do: below that, waking
/// them takes as long.
const WORTH_SHARING: u64 = 100_000_000;

/// What all models have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub batching: Batching,
    /// Places in the queue of each.
    pub queue: usize,
    /// A thread a core.
    pub cores: Arc<rayon::ThreadPool>,
    pub metrics: Arc<Metrics>,
}

/// A name and what is served under it now.
pub(crate) struct Slot {
    pub name: String,
    pub places: Places,
    origin: Option<PathBuf>,
    current: RwLock<Arc<Loaded>>,
    /// Held while a version is being replaced, so that each is replaced once.
    replacing: Mutex<()>,
    common: Common,
}

/// One version of a model, running. Requests hold it until they are answered.
pub(crate) struct Loaded {
    pub version: u64,
    pub card: ModelCard,
    pub batcher: Batcher,
    pub saved: Arc<SavedModel>,
    pub statistics: Arc<Statistics>,
    /// Made when the first explanation is asked for.
    pub interpreter: Arc<tokio::sync::Mutex<Option<Interpreter>>>,
}

impl Slot {
    pub fn open(source: ModelSource, common: Common) -> Result<Self, StartError> {
        let (saved, origin) = match source.origin {
            Origin::Path(path) => (weights::load(&path)?, Some(path)),
            Origin::Memory(saved) => (*saved, None),
        };
        let loaded = Loaded::start(&source.name, saved, 1, &common)?;
        let current = RwLock::new(Arc::new(loaded));
        let (places, replacing) = (Places::new(common.queue), Mutex::default());
        Ok(Self { name: source.name, places, origin, current, replacing, common })
    }

    pub fn current(&self) -> Arc<Loaded> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the model's file again and serves it from now on; the version grows by one. What was served stays if that
    /// fails. Models that came from memory stay as they are.
    pub fn reload(&self) -> Result<Option<u64>, StartError> {
        let Some(path) = &self.origin else { return Ok(None) };
        let _alone = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.current().version + 1;
        let loaded = weights::load(path).map_err(StartError::from);
        let loaded = loaded.and_then(|saved| Loaded::start(&self.name, saved, version, &self.common));
        self.common.metrics.reload(&self.name, loaded.is_ok());
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded?);
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
    /// The `top` likeliest classes, by label and probability; and whether the picture is said to show each, where classes do
    /// not exclude each other: then all that it shows are among them.
    pub fn named(&self, row: &Row, top: usize) -> Vec<(usize, f32, Option<bool>)> {
        let ranked = row.ranked(if self.card.is_exclusive() { top } else { row.probabilities.len() });
        let named = ranked.map(|(label, probability)| (label, probability, self.card.is_chosen(label, probability)));
        let is_named =
            |(place, (.., chosen)): &(usize, (usize, f32, Option<bool>))| *place < top || *chosen == Some(true);
        named.enumerate().filter(is_named).map(|(_, named)| named).collect()
    }

    fn start(name: &str, saved: SavedModel, version: u64, common: &Common) -> Result<Self, StartError> {
        let Common { batching, cores, metrics, .. } = common;
        let saved = Arc::new(saved);
        let statistics = Arc::new(Statistics::default());
        let original = Classifier::from_saved((*saved).clone());
        let make = move || {
            let mut classifier = original.clone();
            move |pixels: &[u8]| classifier.outcome(pixels)
        };
        let (tallies, counters, named) = (statistics.clone(), metrics.clone(), name.to_string());
        let observer = move |waits: &[Duration], computed| {
            tallies.batch(waits.len(), computed);
            counters.batch(&named, waits, computed);
        };
        let least = WORTH_SHARING.div_ceil(saved.graph.multiply_adds().max(1)) as usize;
        let workers = Workers { cores: cores.clone(), least };
        let batcher = Batcher::start(name, *batching, workers, make, Box::new(observer)).map_err(StartError::Thread)?;
        metrics.version(name, version);
        Ok(Self { version, card: saved.card.clone(), batcher, saved, statistics, interpreter: Arc::default() })
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
