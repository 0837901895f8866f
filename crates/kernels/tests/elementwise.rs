//! Activations, optimisers, normalisation of bytes: everything that goes value by value.

mod common;

use common::{ACTIVATIONS, Random, assert_close, assert_near, assert_same_bits, differences, on_every_isa, widen};
use percept_kernels::{
    Activation, AdamW, Sgd, Update, activate, activate_gradient, add, add_relu, average, newton_schulz, normalize,
    reference, relu, relu_gradient, scale, square_sum,
};

const LENGTHS: [usize; 8] = [0, 1, 7, 16, 67, 1000, 16_385, 50_001];

#[test]
fn relu_and_additions() {
    let mut random = Random::new(20);
    for length in LENGTHS {
        let (a, b) = (random.values(length), random.values(length));
        on_every_isa(|isa| {
            let mut output = a.clone();
            relu(&mut output);
            assert!(output.iter().zip(&a).all(|(&y, &x)| y == if x > 0.0 { x } else { 0.0 }), "{isa}");
            let mut gradient = b.clone();
            relu_gradient(&output, &mut gradient);
            assert!(gradient.iter().zip(&a).zip(&b).all(|((&g, &x), &b)| g == if x > 0.0 { b } else { 0.0 }), "{isa}");
            let mut sum = a.clone();
            add(&mut sum, &b);
            assert!(sum.iter().zip(&a).zip(&b).all(|((&s, a), b)| s == a + b), "{isa}");
            let mut sum = a.clone();
            add_relu(&mut sum, &b);
            assert!(sum.iter().zip(&a).zip(&b).all(|((&s, a), b)| s == (a + b).max(0.0)), "{isa}");
            let mut scaled = a.clone();
            scale(&mut scaled, -3.0);
            assert!(scaled.iter().zip(&a).all(|(&s, a)| s == -3.0 * a), "{isa}");
        });
    }
}

/// Tolerance: 3e-7 |x| as the documentation of GELU says (SiLU is as exact), 3e-7 for the hard sigmoid, which is no
/// multiple of x, 4e-7 for derivatives.
#[test]
fn activations_are_as_exact_as_documented() {
    let mut input: Vec<f32> = (0..40_001).map(|index| (index - 20_000) as f32 * 6e-4).collect();
    input.extend([0.0, -0.0, 1e-30, -1e-30, 3.0, -3.0, 6.0, 50.0, -50.0, 1e20, -1e20]);
    for activation in ACTIVATIONS {
        on_every_isa(|isa| {
            let (mut output, mut gradient) = (vec![f32::NAN; input.len()], vec![1.0; input.len()]);
            activate(activation, &input, &mut output);
            activate_gradient(activation, &input, &mut gradient);
            for ((&x, &y), &slope) in input.iter().zip(&output).zip(&gradient) {
                let (wide, what) = (f64::from(x), format!("{activation:?} of {x} on {isa}"));
                let exact = reference::activate(activation, wide);
                let size = if activation == Activation::HardSigmoid { 1.0 } else { wide.abs() };
                assert!((f64::from(y) - exact).abs() <= 3e-7 * size, "{what} is {exact}, not {y}");
                let exact = reference::slope(activation, wide);
                assert!((f64::from(slope) - exact).abs() <= 4e-7, "slope of {what} is {exact}, not {slope}");
            }
        });
        let corners = [0.0, 3.0, -3.0, 6.0];
        for x in widen(&input[..40_001]).into_iter().step_by(501).filter(|x| !corners.contains(x)) {
            let slope = differences(&[x], &[1.0], |x| vec![reference::activate(activation, x[0])]);
            assert_near("slope", &[reference::slope(activation, x)], &slope, 1e-7);
        }
    }
}

#[test]
fn activations_keep_nan_and_large_values() {
    for activation in ACTIVATIONS {
        on_every_isa(|isa| {
            let mut output = [0.0; 20];
            activate(activation, &[f32::NAN; 20], &mut output);
            assert!(output.iter().all(|value| value.is_nan()), "{activation:?} on {isa}");
            activate(activation, &[f32::INFINITY; 20], &mut output);
            let largest = match activation {
                Activation::Relu6 => 6.0,
                Activation::HardSigmoid => 1.0,
                _ => f32::INFINITY,
            };
            assert_eq!(output, [largest; 20], "{activation:?} on {isa}");
        });
    }
}

#[test]
fn nan_stays_nan_and_infinity_is_kept() {
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0];
    on_every_isa(|isa| {
        for length in [4, 64] {
            let input: Vec<f32> = values.into_iter().cycle().take(length).collect();
            let mut output = input.clone();
            relu(&mut output);
            for value in output.chunks(4) {
                assert!(value[0].is_nan() && value[1..] == [f32::INFINITY, 0.0, 1.0], "{isa}: {value:?}");
            }
            activate(Activation::Gelu, &input, &mut output);
            for value in output.chunks(4) {
                assert!(value[0].is_nan() && value[1] == f32::INFINITY, "{isa}: {value:?}");
            }
            let mut sum = input.clone();
            add_relu(&mut sum, &vec![1.0; length]);
            for value in sum.chunks(4) {
                assert!(value[0].is_nan() && value[1..] == [f32::INFINITY, 0.0, 2.0], "{isa}: {value:?}");
            }
        }
    });
}

/// Tolerance: 1e-6 after five steps.
#[test]
fn optimisers_follow_the_reference() {
    let mut random = Random::new(21);
    for length in LENGTHS {
        let start = random.values(length);
        let gradients: Vec<Vec<f32>> = (0..5).map(|_| random.values(length)).collect();
        for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
            let settings = Sgd { learning_rate: 0.1, momentum, nesterov, weight_decay: 0.01 };
            let (mut expected, mut velocity) = (widen(&start), vec![0.0; length]);
            for gradient in &gradients {
                reference::sgd_step(&settings, &mut expected, &widen(gradient), &mut velocity);
            }
            on_every_isa(|isa| {
                let (mut parameters, mut velocity) = (start.clone(), vec![0.0; length]);
                for gradient in &gradients {
                    Update::Sgd { settings, velocity: &mut velocity }.apply(&mut parameters, gradient);
                }
                assert_close(&format!("{settings:?} {isa}"), &parameters, &expected, 1.0, 1e-6);
            });
        }
        let settings = AdamW { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
        let (mut expected, mut first, mut second) = (widen(&start), vec![0.0; length], vec![0.0; length]);
        for (step, gradient) in (1..).zip(&gradients) {
            reference::adamw_step(&settings, step, &mut expected, &widen(gradient), &mut first, &mut second);
        }
        on_every_isa(|isa| {
            let (mut parameters, mut first, mut second) = (start.clone(), vec![0.0; length], vec![0.0; length]);
            for (step, gradient) in (1..).zip(&gradients) {
                Update::AdamW { settings, step, first_moment: &mut first, second_moment: &mut second }
                    .apply(&mut parameters, gradient);
            }
            assert_close(&format!("adamw {isa}"), &parameters, &expected, 1.0, 1e-6);
        });
    }
}

/// By hand from PyTorch's documented formulas.
#[test]
fn optimisers_give_the_values_of_the_formulas() {
    on_every_isa(|isa| {
        let settings = Sgd { learning_rate: 0.5, momentum: 0.5, nesterov: true, weight_decay: 0.25 };
        let (mut parameter, mut velocity) = ([4.0], [2.0]);
        Update::Sgd { settings, velocity: &mut velocity }.apply(&mut parameter, &[1.0]);
        // g = 1 + 0.25 * 4 = 2; v = 0.5 * 2 + 2 = 3; p = 4 - 0.5 * (2 + 0.5 * 3)
        assert_eq!((parameter, velocity), ([2.25], [3.0]), "{isa}");
        let settings = AdamW { learning_rate: 0.25, beta1: 0.5, beta2: 0.75, epsilon: 0.0, weight_decay: 0.5 };
        let (mut parameter, mut first, mut second) = ([8.0], [0.0], [0.0]);
        Update::AdamW { settings, step: 1, first_moment: &mut first, second_moment: &mut second }
            .apply(&mut parameter, &[-3.0]);
        // decay: 8 * (1 - 0.125) = 7; the first step is one learning rate against the gradient's sign
        assert_eq!((parameter, first, second), ([7.25], [-1.5], [2.25]), "{isa}");
        let mut shadow = [8.0, f32::NAN];
        average(&mut shadow, &[4.0, 1.0], 0.75);
        assert!(shadow[0] == 7.0 && shadow[1].is_nan(), "{isa}");
    });
}

#[test]
fn sums_of_squares_are_exact_to_f64() {
    let mut random = Random::new(22);
    for length in LENGTHS {
        let values = random.values(length);
        let expected: f64 = values.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        on_every_isa(|isa| assert_near(&format!("{isa}"), &[square_sum(&values)], &[expected], 1e-13));
    }
}

/// Tolerance: 2e-5: the iteration multiplies errors by up to 3.4 each time.
#[test]
fn newton_schulz_follows_the_reference_and_makes_rows_orthonormal() {
    let mut random = Random::new(23);
    for [rows, columns] in [[1, 1], [1, 9], [9, 1], [16, 16], [24, 67], [67, 24], [64, 576]] {
        let matrix = random.values(rows * columns);
        let mut expected = matrix.clone();
        reference::newton_schulz(rows, columns, &mut expected, 5);
        on_every_isa(|isa| {
            let mut actual = matrix.clone();
            newton_schulz(rows, columns, &mut actual, 5);
            assert_close(&format!("{rows}x{columns} {isa}"), &actual, &widen(&expected), 1.0, 2e-5);
            if rows < columns {
                // Muon's coefficients leave singular values between about 0.7 and 1.2
                for row in actual.chunks_exact(columns) {
                    let norm = square_sum(row).sqrt();
                    assert!((0.5..1.3).contains(&norm), "{rows}x{columns} {isa}: a row of norm {norm}");
                }
            }
        });
    }
}

#[test]
fn bytes_are_normalised_per_channel_and_per_place() {
    let mut random = Random::new(24);
    for [images, pixels, channels] in [[0, 4, 3], [1, 1, 1], [3, 49, 3], [100, 1024, 3], [2, 784, 1], [1, 5, 67]] {
        let input: Vec<u8> = (0..images * pixels * channels).map(|_| random.below(256) as u8).collect();
        for factors in [channels, pixels * channels] {
            let (multiplier, offset) = (random.values(factors), random.values(factors));
            let mut expected = vec![0.0; input.len()];
            reference::normalize(&input, &widen(&multiplier), &widen(&offset), &mut expected);
            on_every_isa(|isa| {
                let mut output = vec![f32::NAN; input.len()];
                normalize(images, pixels, channels, &input, &multiplier, &offset, &mut output);
                assert_close(&format!("{images}x{pixels}x{channels} {isa}"), &output, &expected, 256.0, 1e-7);
            });
        }
    }
}

#[test]
#[should_panic(expected = "a multiplier of 2 values fits neither 3 channels nor 4 pixels of them")]
fn a_multiplier_of_a_wrong_length_is_refused() {
    normalize(1, 4, 3, &[0; 12], &[1.0; 2], &[0.0; 2], &mut [0.0; 12]);
}

#[test]
fn the_bits_are_the_same_whatever_the_threads() {
    let mut random = Random::new(25);
    let (a, b) = (random.values(100_003), random.values(100_003));
    let bytes: Vec<u8> = (0..100_002).map(|_| random.below(256) as u8).collect();
    assert_same_bits("element-wise", || {
        let mut results = Vec::new();
        let mut values = a.clone();
        add_relu(&mut values, &b);
        relu_gradient(&b, &mut values);
        results.extend_from_slice(&values);
        let mut output = vec![0.0; a.len()];
        activate(Activation::Gelu, &a, &mut output);
        activate_gradient(Activation::Gelu, &b, &mut output);
        average(&mut output, &b, 0.9);
        scale(&mut output, 1.1);
        results.extend_from_slice(&output);
        let (mut parameters, mut first, mut second) = (a.clone(), b.clone(), vec![0.5; a.len()]);
        let settings = Sgd { learning_rate: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.01 };
        Update::Sgd { settings, velocity: &mut first }.apply(&mut parameters, &b);
        let settings = AdamW { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
        Update::AdamW { settings, step: 3, first_moment: &mut first, second_moment: &mut second }
            .apply(&mut parameters, &b);
        results.extend([parameters, first, second].concat());
        let sum = square_sum(&a);
        results.extend([sum as f32, (sum - f64::from(sum as f32)) as f32]);
        let mut matrix = a[..64 * 600].to_vec();
        newton_schulz(600, 64, &mut matrix, 5);
        results.extend(matrix);
        let mut pixels = vec![0.0; bytes.len()];
        normalize(1, 33_334, 3, &bytes, &[0.1, 0.2, 0.3], &[1.0, 2.0, 3.0], &mut pixels);
        results.extend(pixels);
        results
    });
}
