//! What the tests share: random numbers, tolerances, thread counts.
#![allow(dead_code)]

use percept_kernels::{Isa, with_isa};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Numbers from -1 to 1.
pub fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// Every set of instructions that the machine has; those that it lacks are named, so that nobody takes them for tested.
pub fn each_isa(test: impl Fn()) {
    for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512] {
        if Isa::available().contains(&isa) {
            with_isa(isa, &test);
        } else {
            eprintln!("not run: this machine lacks {}", isa.name());
        }
    }
}

/// A sum of `depth` products of numbers up to 1 in f32 is off by at most about `depth` roundings of the sum of their
/// magnitudes; errors cancel, so that a small multiple of the square root is met in practice.
pub fn assert_close(found: &[f32], expected: &[f64], depth: usize, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let tolerance = 2e-6 * (depth as f64).sqrt().max(1.0);
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(*found) - expected).abs();
        assert!(off <= tolerance * (1.0 + expected.abs()), "{what}: {found} is not {expected} at {index}");
    }
}

/// Runs `compute` on pools of several sizes and asserts that the bits are the same.
pub fn assert_same_bits<T: PartialEq + std::fmt::Debug + Send>(compute: impl Fn() -> T + Sync + Send) {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
        pool.install(&compute)
    };
    let one = on(1);
    for threads in [2, 3, 5] {
        assert_eq!(one, on(threads), "{threads} threads");
    }
}
