//! Whether an image is like those that a model has seen: by its features and by what the classifier makes of them.
//!
//! Two distances: how much of the features lies outside the directions in which known images vary (Wang et al. 2022), and
//! how little evidence for any class the logits hold, their energy (Liu et al. 2020). The first sees what is of another kind
//! altogether, the second what belongs to no class. Each is brought to the scale that known images have; the larger one
//! counts for the most part, since a classifier can be very sure of what it has never seen.
//!
//! Of features the square roots are taken, so that no few of them decide (Perronnin et al. 2010), and of these the
//! direction, not the length (Sun et al. 2022), which mostly tells contrast. Directions in which blurring moves them are
//! taken out as well.

#[cfg(test)]
mod tests;

use crate::algebra::{self, Matrix, principal_directions};
use crate::evaluate::log_normalizer;
use crate::ops::largest;

/// What the names of its tensors begin with in a model file.
pub const PREFIX: &str = "unknown.";
/// Principal components, at most.
const COMPONENTS: usize = 64;
/// Directions of blurring, at most.
const BLUR_DIRECTIONS: usize = 16;
/// Fewer known images say too little.
const LEAST_IMAGES: usize = 20;
/// Parts that known images are cut into where none are held out.
const FOLDS: usize = 5;
/// Share of weakly blurred copies that have to be recognised for blurring to be no more than that: of tiny images it takes
/// what they show.
const RECOGNISABLE: f64 = 0.75;
/// Classes that are left out in turn, at most.
const LEFT_OUT: usize = 5;

/// What known images look like to the last layer, and from which distance on an image is unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    width: usize,
    /// Mean of the directions of all features: `[width]`.
    mean: Vec<f32>,
    /// Orthonormal directions of blurring: `[width, blurs]`.
    blur: Vec<f32>,
    /// Principal components: `[width, components]`.
    components: Vec<f32>,
    /// Mean and deviation of each distance over known images that were held out.
    scale: [[f32; 2]; 2],
    /// The distance beyond which an image is unknown.
    threshold: f32,
}

/// What a network makes of labelled images.
#[derive(Clone, Copy)]
pub struct Labelled<'a> {
    /// `[images, width]`.
    pub features: &'a [f32],
    /// `[images, classes]`.
    pub logits: &'a [f32],
    /// `[images]`.
    pub labels: &'a [u32],
}

/// Blurred copies of images that were seen: a blurred photograph is not another thing.
#[derive(Clone, Copy, Default)]
pub struct Blurred<'a> {
    /// Features of the images themselves: `[copies, width]`.
    pub sharp: &'a [f32],
    /// Features of their copies: `[copies, width]`.
    pub features: &'a [f32],
    /// `[copies, classes]`.
    pub logits: &'a [f32],
    /// Labels of the first of them, which are blurred weakly. The others only tell directions.
    pub weak: &'a [u32],
}

impl Blurred<'_> {
    /// The weakly blurred copies that the classifier still gives their labels.
    fn recognised(&self, classes: usize) -> Vec<usize> {
        let rows = self.logits.chunks_exact(classes.max(1)).zip(self.weak).enumerate();
        rows.filter(|(_, (row, label))| largest(row) == **label as usize).map(|(copy, _)| copy).collect()
    }
}

/// What unknown images are told by, and how well that works.
pub struct Fitted {
    /// The statistics.
    pub known: Known,
    /// Share of the held out images that is called unknown: less than was allowed where the line moved out for blurred copies,
    /// or where they are few.
    pub rejected: f64,
    /// Area under the curve of true against false alarms: each of some classes was left out, and its images told from held
    /// out ones of the others. Nothing where there is but one class.
    pub auroc: Option<f64>,
}

/// Fits statistics to `seen` images, and scale and threshold to `held` ones, so that a share of `false_rejection` of these
/// is called unknown. Where none are held out, folds of the seen ones stand in: then nothing in the features may have
/// learned from them, and their logits are by classifiers that have not either. Where the classifier recognises most of the
/// weakly blurred copies, no larger share of those that it does is called unknown than of the images held out.
///
/// Nothing where there are too few images to say.
pub fn fit(seen: Labelled, held: Option<Labelled>, copies: Blurred, false_rejection: f64) -> Option<Fitted> {
    let images = held.map_or(seen.labels.len(), |held| held.labels.len());
    if seen.labels.len() < LEAST_IMAGES || images < LEAST_IMAGES {
        return None;
    }
    let width = seen.features.len() / seen.labels.len();
    if width == 0 {
        return None;
    }
    let directions = BLUR_DIRECTIONS.min(copies.features.len() / width / 4);
    let blur = principal_directions(&Matrix::new(moves(copies.sharp, copies.features, width), width), directions);
    let mut known = Known::new(seen, &blur)?;
    let distances = match held {
        Some(held) => known.both_distances(held.features, held.logits),
        None => (0..FOLDS).flat_map(|fold| by_fold(seen, width, &blur, fold).unwrap_or_default()).collect(),
    };
    known.set_scale(&distances, false_rejection);
    let recognised = copies.recognised(seen.logits.len() / seen.labels.len());
    if recognised.len() as f64 >= RECOGNISABLE * copies.weak.len() as f64 && !recognised.is_empty() {
        let distances = known.distances(copies.features, copies.logits);
        let distances = recognised.into_iter().map(|copy| distances[copy]).collect();
        known.threshold = known.threshold.max(beyond(distances, false_rejection));
    }
    let of_held: Vec<f32> = distances.into_iter().map(|both| known.together(both)).collect();
    Some(Fitted { rejected: known.share_unknown(&of_held), known, auroc: auroc_of_left_out(seen, held, width, &blur) })
}

/// The distance beyond which a share of these lies.
fn beyond(mut distances: Vec<f32>, share: f64) -> f32 {
    distances.sort_by(f32::total_cmp);
    let rejected = (share * distances.len() as f64).floor() as usize;
    distances.iter().rev().nth(rejected).copied().unwrap_or(f32::INFINITY)
}

/// How blurring changes the direction of features: `[images, width]`, from features of sharp images and of blurred ones.
fn moves(sharp: &[f32], blurred: &[f32], width: usize) -> Vec<f32> {
    let (sharp, mut moves) = (directions(sharp, width), directions(blurred, width));
    moves.iter_mut().zip(sharp).for_each(|(moved, sharp)| *moved -= sharp);
    moves
}

/// Square roots of features, with their signs, brought to length 1; those that are all 0 stay so.
fn directions(features: &[f32], width: usize) -> Vec<f32> {
    let mut features: Vec<f32> = features.iter().map(|value| value.signum() * value.abs().sqrt()).collect();
    for row in features.chunks_exact_mut(width.max(1)) {
        let length = algebra::length(row).max(f64::from(f32::MIN_POSITIVE)) as f32;
        row.iter_mut().for_each(|value| *value /= length);
    }
    features
}

/// Both distances of the images of one fold, by statistics of the others.
fn by_fold(seen: Labelled, width: usize, blur: &[f32], fold: usize) -> Option<Vec<[f32; 2]>> {
    let (inside, outside) = split(seen, width, |image, _| image % FOLDS == fold);
    let known = Known::new(outside.view(), blur)?;
    Some(known.both_distances(&inside.features, &inside.logits))
}

/// Each of some classes takes its turn as the unknown one, and its logit is left out.
fn auroc_of_left_out(seen: Labelled, held: Option<Labelled>, width: usize, blur: &[f32]) -> Option<f64> {
    let classes = distinct(seen.labels);
    let count = classes.len().min(LEFT_OUT);
    let mut areas = Vec::new();
    for place in 0..count {
        let left_out = classes[place * classes.len() / count];
        let (of_class, others) = split(held.unwrap_or(seen), width, |_, label| label == left_out);
        let (tested, fitted) = match held {
            Some(_) => (others, split(seen, width, |_, label| label != left_out).0),
            None => split(others.view(), width, |image, _| image % FOLDS == 0),
        };
        if of_class.labels.is_empty() || tested.labels.is_empty() {
            continue;
        }
        let Some(mut known) = Known::new(fitted.view(), blur) else { continue };
        let tested = known.both_distances(&tested.features, &tested.logits_without(left_out));
        let of_class = known.both_distances(&of_class.features, &of_class.logits_without(left_out));
        known.set_scale(&tested, 0.5);
        let joint =
            |distances: Vec<[f32; 2]>| -> Vec<f32> { distances.into_iter().map(|both| known.together(both)).collect() };
        areas.push(auroc(&joint(tested), &joint(of_class)));
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

/// Copies of what belongs to some images.
#[derive(Default)]
struct Part {
    features: Vec<f32>,
    logits: Vec<f32>,
    labels: Vec<u32>,
}

impl Part {
    fn view(&self) -> Labelled<'_> {
        Labelled { features: &self.features, logits: &self.logits, labels: &self.labels }
    }

    /// The logits of all classes but one.
    fn logits_without(&self, class: u32) -> Vec<f32> {
        let classes = self.logits.len() / self.labels.len().max(1);
        let columns = self.logits.iter().enumerate();
        columns.filter(|(place, _)| place % classes != class as usize).map(|(_, &logit)| logit).collect()
    }
}

/// The images for which `belongs` says so, and the others. It gets the place of an image among those of its class.
fn split(images: Labelled, width: usize, belongs: impl Fn(usize, u32) -> bool) -> (Part, Part) {
    let mut parts = (Part::default(), Part::default());
    let mut seen = vec![0; images.labels.iter().max().map_or(0, |&last| last as usize + 1)];
    let classes = images.logits.len() / images.labels.len().max(1);
    for ((image, &label), features) in images.labels.iter().enumerate().zip(images.features.chunks_exact(width.max(1)))
    {
        let place = &mut seen[label as usize];
        let part = if belongs(*place, label) { &mut parts.0 } else { &mut parts.1 };
        *place += 1;
        part.features.extend(features);
        part.logits.extend(&images.logits[image * classes..][..classes]);
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
        let mut values = directions(seen.features, width);
        let mean = algebra::column_means(&values, width);
        algebra::subtract(&mut values, &mean);
        algebra::project_out(&mut values, blur, width);
        let components = principal_directions(&Matrix::new(values, width), COMPONENTS.min(images / 4).min(width / 2));
        let (scale, threshold) = ([[0.0, 1.0]; 2], f32::INFINITY);
        Some(Self { width, mean, blur: blur.to_vec(), components, scale, threshold })
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
        self.threshold = beyond(distances.iter().map(|&both| self.together(both)).collect(), false_rejection);
    }

    /// How far each of some images is from known ones; `features` is `[images, width]`, `logits` `[images, classes]`.
    /// Means and deviations of held out images are the units of both distances.
    pub fn distances(&self, features: &[f32], logits: &[f32]) -> Vec<f32> {
        self.both_distances(features, logits).into_iter().map(|both| self.together(both)).collect()
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

    /// The soft maximum of both distances on their scales, halved so that they also add up: `ln(e^(a / 2) + e^(b / 2))`.
    fn together(&self, both: [f32; 2]) -> f32 {
        let [a, b] = [0, 1].map(|which| {
            let [mean, deviation] = self.scale[which];
            (both[which] - mean) / deviation / 2.0
        });
        a.max(b) + (-(a - b).abs()).exp().ln_1p()
    }

    /// The logarithm of the squared distance from all directions of known images, and the energy.
    fn both_distances(&self, features: &[f32], logits: &[f32]) -> Vec<[f32; 2]> {
        let mut values = directions(features, self.width);
        algebra::subtract(&mut values, &self.mean);
        algebra::project_out(&mut values, &self.blur, self.width);
        let matrix = Matrix::new(values, self.width);
        let components = self.components.len() / self.width;
        let inside = matrix.times(&self.components, components);
        let square = |row: &[f32]| row.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>();
        let rows = matrix.values.chunks_exact(self.width).enumerate();
        let classes = logits.len() * self.width / features.len().max(1);
        rows.map(|(image, row)| {
            let left = square(row) - square(&inside[image * components..][..components]);
            let energy = -log_normalizer(&logits[image * classes..][..classes], 1.0);
            // Of no number nothing is the larger one: it has to stay what it is.
            let left = if left.is_nan() { left } else { left.max(1e-12).ln() };
            [left as f32, energy as f32]
        })
        .collect()
    }

    /// Its numbers by name, with their shapes, as a model file holds them.
    pub fn tensors(&self) -> Vec<(&'static str, Vec<usize>, Vec<f32>)> {
        let scale: Vec<f32> = self.scale.iter().flatten().copied().chain([self.threshold]).collect();
        let columns = |values: &[f32]| vec![self.width, values.len() / self.width];
        vec![
            ("unknown.mean", vec![self.width], self.mean.clone()),
            ("unknown.blur", columns(&self.blur), self.blur.clone()),
            ("unknown.components", columns(&self.components), self.components.clone()),
            ("unknown.scale", vec![5], scale),
        ]
    }

    /// Reads what [`Known::tensors`] gave; `tensor` finds shape and numbers by name. Nothing where there are none.
    ///
    /// # Errors
    /// What is missing or does not fit features of this width, and statistics of an earlier form.
    pub fn from_tensors(
        width: usize,
        mut tensor: impl FnMut(&str) -> Option<(Vec<usize>, Vec<f32>)>,
    ) -> Result<Option<Self>, String> {
        let Some((shape, mean)) = tensor("unknown.mean") else { return Ok(None) };
        if tensor("unknown.directions").is_some() {
            return Err("an earlier Percept wrote what it tells unknown images by".into());
        }
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
        let [blur, components] = [columns("unknown.blur")?, columns("unknown.components")?];
        let scale = match tensor("unknown.scale") {
            Some((shape, values)) if shape == [5] => values,
            Some((shape, _)) => return Err(format!("tensor unknown.scale is {shape:?}, not [5]")),
            None => return Err("tensor unknown.scale is missing".into()),
        };
        let threshold = scale[4];
        let scale = [[scale[0], scale[1]], [scale[2], scale[3]]];
        Ok(Some(Self { width, mean, blur, components, scale, threshold }))
    }
}
