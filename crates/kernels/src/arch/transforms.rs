//! Winograd's transforms (Lavin and Gray, 2015, "Fast Algorithms for Convolutional Neural Networks"), written once
//! over the vector operations of an instruction set: a lane is a channel, every value of a tile a vector.
//!
//! F(m x m, 3 x 3) computes `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` for m x m outputs from n x n inputs, n = m + 2. The
//! gradient of the weights follows from the same matrices: `Gᵀ [(A y Aᵀ) ⊙ (Bᵀ d B)] G`.
//!
//! The matrices belong to the points at which polynomials are evaluated. For m = 4 the usual 0, ±1, ±2 have more than
//! twice the rounding error of 0, ±1/√2, ±√2, points in pairs of c and 1/c (Alam, Anderson, Barabasz and Gregg, 2022,
//! "Winograd Convolution for Deep Neural Networks: Efficient Point Selection"), at the same cost.

/// Rows of the largest tile.
pub(crate) const GRID_ROWS: usize = 6;

/// Where the values of a tile lie: that of a row and column at `rows[row] + column * step`, for the columns `inside`,
/// and at `outside` for the others. A row that has no values of its own may be any place that has room for all columns.
#[derive(Clone, Copy)]
pub(crate) struct Grid<P> {
    pub(crate) rows: [P; GRID_ROWS],
    pub(crate) step: usize,
    /// The first column, and the one behind the last.
    pub(crate) inside: [usize; 2],
    pub(crate) outside: P,
}

/// Applies a matrix along both axes of a tile, for channels `0..length`, which lie next to each other.
///
/// # Safety
/// The machine has the instruction set; `length` is a vector at least; every place of the matrix's input and output can
/// be read or written for all channels, and none that is written is read, or used by anybody else meanwhile. The second of
/// two that share words writes where the first has written just before.
pub(crate) type TransformFn = unsafe fn(from: &Grid<*const f32>, into: &Grid<*mut f32>, length: usize);

/// The transforms of one size of tile.
pub(crate) struct Transforms {
    /// Outputs of a tile along each axis: m.
    pub(crate) outputs: usize,
    /// Inputs along each axis: n.
    pub(crate) inputs: usize,
    /// `Bᵀ d B`: n x n inputs.
    pub(crate) input: TransformFn,
    /// `G g Gᵀ`: 3 x 3 weights to n x n.
    pub(crate) weights: TransformFn,
    /// `Aᵀ m A`: n x n sums to m x m outputs.
    pub(crate) output: TransformFn,
    /// `A y Aᵀ`: the gradient of m x m outputs to n x n.
    pub(crate) output_gradient: TransformFn,
    /// `Gᵀ u G`: n x n sums to the gradient of 3 x 3 weights.
    pub(crate) weight_gradient: TransformFn,
    /// Those that write operands in bf16, where products are made of such.
    pub(crate) narrow: Option<&'static NarrowTransforms>,
}

/// Transforms that round what they write to bf16, two in a word.
pub(crate) struct NarrowTransforms {
    /// `Bᵀ d B`; a word holds two channels next to each other.
    pub(crate) input: TransformFn,
    /// The same of two tiles, one after the other; a word holds a channel of both. The first writes 0 for the second.
    pub(crate) paired_input: [TransformFn; 2],
    /// `A y Aᵀ`, of two tiles in the same way.
    pub(crate) paired_output_gradient: [TransformFn; 2],
}

/// Writes the transforms of an instruction set out of `zero`, `load`, `store`, `constant`, `add`, `subtract` and
/// `multiply_add`, which the file that calls this has in scope.
macro_rules! transforms {
    ($(#[$features:meta])*) => {
        use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

        pub(super) const TWO: super::Transforms = super::Transforms {
            outputs: 2,
            inputs: 4,
            input: input_2,
            weights: weights_2,
            output: output_2,
            output_gradient: output_gradient_2,
            weight_gradient: weight_gradient_2,
            narrow: None,
        };

        pub(super) const FOUR: super::Transforms = super::Transforms {
            outputs: 4,
            inputs: 6,
            input: input_4,
            weights: weights_4,
            output: output_4,
            output_gradient: output_gradient_4,
            weight_gradient: weight_gradient_4,
            narrow: None,
        };

        super::transforms::both_axes!(
            $(#[$features])* input_2 = input_axis_2, put, edges (true, false): 0 1 2 3 => 0 1 2 3
        );
        super::transforms::both_axes!(
            $(#[$features])* weights_2 = weights_axis_2, put, edges (false, false): 0 1 2 => 0 1 2 3
        );
        super::transforms::both_axes!(
            $(#[$features])* output_2 = output_axis_2, put, edges (false, true): 0 1 2 3 => 0 1
        );
        super::transforms::both_axes!(
            $(#[$features])* output_gradient_2 = output_gradient_axis_2, put, edges (true, false): 0 1 => 0 1 2 3
        );
        super::transforms::both_axes!(
            $(#[$features])* weight_gradient_2 = weight_gradient_axis_2, put, edges (false, false): 0 1 2 3 => 0 1 2
        );
        super::transforms::both_axes!(
            $(#[$features])* input_4 = input_axis_4, put, edges (true, false): 0 1 2 3 4 5 => 0 1 2 3 4 5
        );
        super::transforms::both_axes!(
            $(#[$features])* weights_4 = weights_axis_4, put, edges (false, false): 0 1 2 => 0 1 2 3 4 5
        );
        super::transforms::both_axes!(
            $(#[$features])* output_4 = output_axis_4, put, edges (false, true): 0 1 2 3 4 5 => 0 1 2 3
        );
        super::transforms::both_axes!(
            $(#[$features])* output_gradient_4 = output_gradient_axis_4, put, edges (true, false): 0 1 2 3 => 0 1 2 3 4 5
        );
        super::transforms::both_axes!(
            $(#[$features])* weight_gradient_4 = weight_gradient_axis_4, put, edges (false, false): 0 1 2 3 4 5 => 0 1 2
        );

        // m = 2, the points 0, 1, -1 and infinity.

        #[inline]
        $(#[$features])*
        pub(super) fn input_axis_2([a, b, c, d]: [Vector; 4]) -> [Vector; 4] {
            [subtract(a, c), add(b, c), subtract(c, b), subtract(b, d)]
        }

        #[inline]
        $(#[$features])*
        fn weights_axis_2([a, b, c]: [Vector; 3]) -> [Vector; 4] {
            let half = constant(0.5);
            let ends = multiply(half, add(a, c));
            [a, multiply_add(half, b, ends), multiply_add(constant(-0.5), b, ends), c]
        }

        #[inline]
        $(#[$features])*
        fn output_axis_2([a, b, c, d]: [Vector; 4]) -> [Vector; 2] {
            [add(a, add(b, c)), subtract(subtract(b, c), d)]
        }

        #[inline]
        $(#[$features])*
        pub(super) fn output_gradient_axis_2([a, b]: [Vector; 2]) -> [Vector; 4] {
            [a, add(a, b), subtract(a, b), subtract(zero(), b)]
        }

        #[inline]
        $(#[$features])*
        fn weight_gradient_axis_2([a, b, c, d]: [Vector; 4]) -> [Vector; 3] {
            let half = constant(0.5);
            let sum = add(b, c);
            [multiply_add(half, sum, a), multiply(half, subtract(b, c)), multiply_add(half, sum, d)]
        }

        // m = 4, the points 0, ±1/√2, ±√2 and infinity.

        #[inline]
        $(#[$features])*
        pub(super) fn input_axis_4([a, b, c, d, e, f]: [Vector; 6]) -> [Vector; 6] {
            let (two, half, middle) = (constant(-2.0), constant(-0.5), constant(-2.5));
            let (near, near_odd) = (multiply_add(two, c, e), multiply_add(two, b, d));
            let (far, far_odd) = (multiply_add(half, c, e), multiply_add(half, b, d));
            [
                multiply_add(middle, c, add(a, e)),
                multiply_add(constant(FRAC_1_SQRT_2), near_odd, near),
                multiply_add(constant(-FRAC_1_SQRT_2), near_odd, near),
                multiply_add(constant(SQRT_2), far_odd, far),
                multiply_add(constant(-SQRT_2), far_odd, far),
                multiply_add(middle, d, add(b, f)),
            ]
        }

        #[inline]
        $(#[$features])*
        fn weights_axis_4([a, b, c]: [Vector; 3]) -> [Vector; 6] {
            let last = multiply(constant(1.0 / 3.0), c);
            let near = subtract(multiply(constant(-2.0 / 3.0), a), last);
            let far = multiply_add(constant(1.0 / 6.0), a, last);
            [
                a,
                multiply_add(constant(-SQRT_2 / 3.0), b, near),
                multiply_add(constant(SQRT_2 / 3.0), b, near),
                multiply_add(constant(SQRT_2 / 6.0), b, far),
                multiply_add(constant(-SQRT_2 / 6.0), b, far),
                c,
            ]
        }

        #[inline]
        $(#[$features])*
        fn output_axis_4([a, b, c, d, e, f]: [Vector; 6]) -> [Vector; 4] {
            let (near, near_odd) = (add(b, c), subtract(b, c));
            let (far, far_odd) = (add(d, e), subtract(d, e));
            [
                add(a, add(near, far)),
                multiply(constant(FRAC_1_SQRT_2), multiply_add(constant(2.0), far_odd, near_odd)),
                multiply(constant(0.5), multiply_add(constant(4.0), far, near)),
                multiply_add(constant(FRAC_1_SQRT_2 / 2.0), multiply_add(constant(8.0), far_odd, near_odd), f),
            ]
        }

        #[inline]
        $(#[$features])*
        pub(super) fn output_gradient_axis_4([a, b, c, d]: [Vector; 4]) -> [Vector; 6] {
            let (half, two) = (constant(0.5), constant(2.0));
            let (near, near_odd) = (multiply_add(half, c, a), multiply_add(half, d, b));
            let (far, far_odd) = (multiply_add(two, c, a), multiply_add(two, d, b));
            [
                a,
                multiply_add(constant(FRAC_1_SQRT_2), near_odd, near),
                multiply_add(constant(-FRAC_1_SQRT_2), near_odd, near),
                multiply_add(constant(SQRT_2), far_odd, far),
                multiply_add(constant(-SQRT_2), far_odd, far),
                d,
            ]
        }

        #[inline]
        $(#[$features])*
        fn weight_gradient_axis_4([a, b, c, d, e, f]: [Vector; 6]) -> [Vector; 3] {
            let (near, near_odd) = (add(b, c), subtract(b, c));
            let (far, far_odd) = (add(d, e), subtract(d, e));
            [
                multiply_add(constant(1.0 / 6.0), far, multiply_add(constant(-2.0 / 3.0), near, a)),
                multiply(constant(SQRT_2 / 6.0), multiply_add(constant(-2.0), near_odd, far_odd)),
                multiply_add(constant(1.0 / 3.0), subtract(far, near), f),
            ]
        }

        /// # Safety
        /// `place` can be written at `LANES` values from `channel` on.
        #[inline]
        $(#[$features])*
        unsafe fn put(place: *mut f32, channel: usize, values: Vector) {
            // SAFETY: the caller's promise.
            unsafe { store(place.wrapping_add(channel), values) };
        }

        #[inline]
        $(#[$features])*
        fn multiply(a: Vector, b: Vector) -> Vector {
            multiply_add(a, b, zero())
        }
    };
}
pub(super) use transforms;

/// Makes a [`TransformFn`] of a function along one axis. `put(place, channel, values)` writes a vector of channels of the
/// value at `place`; `edges` says whether columns of what is read, and of what is written, may be outside.
macro_rules! both_axes {
    (
        $(#[$features:meta])* $name:ident = $axis:ident, $put:ident, edges ($from:literal, $into:literal):
        $($input:literal)* => $($output:literal)*
    ) => {
        /// # Safety
        /// As [`super::transforms::TransformFn`] says.
        $(#[$features])*
        unsafe fn $name(from: &super::Grid<*const f32>, into: &super::Grid<*mut f32>, length: usize) {
            const INPUTS: usize = [$($input),*].len();
            const OUTPUTS: usize = [$($output),*].len();
            let outside = [from.outside; INPUTS];
            let mut channel = 0;
            while channel < length {
                // The last vector may overlap the one before: it then computes the same values again.
                channel = channel.min(length - LANES);
                let mut half = [[zero(); INPUTS]; OUTPUTS];
                for column in 0..INPUTS {
                    let inside = !$from || from.inside[0] <= column && column < from.inside[1];
                    let (rows, place) =
                        if inside { (&from.rows[..INPUTS], column * from.step + channel) } else { (&outside[..], channel) };
                    // SAFETY: all of these places can be read.
                    let values = $axis(unsafe { [$(load(rows[$input].wrapping_add(place))),*] });
                    $(half[$output][column] = values[$output];)*
                }
                for (row, half) in half.into_iter().enumerate() {
                    let values = $axis(half);
                    $({
                        let inside = !$into || into.inside[0] <= $output && $output < into.inside[1];
                        let place = if inside { into.rows[row].wrapping_add($output * into.step) } else { into.outside };
                        // SAFETY: all of these places can be written.
                        unsafe { $put(place, channel, values[$output]) };
                    })*
                }
                channel += LANES;
            }
        }
    };
}
pub(super) use both_axes;
