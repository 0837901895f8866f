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
pub(super) struct Held {
    /// `[images, classes]`.
    pub logits: Vec<f32>,
    pub labels: Vec<u32>,
}

/// What stage 1 found.
pub(super) struct StageOne {
    pub held: Held,
    pub loss: f64,
    pub top1: f64,
}

/// Trains the classifier at the end of `graph` on what the rest of it sees, and puts it into `parameters`. Nothing if it was
/// stopped.
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
    let Some(features) = extraction.run(&dataset.train, views, listener)? else { return Ok(None) };
    let labels = labels_of(dataset, &dataset.train);
    let classes = dataset.classes.len();
    let samples = |places: &[usize]| Samples::new(&features, places, &labels, classes, class_weights.clone());
    let all: Vec<usize> = (0..labels.len()).collect();
    let (head, held) = if dataset.validation.is_empty() {
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
        let Some(seen) = extraction.run(&dataset.validation, 1, listener)? else { return Ok(None) };
        let labels = labels_of(dataset, &dataset.validation);
        let mut heads = samples(&all).path();
        let mut logits: Vec<Vec<f32>> = heads.iter().map(|head| head.logits(&seen.values)).collect();
        let best = best_of(&logits, &labels, classes);
        (heads.swap_remove(best), Held { logits: logits.swap_remove(best), labels })
    };
    let learned = Evaluation::new(&plain_logits(&head, &features), &labels, classes, 1.0).scores;
    put(head, graph, parameters);
    listener(Event::Note(describe(dataset, views, &held, classes)));
    Ok(Some(StageOne { held, loss: learned.loss, top1: learned.top1 }))
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

/// Puts a classifier into the last layer, whose memory order is its own.
fn put(head: Head, graph: &Graph, parameters: &mut Parameters) {
    if let Some([weights, bias]) = graph.nodes.last().and_then(|node| node.parameters.first_chunk::<2>()) {
        parameters.0[*weights] = head.weights;
        parameters.0[*bias] = head.bias;
    }
}

/// What tells these numbers from all others.
fn fingerprint(parameters: &Parameters) -> String {
    let mut hash = Sha256::new();
    parameters.0.iter().for_each(|values| hash.update(bytes_of(values)));
    // Other instructions round otherwise.
    hash.update(kernels::Isa::current().name());
    hexadecimal(&hash.finalize()[..16])
}
