//! Sigmoid and binary cross-entropy. Tolerance: 1e-6.

mod common;

use common::{Random, assert_close, assert_near, assert_same_bits, differences, on_every_isa, widen};
use percept_kernels::{reference, sigmoid, sigmoid_cross_entropy};

struct Case {
    batch: usize,
    classes: usize,
    logits: Vec<f32>,
    /// Of whole labels, and of mixed ones.
    targets: [Vec<f32>; 2],
    weights: Vec<f32>,
}

fn case(random: &mut Random, [batch, classes]: [usize; 2]) -> Case {
    let logits = random.values(batch * classes).iter().map(|value| 6.0 * value).collect();
    let whole = (0..batch * classes).map(|_| random.below(2) as f32).collect();
    let mixed = random.values(batch * classes).iter().map(|value| value.abs().min(1.0)).collect();
    let weights = (0..classes).map(|_| 4.0 * random.value().abs() + 0.5).collect();
    Case { batch, classes, logits, targets: [whole, mixed], weights }
}

impl Case {
    /// Both kinds of target, with and without smoothing and weights.
    fn settings(&self) -> impl Iterator<Item = (&[f32], f32, Option<&[f32]>)> {
        self.targets.iter().flat_map(move |target| {
            let weights = Some(self.weights.as_slice());
            [(&target[..], 0.0, None), (target, 0.1, None), (target, 0.0, weights), (target, 0.2, weights)]
        })
    }
}

#[test]
fn losses_and_gradients_agree_with_the_reference() {
    let mut random = Random::new(21);
    for sizes in [[0, 4], [1, 1], [1, 10], [3, 2], [100, 10], [67, 67], [9, 1000], [3000, 5]] {
        let case = case(&mut random, sizes);
        let wide = widen(&case.logits);
        for (targets, smoothing, weights) in case.settings() {
            let (mut losses, mut gradient) = (vec![0.0; case.batch], vec![0.0; wide.len()]);
            let expected = reference::sigmoid_cross_entropy(
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
                let mean = sigmoid_cross_entropy(
                    case.batch,
                    case.classes,
                    &case.logits,
                    targets,
                    smoothing,
                    weights,
                    &mut row_losses,
                    &mut logit_gradient,
                );
                assert_near(&what, &[mean], &[expected], 1e-6 * expected.abs().max(1.0));
                assert_close(&what, &row_losses, &losses, 1.0, 1e-6);
                assert_close(&what, &logit_gradient, &gradient, 1.0, 1e-6);
            });
        }
        let mut probabilities = wide.clone();
        reference::sigmoid(&mut probabilities);
        on_every_isa(|isa| {
            let mut actual = case.logits.clone();
            sigmoid(&mut actual);
            assert_close(&format!("sigmoid {sizes:?} {isa}"), &actual, &probabilities, 1.0, 5e-7);
        });
    }
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    let mut random = Random::new(22);
    let case = case(&mut random, [5, 4]);
    let wide = widen(&case.logits);
    for (targets, smoothing, weights) in case.settings() {
        let loss = |logits: &[f64]| {
            let (mut losses, mut gradient) = (vec![0.0; 5], vec![0.0; 20]);
            let mean =
                reference::sigmoid_cross_entropy(5, 4, logits, targets, smoothing, weights, &mut losses, &mut gradient);
            (mean, gradient)
        };
        let expected = differences(&wide, &[1.0], |logits| vec![loss(logits).0]);
        assert_near("loss", &loss(&wide).1, &expected, 1e-7);
    }
}

/// Worked by hand from PyTorch's documented formula: logits 0, ln 3, -ln 4 have the probabilities 1/2, 3/4, 1/5.
#[test]
fn the_values_are_those_of_the_formula() {
    let logits = [0.0, 3f32.ln(), -(4f32.ln())];
    on_every_isa(|isa| {
        let (mut losses, mut gradient) = ([0.0], [0.0; 3]);
        let targets = [1.0, 0.0, 1.0];
        let mean = sigmoid_cross_entropy(1, 3, &logits, &targets, 0.0, None, &mut losses, &mut gradient);
        assert_near(&format!("{isa}"), &[mean], &[2f64.ln() + 4f64.ln() + 5f64.ln()], 1e-6);
        assert_close("gradient", &gradient, &[-0.5, 0.75, -0.8], 1.0, 1e-7);
        // a class that is there counts thrice as much
        let weights = Some([1.0, 1.0, 3.0].as_slice());
        let mean = sigmoid_cross_entropy(1, 3, &logits, &targets, 0.0, weights, &mut losses, &mut gradient);
        assert_near(&format!("{isa}"), &[mean], &[2f64.ln() + 4f64.ln() + 3.0 * 5f64.ln()], 1e-6);
        // smoothing 0.2 leaves 0.9 of what is there, and 0.1 of what is not
        let mean = sigmoid_cross_entropy(1, 1, &logits[1..2], &[0.0], 0.2, None, &mut losses, &mut gradient[..1]);
        assert_near(&format!("{isa}"), &[mean], &[0.9 * 4f64.ln() + 0.1 * (4f64 / 3.0).ln()], 1e-6);
    });
}

#[test]
fn extreme_logits() {
    on_every_isa(|isa| {
        let run = |logit: f32, target: f32| {
            let (mut losses, mut gradient) = ([0.0], [0.0]);
            sigmoid_cross_entropy(1, 1, &[logit], &[target], 0.0, None, &mut losses, &mut gradient);
            (losses[0], gradient[0])
        };
        // far off, but finite: no overflow
        assert_eq!(run(1e30, 0.0), (1e30, 1.0), "{isa}");
        assert_eq!(run(-1000.0, 1.0), (1000.0, -1.0), "{isa}");
        assert_eq!(run(1000.0, 1.0), (0.0, 0.0), "{isa}");
        // as right as can be
        assert_eq!(run(f32::INFINITY, 1.0), (0.0, 0.0), "{isa}");
        assert_eq!(run(f32::NEG_INFINITY, 0.0), (0.0, 0.0), "{isa}");
        assert_eq!(run(f32::INFINITY, 0.0).0, f32::INFINITY, "{isa}");
        for target in [0.0, 1.0, 0.3] {
            let (loss, gradient) = run(f32::NAN, target);
            assert!(loss.is_nan() && gradient.is_nan(), "{isa}: {loss} {gradient}");
        }
        let mut probabilities = [f32::NEG_INFINITY, -1000.0, 0.0, 1000.0, f32::INFINITY, f32::NAN];
        sigmoid(&mut probabilities);
        assert_eq!(probabilities[..5], [0.0, 0.0, 0.5, 1.0, 1.0], "{isa}");
        assert!(probabilities[5].is_nan(), "{isa}");
    });
}

#[test]
fn losses_have_the_same_bits_whatever_the_threads() {
    let mut random = Random::new(23);
    let case = case(&mut random, [3000, 37]);
    for (targets, smoothing, weights) in case.settings() {
        assert_same_bits("loss", || {
            let (mut losses, mut gradient) = (vec![0.0; 3000], vec![0.0; 3000 * 37]);
            let mean =
                sigmoid_cross_entropy(3000, 37, &case.logits, targets, smoothing, weights, &mut losses, &mut gradient);
            [losses, gradient, vec![mean as f32, (mean - f64::from(mean as f32)) as f32]].concat()
        });
    }
}
