//! Inverted residuals as one operation give the very bits of their layers one after the other, and those agree with the
//! reference.
//!
//! Tolerance: 6e-6 of the root of the number of terms, over three layers whose values stay near 1.

mod common;

use common::{Random, assert_close, assert_same_bits, bits, on_every_isa, widen};
use percept_kernels::{Activation, BlockLayer, ConvShape, InvertedResidual, Padding, PreparedConv, reference};

/// Height and width; channels that come in, are between (0: as many as come in, without a layer that expands) and come out;
/// kernel, stride, padding before and behind, dilation.
type Case = ([usize; 2], [usize; 3], [usize; 5]);

const CASES: [Case; 16] = [
    ([1, 1], [8, 16, 8], [3, 1, 1, 1, 1]),
    ([2, 3], [5, 17, 9], [3, 1, 1, 1, 1]),
    ([7, 7], [24, 67, 24], [5, 1, 2, 2, 1]),
    ([8, 9], [16, 96, 24], [3, 2, 0, 1, 1]),
    ([23, 19], [17, 33, 17], [3, 2, 1, 1, 1]),
    ([14, 14], [40, 300, 40], [5, 1, 2, 2, 1]),
    ([31, 29], [12, 40, 20], [5, 2, 1, 2, 1]),
    ([67, 13], [8, 24, 8], [3, 1, 1, 1, 1]),
    ([40, 27], [24, 144, 24], [3, 1, 1, 1, 1]),
    ([33, 34], [16, 96, 24], [5, 2, 2, 2, 1]),
    ([64, 9], [32, 0, 16], [3, 1, 1, 1, 1]),
    ([13, 17], [32, 0, 19], [5, 2, 2, 2, 1]),
    ([7, 8], [300, 520, 300], [3, 1, 1, 1, 1]),
    ([21, 22], [9, 20, 9], [3, 1, 2, 2, 2]),
    ([5, 5], [8, 16, 8], [1, 1, 2, 2, 1]),
    ([6, 6], [4, 7, 4], [3, 1, 1, 1, 1]), // too few channels for a vector of some instruction sets
];

struct Layers {
    /// Of one image.
    shapes: Vec<ConvShape>,
    weights: Vec<Vec<f32>>,
    biases: Vec<Vec<f32>>,
    activations: Vec<Activation>,
}

impl Layers {
    fn new(
        random: &mut Random,
        (size, [ins, between, outs], [kernel, stride, before, behind, dilation]): Case,
    ) -> Self {
        let [height, width] = size;
        let wide = if between == 0 { ins } else { between };
        let expand = ConvShape::new([1, height, width, ins], wide, [1, 1], 1, 0).expect("a shape");
        let padding = Padding { top: before, bottom: behind, left: before, right: behind };
        let depthwise = ConvShape::new([1, height, width, wide], wide, [kernel; 2], stride, padding);
        let depthwise = depthwise.and_then(|shape| shape.with_dilation(dilation)?.with_groups(wide)).expect("a shape");
        let map = [1, depthwise.out_height(), depthwise.out_width(), wide];
        let project = ConvShape::new(map, outs, [1, 1], 1, 0).expect("a shape");
        let mut shapes = vec![expand, depthwise, project];
        let mut activations = vec![Activation::Relu6, Activation::HardSwish, Activation::Identity];
        if between == 0 {
            shapes.remove(0);
            activations.remove(0);
        }
        // Small enough that values stay near 1.
        let mut values = |shape: &ConvShape| -> Vec<f32> {
            let terms = (shape.weights_len() / shape.out_channels) as f32;
            random.values(shape.weights_len()).iter().map(|weight| weight / terms.sqrt()).collect()
        };
        let weights = shapes.iter().map(&mut values).collect();
        let biases = shapes.iter().map(|shape| random.values(shape.out_channels)).collect();
        Self { shapes, weights, biases, activations }
    }

    fn prepare(&self) -> Vec<PreparedConv> {
        let layers = self.shapes.iter().zip(&self.weights).zip(&self.biases);
        layers.map(|((&shape, weights), bias)| PreparedConv::new(shape, weights.clone(), Some(bias.clone()))).collect()
    }

    fn input_len(&self) -> usize {
        self.shapes[0].input_len()
    }

    fn output_len(&self) -> usize {
        self.shapes[self.shapes.len() - 1].output_len()
    }

    fn run_together(
        &self,
        prepared: &[PreparedConv],
        batch: usize,
        input: &[f32],
        residual: Option<&[f32]>,
    ) -> Vec<f32> {
        let layer = |place: usize| BlockLayer { convolution: &prepared[place], activation: self.activations[place] };
        let last = prepared.len() - 1;
        let expand = (last == 2).then(|| layer(0));
        let mut output = vec![f32::NAN; batch * self.output_len()];
        InvertedResidual { expand, depthwise: layer(last - 1), project: layer(last) }.run(
            batch,
            input,
            residual,
            &mut output,
        );
        output
    }

    fn run_apart(&self, prepared: &[PreparedConv], batch: usize, input: &[f32], residual: Option<&[f32]>) -> Vec<f32> {
        let mut values = input.to_vec();
        for (place, layer) in prepared.iter().enumerate() {
            let mut output = vec![f32::NAN; batch * self.shapes[place].output_len()];
            let residual = residual.filter(|_| place + 1 == prepared.len());
            layer.run(batch, &values, residual, self.activations[place], &mut output);
            values = output;
        }
        values
    }

    fn expected(&self, batch: usize, input: &[f32], residual: Option<&[f32]>) -> Vec<f64> {
        let mut values = widen(input);
        for (place, one) in self.shapes.iter().enumerate() {
            let map = [batch, one.height, one.width, one.in_channels];
            let shape = ConvShape::new(map, one.out_channels, one.kernel, one.stride, one.padding);
            let shape = shape.and_then(|shape| shape.with_dilation(one.dilation)?.with_groups(one.groups));
            let shape = shape.expect("a shape");
            let mut output = vec![0.0; shape.output_len()];
            let (weights, bias) = (widen(&self.weights[place]), widen(&self.biases[place]));
            reference::conv2d(&shape, &values, &weights, Some(&bias), &mut output);
            if let Some(residual) = residual.filter(|_| place + 1 == self.shapes.len()) {
                output.iter_mut().zip(residual).for_each(|(value, &other)| *value += f64::from(other));
            }
            output.iter_mut().for_each(|value| *value = reference::activate(self.activations[place], *value));
            values = output;
        }
        values
    }
}

#[test]
fn a_block_has_the_bits_of_its_layers_and_agrees_with_the_reference() {
    let mut random = Random::new(50);
    for case in CASES {
        let layers = Layers::new(&mut random, case);
        for batch in [0, 1, 4, 9] {
            let input = random.values(batch * layers.input_len());
            let residual = random.values(batch * layers.output_len());
            for residual in [None, Some(&residual[..])] {
                let expected = layers.expected(batch, &input, residual);
                on_every_isa(|isa| {
                    let prepared = layers.prepare();
                    let together = layers.run_together(&prepared, batch, &input, residual);
                    let what = format!("{case:?}, {batch} images, {isa}");
                    assert_close(&what, &together, &expected, 20.0, 6e-6);
                    assert_eq!(bits(&together), bits(&layers.run_apart(&prepared, batch, &input, residual)), "{what}");
                });
            }
        }
    }
}

#[test]
fn a_block_has_the_same_bits_whatever_the_threads() {
    let mut random = Random::new(51);
    for case in CASES {
        let layers = Layers::new(&mut random, case);
        let input = random.values(4 * layers.input_len());
        assert_same_bits(&format!("{case:?}"), || layers.run_together(&layers.prepare(), 4, &input, None));
    }
}

#[test]
fn infinity_and_nan_pass_through_a_block() {
    let mut random = Random::new(52);
    let layers = Layers::new(&mut random, ([12, 12], [16, 32, 16], [3, 1, 1, 1, 1]));
    for value in [f32::NAN, f32::INFINITY] {
        let mut input = random.values(4 * layers.input_len());
        input[100] = value;
        on_every_isa(|isa| {
            let prepared = layers.prepare();
            let together = layers.run_together(&prepared, 4, &input, None);
            let apart = layers.run_apart(&prepared, 4, &input, None);
            let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
            assert!(together.iter().zip(&apart).all(same), "{isa}: {value}");
            assert_eq!(together.iter().any(|value| value.is_nan()), value.is_nan(), "{isa}");
        });
    }
}

#[test]
#[should_panic(expected = "the residual has 3 values where its shape says 64")]
fn a_residual_of_a_wrong_length_is_refused() {
    let mut random = Random::new(53);
    let layers = Layers::new(&mut random, ([2, 4], [8, 16, 8], [3, 1, 1, 1, 1]));
    layers.run_together(&layers.prepare(), 1, &[0.0; 64], Some(&[0.0; 3]));
}
