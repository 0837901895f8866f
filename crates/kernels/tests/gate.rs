//! Factors for channels against the reference: the forward pass exactly, gradients within 1e-6 of their terms.

mod common;

use common::{Random, assert_close, assert_near, assert_same_bits, differences, on_every_isa, widen};
use percept_kernels::{channel_gate, channel_gate_gradient, reference};

/// Images, pixels, channels: gates of their own, and layer scale, where all pixels are of one image.
const SHAPES: [[usize; 3]; 12] = [
    [0, 4, 3],
    [2, 0, 3],
    [1, 1, 1],
    [5, 1, 67],
    [3, 49, 67],
    [2, 196, 24],
    [4, 49, 960],
    [1, 3136, 96],
    [1, 20_000, 7],
    [9, 64, 32],
    [2, 3000, 3],
    [1, 5, 20_000],
];

#[test]
fn both_passes_agree_with_the_reference() {
    let mut random = Random::new(71);
    for [batch, pixels, channels] in SHAPES {
        let [input, gradient] = [0, 1].map(|_| random.values(batch * pixels * channels));
        let gate = random.values(batch * channels);
        let (wide_input, wide_gate) = (widen(&input), widen(&gate));
        let (mut expected, mut expected_gradient) = (vec![0.0; input.len()], widen(&gradient));
        let mut expected_gate_gradient = vec![0.0; gate.len()];
        reference::channel_gate(batch, pixels, channels, &wide_input, &wide_gate, &mut expected);
        reference::channel_gate_gradient(
            batch,
            pixels,
            channels,
            &wide_input,
            &wide_gate,
            &mut expected_gradient,
            &mut expected_gate_gradient,
        );
        on_every_isa(|isa| {
            let what = format!("{batch}x{pixels}x{channels} {isa}");
            let mut output = vec![f32::NAN; input.len()];
            channel_gate(batch, pixels, channels, &input, &gate, &mut output);
            assert!(output.iter().zip(&expected).all(|(&found, &exact)| found == exact as f32), "{what}");
            let (mut found, mut gate_gradient) = (gradient.clone(), vec![f32::NAN; gate.len()]);
            channel_gate_gradient(batch, pixels, channels, &input, &gate, &mut found, &mut gate_gradient);
            assert!(found.iter().zip(&expected_gradient).all(|(&found, &exact)| found == exact as f32), "{what}");
            let terms = (pixels as f64).sqrt();
            assert_close(&what, &gate_gradient, &expected_gate_gradient, terms, 1e-6);
        });
    }
}

#[test]
fn the_gradients_are_those_of_finite_differences() {
    let (batch, pixels, channels) = (2, 3, 4);
    let mut random = Random::new(72);
    let [input, weights] = [0, 1].map(|_| widen(&random.values(batch * pixels * channels)));
    let gate = widen(&random.values(batch * channels));
    let forward = |input: &[f64], gate: &[f64]| {
        let mut output = vec![0.0; input.len()];
        reference::channel_gate(batch, pixels, channels, input, gate, &mut output);
        output
    };
    let (mut gradient, mut gate_gradient) = (weights.clone(), vec![0.0; gate.len()]);
    reference::channel_gate_gradient(batch, pixels, channels, &input, &gate, &mut gradient, &mut gate_gradient);
    assert_near("input", &gradient, &differences(&input, &weights, |input| forward(input, &gate)), 1e-6);
    assert_near("gate", &gate_gradient, &differences(&gate, &weights, |gate| forward(&input, gate)), 1e-6);
}

#[test]
fn gates_have_the_same_bits_whatever_the_threads() {
    let mut random = Random::new(73);
    for [batch, pixels, channels] in [[4, 784, 67], [1, 30_000, 24]] {
        let [input, gradient] = [0, 1].map(|_| random.values(batch * pixels * channels));
        let gate = random.values(batch * channels);
        assert_same_bits(&format!("{batch}x{pixels}x{channels}"), || {
            let mut output = vec![0.0; input.len()];
            channel_gate(batch, pixels, channels, &input, &gate, &mut output);
            let (mut found, mut gate_gradient) = (gradient.clone(), vec![0.0; gate.len()]);
            channel_gate_gradient(batch, pixels, channels, &input, &gate, &mut found, &mut gate_gradient);
            [output, found, gate_gradient].concat()
        });
    }
}
