//! Training: settings, the loop, checkpoints, and what a run leaves.

mod checkpoint;
mod choose;
mod config;
mod defaults;
mod events;
mod extend;
mod finetune;
mod finish;
mod mistakes;
mod optimizer;
mod prepare;
mod rejection;
mod run;
mod schedule;
mod session;

pub use config::{
    AugmentOptions, ClassWeights, OptimizerKind, Precision, Preprocess, Schedule, TrainConfig, TrainOptions,
};
pub use events::{Event, HistoryRow, Listener};
pub use extend::{Extended, OldClasses};
pub use finish::{TrainOutcome, Trained};
pub use optimizer::{Optimizer, OptimizerConfig};
pub use run::{Place, train};
