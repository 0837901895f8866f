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
    evaluate::{Evaluation, labels_of},
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
    pub labels: Vec<u32>,
}

/// What stage 1 found.
pub(super) struct StageOne {
    pub held: Held,
    /// The same of features that were drawn for old classes.
    pub drawn: Held,
    pub loss: f64,
    pub top1: f64,
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
    let identity = format!("{} {} {:?} {:?}", graph.name, fingerprint(&kept), config.fit, config.filter);
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
    let (mut labels, images) = (labels_of(dataset, &dataset.train), dataset.train.len());
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
        labels.extend(&drawn[0].labels);
    }
    let samples = |places: &[usize]| {
        let samples = Samples::new(&features, places, &labels, classes, class_weights.clone());
        match &base {
            Some(base) => samples.starting_from(base),
            None => samples,
        }
    };
    let all: Vec<usize> = (0..labels.len()).collect();
    let (head, mut held) = if dataset.validation.is_empty() {
        let folds = folds(&labels, classes);
        let mut logits: Vec<Vec<f32>> = vec![vec![0.0; labels.len() * classes]; head::DECAYS.len()];
        for fold in 0..FOLDS {
            let (inside, outside): (Vec<usize>, Vec<usize>) = all.iter().partition(|&&place| folds[place] == fold);
            for (head, logits) in samples(&outside).path().iter().zip(&mut logits) {
                for &place in &inside {
                    let plain = &features.of(place)[..features.width];
                    logits[place * classes..][..classes].copy_from_slice(&head.logits(plain));
                }
            }
        }
        let best = best_of(&logits, &labels, classes);
        let head = samples(&all).path().swap_remove(best);
        (head, Held { logits: logits.swap_remove(best), labels: labels.clone() })
    } else {
        let Some(mut seen) = extraction.run(&dataset.validation, 1, listener)? else { return Ok(None) };
        let mut labels = labels_of(dataset, &dataset.validation);
        if let Some(recall) = recall {
            let share = labels.len() as f64 / images.max(1) as f64;
            let drawn = recall.draw(share, VIEWS, config.seed, 1);
            seen.values.extend(drawn.features);
            labels.extend(drawn.labels);
        }
        let mut heads = samples(&all).path();
        let mut logits: Vec<Vec<f32>> = heads.iter().map(|head| head.logits(&seen.values)).collect();
        let best = best_of(&logits, &labels, classes);
        (heads.swap_remove(best), Held { logits: logits.swap_remove(best), labels })
    };
    let real = if dataset.validation.is_empty() { images } else { dataset.validation.len() };
    let drawn = Held { logits: held.logits.split_off(real * classes), labels: held.labels.split_off(real) };
    let learned = Evaluation::new(&plain_logits(&head, &features), &labels[..images], classes, 1.0).scores;
    head.put(graph, parameters);
    listener(Event::Note(describe(dataset, views, &held, classes)));
    Ok(Some(StageOne { held, drawn, loss: learned.loss, top1: learned.top1 }))
}

/// Logits of every image as it is.
fn plain_logits(head: &Head, features: &Features) -> Vec<f32> {
    let stride = features.views * features.width;
    features.values.chunks_exact(stride).flat_map(|views| head.logits(&views[..features.width])).collect()
}

fn describe(dataset: &Dataset, views: usize, held: &Held, classes: usize) -> String {
    let scores = Evaluation::new(&held.logits, &held.labels, classes, 1.0).scores;
    let how = match dataset.validation.is_empty() {
        true => format!("{FOLDS} folds of the training images"),
        false => format!("{} validation images", dataset.validation.len()),
    };
    let looks = if views == 1 { String::new() } else { format!(", each in {views} views") };
    format!(
        "stage 1: a classifier on the backbone's features of {} images{looks}: accuracy {:.2} % on {how}",
        dataset.train.len(),
        100.0 * scores.top1
    )
}

/// The place of the logits with the least loss.
fn best_of(logits: &[Vec<f32>], labels: &[u32], classes: usize) -> usize {
    let losses = logits.iter().map(|logits| Evaluation::new(logits, labels, classes, 1.0).scores.loss);
    losses.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |best| best.0)
}

/// The fold of each image: every class is spread evenly over all folds.
fn folds(labels: &[u32], classes: usize) -> Vec<usize> {
    let mut seen = vec![0; classes];
    let next = |&label: &u32| {
        // Classes begin at different folds, so that small ones do not all fall into the first.
        let place = seen[label as usize] + label as usize;
        seen[label as usize] += 1;
        place % FOLDS
    };
    labels.iter().map(next).collect()
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
