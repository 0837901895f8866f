//! What the finished network is to call unknown.

use percept_kernels as kernels;

use super::prepare::spread;
use crate::{
    data::Dataset,
    evaluate::answers_of,
    image::{Filter, Fit, Framing, Image, resize},
    ops::Predictor,
    unknown::{self, Fitted, Labelled},
};

/// Training images whose features are taken of a blurred copy, too.
const BLURRED: usize = 128;
/// How many times smaller a picture is made before it is brought back, blurred.
const REDUCTION: usize = 3;

/// Features of images, and their labels.
pub(super) struct Sample {
    pub features: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Sample {
    fn view(&self) -> Labelled<'_> {
        Labelled { features: &self.features, labels: &self.labels }
    }
}

/// Fits what tells unknown images: to `seen` training images, and to images that were `held` out, or to folds.
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
    let moves = moves_by_blurring(predictor, dataset, &spread(images, BLURRED));
    unknown::fit(seen.view(), held.map(Sample::view), &moves, false_rejection)
}

/// How features of images change when these are blurred: `[images, width]`.
fn moves_by_blurring(predictor: &mut Predictor, dataset: &Dataset, images: &[u32]) -> Vec<f32> {
    let mut moves = Vec::new();
    answers_of(predictor, dataset, images, |answers| moves.extend(answers.features));
    let batch = predictor.graph().batch_in_memory();
    let mut sharp = moves.chunks_exact_mut(predictor.feature_width());
    for chunk in images.chunks(batch) {
        let pixels: Vec<u8> = chunk.iter().flat_map(|&image| blurred(dataset, image)).collect();
        let features = predictor.answer(&pixels).features;
        for (sharp, blurred) in sharp.by_ref().zip(features.chunks_exact(predictor.feature_width())) {
            kernels::scale(sharp, -1.0);
            kernels::add(sharp, blurred);
        }
    }
    moves
}

fn blurred(dataset: &Dataset, image: u32) -> Vec<u8> {
    let image = Image { shape: dataset.shape, pixels: dataset.image(image as usize).to_vec() };
    let framing = Framing { filter: Filter::Bilinear, ..Fit::Stretch.into() };
    let small = |side: usize| side.div_ceil(REDUCTION);
    let reduced = resize(&image, small(image.shape.height), small(image.shape.width), framing);
    resize(&reduced, image.shape.height, image.shape.width, framing).pixels
}
