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
    /// Side that pictures larger than it are brought to where no size is asked for.
    pub side: usize,
    /// Its graph for given images and classes.
    pub build: fn(&ModelConfig) -> Result<Graph>,
}

/// Every model, from the simplest on.
pub const MODELS: [Model; 8] = [
    Model {
        name: "softmax",
        summary: "softmax regression: one linear layer on the pixels",
        side: resnet::SMALL_IMAGE,
        build: linear::softmax,
    },
    Model { name: "mlp", summary: "one hidden layer with ReLU", side: resnet::SMALL_IMAGE, build: linear::mlp },
    Model {
        name: "cnn",
        summary: "small convolutional network, the default up to 64 pixels",
        side: resnet::SMALL_IMAGE,
        build: cnn::cnn,
    },
    Model {
        name: "cnn-small",
        summary: "cnn at half the width, for seconds of training",
        side: resnet::SMALL_IMAGE,
        build: cnn::cnn_small,
    },
    Model {
        name: "cnn6",
        summary: "six 3x3 convolutions with batch norm, for comparisons of speed",
        side: resnet::SMALL_IMAGE,
        build: cnn::cnn6,
    },
    Model {
        name: "resnet18",
        summary: "residual network of 18 layers",
        side: 128,
        build: |config| resnet::resnet(&resnet::RESNET18, config),
    },
    Model {
        name: "resnet34",
        summary: "residual network of 34 layers",
        side: 128,
        build: |config| resnet::resnet(&resnet::RESNET34, config),
    },
    Model {
        name: "resnet50",
        summary: "residual network of 50 layers with bottlenecks",
        side: 128,
        build: |config| resnet::resnet(&resnet::RESNET50, config),
    },
];

/// The model of a name.
///
/// # Errors
/// An unknown name.
pub fn find(name: &str) -> Result<&'static Model> {
    MODELS.iter().find(|model| model.name == name).ok_or_else(|| {
        let names: Vec<_> = MODELS.iter().map(|model| model.name).collect();
        let hint = format!("choose auto, {}", names.join(", "));
        Error::invalid(format!("there is no model named \"{name}\""), hint)
    })
}

/// Builds the named model's graph.
///
/// # Errors
/// An unknown name, or images too small for the model.
pub fn build(name: &str, config: &ModelConfig) -> Result<Graph> {
    (find(name)?.build)(config)
}

/// A residual network on photographs learns less from fewer images than the small network does.
const ENOUGH_FOR_RESNET: usize = 5_000;

/// Picks a model by the size of the pictures, `[height, width]`, and how many there are, with the reason.
pub fn choose([height, width]: [usize; 2], images: Option<usize>) -> (&'static str, String) {
    if height.max(width) <= resnet::SMALL_IMAGE {
        return ("cnn", format!("the images are small ({height}x{width})"));
    }
    let large = format!("the images are larger than {} pixels ({height}x{width})", resnet::SMALL_IMAGE);
    match images {
        Some(few) if few < ENOUGH_FOR_RESNET => {
            ("cnn", format!("{large}, but {few} are too few to teach a larger network from nothing"))
        }
        _ => ("resnet18", large),
    }
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn size_and_number_of_images_decide() {
        assert_eq!(choose([32, 32], Some(50_000)).0, "cnn");
        assert_eq!(choose([375, 500], Some(60_000)).0, "resnet18");
        let (name, reason) = choose([375, 500], Some(397));
        assert_eq!(name, "cnn");
        assert!(reason.contains("(375x500), but 397 are too few"), "{reason}");
    }
}
