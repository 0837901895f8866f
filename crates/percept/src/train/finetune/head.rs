//! A linear classifier on features: softmax regression, or logistic regression of each class alone, whose weights are pulled towards 0, solved to the end (L-BFGS,
//! Liu and Nocedal 1989). The pull is chosen on images that the classifier has not seen.

use percept_kernels::{self as kernels, Layout, Targets};

use super::features::Features;
use crate::{
    algebra::{add, dot, length},
    evaluate::Truth,
};

/// Pulls that are tried, the strongest first: each begins where the one before ended.
pub(super) const DECAYS: [f64; 7] = [1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001];
/// Steps at most.
const STEPS: usize = 200;
/// Pairs of steps and changes of the gradient that are remembered.
const MEMORY: usize = 10;
/// The share of its first length below which a gradient is zero.
const FLAT: f64 = 1e-4;
/// A feature that never varies would divide by 0.
const LEAST_DEVIATION: f32 = 1e-3;

/// Weights `[width, classes]` and biases `[classes]` for features as the backbone gives them.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
}

/// Features of some images, brought to mean 0 and deviation 1, and what the images show.
pub(super) struct Samples {
    /// `[rows, width]`.
    values: Vec<f32>,
    truth: Truth,
    width: usize,
    classes: usize,
    mean: Vec<f32>,
    deviation: Vec<f32>,
    class_weights: Option<Vec<f32>>,
    /// Where the search begins, and whereto weights are pulled: 0 unless there was a classifier before.
    start: Vec<f32>,
}

impl Samples {
    /// Every view of the images at these places of `features`; `truth` is that of all images.
    pub fn new(
        features: &Features,
        places: &[usize],
        truth: &Truth,
        classes: usize,
        class_weights: Option<Vec<f32>>,
    ) -> Self {
        let width = features.width;
        let mut values: Vec<f32> = places.iter().flat_map(|&place| features.of(place)).copied().collect();
        let rows = values.len() / width;
        let views = || places.iter().flat_map(|&place| std::iter::repeat_n(place, features.views));
        let truth = match truth {
            Truth::One(labels) => Truth::One(views().map(|place| labels[place]).collect()),
            Truth::Several(targets) => {
                let rows = views().flat_map(|place| &targets[place * classes..][..classes]);
                Truth::Several(rows.copied().collect())
            }
        };
        let (mut sums, mut squares) = (vec![0.0f64; width], vec![0.0f64; width]);
        for row in values.chunks_exact(width) {
            for ((sum, square), &value) in sums.iter_mut().zip(&mut squares).zip(row) {
                *sum += f64::from(value);
                *square += f64::from(value) * f64::from(value);
            }
        }
        let count = rows.max(1) as f64;
        let mean: Vec<f32> = sums.iter().map(|sum| (sum / count) as f32).collect();
        let variance = squares.iter().zip(&sums).map(|(square, sum)| (square - sum * sum / count) / count);
        let deviation: Vec<f32> = variance.map(|v| (v.max(0.0).sqrt() as f32).max(LEAST_DEVIATION)).collect();
        for row in values.chunks_exact_mut(width) {
            for ((value, mean), deviation) in row.iter_mut().zip(&mean).zip(&deviation) {
                *value = (*value - mean) / deviation;
            }
        }
        let start = vec![0.0; (width + 1) * classes];
        Self { values, truth, width, classes, mean, deviation, class_weights, start }
    }

    /// Has the classifier move away from `head` only as far as the samples ask for.
    #[must_use]
    pub fn starting_from(mut self, head: &Head) -> Self {
        let (weights, bias) = self.start.split_at_mut(self.width * self.classes);
        weights.copy_from_slice(&head.weights);
        bias.copy_from_slice(&head.bias);
        let statistics = self.mean.iter().zip(&self.deviation);
        for (row, (mean, deviation)) in weights.chunks_exact_mut(self.classes).zip(statistics) {
            for (weight, bias) in row.iter_mut().zip(bias.iter_mut()) {
                *bias += *weight * mean;
                *weight *= deviation;
            }
        }
        self
    }

    /// The classifier for each of [`DECAYS`].
    pub fn path(&self) -> Vec<Head> {
        let mut parameters = self.start.clone();
        let solve = |&decay: &f64| {
            self.minimize(decay, &mut parameters);
            self.on_features(&parameters)
        };
        DECAYS.iter().map(solve).collect()
    }

    /// Whether [`Samples::minimize`] ends where no direction leads down, for every pull.
    #[cfg(test)]
    pub fn is_flat_at_the_end(&self) -> bool {
        DECAYS.iter().all(|&decay| {
            let mut parameters = vec![0.0; (self.width + 1) * self.classes];
            let mut gradient = parameters.clone();
            self.loss(decay, &parameters, &mut gradient);
            let steep = length(&gradient);
            self.minimize(decay, &mut parameters);
            self.loss(decay, &parameters, &mut gradient);
            length(&gradient) <= 2.0 * FLAT * steep
        })
    }

    /// The same parameters for features that were not brought to mean 0 and deviation 1.
    fn on_features(&self, parameters: &[f32]) -> Head {
        let (weights, bias) = parameters.split_at(self.width * self.classes);
        let mut head = Head { weights: weights.to_vec(), bias: bias.to_vec() };
        let statistics = self.mean.iter().zip(&self.deviation);
        for (row, (mean, deviation)) in head.weights.chunks_exact_mut(self.classes).zip(statistics) {
            for (weight, bias) in row.iter_mut().zip(&mut head.bias) {
                *weight /= deviation;
                *bias -= *weight * mean;
            }
        }
        head
    }

    /// Mean loss with half the squared way of the weights from the start times `decay`, and its gradient.
    fn loss(&self, decay: f64, parameters: &[f32], gradient: &mut [f32]) -> f64 {
        let (width, classes) = (self.width, self.classes);
        let rows = self.values.len() / width;
        let (weights, bias) = parameters.split_at(width * classes);
        let mut logits: Vec<f32> = bias.iter().copied().cycle().take(rows * classes).collect();
        kernels::gemm(
            rows,
            classes,
            width,
            &self.values,
            Layout::RowMajor,
            weights,
            Layout::RowMajor,
            true,
            &mut logits,
        );
        let (mut losses, mut slopes) = (vec![0.0; rows], vec![0.0; rows * classes]);
        let class_weights = self.class_weights.as_deref();
        let loss = match &self.truth {
            Truth::One(labels) => kernels::softmax_cross_entropy(
                rows,
                classes,
                &logits,
                Targets::Labels(labels),
                0.0,
                class_weights,
                &mut losses,
                &mut slopes,
            ),
            Truth::Several(targets) => kernels::sigmoid_cross_entropy(
                rows,
                classes,
                &logits,
                targets,
                0.0,
                class_weights,
                &mut losses,
                &mut slopes,
            ),
        };
        let (of_weights, of_bias) = gradient.split_at_mut(width * classes);
        kernels::gemm(
            width,
            classes,
            rows,
            &self.values,
            Layout::Transposed,
            &slopes,
            Layout::RowMajor,
            false,
            of_weights,
        );
        kernels::channel_sums(rows, classes, &slopes, of_bias);
        let mut square = 0.0;
        for ((slope, weight), start) in of_weights.iter_mut().zip(weights).zip(&self.start) {
            let way = weight - start;
            *slope += decay as f32 * way;
            square += f64::from(way) * f64::from(way);
        }
        loss + 0.5 * decay * square
    }

    /// Moves the parameters to where the loss is least.
    fn minimize(&self, decay: f64, parameters: &mut Vec<f32>) {
        let mut gradient = vec![0.0; parameters.len()];
        let mut loss = self.loss(decay, parameters, &mut gradient);
        let zero = vec![0.0; parameters.len()];
        let mut at_zero = zero.clone();
        self.loss(decay, &zero, &mut at_zero);
        let flat = FLAT * length(&at_zero);
        let mut memory: Vec<(Vec<f32>, Vec<f32>)> = Vec::new();
        for _ in 0..STEPS {
            if length(&gradient) <= flat {
                return;
            }
            let direction = direction(&gradient, &memory);
            let slope = dot(&direction, &gradient);
            // Halved until it pays (Armijo 1966); the first step of all has no scale of its own.
            let mut step = if memory.is_empty() { 1.0 / length(&gradient).max(1.0) } else { 1.0 };
            let (moved, new_loss, new_gradient) = loop {
                let moved: Vec<f32> = parameters.iter().zip(&direction).map(|(p, d)| p + step as f32 * d).collect();
                let mut new_gradient = zero.clone();
                let new_loss = self.loss(decay, &moved, &mut new_gradient);
                if new_loss <= loss + 1e-4 * step * slope {
                    break (moved, new_loss, new_gradient);
                }
                step /= 2.0;
                if step < 1e-10 {
                    return;
                }
            };
            let change =
                |new: &[f32], old: &[f32]| new.iter().zip(old).map(|(new, old)| new - old).collect::<Vec<f32>>();
            let pair = (change(&moved, parameters), change(&new_gradient, &gradient));
            if dot(&pair.0, &pair.1) > 0.0 {
                memory.push(pair);
                memory.drain(..memory.len().saturating_sub(MEMORY));
            }
            (*parameters, loss, gradient) = (moved, new_loss, new_gradient);
        }
    }
}

impl Head {
    /// Logits `[rows, classes]` of features `[rows, width]`.
    pub fn logits(&self, features: &[f32]) -> Vec<f32> {
        let classes = self.bias.len();
        let width = self.weights.len() / classes;
        let rows = features.len() / width;
        let mut logits: Vec<f32> = self.bias.iter().copied().cycle().take(rows * classes).collect();
        kernels::gemm(
            rows,
            classes,
            width,
            features,
            Layout::RowMajor,
            &self.weights,
            Layout::RowMajor,
            true,
            &mut logits,
        );
        logits
    }
}

/// Where to go: the gradient, turned by what the last steps tell of the loss's curvature.
fn direction(gradient: &[f32], memory: &[(Vec<f32>, Vec<f32>)]) -> Vec<f32> {
    let mut direction: Vec<f32> = gradient.iter().map(|slope| -slope).collect();
    let mut shares = Vec::new();
    for (step, change) in memory.iter().rev() {
        let share = dot(step, &direction) / dot(step, change);
        add(&mut direction, change, -share);
        shares.push(share);
    }
    if let Some((step, change)) = memory.last() {
        let scale = (dot(step, change) / dot(change, change)) as f32;
        direction.iter_mut().for_each(|value| *value *= scale);
    }
    for ((step, change), share) in memory.iter().zip(shares.iter().rev()) {
        let back = dot(change, &direction) / dot(step, change);
        add(&mut direction, step, share - back);
    }
    direction
}
