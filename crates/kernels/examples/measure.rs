//! Prints how fast the kernels are on this machine: `cargo run --release -p percept-kernels --example measure [FILTER]`.
//! `RAYON_NUM_THREADS` sets the threads, `PERCEPT_ISA` the instruction set. Figures are medians of a few runs.

use std::time::Instant;

use percept_kernels::{
    Activation, ConvShape, Isa, Layout, LinearShape, NormShape, PoolShape, Sgd, Targets, add_relu, batch_norm_gradient,
    batch_norm_infer, batch_norm_train, channel_sums, conv2d, conv2d_input_gradient, conv2d_weight_gradient, gemm,
    linear, linear_input_gradient, linear_weight_gradient, max_pool, max_pool_gradient, normalize, sgd_step,
    softmax_cross_entropy,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let pool = rayon::ThreadPoolBuilder::new().build()?;
    println!("{}, {} threads", Isa::from_environment()?, pool.current_num_threads());
    pool.install(|| {
        products(&filter);
        linear_layers(&filter);
        passes(&filter);
        convolutions(&filter)
    })?;
    Ok(())
}

fn products(filter: &str) {
    for [m, n, k] in [[96, 64, 256], [256; 3], [1024; 3], [2048, 64, 576], [64, 64, 4096], [1, 1000, 512]] {
        let (a, b, mut c) = (values(m * k), values(k * n), vec![0.0; m * n]);
        for (name, a_layout, b_layout) in [
            ("a b", Layout::RowMajor, Layout::RowMajor),
            ("a bT", Layout::RowMajor, Layout::Transposed),
            ("aT b", Layout::Transposed, Layout::RowMajor),
        ] {
            let name = format!("gemm {name} {m}x{n}x{k}");
            arithmetic(filter, &name, m * n * k, || gemm(m, n, k, &a, a_layout, &b, b_layout, false, &mut c));
        }
    }
}

fn linear_layers(filter: &str) {
    for [batch, inputs, outputs] in [[100, 3072, 10], [100, 3072, 512], [128, 512, 10]] {
        let shape = LinearShape::new(batch, inputs, outputs).expect("a layer");
        let (input, weights, gradient) = (values(batch * inputs), values(inputs * outputs), values(batch * outputs));
        let bias = values(outputs);
        let name = format!("linear {batch}x{inputs}->{outputs}");
        let work = batch * inputs * outputs;
        let mut output = vec![0.0; batch * outputs];
        arithmetic(filter, &format!("{name} forward"), work, || {
            linear(&shape, &input, &weights, Some(&bias), &mut output);
        });
        let mut output = vec![0.0; batch * inputs];
        arithmetic(filter, &format!("{name} input gradient"), work, || {
            linear_input_gradient(&shape, &gradient, &weights, &mut output);
        });
        let mut output = vec![0.0; inputs * outputs];
        arithmetic(filter, &format!("{name} weight gradient"), work, || {
            linear_weight_gradient(&shape, &input, &gradient, &mut output);
        });
    }
}

fn convolutions(filter: &str) -> Result<(), percept_kernels::ShapeError> {
    let shapes = [
        ConvShape::new([32, 32, 32, 64], 64, [3, 3], 1, 1)?,
        ConvShape::new([32, 32, 32, 3], 32, [3, 3], 1, 1)?,
        ConvShape::new([32, 32, 32, 32], 32, [3, 3], 1, 1)?,
        ConvShape::new([32, 16, 16, 128], 128, [3, 3], 1, 1)?,
        ConvShape::new([32, 4, 4, 512], 512, [3, 3], 1, 1)?,
        ConvShape::new([32, 32, 32, 64], 128, [3, 3], 2, 1)?,
        ConvShape::new([32, 32, 32, 64], 128, [1, 1], 2, 0)?,
        ConvShape::new([32, 32, 32, 64], 64, [1, 1], 1, 0)?,
        ConvShape::new([8, 112, 112, 3], 64, [7, 7], 2, 3)?,
    ];
    for shape in shapes {
        let (input, weights) = (values(shape.input_len()), values(shape.weights_len()));
        let gradient = values(shape.output_len());
        let [kernel, _] = shape.kernel;
        let name = format!(
            "conv {kernel}x{kernel}/{} {}->{} {}x{}x{}",
            shape.stride, shape.in_channels, shape.out_channels, shape.batch, shape.height, shape.width
        );
        let work = shape.multiply_adds() as usize;
        let mut output = vec![0.0; shape.output_len()];
        arithmetic(filter, &format!("{name} forward"), work, || conv2d(&shape, &input, &weights, None, &mut output));
        let mut output = vec![0.0; shape.input_len()];
        arithmetic(filter, &format!("{name} input gradient"), work, || {
            conv2d_input_gradient(&shape, &gradient, &weights, &mut output);
        });
        let mut output = vec![0.0; shape.weights_len()];
        arithmetic(filter, &format!("{name} weight gradient"), work, || {
            conv2d_weight_gradient(&shape, &input, &gradient, &mut output);
        });
    }
    Ok(())
}

/// What goes through memory: the figure counts the bytes that have to be read and written.
fn passes(filter: &str) {
    let (rows, channels) = (32 * 32 * 32, 64);
    let shape = NormShape::new(rows, channels).expect("a shape");
    let length = rows * channels;
    let (input, gradient) = (values(length), values(length));
    let mut output = vec![0.0; length];
    let [mut mean, mut variance, mut first, mut second] = [0; 4].map(|_| vec![1.0; channels]);
    let (scale, shift) = (values(channels), values(channels));
    for activation in [Activation::Relu, Activation::Gelu] {
        traffic(filter, &format!("norm train {activation:?}"), 3 * 4 * length, || {
            batch_norm_train(&shape, &input, &scale, &shift, 1e-5, activation, &mut output, &mut mean, &mut variance);
        });
        traffic(filter, &format!("norm infer {activation:?}"), 2 * 4 * length, || {
            batch_norm_infer(&shape, &input, &scale, &shift, activation, &mut output);
        });
        traffic(filter, &format!("norm gradient {activation:?}"), 5 * 4 * length, || {
            batch_norm_gradient(
                &shape,
                &input,
                &mean,
                &variance,
                &scale,
                &shift,
                1e-5,
                activation,
                &gradient,
                &mut output,
                &mut first,
                &mut second,
            );
        });
    }
    traffic(filter, "channel sums", 4 * length, || channel_sums(rows, channels, &input, &mut first));
    traffic(filter, "add and relu", 3 * 4 * length, || add_relu(&mut output, &input));
    let pool = PoolShape::new([32, 32, 32, 64], 2, 2, 0).expect("a shape");
    let (mut pooled, mut argmax) = (vec![0.0; pool.output_len()], vec![0; pool.output_len()]);
    traffic(filter, "max pool 2x2", 4 * length + 5 * pooled.len(), || {
        max_pool(&pool, &input, &mut pooled, &mut argmax);
    });
    let bytes = 4 * length + 5 * pooled.len();
    traffic(filter, "max pool gradient", bytes, || max_pool_gradient(&pool, &pooled, &argmax, &mut output));
    let settings = Sgd { learning_rate: 1e-9, momentum: 0.9, nesterov: true, weight_decay: 0.0 };
    let (mut parameters, mut velocity) = (values(length), values(length));
    traffic(filter, "sgd", 5 * 4 * length, || sgd_step(&settings, &mut parameters, &gradient, &mut velocity));
    let bytes: Vec<u8> = (0..100 * 3072).map(|index| index as u8).collect();
    traffic(filter, "normalize 100x32x32x3", 5 * bytes.len(), || {
        normalize(100, 1024, 3, &bytes, &[0.1; 3], &[0.0; 3], &mut output[..100 * 3072]);
    });
    let labels: Vec<u32> = (0..100).map(|row| row % 10).collect();
    let (mut losses, mut loss_gradient) = (vec![0.0; 100], vec![0.0; 1000]);
    traffic(filter, "loss 100x10", 8 * 1000, || {
        let targets = Targets::Labels(&labels);
        softmax_cross_entropy(100, 10, &input[..1000], targets, 0.0, None, &mut losses, &mut loss_gradient);
    });
}

/// Prints the time and the GB/s of `run`, which has to move so many bytes.
fn traffic(filter: &str, name: &str, bytes: usize, run: impl FnMut()) {
    if name.contains(filter) {
        let seconds = median(run);
        println!("{name:52} {:10.1} us {:8.1} GB/s", seconds * 1e6, 1e-9 * bytes as f64 / seconds);
    }
}

/// Prints the time and the GFLOP/s of `run`, which makes `multiply_adds` of them.
fn arithmetic(filter: &str, name: &str, multiply_adds: usize, run: impl FnMut()) {
    if name.contains(filter) {
        let seconds = median(run);
        println!("{name:52} {:10.1} us {:8.1} GFLOP/s", seconds * 1e6, 2e-9 * multiply_adds as f64 / seconds);
    }
}

/// The median time of a run in seconds, over a fifth of a second.
fn median(mut run: impl FnMut()) -> f64 {
    run();
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || start.elapsed().as_secs_f64() < 0.2 {
        let before = Instant::now();
        run();
        times.push(before.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Values between -1 and 1 without a pattern.
fn values(length: usize) -> Vec<f32> {
    (0..length as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}
