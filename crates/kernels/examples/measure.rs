//! Prints how fast the kernels are on this machine: `cargo run --release -p percept-kernels --example measure [FILTER]`;
//! `peak` as the filter measures that alone. A second argument `bf16` makes the products of convolutions in bf16.
//! `RAYON_NUM_THREADS` sets the threads, `PERCEPT_ISA` the instruction set. Figures are medians of a few runs; what is
//! compared runs in turn. GFLOP/s of convolutions are those of the direct algorithm, whatever computes them, and so may
//! pass the peak, which is that of multiply-adds in registers on as many threads.

use std::hint::black_box;
use std::time::Instant;

use percept_kernels::{
    Activation, Algorithm, BlockLayer, ConvShape, InvertedResidual, Isa, Layout, LinearShape, NormShape, Padding, Pass,
    PoolShape, Precision, PreparedConv, Sgd, ShapeError, Targets, Update, add_relu, batch_norm_apply,
    batch_norm_gradient, batch_norm_infer, batch_norm_train, channel_sums, conv2d, conv2d_fused, conv2d_input_gradient,
    conv2d_weight_gradient, conv2d_with_statistics, gemm, linear, linear_input_gradient, linear_weight_gradient,
    max_pool, max_pool_gradient, normalize, softmax_cross_entropy, together,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let pool = rayon::ThreadPoolBuilder::new().build()?;
    println!("{}, {} threads", Isa::from_environment()?, pool.current_num_threads());
    if filter == "peak" {
        println!("peak: {:.1} GFLOP/s", 1e-9 * pool.install(peak));
        return Ok(());
    }
    let precision = if std::env::args().nth(2).as_deref() == Some("bf16") { Precision::Bf16 } else { Precision::F32 };
    pool.install(|| {
        products(&filter);
        linear_layers(&filter);
        passes(&filter);
        precision.run(|| convolutions(&filter))?;
        prepared(&filter)?;
        depthwise(&filter)?;
        pointwise(&filter)?;
        blocks(&filter)?;
        fused(&filter)
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

/// Batch, size of the square image, input and output channels, kernel, stride, padding: the layers of small CNNs and of
/// a residual network for small images, in training and at batch 1, and some others.
const CONVOLUTIONS: [[usize; 7]; 28] = [
    [128, 32, 3, 32, 3, 1, 1],
    [128, 32, 32, 32, 3, 1, 1],
    [128, 16, 32, 64, 3, 1, 1],
    [128, 16, 64, 64, 3, 1, 1],
    [128, 8, 64, 128, 3, 1, 1],
    [128, 8, 128, 128, 3, 1, 1],
    [128, 31, 24, 32, 3, 1, 1],
    [128, 15, 32, 32, 3, 1, 1],
    [128, 15, 32, 128, 3, 1, 1],
    [128, 7, 128, 128, 3, 1, 1],
    [128, 3, 128, 128, 3, 1, 1],
    [128, 2, 128, 128, 3, 1, 1],
    [128, 32, 64, 64, 3, 1, 1],
    [128, 16, 128, 128, 3, 1, 1],
    [128, 8, 256, 256, 3, 1, 1],
    [128, 4, 512, 512, 3, 1, 1],
    [1, 32, 32, 32, 3, 1, 1],
    [1, 16, 64, 64, 3, 1, 1],
    [1, 8, 128, 128, 3, 1, 1],
    [1, 32, 64, 64, 3, 1, 1],
    [1, 16, 128, 128, 3, 1, 1],
    [1, 8, 256, 256, 3, 1, 1],
    [1, 4, 512, 512, 3, 1, 1],
    [32, 32, 64, 128, 3, 2, 1],
    [32, 32, 64, 128, 1, 2, 0],
    [32, 32, 64, 64, 1, 1, 0],
    [8, 112, 3, 64, 7, 2, 3],
    [32, 28, 32, 32, 5, 1, 2],
];

fn convolutions(filter: &str) -> Result<(), ShapeError> {
    let peak = peak();
    println!("peak: {:.1} GFLOP/s", 1e-9 * peak);
    for [batch, size, ins, outs, kernel, stride, padding] in CONVOLUTIONS {
        let shape = ConvShape::new([batch, size, size, ins], outs, [kernel; 2], stride, padding)?;
        let (input, weights) = (values(shape.input_len()), values(shape.weights_len()));
        let gradient = values(shape.output_len());
        let [mut output, mut input_gradient, mut weight_gradient] =
            [shape.output_len(), shape.input_len(), shape.weights_len()].map(|length| vec![0.0; length]);
        for pass in [Pass::Forward, Pass::InputGradient, Pass::WeightGradient] {
            let name = format!("conv {kernel}x{kernel}/{stride} {ins}->{outs} {batch}x{size}x{size} {pass:?}");
            if !name.contains(filter) {
                continue;
            }
            let chosen = Algorithm::of(&shape, pass);
            let mut algorithms = vec![Algorithm::Direct, Algorithm::Winograd2, Algorithm::Winograd4];
            algorithms.retain(|algorithm| algorithm.run(|| Algorithm::of(&shape, pass)) == *algorithm);
            let times = medians(algorithms.len(), |index| {
                algorithms[index].run(|| match pass {
                    Pass::Forward => conv2d(&shape, &input, &weights, None, &mut output),
                    Pass::InputGradient => conv2d_input_gradient(&shape, &gradient, &weights, &mut input_gradient),
                    Pass::WeightGradient => conv2d_weight_gradient(&shape, &input, &gradient, &mut weight_gradient),
                });
            });
            for (algorithm, seconds) in algorithms.into_iter().zip(&times) {
                let rate = 2.0 * shape.multiply_adds() as f64 / seconds;
                println!(
                    "{name:46} {:10} {:8.3} ms {:6.1} GFLOP/s {:4.0} % of peak  x{:.2}{}",
                    format!("{algorithm:?}"),
                    seconds * 1e3,
                    1e-9 * rate,
                    100.0 * rate / peak,
                    times[0] / seconds,
                    if algorithm == chosen { " chosen" } else { "" }
                );
            }
        }
    }
    Ok(())
}

/// A line for what takes so long, beside the peak.
fn say_rate(name: &str, shape: &ConvShape, seconds: f64, peak: f64) {
    let rate = 2.0 * shape.multiply_adds() as f64 / seconds;
    let percent = 100.0 * rate / peak;
    println!("{name:40} {:9.1} us {:6.1} GFLOP/s {percent:4.0} % of peak", seconds * 1e6, 1e-9 * rate);
}

/// Single images, as prediction runs them: weights are ready, and stay in the caches that hold them.
fn prepared(filter: &str) -> Result<(), ShapeError> {
    let peak = peak();
    let single = CONVOLUTIONS.into_iter().filter(|row| row[0] == 1).chain([
        [1, 32, 3, 32, 3, 1, 1],
        [1, 32, 3, 64, 3, 1, 1],
        [1, 16, 32, 64, 3, 1, 1],
        [1, 8, 64, 128, 3, 1, 1],
        [1, 32, 64, 128, 3, 2, 1],
        [1, 16, 128, 256, 3, 2, 1],
        [1, 8, 256, 512, 3, 2, 1],
        [1, 224, 3, 32, 3, 2, 1],
        [1, 224, 3, 64, 7, 2, 3],
    ]);
    for [batch, size, ins, outs, kernel, stride, padding] in single {
        let shape = ConvShape::new([batch, size, size, ins], outs, [kernel; 2], stride, padding)?;
        let name = format!("prepared {kernel}x{kernel}/{stride} {ins}->{outs} {size}x{size}");
        if !name.contains(filter) {
            continue;
        }
        let (input, mut output) = (values(shape.input_len()), vec![0.0; shape.output_len()]);
        let (weights, bias) = (values(shape.weights_len()), values(outs));
        let prepared = PreparedConv::new(shape, weights, Some(bias));
        let seconds = together(|| median(|| prepared.run(batch, &input, None, Activation::Relu, &mut output)));
        say_rate(&name, &shape, seconds, peak);
    }
    Ok(())
}

/// Size of the square map, channels, kernel, stride: depthwise layers of EfficientNet-Lite0.
const DEPTHWISE: [[usize; 4]; 9] = [
    [112, 32, 3, 1],
    [112, 96, 3, 2],
    [56, 144, 3, 1],
    [56, 144, 5, 2],
    [28, 240, 5, 1],
    [28, 240, 3, 2],
    [14, 480, 5, 1],
    [14, 672, 5, 2],
    [7, 1152, 5, 1],
];

/// Depthwise convolutions: beside the share of the peak, the GB/s of maps that are read and written once. The floor is
/// the larger of both times: arithmetic at the peak, or maps at the rate of [`copy_rate`].
fn depthwise(filter: &str) -> Result<(), ShapeError> {
    let (peak, rate) = (peak(), copy_rate());
    println!("copying memory: {:.1} GB/s", 1e-9 * rate);
    for (batch, [size, channels, kernel, stride]) in [1, 32].into_iter().flat_map(|b| DEPTHWISE.map(|row| (b, row))) {
        let shape = ConvShape::new([batch, size, size, channels], channels, [kernel; 2], stride, kernel / 2)?;
        let shape = shape.with_groups(channels)?;
        let name = format!("depthwise {kernel}x{kernel}/{stride} {channels} {batch}x{size}x{size}");
        if !name.contains(filter) {
            continue;
        }
        let (input, weights) = (values(shape.input_len()), values(shape.weights_len()));
        let (gradient, bias) = (values(shape.output_len()), values(channels));
        let [mut output, mut input_gradient, mut weight_gradient] =
            [shape.output_len(), shape.input_len(), shape.weights_len()].map(|length| vec![0.0; length]);
        let passes = [Pass::Forward, Pass::InputGradient, Pass::WeightGradient];
        let times = medians(3, |index| match passes[index] {
            Pass::Forward => conv2d_fused(&shape, &input, &weights, Some(&bias), None, Activation::Relu6, &mut output),
            Pass::InputGradient => conv2d_input_gradient(&shape, &gradient, &weights, &mut input_gradient),
            Pass::WeightGradient => conv2d_weight_gradient(&shape, &input, &gradient, &mut weight_gradient),
        });
        let bytes = 4.0 * (shape.input_len() + shape.output_len()) as f64;
        let arithmetic = 2.0 * shape.multiply_adds() as f64;
        // A small map stays in a cache, and copying memory says nothing of it.
        let floor = if bytes < 8e6 { arithmetic / peak } else { (arithmetic / peak).max(bytes / rate) };
        for (pass, seconds) in passes.into_iter().zip(times) {
            println!(
                "{name:40} {:15} {:9.1} us {:6.1} GFLOP/s {:6.1} GB/s  x{:.1} the floor",
                format!("{pass:?}"),
                seconds * 1e6,
                1e-9 * arithmetic / seconds,
                1e-9 * bytes / seconds,
                seconds / floor,
            );
        }
    }
    Ok(())
}

/// Bytes a second that are read and written when all threads copy memory.
fn copy_rate() -> f64 {
    const LENGTH: usize = 16 << 20;
    let (from, mut into) = (vec![1.0f32; LENGTH], vec![0.0f32; LENGTH]);
    let half = LENGTH / 2;
    let seconds = median(|| {
        let (first, second) = into.split_at_mut(half);
        rayon::join(|| first.copy_from_slice(&from[..half]), || second.copy_from_slice(&from[half..]));
    });
    2.0 * 4.0 * LENGTH as f64 / seconds
}

/// Size of the square map, input and output channels: 1x1 convolutions of EfficientNet-Lite0.
const POINTWISE: [[usize; 3]; 10] = [
    [112, 32, 16],
    [112, 16, 96],
    [56, 96, 24],
    [56, 24, 144],
    [28, 240, 40],
    [28, 40, 240],
    [14, 480, 112],
    [14, 112, 672],
    [7, 1152, 192],
    [7, 320, 1280],
];

fn pointwise(filter: &str) -> Result<(), ShapeError> {
    let peak = peak();
    for (batch, [size, ins, outs]) in [1, 32].into_iter().flat_map(|b| POINTWISE.map(|row| (b, row))) {
        let shape = ConvShape::new([batch, size, size, ins], outs, [1, 1], 1, 0)?;
        let name = format!("pointwise {ins}->{outs} {batch}x{size}x{size}");
        if !name.contains(filter) {
            continue;
        }
        let (input, mut output) = (values(shape.input_len()), vec![0.0; shape.output_len()]);
        let prepared = PreparedConv::new(shape, values(shape.weights_len()), Some(values(outs)));
        let seconds = median(|| prepared.run(batch, &input, None, Activation::Relu6, &mut output));
        say_rate(&name, &shape, seconds, peak);
    }
    Ok(())
}

/// Size of the square map; channels that come in, are between, and come out; kernel and stride: the inverted residuals of
/// EfficientNet-Lite0, and how often it has each. The first expands nothing.
const BLOCKS: [([usize; 6], usize); 12] = [
    ([112, 32, 32, 16, 3, 1], 1),
    ([112, 16, 96, 24, 3, 2], 1),
    ([56, 24, 144, 24, 3, 1], 1),
    ([56, 24, 144, 40, 5, 2], 1),
    ([28, 40, 240, 40, 5, 1], 1),
    ([28, 40, 240, 80, 3, 2], 1),
    ([14, 80, 480, 80, 3, 1], 2),
    ([14, 80, 480, 112, 5, 1], 1),
    ([14, 112, 672, 112, 5, 1], 2),
    ([14, 112, 672, 192, 5, 2], 1),
    ([7, 192, 1152, 192, 5, 1], 3),
    ([7, 192, 1152, 320, 3, 1], 1),
];

/// As prediction runs them, and what all of them take for an image: layer by layer, and as one.
fn blocks(filter: &str) -> Result<(), ShapeError> {
    let peak = peak();
    for batch in [1, 8] {
        let mut all = [0.0; 2];
        for ([size, ins, between, outs, kernel, stride], count) in BLOCKS {
            let name = format!("block {ins}->{between}->{outs} {kernel}x{kernel}/{stride} {batch}x{size}x{size}");
            if !name.contains(filter) {
                continue;
            }
            // Padding as TensorFlow's, which these networks have.
            let total = (size.div_ceil(stride) - 1) * stride + kernel - size;
            let (top, bottom) = (total / 2, total - total / 2);
            let padding = Padding { top, bottom, left: top, right: bottom };
            let expand = ConvShape::new([batch, size, size, ins], between, [1, 1], 1, 0)?;
            let depthwise = ConvShape::new([batch, size, size, between], between, [kernel; 2], stride, padding)?;
            let depthwise = depthwise.with_groups(between)?;
            let narrow = size.div_ceil(stride);
            let project = ConvShape::new([batch, narrow, narrow, between], outs, [1, 1], 1, 0)?;
            let shapes = [expand, depthwise, project];
            let prepared = shapes
                .map(|shape| PreparedConv::new(shape, values(shape.weights_len()), Some(values(shape.out_channels))));
            let activations = [Activation::Relu6, Activation::Relu6, Activation::Identity];
            let layer = |place: usize| BlockLayer { convolution: &prepared[place], activation: activations[place] };
            let expand = (between > ins).then(|| layer(0));
            let block = InvertedResidual { expand, depthwise: layer(1), project: layer(2) };
            let input = values(expand.map_or(shapes[1].input_len(), |_| shapes[0].input_len()));
            let (mut wide, mut seen) = (vec![0.0; shapes[1].input_len()], vec![0.0; shapes[2].input_len()]);
            let mut output = vec![0.0; shapes[2].output_len()];
            let times = medians(2, |index| {
                if index == 1 {
                    return block.run(batch, &input, None, &mut output);
                }
                if expand.is_some() {
                    prepared[0].run(batch, &input, None, activations[0], &mut wide);
                }
                let from = if expand.is_some() { &wide } else { &input };
                prepared[1].run(batch, from, None, activations[1], &mut seen);
                prepared[2].run(batch, &seen, None, activations[2], &mut output);
            });
            let first = usize::from(expand.is_none());
            let arithmetic = 2.0 * shapes[first..].iter().map(|shape| shape.multiply_adds() as f64).sum::<f64>();
            let [apart, together] = [times[0], times[1]].map(|seconds| 1e6 * seconds / batch as f64);
            let percent = 100.0 * arithmetic / batch as f64 / (1e-6 * together) / peak;
            all = [all[0] + apart * count as f64, all[1] + together * count as f64];
            println!(
                "{name:40} apart {apart:8.1} us, together {together:8.1} us an image  x{:.2}  {percent:4.0} % of peak",
                apart / together,
            );
        }
        if all[1] == 0.0 {
            return Ok(());
        }
        println!("blocks of {batch}: apart {:.0} us, together {:.0} us an image", all[0], all[1]);
    }
    Ok(())
}

/// What fusing saves: first the convolution and what follows it one after the other, then as one.
fn fused(filter: &str) -> Result<(), ShapeError> {
    for [batch, size, ins, outs, kernel, stride, padding] in CONVOLUTIONS.into_iter().take(16) {
        let shape = ConvShape::new([batch, size, size, ins], outs, [kernel; 2], stride, padding)?;
        let norm = NormShape::new(shape.output_len() / outs, outs)?;
        let (input, weights, residual) =
            (values(shape.input_len()), values(shape.weights_len()), values(shape.output_len()));
        let (scale, shift) = (values(outs), values(outs));
        let [mut output, mut normed] = [0; 2].map(|_| vec![0.0; shape.output_len()]);
        let [mut mean, mut variance] = [0; 2].map(|_| vec![0.0; outs]);
        let report = |name: &str, times: Vec<f64>| {
            let [apart, fused] = [times[0] * 1e3, times[1] * 1e3];
            println!("{name:46} apart {apart:8.3} ms, fused {fused:8.3} ms  x{:.2}", apart / fused);
        };
        let relu = Activation::Relu;
        let name = format!("fused norm {ins}->{outs} {batch}x{size}x{size}");
        if name.contains(filter) {
            report(
                &name,
                medians(2, |index| {
                    let (mean, variance) = (&mut mean, &mut variance);
                    if index == 0 {
                        conv2d(&shape, &input, &weights, None, &mut output);
                        batch_norm_train(&norm, &output, &scale, &shift, 1e-5, relu, &mut normed, mean, variance);
                    } else {
                        conv2d_with_statistics(&shape, &input, &weights, None, &mut output, mean, variance);
                        batch_norm_apply(&norm, &output, mean, variance, &scale, &shift, 1e-5, relu, &mut normed);
                    }
                }),
            );
        }
        let name = format!("fused residual {ins}->{outs} {batch}x{size}x{size}");
        if name.contains(filter) {
            report(
                &name,
                medians(2, |index| {
                    if index == 0 {
                        conv2d(&shape, &input, &weights, Some(&shift), &mut output);
                        add_relu(&mut output, &residual);
                    } else {
                        conv2d_fused(&shape, &input, &weights, Some(&shift), Some(&residual), relu, &mut output);
                    }
                }),
            );
        }
    }
    Ok(())
}

/// Multiplications and additions a second, of all threads together: twelve chains of fused ones, all in registers.
fn peak() -> f64 {
    const ROUNDS: usize = 100_000;
    let mut rate = 0.0f64;
    for _ in 0..20 {
        let before = Instant::now();
        let done: usize = rayon::broadcast(|_| multiply_adds(black_box(ROUNDS))).into_iter().sum();
        rate = rate.max(2.0 * done as f64 / before.elapsed().as_secs_f64());
    }
    rate
}

/// Makes `rounds` of multiply-adds and says how many they were.
fn multiply_adds(rounds: usize) -> usize {
    const CHAINS: usize = 12;
    #[cfg(target_arch = "x86_64")]
    if Isa::current() != Isa::Portable {
        use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
        #[target_feature(enable = "avx2,fma")]
        fn chains(rounds: usize) {
            let (factor, start) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(3.0)));
            let mut sums = [start; CHAINS];
            for _ in 0..rounds {
                for sum in &mut sums {
                    *sum = _mm256_fmadd_ps(*sum, factor, factor);
                }
            }
            black_box(sums);
        }
        // SAFETY: the other instruction sets of x86-64 have these two.
        unsafe { chains(rounds) };
        return rounds * CHAINS * 8;
    }
    let (factor, mut sums) = (black_box(0.5f32), [black_box(3.0f32); 4 * CHAINS]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = *sum * factor + factor;
        }
    }
    black_box(sums);
    rounds * sums.len()
}

/// What goes through memory: the figure counts the bytes that have to be read and written.
fn passes(filter: &str) {
    let (rows, channels) = (32 * 32 * 32, 64);
    let shape = NormShape::new(rows, channels).expect("a shape");
    let length = rows * channels;
    let (mut input, gradient) = (values(length), values(length));
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
                &mut input,
                &mean,
                &variance,
                &scale,
                &shift,
                1e-5,
                activation,
                &gradient,
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
    traffic(filter, "sgd", 5 * 4 * length, || {
        Update::Sgd { settings, velocity: &mut velocity }.apply(&mut parameters, &gradient);
    });
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
    medians(1, |_| run())[0]
}

/// The median time in seconds of each of `count` things that run in turn, a fifth of a second for each.
fn medians(count: usize, mut run: impl FnMut(usize)) -> Vec<f64> {
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
    let middle = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    times.into_iter().map(middle).collect()
}

/// Values between -1 and 1 without a pattern.
fn values(length: usize) -> Vec<f32> {
    (0..length as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}
