//! Speed of the kernels on their own: `cargo run --release -p percept-kernels --example speed`.

use std::time::Instant;

use percept_kernels::{
    ConvShape, LinearShape, conv2d, conv2d_input_gradient, conv2d_weight_gradient, linear, linear_input_gradient,
    linear_weight_gradient,
};

/// The median of some runs, in GFLOP/s.
fn rate(multiply_adds: usize, mut work: impl FnMut()) -> f64 {
    work();
    let mut times: Vec<f64> = (0..7)
        .map(|_| {
            let begin = Instant::now();
            work();
            begin.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    2.0 * multiply_adds as f64 / times[3] / 1e9
}

fn main() {
    println!("{} threads, {}", rayon::current_num_threads(), percept_kernels::Isa::current().name());
    for (batch, inputs, outputs) in [(1024, 1024, 1024), (100, 3072, 10), (100, 3072, 512), (128, 512, 10)] {
        let shape = LinearShape { batch, inputs, outputs };
        let (x, w) = (vec![0.5; batch * inputs], vec![0.5; inputs * outputs]);
        let (mut y, mut dx, mut dw) = (vec![0.5; batch * outputs], x.clone(), w.clone());
        let cost = batch * inputs * outputs;
        let rates = [
            rate(cost, || linear(&shape, &x, &w, None, &mut y)),
            rate(cost, || linear_input_gradient(&shape, &y, &w, &mut dx)),
            rate(cost, || linear_weight_gradient(&shape, &x, &y, &mut dw)),
        ];
        println!("linear {batch}x{inputs}x{outputs}: forward, input, weights GFLOP/s {rates:.0?}");
    }
    for [batch, side, i, o, kernel, stride] in [
        [64, 32, 3, 32, 3, 1],
        [64, 32, 32, 32, 3, 1],
        [64, 16, 64, 64, 3, 1],
        [64, 8, 128, 128, 3, 1],
        [32, 32, 64, 64, 3, 1],
        [32, 32, 64, 128, 3, 2],
        [32, 4, 512, 512, 3, 1],
        [32, 32, 64, 64, 1, 1],
    ] {
        let shape = ConvShape {
            batch,
            height: side,
            width: side,
            in_channels: i,
            out_channels: o,
            kernel: [kernel; 2],
            stride,
            padding: kernel / 2,
        };
        let (x, w) = (vec![0.5; shape.input_len()], vec![0.5; shape.weights_len()]);
        let (mut y, mut dx, mut dw) = (vec![0.5; shape.output_len()], x.clone(), w.clone());
        let cost = shape.output_len() * shape.taps() * i;
        let rates = [
            rate(cost, || conv2d(&shape, &x, &w, None, &mut y)),
            rate(cost, || conv2d_input_gradient(&shape, &y, &w, &mut dx)),
            rate(cost, || conv2d_weight_gradient(&shape, &x, &y, &mut dw)),
        ];
        println!("conv {kernel}x{kernel}/{stride} {i}->{o} on {side}x{side}, batch {batch}: {rates:.0?}");
    }
}
