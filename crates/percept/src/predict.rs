//! Predictions on new images: open a model file, classify pictures. Never trains and reads no datasets.

use std::path::Path;

use crate::{
    Error, Result,
    image::{Image, decode, resize},
    ops::{Predictor, calibrated_softmax},
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
/// let likelihoods = classifier.classify_file(picture)?;
/// println!("{}: {:.1} %", likelihoods[0].class, 100.0 * likelihoods[0].probability);
/// # assert_eq!(likelihoods.len(), 10);
/// # Ok::<(), percept::Error>(())
/// ```
pub struct Classifier {
    card: ModelCard,
    predictor: Predictor,
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
        Self { card: model.card, predictor }
    }

    /// What the model file says.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// Every class, the likeliest first, for one encoded picture (JPEG, PNG, WebP, BMP, GIF, TIFF).
    ///
    /// # Errors
    /// A file that cannot be read as an image.
    pub fn classify_file(&mut self, path: impl AsRef<Path>) -> Result<Vec<Likelihood>> {
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
    pub fn classify_bytes(&mut self, bytes: &[u8]) -> Result<Vec<Likelihood>, String> {
        let image = decode(bytes, self.card.architecture.input.channels)?;
        Ok(self.classify(std::slice::from_ref(&image)).remove(0))
    }

    /// Every class, the likeliest first, for each decoded picture, whatever its size.
    ///
    /// # Panics
    /// If a picture has another number of channels than the model takes.
    pub fn classify(&mut self, images: &[Image]) -> Vec<Vec<Likelihood>> {
        let input = self.card.architecture.input;
        let mut pixels = Vec::with_capacity(images.len() * input.len());
        for image in images {
            assert_eq!(image.shape.channels, input.channels, "channels of the picture and of the model");
            pixels.extend(resize(image, input.height, input.width, self.card.framing()).pixels);
        }
        let classes = self.card.classes.len();
        let mut probabilities = self.predictor.infer(&pixels);
        calibrated_softmax(&mut probabilities, classes, self.card.temperature);
        probabilities.chunks_exact(classes).map(|row| self.rank(row)).collect()
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
