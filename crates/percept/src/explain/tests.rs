use super::*;
use crate::{
    image::{Fit, ImageShape},
    model::{self, Graph, MODELS, ModelConfig, Parameters},
    ops::Network,
};

/// A model with numbers that are no model's defaults, so that no answer is the same everywhere.
fn network(name: &str, side: usize, classes: usize) -> (Graph, Parameters) {
    let input = ImageShape { height: side, width: side, channels: 3 };
    let graph = model::build(name, &ModelConfig { input, classes, hidden: 24, per_pixel: false, conventions: None })
        .expect("a graph");
    let mut parameters = Parameters::initialize(&graph, 3);
    for (place, (spec, values)) in graph.parameters.iter().zip(&mut parameters.0).enumerate() {
        for (index, value) in values.iter_mut().enumerate() {
            let wave = ((index * 37 + place * 101) as f32).sin();
            match spec.name.as_str() {
                name if name.ends_with("fc.weight") || name.ends_with("fc.bias") => *value += 0.3 * wave,
                name if name.ends_with("mean") && name.contains("normalize") => *value = 127.0,
                name if name.ends_with("deviation") => *value = 60.0,
                _ => {}
            }
        }
    }
    (graph, parameters)
}

fn image(side: usize) -> Image {
    let shape = ImageShape { height: side, width: side, channels: 3 };
    Image { shape, pixels: (0..shape.len()).map(|i| ((i * 7919 + i * i * 31) % 256) as u8).collect() }
}

#[test]
fn votes_and_bias_of_a_linear_model_sum_to_its_logit() {
    let (graph, parameters) = network("softmax", 6, 4);
    let bias = parameters.get(&graph, "fc.bias").expect("a bias").to_vec();
    let logits = Network::new(graph.clone(), parameters.clone()).predictor().infer(&image(6).pixels);
    let mut explainer = Explainer::new(graph, parameters);
    for class in 0..4 {
        let explanation = Explanation::new(&mut explainer, &image(6), Some(class));
        assert_eq!((explanation.method, explanation.map.len()), (Method::PixelVotes, 36));
        let sum: f32 = explanation.map.iter().sum();
        assert!((sum + bias[class] - logits[class]).abs() < 1e-4, "class {class}: {sum} and {logits:?}");
    }
}

/// Where the classifier is linear in the last map, values times gradients and the bias are the logit: so the gradient is
/// that of the class, and of the map that the network predicts with.
#[test]
fn what_the_last_map_adds_to_the_logit_is_all_of_it() {
    for (name, side) in [("cnn", 16), ("cnn6", 8), ("resnet18", 16), ("efficientnet_lite0", 64)] {
        let (graph, parameters) = network(name, side, 5);
        let bias = graph.parameters.len() - 1;
        let scale = if name == "cnn" { 1.0 / 9.0 } else { 1.0 };
        let bias = scale * parameters.0[bias][2];
        let logits = Network::new(graph.clone(), parameters.clone()).predictor().infer(&image(side).pixels);
        let Attribution { values, gradient, .. } = Explainer::new(graph, parameters).trace(&image(side).pixels, |_| 2);
        let sum: f32 = values.iter().zip(&gradient).map(|(value, slope)| value * slope).sum();
        let size = logits.iter().fold(0.0f32, |most, logit| most.max(logit.abs()));
        assert!((sum + bias - logits[2]).abs() < 1e-3 * size, "{name}: {sum} + {bias} is not {}", logits[2]);
    }
}

#[test]
fn every_model_explains_its_likeliest_class() {
    for model in &MODELS {
        let side = if model.side > 128 { 64 } else { 16 };
        let (graph, parameters) = network(model.name, side, 3);
        let logits = Network::new(graph.clone(), parameters.clone()).predictor().infer(&image(side).pixels);
        let mut explainer = Explainer::new(graph, parameters);
        let explanation = Explanation::new(&mut explainer, &image(side), None);
        assert_eq!(explanation.class, largest(&logits), "{}", model.name);
        assert_eq!(explanation.map.len(), explanation.height * explanation.width, "{}", model.name);
        assert!(explanation.map.iter().all(|value| value.is_finite()), "{}", model.name);
        // No trace is left in the buffers.
        assert_eq!(Explanation::new(&mut explainer, &image(side), None), explanation, "{}", model.name);
    }
}

#[test]
fn overlays_colour_what_speaks_for_the_class_and_leave_the_rest_grey() {
    let shape = ImageShape { height: 10, width: 20, channels: 1 };
    let picture = Image { shape, pixels: vec![100; 200] };
    let explanation = Explanation { class: 0, method: Method::PixelVotes, height: 1, width: 2, map: vec![1.0, -1.0] };
    // The network saw the middle square.
    let part = crate::image::part_seen(shape, 1, 2, Fit::Stretch);
    let drawn = overlay(&picture, part, &explanation);
    assert_eq!([drawn.shape.height, drawn.shape.width, drawn.shape.channels], [80, 160, 3]);
    let pixel = |x: usize| [0, 1, 2].map(|channel| drawn.pixels[(40 * 160 + x) * 3 + channel]);
    let ([r, _, b], [against_r, _, against_b]) = (pixel(20), pixel(140));
    assert!(r > 150 && b < 100, "for the class: {:?}", pixel(20));
    assert!(against_b > 150 && against_r < 100, "against it: {:?}", pixel(140));
    let part = crate::image::part_seen(shape, 4, 4, Fit::Crop);
    let drawn = overlay(&picture, part, &explanation);
    assert_eq!([0, 1, 2].map(|channel| drawn.pixels[channel]), [100; 3], "what the network did not see stays grey");
}
