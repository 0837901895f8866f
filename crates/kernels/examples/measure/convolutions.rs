//! Convolutions by every algorithm, and what the rule that chooses one loses by its choice.

use percept_kernels::{
    Activation, Algorithm, ConvShape, Pass, Precision, PreparedConv, ShapeError, conv2d, conv2d_input_gradient,
    conv2d_weight_gradient, together,
};

use crate::{medians, peak::peak, values};

/// Batch, size of the square image, input and output channels, kernel, stride, padding: the layers of small CNNs and of
/// a residual network for small images, in training and at batch 1, and some others.
pub const CONVOLUTIONS: [[usize; 7]; 28] = [
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

/// Every pass of every layer.
pub fn convolutions(filter: &str) -> Result<(), ShapeError> {
    let mut comparison = Comparison::new(Precision::current());
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
            let algorithms = possible(&shape, pass);
            let times = medians(algorithms.len(), |index| {
                algorithms[index].run(|| match pass {
                    Pass::Forward => conv2d(&shape, &input, &weights, None, &mut output),
                    Pass::InputGradient => conv2d_input_gradient(&shape, &gradient, &weights, &mut input_gradient),
                    Pass::WeightGradient => conv2d_weight_gradient(&shape, &input, &gradient, &mut weight_gradient),
                });
            });
            comparison.add(&name, &shape, &algorithms, &times, Algorithm::of(&shape, pass));
        }
    }
    comparison.summarise("conv");
    Ok(())
}

/// The algorithms that can be forced upon a convolution.
fn possible(shape: &ConvShape, pass: Pass) -> Vec<Algorithm> {
    let is_possible = |algorithm: &Algorithm| algorithm.run(|| Algorithm::of(shape, pass)) == *algorithm;
    Algorithm::ALL.into_iter().filter(is_possible).collect()
}

/// Single images, as prediction runs them: weights are ready, and stay in the caches that hold them.
pub fn prepared(filter: &str) -> Result<(), ShapeError> {
    let mut comparison = Comparison::new(Precision::F32);
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
        let prepare = || PreparedConv::new(shape, values(shape.weights_len()), Some(values(outs)));
        let chosen = prepare().algorithm();
        let algorithms = possible(&shape, Pass::Forward);
        let prepared: Vec<_> = algorithms.iter().map(|algorithm| algorithm.run(prepare)).collect();
        let times = together(|| {
            medians(algorithms.len(), |index| {
                algorithms[index].run(|| prepared[index].run(batch, &input, None, Activation::Relu, &mut output));
            })
        });
        comparison.add(&name, &shape, &algorithms, &times, chosen);
    }
    comparison.summarise("prepared");
    Ok(())
}

/// How the algorithms compare, and what the rule's choices lose beside the fastest.
struct Comparison {
    peak: f64,
    /// Of each case the time of the chosen algorithm over that of the fastest, less 1.
    losses: Vec<(f64, String)>,
}

impl Comparison {
    fn new(precision: Precision) -> Self {
        Self { peak: peak(precision), losses: Vec::new() }
    }

    /// Prints a line for each algorithm, the first of which the others are compared with.
    fn add(&mut self, name: &str, shape: &ConvShape, algorithms: &[Algorithm], times: &[f64], chosen: Algorithm) {
        if self.losses.is_empty() {
            println!("peak: {:.1} GFLOP/s", 1e-9 * self.peak);
        }
        let fastest = times.iter().copied().fold(f64::INFINITY, f64::min);
        for (algorithm, seconds) in algorithms.iter().zip(times) {
            let rate = 2.0 * shape.multiply_adds() as f64 / seconds;
            let mut remark = String::new();
            if *algorithm == chosen {
                let loss = seconds / fastest - 1.0;
                self.losses.push((loss, name.into()));
                remark = format!(" chosen, loses {:.0} %", 100.0 * loss);
            }
            println!(
                "{name:46} {:10} {:9.1} us {:6.1} GFLOP/s {:4.0} % of peak  x{:.2}{remark}",
                format!("{algorithm:?}"),
                seconds * 1e6,
                1e-9 * rate,
                100.0 * rate / self.peak,
                times[0] / seconds,
            );
        }
    }

    /// What the rule loses over all cases.
    fn summarise(&self, what: &str) {
        let Some((worst, name)) = self.losses.iter().max_by(|a, b| a.0.total_cmp(&b.0)) else { return };
        let count = self.losses.len();
        let mean = self.losses.iter().map(|(loss, _)| loss).sum::<f64>() / count as f64;
        println!(
            "{what}: the rule loses {:.1} % to the fastest in the mean of {count} cases, {:.0} % at worst, in {name}",
            100.0 * mean,
            100.0 * worst,
        );
    }
}
