//! CPU compute for image classifiers, on plain slices: convolution, matrix products, norms, pooling, losses,
//! optimisers.
//!
//! Everything is contiguous and f32; [`Precision`] can have the operands of products rounded to bf16, and feature maps may be
//! kept in it ([`Element`]). Activations are channels-last, `[batch, height, width, channels]`; convolution weights are
//! `[kernel_height, kernel_width, in_channels / groups, out_channels]`, linear weights `[inputs, outputs]`.
//!
//! * Shapes are checked once, where they are made ([`ConvShape::new`] and its like return [`ShapeError`]). The
//!   functions then assert that their slices have the lengths of the shape: a wrong length is a bug of the caller.
//! * The same bits come out whatever the number of rayon's threads: work is cut by its size, every value is computed
//!   by one task, and what has to be summed across tasks is summed in a fixed order.
//! * NaN and infinity pass through as IEEE 754 says; the zeros of a padding take part, so that infinite weights at a
//!   border may give NaN. Only a convolution by Winograd's algorithm (see [`Algorithm`]) does not keep to it: there a
//!   NaN or infinity may make NaN of every output of the tiles (4 x 4 outputs at most) that see it.
//! * The instruction set is chosen once: see [`Isa`].
//! * Scratch memory belongs to the threads and is kept: in the steady state nothing large is allocated. Whoever makes
//!   many small calls should make them inside `rayon::ThreadPool::install`, which saves a change of threads for each; and where calls take
//!   microseconds, inside [`together`], which saves waking threads.

mod activation;
mod arch;
mod conv;
mod element;
mod frequencies;
mod gate;
mod gemm;
mod isa;
mod lanes;
mod linear;
mod loss;
mod memory;
mod norm;
mod optimizer;
mod parallel;
mod pixels;
mod pool;
mod precision;
pub mod reference;
mod scoped;
mod scratch;
mod shape;
mod sigmoid;
mod team;

pub use activation::{Activation, activate, activate_gradient, add, add_relu, relu, relu_gradient};
pub use conv::{
    Algorithm, BlockLayer, InvertedResidual, Pass, PreparedConv, conv2d, conv2d_fused, conv2d_input_gradient,
    conv2d_weight_gradient, conv2d_with_statistics,
};
pub use element::{Bf16, Element};
pub use frequencies::{Block, OUTPUTS, Weights, luma_and_chroma_to_rgb, luma_to_grey, reduce_across, reduce_down};
pub use gate::{channel_gate, channel_gate_gradient};
pub use gemm::{Layout, gemm};
pub use isa::Isa;
pub use linear::{LinearInput, linear, linear_input_gradient, linear_weight_gradient, linear_weight_update};
pub use loss::{Targets, softmax, softmax_cross_entropy};
pub use memory::LargePages;
pub use norm::{
    batch_norm_apply, batch_norm_gradient, batch_norm_infer, batch_norm_infer_in_place, batch_norm_train, channel_sums,
    layer_norm, layer_norm_gradient,
};
pub use optimizer::{AdamW, Sgd, Update, average, newton_schulz, scale, square_sum};
pub use pixels::normalize;
pub use pool::{
    global_average_pool, global_average_pool_gradient, global_max_pool, global_max_pool_gradient, max_pool,
    max_pool_gradient,
};
pub use precision::Precision;
pub use shape::{ConvShape, LinearShape, NormShape, Padding, PoolShape, ShapeError};
pub use sigmoid::{sigmoid, sigmoid_cross_entropy};
pub use team::together;

/// As [`assert_len`], of a slice that holds a number for each place of `sizes`.
///
/// # Panics
/// Also when there are more places than this machine can address: their number must not wrap around and fit.
#[track_caller]
fn assert_sizes<const N: usize>(what: &str, actual: usize, sizes: [usize; N]) {
    let length = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let Some(length) = length else {
        panic!("{what} of {sizes:?} has more values than this machine can address");
    };
    assert_len(what, actual, length);
}

/// A slice of a wrong length is a bug of the caller: the message names what it was and both lengths.
#[track_caller]
fn assert_len(what: &str, actual: usize, expected: usize) {
    assert!(actual == expected, "{what} has {actual} values where its shape says {expected}");
}
