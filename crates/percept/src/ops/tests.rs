//! Every family's gradients against finite differences, and what a network promises whatever its family.

mod empty;
mod narrow;
mod threads;

use super::*;
use crate::{
    image::ImageShape,
    model::{
        self, ModelConfig,
        graph::{Convolution, Init, Op, Role, Window},
    },
};

const CLASSES: usize = 3;
const BATCH: usize = 5;

/// The side of small images: `usual`, or what the model takes at least and one more, which is odd.
fn side(name: &str, usual: usize) -> usize {
    match name {
        "mobilenet_v3_large" | "convnext_tiny" | "efficientnet_lite0" | "efficientnet_lite1" | "efficientnet_lite2" => {
            33
        }
        _ => usual,
    }
}

/// A small network of a family, with numbers that are neither zero nor one anywhere.
fn network(name: &str, side: usize, channels: usize) -> Network {
    let input = ImageShape { height: side, width: side, channels };
    let graph =
        model::build(name, &ModelConfig { input, classes: CLASSES, hidden: 7, per_pixel: false, conventions: None })
            .unwrap();
    network_of(graph)
}

fn network_of(graph: Graph) -> Network {
    let mut parameters = Parameters::initialize(&graph, 3);
    for (spec, values) in graph.parameters.iter().zip(&mut parameters.0) {
        for (index, value) in values.iter_mut().enumerate() {
            let wave = ((index * 37 + spec.name.len() * 11) % 101) as f32 / 101.0 - 0.5;
            match spec.name.as_str() {
                "normalize.mean" => *value = 120.0 + 10.0 * wave,
                "normalize.deviation" => *value = 60.0 + 10.0 * wave,
                "whiten.weight" => *value = wave,
                _ if spec.role.is_trained() => *value += 0.2 * wave,
                _ => {}
            }
        }
    }
    Network::new(graph, parameters)
}

/// What the small families do not have: depthwise convolutions around a residual, groups, dilation, padding that
/// differs from side to side, a gate, layer norm and layer scale, and every activation, with a norm before it and without.
fn mixed_graph() -> Graph {
    let input = ImageShape { height: 11, width: 10, channels: 3 };
    let (mut graph, images) = Graph::new("mixed", input, false);
    let init = Init::UniformFanIn;
    let uneven = Convolution { padding: [[0, 1], [1, 0]], ..Convolution::new(12, Window::same(3, 2)) };
    let x = graph.convolution("stem", images, uneven, init).unwrap();
    let x = graph.batch_norm("stem.norm", x, Role::Scale);
    let stem = graph.hard_swish("stem.act", x);
    let x = graph.convolution("depthwise", stem, Convolution::depthwise(12, Window::same(3, 1)), init).unwrap();
    let x = graph.batch_norm("depthwise.norm", x, Role::Scale);
    let x = graph.silu("depthwise.act", x);
    let x = graph.conv2d("project", x, 12, Window::valid(1, 1), init).unwrap();
    let x = graph.batch_norm_with("project.norm", x, Role::Scale, 0.1);
    let x = graph.add("sum", x, stem).unwrap();
    let window = Window { padding: 2, ..Window::same(3, 1) };
    let groups = Convolution { groups: 2, dilation: 2, ..Convolution::new(8, window).with_bias() };
    let x = graph.convolution("groups", x, groups, init).unwrap();
    let x = graph.relu6("groups.act", x);
    let x = graph.convolution("wide", x, Convolution::depthwise(8, Window::same(5, 2)), init).unwrap();
    let x = graph.silu("wide.act", x);
    let pixel = |filters: usize| Convolution::new(filters, Window::valid(1, 1)).with_bias();
    let squeezed = graph.global_average_pool("squeeze", x);
    let squeezed = graph.convolution("reduce", squeezed, pixel(4), init).unwrap();
    let squeezed = graph.relu("reduce.act", squeezed);
    let squeezed = graph.convolution("expand", squeezed, pixel(8), init).unwrap();
    let squeezed = graph.hard_sigmoid("expand.act", squeezed);
    let gated = graph.gate("gate", x, squeezed).unwrap();
    let x = graph.layer_norm("layer_norm", gated, 1e-6);
    let x = graph.convolution("mixed.fc1", x, pixel(16), init).unwrap();
    let x = graph.gelu("mixed.act", x);
    let x = graph.convolution("mixed.fc2", x, pixel(8), init).unwrap();
    let x = graph.layer_scale("mixed", x, Init::Constant(0.5));
    let x = graph.add("mixed.add", x, gated).unwrap();
    let x = graph.global_average_pool("pool", x);
    let x = graph.layer_norm("pool.norm", x, 1e-6);
    let x = graph.linear("hidden", x, 9, init).unwrap();
    let x = graph.hard_swish("hidden.act", x);
    graph.linear("fc", x, CLASSES, init).unwrap();
    graph
}

fn images(network: &Network, count: usize) -> Vec<u8> {
    (0..count * network.graph().input.len()).map(|i| ((i * 7919 + i / 13 * 104_729) % 256) as u8).collect()
}

fn loss_config() -> LossConfig {
    LossConfig { label_smoothing: 0.1, class_weights: Some(vec![1.0, 0.5, 2.0]), independent: false }
}

fn loss(network: &mut Network, images: &[u8]) -> f64 {
    let labels = [0, 2, 1, 1, 2];
    network.learn(images, Targets::Labels(&labels[..BATCH]), &loss_config(), false, 1.0).loss
}

/// The change of the loss along a direction of one parameter, by central differences.
fn slope(network: &mut Network, images: &[u8], parameter: usize, direction: &[f32], step: f32) -> f64 {
    let before = network.parameters.0[parameter].clone();
    let mut at = |factor: f32| {
        let moved = before.iter().zip(direction).map(|(value, d)| value + factor * step * d);
        network.parameters.0[parameter] = moved.collect();
        loss(network, images)
    };
    let slope = (at(1.0) - at(-1.0)) / f64::from(2.0 * step);
    network.parameters.0[parameter] = before;
    slope
}

fn length(values: &[f32]) -> f32 {
    values.iter().map(|v| v * v).sum::<f32>().sqrt()
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    // Sizes that leave odd maps, one pixel, and edges that pooling drops.
    // The blocks of deep networks repeat: a part of their parameters meets every operation.
    for (name, side, channels, every) in [
        ("softmax", 5, 3, 1),
        ("mlp", 5, 1, 1),
        ("cnn", 13, 3, 1),
        ("cnn6", 11, 1, 1),
        ("resnet18", 9, 3, 3),
        ("mobilenet_v3_large", 33, 3, 7),
        ("convnext_tiny", 33, 3, 7),
    ] {
        compare_with_slopes(network(name, side, channels), every);
    }
    compare_with_slopes(network_of(mixed_graph()), 1);
}

/// What is computed again for the backward pass may be read twice by one operation.
#[test]
fn a_value_times_itself_has_the_slopes_of_its_square() {
    let input = ImageShape { height: 5, width: 4, channels: 3 };
    let (mut graph, images) = Graph::new("square", input, false);
    let x = graph.conv2d("conv", images, 6, Window::same(3, 1), Init::UniformFanIn).unwrap();
    let x = graph.batch_norm("norm", x, Role::Scale);
    let x = graph.gelu("gelu", x);
    let x = graph.global_average_pool("pool", x);
    let x = graph.gate("square", x, x).unwrap();
    let x = graph.gelu("again", x);
    let x = graph.gate("fourth", x, x).unwrap();
    graph.linear("classifier", x, 3, Init::UniformFanIn).unwrap();
    compare_with_slopes(network_of(graph), 1);
}

/// Or together with what is computed again from it.
#[test]
fn a_value_times_a_function_of_itself_has_its_slopes() {
    for (of_pool, turned) in [(false, false), (false, true), (true, false), (true, true)] {
        let input = ImageShape { height: 5, width: 4, channels: 3 };
        let (mut graph, images) = Graph::new("both", input, false);
        let x = graph.conv2d("conv", images, 6, Window::same(3, 1), Init::UniformFanIn).unwrap();
        let x = graph.batch_norm("norm", x, Role::Scale);
        let x = graph.global_average_pool("pool", x);
        let x = if of_pool { x } else { graph.gelu("gelu", x) };
        let of_x = graph.silu("silu", x);
        let [map, factors] = if turned { [x, of_x] } else { [of_x, x] };
        let x = graph.gate("product", map, factors).unwrap();
        graph.linear("classifier", x, 3, Init::UniformFanIn).unwrap();
        compare_with_slopes(network_of(graph), 1);
    }
}

fn compare_with_slopes(mut network: Network, every: usize) {
    let name = network.graph().name.clone();
    let images = images(&network, BATCH);
    loss(&mut network, &images);
    let gradients = network.gradients.clone();
    let largest = gradients.iter().map(|gradient| length(gradient)).fold(0.0, f32::max);
    for (parameter, gradient) in gradients.iter().enumerate() {
        let spec = network.graph().parameters[parameter].clone();
        if !spec.role.is_trained() || parameter % every != 0 {
            continue;
        }
        // Along the gradient, where the slope is its length, and along another direction of length one.
        let norm = length(gradient);
        let along: Vec<f32> = gradient.iter().map(|g| g / norm.max(1e-12)).collect();
        let mut across: Vec<f32> = (0..gradient.len()).map(|i| ((i * 29 + 5) % 17) as f32 / 17.0 - 0.4).collect();
        let across_norm = length(&across);
        across.iter_mut().for_each(|d| *d /= across_norm);
        let expected = gradient.iter().zip(&across).map(|(g, d)| f64::from(g * d)).sum::<f64>();
        let scale = length(&network.parameters.0[parameter]).max(0.1);
        // What shifts the input of a norm alone changes nothing: both are then what rounding is to the other gradients.
        let share = if norm < 1e-6 * largest { 1e-4 * largest } else { 0.03 * norm };
        for (direction, expected) in [(&along, f64::from(norm)), (&across, expected)] {
            // ReLU and pooling have kinks and f32 rounds: of several steps one must fit.
            let mut found = Vec::new();
            let fits = [1e-2, 1e-3, 1e-4, 1e-5].iter().any(|step| {
                found.push(slope(&mut network, &images, parameter, direction, step * scale));
                (found[found.len() - 1] - expected).abs() <= f64::from(share) + 2e-4
            });
            assert!(fits, "{name}: {} has slope {found:?}, not {expected}", spec.name);
        }
    }
}

#[test]
fn a_fixed_parameter_changes_no_other_gradient() {
    let gradients = |fixed: Option<usize>| {
        let mut graph = mixed_graph();
        fixed.into_iter().for_each(|parameter| graph.parameters[parameter].role = Role::Fixed);
        let mut network = network_of(graph);
        // Numbers depend on roles.
        network.parameters = network_of(mixed_graph()).parameters;
        let images = images(&network, BATCH);
        loss(&mut network, &images);
        network.gradients
    };
    let all = gradients(None);
    for fixed in 0..all.len() {
        for (index, (found, whole)) in gradients(Some(fixed)).iter().zip(&all).enumerate() {
            let expected: &[f32] = if index == fixed { &[] } else { whole };
            assert!(found == expected, "parameter {index} without {fixed}");
        }
    }
}

/// Layer by layer, each on values of its own: behind dozens of layers the least difference turns gradients round.
///
/// Tolerance: 1e-5 of the length of what is compared, sums of exact products that differ in their order.
#[test]
fn every_layer_in_bf16_is_that_of_f32_on_rounded_operands() {
    let families = model::MODELS.iter().map(|model| network(model.name, side(model.name, 16), 3));
    for mut network in families.chain([network_of(mixed_graph())]) {
        let name = network.graph().name.clone();
        let images = images(&network, BATCH);
        normalize_exactly(&mut network);
        network.plan.keeps.fill(true);
        network.forward(&images, BATCH, true);
        let layers: Vec<usize> =
            (0..network.graph().nodes.len()).filter(|&index| is_rounded(&network, index)).collect();
        let mut gradients: Vec<Vec<f32>> = layers.iter().map(|&index| wave(&network, index)).collect();
        let narrow = Precision::Bf16.run(|| run_layers(&mut network, &layers, &images, &gradients));
        let weights = layers.iter().map(|&index| network.graph.nodes[index].parameters[0]);
        weights.for_each(|weights| round(&mut network.parameters.0[weights]));
        network.values.iter_mut().flatten().chain(&mut gradients).for_each(|values| round(values));
        let wide = run_layers(&mut network, &layers, &images, &gradients);
        for ((narrow, wide), &index) in narrow.iter().zip(&wide).zip(&layers) {
            for (result, (narrow, wide)) in narrow.iter().zip(wide).enumerate() {
                let apart: Vec<f32> = narrow.iter().zip(wide).map(|(narrow, wide)| narrow - wide).collect();
                let share = length(&apart) / length(wide);
                let layer = &network.graph().nodes[index].name;
                assert!(share < 1e-5, "{name}: result {result} of {layer} differs by {share:e}");
            }
        }
    }
}

/// Numbers that give every byte a value that bf16 holds.
fn normalize_exactly(network: &mut Network) {
    for (parameter, value) in [("normalize.mean", 128.0), ("normalize.deviation", 64.0)] {
        network.parameters.get_mut(&network.graph, parameter).expect("a parameter of every model").fill(value);
    }
}

/// Whether a node has products, and those in bf16 where they are asked for.
fn is_rounded(network: &Network, index: usize) -> bool {
    let node = &network.graph.nodes[index];
    match node.op {
        Op::Conv2d { groups, .. } => groups == 1 || groups != network.graph.nodes[node.inputs[0]].shape.channels(),
        ref op => *op == Op::Linear,
    }
}

/// A gradient for a node's value.
fn wave(network: &Network, index: usize) -> Vec<f32> {
    let values = BATCH * network.graph.nodes[index].shape.len();
    (0..values).map(|place| ((place * 37 + index * 11) % 101) as f32 / 101.0 - 0.5).collect()
}

/// Rounds to bf16, to the nearest and ties to even.
fn round(values: &mut [f32]) {
    for value in values {
        let bits = value.to_bits();
        *value = f32::from_bits((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF_0000);
    }
}

/// Of each layer its value, the gradient of its input and that of its weights, where there are such, from the values that
/// the network has and these gradients of theirs. By the direct algorithm, which alone rounds.
fn run_layers(network: &mut Network, layers: &[usize], images: &[u8], gradients: &[Vec<f32>]) -> Vec<Vec<Vec<f32>>> {
    let run = |(&index, gradient): (&usize, &Vec<f32>)| {
        let mut value = vec![0.0; gradient.len()];
        network.run(index, images, BATCH, true, &mut value);
        let mut pass = network.start_backward(images, BATCH);
        network.differentiate(index, gradient.clone(), &mut pass);
        let of_weights = network.gradients[network.graph.nodes[index].parameters[0]].clone();
        let of_input = pass.gradients.into_iter().flatten();
        [value].into_iter().chain(of_input).chain([of_weights]).filter(|values| !values.is_empty()).collect()
    };
    kernels::Algorithm::Direct.run(|| layers.iter().zip(gradients).map(run).collect())
}

#[test]
fn a_network_in_bf16_rounds_while_it_learns_and_at_no_other_time() {
    let mut network = network("cnn6", 16, 3);
    let images = images(&network, BATCH);
    let [(wide, of_wide), (narrow, of_narrow)] = [Precision::F32, Precision::Bf16].map(|precision| {
        network.precision = precision;
        (loss(&mut network, &images), network.gradients.clone())
    });
    assert!(wide != narrow && (wide - narrow).abs() < 0.01 * wide, "{wide} {narrow}");
    for ((wide, narrow), spec) in of_wide.iter().zip(&of_narrow).zip(&network.graph().parameters) {
        assert!(wide.is_empty() || wide != narrow, "{}", spec.name);
    }
    assert_eq!(Precision::current(), Precision::F32);
}

#[test]
fn parts_of_a_batch_add_up_where_no_norm_looks_at_the_whole() {
    for name in ["softmax", "mlp"] {
        let mut network = network(name, 6, 3);
        let images = images(&network, 4);
        let (config, size) = (LossConfig::default(), network.graph().input.len());
        network.learn(&images, Targets::Labels(&[0, 1, 2, 1]), &config, false, 1.0);
        let whole = network.gradients.clone();
        network.learn(&images[..size], Targets::Labels(&[0]), &config, false, 0.25);
        network.learn(&images[size..], Targets::Labels(&[1, 2, 1]), &config, true, 0.75);
        for (whole, parts) in whole.iter().flatten().zip(network.gradients.iter().flatten()) {
            assert!((whole - parts).abs() < 1e-5 * (1.0 + whole.abs()), "{name}: {whole} {parts}");
        }
    }
}

/// Tolerance: 5e-5 of the largest logit. Another batch may be computed by another algorithm, whose rounding is as large as
/// the values that are added up; by one algorithm there is no difference at all.
#[test]
fn a_prediction_does_not_depend_on_its_batch() {
    for name in ["mlp", "cnn", "cnn6", "resnet18", "efficientnet_lite0", "mobilenet_v3_large", "convnext_tiny"] {
        let mut network = network(name, side(name, 13), 3);
        let images = images(&network, BATCH);
        loss(&mut network, &images); // running statistics that are not the first ones
        let size = network.graph().input.len();
        let mut predictor = network.predictor();
        let together = predictor.infer(&images);
        let alone: Vec<f32> = images.chunks_exact(size).flat_map(|image| predictor.infer(image)).collect();
        let largest = together.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        for (a, b) in together.iter().zip(&alone) {
            assert!((a - b).abs() < 5e-5 * largest, "{name}: {a} {b}");
        }
        assert!(predictor.infer(&[]).is_empty());
        kernels::Algorithm::Direct.run(|| {
            let mut predictor = network.predictor();
            let alone = images.chunks_exact(size).flat_map(|image| predictor.infer(image)).collect::<Vec<f32>>();
            assert_eq!(predictor.infer(&images), alone, "{name}");
        });
    }
}

#[test]
fn folding_changes_no_prediction() {
    let families = model::MODELS.iter().map(|model| network(model.name, side(model.name, 17), 3));
    for mut network in families.chain([network_of(mixed_graph())]) {
        let name = network.graph().name.clone();
        let images = images(&network, BATCH);
        loss(&mut network, &images); // running statistics that are not the first ones
        let folded = network.predictor().infer(&images);
        network.forward(&images, BATCH, false);
        let plain = network.take_logits();
        // Dozens of layers of random numbers enlarge what rounding does.
        let largest = plain.iter().fold(1f32, |largest, logit| largest.max(logit.abs()));
        for (plain, folded) in plain.iter().zip(&folded) {
            assert!((plain - folded).abs() < 5e-3 * largest, "{name}: {plain} {folded}");
        }
        let absorbed = network.predictor().network.plan.absorbed_by.iter().flatten().count();
        assert_eq!(absorbed > 0, network.graph().is_convolutional(), "{name}");
    }
}

#[test]
fn inverted_residuals_run_as_one() {
    // Gates stand between the layers of 8 of the 15 of MobileNetV3.
    for (name, all, without_expansion) in
        [("efficientnet_lite0", 16, 1), ("mobilenet_v3_large", 7, 1), ("resnet18", 0, 0), ("convnext_tiny", 0, 0)]
    {
        let predictor = network(name, side(name, 64), 3).predictor();
        let plan = &predictor.network.plan;
        let blocks: Vec<_> = plan.blocks.iter().flatten().collect();
        let plain = blocks.iter().filter(|block| block.expand.is_none()).count();
        assert_eq!((blocks.len(), plain), (all, without_expansion), "{name}");
        for block in blocks {
            let inner = [Some(block.depthwise), block.expand];
            assert!(inner.into_iter().flatten().all(|inner| plan.is_idle(inner)), "{name}: {block:?}");
        }
    }
}

#[test]
fn a_norm_has_the_epsilon_of_its_network() {
    let input = ImageShape { height: 1, width: 1, channels: 4 };
    let logits = |epsilon: f32| {
        let (mut graph, images) = Graph::new("norm", input, false);
        graph.batch_norm_with("norm", images, Role::Scale, epsilon);
        let parameters = Parameters::initialize(&graph, 1);
        Network::new(graph, parameters).predictor().infer(&[2, 4, 6, 8])
    };
    // The mean is 0 and the variance 1, so that the root is of 1 and epsilon.
    assert_eq!(logits(3.0), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(logits(8.0), [2.0 / 3.0, 4.0 / 3.0, 2.0, 8.0 / 3.0]);
}

#[test]
fn what_no_graph_can_hold_is_refused_with_its_numbers() {
    let input = ImageShape { height: 6, width: 6, channels: 3 };
    let (mut graph, images) = Graph::new("odd", input, false);
    let mut refused =
        |convolution: Convolution| graph.convolution("c", images, convolution, Init::Zeros).unwrap_err().to_string();
    let groups = refused(Convolution { groups: 2, ..Convolution::new(8, Window::same(3, 1)) });
    assert!(groups.contains("c: 3 channels and 8 filters cannot both be cut into 2 groups"), "{groups}");
    let dilation = refused(Convolution { dilation: 4, ..Convolution::new(8, Window::same(3, 1)) });
    assert!(dilation.contains("c: a window of 9 does not fit into 6x6"), "{dilation}");
    let vector = graph.global_average_pool("pool", images);
    let gate = graph.gate("g", vector, images).unwrap_err().to_string();
    assert!(gate.contains("g: [?, 3, 6, 6] has no factor for each channel of [?, 3]"), "{gate}");
    let kernel = graph.conv2d("c", vector, 8, Window::same(3, 1), Init::Zeros).unwrap_err().to_string();
    assert!(kernel.contains("c: a convolution needs a feature map"), "{kernel}");
    let flat = graph.flatten("flat", images);
    let flat = graph.conv2d("c", flat, 8, Window::valid(1, 1), Init::Zeros).unwrap_err().to_string();
    assert!(flat.contains("c: a convolution needs a feature map"), "{flat}");
}

#[test]
fn images_smaller_than_the_stride_are_refused() {
    let lite = ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"];
    for name in lite.into_iter().chain(["mobilenet_v3_large", "convnext_tiny"]) {
        let build = |height: usize, width: usize| {
            let input = ImageShape { height, width, channels: 3 };
            model::build(name, &ModelConfig { input, classes: CLASSES, hidden: 0, per_pixel: false, conventions: None })
        };
        let refused = build(64, 31).unwrap_err().to_string();
        let expected =
            format!("model {name} cannot take images of 64x31: images: a stride of 32 needs sides of 32 at least");
        assert!(refused.contains(&expected), "{refused}");
        assert!(build(32, 32).is_ok() && build(45, 224).is_ok());
    }
}

#[test]
fn copies_of_a_predictor_share_weights_and_answer_alike() {
    for name in ["mlp", "cnn", "efficientnet_lite0"] {
        let mut predictor = network(name, side(name, 16), 3).predictor();
        let images = images(&predictor.network, 3);
        let mut copy = predictor.clone();
        let shared = |(a, b): (&Option<Arc<PreparedConv>>, &Option<Arc<PreparedConv>>)| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        assert!(predictor.network.prepared.iter().zip(&copy.network.prepared).all(shared), "{name}");
        let other = std::thread::scope(|scope| scope.spawn(|| copy.infer(&images)).join().expect("answers"));
        assert_eq!(predictor.infer(&images), other, "{name}");
    }
}

/// Large images go through the first layers one by one, and together through the others.
#[test]
fn large_images_together_give_what_each_gives_alone() {
    let cases = [("efficientnet_lite0", 224), ("resnet18", 224), ("convnext_tiny", 224), ("resnet18", 32)];
    for (name, side) in cases {
        let mut predictor = network(name, side, 3).predictor();
        assert_eq!(predictor.network.plan.by_image.is_some(), side == 224, "{name}");
        let images = images(&predictor.network, 3);
        let together = predictor.answer(&images);
        let alone: Vec<Answers> =
            images.chunks_exact(predictor.graph().input.len()).map(|image| predictor.answer(image)).collect();
        let features: Vec<f32> = alone.iter().flat_map(|answers| answers.features.clone()).collect();
        let logits: Vec<f32> = alone.into_iter().flat_map(|answers| answers.logits).collect();
        for (a, b) in [(&together.features, &features), (&together.logits, &logits)] {
            assert_eq!(a.len(), b.len());
            let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            assert!(length(&difference) <= 1e-5 * length(b), "{name}: {} of {}", length(&difference), length(b));
        }
    }
}

#[test]
fn every_family_learns_a_few_images_by_heart() {
    for model in &model::MODELS {
        let mut network = network(model.name, side(model.name, 16), 3);
        let images = images(&network, BATCH);
        let first = loss(&mut network, &images);
        let mut velocity: Vec<Vec<f32>> = network.gradients.iter().map(|g| vec![0.0; g.len()]).collect();
        // The last layer of `cnn` is scaled down, and softmax has a weight for every pixel.
        let rate = match model.name {
            "softmax" => 0.001,
            "cnn" | "cnn-small" | "cnn-large" => 0.3,
            _ => 0.01,
        };
        let sgd = kernels::Sgd { learning_rate: rate, momentum: 0.9, nesterov: true, weight_decay: 0.0 };
        let mut last = first;
        for _ in 0..30 {
            last = loss(&mut network, &images);
            for (index, velocity) in velocity.iter_mut().enumerate() {
                if network.graph().parameters[index].role != Role::Fixed && !velocity.is_empty() {
                    let update = Update::Sgd { settings: sgd, velocity };
                    update.apply(&mut network.parameters.0[index], &network.gradients[index]);
                }
            }
        }
        assert!(last < 0.8 * first, "{}: the loss went from {first} to {last}", model.name);
    }
}
