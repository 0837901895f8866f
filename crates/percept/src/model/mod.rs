//! The models: one table, a file per family. A model is a [`Graph`]; it knows no data, no files and no training.

mod cnn;
mod convnext;
pub mod draw;
mod efficientnet;
pub mod fold;
pub mod graph;
mod linear;
mod mobilenet;
pub mod parameters;
mod resnet;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, image::ImageShape};
pub use graph::Graph;
pub use parameters::Parameters;

/// What a model's shape depends on. With the model's name it is the architecture that a model file carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Images it takes.
    pub input: ImageShape,
    /// Classes it tells apart.
    pub classes: usize,
    /// Features of the hidden layer of `mlp`.
    pub hidden: usize,
    /// One mean a pixel (`--preprocess mean-image`) instead of one a channel.
    pub per_pixel: bool,
    /// What its weights expect of the program that runs them; none where that is [`Conventions::usual`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conventions: Option<Conventions>,
}

/// What networks of the same names and shapes differ in, by the program that their weights were trained with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conventions {
    /// What batch norms add to the variance before its root is taken.
    pub epsilon: f32,
    /// Where zeros are put around what strided convolutions of EfficientNet-Lite read.
    pub padding: Padding,
}

/// Where zeros are put around an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// As many on either side: torch's.
    Even,
    /// As many as it takes for `ceil(size / stride)` outputs, the larger half at the end: TensorFlow's.
    End,
}

impl Conventions {
    /// torch's defaults.
    pub const TORCH: Self = Self { epsilon: 1e-5, padding: Padding::Even };
    /// TensorFlow's defaults.
    pub const TENSORFLOW: Self = Self { epsilon: 1e-3, padding: Padding::End };

    /// Those that a model has where nothing else is said: of EfficientNet-Lite TensorFlow's, where it was published.
    pub fn usual(model: &str) -> Self {
        if model.starts_with("efficientnet_lite") { Self::TENSORFLOW } else { Self::TORCH }
    }

    /// What an architecture has to say of them.
    pub fn unless_usual(self, model: &str) -> Option<Self> {
        Some(self).filter(|&own| own != Self::usual(model))
    }
}

/// One row of the table of models.
pub struct Model {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in a few words.
    pub summary: &'static str,
    /// Side that pictures larger than it are brought to where no size is asked for.
    pub side: usize,
    /// Whether it looks at small pictures otherwise than at large ones.
    pub has_small_stem: bool,
    /// Its graph for given images and classes.
    pub build: fn(&ModelConfig) -> Result<Graph>,
}

/// Every model, from the simplest on.
pub const MODELS: [Model; 14] = [
    Model {
        name: "softmax",
        summary: "softmax regression: one linear layer on the pixels",
        side: resnet::SMALL_IMAGE,
        has_small_stem: false,
        build: linear::softmax,
    },
    Model {
        name: "mlp",
        summary: "one hidden layer with ReLU",
        side: resnet::SMALL_IMAGE,
        has_small_stem: false,
        build: linear::mlp,
    },
    Model {
        name: "cnn",
        summary: "small convolutional network, the default up to 64 pixels",
        side: resnet::SMALL_IMAGE,
        has_small_stem: false,
        build: cnn::cnn,
    },
    Model {
        name: "cnn-small",
        summary: "cnn at half the width, for seconds of training",
        side: resnet::SMALL_IMAGE,
        has_small_stem: false,
        build: cnn::cnn_small,
    },
    Model {
        name: "cnn-large",
        summary: "cnn at one and a half times the width, for minutes of training",
        side: resnet::SMALL_IMAGE,
        has_small_stem: false,
        build: cnn::cnn_large,
    },
    Model {
        name: "cnn6",
        summary: "six 3x3 convolutions with batch norm, for comparisons of speed",
        side: resnet::SMALL_IMAGE,
        has_small_stem: false,
        build: cnn::cnn6,
    },
    Model {
        name: "resnet18",
        summary: "residual network of 18 layers",
        side: 128,
        has_small_stem: true,
        build: |config| resnet::resnet(&resnet::RESNET18, config),
    },
    Model {
        name: "resnet34",
        summary: "residual network of 34 layers",
        side: 128,
        has_small_stem: true,
        build: |config| resnet::resnet(&resnet::RESNET34, config),
    },
    Model {
        name: "resnet50",
        summary: "residual network of 50 layers with bottlenecks",
        side: 128,
        has_small_stem: true,
        build: |config| resnet::resnet(&resnet::RESNET50, config),
    },
    Model {
        name: "efficientnet_lite0",
        summary: "EfficientNet-Lite0, pretrained: the default for photographs",
        side: 224,
        has_small_stem: false,
        build: |config| efficientnet::efficientnet_lite(&efficientnet::LITE0, config),
    },
    Model {
        name: "efficientnet_lite1",
        summary: "EfficientNet-Lite1, pretrained: a little deeper",
        side: 240,
        has_small_stem: false,
        build: |config| efficientnet::efficientnet_lite(&efficientnet::LITE1, config),
    },
    Model {
        name: "efficientnet_lite2",
        summary: "EfficientNet-Lite2, pretrained: wider, more often right, twice as slow",
        side: 260,
        has_small_stem: false,
        build: |config| efficientnet::efficientnet_lite(&efficientnet::LITE2, config),
    },
    Model {
        name: "mobilenet_v3_large",
        summary: "depthwise convolutions and gates, for small devices",
        side: 224,
        has_small_stem: false,
        build: mobilenet::mobilenet_v3_large,
    },
    Model {
        name: "convnext_tiny",
        summary: "7x7 depthwise convolutions, layer norms and GELU",
        side: 224,
        has_small_stem: false,
        build: convnext::convnext_tiny,
    },
];

/// Longest side of a model's images.
const LARGEST_SIDE: usize = 4096;
/// Most channels of a model's images.
const MOST_CHANNELS: usize = 4;
/// Most classes, and most hidden features. What sizes make together then fits a 64-bit number.
const MOST_FEATURES: usize = 1 << 24;

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
/// An unknown name, images too small for the model, or sizes that no model has.
pub fn build(name: &str, config: &ModelConfig) -> Result<Graph> {
    let model = find(name)?;
    let ImageShape { height, width, channels } = config.input;
    for (what, least, size, most) in [
        ("image height", 1, height, LARGEST_SIDE),
        ("image width", 1, width, LARGEST_SIDE),
        ("number of channels", 1, channels, MOST_CHANNELS),
        ("number of classes", 1, config.classes, MOST_FEATURES),
        ("number of hidden features", 0, config.hidden, MOST_FEATURES),
    ] {
        if !(least..=most).contains(&size) {
            return Err(Error::invalid(
                format!("no model has a {what} of {size}"),
                format!("choose one from {least} to {most}"),
            ));
        }
    }
    if let Some(Conventions { epsilon, .. }) = config.conventions
        && !(0.0..1.0).contains(&epsilon)
    {
        return Err(Error::invalid(
            format!("no model has batch norms with an epsilon of {epsilon}"),
            "choose one from 0 up to, not including, 1",
        ));
    }
    (model.build)(config)
}

/// With fewer training images a large network learns less from nothing than the small one does, and a small network
/// less than a pretrained one knows.
const ENOUGH_IMAGES: usize = 5_000;
/// Pictures up to this side show signs or digits, of which photographs teach nothing.
const TINY_IMAGE: usize = 16;

/// Picks a model by the size of the pictures, `[height, width]`, and how many there are to train on, with the reason.
/// Pretrained ones are left out if it is to begin `from_scratch`.
pub fn choose([height, width]: [usize; 2], images: Option<usize>, from_scratch: bool) -> (&'static str, String) {
    let few = images.filter(|&images| images < ENOUGH_IMAGES);
    let side = height.max(width);
    let small = format!("the images are small ({height}x{width})");
    let large = format!("the images are larger than {} pixels ({height}x{width})", resnet::SMALL_IMAGE);
    match few {
        Some(few) if !from_scratch && (TINY_IMAGE + 1..=resnet::SMALL_IMAGE).contains(&side) => {
            (PHOTOGRAPHS, format!("{small}, but {few} are too few to learn all from"))
        }
        _ if side <= resnet::SMALL_IMAGE => ("cnn", small),
        _ if !from_scratch => (PHOTOGRAPHS, large),
        Some(few) => ("cnn", format!("{large}, but {few} are too few to teach a larger network from nothing")),
        None => ("resnet18", large),
    }
}

/// The pretrained model that photographs get.
const PHOTOGRAPHS: &str = "efficientnet_lite0";

#[cfg(test)]
mod tests {
    use super::{Conventions, ModelConfig, build, choose};
    use crate::image::ImageShape;

    #[test]
    fn sizes_that_no_model_has_are_refused() {
        let sizes = |height, width, channels, classes, hidden| ModelConfig {
            input: ImageShape { height, width, channels },
            classes,
            hidden,
            per_pixel: false,
            conventions: None,
        };
        let far = usize::MAX;
        for (config, what) in [
            (sizes(0, 8, 3, 2, 2), "image height of 0".to_owned()),
            (sizes(8, far, 3, 2, 2), format!("image width of {far}")),
            (sizes(8, 8, 0, 2, 2), "number of channels of 0".to_owned()),
            (sizes(8, 8, 3, 0, 2), "number of classes of 0".to_owned()),
            (sizes(8, 8, 3, 2, far), format!("number of hidden features of {far}")),
        ] {
            let error = build("mlp", &config).expect_err("no model");
            assert_eq!(error.to_string(), format!("no model has a {what}"));
        }
        assert!(build("mlp", &sizes(8, 8, 3, 2, 0)).is_err(), "a layer without features");
        let conventions = Some(Conventions { epsilon: f32::NAN, ..Conventions::TORCH });
        let error = build("cnn", &ModelConfig { conventions, ..sizes(8, 8, 3, 2, 2) }).expect_err("no model");
        assert_eq!(error.to_string(), "no model has batch norms with an epsilon of NaN");
        assert!(build("softmax", &sizes(8, 8, 3, 2, 0)).is_ok());
    }

    #[test]
    fn size_and_number_of_images_decide() {
        assert_eq!(choose([32, 32], Some(50_000), false).0, "cnn");
        assert_eq!(choose([8, 8], Some(1_797), false).0, "cnn");
        assert_eq!(choose([32, 32], Some(1_000), true).0, "cnn");
        assert_eq!(choose([375, 500], Some(60_000), true).0, "resnet18");
        let (name, reason) = choose([32, 32], Some(1_000), false);
        assert_eq!(name, "efficientnet_lite0");
        assert!(reason.contains("(32x32), but 1000 are too few"), "{reason}");
        assert_eq!(choose([375, 500], Some(397), false).0, "efficientnet_lite0");
        assert_eq!(choose([375, 500], None, false).0, "efficientnet_lite0");
        let (name, reason) = choose([375, 500], Some(397), true);
        assert_eq!(name, "cnn");
        assert!(reason.contains("(375x500), but 397 are too few"), "{reason}");
    }
}
