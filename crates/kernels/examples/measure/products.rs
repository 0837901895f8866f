//! Matrix products and linear layers, beside the peak of the same threads.

use percept_kernels::{Layout, LinearShape, Precision, gemm, linear, linear_input_gradient, linear_weight_gradient};

use crate::{peak::peak, times, values};

/// Rows, columns and steps: small and large cubes, the layers of a classifier of CIFAR-10's pixels with 512 hidden values and
/// without, and others that are long in one direction or short in one.
const PRODUCTS: [[usize; 3]; 15] = [
    [96, 64, 256],
    [256, 256, 256],
    [512, 512, 512],
    [1024, 1024, 1024],
    [2048, 2048, 2048],
    [4096, 4096, 4096],
    [100, 512, 3072],
    [100, 10, 3072],
    [2048, 64, 576],
    [64, 64, 4096],
    [4096, 32, 4096],
    [32, 4096, 4096],
    [4096, 4096, 32],
    [1, 1000, 512],
    [1, 4096, 4096],
];

/// The product of each shape, however its operands lie.
pub fn products(filter: &str) {
    let peak = Peak::measure();
    for [m, n, k] in PRODUCTS {
        let (a, b, mut c) = (values(m * k), values(k * n), vec![0.0; m * n]);
        let (plain, turned) = (Layout::RowMajor, Layout::Transposed);
        for (name, a_layout, b_layout) in
            [("a b", plain, plain), ("a bT", plain, turned), ("aT b", turned, plain), ("aT bT", turned, turned)]
        {
            let name = format!("gemm {name} {m}x{n}x{k}");
            peak.compare(filter, &name, m * n * k, || gemm(m, n, k, &a, a_layout, &b, b_layout, false, &mut c));
        }
    }
}

/// The passes of linear layers.
pub fn linear_layers(filter: &str) {
    let peak = Peak::measure();
    for [batch, inputs, outputs] in [[100, 3072, 10], [100, 3072, 512], [128, 512, 10]] {
        let shape = LinearShape::new(batch, inputs, outputs).expect("a layer");
        let (input, weights, gradient) = (values(batch * inputs), values(inputs * outputs), values(batch * outputs));
        let bias = values(outputs);
        let name = format!("linear {batch}x{inputs}->{outputs}");
        let work = batch * inputs * outputs;
        let mut output = vec![0.0; batch * outputs];
        peak.compare(filter, &format!("{name} forward"), work, || {
            linear(&shape, &input, &weights, Some(&bias), &mut output);
        });
        let mut output = vec![0.0; batch * inputs];
        peak.compare(filter, &format!("{name} input gradient"), work, || {
            linear_input_gradient(&shape, &gradient, &weights, &mut output);
        });
        let mut output = vec![0.0; inputs * outputs];
        peak.compare(filter, &format!("{name} weight gradient"), work, || {
            linear_weight_gradient(&shape, &input, &gradient, &mut output);
        });
    }
}

/// Multiplications and additions a second, at most.
struct Peak(f64);

impl Peak {
    /// That of the current precision.
    fn measure() -> Self {
        Self(peak(Precision::current()))
    }

    /// Prints the median time of `run`, which makes so many `multiply_adds`, their rate, and its share of the peak; and the
    /// share of the fastest run, which others that use the machine disturb the least.
    fn compare(&self, filter: &str, name: &str, multiply_adds: usize, mut run: impl FnMut()) {
        if !name.contains(filter) {
            return;
        }
        let times = times(1, |_| run()).remove(0);
        let rate = |seconds: f64| 2.0 * multiply_adds as f64 / seconds;
        let [median, best] = [times[times.len() / 2], times[0]];
        println!(
            "{name:40} {:10.1} us {:7.1} GFLOP/s {:4.0} % of {:.0}, at best {:4.0} %",
            median * 1e6,
            1e-9 * rate(median),
            100.0 * rate(median) / self.0,
            1e-9 * self.0,
            100.0 * rate(best) / self.0,
        );
    }
}
