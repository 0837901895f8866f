//! Random draws that are a pure function of their place: the seed, what the draw is for, the epoch or step, the
//! image. Nothing here carries a state from one batch to the next, so a training that resumes at step k draws what
//! the uninterrupted one drew, on whatever number of threads and on whatever machine: integers, correctly rounded
//! floating-point operations and `libm`'s portable functions only, never the system's mathematics library.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// What a stream of draws is for. Every purpose has a stream of its own, so that switching one augmentation on or
/// off leaves the draws of the others as they were. The numbers are part of what a seed means: never reuse one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Shuffle = 1,
    Replacement = 2,
    Flip = 3,
    Crop = 4,
    Affine = 5,
    TrivialAugment = 6,
    ColorJitter = 7,
    RandomErasing = 8,
    Mix = 9,
}

/// One stream of draws.
pub(super) struct Draws(ChaCha8Rng);

impl Draws {
    /// The stream for one purpose at one time (an epoch or a step, counted from 0) and one image (0 where the draw
    /// is for a whole batch). The four numbers are the cipher's key: no two places share a stream.
    pub(super) fn new(seed: u64, purpose: Purpose, time: u64, image: u64) -> Self {
        let mut key = [0; 32];
        for (part, number) in key.chunks_exact_mut(8).zip([seed, purpose as u64, time, image]) {
            part.copy_from_slice(&number.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// An integer from 0 to `bound - 1`, each equally likely; 0 for a bound of 0. Lemire, "Fast random integer
    /// generation in an interval" (2019).
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        let threshold = bound.wrapping_neg().checked_rem(bound).unwrap_or(0);
        loop {
            let product = u64::from(self.0.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// True half of the time.
    pub(super) fn coin(&mut self) -> bool {
        self.0.next_u32() & 1 == 1
    }

    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform between two numbers.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Random bytes.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A draw from the symmetric Beta(alpha, alpha) distribution, alpha above 0: the share of one of two gamma draws
    /// in their sum, taken from their logarithms because a small alpha makes both of them vanish.
    pub(super) fn beta(&mut self, alpha: f64) -> f64 {
        let (first, second) = (self.log_gamma(alpha), self.log_gamma(alpha));
        1.0 / (1.0 + libm::exp(second - first))
    }

    /// The logarithm of a draw from Gamma(alpha, 1): Marsaglia and Tsang, "A simple method for generating gamma
    /// variables" (2000), for alpha + 1, brought to alpha by their U^(1/alpha).
    fn log_gamma(&mut self, alpha: f64) -> f64 {
        let d = alpha + 1.0 - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        let larger = loop {
            let x = self.normal();
            let cube = (1.0 + c * x) * (1.0 + c * x) * (1.0 + c * x);
            if cube > 0.0 && libm::log(1.0 - self.unit()) < 0.5 * x * x + d - d * cube + d * libm::log(cube) {
                break d * cube;
            }
        };
        libm::log(larger) + libm::log(1.0 - self.unit()) / alpha
    }

    /// A draw from the standard normal distribution, by Marsaglia's polar method.
    fn normal(&mut self) -> f64 {
        loop {
            let (u, v) = (self.between(-1.0, 1.0), self.between(-1.0, 1.0));
            let square = u * u + v * v;
            if square > 0.0 && square < 1.0 {
                return u * (-2.0 * libm::log(square) / square).sqrt();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(time: u64) -> Draws {
        Draws::new(7, Purpose::Mix, time, 0)
    }

    #[test]
    fn every_place_has_its_own_stream() {
        let first = |seed, purpose, time, image| Draws::new(seed, purpose, time, image).below(u32::MAX);
        let here = first(1, Purpose::Crop, 2, 3);
        assert_eq!(here, first(1, Purpose::Crop, 2, 3));
        for other in [
            first(0, Purpose::Crop, 2, 3),
            first(1, Purpose::Flip, 2, 3),
            first(1, Purpose::Crop, 3, 2),
            first(1, Purpose::Crop, 2, 4),
        ] {
            assert_ne!(here, other);
        }
    }

    #[test]
    fn integers_below_a_bound_are_equally_likely() {
        let mut draws = draws(0);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[draws.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (9_600..10_400).contains(&count)), "{counts:?}");
        assert_eq!(draws.below(1), 0);
        assert_eq!(draws.below(0), 0);
    }

    #[test]
    fn beta_has_its_mean_and_variance() {
        // Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)).
        for alpha in [0.1, 0.2, 1.0, 4.0] {
            let mut draws = draws(1);
            let values: Vec<f64> = (0..20_000).map(|_| draws.beta(alpha)).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|v| (v - 0.5) * (v - 0.5)).sum::<f64>() / values.len() as f64;
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((mean - 0.5).abs() < 0.01, "alpha {alpha}: mean {mean}");
            assert!((variance / expected - 1.0).abs() < 0.03, "alpha {alpha}: variance {variance}, not {expected}");
        }
    }

    #[test]
    fn beta_survives_extreme_alphas() {
        for alpha in [f64::from(f32::MIN_POSITIVE), 1e-12, 1e12] {
            let mut draws = draws(2);
            for _ in 0..100 {
                let value = draws.beta(alpha);
                assert!((0.0..=1.0).contains(&value), "alpha {alpha}: {value}");
            }
        }
    }
}
