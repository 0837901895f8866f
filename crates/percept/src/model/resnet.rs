//! Residual networks (He et al. 2015), with torchvision's names and shapes.

use super::{
    ModelConfig,
    graph::{Graph, Init, Role, Value, Window},
};
use crate::Result;

/// Images up to this side keep their resolution in the stem: 3x3 without pooling instead of 7x7 / 2 and pooling.
pub(super) const SMALL_IMAGE: usize = 64;

/// Blocks of the four stages, and whether they are bottlenecks.
pub(super) struct Depth {
    pub name: &'static str,
    pub blocks: [usize; 4],
    pub bottleneck: bool,
}

pub(super) const RESNET18: Depth = Depth { name: "resnet18", blocks: [2, 2, 2, 2], bottleneck: false };
pub(super) const RESNET34: Depth = Depth { name: "resnet34", blocks: [3, 4, 6, 3], bottleneck: false };
pub(super) const RESNET50: Depth = Depth { name: "resnet50", blocks: [3, 4, 6, 3], bottleneck: true };

pub(super) fn resnet(depth: &Depth, config: &ModelConfig) -> Result<Graph> {
    let (mut graph, images) = Graph::of(depth.name, config);
    let small = config.input.height.max(config.input.width) <= SMALL_IMAGE;
    let stem = if small { Window::same(3, 1) } else { Window::same(7, 2) };
    let x = graph.conv2d("conv1", images, 64, stem, Init::KaimingNormalFanOut)?;
    let x = graph.batch_norm("bn1", x, Role::Scale);
    let mut x = graph.relu("relu", x);
    if !small {
        x = graph.max_pool("maxpool", x, Window::same(3, 2))?;
    }
    for (stage, &blocks) in depth.blocks.iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = format!("layer{}.{block}", stage + 1);
            let width = 64 << stage;
            x = if depth.bottleneck {
                bottleneck(&mut graph, &name, x, width, stride)?
            } else {
                basic(&mut graph, &name, x, width, stride)?
            };
        }
    }
    let x = graph.global_average_pool("avgpool", x);
    graph.linear("fc", x, config.classes, Init::UniformFanIn)?;
    Ok(graph)
}

fn basic(graph: &mut Graph, name: &str, input: Value, width: usize, stride: usize) -> Result<Value> {
    let x = conv_norm(graph, name, 1, input, width, Window::same(3, stride))?;
    let x = graph.relu(&format!("{name}.relu1"), x);
    let x = conv_norm(graph, name, 2, x, width, Window::same(3, 1))?;
    join(graph, name, input, x, stride)
}

fn bottleneck(graph: &mut Graph, name: &str, input: Value, width: usize, stride: usize) -> Result<Value> {
    let x = conv_norm(graph, name, 1, input, width, Window::same(1, 1))?;
    let x = graph.relu(&format!("{name}.relu1"), x);
    let x = conv_norm(graph, name, 2, x, width, Window::same(3, stride))?;
    let x = graph.relu(&format!("{name}.relu2"), x);
    let x = conv_norm(graph, name, 3, x, 4 * width, Window::same(1, 1))?;
    join(graph, name, input, x, stride)
}

fn conv_norm(graph: &mut Graph, block: &str, index: usize, x: Value, width: usize, window: Window) -> Result<Value> {
    let x = graph.conv2d(&format!("{block}.conv{index}"), x, width, window, Init::KaimingNormalFanOut)?;
    Ok(graph.batch_norm(&format!("{block}.bn{index}"), x, Role::Scale))
}

/// Adds the shortcut, projected where the shape changes.
fn join(graph: &mut Graph, name: &str, input: Value, x: Value, stride: usize) -> Result<Value> {
    let channels = graph.nodes[x].shape.channels();
    let mut shortcut = input;
    if stride != 1 || graph.nodes[input].shape.channels() != channels {
        let window = Window::valid(1, stride);
        shortcut = graph.conv2d(&format!("{name}.downsample.0"), input, channels, window, Init::KaimingNormalFanOut)?;
        shortcut = graph.batch_norm(&format!("{name}.downsample.1"), shortcut, Role::Scale);
    }
    let sum = graph.add(&format!("{name}.add"), x, shortcut)?;
    Ok(graph.relu(&format!("{name}.relu"), sum))
}
