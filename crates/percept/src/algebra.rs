//! The linear algebra of a few thousand rows: products by the kernels, sums in f64 and in a fixed order.

use percept_kernels::{self as kernels, Layout};

/// Rounds of the subspace iteration: the components matter together, hardly each alone.
const ROUNDS: usize = 8;
/// `[rows, width]`.
pub(crate) struct Matrix {
    pub values: Vec<f32>,
    pub width: usize,
    rows: usize,
}

impl Matrix {
    pub fn new(values: Vec<f32>, width: usize) -> Self {
        let rows = values.len().checked_div(width).unwrap_or(0);
        Self { values, width, rows }
    }

    /// Times `[width, columns]`: `[rows, columns]`.
    pub fn times(&self, right: &[f32], columns: usize) -> Vec<f32> {
        let mut product = vec![0.0; self.rows * columns];
        let (rows, width) = (self.rows, self.width);
        kernels::gemm(
            rows,
            columns,
            width,
            &self.values,
            Layout::RowMajor,
            right,
            Layout::RowMajor,
            false,
            &mut product,
        );
        product
    }

    /// Its transpose times `[rows, columns]`: `[width, columns]`.
    fn transposed_times(&self, right: &[f32], columns: usize) -> Vec<f32> {
        let mut product = vec![0.0; self.width * columns];
        let (rows, width) = (self.rows, self.width);
        kernels::gemm(
            width,
            columns,
            rows,
            &self.values,
            Layout::Transposed,
            right,
            Layout::RowMajor,
            false,
            &mut product,
        );
        product
    }
}

pub(crate) fn column_means(values: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; width];
    for row in values.chunks_exact(width) {
        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    let rows = (values.len() / width).max(1) as f64;
    sums.iter().map(|sum| (sum / rows) as f32).collect()
}

/// Takes a row off every row.
pub(crate) fn subtract(values: &mut [f32], row: &[f32]) {
    for values in values.chunks_exact_mut(row.len().max(1)) {
        values.iter_mut().zip(row).for_each(|(value, own)| *value -= own);
    }
}

/// Takes what lies along orthonormal directions `[width, count]` off every row.
pub(crate) fn project_out(values: &mut Vec<f32>, directions: &[f32], width: usize) {
    let count = directions.len() / width.max(1);
    if count == 0 {
        return;
    }
    let matrix = Matrix::new(std::mem::take(values), width);
    let along = matrix.times(directions, count);
    let mut inside = vec![0.0; matrix.values.len()];
    kernels::gemm(
        matrix.rows,
        width,
        count,
        &along,
        Layout::RowMajor,
        directions,
        Layout::Transposed,
        false,
        &mut inside,
    );
    *values = matrix.values;
    values.iter_mut().zip(&inside).for_each(|(value, inside)| *value -= inside);
}

/// The orthonormal directions along which rows are longest, about: `[width, count]`, by subspace iteration.
pub(crate) fn principal_directions(rows: &Matrix, count: usize) -> Vec<f32> {
    let width = rows.width;
    // Any start will do that is not at right angles to what is looked for; this one is the same every time.
    let wave = |place: usize| ((place * 7_919 + place / 13 * 104_729 + 31) % 1_009) as f32 / 1_009.0 - 0.5;
    let mut basis: Vec<f32> = (0..width * count).map(wave).collect();
    if count == 0 {
        return basis;
    }
    for _ in 0..ROUNDS {
        basis = orthonormal(&rows.transposed_times(&rows.times(&basis, count), count), count);
    }
    basis
}

/// Columns `[width, count]` of length 1 and at right angles (Gram and Schmidt, twice for the rounding); a column that the
/// ones before it already span becomes zero.
fn orthonormal(basis: &[f32], count: usize) -> Vec<f32> {
    let width = basis.len() / count;
    let mut columns: Vec<Vec<f32>> =
        (0..count).map(|column| (0..width).map(|row| basis[row * count + column]).collect()).collect();
    for at in 0..count {
        let (done, rest) = columns.split_at_mut(at);
        let own = &mut rest[0];
        let before = length(own);
        for _ in 0..2 {
            for other in &*done {
                let share = dot(own, other) as f32;
                own.iter_mut().zip(other).for_each(|(value, other)| *value -= share * other);
            }
        }
        let left = length(own);
        let factor = if left > 1e-5 * before { (1.0 / left) as f32 } else { 0.0 };
        own.iter_mut().for_each(|value| *value *= factor);
    }
    side_by_side(&columns)
}

/// Columns as one matrix `[width, count]`.
fn side_by_side(columns: &[Vec<f32>]) -> Vec<f32> {
    let count = columns.len();
    let width = columns.first().map_or(0, Vec::len);
    (0..width * count).map(|place| columns[place % count][place / count]).collect()
}

/// Adds a multiple.
pub(crate) fn add(into: &mut [f32], values: &[f32], factor: f64) {
    into.iter_mut().zip(values).for_each(|(into, value)| *into += factor as f32 * value);
}

pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

pub(crate) fn length(values: &[f32]) -> f64 {
    dot(values, values).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(count: usize) -> Vec<f32> {
        (0..count).map(|place| ((place * 37 + place * place * 11) % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn principal_directions_are_those_of_the_longest_rows() {
        // Long along the first two axes, short along the others.
        let lengths = [9.0, 5.0, 0.3, 0.2, 0.1];
        let values = wave(40 * 5).iter().enumerate().map(|(place, value)| value * lengths[place % 5]).collect();
        let found = principal_directions(&Matrix::new(values, 5), 2);
        for column in 0..2 {
            let along: Vec<f32> = (0..5).map(|row| found[row * 2 + column]).collect();
            assert!((length(&along) - 1.0).abs() < 1e-5 && length(&along[2..]) < 0.1, "{along:?}");
        }
        let mut row = vec![7.0, -3.0, 1.0, 1.0, 1.0];
        project_out(&mut row, &found, 5);
        assert!(length(&row[..2]) < 0.5 && length(&row[2..]) > 1.0, "{row:?}");
    }

    #[test]
    fn directions_that_are_not_there_are_zero() {
        let found = principal_directions(&Matrix::new([[1.0, 0.0, 0.0]; 4].concat(), 3), 2);
        assert_eq!((found[0].abs(), found[1], found[3], found[5]), (1.0, 0.0, 0.0, 0.0));
    }
}
