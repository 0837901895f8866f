//! `percept data`: lists, fetches and inspects datasets.

use anyhow::Result;
use percept::data::{self, DatasetConfig, named};

use super::{LabelsArgument, Places};
use crate::printer::{self, Progress};

#[derive(clap::Subcommand)]
pub enum Command {
    /// List the datasets that have a name
    List,
    /// Fetch a dataset by name, with progress, resumption and checksum
    Get {
        /// Its name
        name: String,
        #[command(flatten)]
        places: Places,
    },
    /// Show splits, classes and counts, sizes, unreadable files and duplicates
    Inspect {
        /// A dataset's name, a folder of class folders, a CSV or Parquet files
        data: String,
        #[command(flatten)]
        places: Places,
        /// Whether an image shows one class, or several at once or none
        #[arg(long, value_name = "HOW", value_enum)]
        labels: Option<LabelsArgument>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn run(command: Command) -> Result<()> {
    match command {
        Command::List => list(),
        Command::Get { name, places } => {
            let progress = Progress::new(false);
            let source = named::open(&name, &config(&name, &places), &|event| progress.data(event));
            progress.clear();
            printer::result(format!("{name} is at {}", source?.location))
        }
        Command::Inspect { data, places, labels, json } => {
            let progress = Progress::new(json);
            let config = DatasetConfig { labels: labels.map(Into::into), ..config(&data, &places) };
            let found = data::inspect(&config, &|event| progress.data(event));
            progress.clear();
            let found = found?;
            if json { printer::json(&found) } else { printer::result(found.to_text()) }
        }
    }
}

fn list() -> Result<()> {
    let mut text = String::new();
    for entry in named::catalogue() {
        text += &format!("{:<16}{}\n", entry.name, entry.summary());
    }
    text += "\nA path works wherever a name does: a folder of class folders, a CSV or a Parquet file.\n";
    printer::result(text)
}

fn config(data: &str, places: &Places) -> DatasetConfig {
    DatasetConfig { data_dir: places.data_dir.clone(), cache_dir: places.cache_dir(), ..DatasetConfig::new(data) }
}
