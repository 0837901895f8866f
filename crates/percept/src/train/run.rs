//! A training from data to report.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::{
    checkpoint,
    choose::{Choice, choose},
    config::{Preprocess, TrainConfig, TrainOptions},
    defaults::{self, Facts},
    events::{Event, Listener},
    extend::Extension,
    finetune::{self, Held, StageOne},
    finish::{self, TrainOutcome},
    prepare,
    session::{self, End, Session},
};
use crate::{
    Error, Result,
    data::{self, Dataset, DatasetConfig, LabelKind, Source, Split},
    files,
    image::ImageShape,
    model::{self, Conventions, Graph, ModelConfig, Parameters, fold},
    ops::Network,
    recall::Recall,
    weights::pretrained::{self, Pretrained, Weights},
};

/// Share of a `--time` budget's steps that is planned, so that a slower moment does not cut the end off.
const PLANNED: f64 = 0.96;
/// Seconds that writing the report takes at most.
const REPORT_SECONDS: f64 = 0.4;
/// Times the estimate that is kept for measuring at the end: machines also slow down.
const IN_HAND: f64 = 1.15;

/// Where a run lives.
#[derive(Clone, Debug)]
pub enum Place {
    /// A new folder: this one, or the next free `runs/<data>-<model>-<n>`.
    New(Option<PathBuf>),
    /// The folder of a run to go on with.
    Resume(PathBuf),
}

/// Trains as `options` ask. `started` is when the process began: times and `--time` count from it. Setting `stop`
/// ends the training after the current step, with everything saved.
///
/// # Errors
/// Data, settings or places that cannot be used, and divergence.
pub fn train(
    options: &TrainOptions,
    place: &Place,
    started: Instant,
    stop: &AtomicBool,
    listener: Listener,
) -> Result<TrainOutcome> {
    options.check()?;
    let mut options = options.clone();
    if let Place::Resume(run) = place {
        options = resumed(options, run)?;
    }
    let mut extension = match options.extend.clone() {
        Some(model) => Some(Extension::open(&model, &mut options, listener)?),
        None => None,
    };
    let mut wanted = DatasetConfig::new(&options.data);
    if let Some(folder) = &options.cache_dir {
        wanted.cache_dir.clone_from(folder);
    }
    wanted.data_dir.clone_from(&options.data_dir);
    wanted.fit = options.fit.unwrap_or_default();
    wanted.bad_images = options.bad_images.unwrap_or_default();
    wanted.labels = options.labels;
    wanted.test = options.test.unwrap_or(defaults::TEST);
    wanted.adds = extension.is_some();

    let tell_data = |event| listener(Event::Data(event));
    let mut source = Source::open(&wanted, &tell_data)?;
    if let Some(extension) = &extension {
        extension.refuse_several(&source)?;
    }
    let beside = extension.as_ref().map_or(0, Extension::training_images);
    let Choice { model, image_size, pretrained, stage, notes, validation } = choose(&options, &source, beside)?;
    // Pictures that the network cannot take are refused before anything is read or downloaded for them.
    let [height, width] = image_size;
    let input = ImageShape { height, width, channels: source.channels };
    model::build(
        &model,
        &ModelConfig { input, classes: 2, hidden: defaults::HIDDEN, per_pixel: false, conventions: None },
    )?;
    wanted.image_size = Some(image_size);
    wanted.validation = validation;
    let weights = match (&extension, pretrained) {
        (Some(extension), _) => {
            extension.show(&mut source, listener);
            wanted.filter = options.filter.unwrap_or_default();
            None
        }
        (None, Some(pretrained)) => {
            source.show_with_channels(3);
            let weights = load_weights(pretrained, &options, &wanted, listener)?;
            wanted.filter = options.filter.unwrap_or(weights.pretrained.filter);
            Some(weights)
        }
        (None, None) => None,
    };
    let run = folder(place, &source.name, &model)?;
    let mut dataset = Dataset::from_source(&source, &wanted, &tell_data).inspect_err(|_| forget_if_empty(&run))?;
    if let Some(extension) = &mut extension {
        dataset = extension.join(dataset, &wanted, &options, listener).inspect_err(|_| forget_if_empty(&run))?;
    }
    notes.into_iter().for_each(|note| listener(Event::Note(note)));
    listener(Event::Note(dataset.splits_note.clone()));

    // The file may hold other weights of the model than those that it begins with.
    let pretrained = weights.as_ref().map_or(pretrained, |weights| Some(weights.pretrained));
    let conventions = match (&extension, pretrained) {
        (Some(extension), _) => extension.conventions(),
        (None, Some(pretrained)) => pretrained.conventions,
        (None, None) => Conventions::usual(&model),
    };
    let graph = build(&options, &model, &dataset, conventions).inspect_err(|_| forget_if_empty(&run))?;
    let facts = Facts {
        model: &model,
        labels: if dataset.sets.is_some() { LabelKind::Several } else { LabelKind::One },
        convolutional: graph.is_convolutional(),
        image_size,
        channels: dataset.shape.channels,
        pretrained,
        validation,
        stage,
        train_images: dataset.train.len(),
        mirrors: dataset.mirrors,
    };
    let mut config = options.resolve(&facts).inspect_err(|_| forget_if_empty(&run))?;
    if let Place::New(_) = place {
        unused(&options, config.stage).into_iter().for_each(|note| listener(Event::Note(note)));
    }
    let origin = match (&extension, weights) {
        (Some(extension), _) => Origin::Extended(extension, pretrained.is_some()),
        (None, Some(weights)) => Origin::Weights(weights),
        (None, None) => Origin::Nothing,
    };
    let beginning = begin(graph, origin, &dataset, &config, &wanted.cache_dir, stop, listener);
    let Beginning { mut network, stage_one, mut whole } = beginning.inspect_err(|_| forget_if_empty(&run))?;
    network.precision = config.precision.into();
    if !network.precision.is_native() {
        listener(Event::Note(emulated(network.precision)));
    }

    let mut deadline = None;
    // Stage 1 takes what it takes.
    if let (Some(time), Place::New(_), 0 | 2) = (options.time, place, config.stage) {
        let plan = plan_time(&config, &dataset, &network, time, started).inspect_err(|_| forget_if_empty(&run))?;
        match plan {
            Some((steps, end)) => {
                config.steps = steps;
                config.patience = options.patience_of(config.stage, steps, facts.steps_per_epoch(config.batch_size));
                deadline = Some(end);
            }
            // What stage 1 has found is not lost: it is the result, as if it alone had been asked for.
            None if stage_one.is_some() => {
                config.stage = 1;
                if let Some((graph, parameters)) = whole.take() {
                    network = Network::new(graph, parameters);
                }
                listener(Event::Note(format!(
                    "--time {time}s is over after stage 1, whose classifier is the result; with more time all layers learn"
                )));
            }
            None => {
                forget_if_empty(&run);
                return Err(Error::invalid(
                    format!("--time {time}s is over before the first step"),
                    "give more time, or choose a smaller --model or --batch-size",
                ));
            }
        }
    }
    if config.stage == 2 && dataset.validation.is_empty() {
        let note = "no image is held out, so that nothing tells whether stage 2 is better than stage 1: its last weights are kept";
        listener(Event::Note(note.into()));
    }
    write_config(&run, &config)?;
    let mut session = Session::new(config, &dataset, network, &run)?;
    // Stopped before its first step: to resume is to begin again, with what the backbone saw at hand.
    if stop.load(Ordering::Relaxed) {
        return Ok(TrainOutcome::interrupted(&run, &session));
    }
    if let Some(found) = &stage_one {
        session.note_stage_one(found);
    }
    if let Place::Resume(_) = place
        && let Some(checkpoint) = checkpoint::load(&run)?
    {
        session.restore(&checkpoint)?;
    }
    let end = if session.config.stage == 1 { End::Done } else { session.run(deadline, stop, listener)? };
    if end == End::Interrupted {
        return Ok(TrainOutcome::interrupted(&run, &session));
    }
    if let Some((graph, mut parameters)) = whole {
        session.keep_best();
        fold::unfold_norms(&graph, &mut parameters, session.network.graph(), &session.network.parameters);
        session.network = Network::new(graph, parameters);
    }
    if session.config.stop_step.is_some() || !session.config.plans.is_empty() {
        write_config(&run, &session.config)?;
    }
    finish::finish(session, &run, stage_one, extension.as_ref(), started, listener)
}

fn load_weights(
    pretrained: &'static Pretrained,
    options: &TrainOptions,
    wanted: &DatasetConfig,
    listener: Listener,
) -> Result<Weights> {
    let report = |file: &str, done, total| {
        listener(Event::Data(data::Event::Download { file: file.into(), done, total }));
    };
    let places = pretrained::Places {
        file: options.weights.clone(),
        ..pretrained::Places::new(wanted.cache_dir.clone(), &report)
    };
    let weights = pretrained.load(&places)?;
    let whose = match weights.pretrained.maker {
        maker if maker == pretrained.maker => String::new(),
        maker => format!(", as {maker} trained them"),
    };
    listener(Event::Note(format!("weights: {}{whose}", weights.location)));
    Ok(weights)
}

/// A network before its first step.
struct Beginning {
    network: Network,
    /// What stage 1 of fine-tuning found.
    stage_one: Option<StageOne>,
    /// In stage 2, which learns without batch norms, the network with them.
    whole: Option<(Graph, Parameters)>,
}

/// Where a network's numbers come from.
enum Origin<'a> {
    Nothing,
    Weights(Weights),
    /// A model that is extended, and whether its family begins with pretrained weights.
    Extended(&'a Extension, bool),
}

fn begin(
    mut graph: Graph,
    origin: Origin,
    dataset: &Dataset,
    config: &TrainConfig,
    cache: &Path,
    stop: &AtomicBool,
    listener: Listener,
) -> Result<Beginning> {
    let mut parameters = Parameters::initialize(&graph, config.seed);
    let (folds_norms, recall, folds_judge) = match origin {
        Origin::Nothing => {
            prepare::fit_to_data(&graph, &mut parameters, dataset, config.seed);
            return Ok(Beginning { network: Network::new(graph, parameters), stage_one: None, whole: None });
        }
        Origin::Weights(weights) => {
            if let Some(classes) = weights.fill(&graph, &mut parameters)? {
                let note =
                    format!("the weights' own classifier, of {classes} classes, is left out: a new one learns these");
                listener(Event::Note(note));
            }
            (true, None, true)
        }
        Origin::Extended(extension, is_pretrained) => {
            extension.fill(&graph, &mut parameters);
            (is_pretrained, extension.recall(), extension.folds_judge())
        }
    };
    let mut counts = dataset.class_counts(Split::Train);
    counts.iter_mut().zip(recall.map(Recall::counts).unwrap_or_default()).for_each(|(count, more)| *count += more);
    let images = dataset.train.len() + recall.map_or(0, |recall| recall.counts().iter().sum());
    let weights = session::class_weights(config, &counts, images);
    let mut found =
        finetune::stage_one(&graph, &mut parameters, dataset, config, weights, recall, cache, stop, listener)?;
    if let Some(found) = found.as_mut().filter(|_| dataset.validation.is_empty() && !folds_judge) {
        found.held = Held::default();
        let note = "the layers have learned from these images: the figure says how strongly weights are pulled to 0, and \
                    nothing of new images";
        listener(Event::Note(note.into()));
    }
    if config.stage == 1 || found.is_none() {
        return Ok(Beginning { network: Network::new(graph, parameters), stage_one: found, whole: None });
    }
    // What learned from nothing goes on as it began.
    if !folds_norms {
        graph.freeze(config.freeze);
        return Ok(Beginning { network: Network::new(graph, parameters), stage_one: found, whole: None });
    }
    let (mut folded, numbers) = fold::fold_norms(&graph, &parameters)?;
    folded.freeze(config.freeze);
    let network = Network::new(folded, numbers);
    Ok(Beginning { network, stage_one: found, whole: Some((graph, parameters)) })
}

/// What was asked for and does nothing in this training.
fn unused(options: &TrainOptions, stage: u8) -> Option<String> {
    let freezes = options.freeze.is_some_and(|share| share > 0.0);
    let asks_for_stage = options.stage.is_some_and(|stage| stage > 0);
    let lasts = [
        ("--time", options.time.is_some()),
        ("--epochs", options.epochs.is_some()),
        // Settings that are repeated always say how many.
        ("--steps", options.steps.is_some() && options.stage.is_none()),
    ];
    let length = lasts.into_iter().find(|(_, asked)| *asked).map(|(flag, _)| flag);
    match stage {
        0 if freezes || asks_for_stage => {
            let flag = if freezes { "--freeze" } else { "--stage" };
            Some(format!("{flag} does nothing here: it is for pretrained weights, and this model begins with random numbers"))
        }
        1 if freezes => Some("--freeze does nothing in stage 1, which leaves all layers but the last as they are".into()),
        1 => length.map(|flag| {
            format!("{flag} does nothing in stage 1, which solves its classifier to the end; --stage 2 lets all layers learn")
        }),
        _ => None,
    }
}

/// The settings of a run that goes on.
fn resumed(asked: TrainOptions, run: &Path) -> Result<TrainOptions> {
    let file = run.join("config.toml");
    if !file.exists() {
        let hint = "pass the folder of a run, such as runs/cifar10-cnn-1";
        return Err(Error::missing(format!("{} is not a run: it holds no config.toml", run.display()), hint));
    }
    if run.join("metrics.json").exists() {
        let hint = "start a new one with percept train --config, with more --epochs if it should learn more";
        return Err(Error::invalid(format!("the run {} has ended already", run.display()), hint));
    }
    let options = TrainOptions::read(&file)?;
    Ok(TrainOptions { data_dir: asked.data_dir, cache_dir: asked.cache_dir, ..options })
}

fn build(options: &TrainOptions, model: &str, dataset: &Dataset, conventions: Conventions) -> Result<Graph> {
    let hidden = options.hidden.unwrap_or(defaults::HIDDEN);
    let preprocess = options.preprocess.unwrap_or_default();
    model::build(model, &architecture(dataset, hidden, preprocess, conventions.unless_usual(model)))
}

/// What the model's shape depends on, as the model file carries it.
pub(super) fn architecture(
    dataset: &Dataset,
    hidden: usize,
    preprocess: Preprocess,
    conventions: Option<Conventions>,
) -> ModelConfig {
    let per_pixel = preprocess == Preprocess::MeanImage;
    ModelConfig { input: dataset.shape, classes: dataset.classes.len(), hidden, per_pixel, conventions }
}

/// The run's folder, made where it is new.
fn folder(place: &Place, data: &str, model: &str) -> Result<PathBuf> {
    match place {
        Place::Resume(run) => Ok(run.clone()),
        Place::New(Some(run)) => {
            if run.join("config.toml").exists() {
                let hint = format!("choose another --out, or go on with percept train --resume {}", run.display());
                return Err(Error::invalid(format!("{} holds a run already", run.display()), hint));
            }
            files::create_folder(run)?;
            Ok(run.clone())
        }
        Place::New(None) => {
            files::create_folder(Path::new("runs"))?;
            // Another process may take a number between the look and the making: the making decides.
            let mut number = 1;
            loop {
                let run = Path::new("runs").join(format!("{data}-{model}-{number}"));
                match fs::create_dir(&run) {
                    Ok(()) => return Ok(run),
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                    Err(error) => return Err(Error::io("create", run)(error)),
                }
            }
        }
    }
}

/// What a user should know of a precision that no instruction here multiplies.
fn emulated(precision: percept_kernels::Precision) -> String {
    format!(
        "{precision} is emulated with {} instructions, and slower than f32: only processors with AVX512_BF16 or AMX gain by it",
        percept_kernels::Isa::current()
    )
}

/// Takes back the folder of a run that never began.
fn forget_if_empty(run: &Path) {
    let _ = fs::remove_dir(run);
}

fn write_config(run: &Path, config: &TrainConfig) -> Result<()> {
    files::write_whole(&run.join("config.toml"), config.to_toml().as_bytes())
}

/// The number of steps that fit into a wall time, and when to stop at the latest; nothing where not one fits.
///
/// Speed is measured on the training's own steps, whose effects are then forgotten, so that a schedule can span the
/// whole and the run can be repeated from its number of steps alone.
fn plan_time(
    config: &TrainConfig,
    dataset: &Dataset,
    network: &Network,
    time: f64,
    started: Instant,
) -> Result<Option<(u64, Instant)>> {
    if started.elapsed().as_secs_f64() + REPORT_SECONDS >= time {
        return Ok(None);
    }
    let mut copy = Network::new(network.graph().clone(), network.parameters.clone());
    copy.precision = network.precision;
    let mut trial = Session::new(config.clone(), dataset, copy, Path::new(""))?;
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < 4 || (begin.elapsed().as_secs_f64() < 0.04 * time && times.len() < 50) {
        let begin = Instant::now();
        trial.step(times.len() as u64)?;
        times.push(begin.elapsed().as_secs_f64());
    }
    // The median: the first steps also make every buffer, and others may be delayed by what else the machine does.
    times.sort_by(f64::total_cmp);
    let step = times[times.len() / 2];
    let probe: Vec<u32> = dataset.train.iter().copied().take(512).collect();
    let mut predictor = trial.network.predictor();
    // The first batch also makes the buffers of all that follow.
    crate::evaluate::logits_of(&mut predictor, dataset, &probe);
    let begin = Instant::now();
    crate::evaluate::logits_of(&mut predictor, dataset, &probe);
    let look = begin.elapsed().as_secs_f64() / probe.len().max(1) as f64;
    let per_epoch = trial.steps_per_epoch() as f64;
    let at_the_end = IN_HAND
        * look
        * config.views.all().len() as f64
        * (finish::TRAIN_SAMPLE.min(dataset.train.len()) + dataset.validation.len() + dataset.test.len()) as f64;
    let left = time - started.elapsed().as_secs_f64() - at_the_end - REPORT_SECONDS;
    // A step costs its share of the validation at the end of its epoch, too.
    let cost = step + look * dataset.validation.len() as f64 / per_epoch;
    if left < cost {
        return Ok(None);
    }
    let deadline = started + Duration::from_secs_f64(time - at_the_end - REPORT_SECONDS);
    Ok(Some((((PLANNED * left / cost) as u64).max(1), deadline)))
}
