use std::sync::Mutex;

use super::*;
use crate::{
    data::augment::Flip,
    image::ImageShape,
    model::{self, ModelConfig, fold, graph::Role},
    ops::{LossConfig, Network, Targets},
    train::TrainOptions,
};

const SIDE: usize = 32;

/// Dark and bright images, of two classes, with noise.
fn dataset(train: usize, validation: usize) -> Dataset {
    let shape = ImageShape { height: SIDE, width: SIDE, channels: 3 };
    let count = train + validation;
    let pixels = (0..count).flat_map(|image| {
        let base = if image % 2 == 0 { 60 } else { 150 };
        (0..shape.len()).map(move |place| (base + (place * 7919 + image * 104_729) % 60) as u8)
    });
    let pixels = pixels.collect();
    let labels = (0..count).map(|image| (image % 2) as u32).collect();
    let all: Vec<u32> = (0..count as u32).collect();
    let (train, validation) = (all[..train].to_vec(), all[train..].to_vec());
    let classes = vec!["dark".into(), "bright".into()];
    Dataset::from_images("light", classes, shape, pixels, labels, train, validation, Vec::new()).unwrap()
}

/// A backbone with random numbers, as if it were a pretrained one: its norms know what goes through it.
fn backbone() -> (Graph, Parameters) {
    let input = ImageShape { height: SIDE, width: SIDE, channels: 3 };
    let config = ModelConfig { input, classes: 2, hidden: 0, per_pixel: false, conventions: None };
    let graph = model::build("efficientnet_lite0", &config).unwrap();
    let mut parameters = Parameters::initialize(&graph, 1);
    parameters.get_mut(&graph, "normalize.mean").unwrap().fill(127.0);
    parameters.get_mut(&graph, "normalize.deviation").unwrap().fill(128.0);
    for (spec, values) in graph.parameters.iter().zip(&mut parameters.0) {
        let wave = |place: usize| ((place * 37) % 101) as f32 / 101.0 - 0.5;
        let values = values.iter_mut().enumerate();
        match spec.role {
            Role::Scale | Role::Bias => values.for_each(|(place, value)| *value += 0.3 * wave(place)),
            Role::Statistic => values.for_each(|(place, value)| *value += 0.2 * wave(place)),
            _ => {}
        }
    }
    let seen = dataset(8, 0);
    let mut network = Network::new(graph.clone(), parameters);
    for _ in 0..40 {
        network.learn(seen.pixels(), Targets::Labels(&[0, 1, 0, 1, 0, 1, 0, 1]), &LossConfig::default(), false, 1.0);
    }
    (graph, network.parameters)
}

fn config(flip: Flip) -> TrainConfig {
    let options = TrainOptions {
        augmentation: Some(Augmentation { flip, ..Augmentation::default() }),
        ..TrainOptions::default()
    };
    let facts = super::super::defaults::Facts {
        model: "efficientnet_lite0",
        labels: crate::data::LabelKind::One,
        convolutional: true,
        image_size: [SIDE; 2],
        channels: 3,
        pretrained: None,
        validation: 0.0,
        stage: 1,
        train_images: 20,
        mirrors: true,
    };
    options.resolve(&facts).unwrap()
}

/// Stage 1, and what it said.
fn run(dataset: &Dataset, flip: Flip, cache: &Path) -> (StageOne, Parameters, Vec<String>) {
    let (graph, mut parameters) = backbone();
    let notes = Mutex::new(Vec::new());
    let listener = |event| {
        if let Event::Note(note) = event {
            notes.lock().unwrap().push(note);
        }
    };
    let stop = AtomicBool::new(false);
    let found =
        stage_one(&graph, &mut parameters, dataset, &config(flip), None, None, cache, &stop, &listener).unwrap();
    (found.unwrap(), parameters, notes.into_inner().unwrap())
}

#[test]
fn the_classifier_learns_and_its_features_are_kept() {
    let cache = tempfile::tempdir().unwrap();
    let dataset = dataset(20, 6);
    let (found, parameters, notes) = run(&dataset, Flip::Random, cache.path());
    assert_eq!((found.right, found.held.truth.images(2)), (1.0, 6));
    assert!(notes[0].contains("of 20 images, each in 8 views: accuracy 100.00 % on 6 validation images"), "{notes:?}");
    let graph = backbone().0;
    let evaluation =
        crate::evaluate::evaluate_split(&Network::new(graph, parameters.clone()), &dataset, &dataset.validation);
    assert_eq!(evaluation.scores.top1, Some(1.0));
    // Again, from the disk: the same bits. A damaged table is said and computed again.
    let tables = || std::fs::read_dir(cache.path().join("features")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(tables().count(), 2);
    let (_, again, notes) = run(&dataset, Flip::Random, cache.path());
    assert_eq!((&again, notes.len()), (&parameters, 1));
    for table in tables() {
        let mut bytes = std::fs::read(&table).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&table, bytes).unwrap();
    }
    let (_, again, notes) = run(&dataset, Flip::Random, cache.path());
    assert_eq!((again, notes.len()), (parameters, 3));
    assert!(notes[0].ends_with("cannot be used (its checksum is wrong) and are computed again"), "{notes:?}");
}

#[test]
fn who_stops_it_gets_no_half_of_a_classifier() {
    let cache = tempfile::tempdir().unwrap();
    let (graph, mut parameters) = backbone();
    let (before, stop) = (parameters.clone(), AtomicBool::new(true));
    let (dataset, config) = (dataset(6, 2), config(Flip::None));
    let found =
        stage_one(&graph, &mut parameters, &dataset, &config, None, None, cache.path(), &stop, &|_| {}).unwrap();
    assert!(found.is_none());
    assert_eq!(parameters, before);
}

#[test]
fn folds_judge_where_nothing_is_held_out() {
    let cache = tempfile::tempdir().unwrap();
    let (found, _, notes) = run(&dataset(21, 0), Flip::None, cache.path());
    assert_eq!(found.held.truth.images(2), 21);
    assert!(notes[0].contains("of 21 images: accuracy "), "{notes:?}");
    assert!(notes[0].ends_with(" % on 5 folds of the training images"), "{notes:?}");
    assert_eq!(found.held.evaluate(2).scores.top1, Some(1.0));
}

#[test]
fn a_classifier_of_several_classes_an_image_learns_each_alone() {
    let cache = tempfile::tempdir().unwrap();
    // Bright images show two classes, dark ones none; what all show cannot be wrong.
    let shown = |image: usize| if image % 2 == 1 { vec![0, 1, 2] } else { vec![2] };
    for (train, validation) in [(20, 8), (25, 0)] {
        let one = dataset(train, validation);
        let classes = vec!["bright".into(), "light".into(), "picture".into()];
        let (pixels, count) = (one.pixels().to_vec(), train + validation);
        let shown = (0..count).map(shown).collect();
        let all: Vec<u32> = (0..count as u32).collect();
        let (learned, held) = (all[..train].to_vec(), all[train..].to_vec());
        let several =
            Dataset::from_label_sets("light", classes, one.shape, pixels, shown, learned, held, Vec::new()).unwrap();
        let input = several.shape;
        let (two, numbers) = backbone();
        let graph =
            model::build(&two.name, &ModelConfig { input, classes: 3, hidden: 0, per_pixel: false, conventions: None })
                .unwrap();
        let mut parameters = Parameters::initialize(&graph, 1);
        let last = numbers.0.len() - 2;
        parameters.0[..last].clone_from_slice(&numbers.0[..last]);
        let (config, stop) = (config(Flip::None), AtomicBool::new(false));
        let said = Mutex::new(String::new());
        let listener = |event| {
            if let Event::Note(note) = event {
                said.lock().unwrap().push_str(&note);
            }
        };
        let found =
            stage_one(&graph, &mut parameters, &several, &config, None, None, cache.path(), &stop, &listener).unwrap();
        let found = found.unwrap();
        assert_eq!(found.right, 1.0);
        let scores = found.held.evaluate(3).scores;
        assert_eq!(scores.several.map(|several| several.mean_average_precision), Some(1.0));
        assert!(said.into_inner().unwrap().contains("mAP 100.00 % on "));
    }
}

#[test]
fn folds_spread_every_class() {
    let labels: Vec<u32> = (0..100).map(|image| u32::from(image % 10 == 0)).collect();
    let folds = folds(&Truth::One(labels.clone()), 2);
    for fold in 0..FOLDS {
        let of = |class: u32| folds.iter().zip(&labels).filter(|pair| *pair == (&fold, &class)).count();
        assert_eq!((of(0), of(1)), (18, 2));
    }
}

#[test]
fn the_solution_is_where_the_loss_is_flat() {
    let (rows, width, classes) = (40, 7, 3);
    let wave = |place: usize| ((place * 7919 + place / 3 * 31) % 211) as f32 / 211.0 - 0.5;
    let values: Vec<f32> = (0..rows * width).map(wave).collect();
    let features = Features { values, width, views: 1 };
    let labels: Vec<u32> = (0..rows).map(|row| (row * row % classes) as u32).collect();
    let places: Vec<usize> = (0..rows).collect();
    let truth = Truth::One(labels.clone());
    let samples = Samples::new(&features, &places, &truth, classes, Some(vec![1.0, 2.0, 0.5]));
    let path = samples.path();
    let lengths: Vec<f64> =
        path.iter().map(|head| head.weights.iter().map(|&weight| f64::from(weight).powi(2)).sum()).collect();
    assert!(lengths.is_sorted(), "less pull, longer weights: {lengths:?}");
    let logits: Vec<f32> = path.iter().flat_map(|head| head.logits(&features.values)).collect();
    assert_eq!(logits.len(), path.len() * rows * classes);
    // The weakest pull learns a set that is small enough by heart better than the strongest.
    let loss = |head: &Head| Evaluation::new(&head.logits(&features.values), &labels, classes, 1.0).scores.loss;
    assert!(loss(&path[path.len() - 1]) < loss(&path[0]));
    assert!(samples.is_flat_at_the_end(), "the gradient vanishes");
    // The same where each class is there or not.
    let targets: Vec<f32> = (0..rows * classes).map(|place| f32::from(u8::from(place * place % 7 < 3))).collect();
    let truth = Truth::Several(targets);
    let samples = Samples::new(&features, &places, &truth, classes, Some(vec![1.0, 2.0, 0.5]));
    let path = samples.path();
    let loss = |head: &Head| Evaluation::of(&head.logits(&features.values), &truth, classes, 1.0, &[]).scores.loss;
    assert!(loss(&path[path.len() - 1]) < loss(&path[0]));
    assert!(samples.is_flat_at_the_end(), "the gradient vanishes");
}

#[test]
fn folds_spread_every_class_that_images_share() {
    // A class in half of the images, one in a tenth, one in a twentieth; a third of the images show none.
    let shows = |image: usize| {
        [image.is_multiple_of(2), image % 10 == 4, image % 20 == 7].map(|there| f32::from(u8::from(there)))
    };
    let targets: Vec<f32> = (0..200).flat_map(shows).collect();
    let folds = folds(&Truth::Several(targets.clone()), 3);
    for fold in 0..FOLDS {
        let images: Vec<usize> = (0..200).filter(|&image| folds[image] == fold).collect();
        let count = |class: usize| images.iter().filter(|&&image| targets[image * 3 + class] > 0.5).count();
        assert_eq!(([0, 1, 2].map(count), images.len()), ([20, 4, 2], 40));
    }
}

#[test]
fn folding_norms_and_back_changes_no_prediction() {
    let (graph, parameters) = backbone();
    let images: Vec<u8> = (0..3 * graph.input.len()).map(|i| ((i * 7919 + i / 13 * 104_729) % 256) as u8).collect();
    let (folded, numbers) = fold::fold_norms(&graph, &parameters).unwrap();
    assert!(!folded.nodes.iter().any(|node| node.op.is_batch_norm()));
    let infer =
        |graph: &Graph, parameters: &Parameters| Predictor::new(graph.clone(), parameters.clone()).infer(&images);
    let close = |a: &[f32], b: &[f32]| {
        let largest = b.iter().fold(1e-3f32, |largest, value| largest.max(value.abs()));
        a.iter().zip(b).for_each(|(a, b)| assert!((a - b).abs() <= 2e-5 * largest, "{a} {b}"));
    };
    close(&infer(&folded, &numbers), &infer(&graph, &parameters));
    // A step of learning, and back.
    let mut network = Network::new(folded.clone(), numbers);
    network.learn(&images, Targets::Labels(&[0, 1, 0]), &LossConfig::default(), false, 1.0);
    for (values, gradient) in network.parameters.0.iter_mut().zip(&network.gradients) {
        values.iter_mut().zip(gradient).for_each(|(value, gradient)| *value -= 0.01 * gradient);
    }
    let mut back = parameters.clone();
    fold::unfold_norms(&graph, &mut back, &folded, &network.parameters);
    assert_ne!(back, parameters);
    close(&infer(&graph, &back), &infer(&folded, &network.parameters));
}

#[test]
fn frozen_layers_get_no_gradient() {
    let (graph, parameters) = backbone();
    let (mut folded, numbers) = fold::fold_norms(&graph, &parameters).unwrap();
    folded.freeze(0.5);
    let trained: Vec<bool> = folded.parameters.iter().map(|spec| spec.role.is_trained()).collect();
    assert!(trained.is_sorted() && trained.iter().filter(|&&trained| trained).count() * 2 > trained.len() - 6);
    let network = Network::new(folded.clone(), numbers);
    let sizes: Vec<bool> = network.gradients.iter().map(|gradient| !gradient.is_empty()).collect();
    assert_eq!(sizes, trained);
    folded.freeze(1.0);
    assert_eq!(folded.parameters.iter().filter(|spec| spec.role.is_trained()).count(), 2);
}
