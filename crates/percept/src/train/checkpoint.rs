//! Everything that an exact resume needs, in one file that is there whole or not at all.
//!
//! Random choices are functions of the seed and the step, so the step stands for all random states.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use safetensors::{SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use super::events::HistoryRow;
use crate::{
    Error, Result, files,
    model::Graph,
    weights::{bytes_of, floats_of},
};

const KEY: &str = "percept-checkpoint";

/// The numbers of a training beside its tensors.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Seconds of training so far, over all sittings.
    pub seconds: f64,
    /// Fingerprint of the data.
    pub fingerprint: String,
    /// The classes, to say which of them vanished.
    #[serde(default)]
    pub classes: Vec<String>,
    /// The settings, to refuse a resume with others.
    pub settings: String,
    /// See [`TrainConfig::plans`](super::TrainConfig::plans).
    #[serde(default)]
    pub plans: Vec<[u64; 2]>,
    /// Rows so far.
    pub history: Vec<HistoryRow>,
    /// Sum of losses since the last row.
    pub loss_sum: f64,
    /// Right images since the last row.
    pub correct: u64,
    /// Images since the last row.
    pub seen: u64,
    /// The row of `history` that was best on validation.
    pub best: Option<usize>,
    /// Evaluations since then.
    pub stale: u64,
}

/// Groups of tensors in the graph's order, each group under a name.
pub type Groups<'a> = Vec<(&'static str, Vec<&'a [f32]>)>;

/// Where a run keeps its checkpoint.
pub fn path(run: &Path) -> PathBuf {
    run.join("checkpoint").join("state.safetensors")
}

/// Writes a checkpoint, replacing the one before.
///
/// # Errors
/// A folder that cannot be written, or a full disk.
pub fn save(run: &Path, progress: &Progress, graph: &Graph, groups: &Groups) -> Result<()> {
    let file = path(run);
    let failed =
        |error: &dyn std::fmt::Display| Error::invalid(format!("cannot write {}: {error}", file.display()), "");
    let mut stored = Vec::new();
    for (group, tensors) in groups {
        for (spec, tensor) in graph.parameters.iter().zip(tensors).filter(|(_, tensor)| !tensor.is_empty()) {
            stored.push((format!("{group}/{}", spec.name), tensor.len(), bytes_of(tensor)));
        }
    }
    let views: Result<Vec<_>, _> = stored
        .iter()
        .map(|(name, len, bytes)| {
            TensorView::new(safetensors::Dtype::F32, vec![*len], bytes).map(|view| (name.as_str(), view))
        })
        .collect();
    let text = serde_json::to_string(progress).map_err(|error| failed(&error))?;
    let metadata = HashMap::from([(KEY.to_string(), text)]);
    let bytes = safetensors::serialize(views.map_err(|error| failed(&error))?, Some(metadata));
    files::create_folder(&run.join("checkpoint"))?;
    files::write_whole(&file, &bytes.map_err(|error| failed(&error))?)
}

/// A checkpoint that was read.
pub struct Checkpoint {
    /// Its numbers.
    pub progress: Progress,
    path: PathBuf,
    tensors: HashMap<String, Vec<f32>>,
}

/// Reads the checkpoint of a run; `None` where it was stopped before its first.
///
/// # Errors
/// A file that is damaged.
pub fn load(run: &Path) -> Result<Option<Checkpoint>> {
    let path = path(run);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let damaged = |reason: String| Error::damaged(&path, reason, "start the training again, or restore the file");
    let all = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
    let text = metadata.metadata().as_ref().and_then(|map| map.get(KEY)).cloned();
    let text = text.ok_or_else(|| damaged("it has no entry of Percept's".into()))?;
    let progress = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
    let tensors = all.iter().map(|(name, view)| (name.to_string(), floats_of(view.data()))).collect();
    Ok(Some(Checkpoint { progress, path, tensors }))
}

impl Checkpoint {
    /// Copies a group's tensors to where they belong; empty targets are left alone.
    ///
    /// # Errors
    /// A tensor that is missing or of another length.
    pub fn restore<'a>(
        &self,
        group: &str,
        graph: &Graph,
        targets: impl Iterator<Item = &'a mut Vec<f32>>,
    ) -> Result<()> {
        for (spec, target) in graph.parameters.iter().zip(targets).filter(|(_, target)| !target.is_empty()) {
            let name = format!("{group}/{}", spec.name);
            match self.tensors.get(&name) {
                Some(tensor) if tensor.len() == target.len() => target.copy_from_slice(tensor),
                _ => {
                    let reason = format!("tensor {name} is missing or of another size");
                    return Err(Error::damaged(&self.path, reason, "start the training again"));
                }
            }
        }
        Ok(())
    }

    /// Whether it holds a group.
    pub fn has(&self, group: &str) -> bool {
        self.tensors.keys().any(|name| name.starts_with(&format!("{group}/")))
    }
}
