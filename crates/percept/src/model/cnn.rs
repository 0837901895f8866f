//! Small convolutional networks.

use super::{
    ModelConfig,
    graph::{Convolution, Graph, Init, Role, Value, Window},
};
use crate::Result;

/// The small default for images up to 64 pixels: a fixed whitening convolution, three groups of two convolutions,
/// the largest response of each feature, one linear layer. After airbench94 (Jordan 2024), at a quarter of its cost.
pub(super) fn cnn(config: &ModelConfig) -> Result<Graph> {
    whitened("cnn", [32, 128, 128], config)
}

/// The same at one and a half times the width: twice the work, for trainings of five minutes and more.
pub(super) fn cnn_large(config: &ModelConfig) -> Result<Graph> {
    whitened("cnn-large", [48, 192, 192], config)
}

/// The same at half the width: a third of the work, for very short trainings and small devices.
pub(super) fn cnn_small(config: &ModelConfig) -> Result<Graph> {
    whitened("cnn-small", [16, 64, 64], config)
}

fn whitened(name: &str, widths: [usize; 3], config: &ModelConfig) -> Result<Graph> {
    let (mut graph, images) = Graph::of(name, config);
    // Each eigenvector of a 2x2 patch and its negative, so that an activation loses neither sign.
    let patch = 2 * 2 * config.input.channels;
    let whiten = Convolution::new(2 * patch, Window::valid(2, 1)).with_bias();
    let white = graph.convolution("whiten", images, whiten, Init::Whitening)?;
    let mut x = graph.gelu("whiten.gelu", white);
    for (index, width) in widths.into_iter().enumerate() {
        x = group(&mut graph, &format!("group{}", index + 1), x, width)?;
    }
    let x = graph.global_max_pool("pool", x);
    let x = graph.linear("fc", x, config.classes, Init::UniformFanIn)?;
    // Keeps the first logits small, so that label smoothing and large steps do not saturate the softmax.
    graph.scale("logits", x, 1.0 / 9.0);
    Ok(graph)
}

/// Convolution, pooling, norm, GELU; convolution, norm, GELU.
fn group(graph: &mut Graph, name: &str, input: Value, width: usize) -> Result<Value> {
    let x = graph.conv2d(&format!("{name}.conv1"), input, width, Window::same(3, 1), Init::Dirac)?;
    let x = match graph.nodes[x].shape.pixels() {
        pixels if pixels >= 9 => graph.max_pool(&format!("{name}.pool"), x, Window::valid(2, 2))?,
        _ => x,
    };
    let x = graph.batch_norm(&format!("{name}.norm1"), x, Role::Fixed);
    let x = graph.gelu(&format!("{name}.gelu1"), x);
    let x = graph.conv2d(&format!("{name}.conv2"), x, width, Window::same(3, 1), Init::Dirac)?;
    let x = graph.batch_norm(&format!("{name}.norm2"), x, Role::Fixed);
    Ok(graph.gelu(&format!("{name}.gelu2"), x))
}

/// Six 3x3 convolutions with batch norm and ReLU: the network that CPU speed is compared on.
pub(super) fn cnn6(config: &ModelConfig) -> Result<Graph> {
    let (mut graph, mut x) = Graph::of("cnn6", config);
    let mut layer = 0;
    let mut next = |step: usize| {
        let name = format!("features.{layer}");
        layer += step;
        name
    };
    for (index, filters) in [32, 32, 64, 64, 128, 128].into_iter().enumerate() {
        x = graph.conv2d(&next(1), x, filters, Window::same(3, 1), Init::UniformFanIn)?;
        x = graph.batch_norm(&next(1), x, Role::Scale);
        x = graph.relu(&next(1), x);
        if index == 1 || index == 3 {
            x = graph.max_pool(&next(1), x, Window::valid(2, 2))?;
        }
    }
    let x = graph.global_average_pool("pool", x);
    graph.linear("head", x, config.classes, Init::UniformFanIn)?;
    Ok(graph)
}
