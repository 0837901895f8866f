//! MobileNetV3 (Howard et al. 2019), with the names and shapes of timm's `mobilenetv3_large_100`. The norms' epsilon belongs to
//! the weights: torchvision's `mobilenet_v3_large` has 1e-3.

use super::{
    ModelConfig,
    efficientnet::whole_channels,
    graph::{Convolution, Graph, Init, Role, Value, Window},
};
use crate::Result;

/// Pixels of the image to one of the last maps.
const STRIDE: usize = 32;

/// Blocks with one kernel, of which the first moves by the stride.
struct Stage {
    kernel: usize,
    stride: usize,
    /// Channels that a block gives.
    filters: usize,
    /// Channels that each block works with.
    expanded: &'static [usize],
    /// Whether channels are weighed by squeeze and excitation.
    gated: bool,
    /// Hard swish, or else ReLU.
    swish: bool,
}

const LARGE: [Stage; 6] = [
    Stage { kernel: 3, stride: 1, filters: 16, expanded: &[16], gated: false, swish: false },
    Stage { kernel: 3, stride: 2, filters: 24, expanded: &[64, 72], gated: false, swish: false },
    Stage { kernel: 5, stride: 2, filters: 40, expanded: &[72, 120, 120], gated: true, swish: false },
    Stage { kernel: 3, stride: 2, filters: 80, expanded: &[240, 200, 184, 184], gated: false, swish: true },
    Stage { kernel: 3, stride: 1, filters: 112, expanded: &[480, 672], gated: true, swish: true },
    Stage { kernel: 5, stride: 2, filters: 160, expanded: &[672, 960, 960], gated: true, swish: true },
];

/// `mobilenet_v3_large` at its whole width.
pub(super) fn mobilenet_v3_large(config: &ModelConfig) -> Result<Graph> {
    let (mut graph, images) = Graph::of("mobilenet_v3_large", config);
    graph.require_side(STRIDE)?;
    let x = conv_norm(&mut graph, ["conv_stem", "bn1"], images, Convolution::new(16, Window::same(3, 2)))?;
    let mut x = activation(&mut graph, "act1", x, true);
    for (stage, settings) in LARGE.iter().enumerate() {
        for (index, &expanded) in settings.expanded.iter().enumerate() {
            let stride = if index == 0 { settings.stride } else { 1 };
            x = block(&mut graph, &format!("blocks.{stage}.{index}"), x, settings, expanded, stride)?;
        }
    }
    let last = ["blocks.6.0.conv", "blocks.6.0.bn1"];
    let x = conv_norm(&mut graph, last, x, Convolution::new(960, Window::valid(1, 1)))?;
    let x = activation(&mut graph, "blocks.6.0.act1", x, true);
    let x = graph.global_average_pool("global_pool", x);
    let x = convolution(&mut graph, "conv_head", x, Convolution::new(1280, Window::valid(1, 1)).with_bias())?;
    let x = activation(&mut graph, "act2", x, true);
    graph.linear("classifier", x, config.classes, Init::UniformFanIn)?;
    Ok(graph)
}

/// Channels are made more where the block works with more than it is given, seen one by one, weighed and made fewer.
fn block(graph: &mut Graph, name: &str, input: Value, stage: &Stage, expanded: usize, stride: usize) -> Result<Value> {
    let channels = graph.nodes[input].shape.channels();
    let pointwise = |filters: usize| Convolution::new(filters, Window::valid(1, 1));
    let part = |part: &str| format!("{name}.{part}");
    let mut x = input;
    let mut norms = ["bn1", "bn2", "bn3"].into_iter().map(part);
    let mut next = |part: &str| [format!("{name}.{part}"), norms.next().unwrap_or_default()];
    if expanded != channels {
        x = conv_norm(graph, next("conv_pw"), x, pointwise(expanded))?;
        x = activation(graph, &part("act1"), x, stage.swish);
    }
    let depthwise = Convolution::depthwise(expanded, Window::same(stage.kernel, stride));
    x = conv_norm(graph, next("conv_dw"), x, depthwise)?;
    x = activation(graph, &part("act2"), x, stage.swish);
    if stage.gated {
        x = squeeze_and_excite(graph, &part("se"), x)?;
    }
    let projection = if expanded == channels { "conv_pw" } else { "conv_pwl" };
    x = conv_norm(graph, next(projection), x, pointwise(stage.filters))?;
    match stride == 1 && channels == stage.filters {
        true => graph.add(&part("add"), x, input),
        false => Ok(x),
    }
}

/// Weighs the channels by what all pixels show (Hu et al. 2018), with a gate of straight lines.
fn squeeze_and_excite(graph: &mut Graph, name: &str, input: Value) -> Result<Value> {
    let channels = graph.nodes[input].shape.channels();
    let pointwise = |filters: usize| Convolution::new(filters, Window::valid(1, 1)).with_bias();
    let x = graph.global_average_pool(&format!("{name}.pool"), input);
    let x = convolution(graph, &format!("{name}.conv_reduce"), x, pointwise(whole_channels(channels, 0.25)))?;
    let x = graph.relu(&format!("{name}.act1"), x);
    let x = convolution(graph, &format!("{name}.conv_expand"), x, pointwise(channels))?;
    let x = graph.hard_sigmoid(&format!("{name}.gate"), x);
    graph.gate(name, input, x)
}

fn conv_norm(
    graph: &mut Graph,
    [name, norm]: [impl AsRef<str>; 2],
    input: Value,
    settings: Convolution,
) -> Result<Value> {
    let x = convolution(graph, name.as_ref(), input, settings)?;
    Ok(graph.batch_norm(norm.as_ref(), x, Role::Scale))
}

/// Weights begin normal with deviation `sqrt(2 / fan_out)`, where a group's fan counts, as in timm.
fn convolution(graph: &mut Graph, name: &str, input: Value, settings: Convolution) -> Result<Value> {
    let fan_out = settings.kernel * settings.kernel * settings.filters / settings.groups;
    graph.convolution(name, input, settings, Init::Normal((2.0 / fan_out as f32).sqrt()))
}

fn activation(graph: &mut Graph, name: &str, input: Value, swish: bool) -> Value {
    if swish { graph.hard_swish(name, input) } else { graph.relu(name, input) }
}
