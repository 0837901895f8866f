//! What the tests share: values without a pattern, every instruction set, several thread counts, and comparisons.
#![allow(dead_code, reason = "each test file uses a part")]

use percept_kernels::{Activation, ConvShape, Isa, conv2d, conv2d_input_gradient, conv2d_weight_gradient, reference};

/// Every activation.
pub const ACTIVATIONS: [Activation; 7] = [
    Activation::Identity,
    Activation::Relu,
    Activation::Relu6,
    Activation::HardSwish,
    Activation::HardSigmoid,
    Activation::Silu,
    Activation::Gelu,
];

/// A small generator (Marsaglia's xorshift with a multiplier), so that tests depend on nothing.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Between -1 and 1.
    pub fn value(&mut self) -> f32 {
        (self.next() as f64 / (1u64 << 52) as f64 - 1.0) as f32
    }

    pub fn values(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| self.value()).collect()
    }
}

pub fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// The instruction sets to test: all of this machine, or the one that PERCEPT_ISA names.
fn isas() -> Vec<Isa> {
    match std::env::var_os("PERCEPT_ISA") {
        Some(_) => vec![Isa::from_environment().expect("PERCEPT_ISA names an instruction set of this machine")],
        None => Isa::available(),
    }
}

/// Runs `work` on every instruction set of this machine, and says which ones were run.
pub fn on_every_isa(mut work: impl FnMut(Isa)) {
    for isa in isas() {
        isa.run(|| work(isa));
    }
    let ran = isas().iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ");
    eprintln!("ran on: {ran}; other instruction sets were not run, this machine lacks them");
}

/// A convolution's output, gradient of the input and gradient of the weights, one after the other.
pub fn every_pass(shape: &ConvShape, input: &[f32], weights: &[f32], gradient: &[f32]) -> Vec<f32> {
    let mut output = vec![0.0; shape.output_len()];
    conv2d(shape, input, weights, None, &mut output);
    let mut input_gradient = vec![0.0; shape.input_len()];
    conv2d_input_gradient(shape, gradient, weights, &mut input_gradient);
    let mut weight_gradient = vec![0.0; shape.weights_len()];
    conv2d_weight_gradient(shape, input, gradient, &mut weight_gradient);
    [output, input_gradient, weight_gradient].concat()
}

/// What the reference gives: a convolution's output, gradient of the input and gradient of the weights.
pub fn reference_passes(
    shape: &ConvShape,
    input: &[f64],
    weights: &[f64],
    bias: Option<&[f64]>,
    gradient: &[f64],
) -> [Vec<f64>; 3] {
    let mut expected = [shape.output_len(), shape.input_len(), shape.weights_len()].map(|length| vec![0.0; length]);
    reference::conv2d(shape, input, weights, bias, &mut expected[0]);
    reference::conv2d_input_gradient(shape, gradient, weights, &mut expected[1]);
    reference::conv2d_weight_gradient(shape, input, gradient, &mut expected[2]);
    expected
}

/// Whether `actual` is within `tolerance` of `expected`, relative to the size of the terms behind it, `scale` (1 at
/// least).
#[track_caller]
pub fn assert_close(what: &str, actual: &[f32], expected: &[f64], scale: f64, tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    for (index, (&actual, &expected)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(actual) - expected).abs();
        let bound = tolerance * scale.max(1.0).max(expected.abs());
        assert!(error <= bound, "{what}: value {index} is {actual}, not {expected}: off by {error:e}, bound {bound:e}");
    }
}

/// Demands of an `m x n` product over `k` steps of ones that the NaN of row 3 and the infinity of column 36 reached these
/// alone.
#[track_caller]
pub fn assert_only_their_row_and_column(isa: Isa, c: &[f32], n: usize, k: usize) {
    for (place, &value) in c.iter().enumerate() {
        match (place / n, place % n) {
            (3, _) => assert!(value.is_nan(), "{isa}: {value}"),
            (_, 36) => assert_eq!(value, f32::INFINITY, "{isa}"),
            _ => assert_eq!(value, k as f32, "{isa}"),
        }
    }
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Runs `work` with 1, 2, 3 and 5 threads on every instruction set and demands the same bits each time.
#[track_caller]
pub fn assert_same_bits(what: &str, work: impl Fn() -> Vec<f32> + Sync) {
    if cfg!(target_family = "wasm") {
        return eprintln!("{what}: not run, WebAssembly has one thread");
    }
    for isa in isas() {
        let mut first = None;
        for threads in [1, 2, 3, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let result = bits(&pool.install(|| isa.run(&work)));
            let first = first.get_or_insert_with(|| result.clone());
            assert!(*first == result, "{what} on {isa}: {threads} threads give other bits than 1");
        }
    }
}

/// The gradient of `weights · function(inputs)` by central differences, in f64: what `function` leaves in its result,
/// weighted.
pub fn differences(inputs: &[f64], weights: &[f64], function: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    const STEP: f64 = 1e-6;
    let objective = |inputs: &[f64]| -> f64 { function(inputs).iter().zip(weights).map(|(x, w)| x * w).sum() };
    let mut moved = inputs.to_vec();
    (0..inputs.len())
        .map(|index| {
            let mut at = |value: f64| {
                moved[index] = value;
                objective(&moved)
            };
            let slope = (at(inputs[index] + STEP) - at(inputs[index] - STEP)) / (2.0 * STEP);
            moved[index] = inputs[index];
            slope
        })
        .collect()
}

#[track_caller]
pub fn assert_near(what: &str, actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let error = (actual - expected).abs();
        assert!(error <= tolerance * expected.abs().max(1.0), "{what}: value {index} is {actual}, not {expected}");
    }
}
