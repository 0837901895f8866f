//! Fine-tuning: a backbone that knows ImageNet learns other classes from few images. Stage 1 leaves it as it is and
//! trains a classifier on what it sees; stage 2 lets all layers learn.

mod features;
mod head;
#[cfg(test)]
mod tests;

use std::{path::Path, sync::atomic::AtomicBool};

use percept_kernels as kernels;
use sha2::{Digest, Sha256};

use super::{
    config::TrainConfig,
    events::{Event, Listener},
};
use crate::{
    Result,
    data::{Dataset, augment::Augmentation},
    evaluate::{Evaluation, Truth},
    files::hexadecimal,
    model::{Graph, Parameters},
    ops::Predictor,
    recall::{Drawn, Recall},
    weights::bytes_of,
};
use features::{Extraction, Features};
use head::{Head, Samples};

/// Parts that training images are cut into where none are held out: each is judged by a classifier that did not see it.
const FOLDS: usize = 5;
/// Views of all training images, about; and of one at most.
const VIEWS: usize = 6_000;
const MOST_VIEWS: usize = 8;

/// Logits of images that the classifier which gave them has not learned from.
#[derive(Default)]
pub(super) struct Held {
    /// `[images, classes]`.
    pub logits: Vec<f32>,
    pub truth: Truth,
}

impl Held {
    /// Figures at the temperature that fits best.
    pub fn evaluate(&self, classes: usize) -> Evaluation {
        Evaluation::at_best_temperature(&self.logits, &self.truth, classes)
    }
}

/// What stage 1 found.
pub(super) struct StageOne {
    pub held: Held,
    /// The same of features that were drawn for old classes.
    pub drawn: Held,
    /// On the training images as they are.
    pub loss: f64,
    /// Share of them that is right; where they may show several classes, right in all.
    pub right: f64,
}

/// Trains the classifier at the end of `graph` on what the rest of it sees, and puts it into `parameters`. Nothing if it was
/// stopped. Old classes whose pictures are gone are held by `recall`: features drawn from it stand beside those of images, and
/// the classifier stays as near to the one that was there as they allow.
///
/// # Errors
/// A network that does not end with a linear layer; settings of the augmentation that are out of range.
#[expect(clippy::too_many_arguments, reason = "all that a training consists of")]
pub(super) fn stage_one(
    graph: &Graph,
    parameters: &mut Parameters,
    dataset: &Dataset,
    config: &TrainConfig,
    class_weights: Option<Vec<f32>>,
    recall: Option<&Recall>,
    cache: &Path,
    stop: &AtomicBool,
    listener: Listener,
) -> Result<Option<StageOne>> {
    let backbone = graph.without_classifier()?;
    let kept = Parameters(parameters.0[..backbone.parameters.len()].to_vec());
    // The same numbers give other features by other conventions.
    let conventions = graph.conventions.unless_usual(&graph.name).map_or(String::new(), |own| format!("{own:?} "));
    let identity = format!("{} {conventions}{} {:?} {:?}", graph.name, fingerprint(&kept), config.fit, config.filter);
    // Mixed images have no features of one class.
    let augmentation = Augmentation { mixup: 0.0, cutmix: 0.0, ..config.augmentation.clone() };
    let mut extraction = Extraction {
        backbone: &mut Predictor::new(backbone, kept),
        identity: &identity,
        dataset,
        augmentation: &augmentation,
        seed: config.seed,
        folder: cache.join("features"),
        stop,
    };
    let views = if augmentation.is_none() { 1 } else { (VIEWS / dataset.train.len().max(1)).clamp(1, MOST_VIEWS) };
    let Some(mut features) = extraction.run(&dataset.train, views, listener)? else { return Ok(None) };
    let (mut truth, images) = (Truth::of(dataset, &dataset.train), dataset.train.len());
    let classes = dataset.classes.len();
    let base = recall.map(|_| Head::of(graph, parameters));
    if let Some(recall) = recall {
        // As many views of each as of an image, all of them drawn.
        let drawn: Vec<Drawn> =
            (0..views).map(|view| recall.draw(1.0, VIEWS / views, config.seed, 4 + view as u64)).collect();
        for place in 0..drawn[0].labels.len() {
            let own = place * features.width..(place + 1) * features.width;
            drawn.iter().for_each(|drawn| features.values.extend(&drawn.features[own.clone()]));
        }
        truth = truth.followed_by(&Truth::One(drawn[0].labels.clone()));
    }
    let samples = |places: &[usize]| {
        let samples = Samples::new(&features, places, &truth, classes, class_weights.clone());
        match &base {
            Some(base) => samples.starting_from(base),
            None => samples,
        }
    };
    let all: Vec<usize> = (0..truth.images(classes)).collect();
    let (head, mut held) = if dataset.validation.is_empty() {
        let folds = folds(&truth, classes);
        let mut logits: Vec<Vec<f32>> = vec![vec![0.0; all.len() * classes]; head::DECAYS.len()];
        for fold in 0..FOLDS {
            let (inside, outside): (Vec<usize>, Vec<usize>) = all.iter().partition(|&&place| folds[place] == fold);
            for (head, logits) in samples(&outside).path().iter().zip(&mut logits) {
                for &place in &inside {
                    let plain = &features.of(place)[..features.width];
                    logits[place * classes..][..classes].copy_from_slice(&head.logits(plain));
                }
            }
        }
        let best = best_of(&logits, &truth, classes);
        let head = samples(&all).path().swap_remove(best);
        (head, Held { logits: logits.swap_remove(best), truth: truth.clone() })
    } else {
        let Some(mut seen) = extraction.run(&dataset.validation, 1, listener)? else { return Ok(None) };
        let mut truth = Truth::of(dataset, &dataset.validation);
        if let Some(recall) = recall {
            let share = dataset.validation.len() as f64 / images.max(1) as f64;
            let drawn = recall.draw(share, VIEWS, config.seed, 1);
            seen.values.extend(drawn.features);
            truth = truth.followed_by(&Truth::One(drawn.labels));
        }
        let mut heads = samples(&all).path();
        let mut logits: Vec<Vec<f32>> = heads.iter().map(|head| head.logits(&seen.values)).collect();
        let best = best_of(&logits, &truth, classes);
        (heads.swap_remove(best), Held { logits: logits.swap_remove(best), truth })
    };
    let real = if dataset.validation.is_empty() { images } else { dataset.validation.len() };
    let drawn = Held { logits: held.logits.split_off(real * classes), truth: held.truth.split_off(real, classes) };
    let plain = plain_logits(&head, &features);
    let of_images = Truth::of(dataset, &dataset.train);
    let learned = Evaluation::of(&plain[..images * classes], &of_images, classes, 1.0, &[]).scores;
    head.put(graph, parameters);
    listener(Event::Note(describe(dataset, views, &held, classes)));
    let right = learned.several.map_or(learned.top1.unwrap_or(0.0), |several| several.exact_match);
    Ok(Some(StageOne { held, drawn, loss: learned.loss, right }))
}

/// Logits of every image as it is.
fn plain_logits(head: &Head, features: &Features) -> Vec<f32> {
    let stride = features.views * features.width;
    features.values.chunks_exact(stride).flat_map(|views| head.logits(&views[..features.width])).collect()
}

fn describe(dataset: &Dataset, views: usize, held: &Held, classes: usize) -> String {
    let scores = held.evaluate(classes).scores;
    let how = match dataset.validation.is_empty() {
        true => format!("{FOLDS} folds of the training images"),
        false => format!("{} validation images", dataset.validation.len()),
    };
    let looks = if views == 1 { String::new() } else { format!(", each in {views} views") };
    format!(
        "stage 1: a classifier on the backbone's features of {} images{looks}: {} {:.2} % on {how}",
        dataset.train.len(),
        scores.headline_name(),
        100.0 * scores.headline()
    )
}

/// The place of the logits with the least loss.
fn best_of(logits: &[Vec<f32>], truth: &Truth, classes: usize) -> usize {
    let losses = logits.iter().map(|logits| Evaluation::of(logits, truth, classes, 1.0, &[]).scores.loss);
    losses.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |best| best.0)
}

/// The fold of each image: every class is spread evenly over all folds.
fn folds(truth: &Truth, classes: usize) -> Vec<usize> {
    let labels = match truth {
        Truth::One(labels) => labels,
        Truth::Several(targets) => return folds_of_sets(targets, classes),
    };
    let mut seen = vec![0; classes];
    let next = |&label: &u32| {
        // Classes begin at different folds, so that small ones do not all fall into the first.
        let place = seen[label as usize] + label as usize;
        seen[label as usize] += 1;
        place % FOLDS
    };
    labels.iter().map(next).collect()
}

/// The same for images that may show several classes: the rarest class first, each of its images goes to the fold that has
/// the fewest of it, and of such to the smallest (iterative stratification, Sechidis et al. 2011).
fn folds_of_sets(targets: &[f32], classes: usize) -> Vec<usize> {
    let images = targets.len() / classes;
    let shows = |image: usize, class: usize| targets[image * classes + class] > 0.5;
    let mut fold = vec![FOLDS; images];
    let mut counts = vec![[0usize; FOLDS]; classes];
    let mut sizes = [0usize; FOLDS];
    let mut left: Vec<usize> = (0..classes).collect();
    loop {
        // Images of no class, or of none that is left, come last.
        let waiting = |class: usize| (0..images).filter(|&image| fold[image] == FOLDS && shows(image, class)).count();
        let rarest = left.iter().copied().map(|class| (waiting(class), class)).filter(|(count, _)| *count > 0).min();
        let next: Vec<usize> = (0..images)
            .filter(|&image| fold[image] == FOLDS && rarest.is_none_or(|(_, class)| shows(image, class)))
            .collect();
        for image in next {
            let order = |&place: &usize| (rarest.map_or(0, |(_, class)| counts[class][place]), sizes[place], place);
            let place = (0..FOLDS).min_by_key(order).unwrap_or(0);
            fold[image] = place;
            sizes[place] += 1;
            (0..classes).filter(|&class| shows(image, class)).for_each(|class| counts[class][place] += 1);
        }
        let Some((_, class)) = rarest else { return fold };
        left.retain(|&other| other != class);
    }
}

/// Logits `[rows, classes]` that the classifier at the end of a network gives to features `[rows, width]`.
pub(super) fn classifier_logits(graph: &Graph, parameters: &Parameters, features: &[f32]) -> Vec<f32> {
    Head::of(graph, parameters).logits(features)
}

impl Head {
    /// The classifier that is there.
    fn of(graph: &Graph, parameters: &Parameters) -> Self {
        let (mut head, factor) = (Self { weights: Vec::new(), bias: Vec::new() }, factor_of(graph));
        if let Some([weights, bias]) = places(graph) {
            let scaled = |place: usize| parameters.0[place].iter().map(|value| value * factor).collect();
            head = Self { weights: scaled(weights), bias: scaled(bias) };
        }
        head
    }

    /// Puts the classifier into the last layer, whose memory order is its own.
    fn put(self, graph: &Graph, parameters: &mut Parameters) {
        let factor = factor_of(graph);
        if let Some([weights, bias]) = places(graph) {
            let scaled = |values: Vec<f32>| values.into_iter().map(|value| value / factor).collect();
            parameters.0[weights] = scaled(self.weights);
            parameters.0[bias] = scaled(self.bias);
        }
    }
}

/// Where the classifier's weights and biases are.
fn places(graph: &Graph) -> Option<[usize; 2]> {
    let (node, _) = graph.classifier()?;
    graph.nodes[node].parameters.first_chunk::<2>().copied()
}

/// What the classifier's outputs are multiplied by.
fn factor_of(graph: &Graph) -> f32 {
    graph.classifier().map_or(1.0, |(_, factor)| factor)
}

/// What tells these numbers from all others.
fn fingerprint(parameters: &Parameters) -> String {
    let mut hash = Sha256::new();
    parameters.0.iter().for_each(|values| hash.update(bytes_of(values)));
    // Other instructions round otherwise.
    hash.update(kernels::Isa::current().name());
    hexadecimal(&hash.finalize()[..16])
}
