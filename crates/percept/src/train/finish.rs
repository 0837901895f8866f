//! What a run leaves: the model, its figures, the report.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;

use super::{
    config::TrainConfig,
    events::{Event, Listener},
    extend::{Extended, Extension},
    finetune::{Held, StageOne, classifier_logits},
    mistakes::mistakes,
    prepare::spread,
    rejection::{self, Sample},
    run::architecture,
    session::Session,
};
use crate::{
    Error, Result,
    data::{Dataset, Split},
    evaluate::{Evaluation, Scores, Truth, answers_of, choose_thresholds, fit_temperature, logits_and_distances},
    files,
    image::Image,
    model::draw::thousands,
    ops::Predictor,
    recall::Recall,
    report::{self, Accuracy, Calibration, Report, Shown, Unknown, weight_templates},
    unknown::Known,
    weights::{self, ModelCard, Parent},
};

/// Training images that are measured at the end, at most: enough to see the gap to the test.
pub(super) const TRAIN_SAMPLE: usize = 2_000;
/// Pictures in a gallery of the report.
pub(super) const SHOWN: usize = 24;
/// A gap between training and test figures that is worth a word.
const GAP: f64 = 0.05;
/// Points of the learning rate's curve.
const RATES: u64 = 300;

/// Figures on the training images.
#[derive(Clone, Debug, Serialize)]
pub struct Trained {
    /// As that of [`Scores`].
    pub loss: f64,
    /// Share of right answers, where classes exclude each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top1: Option<f64>,
    /// Mean average precision, where an image may show several classes.
    #[serde(rename = "mAP", skip_serializing_if = "Option::is_none")]
    pub mean_average_precision: Option<f64>,
}

impl Trained {
    fn of(scores: &Scores) -> Self {
        let mean_average_precision = scores.several.map(|several| several.mean_average_precision);
        Self { loss: scores.loss, top1: scores.top1, mean_average_precision }
    }

    fn headline(&self) -> f64 {
        self.top1.or(self.mean_average_precision).unwrap_or(0.0)
    }
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
    /// Where it extended a model: what happened to the classes that were there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extended: Option<Extended>,
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
            extended: None,
            interrupted: true,
        }
    }
}

/// Measures the best parameters and writes everything. In stage 1, logits of training images by classifiers that did not see
/// them stand in for validation where no images were held out.
///
/// # Errors
/// A folder that cannot be written, or a full disk.
pub(super) fn finish(
    mut session: Session,
    run: &Path,
    stage_one: Option<StageOne>,
    extension: Option<&Extension>,
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
    let train = Evaluation::of(&seen.logits, &Truth::of(dataset, &sample), classes, 1.0, &[]);
    let (by_folds, drawn) = stage_one.map_or_else(Default::default, |found| (Some(found.held), found.drawn));
    // Folds can stand in where the features have learned from no image here.
    let is_fair = session.config.stage == 1 && extension.is_none_or(Extension::folds_judge);
    let by_folds = by_folds.filter(|_| dataset.validation.is_empty() && is_fair);
    let judges = !dataset.validation.is_empty() || by_folds.is_some();
    let tells_unknown = session.config.false_rejection > 0.0 && judges;
    let (held, mut held_sample) = match by_folds {
        Some(held) => (held, None),
        None => {
            let sample = look(&mut predictor, dataset, &dataset.validation);
            (Held { logits: sample.logits.clone(), truth: Truth::of(dataset, &dataset.validation) }, Some(sample))
        }
    };
    let own_recall = recall(&session, &mut seen, held_sample.as_mut(), extension);
    let fitted = match tells_unknown {
        true => {
            if held_sample.is_none() {
                let places = spread(&(0..dataset.train.len() as u32).collect::<Vec<u32>>(), TRAIN_SAMPLE);
                let row = |&place: &u32| &held.logits[place as usize * classes..][..classes];
                let fair: Vec<f32> = places.iter().flat_map(row).copied().collect();
                seen.logits.splice(..fair.len(), fair);
            }
            let rate = session.config.false_rejection;
            rejection::fit(&mut predictor, dataset, &sample, &seen, held_sample.as_ref(), rate)
        }
        false => None,
    };
    if let Some(note) = no_unknown(&session, fitted.is_some(), judges, held.truth.images(classes)) {
        listener(Event::Note(note));
    }
    drop((seen, held_sample));
    let known = fitted.as_ref().map(|fitted| &fitted.known);
    // What stands in for old classes is calibrated with the others, and never measured.
    let all_logits = [&held.logits[..], &drawn.logits].concat();
    let temperature = fit_temperature(&all_logits, &held.truth.followed_by(&drawn.truth), classes);
    let thresholds = match &held.truth {
        Truth::One(_) => None,
        Truth::Several(targets) => Some(choose_thresholds(&held.logits, targets, classes, temperature)),
    };
    let measure = |logits: &[f32], truth: &Truth, temperature: f32| {
        Evaluation::of(logits, truth, classes, temperature, thresholds.as_deref().unwrap_or_default())
    };
    let [validation, calibrated] = [1.0, temperature].map(|t| measure(&held.logits, &held.truth, t));
    let (test_logits, distances) = logits_and_distances(&mut predictor, dataset, &dataset.test, known);
    let rejected = known.filter(|_| !dataset.test.is_empty()).map(|known| known.share_unknown(&distances));
    let test = measure(&test_logits, &Truth::of(dataset, &dataset.test), temperature);
    let (has_validation, has_test) = (!held.logits.is_empty(), !dataset.test.is_empty());

    let mut outcome = TrainOutcome {
        interrupted: false,
        train: Some(Trained::of(&train.scores)),
        validation: has_validation.then(|| calibrated.scores.clone()),
        test: has_test.then(|| test.scores.clone()),
        extended: extension.map(|extension| extension.outcome(dataset, &test_logits, temperature)),
        ..TrainOutcome::interrupted(run, &session)
    };
    let (parent, reading) =
        (extension.map(Extension::origin), Reading { temperature, thresholds: thresholds.as_deref() });
    save_model(&session, run, &reading, &outcome, parent, known, own_recall.as_ref())?;
    let unknown = fitted.as_ref().map(|fitted| Unknown {
        false_rejection: session.config.false_rejection,
        rejected_held_out_images: fitted.rejected,
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
        figure: train.scores.headline_name(),
        accuracies: accuracies(&outcome, sample.len(), evaluation),
        facts: facts(&session, &outcome, started),
        remarks: [vec![format!("{}.", dataset.splits_note)], extension.map_or_else(Vec::new, Extension::remarks)]
            .concat(),
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
        mistakes: mistakes(&session, images, logits, &reading),
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
        fingerprint: &'a str,
        temperature: f32,
        #[serde(skip_serializing_if = "Option::is_none")]
        unknown: Option<Unknown>,
        #[serde(skip_serializing_if = "Option::is_none")]
        measured: Option<&'a Evaluation>,
    }
    let fingerprint = &dataset.fingerprint;
    let metrics = Metrics { outcome: &outcome, fingerprint, temperature, unknown, measured: evaluation };
    let text = serde_json::to_string_pretty(&metrics).map_err(|error| Error::invalid(error.to_string(), ""))?;
    files::write_whole(&run.join("metrics.json"), text.as_bytes())?;
    Ok(outcome)
}

/// How logits are read.
pub(super) struct Reading<'a> {
    /// What divides them.
    pub temperature: f32,
    /// Where classes do not exclude each other, the probability from which on each is said to be there.
    pub thresholds: Option<&'a [f32]>,
}

/// Features, logits and labels of some images. Images that may show several classes count as of one kind, since what they
/// show together is seldom twice the same.
fn look(predictor: &mut Predictor, dataset: &Dataset, images: &[u32]) -> Sample {
    let (mut logits, mut features) = (Vec::new(), Vec::new());
    answers_of(predictor, dataset, images, |answers| {
        logits.extend(answers.logits);
        features.extend(answers.features);
    });
    let label = |&image: &u32| if dataset.sets.is_some() { 0 } else { dataset.labels[image as usize] };
    Sample { features, logits, labels: images.iter().map(label).collect() }
}

/// What the model file is to keep of its classes. Where old ones are held by what their model kept, features drawn from that
/// join those of images.
fn recall(
    session: &Session,
    seen: &mut Sample,
    held: Option<&mut Sample>,
    extension: Option<&Extension>,
) -> Option<Recall> {
    let (dataset, seed) = (session.dataset, session.config.seed);
    // Nothing is kept of classes that do not exclude each other: they cannot be extended.
    if dataset.sets.is_some() {
        return None;
    }
    let counts = dataset.class_counts(Split::Train);
    let Some(old) = extension.and_then(Extension::recall) else {
        let fitted = Recall::fit(&seen.features, &seen.labels, &counts)?;
        return Some(match held {
            Some(held) => fitted.widened_to(&held.features, &held.labels),
            None => fitted,
        });
    };
    let share = |images: usize| images as f64 / dataset.train.len().max(1) as f64;
    let append = |sample: &mut Sample, turn: u64| {
        let drawn = old.draw(share(sample.labels.len()), TRAIN_SAMPLE, seed, turn);
        let logits = classifier_logits(session.network.graph(), &session.network.parameters, &drawn.features);
        sample.append(drawn, logits);
    };
    if let Some(held) = held {
        append(held, 2);
    }
    append(seen, 3);
    let known = old.counts();
    let all: Vec<usize> =
        counts.iter().enumerate().map(|(class, count)| count + known.get(class).copied().unwrap_or(0)).collect();
    let fitted = Recall::fit(&seen.features, &seen.labels, &all)?;
    Some(fitted.with_classes_of(old, |class| counts[class] == 0))
}

/// Writes the model file. Nothing in it depends on the clock, so that equal trainings give equal files.
fn save_model(
    session: &Session,
    run: &Path,
    reading: &Reading,
    outcome: &TrainOutcome,
    parent: Option<Parent>,
    known: Option<&Known>,
    recall: Option<&Recall>,
) -> Result<()> {
    let (config, dataset) = (&session.config, session.dataset);
    let conventions = session.network.graph().conventions.unless_usual(&config.model);
    let architecture = architecture(dataset, config.hidden, config.preprocess, conventions);
    let card = ModelCard {
        views: config.views,
        temperature: reading.temperature,
        data: dataset.name.clone(),
        fingerprint: dataset.fingerprint.clone(),
        held_out: [config.validation, config.test],
        false_rejection: known.map(|_| config.false_rejection),
        parent,
        validation: outcome.validation.clone(),
        test: outcome.test.clone(),
        filter: config.filter,
        ..ModelCard::new(&config.model, architecture, dataset.classes.clone(), config.fit)
    };
    let card = match reading.thresholds {
        Some(thresholds) => card.with_thresholds(thresholds.to_vec()),
        None => card,
    };
    let (graph, parameters) = (session.network.graph(), &session.network.parameters);
    weights::save(&run.join(weights::MODEL_FILE), &card, graph, parameters, known, recall)
}

fn write_history(session: &Session, run: &Path) -> Result<()> {
    let several = session.dataset.sets.is_some();
    let mut text = String::from(match several {
        false => "epoch,seconds,train/loss,train/top1,val/loss,val/top1,val/top5,lr\n",
        true => "epoch,seconds,train/loss,train/exact_match,val/loss,val/mAP,val/mAP_error,lr\n",
    });
    let cell = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.6}"));
    for row in &session.progress.history {
        let [figure, other] = match several {
            false => [row.validation_top1, row.validation_top5],
            true => [0, 1].map(|place| row.validation_map.map(|both| both[place])),
        };
        text += &format!(
            "{:.4},{:.3},{:.6},{:.6},{},{},{},{:e}\n",
            row.epoch,
            row.seconds,
            row.train_loss,
            row.train_top1,
            cell(row.validation_loss),
            cell(figure),
            cell(other),
            row.learning_rate
        );
    }
    files::write_whole(&run.join("results.csv"), text.as_bytes())
}

fn accuracies(outcome: &TrainOutcome, taken: usize, measured: Option<&Evaluation>) -> Vec<Accuracy> {
    let mut accuracies = Vec::new();
    let mut add = |split, purpose, value, images, interval| {
        accuracies.push(Accuracy { split, purpose, value, interval, images });
    };
    let interval = measured.and_then(|measured| measured.scores.interval());
    if let Some(trained) = &outcome.train {
        add("training", "learned from", trained.headline(), taken, None);
    }
    if let Some(scores) = &outcome.validation {
        let interval = interval.filter(|_| outcome.test.is_none());
        add("validation", "used to choose the weights", scores.headline(), scores.images, interval);
    }
    if let Some(scores) = &outcome.test {
        add("test", "measured once, at the end", scores.headline(), scores.images, interval);
    }
    accuracies
}

fn facts(session: &Session, outcome: &TrainOutcome, started: Instant) -> Vec<(String, String)> {
    let graph = session.network.graph();
    let mut facts = Vec::new();
    let mut add = |label: &str, value: String| facts.push((label.to_string(), value));
    if let Some(Scores { loss, top5, several, .. }) = outcome.test {
        if let Some(top5) = top5 {
            add("test top-5", format!("{:.2} %", 100.0 * top5));
        }
        if let Some(several) = several {
            add("test F1, micro", format!("{:.2} %", 100.0 * several.f1_micro));
            add("test F1, macro", format!("{:.2} %", 100.0 * several.f1_macro));
            add("test exact match", format!("{:.2} %", 100.0 * several.exact_match));
        }
        add("test loss", format!("{loss:.4}"));
    }
    if let Some(Scores { loss, .. }) = outcome.validation {
        add("validation loss", format!("{loss:.4}"));
    }
    if let Some(Extended { from, old_classes, before, after, .. }) = &outcome.extended {
        add("extends", from.display().to_string());
        add("old classes held by", format!("their {old_classes}"));
        if let (Some(before), Some(after)) = (before, after) {
            add("old classes, before", format!("{:.2} % of {} test images", 100.0 * before.headline(), before.images));
            add("old classes, after", format!("{:.2} %", 100.0 * after.headline()));
        }
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

/// A word where the model was to call images unknown and cannot.
fn no_unknown(session: &Session, tells_unknown: bool, judges: bool, held: usize) -> Option<String> {
    // What a linear model reads are the pixels themselves.
    let is_asked = session.config.false_rejection > 0.0 && session.network.graph().features().is_some();
    let why = match judges {
        false => "none was held out to tell how far known ones lie".to_string(),
        true => format!("{held} held out ones are too few to tell how far known ones lie"),
    };
    (is_asked && !tells_unknown).then(|| format!("the model calls no image unknown: {why}"))
}

/// A word where the model knows its training images much better than new ones.
fn overfitting(outcome: &TrainOutcome) -> Option<String> {
    let (train, test) = (outcome.train.as_ref()?, outcome.test.as_ref()?);
    let (gap, figure) = (train.headline() - test.headline(), test.headline_name());
    (gap > GAP).then(|| {
        format!(
            "training {figure} {:.1} % is {:.1} points above test {figure}: the model knows its training images better \
             than the world (overfitting); more images, augmentation or weight decay narrow the gap",
            100.0 * train.headline(),
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
    let name = |label: u32| match &dataset.sets {
        Some(sets) => sets.describe(label, &dataset.classes),
        None => dataset.classes[label as usize].clone(),
    };
    let shown = batch.1.pixels.chunks_exact(dataset.shape.len()).zip(&batch.1.labels).take(SHOWN);
    Ok(shown
        .map(|(pixels, &label)| Shown {
            image: Image { shape: dataset.shape, pixels: pixels.to_vec() },
            overlay: None,
            caption: name(label),
            name: name(label),
        })
        .collect())
}
