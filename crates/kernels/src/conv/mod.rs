//! 2-D convolutions by implicit matrix products: rows of patches are found through pointers, never copied to memory.

mod backward;
mod forward;

pub use backward::{conv2d_input_gradient, conv2d_weight_gradient};
pub use forward::conv2d;

use crate::shape::ConvShape;

/// Below so many input channels a window's places are too short to be read one by one.
const FEW_CHANNELS: usize = 12;

/// Where an output pixel's window begins in the input: image, row and column, which padding may make negative.
#[derive(Clone, Copy)]
struct Corner {
    image: usize,
    row: isize,
    column: isize,
}

impl Corner {
    /// Of output pixel `index`, counted through the batch.
    fn of(shape: &ConvShape, index: usize) -> Self {
        let (width, height) = (shape.out_width(), shape.out_height());
        let (column, row) = (index % width, index / width % height);
        let begin = |place: usize| (place * shape.stride) as isize - shape.padding as isize;
        Self { image: index / width / height, row: begin(row), column: begin(column) }
    }

    /// Index of the first channel of the window's place `tap`, if that is inside the image.
    fn place(self, shape: &ConvShape, tap: usize) -> Option<usize> {
        let row = self.row + (tap / shape.kernel[1]) as isize;
        let column = self.column + (tap % shape.kernel[1]) as isize;
        let inside = (0..shape.height as isize).contains(&row) && (0..shape.width as isize).contains(&column);
        let pixel = || (self.image * shape.height + row as usize) * shape.width + column as usize;
        inside.then(|| pixel() * shape.in_channels)
    }
}

/// Copies the whole window of an output pixel, `[taps, in_channels]`, zeros where it leaves the image.
fn copy_patch(shape: &ConvShape, input: &[f32], corner: Corner, patch: &mut [f32]) {
    for (tap, into) in patch.chunks_exact_mut(shape.in_channels).enumerate() {
        match corner.place(shape, tap) {
            Some(place) => into.copy_from_slice(&input[place..place + shape.in_channels]),
            None => into.fill(0.0),
        }
    }
}
