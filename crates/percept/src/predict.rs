//! Predictions on new images: open a model file, classify pictures. Never trains and reads no datasets.

use std::path::Path;

use crate::{
    Error, Result,
    image::{Image, decode, resize},
    ops::{Answers, Predictor, calibrated_softmax},
    unknown::Known,
    weights::{self, ModelCard, SavedModel},
};

/// A class and how likely it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Likelihood {
    /// The class's name.
    pub class: String,
    /// From 0 to 1; over all classes they sum to 1.
    pub probability: f32,
}

/// What a model says of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Every class, the likeliest first.
    pub likelihoods: Vec<Likelihood>,
    /// Whether the picture is unlike all that the model has seen: the classes say little then.
    pub unknown: bool,
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
pub struct Classifier {
    card: ModelCard,
    predictor: Predictor,
    known: Option<Known>,
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
        Self { card: model.card, predictor, known: model.known }
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
        let image = decode(bytes, self.card.architecture.input.channels)?;
        Ok(self.classify(std::slice::from_ref(&image)).remove(0))
    }

    /// What it says of each decoded picture, whatever its size.
    ///
    /// # Panics
    /// If a picture has another number of channels than the model takes.
    pub fn classify(&mut self, images: &[Image]) -> Vec<Prediction> {
        let input = self.card.architecture.input;
        let mut pixels = Vec::with_capacity(images.len() * input.len());
        for image in images {
            assert_eq!(image.shape.channels, input.channels, "channels of the picture and of the model");
            pixels.extend(resize(image, input.height, input.width, self.card.framing()).pixels);
        }
        let classes = self.card.classes.len();
        let Answers { logits: mut probabilities, features } = self.predictor.answer(&pixels);
        let distances = self.known.as_ref().map(|known| known.distances(&features, &probabilities));
        calibrated_softmax(&mut probabilities, classes, self.card.temperature);
        let is_unknown = |image: usize| match (&self.known, &distances) {
            (Some(known), Some(distances)) => known.is_unknown(distances[image]),
            _ => false,
        };
        let rows = probabilities.chunks_exact(classes).enumerate();
        rows.map(|(image, row)| Prediction { likelihoods: self.rank(row), unknown: is_unknown(image) }).collect()
    }

    fn rank(&self, probabilities: &[f32]) -> Vec<Likelihood> {
        let mut ranked: Vec<_> = self
            .card
            .classes
            .iter()
            .zip(probabilities)
            .map(|(class, &probability)| Likelihood { class: class.clone(), probability })
            .collect();
        ranked.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        ranked
    }
}
