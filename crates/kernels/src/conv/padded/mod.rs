//! Convolutions as products of whole matrix tiles in bf16, for processors that have an instruction for those.
//!
//! Nothing is gathered: a task copies the pixels that it reads once, rounded and with zeros around the images, and then
//! each place of the kernel sees the copy from a position of its own. What costs more than the products themselves is
//! to write patches down, and to transform tiles.
//!
//! Positions count the pixels of such a copy, row after row and image after image. A row of zeros, or a column, is the
//! border of what lies before it and of what lies behind it. Outputs are computed for a run of positions, those on borders
//! too; these are left out when outputs are written. With a stride of s, the pixels whose rows and columns have one remainder by
//! s are a copy of their own, a phase, and every place of the kernel sees one of these.

mod forward;
mod gradient;
mod positions;

pub(super) use forward::Convolution;
pub(super) use gradient::WeightGradient;
