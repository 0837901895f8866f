//! What a run leaves: the model, its figures, the report.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;

use super::{
    config::TrainConfig,
    events::{Event, Listener},
    finetune::Held,
    prepare::spread,
    rejection::{self, Sample},
    run::architecture,
    session::Session,
};
use crate::{
    Error, Result,
    data::Dataset,
    evaluate::{Evaluation, Scores, answers_of, fit_temperature, labels_of, logits_and_distances},
    explain::{Explanation, overlay},
    files,
    image::Image,
    model::draw::thousands,
    ops::{Explainer, Predictor, calibrated_softmax},
    report::{self, Accuracy, Calibration, Report, Shown, Unknown, weight_templates},
    unknown::Known,
    weights::{self, ModelCard},
};

/// Training images that are measured at the end, at most: enough to see the gap to the test.
pub(super) const TRAIN_SAMPLE: usize = 2_000;
/// Pictures in a gallery of the report.
const SHOWN: usize = 24;
/// A gap between training and test accuracy that is worth a word.
const GAP: f64 = 0.05;
/// Points of the learning rate's curve.
const RATES: u64 = 300;

/// Figures on the training images.
#[derive(Clone, Debug, Serialize)]
pub struct Trained {
    /// Mean softmax cross-entropy.
    pub loss: f64,
    /// Share of right answers.
    pub top1: f64,
}

/// The final figures, as `--json` prints them.
#[derive(Clone, Debug, Serialize)]
pub struct TrainOutcome {
    /// The model's name.
    pub model: String,
    /// The data's name.
    pub data: String,
    /// The run's folder.
    pub run: PathBuf,
    /// Seconds from the start of the process, report included.
    pub seconds: f64,
    /// Steps done.
    pub steps: u64,
    /// Times that every training image was seen.
    pub epochs: f64,
    /// Images trained on a second, evaluations on the way included.
    pub images_per_second: f64,
    /// Measured on at most 2,000 training images as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<Trained>,
    /// Measured on validation images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Scores>,
    /// Measured on test images, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Scores>,
    /// Whether the user stopped it.
    #[serde(skip)]
    pub interrupted: bool,
}

impl TrainOutcome {
    /// A training that was stopped: nothing is measured yet.
    pub(super) fn interrupted(run: &Path, session: &Session) -> Self {
        let progress = &session.progress;
        let seen = progress.step as f64 * session.config.batch_size.min(session.dataset.train.len()) as f64;
        Self {
            model: session.config.model.clone(),
            data: session.dataset.name.clone(),
            run: run.into(),
            seconds: progress.seconds,
            steps: progress.step,
            epochs: seen / session.dataset.train.len() as f64,
            images_per_second: if progress.seconds > 0.0 { seen / progress.seconds } else { 0.0 },
            train: None,
            validation: None,
            test: None,
            interrupted: true,
        }
    }
}

/// Measures the best parameters and writes everything. `held` are logits of training images by classifiers that did not
/// see them: they stand in for validation where no images were held out.
///
/// # Errors
/// A folder that cannot be written, or a full disk.
pub(super) fn finish(
    mut session: Session,
    run: &Path,
    held: Option<Held>,
    started: Instant,
    listener: Listener,
) -> Result<TrainOutcome> {
    session.keep_best();
    let dataset = session.dataset;
    let classes = dataset.classes.len();
    let sample = spread(&dataset.train, TRAIN_SAMPLE);
    // Folded once: the parameters stay as they are from here on.
    let mut predictor = session.network.predictor().with_views(session.config.views);
    let mut seen = look(&mut predictor, dataset, &sample);
    let train = Evaluation::new(&seen.logits, &seen.labels, classes, 1.0);
    let by_folds = held.filter(|_| dataset.validation.is_empty());
    // Folds can stand in where the features have learned from no image here.
    let judges = !dataset.validation.is_empty() || by_folds.is_some() && session.config.stage == 1;
    let tells_unknown = session.config.false_rejection > 0.0 && judges;
    let (held, held_sample) = match by_folds {
        Some(held) => (held, None),
        None => {
            let sample = look(&mut predictor, dataset, &dataset.validation);
            (Held { logits: sample.logits.clone(), labels: sample.labels.clone() }, Some(sample))
        }
    };
    let fitted = match tells_unknown {
        true => {
            if held_sample.is_none() {
                let places = spread(&(0..dataset.train.len() as u32).collect::<Vec<u32>>(), TRAIN_SAMPLE);
                let row = |&place: &u32| &held.logits[place as usize * classes..][..classes];
                seen.logits = places.iter().flat_map(row).copied().collect();
            }
            let rate = session.config.false_rejection;
            rejection::fit(&mut predictor, dataset, &sample, &seen, held_sample.as_ref(), rate)
        }
        false => None,
    };
    drop((seen, held_sample));
    let known = fitted.as_ref().map(|fitted| &fitted.known);
    let validation = Evaluation::new(&held.logits, &held.labels, classes, 1.0);
    let temperature = fit_temperature(&held.logits, &held.labels, classes);
    let calibrated = Evaluation::new(&held.logits, &held.labels, classes, temperature);
    let (test_logits, distances) = logits_and_distances(&mut predictor, dataset, &dataset.test, known);
    let rejected = known.filter(|_| !dataset.test.is_empty()).map(|known| known.share_unknown(&distances));
    let test = Evaluation::new(&test_logits, &labels_of(dataset, &dataset.test), classes, temperature);
    let (has_validation, has_test) = (!held.labels.is_empty(), !dataset.test.is_empty());

    let mut outcome = TrainOutcome {
        interrupted: false,
        train: Some(Trained { loss: train.scores.loss, top1: train.scores.top1 }),
        validation: has_validation.then(|| calibrated.scores.clone()),
        test: has_test.then(|| test.scores.clone()),
        ..TrainOutcome::interrupted(run, &session)
    };
    save_model(&session, run, temperature, &outcome, known)?;
    let unknown = fitted.as_ref().map(|fitted| Unknown {
        false_rejection: session.config.false_rejection,
        auroc_of_left_out_classes: fitted.auroc,
        rejected_test_images: rejected,
    });
    write_history(&session, run)?;

    // Folds go over all training images.
    let held_images = if dataset.validation.is_empty() { &dataset.train } else { &dataset.validation };
    let (split, images, logits, evaluation) = match has_test {
        true => ("test", &dataset.test, &test_logits, Some(&test)),
        false => ("validation", held_images, &held.logits, has_validation.then_some(&calibrated)),
    };
    if let Some(note) = overfitting(&outcome) {
        listener(Event::Note(note));
    }
    let report = Report {
        title: format!("{} on {}", outcome.model, outcome.data),
        accuracies: accuracies(&outcome, sample.len(), evaluation),
        facts: facts(&session, &outcome, started),
        remarks: vec![format!("{}.", dataset.splits_note)],
        settings: session.config.to_toml(),
        history: session.progress.history.clone(),
        kept: session.progress.best.and_then(|best| session.progress.history.get(best).copied()),
        learning: on_learning(&session.config),
        learning_rates: learning_rates(&session),
        classes: dataset.classes.clone(),
        unknown: unknown.clone(),
        measured: evaluation.map(|evaluation| (split.to_string(), evaluation.clone())),
        calibration: (has_validation && temperature != 1.0).then(|| Calibration {
            temperature,
            before: validation,
            after: calibrated.clone(),
        }),
        mistakes: mistakes(&session, images, logits, temperature),
        templates: templates(&session),
        samples: batch_as_seen(&mut session)?,
    };
    let rendered = report::render(&report);
    for (name, svg) in &rendered.pictures {
        files::write_whole(&run.join(name), svg.as_bytes())?;
    }
    files::write_whole(&run.join("report.html"), rendered.html.as_bytes())?;
    outcome.seconds = started.elapsed().as_secs_f64();
    // Last: a folder with this file has ended.
    #[derive(Serialize)]
    struct Metrics<'a> {
        #[serde(flatten)]
        outcome: &'a TrainOutcome,
        temperature: f32,
        #[serde(skip_serializing_if = "Option::is_none")]
        unknown: Option<Unknown>,
        #[serde(skip_serializing_if = "Option::is_none")]
        measured: Option<&'a Evaluation>,
    }
    let metrics = Metrics { outcome: &outcome, temperature, unknown, measured: evaluation };
    let text = serde_json::to_string_pretty(&metrics).map_err(|error| Error::invalid(error.to_string(), ""))?;
    files::write_whole(&run.join("metrics.json"), text.as_bytes())?;
    Ok(outcome)
}

/// Features, logits and labels of some images.
fn look(predictor: &mut Predictor, dataset: &Dataset, images: &[u32]) -> Sample {
    let (mut logits, mut features) = (Vec::new(), Vec::new());
    answers_of(predictor, dataset, images, |answers| {
        logits.extend(answers.logits);
        features.extend(answers.features);
    });
    Sample { features, logits, labels: labels_of(dataset, images) }
}

/// Writes the model file. Nothing in it depends on the clock, so that equal trainings give equal files.
fn save_model(
    session: &Session,
    run: &Path,
    temperature: f32,
    outcome: &TrainOutcome,
    known: Option<&Known>,
) -> Result<()> {
    let (config, dataset) = (&session.config, session.dataset);
    let architecture = architecture(dataset, config.hidden, config.preprocess);
    let card = ModelCard {
        views: config.views,
        temperature,
        data: dataset.name.clone(),
        fingerprint: dataset.fingerprint.clone(),
        held_out: [config.validation, config.test],
        false_rejection: known.map(|_| config.false_rejection),
        validation: outcome.validation.clone(),
        test: outcome.test.clone(),
        filter: config.filter,
        ..ModelCard::new(&config.model, architecture, dataset.classes.clone(), config.fit)
    };
    let (graph, parameters) = (session.network.graph(), &session.network.parameters);
    weights::save(&run.join(weights::MODEL_FILE), &card, graph, parameters, known)
}

fn write_history(session: &Session, run: &Path) -> Result<()> {
    let mut text = String::from("epoch,seconds,train/loss,train/top1,val/loss,val/top1,val/top5,lr\n");
    let cell = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.6}"));
    for row in &session.progress.history {
        text += &format!(
            "{:.4},{:.3},{:.6},{:.6},{},{},{},{:e}\n",
            row.epoch,
            row.seconds,
            row.train_loss,
            row.train_top1,
            cell(row.validation_loss),
            cell(row.validation_top1),
            cell(row.validation_top5),
            row.learning_rate
        );
    }
    files::write_whole(&run.join("results.csv"), text.as_bytes())
}

fn accuracies(outcome: &TrainOutcome, taken: usize, measured: Option<&Evaluation>) -> Vec<Accuracy> {
    let mut accuracies = Vec::new();
    let mut add = |split, purpose, top1, images, interval| {
        accuracies.push(Accuracy { split, purpose, top1, interval, images });
    };
    let interval = measured.map(|evaluation| evaluation.top1_interval);
    if let Some(Trained { top1, .. }) = outcome.train {
        add("training", "learned from", top1, taken, None);
    }
    if let Some(Scores { top1, images, .. }) = outcome.validation {
        add("validation", "used to choose the weights", top1, images, interval.filter(|_| outcome.test.is_none()));
    }
    if let Some(Scores { top1, images, .. }) = outcome.test {
        add("test", "measured once, at the end", top1, images, interval);
    }
    accuracies
}

fn facts(session: &Session, outcome: &TrainOutcome, started: Instant) -> Vec<(String, String)> {
    let graph = session.network.graph();
    let mut facts = Vec::new();
    let mut add = |label: &str, value: String| facts.push((label.to_string(), value));
    if let Some(Scores { loss, top5, .. }) = outcome.test {
        if let Some(top5) = top5 {
            add("test top-5", format!("{:.2} %", 100.0 * top5));
        }
        add("test loss", format!("{loss:.4}"));
    }
    if let Some(Scores { loss, .. }) = outcome.validation {
        add("validation loss", format!("{loss:.4}"));
    }
    add("total time", format!("{:.1} s", started.elapsed().as_secs_f64()));
    add("steps", thousands(outcome.steps));
    add("epochs", format!("{:.1}", outcome.epochs));
    add("images a second", thousands(outcome.images_per_second as u64));
    add("parameters", thousands(graph.trained_parameters() as u64));
    add("multiply-adds", thousands(graph.multiply_adds()));
    add("precision", session.config.precision.to_string());
    add("instructions", percept_kernels::Isa::current().name().into());
    add("threads", rayon::current_num_threads().to_string());
    facts
}

/// A word where the model knows its training images much better than new ones.
fn overfitting(outcome: &TrainOutcome) -> Option<String> {
    let (train, test) = (outcome.train.as_ref()?, outcome.test.as_ref()?);
    let gap = train.top1 - test.top1;
    (gap > GAP).then(|| {
        format!(
            "training accuracy {:.1} % is {:.1} points above test accuracy: the model knows its training images better \
             than the world (overfitting); more images, augmentation or weight decay narrow the gap",
            100.0 * train.top1,
            100.0 * gap
        )
    })
}

/// How to read the curves of a training with these settings.
fn on_learning(config: &TrainConfig) -> Vec<String> {
    let mut sentences = vec![
        "Training figures are taken along the way, while the weights still change and on images as they were augmented: \
         they may lie below validation. Each point is the mean since the one before."
            .to_string(),
    ];
    if config.label_smoothing > 0.0 {
        sentences.push(format!(
            "With label smoothing {} the training loss cannot reach 0, and cannot be compared with the validation loss.",
            config.label_smoothing
        ));
    }
    if config.augmentation.mixup > 0.0 || config.augmentation.cutmix > 0.0 {
        sentences.push("Images were mixed: training accuracy says little here.".into());
    }
    sentences
}

/// Epochs, and the learning rates there, over the steps that were done.
fn learning_rates(session: &Session) -> Vec<(f64, f64)> {
    let (config, done) = (&session.config, session.progress.step);
    let epochs = config.batch_size as f64 / session.dataset.train.len() as f64;
    let shown = done.min(RATES);
    let steps = (0..shown).map(|place| place * (done - 1) / (shown - 1).max(1));
    steps.map(|step| ((step + 1) as f64 * epochs, config.learning_rate_at(step))).collect()
}

/// The surest wrong answers, and what spoke for them.
fn mistakes(session: &Session, images: &[u32], logits: &[f32], temperature: f32) -> Vec<Shown> {
    let dataset = session.dataset;
    let classes = dataset.classes.len();
    let mut probabilities = logits.to_vec();
    calibrated_softmax(&mut probabilities, classes, temperature);
    let mut wrong: Vec<(f32, u32, usize)> = images
        .iter()
        .zip(probabilities.chunks_exact(classes))
        .filter_map(|(&image, row)| {
            let predicted = crate::ops::largest(row);
            (predicted != dataset.labels[image as usize] as usize).then(|| (row[predicted], image, predicted))
        })
        .collect();
    wrong.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    wrong.truncate(SHOWN);
    let mut explainer = Explainer::new(session.network.graph().clone(), session.network.parameters.clone());
    let shown = |(probability, place, predicted): (f32, u32, usize)| {
        let image = Image { shape: dataset.shape, pixels: dataset.image(place as usize).to_vec() };
        let explanation = Explanation::new(&mut explainer, &image, Some(predicted));
        let whole = [0.0, 0.0, dataset.shape.width as f64, dataset.shape.height as f64];
        let label = &dataset.classes[dataset.labels[place as usize] as usize];
        let called = &dataset.classes[predicted];
        Shown {
            overlay: Some(overlay(&image, whole, &explanation)),
            image,
            caption: format!("{label}, taken for {called} ({:.0}\u{a0}%)", 100.0 * probability),
            name: dataset.names[place as usize].clone(),
        }
    };
    wrong.into_iter().map(shown).collect()
}

/// The weights of a linear model, per class.
fn templates(session: &Session) -> Vec<Shown> {
    let graph = session.network.graph();
    let weights = session.network.parameters.get(graph, "fc.weight");
    let Some(weights) = weights.filter(|_| graph.is_linear()) else { return Vec::new() };
    let dataset = session.dataset;
    let images = weight_templates(weights, dataset.shape, dataset.classes.len());
    let named = images.into_iter().zip(&dataset.classes);
    named.map(|(image, class)| Shown { image, overlay: None, caption: class.clone(), name: class.clone() }).collect()
}

/// The first images of the first batch.
fn batch_as_seen(session: &mut Session) -> Result<Vec<Shown>> {
    let batch = session.fill(0)?;
    let dataset = batch.0;
    let shown = batch.1.pixels.chunks_exact(dataset.shape.len()).zip(&batch.1.labels).take(SHOWN);
    Ok(shown
        .map(|(pixels, &label)| Shown {
            image: Image { shape: dataset.shape, pixels: pixels.to_vec() },
            overlay: None,
            caption: dataset.classes[label as usize].clone(),
            name: dataset.classes[label as usize].clone(),
        })
        .collect())
}
