//! Products whose sums are long and whose C is small, as gradients of weights are: both operands lie step after step,
//! and the steps themselves are cut into chunks with sums of their own, added up in the order of the chunks.

use std::ops::Range;

use super::narrow::narrow;
use super::packed::Packed;
use super::{Left, Panels, Right, TASKS, Target, block_rows, multiply, scratch_len, step_blocks, wanted_tasks};
use crate::arch::{MicroKernel, Words};
use crate::parallel::{self, CHUNK, SharedMut};
use crate::scratch::Scratch;

/// `C = A B`, or `C += A B`.
pub(crate) struct Reduction<'a, L, R> {
    /// Rows of A, columns of B, and the steps of the sum.
    pub(crate) sizes: [usize; 3],
    pub(crate) left: &'a L,
    pub(crate) right: &'a R,
    pub(crate) accumulate: bool,
}

/// Bytes that the sums of all chunks may take together.
const SUMS_BYTES: usize = 16 << 20;

/// Bytes of C that a task of [`Reduction::stream`] computes: they stay in the second-level cache beside A and B.
const STREAMED_BYTES: usize = 64 * 1024;

/// Columns of B that a task packs at a time.
const COLUMNS: usize = 256;

/// How the work is cut; it depends on the sizes alone.
struct Cut {
    /// Chunks of steps, and steps in each.
    chunks: usize,
    steps: usize,
    /// Rows and columns in a task.
    rows: usize,
    columns: usize,
}

impl<L: Left, R: Right> Reduction<'_, L, R> {
    pub(crate) fn run(&self, kernel: &MicroKernel, c: &mut [f32]) {
        if kernel.words == Words::Whole {
            return self.run_words(kernel, c);
        }
        let [m, n, k] = self.sizes;
        let (left, right, k) = narrow(self.left, self.right, k, kernel.words);
        Reduction { sizes: [m, n, k], left: &left, right: &right, accumulate: self.accumulate }.run_words(kernel, c);
    }

    /// The product of operands whose steps are the kernel's words.
    fn run_words(&self, kernel: &MicroKernel, c: &mut [f32]) {
        let [m, n, k] = self.sizes;
        if m == 0 || n == 0 {
            return;
        }
        let cut = Cut::new(kernel, self.sizes);
        let mut sums = Scratch::take((cut.chunks - 1) * m * n);
        let (shared, shared_sums) = (SharedMut::new(c), SharedMut::new(&mut sums));
        let (row_tasks, column_tasks) = (m.div_ceil(cut.rows), n.div_ceil(cut.columns));
        // Many tasks read the same of B where the sum is short: the gradient of a linear layer's weights.
        let packed = (cut.chunks == 1 && row_tasks > 1).then(|| Packed::new(self.right, kernel, n, k));
        parallel::for_each(cut.chunks * row_tasks * column_tasks, |task| {
            let (chunk, part) = (task / (row_tasks * column_tasks), task % (row_tasks * column_tasks));
            let (row, column) = (part % row_tasks * cut.rows, part / row_tasks * cut.columns);
            let steps = chunk * cut.steps..k.min((chunk + 1) * cut.steps);
            let place = row * n + column;
            let target = if chunk == 0 {
                Target { c: shared, first: place, row: n, bias: &[], accumulate: self.accumulate }
            } else {
                let first = (chunk - 1) * m * n + place;
                Target { c: shared_sums, first, row: n, bias: &[], accumulate: false }
            };
            let (rows, columns) = (row..m.min(row + cut.rows), column..n.min(column + cut.columns));
            // SAFETY: every task has a chunk, rows or columns of its own.
            unsafe { self.compute(kernel, rows, columns, steps, packed.as_ref(), target) };
        });
        if cut.chunks > 1 {
            add_chunks(c, &sums);
        }
    }

    /// Hands C over rows by rows while they are in the cache; C never lies in memory. `consume` gets ranges of rows
    /// that do not overlap, in any order, and their values.
    pub(crate) fn stream(&self, kernel: &MicroKernel, consume: impl Fn(Range<usize>, &[f32]) + Sync + Send) {
        if kernel.words == Words::Whole {
            return self.stream_words(kernel, consume);
        }
        let [m, n, k] = self.sizes;
        let (left, right, k) = narrow(self.left, self.right, k, kernel.words);
        Reduction { sizes: [m, n, k], left: &left, right: &right, accumulate: false }.stream_words(kernel, consume);
    }

    fn stream_words(&self, kernel: &MicroKernel, consume: impl Fn(Range<usize>, &[f32]) + Sync + Send) {
        let [m, n, k] = self.sizes;
        if m == 0 || n == 0 {
            return;
        }
        let packed = Packed::new(self.right, kernel, n, k);
        let rows = (STREAMED_BYTES / size_of::<f32>() / n / kernel.rows).max(1) * kernel.rows;
        parallel::for_each(m.div_ceil(rows), |task| {
            let rows = task * rows..m.min((task + 1) * rows);
            let mut c = Scratch::take(rows.len() * n);
            let target = Target { c: SharedMut::new(&mut c), first: 0, row: n, bias: &[], accumulate: false };
            // SAFETY: the buffer is this task's own.
            unsafe { self.compute(kernel, rows.clone(), 0..n, 0..k, Some(&packed), target) };
            consume(rows, &c);
        });
    }

    /// One task: `rows x columns` of C, summed over `steps`.
    ///
    /// # Safety
    /// Nobody else uses that block of C meanwhile.
    unsafe fn compute(
        &self,
        kernel: &MicroKernel,
        rows: Range<usize>,
        columns: Range<usize>,
        steps: Range<usize>,
        packed: Option<&Packed>,
        mut target: Target<'_>,
    ) {
        let width = kernel.columns;
        let depth = steps.len().min(kernel.depth);
        let row_block = block_rows(kernel).min(rows.len());
        let mut left = Scratch::take(scratch_len(row_block, depth, kernel.rows));
        let own = if packed.is_none() { columns.len().next_multiple_of(width) * depth } else { 0 };
        let mut own = Scratch::take(own);
        let first = target.first;
        for block in step_blocks(steps.len(), kernel.depth) {
            let block = steps.start + block.start..steps.start + block.end;
            let panels = match packed {
                Some(packed) => packed.panels(&block, columns.start),
                None => {
                    let panel = width * block.len();
                    self.right.pack(block.clone(), columns.clone(), width, panel, &mut own);
                    Panels { values: &own, panel, step: width }
                }
            };
            for row in rows.clone().step_by(row_block) {
                let part = row..rows.end.min(row + row_block);
                let sizes = [part.len(), columns.len(), block.len()];
                let left = self.left.block(part, block.clone(), kernel.rows, &mut left);
                target.first = first + (row - rows.start) * target.row;
                // SAFETY: the caller's promise.
                unsafe { multiply(kernel, sizes, left, panels, target) };
            }
            target.accumulate = true;
        }
    }
}

/// `c += sums[0] + sums[1] + ..`, in that order for every value.
pub(crate) fn add_chunks(c: &mut [f32], sums: &[f32]) {
    let length = c.len();
    let shared = SharedMut::new(c);
    parallel::for_each(length.div_ceil(CHUNK), |task| {
        let range = task * CHUNK..length.min((task + 1) * CHUNK);
        // SAFETY: the ranges of different tasks do not overlap.
        let c = unsafe { shared.range(range.clone()) };
        for sums in sums.chunks_exact(length) {
            c.iter_mut().zip(&sums[range.clone()]).for_each(|(c, sum)| *c += sum);
        }
    });
}

impl Cut {
    fn new(kernel: &MicroKernel, [m, n, k]: [usize; 3]) -> Self {
        let wanted = wanted_tasks(m.saturating_mul(n).saturating_mul(k));
        let affordable = 1 + SUMS_BYTES / size_of::<f32>() / (m * n);
        let chunks = wanted.min(affordable).min(k / (2 * kernel.depth)).clamp(1, TASKS / 2);
        let steps = k.div_ceil(chunks).max(1).next_multiple_of(8);
        let chunks = k.div_ceil(steps).max(1);
        let columns = n.min(COLUMNS).next_multiple_of(kernel.columns);
        let parts = (chunks * n.div_ceil(columns)).max(1);
        let row_tasks = wanted.div_ceil(parts).min(m.div_ceil(4 * kernel.rows)).max(1);
        let rows = m.div_ceil(row_tasks).next_multiple_of(kernel.rows);
        Self { chunks, steps, rows, columns }
    }
}
