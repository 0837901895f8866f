//! Pooling and batch norms of any shape against the reference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use percept_fuzz::{
    Choices,
    common::{Random, assert_close, widen},
    on_each_isa,
};
use percept_kernels::{
    Activation, NormShape, PoolShape, batch_norm_gradient, batch_norm_train, global_average_pool,
    global_average_pool_gradient, global_max_pool, global_max_pool_gradient, max_pool, max_pool_gradient, reference,
};

const EPSILON: f32 = 1e-5;
const MOST_VALUES: usize = 60_000;

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let input = [choices.size(0, 4), choices.size(1, 70), choices.size(1, 70), choices.size(1, 150)];
    if input.iter().product::<usize>() > MOST_VALUES {
        return;
    }
    let mut random = Random::new(choices.size(0, 255) as u64);
    // Few different values, so that there are ties.
    let coarse = choices.flip();
    let mut values = |length: usize| match coarse {
        true => (0..length).map(|_| random.below(5) as f32 - 2.0).collect(),
        false => random.values(length),
    };
    if let Ok(shape) = PoolShape::new(input, choices.size(1, 16), choices.size(1, 17), choices.size(0, 8)) {
        pool(&shape, &values(shape.input_len()), &values(shape.output_len()));
    }
    let [batch, height, width, channels] = input;
    let (rows, length) = (batch * height * width, input.iter().product());
    global_pools([batch, height * width, channels], &values(length), &values(batch * channels));
    let shape = NormShape::new(rows, channels).expect("a shape");
    // A kink where a value may fall on either side of it would say nothing about the sums.
    let activation = choices.pick(&[Activation::Identity, Activation::Gelu]);
    norm(&shape, activation, [values(length), values(channels), values(channels), values(length)]);
});

fn pool(shape: &PoolShape, input: &[f32], gradient: &[f32]) {
    let (mut expected, mut places) = (vec![0.0; shape.output_len()], vec![0; shape.output_len()]);
    reference::max_pool(shape, input, &mut expected, &mut places);
    let mut expected_gradient = vec![0.0; shape.input_len()];
    reference::max_pool_gradient(shape, &widen(gradient), &places, &mut expected_gradient);
    on_each_isa(|isa| {
        let (mut output, mut argmax) = (vec![f32::NAN; shape.output_len()], vec![255; shape.output_len()]);
        max_pool(shape, input, &mut output, &mut argmax);
        assert_eq!((&output, &argmax), (&expected, &places), "{shape:?} {isa}");
        let mut input_gradient = vec![f32::NAN; shape.input_len()];
        max_pool_gradient(shape, gradient, &argmax, &mut input_gradient);
        // As many windows meet a pixel at most as the kernel has places.
        let terms = (shape.kernel * shape.kernel) as f64;
        assert_close(&format!("{shape:?} {isa}"), &input_gradient, &expected_gradient, terms, 1e-6);
    });
}

fn global_pools([batch, pixels, channels]: [usize; 3], input: &[f32], gradient: &[f32]) {
    let mut averages = vec![0.0; batch * channels];
    reference::global_average_pool(batch, pixels, channels, &widen(input), &mut averages);
    let [mut spread, mut scattered] = [0; 2].map(|_| vec![0.0; input.len()]);
    reference::global_average_pool_gradient(batch, pixels, channels, &widen(gradient), &mut spread);
    let (mut maxima, mut places) = (vec![0.0; batch * channels], vec![0; batch * channels]);
    reference::global_max_pool(batch, pixels, channels, input, &mut maxima, &mut places);
    reference::global_max_pool_gradient(batch, pixels, channels, &widen(gradient), &places, &mut scattered);
    on_each_isa(|isa| {
        let what = format!("{batch}x{pixels}x{channels} {isa}");
        let mut output = vec![f32::NAN; batch * channels];
        global_average_pool(batch, pixels, channels, input, &mut output);
        assert_close(&what, &output, &averages, 2.0, 1e-6);
        let mut input_gradient = vec![f32::NAN; input.len()];
        global_average_pool_gradient(batch, pixels, channels, gradient, &mut input_gradient);
        assert_close(&what, &input_gradient, &spread, 2.0, 1e-6);
        let mut argmax = vec![7; batch * channels];
        global_max_pool(batch, pixels, channels, input, &mut output, &mut argmax);
        assert_eq!((&output, &argmax), (&maxima, &places), "{what}");
        global_max_pool_gradient(batch, pixels, channels, gradient, &argmax, &mut input_gradient);
        assert_close(&what, &input_gradient, &scattered, 1.0, 0.0);
    });
}

fn norm(shape: &NormShape, activation: Activation, [input, scale, shift, gradient]: [Vec<f32>; 4]) {
    let (length, channels) = (shape.len(), shape.channels);
    let [wide, wide_scale, wide_shift, wide_gradient] = [&input, &scale, &shift, &gradient].map(|values| widen(values));
    let (mut output, mut mean, mut variance) = (vec![0.0; length], vec![0.0; channels], vec![0.0; channels]);
    reference::batch_norm_train(
        shape,
        &wide,
        &wide_scale,
        &wide_shift,
        EPSILON,
        activation,
        &mut output,
        &mut mean,
        &mut variance,
    );
    let (mut of_input, mut of_scale, mut of_shift) = (vec![0.0; length], vec![0.0; channels], vec![0.0; channels]);
    reference::batch_norm_gradient(
        shape,
        &wide,
        &mean,
        &variance,
        &wide_scale,
        &wide_shift,
        EPSILON,
        activation,
        &wide_gradient,
        &mut of_input,
        &mut of_scale,
        &mut of_shift,
    );
    // Few rows may lie close together: what is divided by their spread is then as inexact as it is large.
    let smallest = variance.iter().copied().fold(1.0, f64::min) + f64::from(EPSILON);
    let steep = 8.0 / smallest;
    on_each_isa(|isa| {
        let what = format!("{shape:?} {activation:?} {isa}");
        let [mut actual, mut of_actual] = [0; 2].map(|_| vec![f32::NAN; length]);
        let [mut mean_actual, mut variance_actual, mut scale_actual, mut shift_actual] =
            [0; 4].map(|_| vec![f32::NAN; channels]);
        batch_norm_train(
            shape,
            &input,
            &scale,
            &shift,
            EPSILON,
            activation,
            &mut actual,
            &mut mean_actual,
            &mut variance_actual,
        );
        assert_close(&what, &mean_actual, &mean, 4.0, 2e-6);
        assert_close(&what, &variance_actual, &variance, 4.0, 2e-6);
        assert_close(&what, &actual, &output, steep, 2e-6);
        of_actual.copy_from_slice(&input);
        batch_norm_gradient(
            shape,
            &mut of_actual,
            &mean_actual,
            &variance_actual,
            &scale,
            &shift,
            EPSILON,
            activation,
            &gradient,
            &mut scale_actual,
            &mut shift_actual,
        );
        let rows = (shape.rows.max(1) as f64).sqrt();
        assert_close(&what, &of_actual, &of_input, steep * steep, 2e-5);
        assert_close(&what, &scale_actual, &of_scale, steep * rows, 2e-5);
        assert_close(&what, &shift_actual, &of_shift, steep * rows, 2e-5);
    });
}
