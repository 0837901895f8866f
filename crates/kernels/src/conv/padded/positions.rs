//! Where pixels lie among positions.

use super::super::patches::Patches;
use crate::Element;
use crate::arch::{POSITIONS, Sources};

/// The positions of some images' pixels.
#[derive(Clone, Copy)]
pub(super) struct Positions<'a, E> {
    /// `[batch, height, width, pixel]`
    pub(super) images: &'a [E],
    pub(super) batch: usize,
    /// Pixels along each axis.
    pub(super) size: [usize; 2],
    /// Values from one pixel to the next, and the first that is read of each.
    pub(super) pixel: usize,
    pub(super) channel: usize,
    /// Where the first row and column lie on the padded image.
    pub(super) lead: [isize; 2],
    pub(super) stride: usize,
    /// Rows of positions that an image takes, and positions that a row takes.
    pub(super) pitch: [usize; 2],
}

/// The places of a kernel among positions.
pub(super) struct Places {
    kernel: [usize; 2],
    dilation: usize,
    stride: usize,
    row: usize,
}

impl<'a, E: Element> Positions<'a, E> {
    /// Those of the images under a kernel.
    pub(super) fn of(patches: &Patches<'a, E>, batch: usize) -> Self {
        let size = [patches.height, patches.width];
        let lead = patches.origin.map(|origin| -origin);
        let pitch = [0, 1].map(|axis| {
            let shift = Places::shift(patches.kernel[axis], patches.dilation, patches.stride);
            let zeros_before = lead[axis].max(0).unsigned_abs() / patches.stride;
            let held = (lead[axis] + size[axis] as isize).max(0).unsigned_abs().div_ceil(patches.stride);
            let seen = (patches.out[axis] + shift).saturating_sub(zeros_before);
            held.max(seen).max(patches.out[axis])
        });
        let (images, pixel, stride) = (patches.images, patches.pixel, patches.stride);
        Self { images, batch, size, pixel, channel: 0, lead, stride, pitch }
    }

    /// Positions of all images.
    pub(super) fn count(&self) -> usize {
        self.batch * self.pitch[0] * self.pitch[1]
    }

    /// Where the values begin of some positions of a phase; those that have no pixel are `zeros`.
    pub(super) fn sources(&self, phase: [usize; 2], first: usize, zeros: &[E]) -> Sources<E> {
        if self.has_no_border() {
            let values = self.images.get(first * self.pixel..).unwrap_or_default();
            let mut pixels = values.chunks_exact(self.pixel);
            return std::array::from_fn(|_| {
                pixels.next().map_or(zeros.as_ptr(), |pixel| &raw const pixel[self.channel])
            });
        }
        let (mut row, mut column) = (first / self.pitch[1], first % self.pitch[1]);
        let mut row_values = self.row(row, phase[0]);
        let mut sources = [zeros.as_ptr(); POSITIONS];
        for source in &mut sources {
            let x = (column * self.stride + phase[1]) as isize - self.lead[1];
            if let (Some(values), Ok(x)) = (row_values, usize::try_from(x))
                && x < self.size[1]
            {
                *source = &raw const values[x * self.pixel + self.channel];
            }
            column += 1;
            if column == self.pitch[1] {
                (row, column) = (row + 1, 0);
                row_values = self.row(row, phase[0]);
            }
        }
        sources
    }

    /// Whether positions are the pixels as they lie.
    pub(super) fn has_no_border(&self) -> bool {
        self.pitch == self.size && self.lead == [0; 2] && self.stride == 1
    }

    /// The pixels of a row of positions, if there are any.
    fn row(&self, row: usize, phase: usize) -> Option<&'a [E]> {
        let (image, row) = (row / self.pitch[0], row % self.pitch[0]);
        let y = usize::try_from((row * self.stride + phase) as isize - self.lead[0]).ok()?;
        let length = self.size[1] * self.pixel;
        (image < self.batch && y < self.size[0]).then(|| &self.images[(image * self.size[0] + y) * length..][..length])
    }
}

impl Places {
    pub(super) fn of<E>(patches: &Patches<'_, E>, positions: &Positions<'_, E>) -> Self {
        Self { kernel: patches.kernel, dilation: patches.dilation, stride: patches.stride, row: positions.pitch[1] }
    }

    /// Positions from the first place of a kernel to its last, along an axis.
    fn shift(kernel: usize, dilation: usize, stride: usize) -> usize {
        kernel.saturating_sub(1) * dilation / stride
    }

    /// Positions from the first place to the furthest.
    pub(super) fn reach(&self) -> usize {
        let [rows, columns] = self.kernel.map(|kernel| Self::shift(kernel, self.dilation, self.stride));
        rows * self.row + columns
    }

    /// The phase, and the position in it, of each place in turn.
    pub(super) fn iter(&self) -> impl Iterator<Item = ([usize; 2], usize)> {
        let pixels = |place: usize| place * self.dilation;
        (0..self.kernel[0]).flat_map(move |row| {
            (0..self.kernel[1]).map(move |column| {
                let phase = [pixels(row) % self.stride, pixels(column) % self.stride];
                (phase, pixels(row) / self.stride * self.row + pixels(column) / self.stride)
            })
        })
    }

    /// The phases that the kernel sees, in the order of [`Self::number`].
    pub(super) fn phases(&self) -> impl Iterator<Item = [usize; 2]> {
        let [rows, columns] = [self.along(0), self.along(1)];
        (0..rows).flat_map(move |row| (0..columns).map(move |column| [self.phase(row), self.phase(column)]))
    }

    /// Which of the phases this one is.
    pub(super) fn number(&self, phase: [usize; 2]) -> usize {
        let number = |phase: usize| (0..self.stride).position(|number| self.phase(number) == phase).unwrap_or(0);
        number(phase[0]) * self.along(1) + number(phase[1])
    }

    /// The phase of the place `number` of an axis.
    fn phase(&self, number: usize) -> usize {
        number * self.dilation % self.stride
    }

    /// How many phases places of an axis have: they come round after as many places as there are.
    fn along(&self, axis: usize) -> usize {
        let period = (1..=self.stride).find(|&number| self.phase(number) == 0).unwrap_or(1);
        self.kernel[axis].min(period)
    }
}
