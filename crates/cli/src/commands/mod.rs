//! One file a command.

mod data;
mod evaluate;
mod explain;
mod graph;
mod models;
mod predict;
mod serve;
mod train;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use percept::{
    data::LabelKind,
    weights::{SavedModel, pretrained},
};

use crate::printer::Progress;

#[derive(Subcommand)]
pub enum Command {
    /// Learn from labelled images: a dataset's name, a folder, a CSV or Parquet files
    Train(Box<train::Arguments>),
    /// Measure a trained model on labelled images
    Evaluate(evaluate::Arguments),
    /// Name what pictures show
    Predict(predict::Arguments),
    /// Draw over pictures what in them spoke for the answer
    Explain(explain::Arguments),
    /// Answer over HTTP what pictures show
    Serve(Box<serve::Arguments>),
    /// Show a model as a graph, before any data is read
    Graph(graph::Arguments),
    /// List the models
    Models(models::Arguments),
    /// List, fetch or inspect datasets
    #[command(subcommand)]
    Data(data::Command),
}

impl Command {
    pub fn run(self, started: Instant) -> Result<()> {
        match self {
            Self::Train(arguments) => train::run(*arguments, started),
            Self::Evaluate(arguments) => evaluate::run(arguments, started),
            Self::Predict(arguments) => predict::run(arguments),
            Self::Explain(arguments) => explain::run(arguments),
            Self::Serve(arguments) => serve::run(*arguments),
            Self::Graph(arguments) => graph::run(&arguments),
            Self::Models(arguments) => models::run(&arguments),
            Self::Data(command) => data::run(command),
        }
    }
}

/// The library's [`LabelKind`], as it is written on the command line.
#[derive(Clone, Copy, ValueEnum)]
pub enum LabelsArgument {
    One,
    Several,
}

impl From<LabelsArgument> for LabelKind {
    fn from(value: LabelsArgument) -> Self {
        match value {
            LabelsArgument::One => Self::One,
            LabelsArgument::Several => Self::Several,
        }
    }
}

/// Where data is looked for and kept.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Data")]
pub struct Places {
    /// Look here first for named datasets; for data that lies in a place of its own
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub cache: Cache,
}

impl Places {
    pub fn cache_dir(&self) -> PathBuf {
        self.cache.cache_dir()
    }
}

/// Where downloads and decoded images are kept.
#[derive(clap::Args, Default)]
pub struct Cache {
    /// Keep downloads and decoded images here instead of in the user's cache folder; also PERCEPT_CACHE
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

impl Cache {
    pub fn cache_dir(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(percept::data::default_cache_dir)
    }
}

/// Opens a model of one's own or a pretrained one, telling of downloads on the way.
fn open_model(model: &Path, weights: Option<PathBuf>, cache: &Cache, progress: &Progress) -> Result<SavedModel> {
    let report = |file: &str, done, total| {
        progress.data(percept::data::Event::Download { file: file.into(), done, total });
    };
    let places = pretrained::Places { file: weights, ..pretrained::Places::new(cache.cache_dir(), &report) };
    let model = percept::weights::open(model, &places)?;
    progress.clear();
    Ok(model)
}

/// Sets how many threads compute. Results do not depend on it.
pub fn use_threads(threads: Option<usize>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    anyhow::ensure!(threads > 0, "--threads 0 leaves nobody to compute");
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("cannot start the threads")
}
