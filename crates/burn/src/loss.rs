//! The losses that `percept_kernels::softmax_cross_entropy` and `sigmoid_cross_entropy` describe.

use burn_tensor::{Device, Tensor, TensorData, activation::log_softmax};
use percept::ops::{LossConfig, Targets};

/// The loss of logits `[images, classes]`, whose gradients are to be had.
pub(crate) fn loss(logits: Tensor<2>, targets: Targets, config: &LossConfig, device: &Device) -> Tensor<1> {
    match targets {
        Targets::Probabilities(targets) if config.independent => binary_cross_entropy(logits, targets, config, device),
        _ => cross_entropy(logits, targets, config, device),
    }
}

/// Mean over images of the binary cross-entropies of `sigmoid(logits)`, summed over classes, with smoothing towards one half
/// and weights of classes that are there.
fn binary_cross_entropy(logits: Tensor<2>, targets: &[f32], config: &LossConfig, device: &Device) -> Tensor<1> {
    let [images, classes] = logits.dims();
    let weight = |class: usize| config.class_weights.as_ref().map_or(1.0, |weights| weights[class]);
    let smooth = |target: f32| target * (1.0 - config.label_smoothing) + config.label_smoothing / 2.0;
    let shares = |share: &dyn Fn(usize, f32) -> f32| {
        let values = targets.iter().enumerate().map(|(place, &target)| share(place % classes, smooth(target)));
        Tensor::<2>::from_data(TensorData::new(values.collect::<Vec<f32>>(), [images, classes]), device)
    };
    let there = shares(&|class, target| weight(class) * target);
    let absent = shares(&|_, target| 1.0 - target);
    // ln(1 + e^x)
    let softplus = |x: Tensor<2>| x.clone().clamp_min(0.0) + (x.abs().neg().exp() + 1.0).log();
    (there * softplus(logits.clone().neg()) + absent * softplus(logits)).sum() / images as f32
}

/// Mean cross-entropy of `softmax(logits)`, with label smoothing and class weights as PyTorch has them.
fn cross_entropy(logits: Tensor<2>, targets: Targets, config: &LossConfig, device: &Device) -> Tensor<1> {
    let [images, classes] = logits.dims();
    let weight = |class: usize| config.class_weights.as_ref().map_or(1.0, |weights| weights[class]);
    let target = |place: usize| match targets {
        Targets::Labels(labels) => f32::from(u8::from(labels[place / classes] as usize == place % classes)),
        Targets::Probabilities(probabilities) => probabilities[place],
    };
    let smoothing = config.label_smoothing;
    let share =
        |place: usize| weight(place % classes) * (target(place) * (1.0 - smoothing) + smoothing / classes as f32);
    let shares = TensorData::new((0..images * classes).map(share).collect(), [images, classes]);
    let denominator: f32 = match targets {
        Targets::Labels(labels) => labels.iter().map(|&label| weight(label as usize)).sum(),
        Targets::Probabilities(_) => images as f32,
    };
    -(log_softmax(logits, 1) * Tensor::from_data(shares, device)).sum() / denominator
}
