//! Random small graphs: what the builder lets through learns and predicts, with finite numbers that do not depend on
//! the batch, and gradients that add up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use percept::{
    image::ImageShape,
    model::{
        Graph, Parameters,
        graph::{Convolution, Init, Role, Shape, Value, Window},
    },
    ops::{LossConfig, Network, Targets},
};
use percept_fuzz::{Choices, common::Random};

const MOST_MULTIPLY_ADDS: u64 = 300_000;
const MOST_VALUES: usize = 20_000;

/// Adds a random operation. `None` where the builder refuses it.
fn grow(graph: &mut Graph, choices: &mut Choices, number: usize, last: Value) -> Option<Value> {
    let name = format!("node{number}");
    let window = Window { kernel: choices.size(0, 5), stride: choices.size(0, 3), padding: choices.size(0, 3) };
    let features = choices.size(1, 20);
    let init = choices.pick(&[Init::UniformFanIn, Init::KaimingNormalFanOut, Init::Dirac, Init::Whitening]);
    match choices.size(0, 18) {
        0 | 1 => graph.conv2d(&name, last, features, window, init).ok(),
        11 => {
            let padding = [0; 2].map(|_| [0; 2].map(|_| choices.size(0, 3)));
            let (dilation, groups) = (choices.size(0, 3), choices.pick(&[1, 2, 3, features]));
            let Window { kernel, stride, .. } = window;
            let bias = choices.flip();
            let convolution = Convolution { filters: features, kernel, stride, padding, dilation, groups, bias };
            graph.convolution(&name, last, convolution, Init::UniformFanIn).ok()
        }
        12 => Some(graph.relu6(&name, last)),
        13 => Some(graph.hard_swish(&name, last)),
        14 => Some(graph.silu(&name, last)),
        15 => Some(graph.hard_sigmoid(&name, last)),
        16 => Some(graph.layer_norm(&name, last, choices.pick(&[1e-6, 1e-3]))),
        17 => Some(graph.layer_scale(&name, last, Init::Constant(0.5))),
        18 => {
            let factors = choices.size(1, graph.nodes.len() - 1);
            graph.gate(&name, last, factors).ok()
        }
        2 => {
            let (scale, epsilon) = (choices.pick(&[Role::Scale, Role::Fixed]), choices.pick(&[1e-5, 1e-3]));
            Some(graph.batch_norm_with(&name, last, scale, epsilon))
        }
        3 => Some(graph.relu(&name, last)),
        4 => Some(graph.gelu(&name, last)),
        5 => {
            let other = choices.size(1, graph.nodes.len() - 1);
            graph.add(&name, last, other).ok()
        }
        6 => graph.max_pool(&name, last, window).ok(),
        7 => Some(graph.global_average_pool(&name, last)),
        8 => Some(graph.global_max_pool(&name, last)),
        9 => Some(graph.scale(&name, last, 0.5)),
        _ => match graph.nodes[last].shape {
            Shape::Map { .. } => Some(graph.flatten(&name, last)),
            Shape::Vector(_) => graph.linear(&name, last, features, Init::UniformFanIn).ok(),
        },
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let input = ImageShape { height: choices.size(1, 12), width: choices.size(1, 12), channels: choices.pick(&[1, 3]) };
    let (mut graph, mut last) = Graph::new("random", input, choices.flip());
    for number in 0..choices.size(0, 12) {
        // Refused operations leave the graph as it was; some others start from an earlier value.
        let from = if choices.size(0, 4) == 0 { choices.size(1, graph.nodes.len() - 1) } else { last };
        let before = graph.nodes.len();
        match grow(&mut graph, &mut choices, number, from) {
            Some(value) => last = value,
            None => assert_eq!(graph.nodes.len(), before, "a refused operation stays in the graph"),
        }
    }
    if let Shape::Map { .. } = graph.nodes[last].shape {
        last = graph.flatten("flatten", last);
    }
    let classes = choices.size(2, 5);
    graph.linear("classifier", last, classes, Init::UniformFanIn).expect("a vector");
    let values: usize = graph.nodes.iter().map(|node| node.shape.len()).sum();
    if graph.multiply_adds() > MOST_MULTIPLY_ADDS || values > MOST_VALUES {
        return;
    }
    let mut parameters = Parameters::initialize(&graph, 1);
    let mut random = Random::new(2);
    for (spec, values) in graph.parameters.iter().zip(&mut parameters.0) {
        match spec.name.as_str() {
            "normalize.mean" => values.fill(120.0),
            "normalize.deviation" => values.fill(60.0),
            _ if matches!(spec.role, Role::Statistic) => {}
            _ => values.iter_mut().for_each(|value| *value += 0.1 * random.value()),
        }
    }
    let batch = choices.size(1, 4);
    let images: Vec<u8> = (0..batch * input.len()).map(|_| random.below(256) as u8).collect();
    let labels: Vec<u32> = (0..batch).map(|_| random.below(classes) as u32).collect();
    let loss = LossConfig { label_smoothing: 0.1, class_weights: None, independent: false };
    let mut network = Network::new(graph, parameters);
    let before = network.parameters.clone();
    let first = network.learn(&images, Targets::Labels(&labels), &loss, false, 1.0);
    assert!(first.loss.is_finite() && first.correct <= batch, "{first:?}");
    let gradients = network.gradients.clone();
    assert!(gradients.iter().flatten().all(|value| value.is_finite()), "a gradient is not finite");
    // Again with the same numbers: nothing of the pass before may show; twice a half is the whole.
    network.parameters = before;
    network.learn(&images, Targets::Labels(&labels), &loss, false, 0.5);
    let second = network.learn(&images, Targets::Labels(&labels), &loss, true, 0.5);
    assert_eq!(first.loss, second.loss);
    for (first, second) in gradients.iter().flatten().zip(network.gradients.iter().flatten()) {
        assert!((first - second).abs() <= 1e-5 * (1.0 + first.abs()), "{first} {second}");
    }
    let mut predictor = network.predictor();
    let together = predictor.infer(&images);
    assert_eq!(together.len(), batch * classes);
    let alone = images.chunks_exact(input.len()).flat_map(|image| predictor.infer(image));
    for (alone, together) in alone.zip(&together) {
        let near = (alone - together).abs() <= 1e-2 * (1.0 + together.abs());
        assert!(near && together.is_finite(), "{alone} alone, {together} together");
    }
});
