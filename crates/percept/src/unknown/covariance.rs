//! How rows vary, as few numbers as tell distances.

use crate::algebra::{Matrix, principal_directions};

/// Principal components, at most.
const COMPONENTS: usize = 64;
/// What every direction is given, in mean variances: a few hundred images say little of the directions in which they hardly
/// vary, and dividing by next to nothing would let these decide.
const FLOOR: f64 = 6.0;

/// A covariance: variances along principal components, and the same in all directions beside (a shrunk covariance, Ledoit and
/// Wolf 2004).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Covariance {
    /// Orthonormal principal components: `[width, components]`.
    pub components: Vec<f32>,
    /// Of the variance along each, the share that is its own.
    pub shares: Vec<f32>,
    /// The variance that all directions have.
    pub floor: f32,
}

impl Covariance {
    /// Of rows whose mean is 0; `least` is the least floor.
    pub fn of(rows: &Matrix, least: f32) -> Self {
        let (width, images) = (rows.width, rows.values.len() / rows.width);
        let count = COMPONENTS.min(images / 4).min(width / 2);
        let components = principal_directions(rows, count);
        let mut variances = vec![0.0; count];
        for along in rows.times(&components, count).chunks_exact(count.max(1)) {
            variances.iter_mut().zip(along).for_each(|(sum, &value)| *sum += f64::from(value).powi(2) / images as f64);
        }
        let all = rows.values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>() / rows.values.len() as f64;
        let floor = (FLOOR * all).max(f64::from(least)).max(f64::from(f32::MIN_POSITIVE));
        let shares = variances.iter().map(|variance| (variance / (variance + floor)) as f32).collect();
        Self { components, shares, floor: floor as f32 }
    }

    /// Rows `[rows, width]` along the components: `[rows, components]`.
    pub fn along(&self, rows: &Matrix) -> Vec<f32> {
        rows.times(&self.components, self.shares.len())
    }

    /// The squared Mahalanobis distance from 0 of what has this squared length and is so long along each component.
    pub fn distance(&self, square: f64, along: impl Iterator<Item = f32>) -> f64 {
        let own =
            along.zip(&self.shares).map(|(value, &share)| f64::from(share) * f64::from(value).powi(2)).sum::<f64>();
        (square - own) / f64::from(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the inverse of the whole matrix, which is diagonal here.
    #[test]
    fn distances_are_those_of_the_shrunk_covariance() {
        let deviations = [3.0f32, 2.0, 0.1, 0.1];
        // Both signs of each axis in turn: no two of them go together.
        let rows: Vec<f32> = (0..8)
            .flat_map(|row| (0..4).map(move |place| (row / 2 == place, if row % 2 == 0 { 1.0 } else { -1.0 })))
            .enumerate()
            .map(|(at, (is_own, sign))| if is_own { sign * deviations[at % 4] } else { 0.0 })
            .collect();
        let covariance = Covariance::of(&Matrix::new(rows, 4), 0.0);
        assert_eq!(covariance.shares.len(), 2);
        let variances = deviations.map(|deviation| f64::from(deviation).powi(2) / 4.0);
        let floor = FLOOR * variances.iter().sum::<f64>() / 4.0;
        let row = [1.0f32, -2.0, 3.0, 0.5];
        let kept = [variances[0], variances[1], 0.0, 0.0];
        let expected: f64 = row.iter().zip(kept).map(|(&x, variance)| f64::from(x).powi(2) / (variance + floor)).sum();
        let square = row.iter().map(|&x| f64::from(x).powi(2)).sum();
        let along = covariance.along(&Matrix::new(row.to_vec(), 4));
        let found = covariance.distance(square, along.into_iter());
        assert!((found - expected).abs() < 1e-4 * expected, "{found} instead of {expected}");
    }

    #[test]
    fn rows_that_never_vary_are_borne() {
        let covariance = Covariance::of(&Matrix::new(vec![0.0; 40], 4), 0.0);
        assert_eq!(covariance.distance(0.0, [0.0, 0.0].into_iter()), 0.0);
    }
}
