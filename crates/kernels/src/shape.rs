//! Shapes: checked once here, trusted afterwards.

/// A shape that cannot be computed, with the numbers that say why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeError(pub String);

impl std::fmt::Display for ShapeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ShapeError {}

/// A 2-D convolution (cross-correlation, as networks use it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ConvShape {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    /// Height and width of the window.
    pub kernel: [usize; 2],
    pub stride: usize,
    /// Zeros on every side.
    pub padding: usize,
}

impl ConvShape {
    /// Checks that the window fits and that nothing is zero but the batch.
    ///
    /// # Errors
    /// The numbers that do not go together.
    pub fn check(self) -> Result<Self, ShapeError> {
        let Self { height, width, in_channels, out_channels, kernel, stride, padding, .. } = self;
        if in_channels == 0 || out_channels == 0 || kernel.contains(&0) || stride == 0 {
            return Err(ShapeError(format!(
                "a convolution of {in_channels} to {out_channels} channels with a {}x{} window and stride {stride}",
                kernel[0], kernel[1]
            )));
        }
        if height + 2 * padding < kernel[0] || width + 2 * padding < kernel[1] {
            return Err(ShapeError(format!(
                "a window of {}x{} does not fit into {height}x{width} with padding {padding}",
                kernel[0], kernel[1]
            )));
        }
        Ok(self)
    }

    /// Rows of the output.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel[0]) / self.stride + 1
    }

    /// Columns of the output.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel[1]) / self.stride + 1
    }

    /// Numbers in the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.in_channels
    }

    /// Numbers in the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_height() * self.out_width() * self.out_channels
    }

    /// Numbers in the weights.
    pub fn weights_len(&self) -> usize {
        self.taps() * self.in_channels * self.out_channels
    }

    /// Places of the window.
    pub fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }
}

/// A linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct LinearShape {
    pub batch: usize,
    pub inputs: usize,
    pub outputs: usize,
}

/// What a norm sees: `rows` positions of `channels` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct NormShape {
    pub rows: usize,
    pub channels: usize,
}

/// A max pooling with a square window; the last rows and columns that fill no window are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PoolShape {
    pub batch: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

impl PoolShape {
    /// Checks that the window fits, covers at least one pixel wherever it stands, and has at most 256 places.
    ///
    /// # Errors
    /// The numbers that do not go together.
    pub fn check(self) -> Result<Self, ShapeError> {
        let Self { height, width, kernel, stride, padding, .. } = self;
        let fits = height + 2 * padding >= kernel && width + 2 * padding >= kernel;
        if kernel == 0 || kernel > 16 || stride == 0 || 2 * padding > kernel || !fits {
            return Err(ShapeError(format!(
                "a pooling window of {kernel} with stride {stride} and padding {padding} on {height}x{width}"
            )));
        }
        Ok(self)
    }

    /// Rows of the output.
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Columns of the output.
    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel) / self.stride + 1
    }

    /// Numbers in the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.height * self.width * self.channels
    }

    /// Numbers in the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.out_height() * self.out_width() * self.channels
    }
}
