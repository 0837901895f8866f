//! A network that only predicts: norms are folded into the convolutions before them, and what follows a convolution
//! runs with it.

use super::{NORM_EPSILON, Network, plan::Plan};
use crate::{
    image::Views,
    model::{Graph, Parameters},
};

/// A network with the numbers of one moment, ready to predict.
pub struct Predictor {
    pub(super) network: Network,
    views: Views,
    /// The images of one view.
    shown: Vec<u8>,
}

impl Predictor {
    /// A predictor of `graph` with these numbers.
    pub fn new(graph: Graph, mut parameters: Parameters) -> Self {
        let plan = Plan::prediction(&graph);
        let mut biases = vec![Vec::new(); graph.nodes.len()];
        for chain in plan.chains.iter().flatten() {
            let own = &graph.nodes[chain.conv].parameters;
            let mut bias = own.get(1).map(|&bias| parameters.0[bias].clone()).unwrap_or_default();
            if let Some(norm) = chain.norm {
                let [multiplier, offset] = affine(&parameters, &graph.nodes[norm].parameters);
                let weights = &mut parameters.0[own[0]];
                for row in weights.chunks_exact_mut(multiplier.len()) {
                    row.iter_mut().zip(&multiplier).for_each(|(weight, multiplier)| *weight *= multiplier);
                }
                bias.resize(multiplier.len(), 0.0);
                let moved = bias.iter().zip(&multiplier).zip(&offset);
                bias = moved.map(|((bias, multiplier), offset)| bias * multiplier + offset).collect();
            }
            biases[chain.conv] = bias;
        }
        let mut network = Network::with_plan(graph, parameters, plan);
        network.biases = biases;
        Self { network, views: Views::One, shown: Vec::new() }
    }

    /// Looks at every image in these ways and averages the logits.
    #[must_use]
    pub fn with_views(self, views: Views) -> Self {
        Self { views, ..self }
    }

    /// Its description.
    pub fn graph(&self) -> &Graph {
        &self.network.graph
    }

    /// Logits `[images, classes]` of u8 images `[images, height, width, channels]`.
    ///
    /// # Panics
    /// If `images` does not hold whole images.
    pub fn infer(&mut self, images: &[u8]) -> Vec<f32> {
        let network = &mut self.network;
        let shape = network.graph.input;
        let batch = network.count(images);
        let mut sum = vec![0.0; batch * network.graph.classes()];
        for view in self.views.all() {
            let shown = if view.is_plain() {
                images
            } else {
                self.shown.clear();
                view.show(shape, images, &mut self.shown);
                &self.shown
            };
            network.forward(shown, batch, false);
            let logits = network.take_logits();
            sum.iter_mut().zip(&logits).for_each(|(sum, logit)| *sum += view.weight * logit);
            network.pool.give(logits);
        }
        sum
    }
}

/// A batch norm with running statistics as `multiplier x + offset`, by channel. `norm` holds the places of scale, shift,
/// mean and variance among the parameters.
pub(super) fn affine(parameters: &Parameters, norm: &[usize]) -> [Vec<f32>; 2] {
    let number = |place: usize| parameters.0[norm[place]].iter();
    let deviation = number(3).map(|variance| (variance + NORM_EPSILON).sqrt());
    let multiplier: Vec<f32> = number(0).zip(deviation).map(|(scale, deviation)| scale / deviation).collect();
    let moved = number(2).zip(&multiplier).map(|(mean, multiplier)| mean * multiplier);
    let offset = number(1).zip(moved).map(|(shift, moved)| shift - moved).collect();
    [multiplier, offset]
}
