//! What a training is asked to do ([`TrainOptions`]) and every setting as resolved ([`TrainConfig`]).
//!
//! A run writes its `TrainConfig` as `config.toml`; read back as `TrainOptions`, it repeats the run.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    defaults::{self, Facts},
    extend::OldClasses,
    schedule,
};
use crate::{
    Error, Result,
    data::{BadImages, LabelKind, augment::Augmentation, batches::Sampling},
    image::{Filter, Fit, Views},
};

/// How parameters follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Gradient descent, with Nesterov momentum where the momentum is above 0.
    Sgd,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    AdamW,
    /// Orthogonalised momentum for filters (Jordan 2024), AdamW for everything else.
    Muon,
}

/// How the learning rate moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// Half a cosine, down to 0.
    Cosine,
    /// Up in a straight line for the first fifth, down to 0 in a straight line.
    OneCycle,
    /// Divided by 10 at half and at three quarters of the way.
    Step,
}

/// What the first layer does with pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preprocess {
    /// Minus the mean, over the deviation, of each channel.
    #[default]
    MeanStd,
    /// Minus the mean image, on the scale 0 to 255: the tutorial's.
    MeanImage,
}

/// Whether classes count equally in the loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// Every image counts the same.
    #[default]
    None,
    /// Every class counts the same: weights go with one over the class's images.
    Balanced,
}

/// What the operands of products are rounded to in training; weights and sums are f32 whatever is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Nothing: they are f32.
    #[default]
    F32,
    /// bf16: fast where the processor multiplies it, and emulated elsewhere.
    Bf16,
}

impl From<Precision> for percept_kernels::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

macro_rules! kebab_names {
    ($($kind:ty),*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.serialize(f)
            }
        }
    )*};
}
kebab_names!(OptimizerKind, Schedule, Preprocess, ClassWeights, Precision);

/// What a training is asked to do; what is `None` gets a default that suits model and data.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is described where it is resolved, in TrainConfig")]
pub struct TrainOptions {
    pub data: String,
    #[serde(skip)]
    pub data_dir: Option<PathBuf>,
    #[serde(skip)]
    pub cache_dir: Option<PathBuf>,
    pub image_size: Option<[usize; 2]>,
    pub fit: Option<Fit>,
    pub filter: Option<Filter>,
    pub bad_images: Option<BadImages>,
    pub labels: Option<LabelKind>,
    pub validation: Option<f64>,
    pub test: Option<f64>,
    pub model: Option<String>,
    pub weights: Option<PathBuf>,
    pub from_scratch: bool,
    pub extend: Option<PathBuf>,
    pub parent: Option<String>,
    pub old_classes: Option<OldClasses>,
    pub stage: Option<u8>,
    pub freeze: Option<f64>,
    pub hidden: Option<usize>,
    pub preprocess: Option<Preprocess>,
    pub views: Option<Views>,
    pub false_rejection: Option<f64>,
    pub epochs: Option<f64>,
    pub steps: Option<u64>,
    pub plans: Vec<[u64; 2]>,
    pub stop_step: Option<u64>,
    #[serde(skip)]
    pub time: Option<f64>,
    pub batch_size: Option<usize>,
    pub accumulate: Option<usize>,
    pub sampling: Option<Sampling>,
    pub optimizer: Option<OptimizerKind>,
    pub learning_rate: Option<f64>,
    pub momentum: Option<f64>,
    pub weight_decay: Option<f64>,
    pub schedule: Option<Schedule>,
    pub warmup: Option<f64>,
    pub gradient_clip: Option<f64>,
    pub label_smoothing: Option<f64>,
    pub class_weights: Option<ClassWeights>,
    pub average: Option<f64>,
    pub patience: Option<u64>,
    pub augmentation: Option<Augmentation>,
    /// Changes to the augmentation's defaults, one field each.
    #[serde(skip)]
    pub augment: AugmentOptions,
    pub seed: Option<u64>,
    pub precision: Option<Precision>,
    pub checkpoint_every: Option<f64>,
}

/// Changes to the augmentation that model and data suggest.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields are Augmentation's")]
pub struct AugmentOptions {
    pub none: bool,
    pub flip: Option<crate::data::augment::Flip>,
    pub crop: Option<usize>,
    pub rotation: Option<f64>,
    pub zoom: Option<f64>,
    pub color_jitter: Option<f64>,
    pub trivial_augment: Option<bool>,
    pub random_erasing: Option<f64>,
    pub mixup: Option<f64>,
    pub cutmix: Option<f64>,
}

/// Every setting of a training, as resolved.
#[derive(Clone, Debug, Serialize)]
pub struct TrainConfig {
    /// A dataset's name or a path.
    pub data: String,
    /// Height and width that the network sees.
    pub image_size: [usize; 2],
    /// How other aspect ratios are brought to it.
    pub fit: Fit,
    /// How pixels are made.
    pub filter: Filter,
    /// What to do with unreadable files.
    pub bad_images: BadImages,
    /// Whether classes exclude each other.
    pub labels: LabelKind,
    /// Share of the training images held out to choose by, where the data has no validation split of its own.
    pub validation: f64,
    /// Share of all images held out to measure by, where the data has no test split of its own.
    pub test: f64,
    /// The model's name.
    pub model: String,
    /// The file of pretrained weights, where one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Whether it begins with random numbers although pretrained ones are published.
    pub from_scratch: bool,
    /// The model that is extended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extend: Option<PathBuf>,
    /// SHA-256 of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// What holds its classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_classes: Option<OldClasses>,
    /// The last stage of fine-tuning: 1 trains the classifier alone, 2 all layers. 0 where nothing is fine-tuned.
    pub stage: u8,
    /// Share of the layers, from the first on, that stay as they are in stage 2.
    pub freeze: f64,
    /// Features of `mlp`'s hidden layer.
    pub hidden: usize,
    /// What the first layer does with pixels.
    pub preprocess: Preprocess,
    /// How the trained network looks at an image.
    pub views: Views,
    /// Share of held out images that are called unknown; 0 calls no image so.
    pub false_rejection: f64,
    /// Steps that the schedule spans.
    pub steps: u64,
    /// Of a `--time` run that found itself faster or slower than planned: from which step on how many were planned. The
    /// first plan begins at step 0, the last one is `steps`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plans: Vec<[u64; 2]>,
    /// The step at which a `--time` run ended, where it was before the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_step: Option<u64>,
    /// Images a step.
    pub batch_size: usize,
    /// Parts that a batch is computed in, to save memory.
    pub accumulate: usize,
    /// How batches are drawn.
    pub sampling: Sampling,
    /// How parameters follow their gradients.
    pub optimizer: OptimizerKind,
    /// Its largest step.
    pub learning_rate: f64,
    /// Share of the old direction kept: momentum, or Adam's beta1.
    pub momentum: f64,
    /// Pull of weights towards 0; biases and norms are left alone.
    pub weight_decay: f64,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// Share of the steps over which the learning rate rises from 0.
    pub warmup: f64,
    /// Longest gradient, over all parameters; 0 for any.
    pub gradient_clip: f64,
    /// Share of the target spread over all classes.
    pub label_smoothing: f64,
    /// Whether classes count equally.
    pub class_weights: ClassWeights,
    /// Decay, a step, of the running average of the parameters that is evaluated and kept; 0 for none.
    pub average: f64,
    /// Evaluations without improvement after which training stops; 0 for never.
    pub patience: u64,
    /// What is done to training images.
    pub augmentation: Augmentation,
    /// Decides every random choice.
    pub seed: u64,
    /// What the operands of products are rounded to in training.
    pub precision: Precision,
    /// Seconds between checkpoints.
    pub checkpoint_every: f64,
}

impl TrainOptions {
    /// Reads a `config.toml`.
    ///
    /// # Errors
    /// A file that cannot be read, or a key or value that is not a setting.
    pub fn read(path: &std::path::Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        toml::from_str(&text).map_err(|error| {
            Error::invalid(
                format!("{} is not a training's settings: {}", path.display(), error.message()),
                "pass the config.toml of a run, or correct the named setting",
            )
        })
    }

    /// Fills what was not asked for with defaults, and refuses what cannot be.
    ///
    /// # Errors
    /// A value outside its range, named with the range.
    pub fn resolve(&self, facts: &Facts) -> Result<TrainConfig> {
        let sampling = self.sampling.unwrap_or_default();
        let base = defaults::defaults(facts, sampling);
        let batch_size = self.batch_size.unwrap_or(base.batch_size);
        let epoch = facts.steps_per_epoch(batch_size);
        let steps = match (self.steps, self.epochs) {
            (Some(steps), _) => steps,
            (None, Some(epochs)) => ((epochs * epoch as f64).round() as u64).max(1),
            (None, None) => base.epochs * epoch,
        };
        let optimizer = self.optimizer.unwrap_or(base.optimizer);
        let tuned = if optimizer == base.optimizer { base.rates } else { defaults::rates(optimizer) };
        // Stage 1, which stage 2 has to better, knows no smoothing: their losses are to be compared.
        let goes_on = self.extend.is_some() && facts.pretrained.is_none();
        let smoothing = if goes_on { 0.0 } else { base.label_smoothing };
        // Settings of a training from nothing say 0.
        let stage = match facts.pretrained.is_some() || self.extend.is_some() {
            true => self.stage.filter(|&stage| stage > 0).unwrap_or(facts.stage),
            false => 0,
        };
        let config = TrainConfig {
            data: self.data.clone(),
            image_size: facts.image_size,
            fit: self.fit.unwrap_or_default(),
            filter: self.filter.or(facts.pretrained.map(|weights| weights.filter)).unwrap_or_default(),
            bad_images: self.bad_images.unwrap_or_default(),
            labels: facts.labels,
            validation: self.validation.unwrap_or(facts.validation),
            test: self.test.unwrap_or(defaults::TEST),
            model: facts.model.to_string(),
            weights: self.weights.clone(),
            from_scratch: self.from_scratch,
            extend: self.extend.clone(),
            parent: self.parent.clone(),
            old_classes: self.old_classes,
            freeze: self.freeze.unwrap_or(0.0),
            stage,
            hidden: self.hidden.unwrap_or(defaults::HIDDEN),
            preprocess: self.preprocess.unwrap_or_default(),
            views: self.views.unwrap_or_default(),
            false_rejection: self.false_rejection.unwrap_or(defaults::FALSE_REJECTION),
            steps,
            // Other steps have another plan.
            plans: if self.plans.last().is_some_and(|last| last[1] == steps) { self.plans.clone() } else { Vec::new() },
            stop_step: self.stop_step,
            batch_size,
            accumulate: self.accumulate.unwrap_or(1),
            sampling,
            optimizer,
            learning_rate: self.learning_rate.unwrap_or(tuned.learning_rate),
            momentum: self.momentum.unwrap_or(tuned.momentum),
            weight_decay: self.weight_decay.unwrap_or(tuned.weight_decay),
            schedule: self.schedule.unwrap_or(base.schedule),
            warmup: self.warmup.unwrap_or(base.warmup),
            gradient_clip: self.gradient_clip.unwrap_or(0.0),
            label_smoothing: self.label_smoothing.unwrap_or(smoothing),
            class_weights: self.class_weights.unwrap_or_default(),
            average: self.average.unwrap_or(base.average),
            patience: self.patience_of(stage, steps, epoch),
            augmentation: self.augmentation.clone().unwrap_or_else(|| self.augment.apply(base.augmentation)),
            seed: self.seed.unwrap_or(0),
            precision: self.precision.unwrap_or_default(),
            checkpoint_every: self.checkpoint_every.unwrap_or(30.0),
        };
        if config.accumulate > config.batch_size {
            return Err(Error::invalid(
                format!("--accumulate {} cuts a batch of {} into empty parts", config.accumulate, config.batch_size),
                "choose at most as many parts as --batch-size has images",
            ));
        }
        config.augmentation.validate(facts.shape())?;
        Ok(config)
    }

    /// Evaluations without improvement after which a training of so many steps stops.
    pub(super) fn patience_of(&self, stage: u8, steps: u64, steps_per_epoch: u64) -> u64 {
        self.patience.unwrap_or_else(|| defaults::patience(stage, steps.div_ceil(steps_per_epoch)))
    }

    /// Refuses numbers outside their range, before any data is read.
    ///
    /// # Errors
    /// The flag, the value and the range.
    pub(super) fn check(&self) -> Result<()> {
        let positive = [
            ("--batch-size", self.batch_size.map(|n| n as f64)),
            ("--accumulate", self.accumulate.map(|n| n as f64)),
            ("--hidden", self.hidden.map(|n| n as f64)),
            ("--steps", self.steps.map(|n| n as f64)),
            ("--epochs", self.epochs),
            ("--time", self.time),
            ("--learning-rate", self.learning_rate),
        ];
        for (flag, value) in positive.into_iter().filter_map(|(flag, value)| value.map(|v| (flag, v))) {
            if !(value > 0.0 && value.is_finite()) {
                return Err(out_of_range(flag, value, "a number above 0"));
            }
        }
        let not_negative = [
            ("--weight-decay", self.weight_decay),
            ("--gradient-clip", self.gradient_clip),
            ("--checkpoint-every", self.checkpoint_every),
        ];
        for (flag, value) in not_negative.into_iter().filter_map(|(flag, value)| value.map(|v| (flag, v))) {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(out_of_range(flag, value, "0 or a number above it"));
            }
        }
        let shares = [
            ("--validation", self.validation),
            ("--test", self.test),
            ("--momentum", self.momentum),
            ("--label-smoothing", self.label_smoothing),
            ("--average", self.average),
            ("--warmup", self.warmup),
            ("--freeze", self.freeze),
            ("--false-rejection", self.false_rejection),
        ];
        for (flag, value) in shares.into_iter().filter_map(|(flag, value)| value.map(|v| (flag, v))) {
            if !(0.0..1.0).contains(&value) {
                return Err(out_of_range(flag, value, "a number from 0 up to, not including, 1"));
            }
        }
        if self.validation.unwrap_or(0.0) + self.test.unwrap_or(0.0) >= 1.0 {
            return Err(Error::invalid(
                "--validation and --test together leave nothing to train on",
                "choose shares whose sum is well below 1, such as 0.1 each",
            ));
        }
        Ok(())
    }
}

fn out_of_range(flag: &str, value: f64, range: &str) -> Error {
    Error::invalid(format!("{flag} {value} is out of range"), format!("give {flag} {range}"))
}

impl AugmentOptions {
    fn apply(&self, base: Augmentation) -> Augmentation {
        let base = if self.none { Augmentation::default() } else { base };
        Augmentation {
            flip: self.flip.unwrap_or(base.flip),
            crop: self.crop.unwrap_or(base.crop),
            rotation: self.rotation.unwrap_or(base.rotation),
            zoom: self.zoom.unwrap_or(base.zoom),
            color_jitter: self.color_jitter.unwrap_or(base.color_jitter),
            trivial_augment: self.trivial_augment.unwrap_or(base.trivial_augment),
            random_erasing: self.random_erasing.unwrap_or(base.random_erasing),
            mixup: self.mixup.unwrap_or(base.mixup),
            cutmix: self.cutmix.unwrap_or(base.cutmix),
            ..base
        }
    }
}

impl TrainConfig {
    /// The learning rate of a step, counted from 0, as its schedule has it.
    pub fn learning_rate_at(&self, step: u64) -> f64 {
        self.learning_rate * schedule::factor(self.schedule, self.progress_at(step), self.warmup)
    }

    /// The share of the training that is done at a step, counted from 0: in its middle, so that neither the first nor the
    /// last one is wasted on a rate of 0. A new plan shares what is left among the steps that are left.
    pub fn progress_at(&self, step: u64) -> f64 {
        let at = step as f64 + 0.5;
        let (mut done, mut begin, mut end) = (0.0, 0.0, self.steps_at_first() as f64);
        let share = |from: f64, to: f64, of: f64| (to - from) / (of - from).max(1.0);
        for &[from, steps] in self.plans.iter().skip(1).filter(|plan| plan[0] <= step) {
            done += (1.0 - done) * share(begin, from as f64, end);
            (begin, end) = (from as f64, steps as f64);
        }
        done + (1.0 - done) * share(begin, at, end)
    }

    /// The steps of the first plan.
    pub(super) fn steps_at_first(&self) -> u64 {
        self.plans.first().map_or(self.steps, |first| first[1])
    }

    /// The file that repeats the run.
    pub fn to_toml(&self) -> String {
        let settings = toml::to_string(self).unwrap_or_default();
        format!("# Every setting of this training. `percept train --config config.toml` repeats it.\n{settings}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_stage_of_fine_tuning_is_left_when_half_of_it_brings_nothing() {
        let facts = Facts {
            model: "efficientnet_lite0",
            labels: LabelKind::One,
            convolutional: true,
            image_size: [224, 224],
            channels: 3,
            pretrained: crate::weights::pretrained::Pretrained::of("efficientnet_lite0"),
            validation: 0.1,
            stage: 2,
            train_images: 1000,
            mirrors: true,
        };
        let patience = |options: TrainOptions| options.resolve(&facts).expect("settings").patience;
        let epochs = |epochs| TrainOptions { epochs: Some(epochs), ..TrainOptions::default() };
        assert_eq!([1.0, 2.0, 3.0, 5.0, 10.0].map(|count| patience(epochs(count))), [4, 4, 4, 4, 5]);
        assert_eq!(patience(TrainOptions { patience: Some(0), ..epochs(10.0) }), 0);
        assert_eq!(patience(TrainOptions { stage: Some(1), ..epochs(10.0) }), 0);
        // A plan for a time has other steps.
        assert_eq!(TrainOptions::default().patience_of(2, 310, 31), 5);
        assert_eq!(TrainOptions::default().patience_of(0, 310, 31), 0);
    }

    #[test]
    fn a_new_plan_goes_on_from_where_the_old_one_was() {
        let facts = Facts {
            model: "cnn",
            labels: LabelKind::One,
            convolutional: true,
            image_size: [32, 32],
            channels: 3,
            pretrained: None,
            validation: 0.1,
            stage: 2,
            train_images: 1000,
            mirrors: false,
        };
        let options = TrainOptions { steps: Some(100), ..TrainOptions::default() };
        let mut config = options.resolve(&facts).expect("settings");
        assert_eq!([0, 99].map(|step| config.progress_at(step)), [0.005, 0.995]);
        // A quarter is done when the rest turns out to fit thrice as many steps, half of which are then one half too many.
        config.plans = vec![[0, 100], [25, 250], [100, 175]];
        let at = |step| config.progress_at(step);
        assert!((at(24) - 0.245).abs() < 1e-12 && at(25) > at(24));
        assert!((at(99) - (0.25 + 0.75 * 74.5 / 225.0)).abs() < 1e-12);
        assert!((at(174) - 1.0).abs() < 0.01 && at(174) < 1.0);
        let steps: Vec<f64> = (0..175).map(at).collect();
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
        // What was written is read back, and repeats the run; other steps are another training.
        config.steps = 175;
        let again: TrainOptions = toml::from_str(&config.to_toml()).expect("settings");
        assert_eq!(again.resolve(&facts).expect("settings").plans, config.plans);
        let longer = TrainOptions { steps: Some(200), ..again };
        assert!(longer.resolve(&facts).expect("settings").plans.is_empty());
    }
}
