//! The same bits whatever the number of threads, and however loops are shared out among them.

use super::*;

fn on_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Sizes at which layers are cut into several tasks.
const NETWORKS: [(&str, usize); 3] = [("cnn6", 32), ("resnet18", 32), ("efficientnet_lite0", 64)];

#[test]
fn a_prediction_of_one_image_has_the_same_bits_with_a_team_and_with_rayon_and_whatever_the_threads() {
    for (name, side) in NETWORKS {
        let mut network = network(name, side, 3);
        let all = images(&network, BATCH);
        loss(&mut network, &all); // running statistics that are not the first ones
        let image = &all[..network.graph().input.len()];
        let mut predictor = network.predictor();
        let mut first = None;
        for threads in 1..=3 {
            let with_a_team = on_threads(threads, || predictor.infer(image));
            let with_rayon = on_threads(threads, || {
                predictor.network.forward(image, 1, false);
                predictor.network.take_logits()
            });
            let first = first.get_or_insert_with(|| bits(&with_a_team));
            assert_eq!(*first, bits(&with_a_team), "{name}: a team of {threads}");
            assert_eq!(*first, bits(&with_rayon), "{name}: {threads} threads of rayon");
        }
    }
}

#[test]
fn learning_has_the_same_bits_whatever_the_threads() {
    let precisions = [Precision::F32, Precision::Bf16];
    for ((name, side), precision) in NETWORKS.into_iter().flat_map(|n| precisions.map(|precision| (n, precision))) {
        let mut first = None;
        for threads in 1..=3 {
            let mut network = network(name, side, 3);
            network.precision = precision;
            let all = images(&network, BATCH);
            let loss = on_threads(threads, || loss(&mut network, &all));
            let gradients: Vec<_> = network.gradients.iter().map(|gradient| bits(gradient)).collect();
            let parameters: Vec<_> = network.parameters.0.iter().map(|values| bits(values)).collect();
            let found = (loss.to_bits(), gradients, parameters);
            let is_same = *first.get_or_insert_with(|| found.clone()) == found;
            assert!(is_same, "{name} in {precision:?}: {threads} threads give other bits than 1");
        }
    }
}
