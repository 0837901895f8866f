//! Softmax regression and the network with one hidden layer: the tutorial's first two steps.

use super::{
    ModelConfig,
    graph::{Graph, Init},
};
use crate::Result;

/// `logits = images × weights + biases`, all zero at first, as in the tutorial.
pub(super) fn softmax(config: &ModelConfig) -> Result<Graph> {
    let (mut graph, images) = Graph::of("softmax", config);
    let pixels = graph.flatten("flatten", images);
    graph.linear("fc", pixels, config.classes, Init::Zeros)?;
    Ok(graph)
}

/// One hidden layer with ReLU.
pub(super) fn mlp(config: &ModelConfig) -> Result<Graph> {
    let (mut graph, images) = Graph::of("mlp", config);
    let pixels = graph.flatten("flatten", images);
    let hidden = graph.linear("fc1", pixels, config.hidden, Init::UniformFanIn)?;
    let hidden = graph.relu("relu", hidden);
    graph.linear("fc2", hidden, config.classes, Init::UniformFanIn)?;
    Ok(graph)
}
