//! What a training reports while it runs; the library itself prints nothing.

use serde::{Deserialize, Serialize};

use crate::data;

/// One thing worth knowing.
#[derive(Clone, Debug)]
pub enum Event {
    /// Work on the data.
    Data(data::Event),
    /// A sentence that a user should see.
    Note(String),
    /// The training is about to begin.
    Begin {
        /// Steps it has already done, when resumed.
        step: u64,
        /// Steps in all.
        steps: u64,
        /// Steps in which every image is seen about once.
        steps_per_epoch: u64,
        /// Images a step.
        batch_size: usize,
    },
    /// As many steps as this, counted from the beginning, turn out to fit into the time.
    Replanned {
        /// Steps in all.
        steps: u64,
    },
    /// A step was done.
    Step {
        /// Its number, counted from 0.
        step: u64,
        /// Mean loss of its batch, before the update.
        loss: f64,
        /// Share of its batch that was right, before the update; where images may show several classes, right in all.
        top1: f64,
    },
    /// A backbone looks at images: views so far, and in all.
    Features {
        /// Views so far.
        done: u64,
        /// Views in all.
        total: u64,
    },
    /// The network was evaluated on the way.
    Evaluated(HistoryRow),
}

/// Who listens to [`Event`]s.
pub type Listener<'a> = &'a (dyn Fn(Event) + Sync);

/// One row of `results.csv`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// Times that every image was seen.
    pub epoch: f64,
    /// Steps done.
    pub step: u64,
    /// Seconds of training so far, over all sittings.
    pub seconds: f64,
    /// Mean loss over the training batches since the last row.
    pub train_loss: f64,
    /// Share of those images that were right, as augmented; where they may show several classes, right in all of them.
    pub train_top1: f64,
    /// Loss on validation, where there is one.
    pub validation_loss: Option<f64>,
    /// Accuracy on validation, where classes exclude each other.
    pub validation_top1: Option<f64>,
    /// Share of validation images with the right class among the first five.
    pub validation_top5: Option<f64>,
    /// Mean average precision on validation, and its standard error, where images may show several classes.
    #[serde(default)]
    pub validation_map: Option<[f64; 2]>,
    /// The learning rate of the last step.
    pub learning_rate: f64,
}

impl HistoryRow {
    /// The figure that counts on validation: accuracy, or mean average precision where images may show several classes.
    pub fn validation_headline(&self) -> Option<f64> {
        self.validation_top1.or(self.validation_map.map(|[value, _]| value))
    }

    /// What [`HistoryRow::validation_headline`] is called.
    pub fn headline_name(&self) -> &'static str {
        if self.validation_map.is_some() { "mAP" } else { "accuracy" }
    }
}
