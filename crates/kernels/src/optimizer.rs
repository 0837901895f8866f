//! Optimisers' steps, one pass over each parameter, and the vector arithmetic around them. Formulas are PyTorch's.

use std::ops::Range;

use crate::lanes::{multiply_add, per_isa};
use crate::parallel::{CHUNK, SharedMut, for_each, for_each_chunk};
use crate::scratch::Scratch;
use crate::{Isa, Layout, assert_len, assert_sizes, gemm};

/// Stochastic gradient descent with momentum; PyTorch's `SGD` with no dampening.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// The length of a step.
    pub learning_rate: f32,
    /// The share of the velocity that is kept, 0 to 1.
    pub momentum: f32,
    /// Whether the step looks ahead (Nesterov).
    pub nesterov: bool,
    /// The share of each parameter that is added to its gradient.
    pub weight_decay: f32,
}

/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019); PyTorch's `AdamW`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// The length of a step.
    pub learning_rate: f32,
    /// Decay of the first moment, 0.9 by custom.
    pub beta1: f32,
    /// Decay of the second moment, 0.999 by custom.
    pub beta2: f32,
    /// Added to the root of the second moment, 1e-8 by custom.
    pub epsilon: f32,
    /// The share of each parameter that a step takes off, times the learning rate.
    pub weight_decay: f32,
}

/// An optimiser's step of one parameter, value by value, with what it remembers of that parameter.
pub enum Update<'a> {
    /// `g += weight_decay p; v = momentum v + g; p -= learning_rate (nesterov ? g + momentum v : v)`.
    Sgd {
        /// Rates.
        settings: Sgd,
        /// As long as the parameter, zeros at first; empty without momentum.
        velocity: &'a mut [f32],
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// Rates.
        settings: AdamW,
        /// Which step it is, from 1.
        step: u64,
        /// As long as the parameter, zeros at first.
        first_moment: &'a mut [f32],
        /// As long as the parameter, zeros at first.
        second_moment: &'a mut [f32],
    },
}

impl Update<'_> {
    /// Moves all of `parameters`, in one pass over memory.
    pub fn apply(self, parameters: &mut [f32], gradients: &[f32]) {
        assert_len("the gradients", gradients.len(), parameters.len());
        let length = parameters.len();
        let parts = UpdateInParts::new(self, parameters);
        for_each(length.div_ceil(CHUNK), |index| {
            let range = index * CHUNK..length.min((index + 1) * CHUNK);
            // SAFETY: the ranges of different tasks do not overlap.
            unsafe { parts.apply(range.clone(), &gradients[range]) };
        });
    }
}

/// An update whose parts are done by tasks.
pub(crate) struct UpdateInParts<'a> {
    isa: Isa,
    rule: Rule,
    parameters: SharedMut<'a, f32>,
    memory: [SharedMut<'a, f32>; 2],
}

enum Rule {
    Descent(Sgd),
    Momentum(Sgd),
    Adam(AdamW, [f64; 2]),
}

impl<'a> UpdateInParts<'a> {
    pub(crate) fn new(update: Update<'a>, parameters: &'a mut [f32]) -> Self {
        let length = parameters.len();
        let (rule, memory): (Rule, [&'a mut [f32]; 2]) = match update {
            Update::Sgd { settings, .. } if settings.momentum == 0.0 => (Rule::Descent(settings), [&mut [], &mut []]),
            Update::Sgd { settings, velocity } => {
                assert_len("the velocity", velocity.len(), length);
                (Rule::Momentum(settings), [velocity, &mut []])
            }
            Update::AdamW { settings, step, first_moment, second_moment } => {
                assert!(step > 0, "Adam counts its steps from 1");
                assert_len("the first moment", first_moment.len(), length);
                assert_len("the second moment", second_moment.len(), length);
                let corrections = [settings.beta1, settings.beta2].map(|beta| 1.0 - f64::from(beta).powf(step as f64));
                (Rule::Adam(settings, corrections), [first_moment, second_moment])
            }
        };
        Self { isa: Isa::current(), rule, parameters: SharedMut::new(parameters), memory: memory.map(SharedMut::new) }
    }

    /// Moves the parameters of `range` by their gradients.
    ///
    /// # Safety
    /// Nobody else updates them meanwhile.
    pub(crate) unsafe fn apply(&self, range: Range<usize>, gradients: &[f32]) {
        let [first, second] = self.memory;
        // SAFETY: the caller's promise, here and below.
        let parameters = unsafe { self.parameters.range(range.clone()) };
        match &self.rule {
            Rule::Descent(settings) => descend_values(self.isa, settings, parameters, gradients),
            Rule::Momentum(settings) => {
                // SAFETY: as above.
                let velocity = unsafe { first.range(range) };
                sgd_values(self.isa, settings, parameters, gradients, velocity);
            }
            Rule::Adam(settings, corrections) => {
                // SAFETY: as above.
                let (first, second) = unsafe { (first.range(range.clone()), second.range(range)) };
                adamw_values(self.isa, settings, *corrections, parameters, gradients, first, second);
            }
        }
    }
}

per_isa!(fn descend_values = descend_body(settings: &Sgd, parameters: &mut [f32], gradients: &[f32]));

#[inline(always)]
fn descend_body<const M: bool>(settings: &Sgd, parameters: &mut [f32], gradients: &[f32]) {
    let Sgd { learning_rate, weight_decay, .. } = *settings;
    for (parameter, &gradient) in parameters.iter_mut().zip(gradients) {
        let gradient = multiply_add::<M>(weight_decay, *parameter, gradient);
        *parameter = multiply_add::<M>(-learning_rate, gradient, *parameter);
    }
}

per_isa!(fn sgd_values = sgd_body(settings: &Sgd, parameters: &mut [f32], gradients: &[f32], velocity: &mut [f32]));

#[inline(always)]
fn sgd_body<const M: bool>(settings: &Sgd, parameters: &mut [f32], gradients: &[f32], velocity: &mut [f32]) {
    let Sgd { learning_rate, momentum, nesterov, weight_decay } = *settings;
    for ((parameter, &gradient), velocity) in parameters.iter_mut().zip(gradients).zip(velocity) {
        let gradient = multiply_add::<M>(weight_decay, *parameter, gradient);
        let moved = multiply_add::<M>(momentum, *velocity, gradient);
        let step = if nesterov { multiply_add::<M>(momentum, moved, gradient) } else { moved };
        *velocity = moved;
        *parameter = multiply_add::<M>(-learning_rate, step, *parameter);
    }
}

per_isa!(fn adamw_values = adamw_body(
    settings: &AdamW, corrections: [f64; 2], parameters: &mut [f32], gradients: &[f32], first_moment: &mut [f32],
    second_moment: &mut [f32],
));

#[inline(always)]
fn adamw_body<const M: bool>(
    settings: &AdamW,
    corrections: [f64; 2],
    parameters: &mut [f32],
    gradients: &[f32],
    first_moment: &mut [f32],
    second_moment: &mut [f32],
) {
    let AdamW { learning_rate, beta1, beta2, epsilon, weight_decay } = *settings;
    let kept = (1.0 - f64::from(learning_rate) * f64::from(weight_decay)) as f32;
    let step = (f64::from(learning_rate) / corrections[0]) as f32;
    let inverse_root = (1.0 / corrections[1].sqrt()) as f32;
    let [fresh1, fresh2] = [beta1, beta2].map(|beta| (1.0 - f64::from(beta)) as f32);
    let moments = first_moment.iter_mut().zip(second_moment);
    for ((parameter, &gradient), (first, second)) in parameters.iter_mut().zip(gradients).zip(moments) {
        *first = multiply_add::<M>(beta1, *first, fresh1 * gradient);
        *second = multiply_add::<M>(beta2, *second, fresh2 * gradient * gradient);
        let root = multiply_add::<M>(second.sqrt(), inverse_root, epsilon);
        *parameter = multiply_add::<M>(*parameter, kept, -step * *first / root);
    }
}

/// `into = decay into + (1 - decay) other`: an exponential moving average.
pub fn average(into: &mut [f32], other: &[f32], decay: f32) {
    assert_len("the other", other.len(), into.len());
    let isa = Isa::current();
    for_each_chunk(CHUNK, [into], [other], |[into], [other]| average_values(isa, into, other, 1.0 - decay));
}

per_isa!(fn average_values = average_body(into: &mut [f32], other: &[f32], share: f32));

#[inline(always)]
fn average_body<const M: bool>(into: &mut [f32], other: &[f32], share: f32) {
    for (into, &other) in into.iter_mut().zip(other) {
        *into = multiply_add::<M>(share, other - *into, *into);
    }
}

/// The sum of squares, in f64 and in a fixed order.
pub fn square_sum(values: &[f32]) -> f64 {
    /// Sums that are gathered before they are added up.
    const SUMS: usize = 256;
    let isa = Isa::current();
    let mut total = 0.0;
    for values in values.chunks(SUMS * CHUNK) {
        let mut sums = [0.0; SUMS];
        let shared = SharedMut::new(&mut sums);
        for_each(values.len().div_ceil(CHUNK), |index| {
            let values = &values[index * CHUNK..values.len().min((index + 1) * CHUNK)];
            // SAFETY: each task has a sum of its own.
            let sum = unsafe { shared.range(index..index + 1) };
            sum[0] = square_sums(isa, values);
        });
        total += sums.iter().sum::<f64>();
    }
    total
}

per_isa!(fn square_sums = square_sum_body(values: &[f32]) -> f64);

#[inline(always)]
fn square_sum_body<const M: bool>(values: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0f64; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(rest) {
        *sum += f64::from(value) * f64::from(value);
    }
    sums.iter().sum()
}

/// `values *= factor`.
pub fn scale(values: &mut [f32], factor: f32) {
    let isa = Isa::current();
    for_each_chunk(CHUNK, [values], [], |[values], []: [&[f32]; 0]| scale_values(isa, values, factor));
}

per_isa!(fn scale_values = scale_body(values: &mut [f32], factor: f32));

#[inline(always)]
fn scale_body<const M: bool>(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

/// Moves a `rows x columns` matrix towards the nearest one with orthonormal rows or columns, by the quintic
/// Newton-Schulz iteration of Muon (Jordan et al., 2024; coefficients 3.4445, -4.7750, 2.0315). It starts from
/// `matrix / (norm + 1e-7)`. Products are made in the current [`crate::Precision`].
pub fn newton_schulz(rows: usize, columns: usize, matrix: &mut [f32], iterations: usize) {
    assert_sizes("the matrix", matrix.len(), [rows, columns]);
    let norm = square_sum(matrix).sqrt() + 1e-7;
    scale(matrix, (1.0 / norm) as f32);
    iterate(rows, columns, matrix, iterations);
}

/// `X <- a X + (b A + c A A) X` with `A = X Xᵀ`; of a tall X, `X <- a X + X (b A + c A A)` with `A = Xᵀ X`, which is the
/// same and has the smaller A.
fn iterate(rows: usize, columns: usize, x: &mut [f32], iterations: usize) {
    const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];
    let [a, b, c] = COEFFICIENTS;
    let (plain, turned) = (Layout::RowMajor, Layout::Transposed);
    let (side, is_wide) = (rows.min(columns), rows <= columns);
    let mut gram = Scratch::take(side * side);
    let mut mixed = Scratch::take(side * side);
    let mut next = Scratch::take(rows * columns);
    for _ in 0..iterations {
        let [left, right] = if is_wide { [plain, turned] } else { [turned, plain] };
        gemm(side, side, rows.max(columns), x, left, x, right, false, &mut gram);
        gemm(side, side, side, &gram, plain, &gram, plain, false, &mut mixed);
        combine([b, c], &gram, &mut mixed);
        let [left, right] = if is_wide { [&mixed[..], x] } else { [x, &mixed[..]] };
        gemm(rows, columns, side, left, plain, right, plain, false, &mut next);
        combine([1.0, a], &next, x);
    }
}

/// `into = first other + second into`.
fn combine([first, second]: [f32; 2], other: &[f32], into: &mut [f32]) {
    let isa = Isa::current();
    for_each_chunk(CHUNK, [into], [other], |[into], [other]| combine_values(isa, first, other, second, into));
}

per_isa!(fn combine_values = combine_body(first: f32, other: &[f32], second: f32, into: &mut [f32]));

#[inline(always)]
fn combine_body<const M: bool>(first: f32, other: &[f32], second: f32, into: &mut [f32]) {
    for (into, &other) in into.iter_mut().zip(other) {
        *into = multiply_add::<M>(first, other, second * *into);
    }
}
