//! Layers of networks for small machines, as prediction runs them: depthwise, 1 x 1, and both as one.

use percept_kernels::{
    Activation, BlockLayer, ConvShape, InvertedResidual, Padding, Pass, Precision, PreparedConv, ShapeError,
    conv2d_fused, conv2d_input_gradient, conv2d_weight_gradient,
};

use crate::{median, medians, peak::peak, values};

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
pub fn depthwise(filter: &str) -> Result<(), ShapeError> {
    let (peak, rate) = (peak(Precision::F32), copy_rate());
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

pub fn pointwise(filter: &str) -> Result<(), ShapeError> {
    let peak = peak(Precision::F32);
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

/// A line for what takes so long, beside the peak.
fn say_rate(name: &str, shape: &ConvShape, seconds: f64, peak: f64) {
    let rate = 2.0 * shape.multiply_adds() as f64 / seconds;
    let percent = 100.0 * rate / peak;
    println!("{name:40} {:9.1} us {:6.1} GFLOP/s {percent:4.0} % of peak", seconds * 1e6, 1e-9 * rate);
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
pub fn blocks(filter: &str) -> Result<(), ShapeError> {
    let peak = peak(Precision::F32);
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
