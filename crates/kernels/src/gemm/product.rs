//! Products with many rows: B is packed once for all tasks, each task gathers its own rows of A.

use std::ops::Range;

use super::narrow::narrow;
use super::packed::Packed;
use super::{Left, Panels, Right, Target, block_rows, multiply, scratch_len, step_blocks, wanted_tasks};
use crate::arch::{MicroKernel, Words};
use crate::parallel::{self, SharedMut};
use crate::scratch::Scratch;

/// `C = A B + bias`, or `C += A B + bias`.
pub(crate) struct Product<'a, L, R> {
    /// Rows of A, columns of B, and the steps of the sum.
    pub(crate) sizes: [usize; 3],
    pub(crate) left: &'a L,
    pub(crate) right: &'a R,
    /// Added to each row of C.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) accumulate: bool,
    /// What is done to blocks of C while they are in the cache; only of rows that go one after the other.
    pub(crate) finish: Option<&'a Finish<'a>>,
}

/// Finishes `rows x columns` of C, which nobody else uses meanwhile.
pub(crate) type Finish<'a> = dyn Fn(Range<usize>, Range<usize>, SharedMut<'_, f32>) + Sync + 'a;

/// Where the rows of C go.
pub(crate) enum Destination<'a> {
    /// One after the other.
    Rows(&'a mut [f32]),
    /// Row r to `place(r)`, overwriting; no two rows to one place.
    Scattered(&'a mut [f32], &'a (dyn Fn(usize) -> usize + Sync)),
    /// Column after column.
    Turned(&'a mut [f32]),
    /// Nowhere: columns are handed over while they are in the cache, in ranges that do not overlap and in any order,
    /// column after column.
    Streamed(&'a Consume<'a>),
}

/// Gets a range of columns of C and their values.
pub(crate) type Consume<'a> = dyn Fn(Range<usize>, &[f32]) + Sync + 'a;

/// A [`Destination`] without its slice.
#[derive(Clone, Copy)]
enum Way<'a> {
    Straight,
    Scattered(&'a (dyn Fn(usize) -> usize + Sync)),
    Turned,
    Streamed(&'a Consume<'a>),
}

/// How B is there when the tasks begin.
#[derive(Clone, Copy)]
enum Ready<'a> {
    /// As it lies, its rows so far apart: what a single tile of rows reads, or a single panel, is not worth a copy.
    InPlace(&'a [f32], usize),
    /// Packed for all.
    Packed(&'a Packed),
    /// Not: each panel has one reader, which packs it for itself.
    No,
}

impl<L: Left, R: Right> Product<'_, L, R> {
    pub(crate) fn run(&self, kernel: &MicroKernel, destination: Destination<'_>) {
        if kernel.words == Words::Whole {
            return self.run_words(kernel, destination);
        }
        let [m, n, k] = self.sizes;
        let (left, right, k) = narrow(self.left, self.right, k, kernel.words);
        let (left, right, sizes) = (&left, &right, [m, n, k]);
        Product { sizes, left, right, bias: self.bias, accumulate: self.accumulate, finish: self.finish }
            .run_words(kernel, destination);
    }

    /// The product of operands whose steps are the kernel's words.
    fn run_words(&self, kernel: &MicroKernel, destination: Destination<'_>) {
        let [m, n, k] = self.sizes;
        if m == 0 || n == 0 {
            return;
        }
        let bias = padded(self.bias, kernel.columns);
        let [mut row_step, column_step] = cut(kernel, self.sizes);
        if let Destination::Streamed(_) = destination {
            row_step = m; // whole columns
        }
        let row_tasks = m.div_ceil(row_step);
        let reads_in_place = m <= kernel.rows && n.is_multiple_of(kernel.columns) || n <= kernel.columns;
        let in_place = self.right.in_place().filter(|_| reads_in_place);
        let before = self.right.packed();
        let is_ready = in_place.is_some() || before.is_some();
        let packed = (!is_ready && row_tasks > 1).then(|| Packed::new(self.right, kernel, n, k));
        let right = match (in_place, before.or(packed.as_ref())) {
            (Some((values, stride)), _) => Ready::InPlace(values, stride),
            (None, Some(packed)) => Ready::Packed(packed),
            (None, None) => Ready::No,
        };
        let (c, way) = match destination {
            Destination::Rows(c) => (SharedMut::new(c), Way::Straight),
            Destination::Scattered(c, place) => (SharedMut::new(c), Way::Scattered(place)),
            Destination::Turned(c) => (SharedMut::new(c), Way::Turned),
            Destination::Streamed(consume) => (SharedMut::new(&mut [][..]), Way::Streamed(consume)),
        };
        parallel::for_each(row_tasks * n.div_ceil(column_step), |task| {
            let (row, column) = (task % row_tasks * row_step, task / row_tasks * column_step);
            let rows = row..m.min(row + row_step);
            let columns = column..n.min(column + column_step);
            if let Way::Straight = way {
                let target = Target { c, first: row * n + column, row: n, bias: &bias, accumulate: self.accumulate };
                // SAFETY: the blocks of C of different tasks do not overlap.
                unsafe { self.compute(kernel, rows.clone(), columns.clone(), right, target) };
                if let Some(finish) = self.finish {
                    finish(rows, columns, c);
                }
                return;
            }
            let width = columns.len();
            let mut aside = Scratch::take(rows.len() * width);
            let target = Target { c: SharedMut::new(&mut aside), first: 0, row: width, bias: &bias, accumulate: false };
            // SAFETY: the buffer is this task's own.
            unsafe { self.compute(kernel, rows.clone(), columns.clone(), right, target) };
            // SAFETY: the blocks of C of different tasks do not overlap.
            unsafe { self.deliver(&aside, rows, columns, c, way) };
        });
    }

    /// One task: `rows x columns` of C.
    ///
    /// # Safety
    /// Nobody else uses that block of C meanwhile.
    unsafe fn compute(
        &self,
        kernel: &MicroKernel,
        rows: Range<usize>,
        columns: Range<usize>,
        right: Ready<'_>,
        mut target: Target<'_>,
    ) {
        let (k, width) = (self.sizes[2], kernel.columns);
        let depth = k.min(kernel.depth);
        let mut left = Scratch::take(scratch_len(rows.len(), depth, kernel.rows));
        let own = if let Ready::Packed(_) = right { 0 } else { columns.len().next_multiple_of(width) * depth };
        let mut own = Scratch::take(own);
        target.bias = target.bias.get(columns.start..).unwrap_or_default();
        for steps in step_blocks(k, kernel.depth) {
            let left = self.left.block(rows.clone(), steps.clone(), kernel.rows, &mut left);
            let right = match right {
                // A panel wider than B reads on in the next row; the last ones end too early for that.
                Ready::InPlace(values, stride)
                    if reaches(values, stride, &steps, columns.end.next_multiple_of(width)) =>
                {
                    let values = &values[steps.start * stride + columns.start..];
                    Panels { values, panel: width, step: stride }
                }
                Ready::Packed(packed) => packed.panels(&steps, columns.start),
                Ready::InPlace(..) | Ready::No => {
                    let panel = width * steps.len();
                    self.right.pack(steps.clone(), columns.clone(), width, panel, &mut own);
                    Panels { values: &own, panel, step: width }
                }
            };
            // SAFETY: the caller's promise.
            unsafe { multiply(kernel, [rows.len(), columns.len(), steps.len()], left, right, target) };
            target.bias = &[];
            target.accumulate = true;
        }
    }

    /// Copies a block that was computed aside, row after row, to where it belongs.
    ///
    /// # Safety
    /// Nobody else uses that block of C meanwhile.
    unsafe fn deliver(
        &self,
        block: &[f32],
        rows: Range<usize>,
        columns: Range<usize>,
        c: SharedMut<'_, f32>,
        way: Way<'_>,
    ) {
        let width = columns.len();
        if let Way::Scattered(place) = way {
            for (row, from) in rows.zip(block.chunks_exact(width)) {
                let first = place(row) + columns.start;
                // SAFETY: no two rows have one place; the rest is the caller's promise.
                unsafe { c.range(first..first + width) }.copy_from_slice(from);
            }
            return;
        }
        if let Way::Streamed(consume) = way {
            let mut turned = Scratch::take(block.len());
            for (index, into) in turned.chunks_exact_mut(rows.len()).enumerate() {
                into.iter_mut().zip(block.chunks_exact(width)).for_each(|(into, row)| *into = row[index]);
            }
            return consume(columns, &turned);
        }
        for (index, column) in columns.enumerate() {
            let first = column * self.sizes[0];
            // SAFETY: the caller's promise.
            let into = unsafe { c.range(first + rows.start..first + rows.end) };
            let values = block.chunks_exact(width).map(|row| row[index]);
            if self.accumulate {
                into.iter_mut().zip(values).for_each(|(into, value)| *into += value);
            } else {
                into.iter_mut().zip(values).for_each(|(into, value)| *into = value);
            }
        }
    }
}

/// A bias in whole panels of `width` columns; nothing where there is none.
pub(crate) fn padded(bias: Option<&[f32]>, width: usize) -> Scratch {
    let Some(bias) = bias else { return Scratch::take(0) };
    let mut padded = Scratch::zeros(bias.len().next_multiple_of(width));
    padded[..bias.len()].copy_from_slice(bias);
    padded
}

/// Whether B, which lies at `values`, has so many values for each of `steps`, even if others are among them.
fn reaches(values: &[f32], stride: usize, steps: &Range<usize>, columns: usize) -> bool {
    steps.is_empty() || (steps.end - 1) * stride + columns <= values.len()
}

/// Rows of C that a task has.
pub(crate) fn rows_in_task(kernel: &MicroKernel, [m, n, k]: [usize; 3]) -> usize {
    cut(kernel, [m.max(1), n, k.div_ceil(kernel.words.steps())])[0]
}

/// Bytes of C in a task that adds to them block of steps after block of steps: a part of the second-level cache.
const NEAR_SUMS: usize = 512 * 1024;

/// Rows and columns of a task: whole blocks of A and wide panels of B where there are enough of them, less where there
/// are not. All rows stay together as long as they are one block: then nobody shares B.
fn cut(kernel: &MicroKernel, [m, n, k]: [usize; 3]) -> [usize; 2] {
    let work = m.saturating_mul(n.next_multiple_of(kernel.columns)).saturating_mul(k);
    let wanted = wanted_tasks(work);
    let all_rows = m.next_multiple_of(kernel.rows);
    let mut rows = block_rows(kernel).min(all_rows);
    let mut columns = n.next_multiple_of(kernel.columns);
    if k > kernel.depth {
        let near = (NEAR_SUMS / size_of::<f32>() / rows / kernel.columns).max(4) * kernel.columns;
        columns = columns.min(near);
    }
    while m.div_ceil(rows) * n.div_ceil(columns) < wanted {
        let wide = rows == all_rows && columns > 4 * kernel.columns;
        if !wide && rows > 4 * kernel.rows || columns <= 2 * kernel.columns && rows > kernel.rows {
            rows = (rows / 2).next_multiple_of(kernel.rows);
        } else if columns > kernel.columns {
            columns = (columns / 2).next_multiple_of(kernel.columns);
        } else {
            break;
        }
    }
    [rows, columns]
}
