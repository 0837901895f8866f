//! One pass over memory: activations, sums, normalisation of pixels.

use rayon::prelude::*;

use crate::isa::{Isa, for_each_isa};

/// Numbers that a task takes; a function of nothing but itself, so that sums have one order.
pub(crate) const CHUNK: usize = 16 * 1024;

/// What follows a norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x · sigmoid(1.5957691 · (x + 0.044715 · x³))`: the Gaussian error linear unit in its tanh form (Hendrycks and
    /// Gimpel 2016).
    Gelu,
}

/// `2 · sqrt(2 / pi)`.
const GELU_SLOPE: f32 = 1.595_769_1;
const GELU_CUBE: f32 = 0.044_715;

/// `e^x` for x from -87 to 88 and its limits beyond, within 2 units in the last place: `2^n · e^r` with r reduced by
/// ln 2 in two parts, and a polynomial of degree 6 (after Cephes' expf).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0; // 1.5 · 2^23: adding it rounds to an integer in the low bits.
    let x = if x > 88.7 { f32::INFINITY } else { x };
    let clamped = if x < -87.3 { -87.3 } else { x };
    let n = (clamped * std::f32::consts::LOG2_E + SHIFT) - SHIFT;
    let r = clamped - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4_f32;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let value = p * r * r + r + 1.0;
    // n stays below 128 for finite results; a NaN makes any power, and the product NaN.
    let power = f32::from_bits((((n.clamp(-126.0, 127.0)) as i32 + 127) as u32) << 23);
    if x == f32::INFINITY { f32::INFINITY } else { value * power }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

impl Activation {
    /// Its value.
    #[inline(always)]
    pub(crate) fn value(self, x: f32) -> f32 {
        match self {
            Self::Identity => x,
            // Not f32::max, which would lose NaN.
            Self::Relu => if x < 0.0 { 0.0 } else { x },
            Self::Gelu => x * sigmoid(GELU_SLOPE * (x + GELU_CUBE * x * x * x)),
        }
    }

    /// Its slope.
    #[inline(always)]
    pub(crate) fn slope(self, x: f32) -> f32 {
        match self {
            Self::Identity => 1.0,
            Self::Relu => if x > 0.0 { 1.0 } else { 0.0 },
            Self::Gelu => {
                let s = sigmoid(GELU_SLOPE * (x + GELU_CUBE * x * x * x));
                s + x * s * (1.0 - s) * GELU_SLOPE * (1.0 + 3.0 * GELU_CUBE * x * x)
            }
        }
    }
}

/// Runs `work` on chunks of `into` and of `from`, which are of one length.
fn pairs(into: &mut [f32], from: &[f32], work: impl Fn(&mut [f32], &[f32]) + Sync) {
    assert_eq!(into.len(), from.len());
    if into.len() <= CHUNK {
        return work(into, from);
    }
    into.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(into, from)| work(into, from));
}

macro_rules! pairwise {
    ($(#[$meta:meta])* $name:ident, $chunk:ident, |$a:ident, $b:ident| $value:expr) => {
        for_each_isa! {
            fn $chunk(into: &mut [f32], from: &[f32]) {
                for ($a, &$b) in into.iter_mut().zip(from) {
                    *$a = $value;
                }
            }
        }
        $(#[$meta])*
        ///
        /// # Panics
        /// If the lengths differ.
        pub fn $name(into: &mut [f32], from: &[f32]) {
            let isa = Isa::current();
            pairs(into, from, |into, from| $chunk(isa, into, from));
        }
    };
}

pairwise!(
    /// `into += from`.
    add, add_chunk, |a, b| *a + b
);
pairwise!(
    /// `into = max(into + from, 0)`.
    add_relu, add_relu_chunk, |a, b| Activation::Relu.value(*a + b)
);
pairwise!(
    /// `gradient = 0` where the output of the activation was 0.
    relu_gradient_into, relu_gradient_chunk, |a, b| if b > 0.0 { *a } else { 0.0 }
);
pairwise!(
    /// `gradient *= slope(input)`.
    gelu_gradient_into, gelu_gradient_chunk, |a, b| *a * Activation::Gelu.slope(b)
);
pairwise!(
    /// `into = gelu(from)`.
    gelu_into, gelu_chunk, |a, b| { let _ = &a; Activation::Gelu.value(b) }
);

/// `output = gelu(input)`; see [`Activation::Gelu`].
///
/// # Panics
/// If the lengths differ.
pub fn gelu(input: &[f32], output: &mut [f32]) {
    gelu_into(output, input);
}

/// Multiplies a gradient by the slope at the activation's input.
///
/// # Panics
/// If the lengths differ.
pub fn gelu_gradient(input: &[f32], gradient: &mut [f32]) {
    gelu_gradient_into(gradient, input);
}

/// Makes a gradient 0 where the activation's output was not above 0.
///
/// # Panics
/// If the lengths differ.
pub fn relu_gradient(output: &[f32], gradient: &mut [f32]) {
    relu_gradient_into(gradient, output);
}

for_each_isa! {
    fn relu_chunk(values: &mut [f32]) {
        values.iter_mut().for_each(|value| *value = Activation::Relu.value(*value));
    }
}

/// `max(x, 0)` in place.
pub fn relu(values: &mut [f32]) {
    let isa = Isa::current();
    values.par_chunks_mut(CHUNK).for_each(|chunk| relu_chunk(isa, chunk));
}

for_each_isa! {
    fn scale_chunk(values: &mut [f32], factor: f32) {
        values.iter_mut().for_each(|value| *value *= factor);
    }
}

/// Multiplies in place.
pub fn scale(values: &mut [f32], factor: f32) {
    let isa = Isa::current();
    values.par_chunks_mut(CHUNK).for_each(|chunk| scale_chunk(isa, chunk, factor));
}

for_each_isa! {
    fn average_chunk(into: &mut [f32], from: &[f32], decay: f32) {
        into.iter_mut().zip(from).for_each(|(a, b)| *a = decay * *a + (1.0 - decay) * b);
    }
}

/// `into = decay · into + (1 - decay) · from`.
///
/// # Panics
/// If the lengths differ.
pub fn average(into: &mut [f32], from: &[f32], decay: f32) {
    let isa = Isa::current();
    pairs(into, from, |into, from| average_chunk(isa, into, from, decay));
}

for_each_isa! {
    fn square_sum_chunk(values: &[f32]) -> f64 {
        let mut lanes = [0.0f64; 8];
        let chunks = values.chunks_exact(8);
        let rest: f64 = chunks.remainder().iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        for chunk in chunks {
            lanes.iter_mut().zip(chunk).for_each(|(lane, &v)| *lane += f64::from(v) * f64::from(v));
        }
        lanes.iter().sum::<f64>() + rest
    }
}

/// Sum of squares, in a fixed order.
pub fn square_sum(values: &[f32]) -> f64 {
    let isa = Isa::current();
    if values.len() <= CHUNK {
        return square_sum_chunk(isa, values);
    }
    let parts: Vec<f64> = values.par_chunks(CHUNK).map(|chunk| square_sum_chunk(isa, chunk)).collect();
    parts.iter().sum()
}

for_each_isa! {
    fn channel_sums_chunk(channels: usize, values: &[f32], sums: &mut [f32]) {
        for row in values.chunks_exact(channels) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
    }
}

/// `sums[c] = sum of values[row, c]`, in a fixed order.
///
/// # Panics
/// If `values` does not hold `rows * channels` numbers, or `sums` `channels`.
pub fn channel_sums(rows: usize, channels: usize, values: &[f32], sums: &mut [f32]) {
    assert_eq!(values.len(), rows * channels);
    assert_eq!(sums.len(), channels);
    sums.fill(0.0);
    if channels == 0 {
        return;
    }
    let isa = Isa::current();
    let rows_a_chunk = (CHUNK / channels).max(1);
    let parts: Vec<Vec<f32>> = values
        .par_chunks(rows_a_chunk * channels)
        .map(|chunk| {
            let mut sums = vec![0.0; channels];
            channel_sums_chunk(isa, channels, chunk, &mut sums);
            sums
        })
        .collect();
    parts.iter().for_each(|part| sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value));
}

for_each_isa! {
    fn normalize_row(input: &[u8], multiplier: &[f32], offset: &[f32], output: &mut [f32]) {
        let parameters = multiplier.iter().zip(offset);
        for ((out, &pixel), (m, o)) in output.iter_mut().zip(input).zip(parameters) {
            *out = f32::from(pixel) * m + o;
        }
    }
}

/// `output = input · multiplier + offset`, from u8 to f32. `multiplier` and `offset` hold `channels` numbers, or
/// `pixels_per_image * channels`.
///
/// # Panics
/// If a slice has another length than the numbers say.
pub fn normalize(
    images: usize,
    pixels_per_image: usize,
    channels: usize,
    input: &[u8],
    multiplier: &[f32],
    offset: &[f32],
    output: &mut [f32],
) {
    let size = pixels_per_image * channels;
    assert_eq!(input.len(), images * size);
    assert_eq!(output.len(), images * size);
    assert_eq!(multiplier.len(), offset.len());
    assert!(multiplier.len() == channels || multiplier.len() == size);
    if size == 0 {
        return;
    }
    let isa = Isa::current();
    // One value a place of the image, so that the inner loop has no channels to count.
    let (multiplier, offset): (Vec<f32>, Vec<f32>) =
        (0..size).map(|i| (multiplier[i % multiplier.len()], offset[i % offset.len()])).unzip();
    output.par_chunks_mut(size).zip(input.par_chunks(size)).with_min_len(CHUNK.div_ceil(size)).for_each(
        |(output, input)| normalize_row(isa, input, &multiplier, &offset, output),
    );
}
