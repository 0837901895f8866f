//! The loss that `percept_kernels::softmax_cross_entropy` describes.

use burn_tensor::{Device, Tensor, TensorData, activation::log_softmax};
use percept::ops::{LossConfig, Targets};

/// Mean cross-entropy of `softmax(logits)`, with label smoothing and class weights as PyTorch has them.
pub(crate) fn cross_entropy(logits: Tensor<2>, targets: Targets, config: &LossConfig, device: &Device) -> Tensor<1> {
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
