//! Sigmoid and the binary cross-entropy of its result, for classes that do not exclude each other.

use crate::lanes::{exp, per_isa};
use crate::loss::sum;
use crate::parallel::{CHUNK, SharedMut, for_each};
use crate::{Isa, assert_len, assert_sizes};

/// Turns each logit into the probability of its class alone.
pub fn sigmoid(logits: &mut [f32]) {
    sigmoid_of(Isa::current(), logits);
}

per_isa!(fn sigmoid_of = sigmoid_body(logits: &mut [f32]));

#[inline(always)]
fn sigmoid_body<const M: bool>(logits: &mut [f32]) {
    for value in logits {
        let power = exp::<M>(-value.abs());
        *value = (if *value >= 0.0 { 1.0 } else { power }) / (1.0 + power);
    }
}

/// The binary cross-entropy of `sigmoid(logits)` (`[batch, classes]`) against `targets` (`[batch, classes]`, from 0 where a
/// class is not there to 1 where it is), as PyTorch's `binary_cross_entropy_with_logits` defines it with `pos_weight`
/// (`positive_weights`, `[classes]`, which count a class that is there against one that is not). `label_smoothing` moves
/// targets so far towards one half. Writes each row's loss, the sum over its classes, to `losses` (`[batch]`), the gradient
/// of the mean over rows by the logits to `gradient`, and returns that mean; over the number of classes it is PyTorch's. A
/// term without a share adds nothing, not even where its logit is infinite. The mean of an empty batch is 0.
#[expect(clippy::too_many_arguments, reason = "what goes in and what comes out of a loss")]
pub fn sigmoid_cross_entropy(
    batch: usize,
    classes: usize,
    logits: &[f32],
    targets: &[f32],
    label_smoothing: f32,
    positive_weights: Option<&[f32]>,
    losses: &mut [f32],
    gradient: &mut [f32],
) -> f64 {
    assert!(classes > 0, "a loss needs a class");
    assert_sizes("the logits", logits.len(), [batch, classes]);
    assert_sizes("the targets", targets.len(), [batch, classes]);
    assert_len("the losses", losses.len(), batch);
    assert_sizes("the gradient", gradient.len(), [batch, classes]);
    if let Some(weights) = positive_weights {
        assert_len("the positive weights", weights.len(), classes);
    }
    if batch == 0 {
        return 0.0;
    }
    let loss = Loss { smoothing: f64::from(label_smoothing), positive_weights, rows: batch as f64 };
    let (isa, rows) = (Isa::current(), (CHUNK / 4 / classes).max(1));
    let (gradient, shared_losses) = (SharedMut::new(gradient), SharedMut::new(losses));
    for_each(batch.div_ceil(rows), |task| {
        for row in task * rows..batch.min((task + 1) * rows) {
            let places = row * classes..(row + 1) * classes;
            // SAFETY: each task has rows of its own.
            let (gradient, loss_of_row) =
                unsafe { (gradient.range(places.clone()), shared_losses.range(row..row + 1)) };
            loss_of_row[0] = loss_row(isa, &loss, &logits[places.clone()], &targets[places], gradient) as f32;
        }
    });
    sum(losses) / batch as f64
}

/// What all rows of a loss have in common.
struct Loss<'a> {
    smoothing: f64,
    positive_weights: Option<&'a [f32]>,
    rows: f64,
}

per_isa!(fn loss_row = loss_row_body(loss: &Loss<'_>, logits: &[f32], targets: &[f32], gradient: &mut [f32]) -> f64);

/// With `there` and `absent` the shares of both terms, the loss of a logit x is `there ln(1 + e^-x) + absent ln(1 + e^x)`,
/// both from `e^-|x|`, which cannot overflow; its gradient is `absent p - there (1 - p)` for the probability p.
#[inline(always)]
fn loss_row_body<const M: bool>(loss: &Loss<'_>, logits: &[f32], targets: &[f32], gradient: &mut [f32]) -> f64 {
    for (gradient, &logit) in gradient.iter_mut().zip(logits) {
        *gradient = exp::<M>(-logit.abs());
    }
    let mut value = 0.0;
    for (class, ((gradient, &logit), &target)) in gradient.iter_mut().zip(logits).zip(targets).enumerate() {
        let (power, logit) = (f64::from(*gradient), f64::from(logit));
        let target = f64::from(target) * (1.0 - loss.smoothing) + loss.smoothing / 2.0;
        let there = target * loss.positive_weights.map_or(1.0, |weights| f64::from(weights[class]));
        let absent = 1.0 - target;
        let near = power.ln_1p();
        let far = near + logit.abs();
        let [of_there, of_absent] = if logit >= 0.0 { [near, far] } else { [far, near] };
        for (share, term) in [(there, of_there), (absent, of_absent)] {
            if share != 0.0 {
                value += share * term;
            }
        }
        let [small, large] = [power / (1.0 + power), 1.0 / (1.0 + power)];
        let [probability, rest] = if logit >= 0.0 { [large, small] } else { [small, large] };
        *gradient = ((absent * probability - there * rest) / loss.rows) as f32;
    }
    value
}
