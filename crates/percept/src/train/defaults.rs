//! Settings for a user who sets nothing. None was tuned on a test split.

use super::config::{OptimizerKind, Schedule};
use crate::{
    data::{LabelKind, augment::Augmentation, batches::Sampling},
    image::ImageShape,
    weights::pretrained::Pretrained,
};

/// Share of the training images held out for validation, but where two stages of fine-tuning are compared.
pub const VALIDATION: f64 = 0.1;
/// Share of all images held out for the test where the data has none.
pub const TEST: f64 = 0.1;
/// Features of `mlp`'s hidden layer.
pub const HIDDEN: usize = 512;
/// Share of known images that are called unknown.
pub const FALSE_REJECTION: f64 = 0.05;

/// What defaults depend on.
pub struct Facts<'a> {
    /// The model's name.
    pub model: &'a str,
    /// Whether classes exclude each other.
    pub labels: LabelKind,
    /// Whether it has convolutions.
    pub convolutional: bool,
    /// Height and width.
    pub image_size: [usize; 2],
    /// 1 or 3.
    pub channels: usize,
    /// The weights that it begins with.
    pub pretrained: Option<&'static Pretrained>,
    /// Share of the training images that is held out where nothing was asked for.
    pub validation: f64,
    /// The last stage of fine-tuning where nothing was asked for.
    pub stage: u8,
    /// Images to train on.
    pub train_images: usize,
    /// Whether a mirrored image is still the same thing.
    pub mirrors: bool,
}

impl Facts<'_> {
    /// Size of the images.
    pub fn shape(&self) -> ImageShape {
        ImageShape { height: self.image_size[0], width: self.image_size[1], channels: self.channels }
    }

    /// Steps in which every image is seen about once.
    pub fn steps_per_epoch(&self, batch_size: usize) -> u64 {
        (self.train_images / batch_size).max(1) as u64
    }
}

/// The numbers that go with an optimiser.
#[derive(Clone, Copy)]
pub struct Rates {
    pub learning_rate: f64,
    pub momentum: f64,
    pub weight_decay: f64,
}

/// Defaults for one model on one set of images.
pub struct Defaults {
    pub epochs: u64,
    pub batch_size: usize,
    pub optimizer: OptimizerKind,
    pub rates: Rates,
    pub schedule: Schedule,
    pub warmup: f64,
    pub label_smoothing: f64,
    pub average: f64,
    pub augmentation: Augmentation,
}

/// Evaluations without improvement after which a training of so many of them stops; 0 for never. Stage 2 of fine-tuning may
/// have nothing to add to stage 1: half of it without a better model says so, but not its first few rounds, whose learning rate
/// is high: of 700 images, validation was at 77 % after stage 1,
/// then at 79, 73, 84 and 85 %. A training from nothing is best at its end,
/// where its learning rate is lowest.
pub fn patience(stage: u8, evaluations: u64) -> u64 {
    if stage == 2 { evaluations.div_ceil(2).max(4) } else { 0 }
}

/// Share of so many training images that is held out where two stages of fine-tuning are compared by it: about 150, and up to
/// a fifth. A tenth of 700 images made luck decide: stage 2, which was better by 4 points on 1,750 others, lost by one of 64.
pub fn validation_of_fine_tuning(images: usize) -> f64 {
    let share = 150.0 / images.max(1) as f64;
    ((100.0 * share).round() / 100.0).clamp(VALIDATION, 0.2)
}

/// Sound numbers for an optimiser on a model that was tuned with another.
pub fn rates(optimizer: OptimizerKind) -> Rates {
    match optimizer {
        OptimizerKind::Sgd => Rates { learning_rate: 0.05, momentum: 0.9, weight_decay: 5e-4 },
        OptimizerKind::AdamW => Rates { learning_rate: 1e-3, momentum: 0.9, weight_decay: 0.01 },
        OptimizerKind::Muon => Rates { learning_rate: 0.1, momentum: 0.6, weight_decay: 0.0 },
    }
}

/// Defaults for a model. Who draws batches with replacement asks for the textbook's training, and gets all of it:
/// plain gradient descent on images as they are.
pub fn defaults(facts: &Facts, sampling: Sampling) -> Defaults {
    let defaults = of_model(facts);
    // Smoothed towards one half, rare classes would seem likelier than they are, and thresholds guard against
    // overconfidence already.
    let label_smoothing = if facts.labels == LabelKind::Several { 0.0 } else { defaults.label_smoothing };
    let defaults = Defaults { label_smoothing, ..defaults };
    match sampling {
        Sampling::EpochShuffle => defaults,
        Sampling::WithReplacement => Defaults {
            optimizer: OptimizerKind::Sgd,
            rates: Rates { learning_rate: 0.01, momentum: 0.0, weight_decay: 0.0 },
            label_smoothing: 0.0,
            augmentation: Augmentation::default(),
            ..defaults
        },
    }
}

fn of_model(facts: &Facts) -> Defaults {
    let augmentation = Augmentation::defaults_for(facts.mirrors, facts.shape(), facts.convolutional);
    // A few thousand images need more rounds and smaller batches than fifty thousand.
    let rounds = |few: u64, many: u64| match facts.train_images {
        0..=5_000 => few,
        5_001..=20_000 => few.midpoint(many),
        _ => many,
    };
    let batch = |largest: usize| (facts.train_images / 40).next_power_of_two().clamp(16, largest);
    match facts.model {
        "softmax" => Defaults {
            epochs: rounds(100, 20),
            batch_size: batch(256),
            optimizer: OptimizerKind::AdamW,
            rates: Rates { learning_rate: 1e-3, momentum: 0.9, weight_decay: 0.01 },
            schedule: Schedule::Cosine,
            warmup: 0.0,
            label_smoothing: 0.0,
            average: 0.0,
            augmentation,
        },
        "mlp" => Defaults {
            epochs: rounds(60, 30),
            batch_size: batch(128),
            optimizer: OptimizerKind::AdamW,
            rates: Rates { learning_rate: 1e-3, momentum: 0.9, weight_decay: 0.05 },
            schedule: Schedule::Cosine,
            warmup: 0.05,
            label_smoothing: 0.1,
            average: 0.0,
            augmentation,
        },
        "cnn" | "cnn-small" | "cnn-large" => Defaults {
            epochs: rounds(14, 5),
            batch_size: batch(512),
            optimizer: OptimizerKind::Muon,
            rates: rates(OptimizerKind::Muon),
            schedule: Schedule::OneCycle,
            warmup: 0.0,
            label_smoothing: 0.1,
            average: 0.0,
            augmentation,
        },
        // What fine-tuning does to training images: photographs show their subjects large and small, to either side.
        _ if facts.pretrained.is_some() => Defaults {
            // A second look at few images costs little, and teaches much.
            epochs: if facts.train_images <= 1_500 { 4 } else { rounds(2, 1) },
            batch_size: 32,
            optimizer: OptimizerKind::AdamW,
            rates: Rates { learning_rate: 3e-4, momentum: 0.9, weight_decay: 0.01 },
            schedule: Schedule::OneCycle,
            warmup: 0.0,
            label_smoothing: 0.1,
            average: 0.0,
            augmentation: Augmentation { zoom: 0.15, ..augmentation },
        },
        _ => Defaults {
            epochs: rounds(60, 10),
            batch_size: batch(128),
            optimizer: OptimizerKind::Sgd,
            rates: rates(OptimizerKind::Sgd),
            schedule: Schedule::OneCycle,
            warmup: 0.0,
            label_smoothing: 0.1,
            average: 0.0,
            augmentation,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::validation_of_fine_tuning;

    #[test]
    fn few_images_hold_out_enough_to_compare_stages_by() {
        let shares = [500, 700, 1_000, 1_100, 1_500, 20_000].map(validation_of_fine_tuning);
        assert_eq!(shares, [0.2, 0.2, 0.15, 0.14, 0.1, 0.1]);
    }
}
