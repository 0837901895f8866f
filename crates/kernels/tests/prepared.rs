//! Convolutions with prepared weights do what the others do, whatever the batch and the form of the weights.
//!
//! Tolerance: that of the algorithms (see winograd.rs), whose choice may differ with the batch.

mod common;

use common::{Random, assert_close, assert_same_bits, bits, on_every_isa, widen};
use percept_kernels::{Activation, Algorithm, ConvShape, PreparedConv, conv2d_fused, reference};

/// Height, width, input and output channels; kernel, stride, padding, groups.
const CASES: [([usize; 4], [usize; 4]); 13] = [
    ([1, 1, 1, 1], [1, 1, 0, 1]),
    ([1, 1, 300, 10], [1, 1, 0, 1]),
    ([1, 1, 512, 67], [1, 1, 0, 1]),
    ([7, 9, 17, 33], [1, 1, 0, 1]),
    ([8, 9, 3, 20], [3, 1, 1, 1]),
    ([9, 7, 40, 70], [3, 1, 1, 1]),
    ([4, 4, 300, 80], [3, 1, 1, 1]),
    ([16, 15, 64, 64], [3, 1, 1, 1]),
    ([11, 13, 24, 30], [3, 2, 1, 1]),
    ([15, 15, 8, 12], [5, 2, 2, 1]),
    ([12, 13, 20, 20], [3, 1, 1, 20]),
    ([13, 12, 20, 20], [5, 2, 2, 20]),
    ([9, 9, 12, 8], [3, 1, 1, 4]),
];

fn shape(([height, width, ins, outs], [kernel, stride, padding, groups]): ([usize; 4], [usize; 4])) -> ConvShape {
    let shape = ConvShape::new([1, height, width, ins], outs, [kernel; 2], stride, padding);
    shape.and_then(|shape| shape.with_groups(groups)).expect("a shape")
}

/// The shape for another batch.
fn of_batch(shape: ConvShape, batch: usize) -> ConvShape {
    let input = [batch, shape.height, shape.width, shape.in_channels];
    let of_batch = ConvShape::new(input, shape.out_channels, shape.kernel, shape.stride, shape.padding);
    of_batch.and_then(|other| other.with_groups(shape.groups)).expect("a shape")
}

#[test]
fn every_form_and_batch_agrees_with_the_reference() {
    let mut random = Random::new(30);
    for case in CASES {
        let one = shape(case);
        let (weights, bias) = (random.values(one.weights_len()), random.values(one.out_channels));
        for batch in [0, 1, 3, 40] {
            let shape = of_batch(one, batch);
            let (input, residual) = (random.values(shape.input_len()), random.values(shape.output_len()));
            let mut expected = vec![0.0; shape.output_len()];
            reference::conv2d(&shape, &widen(&input), &widen(&weights), Some(&widen(&bias)), &mut expected);
            for (value, other) in expected.iter_mut().zip(&residual) {
                *value = reference::activate(Activation::HardSwish, *value + f64::from(*other));
            }
            let terms = shape.weights_len() / shape.out_channels;
            on_every_isa(|isa| {
                for kept in Algorithm::ALL {
                    let prepared = kept.run(|| PreparedConv::new(one, weights.clone(), Some(bias.clone())));
                    let mut output = vec![f32::NAN; shape.output_len()];
                    let run = |output: &mut [f32]| {
                        prepared.run(batch, &input, Some(&residual), Activation::HardSwish, output);
                    };
                    run(&mut output);
                    let what = format!("{kept:?} {shape:?} {isa}");
                    assert_close(&what, &output, &expected, (terms as f64).sqrt(), 6e-6);
                    // By the same algorithm, the bits are those of a convolution that prepares nothing.
                    let mut plain = output.clone();
                    kept.run(|| {
                        run(&mut output);
                        let (bias, residual) = (Some(&bias[..]), Some(&residual[..]));
                        conv2d_fused(&shape, &input, &weights, bias, residual, Activation::HardSwish, &mut plain);
                    });
                    assert_eq!(bits(&output), bits(&plain), "{what}");
                }
            });
        }
    }
}

#[test]
fn prepared_convolutions_have_the_same_bits_whatever_the_threads() {
    let mut random = Random::new(31);
    for case in CASES {
        let shape = shape(case);
        let (weights, input) = (random.values(shape.weights_len()), random.values(shape.input_len()));
        assert_same_bits(&format!("{shape:?}"), || {
            let mut output = vec![0.0; shape.output_len()];
            PreparedConv::new(shape, weights.clone(), None).run(1, &input, None, Activation::Relu, &mut output);
            output
        });
    }
}

#[test]
fn what_is_prepared_on_one_instruction_set_runs_on_it_everywhere() {
    let mut random = Random::new(32);
    let shape = shape(CASES[7]);
    let (weights, input) = (random.values(shape.weights_len()), random.values(shape.input_len()));
    on_every_isa(|isa| {
        let prepared = PreparedConv::new(shape, weights.clone(), None);
        let run = || {
            let mut output = vec![0.0; shape.output_len()];
            prepared.run(1, &input, None, Activation::Identity, &mut output);
            bits(&output)
        };
        let expected = run();
        on_every_isa(|other| assert_eq!(run(), expected, "prepared on {isa}, run on {other}"));
    });
}

#[test]
#[should_panic(expected = "the weights has 5 values where its shape says 72")]
fn weights_of_a_wrong_length_are_refused() {
    PreparedConv::new(ConvShape::new([1, 4, 4, 2], 4, [3, 3], 1, 1).expect("a shape"), vec![0.0; 5], None);
}
