//! Prints how fast the kernels are on this machine: `cargo run --release -p percept-kernels --example measure [FILTER]`.
//! Only cases whose names contain the filter are measured; `peak` measures that alone. A second argument `bf16` makes
//! products, and those of convolutions in training, in bf16, beside its own peak.
//!
//! * `measure "gemm "` and `measure "gemm " bf16`: matrix products of all layouts, small, large and skinny, with their share
//!   of the peak.
//! * `measure "conv "`, `measure "conv " bf16` and `measure "prepared "`: convolutions by every algorithm, and what the rule
//!   that chooses one loses to the fastest, in the mean and at worst.
//!
//! `RAYON_NUM_THREADS` sets the threads, `PERCEPT_ISA` the instruction set. Figures are medians of a few runs; what is
//! compared runs in turn. GFLOP/s of convolutions are those of the direct algorithm, whatever computes them, and so may
//! pass the peak, which is that of multiply-adds in registers on as many threads.

mod convolutions;
mod passes;
mod peak;
mod prediction;
mod products;

use std::time::Instant;

use percept_kernels::{Isa, Precision};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let precision = if std::env::args().nth(2).as_deref() == Some("bf16") { Precision::Bf16 } else { Precision::F32 };
    let pool = rayon::ThreadPoolBuilder::new().build()?;
    println!("{}, {} threads", Isa::from_environment()?, pool.current_num_threads());
    if filter == "peak" {
        println!("peak: {:.1} GFLOP/s", 1e-9 * pool.install(|| peak::peak(precision)));
        return Ok(());
    }
    pool.install(|| {
        precision.run(|| {
            products::products(&filter);
            products::linear_layers(&filter);
        });
        passes::passes(&filter);
        precision.run(|| convolutions::convolutions(&filter))?;
        convolutions::prepared(&filter)?;
        prediction::depthwise(&filter)?;
        prediction::pointwise(&filter)?;
        prediction::blocks(&filter)?;
        passes::fused(&filter)
    })?;
    Ok(())
}

/// The median time of a run in seconds, over a fifth of a second.
fn median(mut run: impl FnMut()) -> f64 {
    medians(1, |_| run())[0]
}

/// The median of [`times`].
fn medians(count: usize, run: impl FnMut(usize)) -> Vec<f64> {
    times(count, run).into_iter().map(|times| times[times.len() / 2]).collect()
}

/// The times in seconds, shortest first, of each of `count` things that run in turn, a fifth of a second for each.
fn times(count: usize, mut run: impl FnMut(usize)) -> Vec<Vec<f64>> {
    (0..count).for_each(&mut run);
    let start = Instant::now();
    let mut times = vec![Vec::new(); count];
    while times[0].len() < 3 || start.elapsed().as_secs_f64() < 0.2 * count as f64 {
        for (index, times) in times.iter_mut().enumerate() {
            let before = Instant::now();
            run(index);
            times.push(before.elapsed().as_secs_f64());
        }
    }
    times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    times
}

/// Values between -1 and 1 without a pattern.
fn values(length: usize) -> Vec<f32> {
    (0..length as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}
