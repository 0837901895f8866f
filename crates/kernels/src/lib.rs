//! CPU compute for image classifiers, on plain slices.
//!
//! Numbers are f32. Activations lie channels-last, `[batch, height, width, channels]`; the weights of a convolution
//! `[kernel, kernel, in, out]`, of a linear layer `[in, out]`. Shapes are checked once, when a shape is made; the
//! functions then assert the lengths of slices. Work is cut by its size and never by the number of threads, and sums
//! are taken in a fixed order, so the same instruction set gives the same bits on any number of threads. NaN and
//! infinity pass through as IEEE 754 says. This crate knows no images, no models and no files.

mod arch;
mod conv;
mod elementwise;
mod gemm;
mod isa;
mod loss;
mod norm;
mod optimizer;
mod pool;
pub mod reference;
mod scratch;
mod shape;

pub use conv::{conv2d, conv2d_input_gradient, conv2d_weight_gradient};
pub use elementwise::{
    Activation, add, add_relu, average, channel_sums, gelu, gelu_gradient, normalize, relu, relu_gradient, scale,
    square_sum,
};
pub use gemm::linear::{linear, linear_input_gradient, linear_weight_gradient};
pub use isa::{Isa, with_isa};
pub use loss::{Targets, softmax, softmax_cross_entropy};
pub use norm::{batch_norm_gradient, batch_norm_infer, batch_norm_train};
pub use optimizer::{AdamW, Sgd, adamw_step, newton_schulz, sgd_step};
pub use pool::{
    global_average_pool, global_average_pool_gradient, global_max_pool, global_max_pool_gradient, max_pool,
    max_pool_gradient,
};
pub use shape::{ConvShape, LinearShape, NormShape, PoolShape, ShapeError};
