//! Sizes whose product wraps around are refused, also where the wrapped product is the length of a slice.

use std::panic::catch_unwind;

use percept_kernels::{
    Layout, Targets, channel_gate, channel_gate_gradient, channel_sums, gemm, global_average_pool,
    global_average_pool_gradient, global_max_pool, global_max_pool_gradient, newton_schulz, normalize,
    sigmoid_cross_entropy, softmax, softmax_cross_entropy,
};

/// Half of the numbers that a size can have: twice as much is 0.
const HALF: usize = 1 << (usize::BITS - 1);

/// Demands that `work` names what has too many values.
#[track_caller]
fn refuses(what: &str, work: fn()) {
    let panic = catch_unwind(work).expect_err("sizes that wrap around");
    let message = panic.downcast::<String>().expect("a message");
    assert!(message.starts_with(&format!("{what} of [")), "{message}");
    assert!(message.ends_with("has more values than this machine can address"), "{message}");
}

#[test]
fn products_of_sizes_that_wrap_around_are_refused() {
    const PLAIN: Layout = Layout::RowMajor;
    assert_eq!(HALF.wrapping_mul(2), 0);
    refuses("a", || gemm(HALF, 3, 2, &[], PLAIN, &[0.0; 6], PLAIN, false, &mut []));
    refuses("b", || gemm(2, HALF, 2, &[0.0; 4], PLAIN, &[], PLAIN, false, &mut []));
    refuses("c", || gemm(HALF, 2, 0, &[], PLAIN, &[], PLAIN, false, &mut []));
    refuses("the input", || normalize(HALF, 2, 1, &[], &[1.0], &[0.0], &mut []));
    refuses("the input", || normalize(HALF, 1, 2, &[], &[1.0; 2], &[0.0; 2], &mut []));
    refuses("the logits", || softmax(HALF, 2, &mut []));
    refuses("the logits", || {
        softmax_cross_entropy(HALF, 2, &[], Targets::Labels(&[]), 0.0, None, &mut [], &mut []);
    });
    refuses("the logits", || {
        sigmoid_cross_entropy(HALF, 2, &[], &[], 0.0, None, &mut [], &mut []);
    });
    refuses("the values", || channel_sums::<f32>(HALF, 2, &[], &mut [0.0; 2]));
    refuses("the input", || channel_gate(2, HALF, 1, &[], &[1.0; 2], &mut []));
    refuses("the input", || channel_gate_gradient(2, HALF, 1, &[], &[1.0; 2], &mut [], &mut [0.0; 2]));
    refuses("the input", || global_average_pool::<f32>(2, HALF, 1, &[], &mut [0.0; 2]));
    refuses("the input's gradient", || global_average_pool_gradient::<f32>(2, HALF, 1, &[0.0; 2], &mut []));
    refuses("the matrix", || newton_schulz(HALF, 2, &mut [], 1));
}

/// A maximum counts its pixels in 32 bits: of more channels.
#[test]
fn the_largest_values_of_too_many_channels_are_refused() {
    refuses("the input", || global_max_pool::<f32>(2, 1, HALF, &[], &mut [], &mut []));
    refuses("the output's gradient", || global_max_pool_gradient::<f32>(2, 1, HALF, &[], &[], &mut []));
}
