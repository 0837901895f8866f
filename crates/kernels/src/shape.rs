//! Shapes: checked once, when they are made; everything after is infallible.
//! What no shape can hold (a zero stride, a kernel larger than its padded input, a length that overflows)
//! is refused here with a message that names the numbers.

use std::fmt;

/// Why a shape was refused: one sentence that names the numbers received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeError(String);

impl fmt::Display for ShapeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ShapeError {}

/// Zeros around the images of a convolution. A number stands for as many on each of the four sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns on the left.
    pub left: usize,
    /// Columns on the right.
    pub right: usize,
}

impl From<usize> for Padding {
    fn from(padding: usize) -> Self {
        Self { top: padding, bottom: padding, left: padding, right: padding }
    }
}

impl Padding {
    /// Before and behind an image: of rows, of columns.
    fn axes(self) -> [[usize; 2]; 2] {
        [[self.top, self.bottom], [self.left, self.right]]
    }

    /// The largest side.
    pub(crate) fn largest(self) -> usize {
        self.axes().into_iter().flatten().fold(0, usize::max)
    }
}

/// A two-dimensional convolution, channels last.
///
/// Input `[batch, height, width, in_channels]`, weights `[kernel_height, kernel_width, in_channels / groups,
/// out_channels]`, output `[batch, out_height, out_width, out_channels]`; zeros stand around the input. With groups, both
/// input and output channels are cut into as many runs, and each run of outputs sees its run of inputs alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ConvShape {
    /// Images; may be 0.
    pub batch: usize,
    /// Rows of pixels in an input image.
    pub height: usize,
    /// Columns of pixels in an input image.
    pub width: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Pixels from one output to the next, along both axes.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: Padding,
    /// Pixels from one place of the kernel to the next, along both axes: 1 unless asked for.
    pub dilation: usize,
    /// Parts that the channels are cut into: 1 unless asked for.
    pub groups: usize,
}

impl ConvShape {
    /// Checks `input` as `[batch, height, width, in_channels]` against the rest. Only the batch may be 0.
    pub fn new(
        input: [usize; 4],
        out_channels: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: impl Into<Padding>,
    ) -> Result<Self, ShapeError> {
        let [batch, height, width, in_channels] = input;
        let (padding, dilation, groups) = (padding.into(), 1, 1);
        Self { batch, height, width, in_channels, out_channels, kernel, stride, padding, dilation, groups }.check()
    }

    /// A product of `[rows, ins]` and `[ins, outs]` as a convolution.
    pub(crate) fn of_rows(rows: usize, ins: usize, outs: usize) -> Self {
        Self {
            batch: 1,
            height: rows,
            width: 1,
            in_channels: ins,
            out_channels: outs,
            kernel: [1, 1],
            stride: 1,
            padding: Padding::from(0),
            dilation: 1,
            groups: 1,
        }
    }

    /// This shape with pixels left out between the places of its kernel, if it can have them.
    pub fn with_dilation(self, dilation: usize) -> Result<Self, ShapeError> {
        Self { dilation, ..self }.check()
    }

    /// This shape with its channels in groups, if it can have them. As many groups as input and output channels make a
    /// depthwise convolution.
    pub fn with_groups(self, groups: usize) -> Result<Self, ShapeError> {
        Self { groups, ..self }.check()
    }

    fn check(self) -> Result<Self, ShapeError> {
        let Self { batch, height, width, in_channels, out_channels, kernel, stride, dilation, groups, .. } = self;
        require_positive("a convolution's input", &[height, width, in_channels])?;
        require_positive(
            "a convolution's output channels, kernel and stride",
            &[out_channels, kernel[0], kernel[1], stride],
        )?;
        require_positive("a convolution's dilation and groups", &[dilation, groups])?;
        if !in_channels.is_multiple_of(groups) || !out_channels.is_multiple_of(groups) {
            return Err(ShapeError(format!(
                "a convolution's {in_channels} input and {out_channels} output channels cannot both be cut into \
                 {groups} groups"
            )));
        }
        for ((size, kernel), padding) in [height, width].into_iter().zip(kernel).zip(self.padding.axes()) {
            check_kernel(size, kernel, dilation, padding)?;
        }
        let input = [batch, height, width, in_channels];
        let output = [batch, self.out_height(), self.out_width(), out_channels];
        let patch = kernel.iter().try_fold(in_channels / groups, |product, &size| product.checked_mul(size));
        let weights = patch.and_then(|patch| patch.checked_mul(out_channels));
        let lengths = [checked_length(&input), checked_length(&output), weights.filter(|&w| fits(w))];
        if lengths.contains(&None) {
            return Err(ShapeError(format!(
                "a convolution from {input:?} to {output:?} with a {kernel:?} kernel has more values than this machine \
                 can address"
            )));
        }
        Ok(self)
    }

    /// Rows of pixels in an output image.
    pub fn out_height(&self) -> usize {
        (self.height + self.padding.top + self.padding.bottom - self.reach()[0]) / self.stride + 1
    }

    /// Columns of pixels in an output image.
    pub fn out_width(&self) -> usize {
        (self.width + self.padding.left + self.padding.right - self.reach()[1]) / self.stride + 1
    }

    /// Values in the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.in_channels
    }

    /// Values in the output.
    pub fn output_len(&self) -> usize {
        self.out_pixels() * self.out_channels
    }

    /// Values in the weights.
    pub fn weights_len(&self) -> usize {
        self.patch_len() * self.out_channels
    }

    /// Multiplications of the direct algorithm, those with the padding's zeros included.
    pub fn multiply_adds(&self) -> u64 {
        self.out_pixels() as u64 * self.weights_len() as u64
    }

    /// Whether every channel has a kernel of its own.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.in_channels && self.groups == self.out_channels
    }

    /// Pixels from the first to the last that a kernel sees, both included.
    fn reach(&self) -> [usize; 2] {
        self.kernel.map(|kernel| (kernel - 1) * self.dilation + 1)
    }

    /// Values of one group under the kernel: one row of its weight matrix's transpose.
    pub(crate) fn patch_len(&self) -> usize {
        self.kernel[0] * self.kernel[1] * (self.in_channels / self.groups)
    }

    /// Pixels of all output images.
    pub(crate) fn out_pixels(&self) -> usize {
        self.batch * self.out_height() * self.out_width()
    }
}

/// A linear layer: input `[batch, inputs]`, weights `[inputs, outputs]`, output `[batch, outputs]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LinearShape {
    /// Rows; may be 0.
    pub batch: usize,
    /// Values that come in per row.
    pub inputs: usize,
    /// Values that go out per row.
    pub outputs: usize,
}

impl LinearShape {
    /// Only the batch may be 0.
    pub fn new(batch: usize, inputs: usize, outputs: usize) -> Result<Self, ShapeError> {
        require_positive("a linear layer's inputs and outputs", &[inputs, outputs])?;
        for sizes in [[batch, inputs], [batch, outputs], [inputs, outputs]] {
            require_length("a linear layer", &sizes)?;
        }
        Ok(Self { batch, inputs, outputs })
    }
}

/// A normalisation over rows: values `[rows, channels]`, where rows are batch x height x width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NormShape {
    /// Batch x height x width; may be 0.
    pub rows: usize,
    /// Channels, the last axis.
    pub channels: usize,
}

impl NormShape {
    /// Only `rows` may be 0.
    pub fn new(rows: usize, channels: usize) -> Result<Self, ShapeError> {
        require_positive("a normalisation's channels", &[channels])?;
        require_length("a normalisation", &[rows, channels])?;
        Ok(Self { rows, channels })
    }

    /// Values in the input and in the output.
    pub fn len(&self) -> usize {
        self.rows * self.channels
    }

    /// Whether there is nothing to normalise.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Pooling over square windows, channels last, floor mode: what does not fill a window at the far side is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PoolShape {
    /// Images; may be 0.
    pub batch: usize,
    /// Rows of pixels in an input image.
    pub height: usize,
    /// Columns of pixels in an input image.
    pub width: usize,
    /// Channels of the input and of the output.
    pub channels: usize,
    /// Side of the window, 1 to 16.
    pub kernel: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Pixels that a window may reach beyond each side, at most half the kernel; they never win.
    pub padding: usize,
}

impl PoolShape {
    /// Checks `input` as `[batch, height, width, channels]` against the rest. Only the batch may be 0.
    pub fn new(input: [usize; 4], kernel: usize, stride: usize, padding: usize) -> Result<Self, ShapeError> {
        let [batch, height, width, channels] = input;
        require_positive("a pooling's input", &[height, width, channels])?;
        require_positive("a pooling's kernel and stride", &[kernel, stride])?;
        if kernel > 16 {
            return Err(ShapeError(format!("a pooling's kernel may be 16 at most, not {kernel}")));
        }
        if padding > kernel / 2 {
            return Err(ShapeError(format!(
                "a pooling's padding may be half its kernel at most: padding {padding}, kernel {kernel}"
            )));
        }
        check_window("pooling", [height, width], [kernel; 2], padding)?;
        require_length("a pooling", &input)?;
        let shape = Self { batch, height, width, channels, kernel, stride, padding };
        require_length("a pooling", &[batch, shape.out_height(), shape.out_width(), channels])?;
        Ok(shape)
    }

    /// Rows of pixels in an output image.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Columns of pixels in an output image.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Values in the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }

    /// Values in the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_height() * self.out_width() * self.channels
    }
}

fn require_positive(what: &str, sizes: &[usize]) -> Result<(), ShapeError> {
    if sizes.contains(&0) {
        return Err(ShapeError(format!("{what} must all be 1 at least, not {sizes:?}")));
    }
    Ok(())
}

fn require_length(what: &str, sizes: &[usize]) -> Result<(), ShapeError> {
    checked_length(sizes)
        .map(drop)
        .ok_or_else(|| ShapeError(format!("{what} of {sizes:?} has more values than this machine can address")))
}

fn check_window(what: &str, input: [usize; 2], kernel: [usize; 2], padding: usize) -> Result<(), ShapeError> {
    for (size, kernel) in input.into_iter().zip(kernel) {
        let padded = padding.checked_mul(2).and_then(|both| both.checked_add(size)).filter(|&padded| fits(padded));
        if padded.is_none_or(|padded| padded < kernel) {
            return Err(ShapeError(format!(
                "a {what}'s kernel of {kernel} does not fit an input of {size} with padding {padding}"
            )));
        }
    }
    Ok(())
}

/// As [`check_window`], of one axis of a convolution.
fn check_kernel(size: usize, kernel: usize, dilation: usize, [before, behind]: [usize; 2]) -> Result<(), ShapeError> {
    let padded = size.checked_add(before).and_then(|padded| padded.checked_add(behind)).filter(|&padded| fits(padded));
    let reach = (kernel - 1).checked_mul(dilation);
    if padded.is_some_and(|padded| reach.is_some_and(|reach| reach < padded)) {
        return Ok(());
    }
    let dilated = if dilation == 1 { String::new() } else { format!(" with dilation {dilation}") };
    let padding = if before == behind { before.to_string() } else { format!("{before} and {behind}") };
    Err(ShapeError(format!(
        "a convolution's kernel of {kernel}{dilated} does not fit an input of {size} with padding {padding}"
    )))
}

fn checked_length(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size)).filter(|&length| fits(length))
}

/// Slices of f32 hold at most `isize::MAX` bytes.
fn fits(length: usize) -> bool {
    length <= isize::MAX as usize / size_of::<f32>()
}
