//! The networks, written with Burn's modules as its book does.

use burn::{
    nn::{
        BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        pool::MaxPool2dConfig,
    },
    prelude::*,
    tensor::activation::relu,
};

/// Whether a workload looks at images rather than at rows of numbers.
pub fn is_convolutional(workload: &str) -> bool {
    matches!(workload, "cnn6" | "resnet18")
}

/// Images `[batch, 3, 32, 32]` to logits `[batch, 10]`. What a workload does not have is empty.
#[derive(Module, Debug)]
pub struct Classifier {
    plain: Vec<ConvNorm>,
    blocks: Vec<Block>,
    hidden: Option<Linear>,
    head: Linear,
    pooled: bool,
}

impl Classifier {
    /// The network of a workload.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn new(workload: &str, device: &Device) -> Self {
        let convolutional = is_convolutional(workload);
        let plain = match workload {
            "cnn6" => [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)].as_slice(),
            "resnet18" => &[(3, 64)],
            "softmax" | "mlp" => &[],
            other => panic!("there is no workload named {other}"),
        };
        let blocks = match workload {
            "resnet18" => {
                [(64, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)].as_slice()
            }
            _ => &[],
        };
        let features = match workload {
            "cnn6" => 128,
            "softmax" => 3072,
            _ => 512,
        };
        Self {
            plain: plain.iter().map(|&(ins, outs)| ConvNorm::new(ins, outs, 3, 1, device)).collect(),
            blocks: blocks.iter().map(|&(ins, outs)| Block::new(ins, outs, device)).collect(),
            hidden: (workload == "mlp").then(|| LinearConfig::new(3072, 512).init(device)),
            head: LinearConfig::new(features, 10).init(device),
            pooled: convolutional,
        }
    }

    /// Logits.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        if !self.pooled {
            let x: Tensor<2> = images.flatten(1, 3); // [batch, 3072]
            let x = self.hidden.iter().fold(x, |x, hidden| relu(hidden.forward(x)));
            return self.head.forward(x);
        }
        let mut x = images;
        for (index, layer) in self.plain.iter().enumerate() {
            x = relu(layer.forward(x));
            if index == 1 || index == 3 {
                x = MaxPool2dConfig::new([2, 2]).init().forward(x);
            }
        }
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x: Tensor<3> = x.flatten(2, 3); // [batch, channels, pixels]
        self.head.forward(x.mean_dim(2).flatten(1, 2))
    }
}

/// A convolution without bias and its batch norm.
#[derive(Module, Debug)]
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(ins: usize, outs: usize, kernel: usize, stride: usize, device: &Device) -> Self {
        let padding = PaddingConfig2d::Explicit(kernel / 2, kernel / 2, kernel / 2, kernel / 2);
        let conv = Conv2dConfig::new([ins, outs], [kernel; 2]).with_stride([stride; 2]).with_padding(padding);
        Self { conv: conv.with_bias(false).init(device), norm: BatchNormConfig::new(outs).init(device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

/// A basic residual block; it halves the image where it widens the features.
#[derive(Module, Debug)]
struct Block {
    first: ConvNorm,
    second: ConvNorm,
    shortcut: Option<ConvNorm>,
}

impl Block {
    fn new(ins: usize, outs: usize, device: &Device) -> Self {
        let stride = if ins == outs { 1 } else { 2 };
        Self {
            first: ConvNorm::new(ins, outs, 3, stride, device),
            second: ConvNorm::new(outs, outs, 3, 1, device),
            shortcut: (ins != outs).then(|| ConvNorm::new(ins, outs, 1, stride, device)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let inner = self.second.forward(relu(self.first.forward(x.clone())));
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x),
            None => x,
        };
        relu(inner + shortcut)
    }
}
