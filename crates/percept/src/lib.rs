//! Percept learns to recognise images from labelled pictures.
//!
//! The library trains, evaluates and predicts; the `percept` program is a thin layer above it.

pub mod data;
mod error;
pub mod evaluate;
pub mod image;
pub mod report;

pub use error::{Error, Result};
