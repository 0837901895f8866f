//! `percept evaluate`: measures a trained model on labelled images.

use std::{path::PathBuf, time::Instant};

use anyhow::Result;
use clap::ValueEnum;
use percept::data::Split;

use super::Places;
use crate::printer::{self, Progress};

#[derive(clap::Args)]
pub struct Arguments {
    /// A run's folder or a model file
    model: PathBuf,
    /// A dataset's name, a folder of class folders, a CSV or Parquet files
    data: String,
    /// Which images to measure on
    #[arg(long, value_name = "SPLIT", value_enum, default_value = "test")]
    split: SplitArgument,
    /// Data of other things, which the model should call unknown: how well it tells them is measured, too
    #[arg(long, value_name = "DATA")]
    unseen: Option<String>,
    #[command(flatten)]
    places: Places,
    /// How many threads compute
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object, and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum SplitArgument {
    Train,
    Validation,
    Test,
}

pub fn run(arguments: Arguments, started: Instant) -> Result<()> {
    super::use_threads(arguments.threads)?;
    let progress = Progress::new(arguments.json);
    let split = match arguments.split {
        SplitArgument::Train => Split::Train,
        SplitArgument::Validation => Split::Validation,
        SplitArgument::Test => Split::Test,
    };
    let places =
        percept::Places { data_dir: arguments.places.data_dir.clone(), cache_dir: arguments.places.cache_dir() };
    let listen = |event| progress.data(event);
    let unseen = arguments.unseen.as_deref();
    let result = percept::evaluate_model(&arguments.model, &arguments.data, split, unseen, &places, started, &listen);
    progress.clear();
    let measured = result?;
    if arguments.json {
        return printer::json(&measured.figures);
    }
    printer::result(measured.to_text())
}
