//! `percept models`: every name, with what it costs.

use anyhow::Result;
use percept::{
    image::ImageShape,
    model::{self, ModelConfig, draw::thousands},
    weights::pretrained::Pretrained,
};
use serde::Serialize;

use crate::printer;

/// Side of the images of models that take any size, and the classes that are counted there.
const SIDE: usize = 32;
const CLASSES: usize = 10;

#[derive(clap::Args)]
pub struct Arguments {
    /// Side of the images that costs are given for, instead of each model's usual one
    #[arg(long, value_name = "N")]
    image_size: Option<usize>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    imagenet_top1: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    licence: Option<&'static str>,
    summary: &'static str,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut rows = Vec::new();
    for model in &model::MODELS {
        let pretrained = Pretrained::of(model.name);
        let side = arguments.image_size.unwrap_or(pretrained.map_or(SIDE, |weights| weights.side));
        let classes = if pretrained.is_some() { Pretrained::classes().len() } else { CLASSES };
        let input = ImageShape { height: side, width: side, channels: 3 };
        let graph = (model.build)(&ModelConfig { input, classes, hidden: 512, per_pixel: false, conventions: None })?;
        rows.push(Row {
            name: model.name,
            parameters: graph.trained_parameters(),
            multiply_adds: graph.multiply_adds(),
            input: [3, side, side],
            imagenet_top1: pretrained.map(|weights| weights.top1),
            weights: pretrained.map(|weights| weights.repository),
            licence: pretrained.map(|weights| weights.licence),
            summary: model.summary,
        });
    }
    if arguments.json {
        return printer::json(&rows);
    }
    let head = ["name", "parameters", "multiply-adds", "input", "ImageNet", "weights"];
    let line = |[name, parameters, cost, input, top1, licence]: [&str; 6], summary: &str| {
        format!("{name:<20}{parameters:>11}{cost:>15}{input:>7}{top1:>10}  {licence:<12}{summary}\n")
    };
    let mut text = line(head, "what it is");
    for row in rows {
        let (parameters, cost) = (thousands(row.parameters as u64), thousands(row.multiply_adds));
        let top1 = row.imagenet_top1.map_or(String::new(), |top1| format!("{:.1} %", 100.0 * top1));
        let input = row.input[1].to_string();
        text += &line([row.name, &parameters, &cost, &input, &top1, row.licence.unwrap_or("")], row.summary);
    }
    text += &format!(
        "\nCosts are for colour images of input x input, with ImageNet's 1000 classes where weights are published (accuracy\n\
         and licence are theirs), else with {CLASSES}. Every model takes images of any size that it fits.\n\
         `--model auto`, the default, picks one by the size and number of the images and says why.\n"
    );
    printer::result(text)
}
