//! `percept serve`: answers over HTTP what pictures show.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;
use percept_server::{ModelSource, Origin, ServerConfig, name_of, serve};

use super::Cache;
use crate::printer::Progress;

#[derive(clap::Args)]
pub struct Arguments {
    /// Runs' folders, model files, or names of pretrained models; NAME=MODEL serves one under another name
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// A file of the pretrained model's weights, instead of those that are found on this machine or downloaded
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    cache: Cache,
    /// How many threads compute
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub fn run(arguments: Arguments) -> Result<()> {
    super::use_threads(arguments.threads)?;
    let progress = Progress::new(false);
    let sources = arguments.models.iter().map(|model| source(model, &arguments, &progress));
    let mut config = ServerConfig::new(sources.collect::<Result<_>>()?);
    config.address = arguments.address;
    serve(config, |address| progress.line(&format!("ready on http://{address}")))?;
    Ok(())
}

fn source(text: &str, arguments: &Arguments, progress: &Progress) -> Result<ModelSource> {
    let (name, model) = match text.split_once('=') {
        Some((name, model)) if !name.contains(['/', '\\']) => (Some(name.to_string()), PathBuf::from(model)),
        _ => (None, PathBuf::from(text)),
    };
    let name = name.unwrap_or_else(|| name_of(&model));
    if model.exists() {
        return Ok(ModelSource { name, origin: Origin::Path(model) });
    }
    let saved = super::open_model(&model, arguments.weights.clone(), &arguments.cache, progress)?;
    Ok(ModelSource { name, origin: Origin::Memory(Box::new(saved)) })
}
