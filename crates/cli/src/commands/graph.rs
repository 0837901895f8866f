//! `percept graph`: a model's graph, before any data is read.

use std::path::PathBuf;

use anyhow::Result;
use percept::{
    files,
    image::ImageShape,
    model::{self, Graph, ModelConfig, draw},
    weights,
};

use crate::printer;

#[derive(clap::Args)]
pub struct Arguments {
    /// A model's name (see percept models), a run's folder or a model file
    #[arg(value_name = "MODEL|NAME")]
    model: String,
    /// Draw the graph into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Side of the images, for a model by name
    #[arg(long, value_name = "N", default_value_t = 32)]
    image_size: usize,
    /// Colours of the images, 1 or 3, for a model by name
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    channels: u8,
    /// Classes to tell apart, for a model by name
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// Features of the hidden layer of mlp
    #[arg(long, value_name = "N", default_value_t = 512)]
    hidden: usize,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let graph = open(arguments)?;
    printer::result(draw::to_text(&graph))?;
    if let Some(path) = &arguments.svg {
        files::write_whole(path, draw::to_svg(&graph).as_bytes())?;
        printer::Progress::new(false).line(&format!("drawn into {}", path.display()));
    }
    Ok(())
}

fn open(arguments: &Arguments) -> Result<Graph> {
    let name = arguments.model.as_str();
    if model::MODELS.iter().all(|model| model.name != name) {
        let path = PathBuf::from(name);
        if path.exists() {
            return Ok(weights::load(&path)?.graph);
        }
    }
    let side = arguments.image_size;
    let input = ImageShape { height: side, width: side, channels: arguments.channels.into() };
    let config = ModelConfig {
        input,
        classes: arguments.classes,
        hidden: arguments.hidden,
        per_pixel: false,
        conventions: None,
    };
    Ok(model::build(name, &config)?)
}
