//! EfficientNet-Lite (Tan and Le 2019; Google's variants for small devices, without gates and with ReLU6), with timm's
//! names. Padding and the norms' epsilon are those of the program that its weights were trained with.

use super::{
    ModelConfig, Padding,
    graph::{Convolution, Graph, Init, Role, Value, Window},
};
use crate::Result;

/// Factors of width and depth.
pub(super) struct Scaling {
    pub name: &'static str,
    pub width: f64,
    pub depth: f64,
}

pub(super) const LITE0: Scaling = Scaling { name: "efficientnet_lite0", width: 1.0, depth: 1.0 };
pub(super) const LITE1: Scaling = Scaling { name: "efficientnet_lite1", width: 1.0, depth: 1.1 };
pub(super) const LITE2: Scaling = Scaling { name: "efficientnet_lite2", width: 1.1, depth: 1.2 };

/// Pixels of the image that one pixel of the last feature map stands for.
const STRIDE: usize = 32;
/// Channels of stem and head, which Lite does not scale.
const STEM: usize = 32;
const HEAD: usize = 1280;

/// Blocks that share a width; the first of them has the stride.
struct Stage {
    blocks: usize,
    kernel: usize,
    stride: usize,
    expansion: usize,
    channels: usize,
}

const fn stage(blocks: usize, kernel: usize, stride: usize, expansion: usize, channels: usize) -> Stage {
    Stage { blocks, kernel, stride, expansion, channels }
}

const STAGES: [Stage; 7] = [
    stage(1, 3, 1, 1, 16),
    stage(2, 3, 2, 6, 24),
    stage(2, 5, 2, 6, 40),
    stage(3, 3, 2, 6, 80),
    stage(3, 5, 1, 6, 112),
    stage(4, 5, 2, 6, 192),
    stage(1, 3, 1, 6, 320),
];

pub(super) fn efficientnet_lite(scaling: &Scaling, config: &ModelConfig) -> Result<Graph> {
    let (mut graph, images) = Graph::of(scaling.name, config);
    graph.require_side(STRIDE)?;
    let x = convolution(&mut graph, "conv_stem", images, Convolution::new(STEM, Window::same(3, 2)))?;
    let x = norm(&mut graph, "bn1", x);
    let mut x = graph.relu6("act1", x);
    for (index, stage) in STAGES.iter().enumerate() {
        // Lite leaves the first and the last stage as deep as they are.
        let is_end = index == 0 || index + 1 == STAGES.len();
        let depth = if is_end { 1.0 } else { scaling.depth };
        let blocks = (stage.blocks as f64 * depth).ceil() as usize;
        for block in 0..blocks {
            let name = format!("blocks.{index}.{block}");
            let stride = if block == 0 { stage.stride } else { 1 };
            x = self::block(&mut graph, &name, x, stage, stride, whole_channels(stage.channels, scaling.width))?;
        }
    }
    let x = convolution(&mut graph, "conv_head", x, Convolution::new(HEAD, Window::valid(1, 1)))?;
    let x = norm(&mut graph, "bn2", x);
    let x = graph.relu6("act2", x);
    let x = graph.global_average_pool("global_pool", x);
    graph.linear("classifier", x, config.classes, Init::UniformFanIn)?;
    Ok(graph)
}

/// Expands, looks around in every channel, and narrows again; what came in is added where it fits.
fn block(graph: &mut Graph, name: &str, input: Value, stage: &Stage, stride: usize, channels: usize) -> Result<Value> {
    let inputs = graph.nodes[input].shape.channels();
    let wide = inputs * stage.expansion;
    let part = |part: &str| format!("{name}.{part}");
    let mut x = input;
    let mut norms = 1;
    let mut next_norm = || {
        norms += 1;
        format!("{name}.bn{}", norms - 1)
    };
    if stage.expansion > 1 {
        x = convolution(graph, &part("conv_pw"), x, Convolution::new(wide, Window::valid(1, 1)))?;
        x = norm(graph, &next_norm(), x);
        x = graph.relu6(&part("act1"), x);
    }
    let around = Convolution::depthwise(wide, Window::same(stage.kernel, stride));
    x = convolution(graph, &part("conv_dw"), x, around)?;
    x = norm(graph, &next_norm(), x);
    x = graph.relu6(&part("act2"), x);
    // timm calls it by its place in either kind of block.
    let narrow = if stage.expansion > 1 { "conv_pwl" } else { "conv_pw" };
    x = convolution(graph, &part(narrow), x, Convolution::new(channels, Window::valid(1, 1)))?;
    x = norm(graph, &next_norm(), x);
    match stride == 1 && inputs == channels {
        true => graph.add(&part("add"), x, input),
        false => Ok(x),
    }
}

/// A convolution that is padded by the graph's conventions. TensorFlow pads as much as it takes for `ceil(size / stride)`
/// outputs, the larger half at the end.
fn convolution(graph: &mut Graph, name: &str, input: Value, convolution: Convolution) -> Result<Value> {
    let Convolution { kernel, stride, .. } = convolution;
    let padding = match graph.conventions.padding {
        Padding::Even => convolution.padding,
        Padding::End => graph.nodes[input].shape.size().map(|size| {
            let total = ((size.div_ceil(stride).max(1) - 1) * stride + kernel).saturating_sub(size);
            [total / 2, total - total / 2]
        }),
    };
    graph.convolution(name, input, Convolution { padding, ..convolution }, Init::KaimingNormalFanOut)
}

fn norm(graph: &mut Graph, name: &str, input: Value) -> Value {
    graph.batch_norm(name, input, Role::Scale)
}

/// Scaled channels as a multiple of 8, at most a tenth below.
pub(super) fn whole_channels(channels: usize, factor: f64) -> usize {
    let scaled = channels as f64 * factor;
    let rounded = ((scaled + 4.0) / 8.0) as usize * 8;
    if (rounded as f64) < 0.9 * scaled { rounded + 8 } else { rounded.max(8) }
}
