//! A network that only predicts: norms are folded into the convolutions before them, and what follows a convolution
//! runs with it; weights are brought into the form that is computed with once.

use percept_kernels::{self as kernels, ConvShape, LinearShape, PreparedConv};

use super::{
    Network, checked,
    plan::{Chain, Plan},
};
use crate::{
    image::Views,
    model::{Graph, Parameters, fold::affine, graph::Op},
};

/// A network with the numbers of one moment, ready to predict.
pub struct Predictor {
    pub(super) network: Network,
    views: Views,
    /// The images of one view.
    shown: Vec<u8>,
    /// The node whose values are the features.
    features: Option<usize>,
}

/// What a network makes of some images.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// `[images, classes]`.
    pub logits: Vec<f32>,
    /// `[images, features]`: what the last linear layer read, as [`Graph::features`] has it; empty where there are none.
    pub features: Vec<f32>,
}

impl Clone for Predictor {
    /// One that shares the prepared weights, and has buffers of its own.
    fn clone(&self) -> Self {
        let Network { graph, plan, parameters, prepared, .. } = &self.network;
        let mut network = Network::with_plan(graph.clone(), parameters.clone(), plan.clone());
        network.prepared.clone_from(prepared);
        Self { network, views: self.views, shown: Vec::new(), features: self.features }
    }
}

impl Predictor {
    /// A predictor of `graph` with these numbers.
    pub fn new(graph: Graph, parameters: Parameters) -> Self {
        let plan = Plan::prediction(&graph);
        let mut network = Network::with_plan(graph, parameters, plan);
        for chain in network.plan.chains.clone().into_iter().flatten() {
            network.prepared[chain.conv] = Some(network.prepare_chain(&chain).into());
        }
        for index in 0..network.graph.nodes.len() {
            // One that reads bytes is as fast as it is: its inputs are many, its weights are read once.
            if network.graph.nodes[index].op == Op::Linear && !network.plan.reads_bytes[index] {
                network.prepared[index] = Some(network.prepare_linear(index).into());
            }
        }
        let features = network.graph.features();
        Self { network, views: Views::One, shown: Vec::new(), features }
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

    /// Features of an image.
    pub fn feature_width(&self) -> usize {
        self.features.map_or(0, |node| self.network.graph.nodes[node].shape.len())
    }

    /// Images that are best computed together where there are many: enough to share the work of reading weights, few
    /// enough that values stay near the processor.
    pub fn batch_in_memory(&self) -> usize {
        const VALUES: usize = 4 << 20;
        let (plan, nodes) = (&self.network.plan, &self.network.graph.nodes);
        let values = (0..nodes.len()).filter(|&node| !plan.is_idle(node)).map(|node| nodes[node].shape.len());
        (VALUES / values.max().unwrap_or(1).max(1)).clamp(1, 256)
    }

    /// Logits `[images, classes]` of u8 images `[images, height, width, channels]`.
    ///
    /// # Panics
    /// If `images` does not hold whole images.
    pub fn infer(&mut self, images: &[u8]) -> Vec<f32> {
        self.answer(images).logits
    }

    /// The same, and the features that the logits are made of.
    ///
    /// # Panics
    /// If `images` does not hold whole images.
    pub fn answer(&mut self, images: &[u8]) -> Answers {
        let mut answers = Answers::default();
        self.answer_into(images, &mut answers);
        answers
    }

    /// The same in place of earlier answers, whose memory is used again.
    ///
    /// # Panics
    /// If `images` does not hold whole images.
    pub fn answer_into(&mut self, images: &[u8], answers: &mut Answers) {
        let size = self.network.graph.input.len();
        answers.logits.clear();
        answers.features.clear();
        // Together no more than stay near the processor, whoever asks for how many, and in every part as many.
        let count = images.len().div_ceil(size);
        let parts = count.div_ceil(self.batch_in_memory()).max(1);
        for part in images.chunks(count.div_ceil(parts).max(1) * size) {
            self.answer_together(part, answers);
        }
    }

    /// Adds the answers of a few images to those before them.
    fn answer_together(&mut self, images: &[u8], answers: &mut Answers) {
        let width = self.feature_width();
        let network = &mut self.network;
        let shape = network.graph.input;
        let batch = network.count(images);
        let Answers { logits, features } = answers;
        let (first_logit, first_feature) = (logits.len(), features.len());
        logits.resize(first_logit + batch * network.graph.classes(), 0.0);
        features.resize(first_feature + batch * width, 0.0);
        for view in self.views.all() {
            let shown = if view.is_plain() {
                images
            } else {
                self.shown.clear();
                view.show(shape, images, &mut self.shown);
                &self.shown
            };
            if batch == 1 {
                kernels::together(|| network.forward(shown, batch, false));
            } else {
                network.forward(shown, batch, false);
            }
            let shown_features = self.features.and_then(|node| network.values[node].take()).unwrap_or_default();
            let shown_logits = network.take_logits();
            let sums = [(&mut logits[first_logit..], shown_logits), (&mut features[first_feature..], shown_features)];
            for (sum, values) in sums {
                sum.iter_mut().zip(&values).for_each(|(sum, value)| *sum += view.weight * value);
                network.pool.give(values);
            }
        }
    }
}

impl Network {
    /// Takes the weights of a convolution out of the parameters and folds its norm into them.
    fn prepare_chain(&mut self, chain: &Chain) -> PreparedConv {
        let shape = self.conv_shape(chain.conv, 1);
        let [mut weights, mut bias] = self.take_parameters(chain.conv);
        if let Some(norm) = chain.norm {
            let [multiplier, offset] = affine(&self.parameters, &self.graph.nodes[norm]);
            for row in weights.chunks_exact_mut(multiplier.len()) {
                row.iter_mut().zip(&multiplier).for_each(|(weight, multiplier)| *weight *= multiplier);
            }
            bias.resize(multiplier.len(), 0.0);
            let moved = bias.iter().zip(&multiplier).zip(&offset);
            bias = moved.map(|((bias, multiplier), offset)| bias * multiplier + offset).collect();
        }
        PreparedConv::new(shape, weights, Some(bias).filter(|bias| !bias.is_empty()))
    }

    /// The same for a linear layer, which is a convolution on images of one pixel.
    fn prepare_linear(&mut self, index: usize) -> PreparedConv {
        let LinearShape { inputs, outputs, .. } = self.linear_shape(index, 1);
        let [weights, bias] = self.take_parameters(index);
        PreparedConv::new(checked(ConvShape::new([1, 1, 1, inputs], outputs, [1, 1], 1, 0)), weights, Some(bias))
    }

    /// Weights and bias of a node, which nobody else has; no bias is empty.
    fn take_parameters(&mut self, index: usize) -> [Vec<f32>; 2] {
        let own = self.graph.nodes[index].parameters.clone();
        let mut take = |place: usize| own.get(place).map(|&p| std::mem::take(&mut self.parameters.0[p]));
        [0, 1].map(|place| take(place).unwrap_or_default())
    }
}
