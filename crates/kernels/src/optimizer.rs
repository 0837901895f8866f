//! Updates of parameters, each in one pass over memory.

use rayon::prelude::*;

use crate::{
    elementwise::{CHUNK, scale, square_sum},
    gemm::linear::product,
    isa::{Isa, for_each_isa},
    scratch::with_scratch,
};

/// Stochastic gradient descent, as torch's `SGD` without dampening.
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    /// The step.
    pub learning_rate: f32,
    /// Share of the velocity that is kept; 0 for none.
    pub momentum: f32,
    /// Whether the step looks ahead along the velocity.
    pub nesterov: bool,
    /// Added to the gradient, times the parameter.
    pub weight_decay: f32,
}

for_each_isa! {
    fn sgd_chunk(sgd: &Sgd, parameters: &mut [f32], gradients: &[f32], velocity: &mut [f32]) {
        let Sgd { learning_rate, momentum, nesterov, weight_decay } = *sgd;
        let look_ahead = if nesterov { momentum } else { 0.0 };
        let direct = if nesterov { 1.0 } else { 0.0 };
        let kept = if nesterov { look_ahead } else { 1.0 };
        for ((p, g), v) in parameters.iter_mut().zip(gradients).zip(velocity) {
            let g = g + weight_decay * *p;
            *v = momentum * *v + g;
            *p -= learning_rate * (direct * g + kept * *v);
        }
    }
}

/// One step of gradient descent. Without momentum, the velocity is the last gradient.
///
/// # Panics
/// If the lengths differ.
pub fn sgd_step(sgd: &Sgd, parameters: &mut [f32], gradients: &[f32], velocity: &mut [f32]) {
    assert_eq!(parameters.len(), gradients.len());
    assert_eq!(parameters.len(), velocity.len());
    let isa = Isa::current();
    parameters
        .par_chunks_mut(CHUNK)
        .zip(gradients.par_chunks(CHUNK).zip(velocity.par_chunks_mut(CHUNK)))
        .for_each(|(p, (g, v))| sgd_chunk(isa, sgd, p, g, v));
}

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019), as torch's `AdamW`.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// The step.
    pub learning_rate: f32,
    /// Share of the mean gradient that is kept.
    pub beta1: f32,
    /// Share of the mean squared gradient that is kept.
    pub beta2: f32,
    /// Keeps the division finite.
    pub epsilon: f32,
    /// Pull towards 0, times the learning rate.
    pub weight_decay: f32,
}

for_each_isa! {
    fn adamw_chunk(adamw: &AdamW, corrections: [f32; 2], parameters: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32]) {
        let AdamW { learning_rate, beta1, beta2, epsilon, weight_decay } = *adamw;
        let moments = first.iter_mut().zip(second);
        for ((p, &g), (m, v)) in parameters.iter_mut().zip(gradients).zip(moments) {
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            let direction = *m * corrections[0] / ((*v * corrections[1]).sqrt() + epsilon);
            *p -= learning_rate * (direction + weight_decay * *p);
        }
    }
}

/// One step of AdamW; `step` counts from 1.
///
/// # Panics
/// If the lengths differ.
pub fn adamw_step(
    adamw: &AdamW,
    parameters: &mut [f32],
    gradients: &[f32],
    step: u64,
    first: &mut [f32],
    second: &mut [f32],
) {
    assert_eq!(parameters.len(), gradients.len());
    assert_eq!(parameters.len(), first.len());
    assert_eq!(parameters.len(), second.len());
    let isa = Isa::current();
    let correction = |beta: f32| (1.0 / (1.0 - f64::from(beta).powf(step as f64))) as f32;
    let corrections = [correction(adamw.beta1), correction(adamw.beta2)];
    parameters
        .par_chunks_mut(CHUNK)
        .zip(gradients.par_chunks(CHUNK))
        .zip(first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK)))
        .for_each(|((p, g), (m, v))| adamw_chunk(isa, adamw, corrections, p, g, m, v));
}

/// Brings the singular values of a matrix `[rows, columns]` near 1, by the quintic Newton-Schulz iteration of Muon
/// (Jordan 2024).
///
/// # Panics
/// If `matrix` does not hold `rows * columns` numbers.
pub fn newton_schulz(rows: usize, columns: usize, matrix: &mut [f32], iterations: usize) {
    assert_eq!(matrix.len(), rows * columns);
    const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];
    let length = square_sum(matrix).sqrt() as f32;
    scale(matrix, 1.0 / (length + 1e-7));
    let size = rows.min(columns);
    with_scratch(2 * size * size + rows * columns, |scratch| {
        let (square, rest) = scratch.split_at_mut(size * size);
        let (fourth, result) = rest.split_at_mut(size * size);
        for _ in 0..iterations {
            // With X tall, A = XᵀX and X (a + bA + cA²); with X wide, A = XXᵀ and (a + bA + cA²) X.
            if rows > columns {
                crate::gemm::linear::transposed_product(rows, columns, columns, matrix, matrix, square);
            } else {
                product([rows, columns, rows], matrix, matrix, [1, columns], None, square);
            }
            product([size, size, size], square, square, [size, 1], None, fourth);
            for (index, (four, two)) in fourth.iter_mut().zip(&*square).enumerate() {
                let diagonal = if index / size == index % size { COEFFICIENTS[0] } else { 0.0 };
                *four = diagonal + COEFFICIENTS[1] * two + COEFFICIENTS[2] * *four;
            }
            if rows > columns {
                product([rows, columns, columns], matrix, fourth, [columns, 1], None, result);
            } else {
                product([rows, rows, columns], fourth, matrix, [columns, 1], None, result);
            }
            matrix.copy_from_slice(result);
        }
    });
}
