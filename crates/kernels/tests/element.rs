//! Feature maps kept in bf16 give what the same numbers give in f32, rounded when they are written: the arithmetic is the
//! same, so this is demanded to the bit.

mod common;

use common::{ACTIVATIONS, Random, assert_close, assert_same_bits, bits, on_every_isa, widen};
use percept_kernels::{
    Activation, Algorithm, Bf16, ConvShape, Element, NormShape, PoolShape, Precision, activate, activate_gradient, add,
    add_relu, batch_norm_apply, batch_norm_gradient, batch_norm_train, channel_sums, conv2d, conv2d_input_gradient,
    conv2d_weight_gradient, conv2d_with_statistics, global_average_pool, global_average_pool_gradient, global_max_pool,
    global_max_pool_gradient, max_pool, max_pool_gradient, relu_gradient,
};

fn narrow(values: &[f32]) -> Vec<Bf16> {
    values.iter().map(|&value| Bf16::nearest(value)).collect()
}

fn wide(values: &[Bf16]) -> Vec<f32> {
    values.iter().map(|value| value.value()).collect()
}

/// Numbers in bf16, and the same in f32.
fn both(random: &mut Random, length: usize) -> (Vec<Bf16>, Vec<f32>) {
    let narrow = narrow(&random.values(length));
    let wide = wide(&narrow);
    (narrow, wide)
}

#[track_caller]
fn assert_rounded(what: &str, actual: &[Bf16], exact: &[f32]) {
    assert_eq!(actual.len(), exact.len(), "{what}: lengths");
    for (index, (actual, &exact)) in actual.iter().zip(exact).enumerate() {
        assert_eq!(*actual, Bf16::nearest(exact), "{what}: value {index}, {exact} in f32");
    }
}

#[test]
fn the_nearest_number_is_taken_and_the_even_one_of_two() {
    for (value, expected) in [
        (0.0, 0x0000),
        (-0.0, 0x8000),
        (1.0, 0x3F80),
        (1.0 + 1.0 / 256.0, 0x3F80),
        (1.0 + 3.0 / 256.0, 0x3F82),
        (1.0 + 1.01 / 256.0, 0x3F81),
        (f32::MAX, 0x7F80),
        (f32::INFINITY, 0x7F80),
        (f32::NEG_INFINITY, 0xFF80),
    ] {
        assert_eq!(Bf16::nearest(value), Bf16(expected), "{value}");
    }
    assert!(Bf16::nearest(f32::from_bits(0x7F80_0001)).value().is_nan());
    for number in 0..=u16::MAX {
        let value = Bf16(number).value();
        assert!(Bf16::nearest(value) == Bf16(number) || value.is_nan(), "{number:04x}");
    }
}

#[test]
fn numbers_lie_in_words() {
    assert_eq!([0, 1, 2, 5].map(Bf16::words), [0, 1, 1, 3]);
    assert_eq!([0, 1, 5].map(f32::words), [0, 1, 5]);
    let mut words = vec![0.0; 3];
    Bf16::of_words_mut(&mut words, 5).copy_from_slice(&narrow(&[1.0, -2.0, 3.0, -4.0, 5.0]));
    assert_eq!(wide(Bf16::of_words(&words, 5)), [1.0, -2.0, 3.0, -4.0, 5.0]);
    assert!(std::panic::catch_unwind(|| Bf16::of_words(&[0.0; 2], 5).len()).is_err());
}

/// Shapes of convolutions of every kind: odd sizes, strides, dilations, few channels and many, no image.
fn shapes() -> Vec<ConvShape> {
    let shape =
        |sizes, outs, kernel, stride, padding| ConvShape::new(sizes, outs, kernel, stride, padding).expect("a shape");
    vec![
        shape([2, 9, 7, 5], 6, [3, 3], 1, 1),
        shape([3, 8, 8, 33], 65, [3, 3], 1, 1),
        shape([1, 13, 12, 3], 17, [3, 3], 1, 1),
        shape([2, 17, 17, 3], 24, [2, 2], 1, 0),
        shape([2, 11, 10, 16], 34, [3, 3], 2, 1),
        shape([2, 7, 5, 67], 19, [1, 1], 1, 0),
        shape([1, 10, 9, 7], 8, [5, 5], 1, 2),
        shape([2, 12, 12, 8], 9, [3, 3], 1, 2).with_dilation(2).expect("a shape"),
        shape([2, 8, 9, 12], 12, [3, 3], 1, 1).with_groups(12).expect("a shape"),
        shape([1, 9, 10, 130], 66, [3, 3], 1, 1),
        shape([0, 8, 8, 4], 5, [3, 3], 1, 1),
    ]
}

#[test]
fn convolutions() {
    let mut random = Random::new(71);
    for shape in shapes() {
        let (input, wide_input) = both(&mut random, shape.input_len());
        let (gradient, wide_gradient) = both(&mut random, shape.output_len());
        let (weights, bias) = (random.values(shape.weights_len()), random.values(shape.out_channels));
        on_every_isa(|isa| {
            let check = |what: &str| {
                let (mut exact, mut output) = (vec![0.0; shape.output_len()], narrow(&vec![7.0; shape.output_len()]));
                conv2d(&shape, &wide_input, &weights, Some(&bias), &mut exact);
                conv2d(&shape, &input, &weights, Some(&bias), &mut output);
                // The bias may come to what is rounded already.
                for (index, (output, &exact)) in output.iter().zip(&exact).enumerate() {
                    let (error, bias) = ((output.value() - exact).abs(), bias[index % bias.len()].abs());
                    assert!(error <= 0.008 * (exact.abs() + bias), "{what}: value {index} is {output:?}, not {exact}");
                }
                conv2d(&shape, &wide_input, &weights, None, &mut exact);
                let mut of_f32 = vec![Bf16::default(); shape.output_len()];
                conv2d(&shape, &wide_input, &weights, None, &mut of_f32);
                assert_rounded(&format!("{what}, of f32"), &of_f32, &exact);
                let mut measured = vec![Bf16::default(); shape.output_len()];
                let [mut mean, mut variance] = [0, 1].map(|_| vec![9.0; shape.out_channels]);
                conv2d_with_statistics(&shape, &input, &weights, None, &mut measured, &mut mean, &mut variance);
                assert_rounded(&format!("{what}, measured"), &measured, &exact);
                let [mut exact_mean, mut exact_variance] = [0, 1].map(|_| vec![0.0; shape.out_channels]);
                let [mean_in_f32, variance_in_f32] = [&mut exact_mean, &mut exact_variance];
                conv2d_with_statistics(&shape, &wide_input, &weights, None, &mut exact, mean_in_f32, variance_in_f32);
                let largest = f64::from(exact_variance.iter().fold(0.0f32, |a, &b| a.max(b)));
                assert_close(&format!("{what}, means"), &mean, &widen(&exact_mean), largest.sqrt(), 4e-3);
                assert_close(&format!("{what}, variances"), &variance, &widen(&exact_variance), largest, 8e-3);

                let (mut exact, mut of_input) =
                    (vec![0.0; shape.input_len()], vec![Bf16::default(); shape.input_len()]);
                conv2d_input_gradient(&shape, &wide_gradient, &weights, &mut exact);
                conv2d_input_gradient(&shape, &gradient, &weights, &mut of_input);
                assert_rounded(&format!("{what}, gradient of the input"), &of_input, &exact);

                let [mut exact, mut of_weights] = [0, 1].map(|_| vec![0.0; shape.weights_len()]);
                conv2d_weight_gradient(&shape, &wide_input, &wide_gradient, &mut exact);
                conv2d_weight_gradient(&shape, &input, &gradient, &mut of_weights);
                assert_eq!(bits(&of_weights), bits(&exact), "{what}, gradient of the weights");
                conv2d_weight_gradient(&shape, &wide_input, &gradient, &mut of_weights);
                assert_eq!(bits(&of_weights), bits(&exact), "{what}, gradient of the weights, input in f32");
            };
            check(&format!("{isa} {shape:?}"));
            Precision::Bf16.run(|| check(&format!("{isa} {shape:?} in bf16")));
            for algorithm in Algorithm::ALL {
                for precision in [Precision::F32, Precision::Bf16] {
                    let what = format!("{isa} {shape:?} {algorithm:?} in {precision}");
                    precision.run(|| algorithm.run(|| check(&what)));
                }
            }
        });
    }
}

#[test]
fn norms() {
    let mut random = Random::new(72);
    for (rows, channels) in [(1, 1), (0, 5), (7, 3), (130, 67), (700, 64), (33, 200)] {
        let shape = NormShape::new(rows, channels).expect("a shape");
        let ((input, wide_input), (residual, wide_residual)) =
            (both(&mut random, shape.len()), both(&mut random, shape.len()));
        let (gradient, wide_gradient) = both(&mut random, shape.len());
        let [scale, shift] = [0, 1].map(|_| random.values(channels));
        on_every_isa(|isa| {
            for activation in ACTIVATIONS {
                let what = format!("{isa} {rows} rows of {channels}, {activation:?}");
                let (mut output, mut exact) = (vec![Bf16::default(); shape.len()], vec![0.0; shape.len()]);
                let [mut mean, mut variance, mut exact_mean, mut exact_variance] =
                    [0, 1, 2, 3].map(|_| vec![0.0; channels]);
                let epsilon = 1e-5;
                batch_norm_train(
                    &shape,
                    &input,
                    &scale,
                    &shift,
                    epsilon,
                    activation,
                    &mut output,
                    &mut mean,
                    &mut variance,
                );
                let [into_mean, into_variance] = [&mut exact_mean, &mut exact_variance];
                batch_norm_train(
                    &shape,
                    &wide_input,
                    &scale,
                    &shift,
                    epsilon,
                    activation,
                    &mut exact,
                    into_mean,
                    into_variance,
                );
                assert_rounded(&what, &output, &exact);
                assert_eq!([bits(&mean), bits(&variance)], [bits(&exact_mean), bits(&exact_variance)], "{what}");
                let (added, exact_added) = (Some(&residual[..]), Some(&wide_residual[..]));
                batch_norm_apply(
                    &shape,
                    &input,
                    &mean,
                    &variance,
                    &scale,
                    &shift,
                    epsilon,
                    added,
                    activation,
                    &mut output,
                );
                batch_norm_apply(
                    &shape,
                    &wide_input,
                    &mean,
                    &variance,
                    &scale,
                    &shift,
                    epsilon,
                    exact_added,
                    activation,
                    &mut exact,
                );
                assert_rounded(&format!("{what}, with a residual"), &output, &exact);

                let (mut turned, mut exact) = (input.clone(), wide_input.clone());
                let [mut of_scale, mut of_shift, mut exact_scale, mut exact_shift] =
                    [0, 1, 2, 3].map(|_| vec![0.0; channels]);
                batch_norm_gradient(
                    &shape,
                    &mut turned,
                    &mean,
                    &variance,
                    &scale,
                    &shift,
                    epsilon,
                    activation,
                    &gradient,
                    &mut of_scale,
                    &mut of_shift,
                );
                batch_norm_gradient(
                    &shape,
                    &mut exact,
                    &mean,
                    &variance,
                    &scale,
                    &shift,
                    epsilon,
                    activation,
                    &wide_gradient,
                    &mut exact_scale,
                    &mut exact_shift,
                );
                assert_rounded(&format!("{what}, gradient"), &turned, &exact);
                assert_eq!([bits(&of_scale), bits(&of_shift)], [bits(&exact_scale), bits(&exact_shift)], "{what}");
            }
            let [mut sums, mut exact] = [0, 1].map(|_| vec![1.0; channels]);
            channel_sums(rows, channels, &input, &mut sums);
            channel_sums(rows, channels, &wide_input, &mut exact);
            assert_eq!(bits(&sums), bits(&exact), "{isa} sums of {rows} rows of {channels}");
        });
    }
}

#[test]
fn activations_and_sums() {
    let mut random = Random::new(73);
    for length in [0, 1, 33, 20_000] {
        let ((input, wide_input), (other, wide_other)) = (both(&mut random, length), both(&mut random, length));
        on_every_isa(|isa| {
            let what = |name: &str| format!("{isa} {name} of {length}");
            for activation in ACTIVATIONS {
                let (mut output, mut exact) = (vec![Bf16::default(); length], vec![0.0; length]);
                activate(activation, &input, &mut output);
                activate(activation, &wide_input, &mut exact);
                assert_rounded(&what(&format!("{activation:?}")), &output, &exact);
                let (mut gradient, mut exact) = (other.clone(), wide_other.clone());
                activate_gradient(activation, &input, &mut gradient);
                activate_gradient(activation, &wide_input, &mut exact);
                assert_rounded(&what(&format!("gradient of {activation:?}")), &gradient, &exact);
            }
            let run = |narrow: fn(&mut [Bf16], &[Bf16]), wide: fn(&mut [f32], &[f32]), name: &str| {
                let (mut into, mut exact) = (other.clone(), wide_other.clone());
                narrow(&mut into, &input);
                wide(&mut exact, &wide_input);
                assert_rounded(&what(name), &into, &exact);
            };
            run(add, add, "sum");
            run(add_relu, add_relu, "sum with ReLU");
            run(
                |into, output| relu_gradient(output, into),
                |into, output| relu_gradient(output, into),
                "ReLU's gradient",
            );
        });
    }
}

#[test]
fn pools() {
    let mut random = Random::new(74);
    for ([batch, height, width, channels], kernel, stride, padding) in
        [([2, 8, 6, 5], 2, 2, 0), ([1, 9, 9, 67], 3, 3, 1), ([3, 5, 4, 32], 2, 2, 0), ([0, 4, 4, 3], 2, 2, 0)]
    {
        let shape = PoolShape::new([batch, height, width, channels], kernel, stride, padding).expect("a shape");
        let (input, wide_input) = both(&mut random, shape.input_len());
        let (gradient, wide_gradient) = both(&mut random, shape.output_len());
        let means = random.values(batch * channels);
        on_every_isa(|isa| {
            let what = format!("{isa} {shape:?}");
            let (mut output, mut exact) = (vec![Bf16::default(); shape.output_len()], vec![0.0; shape.output_len()]);
            let [mut argmax, mut exact_argmax] = [0, 1].map(|_| vec![9; shape.output_len()]);
            max_pool(&shape, &input, &mut output, &mut argmax);
            max_pool(&shape, &wide_input, &mut exact, &mut exact_argmax);
            assert_rounded(&what, &output, &exact);
            assert_eq!(argmax, exact_argmax, "{what}");
            // No two windows share a pixel here: sums would be rounded at every step.
            let (mut of_input, mut exact) = (vec![Bf16(1); shape.input_len()], vec![1.0; shape.input_len()]);
            max_pool_gradient(&shape, &gradient, &argmax, &mut of_input);
            max_pool_gradient(&shape, &wide_gradient, &argmax, &mut exact);
            assert_rounded(&format!("{what}, gradient"), &of_input, &exact);

            let pixels = height * width;
            let [mut pooled, mut exact] = [0, 1].map(|_| vec![0.0; batch * channels]);
            global_average_pool(batch, pixels, channels, &input, &mut pooled);
            global_average_pool(batch, pixels, channels, &wide_input, &mut exact);
            assert_eq!(bits(&pooled), bits(&exact), "{what}, average");
            let [mut places, mut exact_places] = [0, 1].map(|_| vec![0; batch * channels]);
            global_max_pool(batch, pixels, channels, &input, &mut pooled, &mut places);
            global_max_pool(batch, pixels, channels, &wide_input, &mut exact, &mut exact_places);
            assert_eq!((bits(&pooled), &places), (bits(&exact), &exact_places), "{what}, largest");
            let (mut spread, mut exact) = (vec![Bf16(1); shape.input_len()], vec![1.0; shape.input_len()]);
            global_average_pool_gradient(batch, pixels, channels, &means, &mut spread);
            global_average_pool_gradient(batch, pixels, channels, &means, &mut exact);
            assert_rounded(&format!("{what}, gradient of the average"), &spread, &exact);
            global_max_pool_gradient(batch, pixels, channels, &means, &places, &mut spread);
            global_max_pool_gradient(batch, pixels, channels, &means, &places, &mut exact);
            assert_rounded(&format!("{what}, gradient of the largest"), &spread, &exact);
        });
    }
}

#[test]
fn threads_do_not_change_bits() {
    let mut random = Random::new(75);
    let shape = ConvShape::new([3, 15, 14, 40], 36, [3, 3], 1, 1).expect("a shape");
    let (input, _) = both(&mut random, shape.input_len());
    let (gradient, _) = both(&mut random, shape.output_len());
    let weights = random.values(shape.weights_len());
    for algorithm in [Algorithm::Direct, Algorithm::Winograd4, Algorithm::Padded] {
        assert_same_bits(&format!("{algorithm:?} of maps in bf16"), || {
            let run = || {
                let (mut output, mut of_input) =
                    (vec![Bf16::default(); shape.output_len()], vec![Bf16::default(); shape.input_len()]);
                let [mut mean, mut variance] = [0, 1].map(|_| vec![0.0; shape.out_channels]);
                let mut of_weights = vec![0.0; shape.weights_len()];
                conv2d_with_statistics(&shape, &input, &weights, None, &mut output, &mut mean, &mut variance);
                conv2d_input_gradient(&shape, &gradient, &weights, &mut of_input);
                conv2d_weight_gradient(&shape, &input, &gradient, &mut of_weights);
                [wide(&output), wide(&of_input), mean, variance, of_weights].concat()
            };
            Precision::Bf16.run(|| algorithm.run(run))
        });
    }
}

#[test]
fn nan_and_infinity_pass_through() {
    let input = narrow(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0]);
    on_every_isa(|isa| {
        let mut output = vec![Bf16::default(); 4];
        activate(Activation::Relu, &input, &mut output);
        let output = wide(&output);
        assert!(output[0].is_nan(), "{isa}");
        assert_eq!(output[1..], [f32::INFINITY, 0.0, 0.0], "{isa}");
    });
}
