//! Whether probabilities are as often right as they say.

use serde::Serialize;

use super::{Truth, several};

const BINS: usize = 15;
/// Fewer images than this say too little.
const LEAST_IMAGES: usize = 20;
const RANGE: [f64; 2] = [0.05, 20.0];

/// One bin of the reliability diagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bin {
    /// Mean confidence of its predictions.
    pub confidence: f64,
    /// Share of them that are right.
    pub accuracy: f64,
    /// How many there are.
    pub images: usize,
}

/// `ln` of the sum of `e^(logit / temperature)`.
pub(crate) fn log_normalizer(row: &[f32], temperature: f32) -> f64 {
    let scaled = row.iter().map(|&value| f64::from(value) / f64::from(temperature));
    let largest = scaled.clone().fold(f64::NEG_INFINITY, f64::max);
    scaled.map(|value| (value - largest).exp()).sum::<f64>().ln() + largest
}

/// Bins of equal width by confidence, and the mean gap between confidence and accuracy.
pub(super) fn reliability(predictions: &[(f64, bool)]) -> (Vec<Bin>, f64) {
    let mut sums = vec![(0.0, 0usize, 0usize); BINS];
    for &(confidence, right) in predictions.iter().filter(|(confidence, _)| confidence.is_finite()) {
        let bin = ((confidence * BINS as f64) as usize).min(BINS - 1);
        sums[bin].0 += confidence;
        sums[bin].1 += usize::from(right);
        sums[bin].2 += 1;
    }
    let bins: Vec<Bin> = sums
        .iter()
        .map(|&(confidence, right, images)| {
            let count = images.max(1) as f64;
            Bin { confidence: confidence / count, accuracy: right as f64 / count, images }
        })
        .collect();
    let total = predictions.len().max(1) as f64;
    let gap = bins.iter().map(|bin| bin.images as f64 / total * (bin.confidence - bin.accuracy).abs()).sum();
    (bins, gap)
}

/// The temperature that makes what images show likeliest: the loss is convex in its inverse, so thirds are cut off the range
/// until it is small. 1 where there are too few images to say.
pub fn fit_temperature(logits: &[f32], truth: &Truth, classes: usize) -> f32 {
    if truth.images(classes) < LEAST_IMAGES || logits.iter().any(|value| !value.is_finite()) {
        return 1.0;
    }
    let loss = |inverse: f64| -> f64 {
        let temperature = (1.0 / inverse) as f32;
        match truth {
            Truth::One(labels) => {
                let rows = logits.chunks_exact(classes).zip(labels);
                let loss = |(row, &label): (&[f32], &u32)| {
                    log_normalizer(row, temperature) - f64::from(row[label as usize]) / f64::from(temperature)
                };
                rows.map(loss).sum()
            }
            Truth::Several(targets) => {
                let pairs = logits.iter().zip(targets);
                pairs.map(|(&logit, &target)| several::loss(logit, target > 0.5, temperature)).sum()
            }
        }
    };
    let (mut low, mut high) = (RANGE[0].ln(), RANGE[1].ln());
    for _ in 0..40 {
        let (left, right) = (low + (high - low) / 3.0, high - (high - low) / 3.0);
        if loss(left.exp()) < loss(right.exp()) {
            high = right;
        } else {
            low = left;
        }
    }
    (-(low + high) / 2.0).exp() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_temperature_is_found() {
        // Of each hundred images with logits (ln 3, 0) / t, 75 are of the first class when t is 1.
        for wanted in [0.5f32, 1.0, 3.0] {
            let logits: Vec<f32> = (0..400).flat_map(|_| [3f32.ln() * wanted, 0.0]).collect();
            let labels: Vec<u32> = (0..400).map(|i| u32::from(i % 4 == 3)).collect();
            let found = fit_temperature(&logits, &Truth::One(labels), 2);
            assert!((found / wanted - 1.0).abs() < 0.01, "{found} is not {wanted}");
            // The same odds of a class that is there or not.
            let logits = vec![3f32.ln() * wanted; 400];
            let targets = (0..400).map(|i| f32::from(u8::from(i % 4 != 3))).collect();
            let found = fit_temperature(&logits, &Truth::Several(targets), 1);
            assert!((found / wanted - 1.0).abs() < 0.01, "{found} is not {wanted}");
        }
    }

    #[test]
    fn a_few_images_say_nothing() {
        assert_eq!(fit_temperature(&[1.0, 0.0], &Truth::One(vec![0]), 2), 1.0);
    }

    #[test]
    fn right_probabilities_have_no_error() {
        let predictions: Vec<_> = (0..100).map(|i| (0.7, i < 70)).collect();
        assert!(reliability(&predictions).1 < 1e-12);
        let (bins, error) = reliability(&[(1.0, false)]);
        assert_eq!((bins[14].images, error), (1, 1.0));
    }
}
