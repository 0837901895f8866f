//! What a network makes of no image at all.

use super::*;

#[test]
fn a_network_learns_nothing_from_no_image() {
    let families = model::MODELS.iter().map(|model| network(model.name, side(model.name, 16), 3));
    for mut network in families.chain([network_of(mixed_graph())]) {
        let name = network.graph().name.clone();
        let before = network.parameters.0.clone();
        // Gradients of a batch must not stay for one without images.
        let some = images(&network, BATCH);
        loss(&mut network, &some);
        network.parameters.0.clone_from(&before);
        let outcome = network.learn(&[], Targets::Labels(&[]), &loss_config(), false, 1.0);
        assert_eq!(outcome, StepOutcome { loss: 0.0, correct: 0 }, "{name}");
        for (gradient, spec) in network.gradients.iter().zip(&network.graph().parameters) {
            assert!(gradient.iter().all(|&value| value == 0.0), "{name}: the gradient of {}", spec.name);
        }
        for ((values, before), spec) in network.parameters.0.iter().zip(&before).zip(&network.graph().parameters) {
            assert_eq!(values, before, "{name}: {}", spec.name);
        }
        let mut config = loss_config();
        config.independent = true;
        let outcome = network.learn(&[], Targets::Probabilities(&[]), &config, true, 1.0);
        assert_eq!(outcome, StepOutcome { loss: 0.0, correct: 0 }, "{name}");
    }
}
