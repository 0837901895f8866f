//! Convolutions of any shape, by every algorithm and instruction set, against the reference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use percept_fuzz::{
    Choices,
    common::{Random, assert_close, widen},
    on_each_isa,
};
use percept_kernels::{
    Activation, Algorithm, ConvShape, Padding, Precision, PreparedConv, conv2d_fused, conv2d_input_gradient,
    conv2d_weight_gradient, conv2d_with_statistics, reference,
};

/// What the square root of the number of terms is multiplied by. Twice the tests': of millions of sums of hundreds of terms,
/// each rounded twice where products are not fused, some are off by 1.1 times theirs.
const ALGORITHMS: [(Algorithm, f64); 5] = [
    (Algorithm::Direct, 2e-6),
    (Algorithm::Shallow, 2e-6),
    (Algorithm::Winograd2, 2e-6),
    (Algorithm::Winograd4, 1e-5),
    // In bf16: each operand is up to 1/256 off.
    (Algorithm::Padded, 1e-2),
];
/// More would be slow rather than new.
const MOST_MULTIPLICATIONS: u64 = 400_000;

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let input = [choices.size(0, 4), choices.size(1, 40), choices.size(1, 40), choices.size(1, 70)];
    let outs = if choices.flip() { input[3] } else { choices.size(1, 140) };
    let side = choices.pick(&[3, 1, 2, 4, 5, 7]);
    let kernel = [side, if choices.flip() { choices.size(1, 7) } else { side }];
    let same = choices.size(0, 4);
    let padding = match choices.flip() {
        true => Padding::from(same),
        false => Padding { top: same, bottom: choices.size(0, 5), left: choices.size(0, 5), right: choices.size(0, 5) },
    };
    let Ok(shape) = ConvShape::new(input, outs, kernel, choices.size(1, 4), padding) else { return };
    // One of the groups that divide both, with a kernel for every channel among them.
    let divides = |groups: &usize| input[3].is_multiple_of(*groups) && outs.is_multiple_of(*groups);
    let groups: Vec<usize> = (1..=input[3]).filter(divides).collect();
    let (groups, dilation) = (choices.pick(&groups), choices.pick(&[1, 1, 2, 3]));
    let shape = shape.with_groups(groups).and_then(|shape| shape.with_dilation(dilation));
    let Ok(shape) = shape else { return };
    if shape.multiply_adds() > MOST_MULTIPLICATIONS || shape.input_len() + shape.output_len() > 100_000 {
        return;
    }
    let (algorithm, tolerance) = choices.pick(&ALGORITHMS);
    let activation = choices.pick(&[
        Activation::Identity,
        Activation::Relu,
        Activation::Relu6,
        Activation::HardSwish,
        Activation::Silu,
        Activation::Gelu,
    ]);
    let (with_bias, with_residual) = (choices.flip(), choices.flip());
    let mut random = Random::new(choices.size(0, 255) as u64);
    let [weights, gradient, residual] =
        [shape.weights_len(), shape.output_len(), shape.output_len()].map(|length| random.values(length));
    let (values, bias) = (random.values(shape.input_len()), random.values(outs));
    let [wide_input, wide_weights, wide_gradient] = [&values, &weights, &gradient].map(|values| widen(values));
    let mut plain = vec![0.0; shape.output_len()];
    let [mut input_gradient, mut weight_gradient] =
        [shape.input_len(), shape.weights_len()].map(|length| vec![0.0; length]);
    reference::conv2d(&shape, &wide_input, &wide_weights, None, &mut plain);
    reference::conv2d_input_gradient(&shape, &wide_gradient, &wide_weights, &mut input_gradient);
    reference::conv2d_weight_gradient(&shape, &wide_input, &wide_gradient, &mut weight_gradient);
    let fused = plain.iter().enumerate().map(|(place, value)| {
        let bias = if with_bias { f64::from(bias[place % outs]) } else { 0.0 };
        let residual = if with_residual { f64::from(residual[place]) } else { 0.0 };
        reference::activate(activation, value + bias + residual)
    });
    let fused: Vec<f64> = fused.collect();
    let window = kernel[0] * kernel[1];
    let pixels = shape.output_len() / outs;
    let precision = if algorithm == Algorithm::Padded { Precision::Bf16 } else { Precision::F32 };
    on_each_isa(|isa| {
        let passes = || {
            let check = |what: &str, actual: &[f32], expected: &[f64], terms: usize| {
                let what = format!("{what} {algorithm:?} {shape:?} {isa}");
                assert_close(&what, actual, expected, (terms as f64).sqrt(), tolerance);
            };
            let mut output = vec![f32::NAN; shape.output_len()];
            let bias = with_bias.then_some(&bias[..]);
            let residual = with_residual.then_some(&residual[..]);
            conv2d_fused(&shape, &values, &weights, bias, residual, activation, &mut output);
            check("fused", &output, &fused, window * shape.in_channels);
            let prepared = PreparedConv::new(shape, weights.clone(), bias.map(<[f32]>::to_vec));
            output.fill(f32::NAN);
            prepared.run(shape.batch, &values, residual, activation, &mut output);
            check("prepared", &output, &fused, window * shape.in_channels);
            let [mut mean, mut variance] = [0; 2].map(|_| vec![f32::NAN; outs]);
            conv2d_with_statistics(&shape, &values, &weights, None, &mut output, &mut mean, &mut variance);
            check("forward", &output, &plain, window * shape.in_channels);
            assert!(mean.iter().chain(&variance).all(|value| value.is_finite()), "statistics {shape:?} {isa}");
            let mut output = vec![f32::NAN; shape.input_len()];
            conv2d_input_gradient(&shape, &gradient, &weights, &mut output);
            check("input gradient", &output, &input_gradient, window * outs);
            let mut output = vec![f32::NAN; shape.weights_len()];
            conv2d_weight_gradient(&shape, &values, &gradient, &mut output);
            check("weight gradient", &output, &weight_gradient, pixels);
        };
        precision.run(|| algorithm.run(passes));
    });
});
