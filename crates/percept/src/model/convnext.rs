//! ConvNeXt (Liu et al. 2022), with timm's names. Its linear layers on pixels are 1x1 convolutions here.

use super::{
    ModelConfig,
    graph::{Convolution, Graph, Init, Value, Window},
};
use crate::Result;

/// Pixels of the image to one of the last maps.
const STRIDE: usize = 32;
const EPSILON: f32 = 1e-6;
/// How weights begin, and the factors of layer scale.
const WEIGHTS: Init = Init::Normal(0.02);
const LAYER_SCALE: Init = Init::Constant(1e-6);

/// Channels and blocks of the four stages of `convnext_tiny`.
const TINY: [[usize; 2]; 4] = [[96, 3], [192, 3], [384, 9], [768, 3]];

/// timm's `convnext_tiny`.
pub(super) fn convnext_tiny(config: &ModelConfig) -> Result<Graph> {
    let (mut graph, mut x) = Graph::of("convnext_tiny", config);
    graph.require_side(STRIDE)?;
    for (stage, [filters, blocks]) in TINY.into_iter().enumerate() {
        if stage == 0 {
            x = convolution(&mut graph, "stem.0", x, Convolution::new(filters, Window::valid(4, 4)))?;
            x = graph.layer_norm("stem.1", x, EPSILON);
        } else {
            let part = |part: usize| format!("stages.{stage}.downsample.{part}");
            x = graph.layer_norm(&part(0), x, EPSILON);
            x = convolution(&mut graph, &part(1), x, Convolution::new(filters, Window::valid(2, 2)))?;
        }
        for index in 0..blocks {
            x = block(&mut graph, &format!("stages.{stage}.blocks.{index}"), x)?;
        }
    }
    let x = graph.global_average_pool("head.global_pool", x);
    let x = graph.layer_norm("head.norm", x, EPSILON);
    graph.linear("head.fc", x, config.classes, WEIGHTS)?;
    Ok(graph)
}

/// Channels are seen one by one, then mixed pixel by pixel.
fn block(graph: &mut Graph, name: &str, input: Value) -> Result<Value> {
    let channels = graph.nodes[input].shape.channels();
    let pointwise = |filters: usize| Convolution::new(filters, Window::valid(1, 1));
    let depthwise = Convolution::depthwise(channels, Window::same(7, 1));
    let x = convolution(graph, &format!("{name}.conv_dw"), input, depthwise)?;
    let x = graph.layer_norm(&format!("{name}.norm"), x, EPSILON);
    let x = convolution(graph, &format!("{name}.mlp.fc1"), x, pointwise(4 * channels))?;
    let x = graph.gelu(&format!("{name}.mlp.act"), x);
    let x = convolution(graph, &format!("{name}.mlp.fc2"), x, pointwise(channels))?;
    let x = graph.layer_scale(name, x, LAYER_SCALE);
    graph.add(&format!("{name}.add"), x, input)
}

fn convolution(graph: &mut Graph, name: &str, input: Value, settings: Convolution) -> Result<Value> {
    graph.convolution(name, input, settings.with_bias(), WEIGHTS)
}
