//! Depthwise convolutions, written once over the vector operations of an instruction set: a lane is a channel. A weight
//! that was loaded serves several pixels, whose sums stay in registers; for the gradient of the weights, a gradient that
//! was loaded serves several places of the kernel.

/// Outputs of a row that are computed together, at most.
pub(crate) const PIXELS: usize = 8;

/// Places of the kernel whose gradients are summed together, at most.
pub(crate) const TAPS: usize = 9;

/// Columns of the kernels that have kernels of their own at stride 1: those of the usual networks, and of the phases that
/// a stride of 2 makes of their gradients.
pub(crate) const COLUMNS: [usize; 4] = [1, 2, 3, 5];

/// Outputs next to each other, for channels next to each other.
pub(crate) struct DepthwiseTile<'a> {
    /// Channels: a vector at least.
    pub(crate) channels: usize,
    /// What lies under the first place of the kernel for the first output. It may be outside of the image.
    pub(crate) input: *const f32,
    /// From one output to the next.
    pub(crate) input_pixel: usize,
    /// From one column of the kernel to the next, and from one row to the next.
    pub(crate) input_step: [usize; 2],
    /// Rows of the kernel.
    pub(crate) rows: usize,
    /// For each column of the kernel, the first of the outputs for which it is in the image, and the one behind the last.
    pub(crate) inside: &'a [[u8; 2]],
    /// The first of the image's columns under the kernel for these outputs, counted from `input`, and the one behind the
    /// last.
    pub(crate) seen: [usize; 2],
    /// Those of the kernel's first place; the others follow, `weights_step` values from one to the next.
    pub(crate) weights: *const f32,
    pub(crate) weights_step: usize,
    /// What the sums start from; null for zeros.
    pub(crate) bias: *const f32,
    /// What is added; null for nothing. It lies as the output does.
    pub(crate) residual: *const f32,
    pub(crate) output: *mut f32,
    /// From one output to the next.
    pub(crate) output_pixel: usize,
    /// Where outputs are cut off.
    pub(crate) bounds: [f32; 2],
}

/// Computes a tile of a fixed number of outputs.
///
/// # Safety
/// The machine has the instruction set; for all `channels`, the input can be read under every row and column of the
/// kernel for the outputs that are `inside`, weights for every place of the kernel, `bias` and `residual` unless they are
/// null; every output can be written, and nobody else uses it meanwhile.
pub(crate) type DepthwiseFn = unsafe fn(&DepthwiseTile<'_>);

/// A rectangle of outputs for all of which some places of the kernel are in the image, for channels next to each other.
pub(crate) struct DepthwiseTaps<'a> {
    /// Channels: a vector at least.
    pub(crate) channels: usize,
    /// Rows and columns of outputs.
    pub(crate) size: [usize; 2],
    /// The input that belongs to the first output and to a place of the kernel at the image's origin.
    pub(crate) input: *const f32,
    /// From one row of outputs, and from one output, to the next.
    pub(crate) input_step: [usize; 2],
    /// Where the input lies for each place of the kernel, seen from `input`: no more than [`TAPS`].
    pub(crate) offsets: &'a [isize],
    /// The gradient of the outputs.
    pub(crate) gradient: *const f32,
    pub(crate) gradient_step: [usize; 2],
    /// To which the products are added: those of the first place, and so on.
    pub(crate) sums: *mut f32,
    pub(crate) sums_step: usize,
}

/// Adds up a rectangle for a fixed number of places.
///
/// # Safety
/// The machine has the instruction set; `offsets` has as many values as there are places; for all `channels`, input and
/// gradient can be read for every output of the rectangle, and the sums of every place can be read and written, and
/// nobody else uses them meanwhile.
pub(crate) type TapsFn = unsafe fn(&DepthwiseTaps<'_>);

/// The depthwise kernels of an instruction set.
pub(crate) struct Depthwise {
    /// `tiles[p - 1]` computes `p` outputs, whatever the kernel.
    pub(crate) tiles: [DepthwiseFn; PIXELS],
    /// The same for kernels of [`COLUMNS`] at stride 1 and without dilation, which load every input once.
    pub(crate) rows: [[DepthwiseFn; PIXELS]; COLUMNS.len()],
    /// `taps[t - 1]` sums for `t` places.
    pub(crate) taps: [TapsFn; TAPS],
}

/// Writes the kernels of an instruction set out of `zero`, `load`, `store`, `constant`, `add`, `clamp` and
/// `multiply_add`, which the file that calls this has in scope.
macro_rules! depthwise {
    ($(#[$features:meta])*) => {
        super::depthwise::depthwise!(
            $(#[$features])* pixels: 0 1 2 3 4 5 6 7, taps: 0 1 2 3 4 5 6 7 8,
            columns: 0 1 2 3 4 5 6 7 8 9 10 11
        );
    };
    ($(#[$features:meta])* pixels: $($pixel:literal)*, taps: $($tap:literal)*, columns: $($column:literal)*) => {
        pub(super) const DEPTHWISE: super::Depthwise = super::Depthwise {
            tiles: [$(depthwise_tile::<{ $pixel + 1 }>),*],
            rows: [
                [$(depthwise_row::<{ $pixel + 1 }, 1>),*],
                [$(depthwise_row::<{ $pixel + 1 }, 2>),*],
                [$(depthwise_row::<{ $pixel + 1 }, 3>),*],
                [$(depthwise_row::<{ $pixel + 1 }, 5>),*],
            ],
            taps: [$(depthwise_taps::<{ $tap + 1 }>),*],
        };

        /// # Safety
        /// As [`super::depthwise::DepthwiseFn`] says, for `P` outputs.
        $(#[$features])*
        unsafe fn depthwise_tile<const P: usize>(tile: &super::DepthwiseTile<'_>) {
            let [low, high] = [constant(tile.bounds[0]), constant(tile.bounds[1])];
            let mut channel = 0;
            while channel < tile.channels {
                // The last vector may overlap the one before: it then computes the same values again.
                channel = channel.min(tile.channels - LANES);
                let mut sums = [zero(); P];
                if !tile.bias.is_null() {
                    // SAFETY: the bias has all channels.
                    sums = [unsafe { load(tile.bias.add(channel)) }; P];
                }
                let (mut row, mut weights) = (tile.input.wrapping_add(channel), tile.weights.wrapping_add(channel));
                for _ in 0..tile.rows {
                    // A pointer for every three outputs: the others are one or two steps from it.
                    let mut input: [*const f32; super::PIXELS.div_ceil(3)] =
                        std::array::from_fn(|group| row.wrapping_add(3 * group * tile.input_pixel));
                    for &[first, end] in tile.inside {
                        // SAFETY: the kernel's place has weights for all channels.
                        let weight = unsafe { load(weights) };
                        // Pixel by pixel in the source, not in a loop: the sums stay in registers only where every index
                        // is known.
                        if first == 0 && end as usize == P {
                            $(if $pixel < P {
                                let place = input[$pixel / 3].wrapping_add($pixel % 3 * tile.input_pixel);
                                // SAFETY: this place of the kernel is in the image for all outputs.
                                sums[$pixel] = multiply_add(unsafe { load(place) }, weight, sums[$pixel]);
                            })*
                        } else {
                            $(if $pixel < P && first <= $pixel && $pixel < end {
                                let place = input[$pixel / 3].wrapping_add($pixel % 3 * tile.input_pixel);
                                // SAFETY: this place of the kernel is in the image for this output.
                                sums[$pixel] = multiply_add(unsafe { load(place) }, weight, sums[$pixel]);
                            })*
                        }
                        input = input.map(|input| input.wrapping_add(tile.input_step[0]));
                        weights = weights.wrapping_add(tile.weights_step);
                    }
                    row = row.wrapping_add(tile.input_step[1]);
                }
                // SAFETY: the outputs are those of the tile.
                unsafe { depthwise_finish(tile, channel, [low, high], sums) };
                channel += LANES;
            }
        }

        /// For kernels of `K` columns at stride 1 and without dilation: an input serves all outputs that see it.
        ///
        /// # Safety
        /// As [`super::depthwise::DepthwiseFn`] says, for `P` outputs.
        $(#[$features])*
        unsafe fn depthwise_row<const P: usize, const K: usize>(tile: &super::DepthwiseTile<'_>) {
            // Sums have places to spare, so that every index below is known and in range.
            const BEFORE: usize = 4;
            let mut channel = 0;
            while channel < tile.channels {
                // The last vector may overlap the one before: it then computes the same values again.
                channel = channel.min(tile.channels - LANES);
                let mut sums = [zero(); 4 * BEFORE];
                if !tile.bias.is_null() {
                    // SAFETY: the bias has all channels.
                    sums = [unsafe { load(tile.bias.add(channel)) }; 4 * BEFORE];
                }
                let (mut row, mut weights) = (tile.input.wrapping_add(channel), tile.weights.wrapping_add(channel));
                for _ in 0..tile.rows {
                    let mut columns = [zero(); 5];
                    for (tap, column) in columns.iter_mut().enumerate().take(K) {
                        // SAFETY: the kernel's place has weights for all channels.
                        *column = unsafe { load(weights.wrapping_add(tap * tile.weights_step)) };
                    }
                    let mut input = row;
                    $(if $column < P - 1 + K {
                        if tile.seen[0] <= $column && $column < tile.seen[1] {
                            // SAFETY: this column is in the image.
                            let value = unsafe { load(input) };
                            super::depthwise::each_tap!(0 1 2 3 4, TAP => {
                                const PLACE: usize = $column + BEFORE - TAP;
                                if TAP < K && PLACE >= BEFORE && PLACE < BEFORE + P {
                                    sums[PLACE] = multiply_add(value, columns[TAP], sums[PLACE]);
                                }
                            });
                        }
                        input = input.wrapping_add(tile.input_step[0]);
                    })*
                    row = row.wrapping_add(tile.input_step[1]);
                    weights = weights.wrapping_add(K * tile.weights_step);
                }
                let bounds = [constant(tile.bounds[0]), constant(tile.bounds[1])];
                let sums: [Vector; P] = std::array::from_fn(|pixel| sums[BEFORE + pixel]);
                // SAFETY: the outputs are those of the tile.
                unsafe { depthwise_finish(tile, channel, bounds, sums) };
                channel += LANES;
            }
        }

        /// Adds the residual and writes outputs within their bounds.
        ///
        /// # Safety
        /// As [`super::depthwise::DepthwiseFn`] says of output and residual, for `P` outputs.
        #[inline]
        $(#[$features])*
        unsafe fn depthwise_finish<const P: usize>(
            tile: &super::DepthwiseTile<'_>,
            channel: usize,
            [low, high]: [Vector; 2],
            sums: [Vector; P],
        ) {
            $(if $pixel < P {
                let place = channel + $pixel * tile.output_pixel;
                let mut sum = sums[$pixel];
                if !tile.residual.is_null() {
                    // SAFETY: the residual lies as the output does.
                    sum = add(sum, unsafe { load(tile.residual.add(place)) });
                }
                // SAFETY: the output can be written for all channels.
                unsafe { store(tile.output.add(place), clamp(low, sum, high)) };
            })*
        }

        /// # Safety
        /// As [`super::depthwise::TapsFn`] says, for `T` places.
        $(#[$features])*
        unsafe fn depthwise_taps<const T: usize>(taps: &super::DepthwiseTaps<'_>) {
            let mut channel = 0;
            while channel < taps.channels {
                // The last vector may overlap the one before: its first channels then start from their sums, not from
                // what this call has added to them.
                let first = channel.min(taps.channels - LANES);
                let mut sums = [zero(); T];
                let offsets: [isize; T] = std::array::from_fn(|tap| taps.offsets[tap]);
                let (mut input_row, mut gradient_row) =
                    (taps.input.wrapping_add(first), taps.gradient.wrapping_add(first));
                for _ in 0..taps.size[0] {
                    let (mut input, mut gradient) = (input_row, gradient_row);
                    for _ in 0..taps.size[1] {
                        // SAFETY: the gradient can be read for every output.
                        let slope = unsafe { load(gradient) };
                        $(if $tap < T {
                            // SAFETY: the input can be read for every output and place.
                            let value = unsafe { load(input.wrapping_offset(offsets[$tap])) };
                            sums[$tap] = multiply_add(value, slope, sums[$tap]);
                        })*
                        input = input.wrapping_add(taps.input_step[1]);
                        gradient = gradient.wrapping_add(taps.gradient_step[1]);
                    }
                    input_row = input_row.wrapping_add(taps.input_step[0]);
                    gradient_row = gradient_row.wrapping_add(taps.gradient_step[0]);
                }
                $(if $tap < T {
                    let place = taps.sums.wrapping_add($tap * taps.sums_step + first);
                    // SAFETY: the sums can be read and written; of a vector that overlaps the one before, the channels that
                    // are done already are left alone.
                    unsafe {
                        if first == channel {
                            store(place, add(load(place), sums[$tap]));
                        } else {
                            let mut values = [0f32; LANES];
                            store(values.as_mut_ptr(), sums[$tap]);
                            for lane in channel - first..LANES {
                                *place.add(lane) += values[lane];
                            }
                        }
                    }
                })*
                channel += LANES;
            }
        }
    };
}
pub(super) use depthwise;

/// Repeats `work` for each number.
macro_rules! each_tap {
    ($($number:literal)*, $tap:ident => $work:block) => {
        $({
            const $tap: usize = $number;
            $work
        })*
    };
}
pub(super) use each_tap;
