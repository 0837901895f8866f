//! What the finished network is to call unknown.

use super::prepare::spread;
use crate::{
    data::Dataset,
    image::{Filter, Fit, Framing, Image, resize},
    ops::Predictor,
    recall::Drawn,
    unknown::{self, Blurred, Fitted, Labelled},
};

/// Training images whose features are taken of a blurred copy, too.
const BLURRED: usize = 128;
/// How many times smaller a picture is made before it is brought back, weakly blurred; every second one is made so small as
/// to have this side, where that is less.
const REDUCTION: usize = 3;
const SMALLEST: usize = 14;

/// What the network makes of images, and their labels.
pub(super) struct Sample {
    pub features: Vec<f32>,
    pub logits: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Sample {
    /// Features that were drawn for old classes, and their logits, come behind those of images.
    pub fn append(&mut self, drawn: Drawn, logits: Vec<f32>) {
        self.features.extend(drawn.features);
        self.logits.extend(logits);
        self.labels.extend(drawn.labels);
    }

    fn view(&self) -> Labelled<'_> {
        Labelled { features: &self.features, logits: &self.logits, labels: &self.labels }
    }
}

/// Fits what tells unknown images: to training `images`, of which this was `seen`, and to images that were `held` out, or
/// to folds, for which logits have to be by classifiers that did not see them.
pub(super) fn fit(
    predictor: &mut Predictor,
    dataset: &Dataset,
    images: &[u32],
    seen: &Sample,
    held: Option<&Sample>,
    false_rejection: f64,
) -> Option<Fitted> {
    if predictor.feature_width() == 0 {
        return None;
    }
    let width = predictor.feature_width();
    let places: Vec<u32> = (0..images.len() as u32).collect();
    let places = spread(&places, BLURRED);
    let weakly = places.iter().step_by(2);
    let side = dataset.shape.height.min(dataset.shape.width);
    let strongly = places.iter().skip(1).step_by(2).map(|&place| (place, REDUCTION.max(side / SMALLEST)));
    let copies: Vec<(u32, usize)> = weakly.clone().map(|&place| (place, REDUCTION)).chain(strongly).collect();
    let blur = |&(place, reduction): &(u32, usize)| blurred(dataset, images[place as usize], reduction);
    let pixels: Vec<u8> = copies.iter().flat_map(blur).collect();
    let own = |&(place, _): &(u32, usize)| &seen.features[place as usize * width..][..width];
    let sharp: Vec<f32> = copies.iter().flat_map(own).copied().collect();
    let answer = predictor.answer(&pixels);
    let weak: Vec<u32> = match dataset.sets {
        None => weakly.map(|&place| seen.labels[place as usize]).collect(),
        // Whether what shows several classes is still recognised is more than one label tells.
        Some(_) => Vec::new(),
    };
    let copies = Blurred { sharp: &sharp, features: &answer.features, logits: &answer.logits, weak: &weak };
    unknown::fit(seen.view(), held.map(Sample::view), copies, false_rejection)
}

fn blurred(dataset: &Dataset, image: u32, reduction: usize) -> Vec<u8> {
    let image = Image { shape: dataset.shape, pixels: dataset.image(image as usize).to_vec() };
    let framing = Framing { filter: Filter::Bilinear, ..Fit::Stretch.into() };
    let small = |side: usize| side.div_ceil(reduction);
    let reduced = resize(&image, small(image.shape.height), small(image.shape.width), framing);
    resize(&reduced, image.shape.height, image.shape.width, framing).pixels
}
