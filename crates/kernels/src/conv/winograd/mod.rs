//! 3 x 3 convolutions of stride 1 by Winograd's algorithm (Lavin and Gray, 2015): outputs in tiles of m x m, n x n
//! products a tile instead of 9 m², n = m + 2.
//!
//! The work is cut into blocks of tiles whose transformed values stay in the second-level cache: input tiles to n²
//! planes of `[tiles, in_channels]`, n² products with the transformed weights, and the products back to outputs. The
//! transformed image never exists. Which convolutions are worth it is `algorithm`'s to say.
//!
//! A value that is not finite may make NaN of all outputs of the tiles that see it, where the direct algorithm would
//! spoil just those under the kernel. Outputs under the kernel are never spared.

mod forward;
mod gradient;
mod tiles;

pub(super) use forward::{Convolution, TransformedWeights};
pub(super) use gradient::WeightGradient;
