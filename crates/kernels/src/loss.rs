//! Softmax and the cross-entropy of its result.

use crate::lanes::{exp, per_isa};
use crate::parallel::{CHUNK, SharedMut, for_each};
use crate::{Isa, assert_len, assert_sizes};

/// What each row should have been.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// One class per row: `[batch]`, each below the number of classes.
    Labels(&'a [u32]),
    /// A share for every class: `[batch, classes]`.
    Probabilities(&'a [f32]),
}

/// Turns each row of `[batch, classes]` logits into probabilities.
pub fn softmax(batch: usize, classes: usize, logits: &mut [f32]) {
    assert_sizes("the logits", logits.len(), [batch, classes]);
    if logits.is_empty() {
        return;
    }
    let (isa, rows) = (Isa::current(), (CHUNK / classes).max(1));
    let logits = SharedMut::new(logits);
    for_each(batch.div_ceil(rows), |task| {
        // SAFETY: each task has rows of its own.
        let logits = unsafe { logits.range(task * rows * classes..batch.min((task + 1) * rows) * classes) };
        softmax_rows(isa, classes, logits);
    });
}

per_isa!(fn softmax_rows = softmax_rows_body(classes: usize, logits: &mut [f32]));

#[inline(always)]
fn softmax_rows_body<const M: bool>(classes: usize, logits: &mut [f32]) {
    for row in logits.chunks_exact_mut(classes) {
        let largest = largest(row);
        row.iter_mut().for_each(|value| *value = exp::<M>(*value - largest));
        let factor = (1.0 / sum(row)) as f32;
        row.iter_mut().for_each(|value| *value *= factor);
    }
}

/// The largest value that is not NaN (a NaN shows in the exponentials).
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 8];
    let (chunks, rest) = row.as_chunks::<8>();
    let larger = |lane: &mut f32, value: f32| *lane = if value > *lane { value } else { *lane };
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &value)| larger(lane, value));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, &value)| larger(lane, value));
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// The sum in f64, always in the same order.
#[inline(always)]
pub(crate) fn sum(row: &[f32]) -> f64 {
    let mut lanes = [0f64; 8];
    let (chunks, rest) = row.as_chunks::<8>();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &value)| *lane += f64::from(value));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, &value)| *lane += f64::from(value));
    lanes.iter().sum()
}

/// The cross-entropy of `softmax(logits)` (`[batch, classes]`), as PyTorch's `cross_entropy` defines it with
/// `label_smoothing` and `class_weights` (`[classes]`): writes each row's loss to `losses` (`[batch]`), the gradient of
/// the mean by the logits to `gradient`, and returns the mean. For labels the mean divides by the sum of the labels'
/// weights, for probabilities by the batch. A class without a share adds nothing, not even where its logit is
/// -infinity. The mean of an empty batch is 0.
///
/// # Panics
/// When a label is not below `classes`.
#[expect(clippy::too_many_arguments, reason = "what goes in and what comes out of a loss")]
pub fn softmax_cross_entropy(
    batch: usize,
    classes: usize,
    logits: &[f32],
    targets: Targets<'_>,
    label_smoothing: f32,
    class_weights: Option<&[f32]>,
    losses: &mut [f32],
    gradient: &mut [f32],
) -> f64 {
    assert!(classes > 0, "a loss needs a class");
    assert_sizes("the logits", logits.len(), [batch, classes]);
    assert_len("the losses", losses.len(), batch);
    assert_sizes("the gradient", gradient.len(), [batch, classes]);
    if let Some(weights) = class_weights {
        assert_len("the class weights", weights.len(), classes);
    }
    let weight = |class: usize| class_weights.map_or(1.0, |weights| f64::from(weights[class]));
    let denominator = match targets {
        Targets::Labels(labels) => {
            assert_len("the labels", labels.len(), batch);
            let wrong = labels.iter().find(|&&label| label as usize >= classes);
            assert!(wrong.is_none(), "label {} is none of {classes} classes", wrong.unwrap_or(&0));
            labels.iter().map(|&label| weight(label as usize)).sum()
        }
        Targets::Probabilities(probabilities) => {
            assert_sizes("the probabilities", probabilities.len(), [batch, classes]);
            batch as f64
        }
    };
    if batch == 0 {
        return 0.0;
    }
    let loss = Loss { classes, targets, label_smoothing, class_weights, denominator };
    let (isa, rows) = (Isa::current(), (CHUNK / 4 / classes).max(1));
    let (gradient, shared_losses) = (SharedMut::new(gradient), SharedMut::new(losses));
    for_each(batch.div_ceil(rows), |task| {
        for row in task * rows..batch.min((task + 1) * rows) {
            let places = row * classes..(row + 1) * classes;
            // SAFETY: each task has rows of its own.
            let (gradient, loss_of_row) =
                unsafe { (gradient.range(places.clone()), shared_losses.range(row..row + 1)) };
            loss_of_row[0] = loss_row(isa, &loss, row, &logits[places], gradient) as f32;
        }
    });
    sum(losses) / denominator
}

/// What all rows of a loss have in common.
struct Loss<'a> {
    classes: usize,
    targets: Targets<'a>,
    label_smoothing: f32,
    class_weights: Option<&'a [f32]>,
    /// What the mean divides by.
    denominator: f64,
}

per_isa!(fn loss_row = loss_row_body(loss: &Loss<'_>, row: usize, logits: &[f32], gradient: &mut [f32]) -> f64);

/// The loss of one row, `Σ share (log Σ exp(logits) - logit)` over the classes, and its gradient,
/// `softmax(logits) Σ share - share`, over the denominator.
#[inline(always)]
fn loss_row_body<const M: bool>(loss: &Loss<'_>, row: usize, logits: &[f32], gradient: &mut [f32]) -> f64 {
    let largest = largest(logits);
    for (gradient, &logit) in gradient.iter_mut().zip(logits) {
        *gradient = exp::<M>(logit - largest);
    }
    let total = sum(gradient);
    let log_total = f64::from(largest) + total.ln();
    let weight = |class: usize| loss.class_weights.map_or(1.0, |weights| f64::from(weights[class]));
    let smoothing = f64::from(loss.label_smoothing);
    let (mut value, mut shares) = (0.0, 0.0);
    let mut count = |share: f64, logit: f32| {
        if share != 0.0 {
            value += share * (log_total - f64::from(logit));
            shares += share;
        }
    };
    match loss.targets {
        Targets::Labels(labels) if smoothing == 0.0 => {
            let label = labels[row] as usize;
            let share = weight(label);
            count(share, logits[label]);
            scale_by(gradient, share / total / loss.denominator);
            gradient[label] -= (share / loss.denominator) as f32;
        }
        _ => {
            let share_of = |class: usize| {
                let target = match loss.targets {
                    Targets::Labels(labels) => f64::from(u8::from(labels[row] as usize == class)),
                    Targets::Probabilities(probabilities) => f64::from(probabilities[row * loss.classes + class]),
                };
                weight(class) * (target * (1.0 - smoothing) + smoothing / loss.classes as f64)
            };
            logits.iter().enumerate().for_each(|(class, &logit)| count(share_of(class), logit));
            scale_by(gradient, shares / total / loss.denominator);
            for (class, gradient) in gradient.iter_mut().enumerate() {
                *gradient -= (share_of(class) / loss.denominator) as f32;
            }
        }
    }
    value
}

#[inline(always)]
fn scale_by(values: &mut [f32], factor: f64) {
    let factor = factor as f32;
    values.iter_mut().for_each(|value| *value *= factor);
}
