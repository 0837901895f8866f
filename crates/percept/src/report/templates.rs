//! The weights of a linear model as pictures.

use crate::image::{Image, ImageShape};

/// Share of the weights that may be beyond the scale, so that one outlier does not turn all others grey.
const OUTLIERS: f64 = 0.005;

/// One picture a class from weights `[height * width * channels, classes]`: grey where a pixel says nothing, bright
/// where it speaks for the class and dark where against it, all classes on one scale.
pub fn weight_templates(weights: &[f32], shape: ImageShape, classes: usize) -> Vec<Image> {
    let mut sizes: Vec<f32> = weights.iter().map(|weight| weight.abs()).collect();
    sizes.sort_by(f32::total_cmp);
    let place = ((sizes.len() as f64 * (1.0 - OUTLIERS)) as usize).min(sizes.len().saturating_sub(1));
    let largest = sizes.get(place).copied().unwrap_or(0.0).max(f32::MIN_POSITIVE);
    let level = |weight: f32| (127.5 + 127.5 * (weight / largest).clamp(-1.0, 1.0)).round() as u8;
    (0..classes)
        .map(|class| {
            let pixels = (0..shape.len()).map(|place| level(weights[place * classes + class])).collect();
            Image { shape, pixels }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_grey_and_signs_are_light_and_dark() {
        let shape = ImageShape { height: 1, width: 3, channels: 1 };
        let images = weight_templates(&[0.0, 1.0, -1.0, 0.0, 1.0, -1.0], shape, 2);
        assert_eq!(images[0].pixels, [128, 0, 255]);
        assert_eq!(images[1].pixels, [255, 128, 0]);
    }
}
