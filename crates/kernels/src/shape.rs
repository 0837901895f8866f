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

/// A two-dimensional convolution, channels last.
///
/// Input `[batch, height, width, in_channels]`, weights `[kernel_height, kernel_width, in_channels, out_channels]`,
/// output `[batch, out_height, out_width, out_channels]`; zeros stand around the input, `padding` on every side.
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
    /// Zeros added on each of the four sides.
    pub padding: usize,
}

impl ConvShape {
    /// Checks `input` as `[batch, height, width, in_channels]` against the rest. Only the batch may be 0.
    pub fn new(
        input: [usize; 4],
        out_channels: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: usize,
    ) -> Result<Self, ShapeError> {
        let [batch, height, width, in_channels] = input;
        let shape = Self { batch, height, width, in_channels, out_channels, kernel, stride, padding };
        require_positive("a convolution's input", &[height, width, in_channels])?;
        require_positive(
            "a convolution's output channels, kernel and stride",
            &[out_channels, kernel[0], kernel[1], stride],
        )?;
        check_window("convolution", [height, width], kernel, padding)?;
        let output = [batch, shape.out_height(), shape.out_width(), out_channels];
        let patch = kernel.iter().try_fold(in_channels, |product, &size| product.checked_mul(size));
        let weights = patch.and_then(|patch| patch.checked_mul(out_channels));
        let lengths = [checked_length(&input), checked_length(&output), weights.filter(|&w| fits(w))];
        if lengths.contains(&None) {
            return Err(ShapeError(format!(
                "a convolution from {input:?} to {output:?} with a {kernel:?} kernel has more values than this machine \
                 can address"
            )));
        }
        Ok(shape)
    }

    /// Rows of pixels in an output image.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel[0]) / self.stride + 1
    }

    /// Columns of pixels in an output image.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel[1]) / self.stride + 1
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

    /// Values under the kernel: one row of the weight matrix's transpose.
    pub(crate) fn patch_len(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.in_channels
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

fn checked_length(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size)).filter(|&length| fits(length))
}

/// Slices of f32 hold at most `isize::MAX` bytes.
fn fits(length: usize) -> bool {
    length <= isize::MAX as usize / size_of::<f32>()
}
