//! What the processor can do at most: the measure of everything else.

use std::hint::black_box;
use std::time::Instant;

use percept_kernels::{Isa, Precision};

/// Multiplications and additions a second, of all threads together: twelve chains of fused ones, all in registers, in the
/// widest vectors of the instruction set. Those of bf16 are counted where the processor has them; where it is emulated, the
/// products are f32's. The most of half a second: others that use the machine may leave it to us for a moment only.
pub fn peak(precision: Precision) -> f64 {
    let start = Instant::now();
    let mut most = 0.0f64;
    while start.elapsed().as_secs_f64() < 0.5 {
        most = most.max(rate(precision));
    }
    most
}

/// What [`peak`] is the most of.
fn rate(precision: Precision) -> f64 {
    const ROUNDS: usize = 100_000;
    let (isa, before) = (Isa::current(), Instant::now());
    let done: usize = rayon::broadcast(|_| multiply_adds(isa, precision, black_box(ROUNDS))).into_iter().sum();
    2.0 * done as f64 / before.elapsed().as_secs_f64()
}

const CHAINS: usize = 12;

/// Makes `rounds` of multiply-adds and says how many they were.
fn multiply_adds(isa: Isa, precision: Precision, rounds: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: the instruction set is one of this machine, and the later ones of x86-64 have what the earlier ones have.
        let lanes = unsafe {
            match (isa, precision) {
                (Isa::Avx512Bf16 | Isa::Amx, Precision::Bf16) => avx512bf16(rounds),
                (Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx, _) => avx512(rounds),
                (Isa::Avx2, _) => avx2(rounds),
                _ => 0,
            }
        };
        if lanes > 0 {
            return rounds * CHAINS * lanes;
        }
    }
    let _ = (isa, precision);
    let (factor, mut sums) = (black_box(0.5f32), [black_box(3.0f32); 4 * CHAINS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = *sum * factor + factor;
        }
    }
    black_box(sums);
    rounds * sums.len()
}

/// Runs the chains; says how many multiply-adds an instruction makes.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(rounds: usize) -> usize {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    let (factor, start) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(3.0)));
    let mut sums = [start; CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, factor);
        }
    }
    black_box(sums);
    8
}

/// As [`avx2`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(rounds: usize) -> usize {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
    let (factor, start) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(3.0)));
    let mut sums = [start; CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, factor, factor);
        }
    }
    black_box(sums);
    16
}

/// As [`avx2`], of bf16: pairs of products.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn avx512bf16(rounds: usize) -> usize {
    use std::arch::x86_64::{_mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_set1_ps};
    let (halves, start) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(3.0)));
    let factor = _mm512_cvtne2ps_pbh(halves, halves);
    let mut sums = [start; CHAINS];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, factor, factor);
        }
    }
    black_box(sums);
    32
}
