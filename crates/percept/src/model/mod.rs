//! The models: one table, a file per family. A model is a [`Graph`]; it knows no data, no files and no training.

mod cnn;
pub mod draw;
pub mod graph;
mod linear;
pub mod parameters;
mod resnet;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, image::ImageShape};
pub use graph::Graph;
pub use parameters::Parameters;

/// What a model's shape depends on. With the model's name it is the architecture that a model file carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Images it takes.
    pub input: ImageShape,
    /// Classes it tells apart.
    pub classes: usize,
    /// Features of the hidden layer of `mlp`.
    pub hidden: usize,
    /// One mean a pixel (`--preprocess mean-image`) instead of one a channel.
    pub per_pixel: bool,
}

/// One row of the table of models.
pub struct Model {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// Its graph for given images and classes.
    pub build: fn(&ModelConfig) -> Result<Graph>,
}

/// Every model, from the simplest on.
pub const MODELS: [Model; 7] = [
    Model { name: "softmax", summary: "softmax regression: one linear layer on the pixels", build: linear::softmax },
    Model { name: "mlp", summary: "one hidden layer with ReLU", build: linear::mlp },
    Model { name: "cnn", summary: "small convolutional network, the default up to 64 pixels", build: cnn::cnn },
    Model { name: "cnn6", summary: "six 3x3 convolutions with batch norm, for comparisons of speed", build: cnn::cnn6 },
    Model {
        name: "resnet18",
        summary: "residual network of 18 layers",
        build: |config| resnet::resnet(&resnet::RESNET18, config),
    },
    Model {
        name: "resnet34",
        summary: "residual network of 34 layers",
        build: |config| resnet::resnet(&resnet::RESNET34, config),
    },
    Model {
        name: "resnet50",
        summary: "residual network of 50 layers with bottlenecks",
        build: |config| resnet::resnet(&resnet::RESNET50, config),
    },
];

/// Builds the named model's graph.
///
/// # Errors
/// An unknown name, or images too small for the model.
pub fn build(name: &str, config: &ModelConfig) -> Result<Graph> {
    match MODELS.iter().find(|model| model.name == name) {
        Some(model) => (model.build)(config),
        None => Err(unknown(name)),
    }
}

/// Refuses an unknown model name, naming those that exist.
pub fn unknown(name: &str) -> Error {
    let names: Vec<_> = MODELS.iter().map(|model| model.name).collect();
    Error::invalid(format!("there is no model named \"{name}\""), format!("choose auto, {}", names.join(", ")))
}

/// Picks a model by image size, with the reason.
pub fn choose(input: [usize; 2]) -> (&'static str, String) {
    let side = input[0].max(input[1]);
    if side <= resnet::SMALL_IMAGE {
        return ("cnn", format!("the images are small ({}x{})", input[0], input[1]));
    }
    let reason = format!("the images are larger than {} pixels ({}x{})", resnet::SMALL_IMAGE, input[0], input[1]);
    ("resnet18", reason)
}
