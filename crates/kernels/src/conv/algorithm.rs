//! Which algorithm computes a convolution: a rule on its sizes alone. It computes nothing itself.

use std::cell::Cell;

use super::shallow;
use crate::arch::{MicroKernel, Transforms};
use crate::scoped::within;
use crate::{ConvShape, Isa, Precision};

/// How a convolution or one of its gradients is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// As a matrix product with gathered patches; each group is a product of its own, or each channel a kernel's.
    Direct,
    /// The same product with rows of the image as they lie: forward passes of a few channels, without dilation and groups.
    Shallow,
    /// Winograd's F(2 x 2, 3 x 3): 16 multiplications for 4 outputs. 3 x 3 kernels, stride 1, padding up to 2 on each
    /// side, without dilation and groups.
    Winograd2,
    /// Winograd's F(4 x 4, 3 x 3): 36 multiplications for 16 outputs, and a few times the rounding error. The same
    /// kernels.
    Winograd4,
    /// Products of whole matrix tiles in bf16, of a copy of the image with zeros around it: where that is the precision,
    /// without groups. Weights are not kept for it.
    Padded,
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

/// What products in bf16 take beside those in f32: half the time, and some for rounding. On Zen 4 the whole of a
/// convolution took 0.52 to 0.75 of its time in f32, of any algorithm: the less, the more channels there are.
const BF16: f64 = 0.55;

thread_local! {
    static FORCED: Cell<Option<Algorithm>> = const { Cell::new(None) };
}

impl Algorithm {
    /// What computes `pass` of `shape` when this thread calls for it.
    pub fn of(shape: &ConvShape, pass: Pass) -> Self {
        Self::choose(shape, pass, || Self::cheapest(shape, pass, None))
    }

    /// The form in which weights are to be kept for convolutions of this shape.
    pub(super) fn to_prepare(shape: &ConvShape) -> Self {
        Self::choose(shape, Pass::Forward, || {
            let cost = |algorithm: &Self| algorithm.cost_of(shape, Pass::Forward, Some(*algorithm));
            Self::OF_WIDE.into_iter().min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(Self::Direct)
        })
    }

    /// [`of`](Self::of) a forward pass whose weights are there in the form of `prepared`.
    pub(super) fn of_prepared(shape: &ConvShape, prepared: Self) -> Self {
        Self::choose(shape, Pass::Forward, || Self::cheapest(shape, Pass::Forward, Some(prepared)))
    }

    fn choose(shape: &ConvShape, pass: Pass, cheapest: impl FnOnce() -> Self) -> Self {
        let plain = shape.stride == 1 && shape.dilation == 1 && shape.groups == 1;
        let is_possible = |algorithm: Self| match algorithm {
            Self::Direct => true,
            Self::Shallow => pass == Pass::Forward && shallow::takes(shape),
            Self::Winograd2 | Self::Winograd4 => plain && shape.kernel == [3, 3] && shape.padding.largest() <= 2,
            Self::Padded => shape.groups == 1 && Precision::current() == Precision::Bf16,
        };
        match FORCED.get() {
            Some(algorithm) if is_possible(algorithm) => algorithm,
            // It gathers nothing, and of few channels the transforms are most of what Winograd's algorithm does.
            _ if is_possible(Self::Shallow) => Self::Shallow,
            None if is_possible(Self::Padded) && multiplies_tiles() => Self::Padded,
            None if is_possible(Self::Winograd2) => cheapest(),
            _ => Self::Direct,
        }
    }

    /// Runs `work` with every convolution that this thread calls by this algorithm, wherever it is possible; for tests
    /// and measurements.
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        within(&FORCED, Some(self), work)
    }

    pub(super) fn transforms(self, kernel: &MicroKernel) -> Option<&'static Transforms> {
        match self {
            Self::Direct | Self::Shallow | Self::Padded => None,
            Self::Winograd2 => Some(kernel.winograd[0]),
            Self::Winograd4 => Some(kernel.winograd[1]),
        }
    }

    /// Every algorithm.
    pub const ALL: [Self; 5] = [Self::Direct, Self::Shallow, Self::Winograd2, Self::Winograd4, Self::Padded];

    /// Those between which the costs decide, where channels are not few.
    const OF_WIDE: [Self; 3] = [Self::Direct, Self::Winograd2, Self::Winograd4];

    /// The one of the least cost, if weights are there in the form of `prepared`.
    fn cheapest(shape: &ConvShape, pass: Pass, prepared: Option<Self>) -> Self {
        let cost = |algorithm: &Self| algorithm.cost_of(shape, pass, prepared);
        Self::OF_WIDE.into_iter().min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(Self::Direct)
    }

    fn cost_of(self, shape: &ConvShape, pass: Pass, prepared: Option<Self>) -> f64 {
        let (ins, outs) = (shape.in_channels, shape.out_channels);
        let (from, into, out) = match pass {
            Pass::Forward | Pass::WeightGradient => (ins, outs, [shape.out_height(), shape.out_width()]),
            Pass::InputGradient => (outs, ins, [shape.height, shape.width]),
        };
        // The direct algorithm gathers and turns patches for gradients of weights, which takes its time.
        let turned = self == Self::Direct && pass == Pass::WeightGradient;
        // Winograd's algorithm multiplies pairs of the channels that it sums over, or pairs of tiles.
        let in_pairs = self == Self::Direct || pass == Pass::WeightGradient || from.is_multiple_of(2);
        // Also where bf16 is emulated: the choice is that of processors that have it.
        let bf16 = if in_pairs && Precision::current() == Precision::Bf16 { BF16 } else { 1.0 };
        self.cost(shape.batch, out, [from, into], prepared, bf16) * if turned { 1.2 } else { 1.0 }
    }

    /// What `batch` images of `out` pixels cost, in multiplications of the direct algorithm in f32, where one of these products
    /// costs `multiplication`: its own, and those that
    /// gathering a patch has the time of; Winograd's, which
    /// are a little slower for their short sums; and for each channel of a tile, and for each weight, the
    /// multiplications that its transforms have the time of. Weights come dearer where all of them transformed do not
    /// stay in a cache close by. Tiles over the border cost as much as whole ones, and fewer than a few as much as a
    /// few; channels are computed by the vector. Prepared weights need no transform: they are read, and of few images that
    /// is what takes the time.
    ///
    /// The factors are from measurements with AVX2 (Zen 3), where predicted and measured times differ by up to a third; with
    /// AVX-512 (Zen 4), in f32 and in bf16, the algorithm of the least cost was the fastest, or within 5 % of it.
    fn cost(
        self,
        batch: usize,
        out: [usize; 2],
        [from, into]: [usize; 2],
        prepared: Option<Self>,
        multiplication: f64,
    ) -> f64 {
        const VECTOR: usize = 8;
        const FEW: usize = 4;
        let (from, into) = (from as f64, into.next_multiple_of(VECTOR) as f64);
        let (outputs, slower, read, write) = match self {
            Self::Direct | Self::Shallow | Self::Padded => {
                let weights = 9.0 * from * into;
                let pixels = (batch * out[0] * out[1]) as f64;
                return pixels * (multiplication * weights + 70.0 * from + 2400.0)
                    + prepared.map_or(0.0, |_| read_cost(weights));
            }
            Self::Winograd2 => (2, 1.1, 100.0, 80.0),
            Self::Winograd4 => (4, 1.2, 330.0, 250.0),
        };
        let tiles = (batch * out[0].div_ceil(outputs) * out[1].div_ceil(outputs)).max(FEW) as f64;
        let weights = (outputs + 2).pow(2) as f64 * from * into;
        let channels = read * from.max(VECTOR as f64) + write * into;
        let transform = from * into * if 4.0 * weights > CACHE_BYTES { 400.0 } else { 200.0 };
        let ready = match prepared {
            Some(prepared) if prepared == self => read_cost(weights),
            Some(_) => transform + read_cost(weights),
            None => transform,
        };
        tiles * (multiplication * slower * weights + channels) + ready
    }
}

/// Whether products of whole tiles have instructions of their own: of any channels they are then by far the cheapest.
fn multiplies_tiles() -> bool {
    MicroKernel::for_products(Isa::current()).matrix.is_native
}

/// Bytes of weights that a cache close by holds from one image to the next.
const CACHE_BYTES: f64 = 4e6;

/// What it costs to read prepared weights once, in multiplications.
fn read_cost(weights: f64) -> f64 {
    weights * if 4.0 * weights > CACHE_BYTES { 16.0 } else { 3.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_algorithm_is_the_one_that_was_measured_to_be() {
        let choice = |batch, size, ins, outs, pass| {
            let shape = ConvShape::new([batch, size, size, ins], outs, [3, 3], 1, 1).expect("a shape");
            Algorithm::of(&shape, pass)
        };
        for pass in [Pass::Forward, Pass::InputGradient, Pass::WeightGradient] {
            for (batch, size, ins, outs) in
                [(128, 32, 32, 32), (128, 15, 32, 128), (128, 3, 128, 128), (128, 4, 512, 512), (1, 16, 64, 64)]
            {
                assert_eq!(choice(batch, size, ins, outs, pass), Algorithm::Winograd4, "{batch} {size} {ins} {pass:?}");
            }
            assert_eq!(choice(128, 2, 128, 128, pass), Algorithm::Winograd2);
            assert_eq!(choice(1, 4, 512, 512, pass), Algorithm::Direct);
            for isa in Isa::available() {
                let of_isa = |algorithm| if isa == Isa::Amx { Algorithm::Padded } else { algorithm };
                let check = || {
                    for (size, ins, outs) in [(32, 32, 32), (15, 32, 128), (3, 128, 128), (8, 256, 256), (4, 512, 512)]
                    {
                        let expected = of_isa(Algorithm::Winograd4);
                        assert_eq!(choice(128, size, ins, outs, pass), expected, "{size} {ins} {pass:?} {isa}");
                    }
                    assert_eq!(choice(128, 2, 128, 128, pass), of_isa(Algorithm::Winograd2), "{pass:?} {isa}");
                };
                isa.run(|| Precision::Bf16.run(check));
            }
        }
        assert_eq!(choice(128, 32, 3, 32, Pass::Forward), Algorithm::Shallow);
        assert_eq!(choice(128, 32, 3, 32, Pass::WeightGradient), Algorithm::Winograd4);
    }

    #[test]
    fn weights_are_prepared_for_what_was_measured_to_be_fastest_with_one_image() {
        let prepared = |size, ins, outs| {
            let shape = ConvShape::new([1, size, size, ins], outs, [3, 3], 1, 1).expect("a shape");
            Algorithm::to_prepare(&shape)
        };
        for (size, ins, outs) in [(32, 32, 32), (16, 64, 64), (32, 64, 64), (16, 128, 128), (8, 64, 128), (8, 128, 128)]
        {
            assert_eq!(prepared(size, ins, outs), Algorithm::Winograd4, "{size} {ins}");
        }
        assert_eq!(prepared(8, 256, 256), Algorithm::Winograd2);
        for (size, channels) in [(32, 3), (8, 64), (8, 128), (8, 256), (4, 512), (2, 512)] {
            let shape = ConvShape::new([1, size, size, channels], 128, [3, 3], 1, 1).expect("a shape");
            let kept = Algorithm::to_prepare(&shape);
            assert_eq!(Algorithm::of_prepared(&shape, kept), kept, "{size} {channels}: prepared and then not used");
        }
        assert_eq!(prepared(4, 512, 512), Algorithm::Direct);
    }

    #[test]
    fn what_cannot_be_forced_is_computed_as_ever() {
        let shape =
            |kernel, stride, padding| ConvShape::new([8, 16, 16, 64], 64, kernel, stride, padding).expect("a shape");
        Algorithm::Winograd4.run(|| {
            assert_eq!(Algorithm::of(&shape([3, 3], 1, 2), Pass::Forward), Algorithm::Winograd4);
            for (kernel, stride, padding) in [([3, 3], 2, 1), ([1, 3], 1, 1), ([5, 5], 1, 2), ([3, 3], 1, 3)] {
                assert_eq!(Algorithm::of(&shape(kernel, stride, padding), Pass::Forward), Algorithm::Direct);
            }
        });
        let few = ConvShape::new([8, 16, 16, 3], 64, [7, 7], 2, 3).expect("a shape");
        let of = |pass| Algorithm::of(&few, pass);
        assert_eq!(Algorithm::Winograd4.run(|| of(Pass::Forward)), Algorithm::Shallow);
        assert_eq!(Algorithm::Direct.run(|| of(Pass::Forward)), Algorithm::Direct);
        assert_eq!(Algorithm::Shallow.run(|| of(Pass::WeightGradient)), Algorithm::Direct);
    }
}
