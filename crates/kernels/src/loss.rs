//! Softmax and its cross-entropy.

use crate::elementwise::exp;

/// What the logits should say.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// One class an image.
    Labels(&'a [u32]),
    /// A share of every class, `[batch, classes]`.
    Probabilities(&'a [f32]),
}

/// Turns each row of logits into probabilities, in place.
///
/// # Panics
/// If `logits` does not hold `batch * classes` numbers.
pub fn softmax(batch: usize, classes: usize, logits: &mut [f32]) {
    assert_eq!(logits.len(), batch * classes);
    for row in logits.chunks_exact_mut(classes.max(1)) {
        let sum = exponentials(row);
        row.iter_mut().for_each(|value| *value /= sum);
    }
}

/// Replaces a row by `e^(x - largest)` and gives the sum.
fn exponentials(row: &mut [f32]) -> f32 {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a || b.is_nan() { b } else { a });
    row.iter_mut().for_each(|value| *value = exp(*value - largest));
    row.iter().sum()
}

/// The mean softmax cross-entropy, each image's part in it, and the gradient by the logits, as torch's
/// `cross_entropy` defines them with `label_smoothing` and `weight`: with labels the mean is weighted by the classes'
/// weights.
///
/// # Panics
/// If a slice has another length than the numbers say, or a label is no class.
#[expect(clippy::too_many_arguments, reason = "the formula has them")]
pub fn softmax_cross_entropy(
    batch: usize,
    classes: usize,
    logits: &[f32],
    targets: Targets,
    label_smoothing: f32,
    class_weights: Option<&[f32]>,
    losses: &mut [f32],
    gradient: &mut [f32],
) -> f64 {
    assert_eq!(logits.len(), batch * classes);
    assert_eq!(gradient.len(), logits.len());
    assert_eq!(losses.len(), batch);
    assert!(class_weights.is_none_or(|weights| weights.len() == classes));
    let weight = |class: usize| class_weights.map_or(1.0, |weights| weights[class]);
    let total: f64 = match targets {
        Targets::Labels(labels) => {
            assert_eq!(labels.len(), batch);
            labels.iter().map(|&label| f64::from(weight(label as usize))).sum()
        }
        Targets::Probabilities(all) => {
            assert_eq!(all.len(), logits.len());
            batch as f64
        }
    };
    let share = if total > 0.0 { (1.0 / total) as f32 } else { 0.0 };
    let mut wanted = vec![0.0f32; classes];
    let mut sum = 0.0;
    let rows = logits.chunks_exact(classes.max(1)).zip(gradient.chunks_exact_mut(classes.max(1)));
    for (index, (row, gradient)) in rows.enumerate() {
        // Each class's weight in the loss: smoothed, then weighted.
        wanted.fill(label_smoothing / classes as f32);
        match targets {
            Targets::Labels(labels) => wanted[labels[index] as usize] += 1.0 - label_smoothing,
            Targets::Probabilities(all) => wanted
                .iter_mut()
                .zip(&all[index * classes..])
                .for_each(|(wanted, target)| *wanted += (1.0 - label_smoothing) * target),
        }
        wanted.iter_mut().enumerate().for_each(|(class, wanted)| *wanted *= weight(class));
        let in_all: f32 = wanted.iter().sum();
        gradient.copy_from_slice(row);
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, |a, b| if b > a || b.is_nan() { b } else { a });
        let normalizer = exponentials(gradient);
        let log_normalizer = normalizer.ln() + largest;
        let mut loss = 0.0;
        for ((gradient, wanted), logit) in gradient.iter_mut().zip(&wanted).zip(row) {
            loss += wanted * (log_normalizer - logit);
            *gradient = (*gradient / normalizer * in_all - wanted) * share;
        }
        losses[index] = loss;
        sum += f64::from(loss);
    }
    if total > 0.0 { sum / total } else { 0.0 }
}
