//! A right operand that many tasks read, packed once: block of steps after block of steps, in each of them panel after
//! panel, so that what a task reads lies together.

use std::ops::Range;

use super::{Panels, Right, step_blocks};
use crate::arch::MicroKernel;
use crate::parallel::{self, SharedMut};
use crate::scratch::Scratch;

/// Panels that a task packs: wide rows of B are then read in their order.
const TOGETHER: usize = 32;

/// All of B.
pub(crate) struct Packed {
    values: Scratch,
    width: usize,
    /// Columns, padded to whole panels.
    columns: usize,
}

impl Packed {
    /// Packs `columns` of `steps`.
    pub(crate) fn new(right: &impl Right, kernel: &MicroKernel, columns: usize, steps: usize) -> Self {
        let width = kernel.columns;
        let panels = columns.div_ceil(width);
        let mut values = Scratch::take(panels * width * steps);
        let shared = SharedMut::new(&mut values);
        let groups = panels.div_ceil(TOGETHER);
        let blocks = step_blocks(steps, kernel.depth).count();
        parallel::for_each(groups * blocks, |task| {
            let (group, block) = (task % groups, task / groups);
            let Some(block) = step_blocks(steps, kernel.depth).nth(block) else { return };
            let part = group * TOGETHER..panels.min((group + 1) * TOGETHER);
            let panel = width * block.len();
            let start = panels * width * block.start + part.start * panel;
            // SAFETY: each task has panels of its own in a block of its own.
            let into = unsafe { shared.range(start..start + part.len() * panel) };
            right.pack(block, part.start * width..columns.min(part.end * width), width, panel, into);
        });
        Self { values, width, columns: panels * width }
    }

    /// A copy that stays.
    pub(crate) fn lasting(&self) -> Self {
        Self { values: self.values.lasting(), ..*self }
    }

    /// The panels of one of the [`step_blocks`], from a column on that begins a panel.
    pub(crate) fn panels(&self, block: &Range<usize>, column: usize) -> Panels<'_> {
        let first = self.columns * block.start + column * block.len();
        Panels { values: &self.values[first..], panel: self.width * block.len(), step: self.width }
    }
}

impl Right for Packed {
    fn pack(&self, steps: Range<usize>, columns: Range<usize>, width: usize, panel: usize, panels: &mut [f32]) {
        assert!(width == self.width, "packed for {} columns, not {width}", self.width);
        let from = self.panels(&steps, columns.start);
        for number in 0..columns.len().div_ceil(width) {
            let length = steps.len() * width;
            panels[number * panel..][..length].copy_from_slice(&from.values[number * from.panel..][..length]);
        }
    }

    fn packed(&self) -> Option<&Packed> {
        Some(self)
    }
}
