//! The model file: one safetensors file that holds all that prediction needs. Pretrained weights, which others wrote, come
//! in through `pretrained`.

mod foreign;
pub mod pretrained;
mod tensors;
mod torch;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use safetensors::{SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    evaluate::Scores,
    files,
    image::{Filter, Fit, Framing, Views},
    model::{self, Graph, ModelConfig, Parameters, parameters},
    recall::{self, Recall},
    unknown::{self, Known},
};
pub use tensors::{bytes_of, floats_of};

/// Tensors by name: shape, and numbers in row-major order.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Raised when a file written today could not be read by yesterday's Percept. A model is written in the lowest that says all of
/// it.
const FORMAT: u32 = 3;
/// What a model of classes that exclude each other is written as.
const EXCLUSIVE_FORMAT: u32 = 1;
/// What a model with thresholds is.
const THRESHOLDS_FORMAT: u32 = 2;
/// What a model with conventions of its own is: an earlier Percept would overlook them.
const CONVENTIONS_FORMAT: u32 = 3;
/// The key of Percept's entry in the file's metadata.
const KEY: &str = "percept";
/// The model file's name in a run's folder.
pub const MODEL_FILE: &str = "model.safetensors";

/// What a model file says beside its tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelCard {
    /// Version of the format.
    pub format: u32,
    /// Version of the program that wrote it.
    pub version: String,
    /// The model's name in the table of models.
    pub model: String,
    /// Its architecture.
    pub architecture: ModelConfig,
    /// Class names by label.
    pub classes: Vec<String>,
    /// How images of other sizes are brought to the network's.
    pub fit: Fit,
    /// How their pixels are made.
    #[serde(default)]
    pub filter: Filter,
    /// See [`Framing::crop`].
    #[serde(default = "whole")]
    pub crop: f64,
    /// How an image is looked at; the logits of all views are averaged.
    #[serde(default)]
    pub views: Views,
    /// Divides the logits, so that probabilities are as often right as they say.
    pub temperature: f32,
    /// Where classes do not exclude each other, for each the probability from which on an image is said to show it: each
    /// logit then has a probability of its own. None where the probabilities of all classes sum to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Vec<f32>>,
    /// The data it was trained on.
    pub data: String,
    /// That data's fingerprint.
    pub fingerprint: String,
    /// The shares of that data that were held out for validation and test, where it came without such splits.
    pub held_out: [f64; 2],
    /// Share of known images that it may call unknown; none where it calls nothing so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_rejection: Option<f64>,
    /// The model that it was extended from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Final figures.
    pub validation: Option<Scores>,
    /// Final figures.
    pub test: Option<Scores>,
}

/// The model that another was extended from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// SHA-256 of its model file, hexadecimal.
    pub file: String,
    /// Names of the data that it and those before it were trained on.
    pub data: Vec<String>,
    /// The fingerprint of its data.
    pub fingerprint: String,
}

impl ModelCard {
    /// A card for a model that was not measured yet.
    pub fn new(model: &str, architecture: ModelConfig, classes: Vec<String>, fit: Fit) -> Self {
        Self {
            format: if architecture.conventions.is_some() { CONVENTIONS_FORMAT } else { EXCLUSIVE_FORMAT },
            version: env!("CARGO_PKG_VERSION").into(),
            model: model.into(),
            architecture,
            classes,
            fit,
            filter: Filter::default(),
            crop: whole(),
            views: Views::One,
            temperature: 1.0,
            thresholds: None,
            data: String::new(),
            fingerprint: String::new(),
            held_out: [0.0; 2],
            false_rejection: None,
            parent: None,
            validation: None,
            test: None,
        }
    }

    /// Whether data of this name is among what was learned from.
    pub fn has_learned_from(&self, data: &str) -> bool {
        self.data == data || self.parent.as_ref().is_some_and(|parent| parent.data.iter().any(|name| name == data))
    }

    /// The same card of a model whose classes do not exclude each other.
    #[must_use]
    pub fn with_thresholds(self, thresholds: Vec<f32>) -> Self {
        Self { format: self.format.max(THRESHOLDS_FORMAT), thresholds: Some(thresholds), ..self }
    }

    /// Whether classes exclude each other.
    pub fn is_exclusive(&self) -> bool {
        self.thresholds.is_none()
    }

    /// Whether an image is said to show a class of this probability; nothing where classes exclude each other.
    pub fn is_chosen(&self, label: usize, probability: f32) -> Option<bool> {
        self.thresholds.as_ref().map(|thresholds| probability >= thresholds[label])
    }

    /// How images of other sizes are brought to the network's.
    pub fn framing(&self) -> Framing {
        Framing { fit: self.fit, filter: self.filter, crop: self.crop }
    }
}

/// Nothing is cut off.
fn whole() -> f64 {
    1.0
}

/// A model with its numbers.
#[derive(Clone)]
pub struct SavedModel {
    /// What the file says.
    pub card: ModelCard,
    /// The network's description.
    pub graph: Graph,
    /// Its numbers, in memory order.
    pub parameters: Parameters,
    /// What tells images unlike all that it has seen; none where it calls nothing unknown.
    pub known: Option<Known>,
    /// What the features of its classes are like, for a training that adds others.
    pub recall: Option<Recall>,
}

/// The file that a user means: a model file, or the one in a run's folder.
///
/// # Errors
/// Nothing there, or a run that has not ended.
pub fn locate(path: &Path) -> Result<PathBuf> {
    if !path.exists() {
        let hint = "pass a run's folder, such as runs/digits-cnn-1, or a model.safetensors";
        return Err(Error::missing(format!("there is no model at {}", path.display()), hint));
    }
    if !path.is_dir() {
        return Ok(path.into());
    }
    let file = path.join(MODEL_FILE);
    if file.exists() {
        return Ok(file);
    }
    let hint = match path.join("config.toml").exists() {
        true => format!("the run has not ended: percept train --resume {}", path.display()),
        false => "pass a run's folder, such as runs/digits-cnn-1, or a model.safetensors".into(),
    };
    Err(Error::missing(format!("{} holds no {MODEL_FILE}", path.display()), hint))
}

/// Writes a model file, whole or not at all.
///
/// # Errors
/// A folder that cannot be written, or a full disk.
pub fn save(
    path: &Path,
    card: &ModelCard,
    graph: &Graph,
    numbers: &Parameters,
    known: Option<&Known>,
    recall: Option<&Recall>,
) -> Result<()> {
    let own =
        graph.parameters.iter().zip(&numbers.0).map(|(spec, memory)| {
            (spec.name.clone(), spec.shape.clone(), bytes_of(&parameters::to_file(spec, memory)))
        });
    let beside = [known.map(Known::tensors), recall.map(Recall::tensors)].into_iter().flatten().flatten();
    let beside = beside.map(|(name, shape, values)| (name.to_string(), shape, bytes_of(&values)));
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = own.chain(beside).collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        view.map(|view| (name.clone(), view))
    });
    let views = views.collect::<Result<Vec<_>, _>>().map_err(|error| unwritable(path, &error))?;
    // One entry: the order of several would depend on a hash map.
    let text = serde_json::to_string(card).map_err(|error| unwritable(path, &error))?;
    let metadata = HashMap::from([(KEY.to_string(), text)]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| unwritable(path, &error))?;
    files::write_whole(path, &bytes)
}

fn unwritable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!("cannot write {}: {error}", path.display()), "")
}

/// A model of one's own, by the path of a run's folder or a model file, or else a pretrained one by its name.
///
/// # Errors
/// As [`load`] and [`pretrained::Pretrained::model`].
pub fn open(model: &Path, places: &pretrained::Places) -> Result<SavedModel> {
    match model.to_str().and_then(pretrained::Pretrained::of) {
        Some(pretrained) if !model.exists() => pretrained.model(places),
        _ => load(model),
    }
}

/// Reads a model file, checking every tensor's name and shape.
///
/// # Errors
/// A file that is missing, damaged, of a newer version or not Percept's; a tensor that is missing, extra or of another
/// shape.
pub fn load(path: &Path) -> Result<SavedModel> {
    let path = locate(path)?;
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    parse(&bytes, &path)
}

/// [`load`] for a model file that is in memory; messages call it by `path`.
///
/// # Errors
/// See [`load`].
pub fn parse(bytes: &[u8], path: &Path) -> Result<SavedModel> {
    let damaged = |reason: String| Error::damaged(path, reason, "copy the file again, or train the model again");
    let foreign = || {
        Error::invalid(
            format!("{} is not a model file of Percept", path.display()),
            "pass a run's folder or the model.safetensors in it",
        )
    };
    let tensors = match SafeTensors::deserialize(bytes) {
        Ok(tensors) => tensors,
        Err(_) if !looks_like_safetensors(bytes) => return Err(foreign()),
        Err(error) => return Err(damaged(error.to_string())),
    };
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| damaged(error.to_string()))?;
    let text = metadata.metadata().as_ref().and_then(|all| all.get(KEY)).ok_or_else(foreign)?;
    let card = read_card(text, path)?;
    let graph = model::build(&card.model, &card.architecture)?;
    if card.classes.len() != graph.classes() || card.temperature.is_nan() || card.temperature <= 0.0 {
        return Err(damaged("its classes or its temperature do not fit the network".into()));
    }
    if let Some(thresholds) = &card.thresholds
        && (thresholds.len() != card.classes.len() || thresholds.iter().any(|value| !(0.0..=1.0).contains(value)))
    {
        return Err(damaged("its thresholds do not fit its classes".into()));
    }
    for name in tensors.names() {
        let is_beside = name.starts_with(unknown::PREFIX) || name.starts_with(recall::PREFIX);
        if !is_beside && !graph.parameters.iter().any(|spec| spec.name == name) {
            return Err(damaged(format!("tensor {name} does not belong to model {}", card.model)));
        }
    }
    let mut numbers = Vec::new();
    for spec in &graph.parameters {
        let tensor = tensors.tensor(&spec.name).map_err(|_| damaged(format!("tensor {} is missing", spec.name)))?;
        if tensor.shape() != spec.shape || tensor.dtype() != safetensors::Dtype::F32 {
            let (dtype, shape) = (tensor.dtype(), tensor.shape());
            let found = format!("tensor {} is {dtype:?} {shape:?}, not F32 {:?}", spec.name, spec.shape);
            return Err(damaged(found));
        }
        numbers.push(parameters::to_memory(spec, &floats_of(tensor.data())));
    }
    let width = graph.features().map_or(0, |node| graph.nodes[node].shape.len());
    let beside = |name: &str| {
        let tensor = tensors.tensor(name).ok().filter(|tensor| tensor.dtype() == safetensors::Dtype::F32)?;
        Some((tensor.shape().to_vec(), floats_of(tensor.data())))
    };
    let known = Known::from_tensors(width, beside).map_err(damaged)?;
    let recall = Recall::from_tensors(width, graph.classes(), beside).map_err(damaged)?;
    Ok(SavedModel { card, graph, parameters: Parameters(numbers), known, recall })
}

fn looks_like_safetensors(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

/// Reads the version first: a newer card may have any shape.
fn read_card(text: &str, path: &Path) -> Result<ModelCard> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let damaged = |error: serde_json::Error| Error::damaged(path, error.to_string(), "copy the file again");
    let Version { format } = serde_json::from_str(text).map_err(damaged)?;
    if format > FORMAT {
        return Err(Error::invalid(
            format!("{} has format {format}; this Percept reads up to {FORMAT}", path.display()),
            "install a newer Percept",
        ));
    }
    serde_json::from_str(text).map_err(damaged)
}
