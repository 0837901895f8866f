//! `percept models`: every name, with what it costs.

use anyhow::Result;
use percept::{
    image::ImageShape,
    model::{self, ModelConfig, draw::thousands},
};
use serde::Serialize;

use crate::printer;

#[derive(clap::Args)]
pub struct Arguments {
    /// Side of the images that costs are given for
    #[arg(long, value_name = "N", default_value_t = 32)]
    image_size: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    parameters: usize,
    multiply_adds: u64,
    input: [usize; 3],
    summary: &'static str,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let side = arguments.image_size;
    let input = ImageShape { height: side, width: side, channels: 3 };
    let config = ModelConfig { input, classes: 10, hidden: 512, per_pixel: false };
    let mut rows = Vec::new();
    for model in &model::MODELS {
        let graph = (model.build)(&config)?;
        rows.push(Row {
            name: model.name,
            parameters: graph.trained_parameters(),
            multiply_adds: graph.multiply_adds(),
            input: [3, side, side],
            summary: model.summary,
        });
    }
    if arguments.json {
        return printer::json(&rows);
    }
    let mut text = format!("{:<10}{:>12}{:>16}  {}\n", "name", "parameters", "multiply-adds", "what it is");
    for row in rows {
        let (parameters, cost) = (thousands(row.parameters as u64), thousands(row.multiply_adds));
        text += &format!("{:<10}{parameters:>12}{cost:>16}  {}\n", row.name, row.summary);
    }
    text += &format!(
        "\nCosts are for colour images of {side}x{side} and 10 classes; all begin from nothing, on images of any size\n\
         that they fit. `--model auto`, the default, picks one by image size and says why.\n"
    );
    printer::result(text)
}
