//! Percept learns to recognise images from labelled pictures.
//!
//! The library trains, evaluates and predicts; the `percept` program is a thin layer above it.

mod algebra;
pub mod data;
mod download;
mod error;
pub mod evaluate;
pub mod explain;
pub mod files;
pub mod image;
pub mod model;
pub mod ops;
mod pickle;
pub mod predict;
pub mod recall;
pub mod report;
pub mod train;
pub mod unknown;
pub mod weights;

pub use error::{Error, Result};
pub use evaluate::{Places, evaluate_model};
pub use percept_kernels::{Isa, LargePages};
pub use predict::{Classifier, Likelihood, Outcome, Prediction, prepare, prepare_encoded};
