//! Whether an image is like those that a model has seen: how far its features are from theirs.
//!
//! Two distances, each on the scale that known images have: one along the directions in which the classes differ, the
//! Mahalanobis distance to the nearest class less that to all classes together (Ren et al. 2021); and one across all
//! directions in which known images vary, the length of what their principal components leave over (Wang et al. 2022). The
//! first sees what belongs to no class, the second what is of another kind altogether. Directions in which blurring moves
//! features are taken out before, so that sharpness does not decide.

#[cfg(test)]
mod tests;

use crate::algebra::{self, Matrix, cholesky, forward_substitution, principal_directions, solve};

/// What the names of its tensors begin with in a model file.
pub const PREFIX: &str = "unknown.";
/// Share of the covariance that is replaced by that of a ball: covariances of so few images are noisy.
const SHRINKAGE: f64 = 0.5;
/// Principal components, at most.
const COMPONENTS: usize = 64;
/// Directions of blurring, at most.
const BLUR_DIRECTIONS: usize = 16;
/// Fewer known images say too little.
const LEAST_IMAGES: usize = 20;
/// Parts that known images are cut into where none are held out.
const FOLDS: usize = 5;
/// Classes that are left out in turn, at most.
const LEFT_OUT: usize = 5;

/// What the features of known images look like, and from which distance on an image is unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    width: usize,
    classes: usize,
    /// Mean of all features: `[width]`.
    mean: Vec<f32>,
    /// Orthonormal directions of blurring: `[width, blurs]`.
    blur: Vec<f32>,
    /// The inverse covariance times each class's mean: `[width, classes]`.
    directions: Vec<f32>,
    /// Squared distance of each class's mean from the mean of all: `[classes]`.
    offsets: Vec<f32>,
    /// Cholesky factor of what relates a class's directions to all of them: `[classes, classes]`, lower triangle.
    factor: Vec<f32>,
    /// Principal components: `[width, components]`.
    components: Vec<f32>,
    /// Mean and deviation of each distance over known images that were held out.
    scale: [[f32; 2]; 2],
    /// The distance beyond which an image is unknown.
    threshold: f32,
}

/// Features of labelled images, in the order of their labels.
#[derive(Clone, Copy)]
pub struct Labelled<'a> {
    /// `[images, width]`.
    pub features: &'a [f32],
    /// `[images]`.
    pub labels: &'a [u32],
}

/// What unknown images are told by, and how well that works.
pub struct Fitted {
    /// The statistics.
    pub known: Known,
    /// Area under the curve of true against false alarms: each of some classes was left out, and its images told from held
    /// out ones of the others. Nothing where there is but one class.
    pub auroc: Option<f64>,
}

/// Fits statistics to `seen` images, and scale and threshold to `held` ones, so that a share of `false_rejection` of these
/// is called unknown. Where none are held out, folds of the seen ones stand in: then nothing in the features may have
/// learned from them. `moves` are changes of features, `[pairs, width]`, by blurring.
///
/// Nothing where there are too few images to say.
pub fn fit(seen: Labelled, held: Option<Labelled>, moves: &[f32], false_rejection: f64) -> Option<Fitted> {
    let images = held.map_or(seen.labels.len(), |held| held.labels.len());
    if seen.labels.len() < LEAST_IMAGES || images < LEAST_IMAGES {
        return None;
    }
    let width = seen.features.len() / seen.labels.len();
    if width == 0 {
        return None;
    }
    let blur = principal_directions(&Matrix::new(moves.to_vec(), width), BLUR_DIRECTIONS.min(moves.len() / width / 4));
    let mut known = Known::new(seen, &blur)?;
    let distances = match held {
        Some(held) => known.both_distances(held.features),
        None => (0..FOLDS).flat_map(|fold| by_fold(seen, width, &blur, fold).unwrap_or_default()).collect(),
    };
    known.set_scale(&distances, false_rejection);
    Some(Fitted { known, auroc: auroc_of_left_out(seen, held, width, &blur) })
}

/// Both distances of the images of one fold, by statistics of the others.
fn by_fold(seen: Labelled, width: usize, blur: &[f32], fold: usize) -> Option<Vec<[f32; 2]>> {
    let (inside, outside) = split(seen, width, |image, _| image % FOLDS == fold);
    let known = Known::new(outside.view(), blur)?;
    Some(known.both_distances(&inside.features))
}

/// Each of some classes takes its turn as the unknown one.
fn auroc_of_left_out(seen: Labelled, held: Option<Labelled>, width: usize, blur: &[f32]) -> Option<f64> {
    let classes = distinct(seen.labels);
    let count = classes.len().min(LEFT_OUT);
    let mut areas = Vec::new();
    for place in 0..count {
        let left_out = classes[place * classes.len() / count];
        let (of_class, others) = split(seen, width, |_, label| label == left_out);
        let (tested, fitted) = match held {
            Some(held) => (split(held, width, |_, label| label != left_out).0, others),
            None => split(others.view(), width, |image, _| image % FOLDS == 0),
        };
        // Held out images of the class count too, but there are fewer of them.
        let Some(mut known) = Known::new(fitted.view(), blur) else { continue };
        let distances = known.both_distances(&tested.features);
        known.set_scale(&distances, 0.5);
        let tested: Vec<f32> = distances.into_iter().map(|both| known.sum(both)).collect();
        areas.push(auroc(&tested, &known.distances(&of_class.features)));
    }
    (classes.len() > 1 && !areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64)
}

/// The labels that occur, in order.
fn distinct(labels: &[u32]) -> Vec<u32> {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    labels.dedup();
    labels
}

/// Copies of some images' features and labels.
#[derive(Default)]
struct Part {
    features: Vec<f32>,
    labels: Vec<u32>,
}

impl Part {
    fn view(&self) -> Labelled<'_> {
        Labelled { features: &self.features, labels: &self.labels }
    }
}

/// The images for which `belongs` says so, and the others. It gets the place of an image among those of its class.
fn split(images: Labelled, width: usize, belongs: impl Fn(usize, u32) -> bool) -> (Part, Part) {
    let mut parts = (Part::default(), Part::default());
    let mut seen = vec![0; images.labels.iter().max().map_or(0, |&last| last as usize + 1)];
    for (&label, features) in images.labels.iter().zip(images.features.chunks_exact(width.max(1))) {
        let place = &mut seen[label as usize];
        let part = if belongs(*place, label) { &mut parts.0 } else { &mut parts.1 };
        *place += 1;
        part.features.extend(features);
        part.labels.push(label);
    }
    parts
}

/// Area under the curve of true against false alarms: how often an unknown image is farther than a known one, where equals
/// count half. Half of 1 is guessing.
pub fn auroc(known: &[f32], unknown: &[f32]) -> f64 {
    let mut all: Vec<(f32, bool)> =
        known.iter().map(|&d| (d, false)).chain(unknown.iter().map(|&d| (d, true))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut sum, mut below) = (0.0, 0usize);
    for group in all.chunk_by(|a, b| a.0 == b.0) {
        let unknown = group.iter().filter(|(_, is_unknown)| *is_unknown).count();
        let known = group.len() - unknown;
        sum += unknown as f64 * (below as f64 + known as f64 / 2.0);
        below += known;
    }
    sum / (known.len() * unknown.len()).max(1) as f64
}

impl Known {
    /// Statistics of features, as yet without scale and threshold; nothing if there are no two images, or no features.
    fn new(seen: Labelled, blur: &[f32]) -> Option<Self> {
        let images = seen.labels.len();
        let width = seen.features.len().checked_div(images).filter(|&width| width > 0 && images > 1)?;
        let mut values = seen.features.to_vec();
        let mean = algebra::column_means(&values, width);
        algebra::subtract(&mut values, &mean);
        algebra::project_out(&mut values, blur, width);
        let components =
            principal_directions(&Matrix::new(values.clone(), width), COMPONENTS.min(images / 4).min(width / 2));
        // Means and shares of the classes that are there.
        let labels = distinct(seen.labels);
        let class_of = |label: &u32| labels.binary_search(label).unwrap_or_default();
        let classes = labels.len();
        let (mut sums, mut counts) = (vec![0.0f64; classes * width], vec![0.0f64; classes]);
        for (label, row) in seen.labels.iter().zip(values.chunks_exact(width)) {
            let class = class_of(label);
            counts[class] += 1.0;
            sums[class * width..][..width].iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let means: Vec<f32> = sums.iter().enumerate().map(|(at, sum)| (sum / counts[at / width]) as f32).collect();
        for (label, row) in seen.labels.iter().zip(values.chunks_exact_mut(width)) {
            let own = &means[class_of(label) * width..][..width];
            row.iter_mut().zip(own).for_each(|(value, mean)| *value -= mean);
        }
        let within = Matrix::new(values, width);
        let (share, ball) = ((1.0 - SHRINKAGE) / images as f64, SHRINKAGE * within.mean_square());
        let directions = solve(&within, share, ball.max(f64::MIN_POSITIVE), &means);
        // The Gram matrix of the means, and with the classes' own spread added the matrix whose inverse relates the
        // covariance within classes to that of all (Woodbury 1950).
        let gram = Matrix::new(means, width).times(&directions, classes);
        let offsets = (0..classes).map(|class| gram[class * classes + class]).collect();
        let mut spread: Vec<f64> = gram.iter().map(|&value| f64::from(value)).collect();
        for class in 0..classes {
            spread[class * classes + class] += images as f64 / ((1.0 - SHRINKAGE) * counts[class]);
        }
        let factor = cholesky(&spread, classes)?.iter().map(|&value| value as f32).collect();
        let blur = blur.to_vec();
        let (scale, threshold) = ([[0.0, 1.0]; 2], f32::INFINITY);
        Some(Self { width, classes, mean, blur, directions, offsets, factor, components, scale, threshold })
    }

    /// Puts both distances on one scale, and the threshold where a share of `false_rejection` of these is beyond it.
    fn set_scale(&mut self, distances: &[[f32; 2]], false_rejection: f64) {
        let count = distances.len().max(1) as f64;
        for (which, scale) in self.scale.iter_mut().enumerate() {
            let values = || distances.iter().map(|both| f64::from(both[which]));
            let mean = values().sum::<f64>() / count;
            let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
            // One that never varies says nothing.
            let deviation = if variance.sqrt() > 1e-6 { variance.sqrt() as f32 } else { f32::INFINITY };
            *scale = [mean as f32, deviation];
        }
        let mut sums: Vec<f32> = distances.iter().map(|&both| self.sum(both)).collect();
        sums.sort_by(f32::total_cmp);
        let rejected = (false_rejection * count).floor() as usize;
        self.threshold = sums.iter().rev().nth(rejected).copied().unwrap_or(f32::INFINITY);
    }

    /// How far each of some images is from known ones; `features` is `[images, width]`. Means and deviations of held out
    /// images are the unit of both distances that are summed.
    pub fn distances(&self, features: &[f32]) -> Vec<f32> {
        self.both_distances(features).into_iter().map(|both| self.sum(both)).collect()
    }

    /// Whether an image at this distance is unknown.
    pub fn is_unknown(&self, distance: f32) -> bool {
        // Features that are no numbers are like nothing that was seen.
        distance.is_nan() || distance > self.threshold
    }

    /// The share of images at these distances that is unknown.
    pub fn share_unknown(&self, distances: &[f32]) -> f64 {
        let unknown = distances.iter().filter(|&&distance| self.is_unknown(distance)).count();
        unknown as f64 / distances.len().max(1) as f64
    }

    fn sum(&self, both: [f32; 2]) -> f32 {
        both.iter().zip(&self.scale).map(|(distance, [mean, deviation])| (distance - mean) / deviation).sum()
    }

    /// The distance from the classes, and the logarithm of the squared one from all directions of known images.
    fn both_distances(&self, features: &[f32]) -> Vec<[f32; 2]> {
        let mut values = features.to_vec();
        algebra::subtract(&mut values, &self.mean);
        algebra::project_out(&mut values, &self.blur, self.width);
        let matrix = Matrix::new(values, self.width);
        let scores = matrix.times(&self.directions, self.classes);
        let components = self.components.len() / self.width;
        let inside = matrix.times(&self.components, components);
        let square = |row: &[f32]| row.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
        let rows = matrix.values.chunks_exact(self.width).zip(scores.chunks_exact(self.classes)).enumerate();
        rows.map(|(image, (row, scores))| {
            let nearest = self.offsets.iter().zip(scores).map(|(offset, score)| offset - 2.0 * score);
            let from_all = square(&forward_substitution(&self.factor, scores));
            let from_classes = f64::from(nearest.fold(f32::INFINITY, f32::min)) + from_all;
            let left = square(row) - square(&inside[image * components..][..components]);
            [from_classes as f32, left.max(1e-12).ln() as f32]
        })
        .collect()
    }

    /// Its numbers by name, with their shapes, as a model file holds them.
    pub fn tensors(&self) -> Vec<(&'static str, Vec<usize>, Vec<f32>)> {
        let Self { width, classes, .. } = *self;
        let scale: Vec<f32> = self.scale.iter().flatten().copied().chain([self.threshold]).collect();
        let columns = |values: &[f32]| vec![width, values.len() / width];
        vec![
            ("unknown.mean", vec![width], self.mean.clone()),
            ("unknown.blur", columns(&self.blur), self.blur.clone()),
            ("unknown.directions", vec![width, classes], self.directions.clone()),
            ("unknown.offsets", vec![classes], self.offsets.clone()),
            ("unknown.factor", vec![classes, classes], self.factor.clone()),
            ("unknown.components", columns(&self.components), self.components.clone()),
            ("unknown.scale", vec![5], scale),
        ]
    }

    /// Reads what [`Known::tensors`] gave; `tensor` finds shape and numbers by name. Nothing where there are none.
    ///
    /// # Errors
    /// What is missing or does not fit features of this width.
    pub fn from_tensors(
        width: usize,
        mut tensor: impl FnMut(&str) -> Option<(Vec<usize>, Vec<f32>)>,
    ) -> Result<Option<Self>, String> {
        let Some((shape, mean)) = tensor("unknown.mean") else { return Ok(None) };
        if width == 0 {
            return Err("tensor unknown.mean belongs to no features of the network".into());
        }
        if shape != [width] {
            return Err(format!("tensor unknown.mean is {shape:?}, but the network has {width} features"));
        }
        let mut columns = |name: &str| {
            let (shape, values) = tensor(name).ok_or_else(|| format!("tensor {name} is missing"))?;
            match shape[..] {
                [rows, _] if rows == width => Ok(values),
                _ => Err(format!("tensor {name} is {shape:?}, not [{width}, ...]")),
            }
        };
        let [blur, directions, components] =
            [columns("unknown.blur")?, columns("unknown.directions")?, columns("unknown.components")?];
        let classes = directions.len() / width;
        let mut exact = |name: &str, wanted: &[usize]| match tensor(name) {
            Some((shape, values)) if shape == wanted => Ok(values),
            Some((shape, _)) => Err(format!("tensor {name} is {shape:?}, not {wanted:?}")),
            None => Err(format!("tensor {name} is missing")),
        };
        let (offsets, factor) = (exact("unknown.offsets", &[classes])?, exact("unknown.factor", &[classes, classes])?);
        let scale = exact("unknown.scale", &[5])?;
        let threshold = scale[4];
        let scale = [[scale[0], scale[1]], [scale[2], scale[3]]];
        Ok(Some(Self { width, classes, mean, blur, directions, offsets, factor, components, scale, threshold }))
    }
}
