//! What goes through memory, and what fusing saves of it.

use percept_kernels::{
    Activation, ConvShape, NormShape, PoolShape, Sgd, ShapeError, Targets, Update, add_relu, batch_norm_apply,
    batch_norm_gradient, batch_norm_infer, batch_norm_train, channel_sums, conv2d, conv2d_fused,
    conv2d_with_statistics, max_pool, max_pool_gradient, normalize, softmax_cross_entropy,
};

use crate::{convolutions::CONVOLUTIONS, median, medians, values};

/// The figure counts the bytes that have to be read and written.
pub fn passes(filter: &str) {
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
    let residual = values(length);
    let apply = |residual: Option<&[f32]>, activation: Activation, output: &mut [f32]| {
        batch_norm_apply(&shape, &input, &mean, &variance, &scale, &shift, 1e-5, residual, activation, output);
    };
    traffic(filter, "norm residual relu, apart", 3 * 4 * length, || {
        apply(None, Activation::Identity, &mut output);
        add_relu(&mut output, &residual);
    });
    traffic(filter, "norm residual relu", 3 * 4 * length, || apply(Some(&residual), Activation::Relu, &mut output));
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

/// What fusing saves: first the convolution and what follows it one after the other, then as one.
pub fn fused(filter: &str) -> Result<(), ShapeError> {
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
                        batch_norm_apply(&norm, &output, mean, variance, &scale, &shift, 1e-5, None, relu, &mut normed);
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
