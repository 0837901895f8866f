//! Everything but convolutions and linear layers: values, finite differences, bits, NaN.

mod common;

use common::{assert_close, assert_same_bits, each_isa, random};
use percept_kernels::*;

/// Compares a gradient with the slope of `loss` measured by moving each number a little both ways.
fn check_gradient(values: &[f32], gradient: &[f32], tolerance: f64, mut loss: impl FnMut(&[f32]) -> f64) {
    let step = 1e-2f32;
    for index in 0..values.len() {
        let mut moved = values.to_vec();
        moved[index] = values[index] + step;
        let up = loss(&moved);
        moved[index] = values[index] - step;
        let slope = (up - loss(&moved)) / f64::from(2.0 * step);
        let off = (slope - f64::from(gradient[index])).abs();
        assert!(off <= tolerance * (1.0 + slope.abs()), "{} is not {slope} at {index}", gradient[index]);
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[test]
fn batch_norm_centers_and_scales() {
    each_isa(|| {
        for (rows, channels) in [(7, 1), (1, 5), (1000, 3), (65, 67), (4000, 33)] {
            let shape = NormShape { rows, channels };
            // A large mean must cost no accuracy.
            let input: Vec<f32> = random(rows * channels, 1).iter().map(|v| 1000.0 + v).collect();
            let (scale, shift) = (random(channels, 2), random(channels, 3));
            let mut output = vec![f32::NAN; input.len()];
            let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
            batch_norm_train(
                &shape, &input, &scale, &shift, 1e-5, Activation::Identity, &mut output, &mut mean, &mut variance,
            );
            for c in 0..channels {
                let column: Vec<f64> = (0..rows).map(|r| f64::from(input[r * channels + c])).collect();
                let average = column.iter().sum::<f64>() / rows as f64;
                let spread = column.iter().map(|x| (x - average).powi(2)).sum::<f64>() / rows as f64;
                assert!((f64::from(mean[c]) - average).abs() < 1e-4, "mean");
                assert!((f64::from(variance[c]) - spread).abs() < 1e-4 * (1.0 + spread), "variance");
            }
        }
    });
}

#[test]
fn batch_norm_gradients_are_slopes() {
    each_isa(|| {
        for activation in [Activation::Identity, Activation::Gelu] {
            let shape = NormShape { rows: 6, channels: 5 };
            let input: Vec<f32> = random(30, 1).iter().map(|v| 3.0 * v).collect();
            let (scale, shift, weights) = (random(5, 2), random(5, 3), random(30, 4));
            let run = |input: &[f32], scale: &[f32], shift: &[f32]| {
                let (mut output, mut mean, mut variance) = (vec![0.0; 30], vec![0.0; 5], vec![0.0; 5]);
                batch_norm_train(&shape, input, scale, shift, 1e-5, activation, &mut output, &mut mean, &mut variance);
                (dot(&output, &weights), mean, variance)
            };
            let (_, mean, variance) = run(&input, &scale, &shift);
            let (mut by_input, mut by_scale, mut by_shift) = (vec![0.0; 30], vec![0.0; 5], vec![0.0; 5]);
            batch_norm_gradient(
                &shape, &input, &mean, &variance, &scale, &shift, 1e-5, activation, &weights, &mut by_input,
                &mut by_scale, &mut by_shift,
            );
            check_gradient(&input, &by_input, 2e-3, |moved| run(moved, &scale, &shift).0);
            check_gradient(&scale, &by_scale, 2e-3, |moved| run(&input, moved, &shift).0);
            check_gradient(&shift, &by_shift, 2e-3, |moved| run(&input, &scale, moved).0);
        }
    });
}

#[test]
fn activations_and_their_slopes() {
    each_isa(|| {
        let input: Vec<f32> = random(67, 1).iter().map(|v| 6.0 * v).collect();
        let mut output = vec![0.0; 67];
        gelu(&input, &mut output);
        let expected: Vec<f64> = input
            .iter()
            .map(|&x| {
                let x = f64::from(x);
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
            })
            .collect();
        assert_close(&output, &expected, 4, "gelu");
        let mut gradient = vec![1.0; 67];
        gelu_gradient(&input, &mut gradient);
        check_gradient(&input, &gradient, 2e-3, |moved| {
            let mut output = vec![0.0; 67];
            gelu(moved, &mut output);
            dot(&output, &[1.0; 67])
        });
        let mut values = [-1.0, 0.0, 2.0, f32::NAN, f32::INFINITY];
        relu(&mut values);
        assert!(values[..3] == [0.0, 0.0, 2.0] && values[3].is_nan() && values[4] == f32::INFINITY);
    });
}

#[test]
fn gelu_is_calm_at_the_ends() {
    each_isa(|| {
        let mut output = [0.0; 5];
        gelu(&[-1e4, 1e4, -30.0, 30.0, f32::NAN], &mut output);
        assert_eq!(output[..4], [0.0, 1e4, 0.0, 30.0]);
        assert!(output[4].is_nan());
    });
}

#[test]
fn pooling_takes_the_largest_and_sends_gradients_back() {
    let shapes = [(2, 6, 6, 5, 2, 2, 0), (1, 7, 5, 3, 3, 2, 1), (2, 5, 5, 1, 2, 1, 0), (0, 4, 4, 3, 2, 2, 0)];
    for (batch, height, width, channels, kernel, stride, padding) in shapes {
        let shape = PoolShape { batch, height, width, channels, kernel, stride, padding }.check().expect("fits");
        let input = random(shape.input_len(), 1);
        let mut output = vec![f32::NAN; shape.output_len()];
        let mut argmax = vec![0; output.len()];
        max_pool(&shape, &input, &mut output, &mut argmax);
        let gradient = random(output.len(), 2);
        let mut back = vec![f32::NAN; input.len()];
        max_pool_gradient(&shape, &gradient, &argmax, &mut back);
        // Every gradient arrives, and the product with the input is the product with the output.
        assert!((dot(&back, &input) - dot(&gradient, &output)).abs() < 1e-4);
        for n in 0..batch {
            for y in 0..shape.out_height() {
                for x in 0..shape.out_width() {
                    for c in 0..channels {
                        let mut largest = f32::NEG_INFINITY;
                        for place in 0..kernel * kernel {
                            let iy = (y * stride + place / kernel).wrapping_sub(padding);
                            let ix = (x * stride + place % kernel).wrapping_sub(padding);
                            if iy < height && ix < width {
                                largest = largest.max(input[((n * height + iy) * width + ix) * channels + c]);
                            }
                        }
                        let place = ((n * shape.out_height() + y) * shape.out_width() + x) * channels + c;
                        assert_eq!(output[place], largest);
                    }
                }
            }
        }
    }
}

#[test]
fn pooling_keeps_not_a_number() {
    let shape = PoolShape { batch: 1, height: 2, width: 2, channels: 1, kernel: 2, stride: 2, padding: 0 };
    let (mut output, mut argmax) = ([0.0], [0]);
    max_pool(&shape, &[1.0, f32::NAN, 3.0, 2.0], &mut output, &mut argmax);
    assert!(output[0].is_nan() && argmax[0] == 1);
}

#[test]
fn global_pools() {
    let input = [1.0, 10.0, 3.0, 20.0, 2.0, 0.0, -1.0, -5.0, -2.0, -6.0, -3.0, -4.0];
    let mut output = [0.0; 4];
    global_average_pool(2, 3, 2, &input, &mut output);
    assert_eq!(output, [2.0, 10.0, -2.0, -5.0]);
    let mut argmax = [0; 4];
    global_max_pool(2, 3, 2, &input, &mut output, &mut argmax);
    assert_eq!(output, [3.0, 20.0, -1.0, -4.0]);
    let mut back = [f32::NAN; 12];
    global_max_pool_gradient(2, 3, 2, &[1.0, 2.0, 3.0, 4.0], &argmax, &mut back);
    assert_eq!(back, [0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 4.0]);
    global_average_pool_gradient(2, 3, 2, &[3.0, 6.0, 9.0, 12.0], &mut back);
    assert_eq!(back, [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 3.0, 4.0]);
}

#[test]
fn cross_entropy_is_torchs() {
    // torch.nn.functional.cross_entropy(logits, [2, 0], label_smoothing=0.1, weight=[1, 2, 3]) by its formula in f64.
    let logits = [0.5f32, -1.0, 2.0, 1.0, 1.5, -0.5];
    let weights = [1.0f32, 2.0, 3.0];
    let labels = [2u32, 0];
    let mut expected = 0.0;
    for (row, &label) in logits.chunks(3).zip(&labels) {
        let log_sum = row.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        for class in 0..3 {
            let target = 0.1 / 3.0 + if class == label as usize { 0.9 } else { 0.0 };
            expected += target * f64::from(weights[class]) * (log_sum - f64::from(row[class]));
        }
    }
    expected /= 4.0;
    let (mut losses, mut gradient) = (vec![0.0; 2], vec![0.0; 6]);
    let mut run = |logits: &[f32], gradient: &mut [f32]| {
        softmax_cross_entropy(2, 3, logits, Targets::Labels(&labels), 0.1, Some(&weights), &mut losses, gradient)
    };
    let loss = run(&logits, &mut gradient);
    assert!((loss - expected).abs() < 1e-6, "{loss} is not {expected}");
    let mut unused = vec![0.0; 6];
    check_gradient(&logits, &gradient, 1e-3, |moved| run(moved, &mut unused));
}

#[test]
fn cross_entropy_of_soft_targets_and_huge_logits() {
    let targets = [0.25f32, 0.75, 1.0, 0.0];
    let (mut losses, mut gradient) = (vec![0.0; 2], vec![0.0; 4]);
    let mut run = |logits: &[f32], gradient: &mut [f32]| {
        softmax_cross_entropy(2, 2, logits, Targets::Probabilities(&targets), 0.0, None, &mut losses, gradient)
    };
    let logits = [0.3f32, -0.4, 0.1, 0.2];
    run(&logits, &mut gradient);
    let mut unused = vec![0.0; 4];
    check_gradient(&logits, &gradient, 1e-3, |moved| run(moved, &mut unused));
    // Never NaN where the answer is a number.
    let loss = run(&[1e30, -1e30, 5e4, -5e4], &mut gradient);
    assert!(loss.is_finite() || loss == f64::INFINITY, "{loss}");
}

#[test]
fn optimisers_follow_their_formulas() {
    each_isa(|| {
        let (start, gradient) = (random(67, 1), random(67, 2));
        let sgd = Sgd { learning_rate: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.01 };
        let (mut parameters, mut velocity) = (start.clone(), vec![0.5; 67]);
        sgd_step(&sgd, &mut parameters, &gradient, &mut velocity);
        let expected: Vec<f64> = start
            .iter()
            .zip(&gradient)
            .map(|(&p, &g)| {
                let g = f64::from(g) + 0.01 * f64::from(p);
                f64::from(p) - 0.1 * (g + 0.9 * (0.9 * 0.5 + g))
            })
            .collect();
        assert_close(&parameters, &expected, 1, "sgd");
        let adamw = AdamW { learning_rate: 0.1, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.5 };
        let (mut parameters, mut first, mut second) = (start.clone(), vec![0.0; 67], vec![0.0; 67]);
        adamw_step(&adamw, &mut parameters, &gradient, 1, &mut first, &mut second);
        // The first corrected step is the sign of the gradient.
        let expected: Vec<f64> = start
            .iter()
            .zip(&gradient)
            .map(|(&p, &g)| f64::from(p) * (1.0 - 0.1 * 0.5) - 0.1 * f64::from(g) / (f64::from(g).abs() + 1e-8))
            .collect();
        assert_close(&parameters, &expected, 4, "adamw");
    });
}

#[test]
fn newton_schulz_brings_singular_values_near_one() {
    each_isa(|| {
        for (rows, columns) in [(27, 64), (64, 27), (33, 33)] {
            let mut matrix = random(rows * columns, 5);
            newton_schulz(rows, columns, &mut matrix, 8);
            // Mean of the squared singular values.
            let size = rows.min(columns) as f64;
            let mean = dot(&matrix, &matrix) / size;
            assert!((0.5..1.5).contains(&mean), "{mean} for {rows}x{columns}");
        }
    });
}

#[test]
fn pixels_become_numbers() {
    each_isa(|| {
        let mut output = [0.0; 6];
        normalize(1, 2, 3, &[0, 128, 255, 1, 2, 3], &[1.0, 0.5, 2.0], &[0.0, 1.0, -1.0], &mut output);
        assert_eq!(output, [0.0, 65.0, 509.0, 1.0, 2.0, 5.0]);
    });
}

#[test]
fn threads_do_not_change_a_bit() {
    let shape = NormShape { rows: 9000, channels: 24 };
    let (input, gradient) = (random(9000 * 24, 1), random(9000 * 24, 2));
    let (scale, shift) = (random(24, 3), random(24, 4));
    assert_same_bits(|| {
        let (mut output, mut mean, mut variance) = (vec![0.0; input.len()], vec![0.0; 24], vec![0.0; 24]);
        batch_norm_train(&shape, &input, &scale, &shift, 1e-5, Activation::Gelu, &mut output, &mut mean, &mut variance);
        let (mut back, mut by_scale, mut by_shift) = (vec![0.0; input.len()], vec![0.0; 24], vec![0.0; 24]);
        batch_norm_gradient(
            &shape, &input, &mean, &variance, &scale, &shift, 1e-5, Activation::Gelu, &gradient, &mut back,
            &mut by_scale, &mut by_shift,
        );
        let mut sums = vec![0.0; 24];
        channel_sums(9000, 24, &input, &mut sums);
        let mut matrix = random(300 * 70, 5);
        newton_schulz(300, 70, &mut matrix, 3);
        (output, back, by_scale, by_shift, sums, matrix, square_sum(&input).to_bits())
    });
}
