//! Matrix products and linear layers against the reference.
//!
//! Tolerance: 1e-6 times the square root of the number of terms, which are at most 1 each.

mod common;

use common::{Random, assert_close, assert_only_their_row_and_column, assert_same_bits, bits, on_every_isa, widen};
use percept_kernels::{
    AdamW, Isa, Layout, LinearInput, LinearShape, Precision, Sgd, Update, gemm, linear, linear_input_gradient,
    linear_weight_gradient, linear_weight_update, normalize, reference,
};

const SIZES: [[usize; 3]; 26] = [
    [1, 1, 1],
    [1, 67, 3],
    [2, 3, 0],
    [0, 5, 7],
    [5, 0, 7],
    [3, 5, 7],
    [6, 16, 256],
    [7, 17, 257],
    [13, 8, 31],
    [14, 32, 192],
    [15, 33, 193],
    [67, 67, 67],
    [64, 64, 64],
    [100, 10, 3072],
    [3072, 10, 100],
    [27, 64, 5000],
    [61, 1, 66],
    [1, 513, 1030],
    [203, 129, 515],
    [195, 65, 300],
    [40, 600, 20],
    [25, 48, 9],
    [512, 3, 70],
    [9, 1, 10241],
    [33, 15, 5],
    [16, 200, 700],
];

fn layouts() -> impl Iterator<Item = (Layout, Layout, bool)> {
    let layouts = [Layout::RowMajor, Layout::Transposed];
    layouts.into_iter().flat_map(move |a| layouts.into_iter().flat_map(move |b| [(a, b, false), (a, b, true)]))
}

#[test]
fn products_agree_with_the_reference() {
    let mut random = Random::new(1);
    for [m, n, k] in SIZES {
        let (a, b, start) = (random.values(m * k), random.values(k * n), random.values(m * n));
        let (wide_a, wide_b) = (widen(&a), widen(&b));
        for (a_layout, b_layout, accumulate) in layouts() {
            let mut expected = widen(&start);
            reference::gemm(m, n, k, &wide_a, a_layout, &wide_b, b_layout, accumulate, &mut expected);
            on_every_isa(|isa| {
                let mut c = start.clone();
                gemm(m, n, k, &a, a_layout, &b, b_layout, accumulate, &mut c);
                let what = format!("{isa} {m}x{n}x{k} {a_layout:?} {b_layout:?} {accumulate}");
                assert_close(&what, &c, &expected, (k as f64).sqrt(), 1e-6);
            });
        }
    }
}

#[test]
fn products_have_the_same_bits_whatever_the_threads() {
    let mut random = Random::new(2);
    for [m, n, k] in [[100, 10, 3072], [3072, 10, 100], [203, 129, 515], [27, 64, 5000], [1, 1030, 700]] {
        let (a, b) = (random.values(m * k), random.values(k * n));
        for (a_layout, b_layout, accumulate) in layouts() {
            assert_same_bits(&format!("{m}x{n}x{k} {a_layout:?} {b_layout:?}"), || {
                let mut c = vec![0.5; m * n];
                gemm(m, n, k, &a, a_layout, &b, b_layout, accumulate, &mut c);
                c
            });
        }
    }
}

#[test]
fn nan_and_infinity_reach_their_own_row_and_column_only() {
    let [m, n, k] = [20, 37, 50];
    on_every_isa(|isa| {
        for (a_layout, b_layout, _) in layouts() {
            let (mut a, mut b) = (vec![1.0; m * k], vec![1.0; k * n]);
            let a_place = if a_layout == Layout::RowMajor { 3 * k + 11 } else { 11 * m + 3 };
            let b_place = if b_layout == Layout::RowMajor { 20 * n + 36 } else { 36 * k + 20 };
            (a[a_place], b[b_place]) = (f32::NAN, f32::INFINITY);
            let mut c = vec![0.0; m * n];
            gemm(m, n, k, &a, a_layout, &b, b_layout, false, &mut c);
            assert_only_their_row_and_column(isa, &c, n, k);
        }
    });
}

#[test]
fn linear_layers_agree_with_the_reference() {
    let mut random = Random::new(3);
    for [batch, inputs, outputs] in
        [[0, 3, 4], [1, 1, 1], [1, 67, 10], [5, 784, 10], [100, 3072, 10], [33, 65, 47], [64, 100, 200], [2, 3, 1]]
    {
        let shape = LinearShape::new(batch, inputs, outputs).expect("a layer");
        let (input, weights) = (random.values(batch * inputs), random.values(inputs * outputs));
        let (bias, gradient) = (random.values(outputs), random.values(batch * outputs));
        let [wide_input, wide_weights, wide_bias, wide_gradient] =
            [&input, &weights, &bias, &gradient].map(|v| widen(v));
        let mut expected = [vec![0.0; batch * outputs], vec![0.0; batch * inputs], vec![0.0; inputs * outputs]];
        let mut plain = expected[0].clone();
        reference::linear(&shape, &wide_input, &wide_weights, Some(&wide_bias), &mut expected[0]);
        reference::linear(&shape, &wide_input, &wide_weights, None, &mut plain);
        reference::linear_input_gradient(&shape, &wide_gradient, &wide_weights, &mut expected[1]);
        reference::linear_weight_gradient(&shape, &wide_input, &wide_gradient, &mut expected[2]);
        on_every_isa(|isa| {
            let check = |what: &str, actual: &[f32], expected: &[f64], terms: usize| {
                assert_close(&format!("{what} {shape:?} {isa}"), actual, expected, (terms as f64).sqrt(), 1e-6);
            };
            let mut output = vec![f32::NAN; batch * outputs];
            linear(&shape, &input, &weights, Some(&bias), &mut output);
            check("forward", &output, &expected[0], inputs);
            linear(&shape, &input, &weights, None, &mut output);
            check("forward without bias", &output, &plain, inputs);
            let mut output = vec![f32::NAN; batch * inputs];
            linear_input_gradient(&shape, &gradient, &weights, &mut output);
            check("input gradient", &output, &expected[1], outputs);
            let mut output = vec![f32::NAN; inputs * outputs];
            linear_weight_gradient(&shape, &input, &gradient, &mut output);
            check("weight gradient", &output, &expected[2], batch);
        });
    }
}

/// On every instruction set, in f32 and in bf16.
fn in_every_precision(mut work: impl FnMut(Isa)) {
    for precision in [Precision::F32, Precision::Bf16] {
        precision.run(|| on_every_isa(&mut work));
    }
}

/// Bytes are normalised by the very instructions that [`normalize`] uses, so the bits are those of the layer on its
/// output.
#[test]
fn a_layer_that_reads_bytes_gives_the_bits_of_one_that_reads_them_normalised() {
    let mut random = Random::new(4);
    for [batch, inputs, outputs] in
        [[0, 3, 4], [1, 1, 1], [1, 67, 10], [5, 784, 10], [100, 3072, 10], [33, 65, 47], [64, 300, 200], [2, 3, 1]]
    {
        let shape = LinearShape::new(batch, inputs, outputs).expect("a layer");
        let bytes: Vec<u8> = (0..batch * inputs).map(|i| (i * 7919 % 251) as u8).collect();
        let (multiplier, offset) = (random.values(inputs), random.values(inputs));
        let (weights, gradient) = (random.values(inputs * outputs), random.values(batch * outputs));
        in_every_precision(|isa| {
            let mut input = vec![0.0; bytes.len()];
            normalize(batch, inputs, 1, &bytes, &multiplier, &offset, &mut input);
            let from_bytes = LinearInput::Bytes { bytes: &bytes, multiplier: &multiplier, offset: &offset };
            let mut outputs = [vec![f32::NAN; batch * outputs], vec![f32::NAN; batch * outputs]];
            linear(&shape, &input, &weights, None, &mut outputs[0]);
            linear(&shape, from_bytes, &weights, None, &mut outputs[1]);
            assert_eq!(bits(&outputs[0]), bits(&outputs[1]), "forward {shape:?} {isa}");
            let mut gradients = [vec![f32::NAN; weights.len()], vec![f32::NAN; weights.len()]];
            linear_weight_gradient(&shape, &input, &gradient, &mut gradients[0]);
            linear_weight_gradient(&shape, from_bytes, &gradient, &mut gradients[1]);
            assert_eq!(bits(&gradients[0]), bits(&gradients[1]), "gradient {shape:?} {isa}");
        });
    }
}

/// A step whose gradient never goes to memory gives the bits of one after the other.
#[test]
fn a_fused_update_is_the_update_by_the_gradient() {
    let mut random = Random::new(5);
    for [batch, inputs, outputs] in
        [[0, 3, 4], [1, 1, 1], [3, 67, 10], [100, 3072, 10], [33, 65, 47], [100, 700, 512], [2, 3, 1], [3, 5, 20_000]]
    {
        let shape = LinearShape::new(batch, inputs, outputs).expect("a layer");
        let (input, gradient) = (random.values(batch * inputs), random.values(batch * outputs));
        let (start, memory) = (random.values(inputs * outputs), random.values(inputs * outputs));
        let descent = Sgd { learning_rate: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.01 };
        let momentum = Sgd { momentum: 0.9, nesterov: true, ..descent };
        let adamw = AdamW { learning_rate: 0.01, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1 };
        in_every_precision(|isa| {
            for rule in ["descent", "momentum", "adamw"] {
                let squares: Vec<f32> = memory.iter().map(|value| value * value).collect();
                let mut sides =
                    [(start.clone(), memory.clone(), squares.clone()), (start.clone(), memory.clone(), squares)];
                for (fused, (weights, first, second)) in [true, false].into_iter().zip(&mut sides) {
                    let update = match rule {
                        "descent" => Update::Sgd { settings: descent, velocity: &mut [] },
                        "momentum" => Update::Sgd { settings: momentum, velocity: first },
                        _ => Update::AdamW { settings: adamw, step: 7, first_moment: first, second_moment: second },
                    };
                    if fused {
                        linear_weight_update(&shape, &input, &gradient, update, weights);
                    } else {
                        let mut weight_gradient = vec![f32::NAN; weights.len()];
                        linear_weight_gradient(&shape, &input, &gradient, &mut weight_gradient);
                        update.apply(weights, &weight_gradient);
                    }
                }
                let [fused, plain] = sides;
                for (fused, plain) in [(fused.0, plain.0), (fused.1, plain.1), (fused.2, plain.2)] {
                    assert_eq!(bits(&fused), bits(&plain), "{rule} {shape:?} {isa}");
                }
            }
        });
    }
}

#[test]
fn a_layer_without_inputs_is_refused() {
    let error = LinearShape::new(4, 0, 10).expect_err("no inputs");
    assert_eq!(error.to_string(), "a linear layer's inputs and outputs must all be 1 at least, not [0, 10]");
    let error = LinearShape::new(usize::MAX, 2, 10).expect_err("too large");
    assert_eq!(
        error.to_string(),
        format!("a linear layer of [{}, 2] has more values than this machine can address", usize::MAX)
    );
}
