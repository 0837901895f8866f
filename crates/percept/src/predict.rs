//! Predictions on new images: open a model file, classify pictures. Never trains and reads no datasets.

use std::{borrow::Cow, path::Path};

use crate::{
    Error, Result,
    image::{Image, MAX_PIXELS, decode_for_within, decode_within, resize_or_lend},
    ops::{Answers, Predictor, probabilities},
    unknown::Known,
    weights::{self, ModelCard, SavedModel},
};

/// A class and how likely it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Likelihood {
    /// The class's name.
    pub class: String,
    /// From 0 to 1; over all classes they sum to 1 where these exclude each other.
    pub probability: f32,
    /// Whether the picture is said to show it: the likeliest class, or, where classes do not exclude each other, every one
    /// whose probability reaches its threshold.
    pub chosen: bool,
}

/// What a model says of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Every class, the likeliest first.
    pub likelihoods: Vec<Likelihood>,
    /// Whether classes exclude each other: otherwise each has a probability of its own, and several are chosen, or none.
    pub exclusive: bool,
    /// Whether the picture is unlike all that the model has seen: the classes say little then.
    pub unknown: bool,
}

/// What a model says of several pictures, as numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// `[images, classes]`, in the order of the model's classes; a row sums to 1 where these exclude each other.
    pub probabilities: Vec<f32>,
    /// `[images]`: whether a picture is unlike all that the model has seen.
    pub unknown: Vec<bool>,
}

/// Brings a decoded picture of any size to what the model with this card reads. Needs no model, so that many pictures can
/// be prepared at once while it computes.
///
/// # Panics
/// If the picture has another number of channels than the model takes.
pub fn prepare(card: &ModelCard, picture: &Image) -> Image {
    prepare_or_lend(card, picture).into_owned()
}

/// [`prepare`], which copies no picture that is as it should be.
fn prepare_or_lend<'a>(card: &ModelCard, picture: &'a Image) -> Cow<'a, Image> {
    let input = card.architecture.input;
    assert_eq!(picture.shape.channels, input.channels, "channels of the picture and of the model");
    resize_or_lend(picture, input.height, input.width, card.framing())
}

/// [`prepare`] of an encoded picture of no more than `most` pixels, which need not all be decoded for it.
///
/// # Errors
/// A short reason, as [`crate::image::decode`].
pub fn prepare_encoded(card: &ModelCard, bytes: &[u8], most: u64) -> Result<Image, String> {
    let input = card.architecture.input;
    // A backbone as its makers measured it, its edges cropped, is held to their probabilities: theirs are of whole pictures.
    if card.framing().crop < 1.0 {
        return decode_within(bytes, input.channels, most).map(|picture| prepare(card, &picture));
    }
    decode_for_within(bytes, input.channels, [input.height, input.width], card.framing(), most)
}

/// A trained model that names what pictures show.
///
/// ```
/// # use percept::{image::{Image, ImageShape, encode_png}, train::{Place, TrainOptions, train}};
/// # let folder = tempfile::tempdir().expect("a folder");
/// # let (run, picture) = (folder.path().join("digits"), folder.path().join("seven.png"));
/// # let mut options = TrainOptions { data: "digits".into(), steps: Some(20), ..TrainOptions::default() };
/// # options.model = Some("softmax".into());
/// # let stop = std::sync::atomic::AtomicBool::new(false);
/// # train(&options, &Place::New(Some(run.clone())), std::time::Instant::now(), &stop, &|_| {})?;
/// # let shape = ImageShape { height: 8, width: 8, channels: 1 };
/// # std::fs::write(&picture, encode_png(&Image { shape, pixels: vec![0; 64] })).expect("a picture");
/// let mut classifier = percept::Classifier::open(run)?;
/// let prediction = classifier.classify_file(picture)?;
/// let likeliest = &prediction.likelihoods[0];
/// println!("{}: {:.1} %", likeliest.class, 100.0 * likeliest.probability);
/// # assert_eq!(prediction.likelihoods.len(), 10);
/// # Ok::<(), percept::Error>(())
/// ```
///
/// Copies share the weights; each can answer on a thread of its own.
#[derive(Clone)]
pub struct Classifier {
    card: ModelCard,
    predictor: Predictor,
    known: Option<Known>,
    /// Room for the pictures of a call, in the model's size.
    pixels: Vec<u8>,
    /// Room for what the network makes of them.
    answers: Answers,
}

impl Classifier {
    /// Opens a model file, or the one in a run's folder.
    ///
    /// # Errors
    /// See [`weights::load`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Ok(Self::from_saved(weights::load(path.as_ref())?))
    }

    /// A classifier of a model that is in memory already.
    pub fn from_saved(model: SavedModel) -> Self {
        let predictor = Predictor::new(model.graph, model.parameters).with_views(model.card.views);
        Self { card: model.card, predictor, known: model.known, pixels: Vec::new(), answers: Answers::default() }
    }

    /// What the model file says.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// The same classifier, which calls nothing unknown.
    #[must_use]
    pub fn without_unknown(self) -> Self {
        Self { known: None, ..self }
    }

    /// What it says of one encoded picture (JPEG, PNG, WebP, BMP, GIF, TIFF).
    ///
    /// # Errors
    /// A file that cannot be read as an image.
    pub fn classify_file(&mut self, path: impl AsRef<Path>) -> Result<Prediction> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        self.classify_bytes(&bytes).map_err(|reason| {
            Error::damaged(path, reason, "pass a JPEG, PNG, WebP, BMP, GIF or TIFF picture that opens elsewhere too")
        })
    }

    /// The same for a picture in memory; the error is the reason alone.
    ///
    /// # Errors
    /// Bytes that cannot be read as an image.
    pub fn classify_bytes(&mut self, bytes: &[u8]) -> Result<Prediction, String> {
        let image = prepare_encoded(&self.card, bytes, MAX_PIXELS)?;
        Ok(self.classify_pixels(&image.pixels).remove(0))
    }

    /// What it says of each decoded picture, whatever its size.
    ///
    /// # Panics
    /// If a picture has another number of channels than the model takes.
    pub fn classify(&mut self, images: &[Image]) -> Vec<Prediction> {
        let mut pixels = std::mem::take(&mut self.pixels);
        pixels.clear();
        images.iter().for_each(|image| pixels.extend_from_slice(&prepare_or_lend(&self.card, image).pixels));
        let predictions = self.classify_pixels(&pixels);
        self.pixels = pixels;
        predictions
    }

    /// The same for pixels that have the model's size.
    fn classify_pixels(&mut self, pixels: &[u8]) -> Vec<Prediction> {
        let Outcome { probabilities, unknown } = self.outcome(pixels);
        let rows = probabilities.chunks_exact(self.card.classes.len()).zip(unknown);
        let exclusive = self.card.is_exclusive();
        let predictions =
            rows.map(|(row, unknown)| Prediction { likelihoods: self.rank(row), exclusive, unknown }).collect();
        self.answers.logits = probabilities;
        predictions
    }

    /// What it says of pictures that [`prepare`] brought to its size: u8 `[images, height, width, channels]`.
    ///
    /// # Panics
    /// If `pixels` does not hold whole images.
    pub fn outcome(&mut self, pixels: &[u8]) -> Outcome {
        // Once into the threads' pool, not for every operation: each time these are woken and waited for.
        rayon::scope(|_| self.outcome_in_pool(pixels))
    }

    fn outcome_in_pool(&mut self, pixels: &[u8]) -> Outcome {
        let classes = self.card.classes.len();
        self.predictor.answer_into(pixels, &mut self.answers);
        // The logits go to the caller as probabilities, the features stay.
        let (mut rows, features) = (std::mem::take(&mut self.answers.logits), &self.answers.features);
        let unknown = match &self.known {
            Some(known) => {
                known.distances(features, &rows).into_iter().map(|distance| known.is_unknown(distance)).collect()
            }
            None => vec![false; rows.len() / classes],
        };
        probabilities(&mut rows, classes, self.card.temperature, self.card.is_exclusive());
        Outcome { probabilities: rows, unknown }
    }

    fn rank(&self, probabilities: &[f32]) -> Vec<Likelihood> {
        let mut ranked: Vec<_> = self
            .card
            .classes
            .iter()
            .zip(probabilities)
            .enumerate()
            .map(|(label, (class, &probability))| {
                let chosen = self.card.is_chosen(label, probability).unwrap_or(false);
                Likelihood { class: class.clone(), probability, chosen }
            })
            .collect();
        ranked.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        if let (true, Some(first)) = (self.card.is_exclusive(), ranked.first_mut()) {
            first.chosen = true;
        }
        ranked
    }
}
