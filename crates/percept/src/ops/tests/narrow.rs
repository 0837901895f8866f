//! Feature maps that are kept in bf16 while a network learns.

use super::*;

/// A value, or a gradient of one, as f32.
fn widened(network: &Network, index: usize, words: &[f32]) -> Vec<f32> {
    let length = network.length(index, BATCH);
    with_element!(network.is_narrow(index), E => {
        E::of_words(words, length).iter().map(|number| number.value()).collect()
    })
}

/// Numbers as the words that the network keeps them in.
fn words(network: &Network, index: usize, numbers: &[f32]) -> Vec<f32> {
    let mut words = vec![0.0; network.words(index, BATCH)];
    with_element!(network.is_narrow(index), E => {
        let kept = E::of_words_mut(&mut words, numbers.len());
        kept.iter_mut().zip(numbers).for_each(|(kept, &number)| *kept = E::nearest(number));
    });
    words
}

/// What a node gives of these values, and what its backward pass gives of a gradient: of which node, and numbers.
fn run_node(network: &mut Network, index: usize, values: &[Option<Vec<f32>>], images: &[u8]) -> Vec<(usize, Vec<f32>)> {
    for (node, value) in values.iter().enumerate() {
        network.values[node] = value.as_ref().map(|numbers| words(network, node, numbers));
    }
    let mut output = vec![0.0; network.words(index, BATCH)];
    network.run(index, images, BATCH, true, &mut output);
    let mut results = vec![(index, widened(network, index, &output))];
    network.values[index] = Some(output);
    let mut gradient = wave(network, index);
    round(&mut gradient);
    let gradient = words(network, index, &gradient);
    let mut pass = network.start_backward(images, BATCH);
    network.differentiate(index, gradient, &mut pass);
    for (node, gradient) in pass.gradients.iter().enumerate() {
        results.extend(gradient.as_ref().map(|words| (node, widened(network, node, words))));
    }
    let absorbed = network.plan.absorbed(&network.graph, index);
    let with_parameters = [Some(index), absorbed].into_iter().flatten();
    let parameters = with_parameters.flat_map(|node| network.graph.nodes[node].parameters.clone());
    results.extend(parameters.map(|parameter| (index, network.gradients[parameter].clone())));
    results
}

/// Of every node of every family, on values that bf16 holds: the arithmetic is that of f32, so results are the same, and
/// rounded where they are kept in bf16.
#[test]
fn every_node_gives_what_it_gives_in_f32_rounded() {
    let families = model::MODELS.iter().map(|model| network(model.name, side(model.name, 16), 3));
    let mut kept = 0;
    for mut network in families.chain([network_of(mixed_graph())]) {
        let name = network.graph().name.clone();
        let images = images(&network, BATCH);
        network.plan.keeps.fill(true);
        network.forward(&images, BATCH, true);
        let mut values = network.values.clone();
        let narrow = network.plan.narrow.clone();
        for (value, _) in values.iter_mut().zip(&narrow).filter(|(_, narrow)| **narrow) {
            value.iter_mut().for_each(|value| round(value));
        }
        for index in (0..values.len()).filter(|&index| values[index].is_some()) {
            let [wide, kept_in_bf16] = [false, true].map(|stores_bf16| {
                network.stores_bf16 = stores_bf16;
                kernels::Algorithm::Direct.run(|| run_node(&mut network, index, &values, &images))
            });
            kept += usize::from(narrow[index]);
            assert_eq!(wide.len(), kept_in_bf16.len(), "{name}: results of {}", network.graph.nodes[index].name);
            for (place, ((node, mut wide), (_, found))) in wide.into_iter().zip(kept_in_bf16).enumerate() {
                let is_of_parameter = place > 0 && node == index;
                if narrow[node] && !is_of_parameter {
                    round(&mut wide);
                }
                let node = &network.graph.nodes[node].name;
                assert!(wide == found, "{name}: result {place}, of {node}, of {}", network.graph.nodes[index].name);
            }
        }
    }
    assert!(kept > 200, "{kept} maps were kept in bf16");
}

#[test]
fn maps_that_something_reads_in_f32_alone_stay_in_it() {
    let network = network_of(mixed_graph());
    let narrow = |name: &str| {
        let index = network.graph.nodes.iter().position(|node| node.name == name).expect("a node of this name");
        network.plan.narrow[index]
    };
    // Depthwise and grouped convolutions, gates, layer norms and layer scales know f32 alone, and sums and norms pass on what
    // they have.
    for name in ["stem", "stem.norm", "depthwise", "depthwise.act", "project", "sum", "gate", "mixed.fc2", "mixed.add"]
    {
        assert!(!narrow(name), "{name}");
    }
    assert!(narrow("mixed.fc1") && narrow("mixed.act"));
}

/// Tolerance: the loss within 2 %, and gradients within 20 degrees of those in f32 as a whole: what rounding costs. Of
/// few layers: behind dozens the least difference turns gradients round.
#[test]
fn a_network_that_keeps_its_maps_in_bf16_learns_as_one_in_f32() {
    for name in ["cnn", "cnn6"] {
        let mut network = network(name, 32, 3);
        let images = images(&network, BATCH);
        let mut of = |storage: Option<bool>| {
            network.storage = storage;
            let loss = loss(&mut network, &images);
            (loss, network.gradients.concat())
        };
        let ((wide, of_wide), (narrow, of_narrow)) = (of(Some(false)), of(Some(true)));
        assert!(wide != narrow && (wide - narrow).abs() < 0.02 * wide, "{name}: {wide} {narrow}");
        let product: f64 = of_wide.iter().zip(&of_narrow).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        let cosine = product / f64::from(length(&of_wide)) / f64::from(length(&of_narrow));
        assert!(cosine > 0.94, "{name}: {cosine}");
    }
}
