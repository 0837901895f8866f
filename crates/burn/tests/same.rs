//! The kernels' bridge and Burn's tensors, in f64, run the same graph to the same numbers: logits, loss, every gradient,
//! running statistics.
//!
//! Tolerance: a share of the largest number of what is compared (the logits, a parameter's gradient), 5e-5 for the few
//! layers of small networks, 5e-4 for deep ones, whose dozens of layers enlarge what rounding to f32 does.

use std::sync::OnceLock;

use burn_tensor::{Device, FloatDType};
use percept::{
    image::ImageShape,
    model::{
        self, Graph, ModelConfig, Parameters,
        graph::{Convolution, Init, Op, Role, Window},
    },
    ops::{self, LossConfig, Targets},
};

const CLASSES: usize = 3;
const LABELS: [u32; 5] = [0, 2, 1, 1, 2];

/// The CPU in f64, so that all that differs is ours; or a GPU, in the f32 that it has.
fn device() -> Device {
    #[cfg(feature = "vulkan")]
    if std::env::var_os("PERCEPT_TEST_VULKAN").is_some() {
        return Device::vulkan(burn_tensor::DeviceKind::DefaultDevice);
    }
    static FLEX: OnceLock<Device> = OnceLock::new();
    let in_f64 = || {
        let mut device = Device::flex();
        device.configure(FloatDType::F64).expect("nothing was computed before");
        device
    };
    FLEX.get_or_init(in_f64).clone()
}

/// Numbers without a pattern between -0.5 and 0.5.
fn wave(seed: usize) -> f32 {
    ((seed * 7_919 + seed / 13 * 104_729 + 31) % 1_009) as f32 / 1_009.0 - 0.5
}

/// Numbers as they are drawn, and none that is zero or one everywhere.
fn fill(graph: &Graph) -> Parameters {
    let mut parameters = Parameters::initialize(graph, 3);
    for (order, (spec, values)) in graph.parameters.iter().zip(&mut parameters.0).enumerate() {
        for (index, value) in values.iter_mut().enumerate() {
            let wave = wave(index + 97 * order);
            match spec.name.as_str() {
                "normalize.mean" => *value = 120.0 + 10.0 * wave,
                "normalize.deviation" => *value = 60.0 + 10.0 * wave,
                _ if spec.role == Role::Statistic => *value += 0.1 * wave,
                _ if spec.role == Role::Fixed => *value = 0.5 + wave,
                _ if spec.shape.len() == 1 => *value += 0.2 * wave,
                _ => {}
            }
        }
    }
    parameters
}

/// The largest difference, as a share of the largest number that was expected.
fn difference(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    assert!(actual.iter().chain(expected).all(|value| value.is_finite()));
    let largest =
        |values: &mut dyn Iterator<Item = f32>| values.fold(0.0, |largest: f32, value| largest.max(value.abs()));
    let apart = largest(&mut actual.iter().zip(expected).map(|(a, b)| a - b));
    // A gradient that cancels out (of a bias before a norm) is noise around zero on either side.
    f64::from(apart) / f64::from(largest(&mut expected.iter().copied())).max(1e-2)
}

fn compare(graph: &Graph, tolerance: f64) {
    let parameters = fill(graph);
    let count = LABELS.len();
    let images: Vec<u8> = (0..count * graph.input.len()).map(|i| ((wave(i) + 0.5) * 255.0) as u8).collect();
    let mut ours = ops::Network::new(graph.clone(), parameters.clone());
    let mut theirs = percept_burn::Network::new(graph.clone(), &parameters, &device());
    let what = &graph.name;
    let check = |part: &str, actual: &[f32], expected: &[f32]| {
        let apart = difference(actual, expected);
        assert!(apart <= tolerance, "{what}: {part} differs by {apart:.1e} of its largest number");
    };
    check("a prediction", &ours.predictor().infer(&images), &theirs.infer(&images));
    let probabilities: Vec<f32> =
        LABELS.iter().flat_map(|&label| [0, 1, 2].map(|c| if c == label { 0.8 } else { 0.1 })).collect();
    let weighted = LossConfig { label_smoothing: 0.1, class_weights: Some(vec![1.0, 0.5, 2.0]), independent: false };
    // Each class alone: some images show several.
    let several: Vec<f32> = (0..count * CLASSES).map(|place| f32::from(u8::from(place * place % 5 < 2))).collect();
    let independent = LossConfig { independent: true, ..weighted.clone() };
    for (targets, config) in [
        (Targets::Probabilities(&several), independent),
        (Targets::Labels(&LABELS), weighted.clone()),
        (Targets::Probabilities(&probabilities), weighted),
        (Targets::Labels(&LABELS), LossConfig::default()),
    ] {
        let expected = theirs.learn(&images, targets, &config);
        let outcome = ours.learn(&images, targets, &config, false, 1.0);
        check("the loss", &[outcome.loss as f32], &[expected.loss]);
        for ((spec, actual), expected) in graph.parameters.iter().zip(&ours.gradients).zip(&expected.gradients) {
            assert_eq!(spec.role.is_trained(), !expected.is_empty(), "{what}: {}", spec.name);
            check(&format!("the gradient of {}", spec.name), actual, expected);
        }
        // Statistics that the forward pass moved.
        let theirs = theirs.parameters();
        for ((spec, actual), expected) in graph.parameters.iter().zip(&ours.parameters.0).zip(&theirs.0) {
            check(&format!("{} after a step", spec.name), actual, expected);
        }
    }
    check("a prediction after steps", &ours.predictor().infer(&images), &theirs.infer(&images));
}

fn build(name: &str, side: usize, channels: usize, per_pixel: bool) -> Graph {
    let input = ImageShape { height: side, width: side, channels };
    model::build(name, &ModelConfig { input, classes: CLASSES, hidden: 7, per_pixel, conventions: None })
        .expect("a model")
}

/// The same network with SiLU for activations whose slope jumps. Of the many values of a deep network some lie so close to
/// the jump that rounding decides on which side.
fn smooth(mut graph: Graph) -> Graph {
    for node in &mut graph.nodes {
        if matches!(node.op, Op::Relu | Op::Relu6 | Op::HardSwish | Op::HardSigmoid) {
            node.op = Op::Silu;
        }
    }
    graph
}

#[test]
fn linear_models_agree() {
    compare(&build("softmax", 5, 3, true), 5e-5);
    compare(&build("mlp", 6, 1, false), 5e-5);
}

#[test]
fn small_convolutional_networks_agree() {
    compare(&build("cnn", 13, 3, false), 5e-5);
    compare(&build("cnn6", 11, 1, false), 5e-5);
}

#[test]
fn residual_networks_agree() {
    compare(&smooth(build("resnet18", 12, 3, false)), 5e-4);
    compare(&smooth(build("resnet50", 9, 1, false)), 5e-4);
}

/// What no family uses today, and the stem of large images: overlapping and padded windows, norms of vectors, activations on
/// their own, a value that is read three times.
#[test]
fn every_operation_agrees() {
    let input = ImageShape { height: 17, width: 14, channels: 3 };
    let (mut graph, images) = Graph::new("every operation", input, false);
    let x = graph.conv2d("stem", images, 8, Window::same(7, 2), Init::Whitening).expect("a convolution");
    let x = graph.max_pool("pool", x, Window::same(3, 2)).expect("a pooling");
    let x = graph.gelu("gelu", x);
    let left = graph.conv2d("left", x, 12, Window::same(5, 1), Init::UniformFanIn).expect("a convolution");
    let right = graph.conv2d("right", x, 12, Window::valid(1, 1), Init::UniformFanIn).expect("a convolution");
    let right = graph.batch_norm("norm", right, Role::Scale);
    let sum = graph.add("sum", left, right).expect("one shape");
    let sum = graph.scale("half", sum, 0.5);
    let again = graph.conv2d("again", sum, 12, Window::same(3, 1), Init::UniformFanIn).expect("a convolution");
    let again = graph.relu("relu", again);
    let sum = graph.add("second sum", sum, again).expect("one shape");
    let sum = graph.relu("relu of a sum", sum);
    let average = graph.global_average_pool("average", sum);
    let largest = graph.global_max_pool("largest", sum);
    let pooled = graph.add("both", average, largest).expect("one shape");
    let x = graph.linear("hidden", pooled, 9, Init::UniformFanIn).expect("a vector");
    let x = graph.batch_norm("vector norm", x, Role::Scale);
    let x = graph.gelu("vector gelu", x);
    graph.linear("classifier", x, CLASSES, Init::UniformFanIn).expect("a vector");
    compare(&graph, 5e-5);
}

#[test]
fn backbones_agree() {
    // Maps of 3 x 3 at the end: a norm over the five values that five maps of one pixel have makes noise of rounding.
    for name in ["efficientnet_lite0", "mobilenet_v3_large", "convnext_tiny"] {
        compare(&smooth(build(name, 65, 3, false)), 5e-4);
    }
}

/// Groups, a kernel for every channel, dilation, padding that differs from side to side, and what else backbones have:
/// gates, norms of pixels, and their activations.
#[test]
fn every_kind_of_convolution_agrees() {
    let input = ImageShape { height: 11, width: 10, channels: 3 };
    let (mut graph, images) = Graph::new("every convolution", input, false);
    let layer = |graph: &mut Graph, name: &str, input, convolution| {
        graph.convolution(name, input, convolution, Init::UniformFanIn).expect("a convolution")
    };
    let uneven = Convolution { padding: [[0, 1], [1, 0]], ..Convolution::new(12, Window::same(3, 2)) };
    let x = layer(&mut graph, "uneven", images, uneven);
    let x = graph.hard_swish("hard swish", x);
    let x = layer(&mut graph, "depthwise", x, Convolution::depthwise(12, Window::same(3, 1)));
    let x = graph.batch_norm_with("norm", x, Role::Scale, 1e-3);
    let x = graph.silu("silu", x);
    let window = Window { padding: 2, ..Window::same(3, 1) };
    let groups = Convolution { groups: 3, dilation: 2, ..Convolution::new(9, window).with_bias() };
    let x = layer(&mut graph, "groups", x, groups);
    let x = graph.relu6("relu6", x);
    let x = layer(&mut graph, "wide", x, Convolution::depthwise(9, Window::same(5, 2)));
    let squeezed = graph.global_average_pool("squeeze", x);
    let squeezed = layer(&mut graph, "of vectors", squeezed, Convolution::new(9, Window::valid(1, 1)).with_bias());
    let factors = graph.hard_sigmoid("hard sigmoid", squeezed);
    let x = graph.gate("gate", x, factors).expect("a factor for each channel");
    let x = graph.layer_norm("layer norm", x, 1e-6);
    let x = graph.layer_scale("layer scale", x, Init::Constant(0.5));
    let x = graph.global_average_pool("pool", x);
    let x = graph.hard_swish("vector hard swish", x);
    graph.linear("classifier", x, CLASSES, Init::UniformFanIn).expect("a vector");
    compare(&graph, 5e-5);
}
