//! What a model file keeps of its classes, so that they are not forgotten when it learns others and their pictures are gone:
//! each class's mean feature, and how features spread about the means. Features like those that were seen can be drawn from
//! it; no picture can.

#[cfg(test)]
mod tests;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    algebra::{self, Matrix, principal_directions, project_out},
    model::parameters::normal,
};

/// What the names of its tensors begin with in a model file.
pub const PREFIX: &str = "recall.";
/// Directions of the spread, at most.
const DIRECTIONS: usize = 32;
/// A class whose images vary this much more or less than others counts as if it varied no more.
const SPREADS: [f32; 2] = [0.5, 2.0];

/// What the features of each class are like.
#[derive(Clone, Debug, PartialEq)]
pub struct Recall {
    width: usize,
    /// Images that each class was learned from, 0 where nothing is known of it: `[classes]`.
    counts: Vec<f32>,
    /// Mean features: `[classes, width]`.
    means: Vec<f32>,
    /// How much wider a class spreads than all do on average: `[classes]`.
    spreads: Vec<f32>,
    /// The directions in which features lie farthest from their class's mean, as long as their deviations: `[width,
    /// directions]`.
    directions: Vec<f32>,
    /// Deviations of each feature beside these directions: `[width]`.
    rest: Vec<f32>,
}

/// Features that were drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawn {
    /// `[draws, width]`.
    pub features: Vec<f32>,
    /// `[draws]`.
    pub labels: Vec<u32>,
}

impl Recall {
    /// Takes the statistics of some images' features `[images, width]`; `counts` says how many images each class was learned
    /// from in all. Nothing where there are no features.
    pub fn fit(features: &[f32], labels: &[u32], counts: &[usize]) -> Option<Self> {
        let (images, classes) = (labels.len(), counts.len());
        let width = features.len().checked_div(images).filter(|&width| width > 0)?;
        let (mut sums, mut seen) = (vec![0.0f64; classes * width], vec![0.0f64; classes]);
        for (&label, row) in labels.iter().zip(features.chunks_exact(width)) {
            let class = label as usize;
            seen[class] += 1.0;
            sums[class * width..][..width].iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        let means: Vec<f32> =
            sums.iter().enumerate().map(|(place, sum)| (sum / seen[place / width].max(1.0)) as f32).collect();
        let (mut within, mut squares) = (features.to_vec(), vec![0.0f64; classes]);
        for (&label, row) in labels.iter().zip(within.chunks_exact_mut(width)) {
            algebra::subtract(row, &means[label as usize * width..][..width]);
            squares[label as usize] += algebra::dot(row, row);
        }
        let all = squares.iter().sum::<f64>() / images as f64;
        let spread = |(square, seen): (&f64, &f64)| match *seen > 1.0 && all > 0.0 {
            true => ((square / seen / all).sqrt() as f32).clamp(SPREADS[0], SPREADS[1]),
            false => 1.0,
        };
        let spreads = squares.iter().zip(&seen).map(spread).collect();
        let within = Matrix::new(within, width);
        let count = DIRECTIONS.min(images / 4).min(width / 2);
        let mut directions = principal_directions(&within, count);
        let along = within.times(&directions, count);
        let mut left = within.values;
        project_out(&mut left, &directions, width);
        let deviations = |values: &[f32], columns: usize| {
            let mut squares = vec![0.0f64; columns];
            for row in values.chunks_exact(columns.max(1)) {
                squares.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value) * f64::from(value));
            }
            squares.iter().map(|sum| (sum / images as f64).sqrt() as f32).collect::<Vec<f32>>()
        };
        let lengths = deviations(&along, count);
        for row in directions.chunks_exact_mut(count.max(1)) {
            row.iter_mut().zip(&lengths).for_each(|(value, length)| *value *= length);
        }
        let rest = deviations(&left, width);
        let known = |(&count, &seen): (&usize, &f64)| if seen > 0.0 { count as f32 } else { 0.0 };
        let counts = counts.iter().zip(&seen).map(known).collect();
        Some(Self { width, counts, means, spreads, directions, rest })
    }

    /// Spreads as far as features of images that were held out do: those of images that layers have learned from lie nearer
    /// to their means.
    #[must_use]
    pub fn widened_to(mut self, features: &[f32], labels: &[u32]) -> Self {
        let square = |values: &[f32]| algebra::dot(values, values);
        let around = square(&self.directions) + square(&self.rest);
        let (mut found, mut drawn) = (0.0, 0.0);
        for (row, &label) in features.chunks_exact(self.width).zip(labels) {
            let (class, mut away) = (label as usize, row.to_vec());
            if self.counts[class] > 0.0 {
                algebra::subtract(&mut away, &self.means[class * self.width..][..self.width]);
                found += square(&away);
                drawn += f64::from(self.spreads[class]).powi(2) * around;
            }
        }
        if found > drawn && drawn > 0.0 {
            let factor = (found / drawn).sqrt() as f32;
            self.spreads.iter_mut().for_each(|spread| *spread *= factor);
        }
        self
    }

    /// Takes the classes for which `is_old` says so from `old`, whose classes are the first of these: what was drawn from it
    /// adds nothing to what it knows.
    #[must_use]
    pub fn with_classes_of(mut self, old: &Self, is_old: impl Fn(usize) -> bool) -> Self {
        let width = self.width;
        for class in (0..old.counts.len()).filter(|&class| is_old(class)) {
            self.counts[class] = old.counts[class];
            self.spreads[class] = old.spreads[class];
            self.means[class * width..][..width].copy_from_slice(&old.means[class * width..][..width]);
        }
        self
    }

    /// Images that each class was learned from; 0 where nothing is known of it.
    pub fn counts(&self) -> Vec<usize> {
        self.counts.iter().map(|&count| count as usize).collect()
    }

    /// Draws features of every class: a `share` of the images that it was learned from, and `most` in all.
    pub fn draw(&self, share: f64, most: usize, seed: u64, stream: u64) -> Drawn {
        let total: f64 = self.counts.iter().map(|&count| f64::from(count)).sum();
        let share = share.min(most as f64 / total.max(1.0));
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(u64::MAX - 1 - stream);
        let mut drawn = Drawn::default();
        let count = self.directions.len() / self.width;
        for (class, &images) in self.counts.iter().enumerate().filter(|(_, images)| **images > 0.0) {
            let mean = &self.means[class * self.width..][..self.width];
            for _ in 0..((f64::from(images) * share).round() as usize).max(1) {
                let along: Vec<f32> = (0..count).map(|_| normal(&mut random)).collect();
                for (feature, mean) in mean.iter().enumerate() {
                    let row = &self.directions[feature * count..][..count];
                    let away = algebra::dot(row, &along) as f32 + self.rest[feature] * normal(&mut random);
                    drawn.features.push(mean + self.spreads[class] * away);
                }
                drawn.labels.push(class as u32);
            }
        }
        drawn
    }

    /// Its numbers by name, with their shapes, as a model file holds them.
    pub fn tensors(&self) -> Vec<(&'static str, Vec<usize>, Vec<f32>)> {
        let (width, classes) = (self.width, self.counts.len());
        vec![
            ("recall.counts", vec![classes], self.counts.clone()),
            ("recall.means", vec![classes, width], self.means.clone()),
            ("recall.spreads", vec![classes], self.spreads.clone()),
            ("recall.directions", vec![width, self.directions.len() / width], self.directions.clone()),
            ("recall.rest", vec![width], self.rest.clone()),
        ]
    }

    /// Reads what [`Recall::tensors`] gave; `tensor` finds shape and numbers by name. Nothing where there are none.
    ///
    /// # Errors
    /// What is missing or does not fit so many features and classes.
    pub fn from_tensors(
        width: usize,
        classes: usize,
        mut tensor: impl FnMut(&str) -> Option<(Vec<usize>, Vec<f32>)>,
    ) -> Result<Option<Self>, String> {
        let Some((shape, counts)) = tensor("recall.counts") else { return Ok(None) };
        if width == 0 || shape != [classes] {
            return Err(format!(
                "tensor recall.counts is {shape:?}, but there are {classes} classes and {width} features"
            ));
        }
        let mut exact = |name: &str, wanted: &[usize]| match tensor(name) {
            Some((shape, values)) if shape == wanted => Ok(values),
            Some((shape, _)) => Err(format!("tensor {name} is {shape:?}, not {wanted:?}")),
            None => Err(format!("tensor {name} is missing")),
        };
        let (means, spreads) = (exact("recall.means", &[classes, width])?, exact("recall.spreads", &[classes])?);
        let rest = exact("recall.rest", &[width])?;
        let directions = match tensor("recall.directions") {
            Some((shape, values)) if shape.len() == 2 && shape[0] == width => values,
            Some((shape, _)) => return Err(format!("tensor recall.directions is {shape:?}, not [{width}, ...]")),
            None => return Err("tensor recall.directions is missing".into()),
        };
        Ok(Some(Self { width, counts, means, spreads, directions, rest }))
    }
}
