//! What in a picture spoke for an answer: Grad-CAM for networks with convolutions, the votes of the pixels for others.

mod overlay;
#[cfg(test)]
mod tests;

use crate::{
    image::{Framing, Image, resize},
    ops::{Attribution, Explainer, largest},
    weights::{ModelCard, SavedModel},
};
pub use overlay::overlay;

/// How an answer is traced back to the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The last feature map, each channel weighed by its mean effect on the class (Selvaraju et al. 2017): where the
    /// network looked. Nothing is below 0.
    GradCam,
    /// Each normalised pixel times its effect on the class. In a linear model the votes and the class's bias sum to its
    /// logit; negative ones speak against it.
    PixelVotes,
}

/// What spoke for one class.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The class's label.
    pub class: usize,
    /// How it was found.
    pub method: Method,
    /// Rows of the map.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `[height, width]`, over the part of the picture that the network sees.
    pub map: Vec<f32>,
}

impl Explanation {
    /// Explains an image of the network's size: the likeliest class, or another.
    ///
    /// # Panics
    /// If the image is of another size, or there is no such class.
    pub fn new(explainer: &mut Explainer, image: &Image, class: Option<usize>) -> Self {
        let method = if explainer.graph().is_convolutional() { Method::GradCam } else { Method::PixelVotes };
        let mut chosen = 0;
        let attribution = explainer.trace(&image.pixels, |logits| {
            chosen = class.unwrap_or_else(|| largest(logits));
            chosen
        });
        let map = match method {
            Method::GradCam => grad_cam(&attribution),
            Method::PixelVotes => pixel_votes(&attribution),
        };
        Self { class: chosen, method, height: attribution.height, width: attribution.width, map }
    }
}

fn grad_cam(attribution: &Attribution) -> Vec<f32> {
    let pixels = attribution.height * attribution.width;
    let channels = attribution.values.len() / pixels;
    let mut weights = vec![0.0; channels];
    for gradient in attribution.gradient.chunks_exact(channels) {
        weights.iter_mut().zip(gradient).for_each(|(weight, slope)| *weight += slope / pixels as f32);
    }
    let heat = |values: &[f32]| values.iter().zip(&weights).map(|(value, weight)| value * weight).sum::<f32>().max(0.0);
    attribution.values.chunks_exact(channels).map(heat).collect()
}

fn pixel_votes(attribution: &Attribution) -> Vec<f32> {
    let channels = attribution.values.len() / (attribution.height * attribution.width);
    let votes: Vec<f32> =
        attribution.values.iter().zip(&attribution.gradient).map(|(value, slope)| value * slope).collect();
    votes.chunks_exact(channels).map(|votes| votes.iter().sum()).collect()
}

/// A saved model that explains its answers.
pub struct Interpreter {
    card: ModelCard,
    explainer: Explainer,
}

impl Interpreter {
    /// An interpreter of a model that is in memory already.
    pub fn from_saved(model: SavedModel) -> Self {
        Self { card: model.card, explainer: Explainer::new(model.graph, model.parameters) }
    }

    /// What the model file says.
    pub fn card(&self) -> &ModelCard {
        &self.card
    }

    /// What in a picture of any size speaks for a class, or for the likeliest, and the picture with that drawn over it.
    ///
    /// # Panics
    /// If the picture has another number of channels than the model takes, or there is no such class.
    pub fn explain(&mut self, picture: &Image, class: Option<usize>) -> (Explanation, Image) {
        let input = self.card.architecture.input;
        assert_eq!(picture.shape.channels, input.channels, "channels of the picture and of the model");
        let framing: Framing = self.card.framing();
        let seen = resize(picture, input.height, input.width, framing);
        let explanation = Explanation::new(&mut self.explainer, &seen, class);
        let part = crate::image::part_seen(picture.shape, input.height, input.width, framing);
        let drawn = overlay(picture, part, &explanation);
        (explanation, drawn)
    }
}
