//! Which algorithm computes a convolution: a rule on its sizes alone. It computes nothing itself.

use std::cell::Cell;

use crate::ConvShape;
use crate::arch::{MicroKernel, Transforms};

/// How a convolution or one of its gradients is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// As a matrix product with gathered patches.
    Direct,
    /// Winograd's F(2 x 2, 3 x 3): 16 multiplications for 4 outputs. 3 x 3 kernels, stride 1, padding up to 2.
    Winograd2,
    /// Winograd's F(4 x 4, 3 x 3): 36 multiplications for 16 outputs, and a few times the rounding error. The same
    /// kernels.
    Winograd4,
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// [`crate::conv2d`].
    Forward,
    /// [`crate::conv2d_input_gradient`].
    InputGradient,
    /// [`crate::conv2d_weight_gradient`].
    WeightGradient,
}

thread_local! {
    static FORCED: Cell<Option<Algorithm>> = const { Cell::new(None) };
}

impl Algorithm {
    /// What computes `pass` of `shape` when this thread calls for it.
    pub fn of(shape: &ConvShape, pass: Pass) -> Self {
        let possible = shape.kernel == [3, 3] && shape.stride == 1 && shape.padding <= 2;
        match FORCED.get() {
            _ if !possible => Self::Direct,
            Some(algorithm) => algorithm,
            None => Self::cheapest(shape, pass),
        }
    }

    /// Runs `work` with every convolution that this thread calls by this algorithm, wherever it is possible; for tests
    /// and measurements.
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        struct Restore(Option<Algorithm>);
        impl Drop for Restore {
            fn drop(&mut self) {
                FORCED.set(self.0);
            }
        }
        let _restore = Restore(FORCED.replace(Some(self)));
        work()
    }

    pub(super) fn transforms(self, kernel: &MicroKernel) -> Option<&'static Transforms> {
        match self {
            Self::Direct => None,
            Self::Winograd2 => Some(kernel.winograd[0]),
            Self::Winograd4 => Some(kernel.winograd[1]),
        }
    }

    fn cheapest(shape: &ConvShape, _pass: Pass) -> Self {
        let tiles = shape.batch * shape.out_height().div_ceil(4) * shape.out_width().div_ceil(4);
        if tiles >= 32 && shape.in_channels.min(shape.out_channels) >= 16 { Self::Winograd4 } else { Self::Direct }
    }
}
