//! Training and prediction where there are no files, threads and clocks, as in a browser: `tools/wasm.sh` runs it.

use percept::{
    Classifier,
    image::{Fit, Image, ImageShape, encode_png},
    model::{self, ModelConfig, Parameters},
    ops::{LossConfig, Network, Targets},
    train::{OptimizerConfig, OptimizerKind},
    weights::{ModelCard, SavedModel},
};

const SIDE: usize = 12;
const SHAPE: ImageShape = ImageShape { height: SIDE, width: SIDE, channels: 1 };
const STEPS: u64 = 40;
const BATCH: usize = 16;

/// Stripes, lying (class 0) or standing (class 1), somewhere, of some brightness and with some noise.
fn stripes(class: usize, seed: usize) -> Image {
    let pixel = |index: usize| {
        let (row, column) = (index / SIDE, index % SIDE);
        let along = if class == 0 { row } else { column };
        let light = if ((along + seed) / 2).is_multiple_of(2) { 170 + seed % 60 } else { 20 + seed % 40 };
        (light + (index * 7919 + seed * 31) % 23) as u8
    };
    Image { shape: SHAPE, pixels: (0..SHAPE.len()).map(pixel).collect() }
}

/// Trains a model and returns the least probability that it gives the class of a new picture, read from a PNG file's
/// bytes.
fn learn(name: &str, learning_rate: f64) -> percept::Result<f32> {
    let architecture = ModelConfig { input: SHAPE, classes: 2, hidden: 16, per_pixel: false, conventions: None };
    let graph = model::build(name, &architecture)?;
    let mut parameters = Parameters::initialize(&graph, 1);
    for (parameter, value) in [("normalize.mean", 120.0), ("normalize.deviation", 75.0)] {
        parameters.get_mut(&graph, parameter).into_iter().for_each(|values| values.fill(value));
    }
    if let Some(filters) = parameters.get_mut(&graph, "whiten.weight") {
        filters.iter_mut().enumerate().for_each(|(index, weight)| *weight = (index * 37 % 17) as f32 / 17.0 - 0.5);
    }
    let kind = OptimizerKind::AdamW;
    let rule = OptimizerConfig { kind, momentum: 0.9, weight_decay: 0.0, gradient_clip: 0.0, fine_tuning: None };
    let mut optimizer = rule.init(&graph);
    let mut network = Network::new(graph.clone(), parameters);
    let labels: Vec<u32> = (0..BATCH).map(|index| (index % 2) as u32).collect();
    for step in 0..STEPS {
        let picture = |index: usize| stripes(index % 2, step as usize * BATCH + index).pixels;
        let images: Vec<u8> = (0..BATCH).flat_map(picture).collect();
        let targets = Targets::Labels(&labels);
        optimizer.learn(&mut network, &images, targets, &LossConfig::default(), learning_rate, step);
    }
    let card = ModelCard::new(name, architecture, vec!["lying".into(), "standing".into()], Fit::default());
    let mut classifier = Classifier::from_saved(SavedModel {
        card,
        graph,
        parameters: network.parameters.clone(),
        known: None,
        recall: None,
    });
    let mut least = 1f32;
    for seed in 5_000..5_020 {
        let file = encode_png(&stripes(seed % 2, seed));
        let prediction = classifier
            .classify_bytes(&file)
            .map_err(|reason| percept::Error::invalid(format!("a PNG file was not read: {reason}"), ""))?;
        let class = ["lying", "standing"][seed % 2];
        let right = prediction.likelihoods.iter().filter(|likelihood| likelihood.class == class);
        least = right.map(|likelihood| likelihood.probability).fold(least, f32::min);
    }
    Ok(least)
}

/// [`learn`] for the network with one hidden layer; NaN where something went wrong.
#[allow(unsafe_code, reason = "a name that JavaScript can call")]
#[unsafe(no_mangle)]
pub extern "C" fn learn_mlp() -> f32 {
    learn("mlp", 0.01).unwrap_or(f32::NAN)
}

/// [`learn`] for the small convolutional network; NaN where something went wrong.
#[allow(unsafe_code, reason = "a name that JavaScript can call")]
#[unsafe(no_mangle)]
pub extern "C" fn learn_cnn() -> f32 {
    learn("cnn", 0.01).unwrap_or(f32::NAN)
}
