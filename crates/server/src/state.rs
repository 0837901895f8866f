//! What every request can reach: the models, the limits, the threads that decode.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::http::StatusCode;
use percept::weights::ModelCard;
use tokio::sync::Semaphore;

use crate::{
    collect::Kept,
    config::{Access, Limits, ServerConfig},
    decoders::Decoders,
    failure::{Failure, StartError},
    metrics::Metrics,
    model::{Common, Loaded, Slot},
    observe::Names,
    upload::pieces,
};

/// Of the memory for bodies, the part that those have who have not shown the token yet.
const STRANGERS: usize = 8;

/// What every request can reach. Copies share everything.
#[derive(Clone)]
pub struct AppState(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub config: ServerConfig,
    pub slots: Vec<Slot>,
    pub decoders: Decoders,
    /// Pieces of memory for bodies, and for pictures in answers.
    pub memory: Arc<Semaphore>,
    /// The same for bodies of those who have not shown the token yet, so that they leave room for those who have.
    pub strangers: Arc<Semaphore>,
    /// What is kept of corrected pictures.
    pub kept: Kept,
    pub metrics: Arc<Metrics>,
    pub names: Names,
    pub ready: AtomicBool,
}

impl AppState {
    /// Opens every model and starts its threads.
    ///
    /// # Errors
    /// No model, two of one name, one that cannot be read, or too few threads.
    pub fn new(mut config: ServerConfig) -> Result<Self, StartError> {
        let sources = std::mem::take(&mut config.models);
        if sources.is_empty() {
            return Err(StartError::Setting("there is no model to serve".into()));
        }
        check(&config)?;
        let metrics = Arc::new(Metrics::new());
        // As many as the program was given.
        let cores = rayon::ThreadPoolBuilder::new().num_threads(rayon::current_num_threads());
        let cores = cores.thread_name(|number| format!("core {number}")).build();
        let cores = cores.map_err(|error| StartError::Thread(std::io::Error::other(error)))?;
        let (batching, queue) = (config.batching, config.limits.queue);
        let common = Common { batching, queue, cores: Arc::new(cores), metrics: metrics.clone() };
        let mut slots: Vec<Slot> = Vec::new();
        for source in sources {
            if slots.iter().any(|slot| slot.name == source.name) {
                let name = source.name;
                return Err(StartError::Setting(format!("two models are called {name}: name one with NAME=PATH")));
            }
            slots.push(Slot::open(source, common.clone())?);
        }
        let decoders = Decoders::start().map_err(StartError::Thread)?;
        let Limits { memory, body, .. } = config.limits;
        let [memory, strangers] =
            [memory, body.max(memory / STRANGERS)].map(|bytes| Arc::new(Semaphore::new(pieces(bytes))));
        let (kept, names, ready) = (Kept::default(), Names::new(), AtomicBool::new(true));
        Ok(Self(Arc::new(Inner { config, slots, decoders, memory, strangers, kept, metrics, names, ready })))
    }

    /// Every model as it is served now, in the order in which they were given.
    pub fn models(&self) -> Vec<ModelView> {
        self.0.slots.iter().map(|slot| self.view(slot)).collect()
    }

    /// One of them.
    pub fn model(&self, name: &str) -> Option<ModelView> {
        self.0.slots.iter().find(|slot| slot.name == name).map(|slot| self.view(slot))
    }

    /// Whether calls of the API have to show a token.
    pub fn needs_token(&self) -> bool {
        matches!(self.0.config.access, Access::Token(_))
    }

    fn view(&self, slot: &Slot) -> ModelView {
        let collects = self.0.config.collect.is_some();
        ModelView { name: slot.name.clone(), loaded: slot.current(), run_folder: slot.run_folder(), collects }
    }

    /// The model of this name, or the first.
    pub(crate) fn slot(&self, name: Option<&str>) -> Result<&Slot, Failure> {
        let slots = &self.0.slots;
        let found = match name {
            Some(name) => slots.iter().find(|slot| slot.name == name),
            None => slots.first(),
        };
        found.ok_or_else(|| {
            let names: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
            let error = format!("there is no model {:?}", name.unwrap_or_default());
            Failure::new(StatusCode::NOT_FOUND, error, format!("served are {}", names.join(", ")))
        })
    }

    /// Reads every model's file again, and says what came of it in the log.
    pub(crate) fn reload(&self) {
        self.0.slots.iter().for_each(reload);
    }

    /// A name that nothing else has.
    pub(crate) fn next_name(&self) -> String {
        self.0.names.next()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }
}

/// Replaces a model, and says in the log what came of it.
pub(crate) fn reload(slot: &Slot) {
    match slot.reload() {
        Ok(Some(version)) => tracing::info!(model = %slot.name, version, "replaced"),
        Ok(None) => tracing::warn!(model = %slot.name, "stays: it did not come from a file"),
        Err(error) => tracing::error!(model = %slot.name, error = %error, "stays: its file cannot be used"),
    }
}

/// Settings that would leave nobody answered, or everybody let in.
fn check(config: &ServerConfig) -> Result<(), StartError> {
    let refuse = |reason: String| Err(StartError::Setting(reason));
    if !config.address.ip().is_loopback() && config.access == Access::ThisMachine {
        let address = config.address;
        return refuse(format!(
            "{address} can be reached by other machines: choose --token, or --no-auth to let everybody in"
        ));
    }
    if matches!(&config.access, Access::Token(token) if token.trim().is_empty() || token.contains(char::is_whitespace))
    {
        return refuse("the token is empty or has spaces in it: choose a long random word".into());
    }
    if config.batching.max_batch == 0 || config.limits.queue == 0 || config.limits.connections == 0 {
        return refuse("a batch, a queue and the connections need a place each: choose at least 1".into());
    }
    if config.limits.memory < config.limits.body {
        return refuse(format!(
            "a body of {} bytes does not fit into {} bytes",
            config.limits.body, config.limits.memory
        ));
    }
    Ok(())
}

/// A model as it is served at one moment.
pub struct ModelView {
    name: String,
    loaded: Arc<Loaded>,
    run_folder: Option<PathBuf>,
    collects: bool,
}

impl ModelView {
    /// What it is called by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// "1", and one more each time that its file was replaced.
    pub fn version(&self) -> String {
        self.loaded.version.to_string()
    }

    /// What its file says: classes, input, figures.
    pub fn card(&self) -> &ModelCard {
        &self.loaded.card
    }

    /// Whether it tells pictures that are unlike all that it has seen.
    pub fn has_unknown(&self) -> bool {
        self.loaded.saved.known.is_some()
    }

    /// The folder of the run that made it, where it came from one.
    pub fn run_folder(&self) -> Option<&Path> {
        self.run_folder.as_deref()
    }

    /// Whether corrected pictures are kept.
    pub fn collects(&self) -> bool {
        self.collects
    }
}
