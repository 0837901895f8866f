//! Softmax and cross-entropy. Tolerance: 1e-6.

mod common;

use common::{Random, assert_close, assert_near, assert_same_bits, differences, on_every_isa, widen};
use percept_kernels::{Targets, reference, softmax, softmax_cross_entropy};

struct Case {
    batch: usize,
    classes: usize,
    logits: Vec<f32>,
    labels: Vec<u32>,
    probabilities: Vec<f32>,
    weights: Vec<f32>,
}

fn case(random: &mut Random, [batch, classes]: [usize; 2]) -> Case {
    let logits = random.values(batch * classes).iter().map(|value| 6.0 * value).collect();
    let labels = (0..batch).map(|_| random.below(classes) as u32).collect();
    let mut probabilities: Vec<f32> = random.values(batch * classes).iter().map(|value| value.abs() + 0.01).collect();
    for row in probabilities.chunks_exact_mut(classes) {
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|value| *value /= sum);
    }
    let weights = (0..classes).map(|_| random.value() + 1.5).collect();
    Case { batch, classes, logits, labels, probabilities, weights }
}

impl Case {
    /// Every kind of target, with and without smoothing and weights.
    fn settings(&self) -> impl Iterator<Item = (Targets<'_>, f32, Option<&[f32]>)> {
        let targets = [Targets::Labels(&self.labels), Targets::Probabilities(&self.probabilities)];
        targets.into_iter().flat_map(move |target| {
            let weights = Some(self.weights.as_slice());
            [(target, 0.0, None), (target, 0.1, None), (target, 0.0, weights), (target, 0.2, weights)]
        })
    }
}

#[test]
fn losses_and_gradients_agree_with_the_reference() {
    let mut random = Random::new(17);
    for sizes in [[0, 4], [1, 1], [1, 10], [3, 2], [100, 10], [67, 67], [9, 1000], [3000, 5]] {
        let case = case(&mut random, sizes);
        let wide = widen(&case.logits);
        for (targets, smoothing, weights) in case.settings() {
            let (mut losses, mut gradient) = (vec![0.0; case.batch], vec![0.0; wide.len()]);
            let expected = reference::softmax_cross_entropy(
                case.batch,
                case.classes,
                &wide,
                targets,
                smoothing,
                weights,
                &mut losses,
                &mut gradient,
            );
            on_every_isa(|isa| {
                let what = format!("{sizes:?} {smoothing} {} {isa}", weights.is_some());
                let (mut row_losses, mut logit_gradient) = (vec![f32::NAN; case.batch], vec![f32::NAN; wide.len()]);
                let mean = softmax_cross_entropy(
                    case.batch,
                    case.classes,
                    &case.logits,
                    targets,
                    smoothing,
                    weights,
                    &mut row_losses,
                    &mut logit_gradient,
                );
                assert_near(&what, &[mean], &[expected], 1e-6);
                assert_close(&what, &row_losses, &losses, 1.0, 1e-6);
                assert_close(&what, &logit_gradient, &gradient, 1.0, 1e-6);
            });
        }
        let mut probabilities = wide.clone();
        reference::softmax(case.classes, &mut probabilities);
        on_every_isa(|isa| {
            let mut actual = case.logits.clone();
            softmax(case.batch, case.classes, &mut actual);
            assert_close(&format!("softmax {sizes:?} {isa}"), &actual, &probabilities, 1.0, 5e-7);
        });
    }
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    let mut random = Random::new(18);
    let case = case(&mut random, [5, 4]);
    let wide = widen(&case.logits);
    for (targets, smoothing, weights) in case.settings() {
        let loss = |logits: &[f64]| {
            let (mut losses, mut gradient) = (vec![0.0; 5], vec![0.0; 20]);
            let mean =
                reference::softmax_cross_entropy(5, 4, logits, targets, smoothing, weights, &mut losses, &mut gradient);
            (mean, gradient)
        };
        let expected = differences(&wide, &[1.0], |logits| vec![loss(logits).0]);
        assert_near("loss", &loss(&wide).1, &expected, 1e-7);
    }
}

/// Worked by hand from PyTorch's documented formula: logits 0, ln 2, ln 5 have the probabilities 1/8, 2/8, 5/8.
#[test]
fn the_values_are_those_of_the_formula() {
    let logits = [0.0, 2f32.ln(), 5f32.ln()];
    on_every_isa(|isa| {
        let (mut losses, mut gradient) = ([0.0], [0.0; 3]);
        let labels = [1];
        let mean =
            softmax_cross_entropy(1, 3, &logits, Targets::Labels(&labels), 0.0, None, &mut losses, &mut gradient);
        assert_near(&format!("{isa}"), &[mean], &[4f64.ln()], 1e-7);
        assert_close("gradient", &gradient, &[0.125, -0.75, 0.625], 1.0, 1e-7);
        // weight 3 scales the row's loss, and the mean divides by it again; with smoothing 0.3 every class has 0.1 more
        let weights = Some([1.0, 3.0, 2.0].as_slice());
        let mean =
            softmax_cross_entropy(1, 3, &logits, Targets::Labels(&labels), 0.3, weights, &mut losses, &mut gradient);
        let expected = 0.7 * 3.0 * 4f64.ln() + 0.1 * (8f64.ln() + 3.0 * 4f64.ln() + 2.0 * 1.6f64.ln());
        assert_close(&format!("{isa}"), &losses, &[expected], 1.0, 1e-6);
        assert_near(&format!("{isa}"), &[mean], &[expected / 3.0], 1e-6);
    });
}

#[test]
fn extreme_logits() {
    on_every_isa(|isa| {
        let run = |logits: &[f32]| {
            let (mut losses, mut gradient) = ([0.0], vec![0.0; logits.len()]);
            let targets = Targets::Labels(&[0]);
            softmax_cross_entropy(1, logits.len(), logits, targets, 0.0, None, &mut losses, &mut gradient);
            (losses[0], gradient)
        };
        // far apart, but finite: no overflow
        let (loss, gradient) = run(&[-1000.0, 1000.0]);
        assert_eq!(loss, 2000.0, "{isa}");
        assert_eq!(gradient, [-1.0, 1.0], "{isa}");
        // a class that cannot be does no harm
        let (loss, gradient) = run(&[1.0, f32::NEG_INFINITY]);
        assert_eq!((loss, gradient), (0.0, vec![0.0, 0.0]), "{isa}");
        for logits in [[1.0, f32::NAN], [f32::NAN, 1.0], [0.0, f32::INFINITY], [f32::NEG_INFINITY; 2]] {
            let (loss, gradient) = run(&logits);
            assert!(loss.is_nan(), "{isa}: {logits:?} has loss {loss}");
            assert!(gradient.iter().any(|value| value.is_nan()), "{isa}: {logits:?} has gradient {gradient:?}");
        }
    });
}

#[test]
fn losses_have_the_same_bits_whatever_the_threads() {
    let mut random = Random::new(19);
    let case = case(&mut random, [3000, 37]);
    for (targets, smoothing, weights) in case.settings() {
        assert_same_bits("loss", || {
            let (mut losses, mut gradient) = (vec![0.0; 3000], vec![0.0; 3000 * 37]);
            let mean =
                softmax_cross_entropy(3000, 37, &case.logits, targets, smoothing, weights, &mut losses, &mut gradient);
            let mut probabilities = case.logits.clone();
            softmax(3000, 37, &mut probabilities);
            [losses, gradient, probabilities, vec![mean as f32, (mean - f64::from(mean as f32)) as f32]].concat()
        });
    }
}

#[test]
#[should_panic(expected = "label 3 is none of 3 classes")]
fn a_label_beyond_the_classes_is_refused() {
    softmax_cross_entropy(1, 3, &[0.0; 3], Targets::Labels(&[3]), 0.0, None, &mut [0.0], &mut [0.0; 3]);
}
