//! What every request can reach: the models, the limits, the threads that decode.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use percept::weights::ModelCard;

use crate::{
    config::{Access, ServerConfig},
    failure::{Failure, StartError},
    model::{Loaded, Slot},
};
use axum::http::StatusCode;

/// What every request can reach. Copies share everything.
#[derive(Clone)]
pub struct AppState(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub config: ServerConfig,
    pub slots: Vec<Slot>,
    pub decoders: rayon::ThreadPool,
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
        let mut slots: Vec<Slot> = Vec::new();
        for source in sources {
            if slots.iter().any(|slot| slot.name == source.name) {
                let name = source.name;
                return Err(StartError::Setting(format!("two models are called {name}: name one with NAME=PATH")));
            }
            slots.push(Slot::open(source, config.batching)?);
        }
        let decoders = rayon::ThreadPoolBuilder::new().thread_name(|number| format!("decoder {number}")).build();
        let decoders = decoders.map_err(|error| StartError::Thread(std::io::Error::other(error)))?;
        Ok(Self(Arc::new(Inner { config, slots, decoders, ready: AtomicBool::new(true) })))
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

    pub(crate) fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }
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
