//! The networks are those of torchvision and timm: with the same numbers they give the same logits. What these are comes
//! from `golden/make.py`, and so does the way to the weights and the image, which nobody stores.

use std::{collections::BTreeMap, fs, path::PathBuf};

use percept::{
    image::{Filter, ImageShape},
    model::{self, ModelConfig, Parameters, parameters::to_memory},
    ops::Predictor,
    weights::{
        self, bytes_of,
        pretrained::{Places, Pretrained},
    },
};
use safetensors::{Dtype, tensor::TensorView};
use serde::Deserialize;

/// Error that is allowed, as a share of the largest logit. Rounding makes 6e-7; another epsilon of batch norms (1e-3) would
/// make 2e-3 and more, GELU by the hyperbolic tangent 9e-5.
const TOLERANCE: f64 = 2e-5;

#[derive(Deserialize)]
struct File {
    models: BTreeMap<String, Golden>,
    /// By maker and model.
    files: BTreeMap<String, Golden>,
}

#[derive(Deserialize)]
struct Golden {
    side: usize,
    logits: Vec<f64>,
    /// Of a file, the shapes of its tensors.
    #[serde(default)]
    tensors: BTreeMap<String, Vec<usize>>,
}

/// 64 bits for each place: FNV-1a of the name, then splitmix64.
fn draw(name: &str, count: usize) -> impl Iterator<Item = u64> {
    let step = |seed: u64, byte: u8| (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    let seed = name.bytes().fold(0xCBF2_9CE4_8422_2325, step);
    (1..=count as u64).map(move |place| {
        let bits = seed.wrapping_add(place.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    })
}

/// A parameter in the order of files, by its name and shape alone.
fn numbers(name: &str, shape: &[usize]) -> Vec<f32> {
    let count: usize = shape.iter().product();
    let uniform = draw(name, count).map(|bits| (bits >> 40) as f32 / (1 << 24) as f32);
    match name.rsplit('.').next() {
        Some("bias" | "running_mean") => uniform.map(|value| (value - 0.5) * 2.0).collect(),
        Some("weight") if shape.len() > 1 => {
            let bound = (6.0 / (count / shape[0]) as f64).sqrt() as f32;
            uniform.map(|value| (value - 0.5) * 2.0 * bound).collect()
        }
        Some("running_var") => uniform.map(|value| value + 0.5).collect(),
        _ => uniform.map(|value| value * 0.6 + 0.4).collect(),
    }
}

/// Squares of 16 pixels, and noise upon them.
fn image(side: usize) -> Vec<u8> {
    let squares = side.div_ceil(16);
    let coarse: Vec<u64> = draw("squares", squares * squares * 3).collect();
    let square = |place: usize| {
        let (channel, column, row) = (place % 3, place / 3 % side, place / 3 / side);
        coarse[(row / 16 * squares + column / 16) * 3 + channel]
    };
    let noise = draw("noise", side * side * 3).enumerate();
    noise.map(|(place, bits)| (square(place) >> 57) as u8 + (bits >> 57) as u8).collect()
}

fn predictor(name: &str, side: usize, classes: usize) -> Predictor {
    let input = ImageShape { height: side, width: side, channels: 3 };
    let config = ModelConfig { input, classes, hidden: 0, per_pixel: false, conventions: None };
    let graph = model::build(name, &config).expect("a model of the table");
    let parameters = graph.parameters.iter().map(|spec| match spec.name.as_str() {
        "normalize.mean" => [0.485, 0.456, 0.406].map(|mean: f32| 255.0 * mean).to_vec(),
        "normalize.deviation" => [0.229, 0.224, 0.225].map(|deviation: f32| 255.0 * deviation).to_vec(),
        _ => to_memory(spec, &numbers(&spec.name, &spec.shape)),
    });
    let parameters = Parameters(parameters.collect());
    Predictor::new(graph, parameters)
}

#[test]
fn networks_agree_with_torchvision_and_timm() {
    let file: File = serde_json::from_str(include_str!("golden/logits.json")).expect("a file of make.py");
    assert!(!file.models.is_empty());
    for (name, Golden { side, logits, .. }) in file.models {
        agree(&name, &predictor(&name, side, logits.len()).infer(&image(side)), &logits);
    }
}

/// A file as its makers write it is read by their names, and computed as they do; and so is what becomes of it.
#[test]
fn files_of_other_makers_give_their_logits() {
    let file: File = serde_json::from_str(include_str!("golden/logits.json")).expect("a file of make.py");
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(file.files.len(), 3);
    for (name, Golden { side, logits, tensors }) in file.files {
        let (maker, model) = name.split_once(':').expect("a maker and a model");
        let path = folder.path().join(format!("{maker}-{model}.safetensors"));
        let bytes: Vec<_> = tensors.iter().map(|(name, shape)| bytes_of(&numbers(name, shape))).collect();
        let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
            (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("as many bytes as the shape asks for"))
        });
        fs::write(&path, safetensors::serialize(views, None).expect("tensors")).expect("writes");
        // torchvision's names tell whose they are.
        let given = if maker == "torchvision" { path.clone() } else { format!("{maker}:{}", path.display()).into() };
        let places = Places { file: Some(given), ..Places::new(PathBuf::new(), &|_, _, _| {}) };
        let read = Pretrained::of(model).expect("a pretrained model").model(&places).expect("weights");
        assert_eq!(read.card.filter == Filter::Bilinear, maker == "torchvision", "{name}");
        let found = Predictor::new(read.graph.clone(), read.parameters.clone()).infer(&image(side));
        agree(&name, &found, &logits);
        let saved = folder.path().join("model.safetensors");
        weights::save(&saved, &read.card, &read.graph, &read.parameters, None, None).expect("writes");
        let again = weights::load(&saved).expect("a model file");
        assert_eq!((again.card.format, again.graph.conventions), (read.card.format, read.graph.conventions), "{name}");
        assert_eq!(
            read.card.format,
            if model == "convnext_tiny" { 1 } else { 3 },
            "an earlier Percept must not misread it"
        );
        assert_eq!(Predictor::new(again.graph, again.parameters).infer(&image(side)), found, "{name}");
    }
}

fn agree(name: &str, found: &[f32], logits: &[f64]) {
    assert_eq!(found.len(), logits.len(), "{name}");
    let largest = logits.iter().fold(0.0, |largest: f64, logit| largest.max(logit.abs()));
    let errors = found.iter().zip(logits).map(|(&found, logit)| (f64::from(found) - logit).abs());
    let error = errors.fold(0.0, f64::max) / largest;
    println!("{name}: off by {error:.1e} of the largest logit");
    // Not `error > TOLERANCE`, which a NaN would pass.
    assert!(error <= TOLERANCE, "{name}: a logit is off by {error:e} of the largest");
}
