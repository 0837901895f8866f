//! What is measured on training images before the first step: the normalisation, and the whitening filters.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    data::{Dataset, Split},
    model::{
        Graph, Parameters,
        graph::{Init, Layout, Op},
        parameters,
    },
};

/// Images that the statistics are taken from, at most; beyond that the figures do not change.
const SAMPLE: usize = 20_000;
/// Patches that the whitening is computed from.
const PATCHES: usize = 100_000;
/// Keeps directions that hardly vary from being blown up, as airbench does.
const WHITENING_EPSILON: f64 = 5e-4;
/// A channel that never varies would divide by 0.
const LEAST_DEVIATION: f64 = 1.0;

/// Sets the parameters that come from the training images instead of from chance or gradients.
pub fn fit_to_data(graph: &Graph, numbers: &mut Parameters, dataset: &Dataset, seed: u64) {
    let sample = spread(&dataset.train, SAMPLE);
    normalization(graph, numbers, dataset, &sample);
    whitening(graph, numbers, dataset, &sample, seed);
    if dataset.sets.is_some() {
        prior(graph, numbers, dataset);
    }
}

/// Has every class begin at the share of images that show it: most classes are absent from most images, and a network that
/// begins at one half spends its first and largest steps on that alone (Lin et al. 2017).
fn prior(graph: &Graph, numbers: &mut Parameters, dataset: &Dataset) {
    let after = graph.nodes.iter().rev().take_while(|node| node.op != Op::Linear);
    let scale: f32 = after.map(|node| if let Op::Scale(factor) = node.op { factor } else { 1.0 }).product();
    let last = graph.nodes.iter().rev().find(|node| node.op == Op::Linear);
    let Some(&bias) = last.and_then(|node| node.parameters.get(1)) else { return };
    let images = dataset.train.len() as f32;
    for (bias, count) in numbers.0[bias].iter_mut().zip(dataset.class_counts(Split::Train)) {
        // One image more of either kind: no class is certain.
        *bias = ((count as f32 + 1.0) / (images - count as f32 + 1.0)).ln() / scale;
    }
}

/// At most `count` of the indices, evenly spread.
pub(super) fn spread(indices: &[u32], count: usize) -> Vec<u32> {
    let taken = indices.len().min(count);
    (0..taken).map(|i| indices[i * indices.len() / taken]).collect()
}

/// Mean and deviation of each channel, or the mean image with a deviation of 1.
fn normalization(graph: &Graph, numbers: &mut Parameters, dataset: &Dataset, sample: &[u32]) {
    let channels = graph.input.channels;
    let per_pixel = graph.parameters.iter().any(|p| p.name == "normalize.mean" && p.layout == Layout::Map);
    let cells = if per_pixel { graph.input.len() } else { channels };
    // Sums of u8 are exact in u64 and need no order.
    let (mut sums, mut squares) = (vec![0u64; cells], vec![0u64; cells]);
    for &index in sample {
        for values in dataset.image(index as usize).chunks_exact(cells) {
            for ((sum, square), &value) in sums.iter_mut().zip(&mut squares).zip(values) {
                *sum += u64::from(value);
                *square += u64::from(value) * u64::from(value);
            }
        }
    }
    let count = (sample.len() * graph.input.len() / cells).max(1) as f64;
    let means: Vec<f64> = sums.iter().map(|&sum| sum as f64 / count).collect();
    let variances = squares.iter().zip(&means).map(|(&square, mean)| square as f64 / count - mean * mean);
    let deviations: Vec<f32> = match per_pixel {
        true => vec![1.0; cells],
        false => variances.map(|v| v.max(0.0).sqrt().max(LEAST_DEVIATION) as f32).collect(),
    };
    let means: Vec<f32> = means.iter().map(|&mean| mean as f32).collect();
    // Both are in memory order already, since images are channels-last.
    for (name, values) in [("normalize.mean", means), ("normalize.deviation", deviations)] {
        if let Some(tensor) = numbers.get_mut(graph, name) {
            tensor.copy_from_slice(&values);
        }
    }
}

/// Filters that turn patches into uncorrelated values of unit variance: eigenvectors of the patches' covariance over
/// the square root of their eigenvalues, and the negatives of these (Jordan 2024).
fn whitening(graph: &Graph, numbers: &mut Parameters, dataset: &Dataset, sample: &[u32], seed: u64) {
    let Some((position, spec)) = graph.parameters.iter().enumerate().find(|(_, p)| p.init == Init::Whitening) else {
        return;
    };
    let (filters, channels, kernel) = (spec.shape[0], spec.shape[1], spec.shape[2]);
    let size = channels * kernel * kernel;
    let read = |name| numbers.get(graph, name).unwrap_or_default().to_vec();
    let (means, deviations) = (read("normalize.mean"), read("normalize.deviation"));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(u64::MAX);
    let (height, width) = (graph.input.height, graph.input.width);
    let mut covariance = vec![0.0f64; size * size];
    let mut patch = vec![0.0f64; size];
    let patches = PATCHES.min(sample.len() * height * width);
    for turn in 0..patches {
        let image = dataset.image(sample[turn % sample.len()] as usize);
        let top = random.random_range(0..=height - kernel);
        let left = random.random_range(0..=width - kernel);
        for (place, value) in patch.iter_mut().enumerate() {
            // In file order: channel, row, column.
            let (channel, row, column) = (place / kernel / kernel, place / kernel % kernel, place % kernel);
            let source = ((top + row) * width + left + column) * channels + channel;
            let cell = source % means.len();
            *value = (f64::from(image[source]) - f64::from(means[cell])) / f64::from(deviations[cell]);
        }
        for row in 0..size {
            for column in 0..size {
                covariance[row * size + column] += patch[row] * patch[column] / patches as f64;
            }
        }
    }
    let (values, vectors) = eigen(covariance, size);
    let mut file = vec![0.0f32; filters * size];
    for filter in 0..filters {
        let (direction, sign) = (filter % size, if filter < size { 1.0 } else { -1.0 });
        let scale = sign / (values[direction].max(0.0) + WHITENING_EPSILON).sqrt();
        for place in 0..size {
            file[filter * size + place] = (scale * vectors[place * size + direction]) as f32;
        }
    }
    numbers.0[position] = parameters::to_memory(spec, &file);
}

/// Eigenvalues and eigenvectors (in columns) of a symmetric matrix, by Jacobi's rotations: exact enough and quick for
/// the dozen of rows that a patch has.
fn eigen(mut matrix: Vec<f64>, size: usize) -> (Vec<f64>, Vec<f64>) {
    let mut vectors = vec![0.0; size * size];
    (0..size).for_each(|i| vectors[i * size + i] = 1.0);
    for _ in 0..60 {
        let off: f64 =
            (0..size).flat_map(|r| (0..r).map(move |c| (r, c))).map(|(r, c)| matrix[r * size + c].powi(2)).sum();
        if off < 1e-20 {
            break;
        }
        for p in 0..size {
            for q in p + 1..size {
                rotate(&mut matrix, &mut vectors, size, p, q);
            }
        }
    }
    ((0..size).map(|i| matrix[i * size + i]).collect(), vectors)
}

/// Makes entry (p, q) zero.
fn rotate(matrix: &mut [f64], vectors: &mut [f64], size: usize, p: usize, q: usize) {
    let entry = matrix[p * size + q];
    if entry.abs() < 1e-300 {
        return;
    }
    let theta = (matrix[q * size + q] - matrix[p * size + p]) / (2.0 * entry);
    let tangent = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    let sine = tangent * cosine;
    let turn = |values: &mut [f64], first: usize, second: usize| {
        let (a, b) = (values[first], values[second]);
        values[first] = cosine * a - sine * b;
        values[second] = sine * a + cosine * b;
    };
    for k in 0..size {
        turn(matrix, k * size + p, k * size + q);
    }
    for k in 0..size {
        turn(matrix, p * size + k, q * size + k);
    }
    for k in 0..size {
        turn(vectors, k * size + p, k * size + q);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_rebuild_the_matrix() {
        let size = 5;
        let mut matrix = vec![0.0; size * size];
        for r in 0..size {
            for c in 0..size {
                matrix[r * size + c] = 1.0 / (1 + r + c) as f64;
            }
        }
        let (values, vectors) = eigen(matrix.clone(), size);
        for r in 0..size {
            for c in 0..size {
                let rebuilt: f64 = (0..size).map(|k| vectors[r * size + k] * values[k] * vectors[c * size + k]).sum();
                assert!((rebuilt - matrix[r * size + c]).abs() < 1e-9);
            }
        }
    }
}
