//! Runs a network over a split.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;

use super::{Evaluation, Scores, Truth};
use crate::{
    Error, Result,
    data::{self, Dataset, DatasetConfig, LabelKind, Source, Split},
    ops::{Answers, Network, Predictor},
    unknown::{Known, auroc},
    weights::{self, ModelCard},
};

/// Logits `[images, classes]` of some images of a dataset, in their order.
pub fn logits_of(predictor: &mut Predictor, dataset: &Dataset, images: &[u32]) -> Vec<f32> {
    let mut logits = Vec::with_capacity(images.len() * predictor.graph().classes());
    answers_of(predictor, dataset, images, |answers| logits.extend(answers.logits));
    logits
}

/// What a network makes of some images of a dataset, in their order, some at a time.
pub fn answers_of(predictor: &mut Predictor, dataset: &Dataset, images: &[u32], mut take: impl FnMut(Answers)) {
    let batch = predictor.batch_in_memory();
    let mut pixels = Vec::with_capacity(batch.min(images.len()) * dataset.shape.len());
    for chunk in images.chunks(batch) {
        pixels.clear();
        chunk.iter().for_each(|&index| pixels.extend_from_slice(dataset.image(index as usize)));
        take(predictor.answer(&pixels));
    }
}

/// Logits of some images of a dataset, and how far each is from known ones, where there is something to tell that by.
pub fn logits_and_distances(
    predictor: &mut Predictor,
    dataset: &Dataset,
    images: &[u32],
    known: Option<&Known>,
) -> (Vec<f32>, Vec<f32>) {
    let (mut logits, mut distances) = (Vec::new(), Vec::new());
    answers_of(predictor, dataset, images, |answers| {
        distances.extend(known.iter().flat_map(|known| known.distances(&answers.features, &answers.logits)));
        logits.extend(answers.logits);
    });
    (logits, distances)
}

/// Measures a network on some images of a dataset.
pub fn evaluate_split(network: &Network, dataset: &Dataset, images: &[u32]) -> Evaluation {
    let logits = logits_of(&mut network.predictor(), dataset, images);
    Evaluation::of(&logits, &Truth::of(dataset, images), dataset.classes.len(), 1.0, &[])
}

/// Where data is looked for and kept.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where named data is looked for first.
    pub data_dir: Option<PathBuf>,
    /// Where downloads and decoded images are kept.
    pub cache_dir: PathBuf,
}

/// The figures of `evaluate --json`.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The model's name.
    pub model: String,
    /// The data's name.
    pub data: String,
    /// The model file.
    pub run: String,
    /// Seconds from the start of the process.
    pub seconds: f64,
    /// Images measured a second, decoding apart.
    pub images_per_second: f64,
    /// Measured on training images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<Scores>,
    /// Measured on validation images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Scores>,
    /// Measured on test images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Scores>,
    /// Which images were called unknown, where the model can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<UnknownFigures>,
}

/// How a model tells images that are unlike all that it has seen.
#[derive(Clone, Debug, Serialize)]
pub struct UnknownFigures {
    /// Share of the measured images that it called unknown, wrongly if they are what it was trained for.
    pub rejected: f64,
    /// What it makes of images of other things, where some were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<UnseenFigures>,
}

/// What a model makes of images of other things.
#[derive(Clone, Debug, Serialize)]
pub struct UnseenFigures {
    /// Their name.
    pub data: String,
    /// Share of them that it called unknown, as it should.
    pub rejected: f64,
    /// How often one of them is farther than a measured one.
    pub auroc: f64,
    /// How many there are.
    pub images: usize,
}

/// A saved model measured on labelled images.
pub struct Measured {
    /// The figures.
    pub figures: Figures,
    /// Everything else that was counted.
    pub evaluation: Evaluation,
    /// Class names by label.
    pub classes: Vec<String>,
}

impl Measured {
    /// The figures for a terminal.
    pub fn to_text(&self) -> String {
        let Evaluation { scores, calibration_error, .. } = &self.evaluation;
        let interval = scores
            .interval()
            .map_or(String::new(), |[low, high]| format!(" (95 % interval {:.2} to {:.2})", 100.0 * low, 100.0 * high));
        let exact = scores.several.map_or(String::new(), |several| {
            format!(", F1 {:.2} %, exact match {:.2} %", 100.0 * several.f1_micro, 100.0 * several.exact_match)
        });
        let top5 = scores.top5.map_or(String::new(), |top5| format!(", top-5 {:.2} %", 100.0 * top5));
        let unknown = self.figures.unknown.as_ref().map_or(String::new(), describe_unknown);
        format!(
            "{}\n{} {:.2} %{interval}{top5}{exact}, loss {:.4}, calibration error {:.4}, {} images\n{unknown}",
            self.evaluation.report(&self.classes),
            scores.headline_name(),
            100.0 * scores.headline(),
            scores.loss,
            calibration_error,
            scores.images
        )
    }
}

fn describe_unknown(figures: &UnknownFigures) -> String {
    let unseen = figures.unseen.as_ref().map_or(String::new(), |unseen| {
        format!(
            "; {:.2} % of {} images of {}, AUROC {:.4}",
            100.0 * unseen.rejected,
            unseen.images,
            unseen.data,
            unseen.auroc
        )
    });
    format!("called unknown: {:.2} % of these images{unseen}\n", 100.0 * figures.rejected)
}

/// Measures a saved model on a split of some data, and on data of other things where `unseen` names such. Probabilities
/// are calibrated as the model file says.
///
/// # Errors
/// A model or data that cannot be used, classes that differ, a split without images.
pub fn evaluate_model(
    model: &Path,
    data: &str,
    split: Split,
    unseen: Option<&str>,
    places: &Places,
    started: Instant,
    listener: data::Listener,
) -> Result<Measured> {
    let saved = weights::load(model)?;
    if unseen.is_some() && saved.known.is_none() {
        return Err(Error::invalid(
            format!("the model in {} calls no image unknown", model.display()),
            "train it with a --false-rejection above 0, and with images held out",
        ));
    }
    let dataset = open_like_training(&saved.card, data, places, listener)?;
    let images = dataset.split(split);
    if images.is_empty() {
        return Err(Error::invalid(
            format!("{data} has no {} images", name(split)),
            "choose another --split, or add images",
        ));
    }
    let mut predictor = Predictor::new(saved.graph, saved.parameters).with_views(saved.card.views);
    let begin = Instant::now();
    let (logits, distances) = logits_and_distances(&mut predictor, &dataset, images, saved.known.as_ref());
    let images_per_second = images.len() as f64 / begin.elapsed().as_secs_f64();
    let thresholds = saved.card.thresholds.as_deref().unwrap_or_default();
    let truth = Truth::of(&dataset, images);
    let evaluation = Evaluation::of(&logits, &truth, dataset.classes.len(), saved.card.temperature, thresholds);
    let unknown = match &saved.known {
        Some(known) => {
            let unseen = unseen.map(|other| {
                let other = open_whole(&saved.card, other, places, listener)?;
                Ok(measure_unseen(known, &mut predictor, &other, &distances))
            });
            Some(UnknownFigures { rejected: known.share_unknown(&distances), unseen: unseen.transpose()? })
        }
        None => None,
    };
    let mut figures = Figures {
        unknown,
        model: saved.card.model,
        data: dataset.name.clone(),
        run: model.display().to_string(),
        seconds: started.elapsed().as_secs_f64(),
        images_per_second,
        train: None,
        validation: None,
        test: None,
    };
    let place = match split {
        Split::Train => &mut figures.train,
        Split::Validation => &mut figures.validation,
        Split::Test => &mut figures.test,
    };
    *place = Some(evaluation.scores.clone());
    Ok(Measured { figures, evaluation, classes: dataset.classes.clone() })
}

/// What a model makes of all images of other data; `distances` are those of images that it should know.
fn measure_unseen(known: &Known, predictor: &mut Predictor, other: &Dataset, distances: &[f32]) -> UnseenFigures {
    let all: Vec<u32> = (0..other.labels.len() as u32).collect();
    let (_, far) = logits_and_distances(predictor, other, &all, Some(known));
    UnseenFigures {
        data: other.name.clone(),
        rejected: known.share_unknown(&far),
        auroc: auroc(distances, &far),
        images: far.len(),
    }
}

/// The data, split and labelled as the model knows it.
///
/// The data that it was trained on is split as it was then, so that no training image is measured as a test image.
/// Other data that comes without splits is measured whole.
fn open_like_training(card: &ModelCard, data: &str, places: &Places, listener: data::Listener) -> Result<Dataset> {
    let (mut source, mut config) = open_for(card, data, places, listener)?;
    if source.sets.is_some() && card.is_exclusive() {
        // What looks like several labels may be the name of one class that the model knows.
        config.labels = Some(LabelKind::One);
        let again = Source::open(&config, listener).ok();
        let again = again.filter(|source| source.classes.iter().all(|class| card.classes.contains(class)));
        source = again.ok_or_else(|| {
            Error::invalid(
                format!("the images of {data} show several classes each, but the model names one"),
                "train a model on several labels an image, or measure on images of one class each",
            )
        })?;
        source.show_with_channels(card.architecture.input.channels);
    }
    if card.has_learned_from(&source.name) {
        [config.validation, config.test] = card.held_out;
    }
    let mut dataset = Dataset::from_source(&source, &config, listener)?;
    listener(data::Event::Note(dataset.splits_note.clone()));
    let lacking: Vec<&str> =
        card.classes.iter().filter(|class| !dataset.classes.contains(class)).map(String::as_str).collect();
    if let Some(first) = lacking.first() {
        let more = if lacking.len() > 1 { format!(" and {} more", lacking.len() - 1) } else { String::new() };
        listener(data::Event::Note(format!(
            "{data} has no image of class \"{first}\"{more}, which the model knows: the figures say nothing of it"
        )));
    }
    dataset.rename_classes(&card.classes)?;
    Ok(dataset)
}

/// All images of some data, whatever their classes, as the model is to see them.
fn open_whole(card: &ModelCard, data: &str, places: &Places, listener: data::Listener) -> Result<Dataset> {
    let (source, config) = open_for(card, data, places, listener)?;
    Dataset::from_source(&source, &config, listener)
}

/// Some data, and how its images are brought to the model.
fn open_for(
    card: &ModelCard,
    data: &str,
    places: &Places,
    listener: data::Listener,
) -> Result<(Source, DatasetConfig)> {
    let input = card.architecture.input;
    let config = DatasetConfig {
        data_dir: places.data_dir.clone(),
        cache_dir: places.cache_dir.clone(),
        image_size: Some([input.height, input.width]),
        fit: card.fit,
        filter: card.filter,
        test: 1.0,
        labels: (!card.is_exclusive()).then_some(LabelKind::Several),
        ..DatasetConfig::new(data)
    };
    let mut source = Source::open(&config, listener)?;
    source.show_with_channels(input.channels);
    Ok((source, config))
}

fn name(split: Split) -> &'static str {
    match split {
        Split::Train => "training",
        Split::Validation => "validation",
        Split::Test => "test",
    }
}
