//! What an answer hangs on: the last feature map that a network makes, and how the answer changes with it.

use super::{Network, plan::Plan};
use crate::model::{
    Graph, Parameters,
    graph::{Op, Role, Shape},
};

/// A network whose answers can be traced back. It predicts as [`super::Predictor`] does, and learns nothing.
pub struct Explainer {
    network: Network,
    /// The node that answers are traced back to.
    watched: usize,
}

/// A value inside the network, and what it does to one class's logit.
pub struct Attribution {
    /// Rows of the value.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `[height, width, channels]`.
    pub values: Vec<f32>,
    /// The logit's derivative by each of them.
    pub gradient: Vec<f32>,
}

impl Explainer {
    /// Traces answers back to the last feature map; in a network without convolutions, to the normalised image.
    pub fn new(mut graph: Graph, parameters: Parameters) -> Self {
        for spec in graph.parameters.iter_mut().filter(|spec| spec.role.is_trained()) {
            spec.role = Role::Fixed;
        }
        let is_map = |op: &Op, shape: Shape| match (graph.is_convolutional(), shape) {
            (true, Shape::Map { .. }) => true,
            (true, Shape::Vector(_)) => false,
            (false, _) => matches!(op, Op::Normalize { .. }),
        };
        let watched = graph.nodes.iter().rposition(|node| is_map(&node.op, node.shape)).unwrap_or(0);
        let plan = Plan::explanation(&graph, watched);
        let gradients = graph.parameters.iter().map(|_| Vec::new()).collect();
        Self { network: Network { gradients, ..Network::with_plan(graph, parameters, plan) }, watched }
    }

    /// The network's description.
    pub fn graph(&self) -> &Graph {
        &self.network.graph
    }

    /// Traces the logit that `choose` picks among the logits of one u8 image `[height, width, channels]`.
    ///
    /// # Panics
    /// If `image` is not one image of the network's size, or `choose` names a class that is not there.
    pub fn trace(&mut self, image: &[u8], choose: impl FnOnce(&[f32]) -> usize) -> Attribution {
        let (network, watched) = (&mut self.network, self.watched);
        assert_eq!(network.count(image), 1, "one image is explained at a time");
        network.forward(image, 1, false);
        let mut gradient = network.take_logits();
        let class = choose(&gradient);
        gradient.fill(0.0);
        gradient[class] = 1.0;
        let mut pass = network.start_backward(image, 1);
        let last = network.graph.nodes.len() - 1;
        pass.gradients[last] = Some(gradient);
        for index in (watched + 1..=last).rev() {
            if let Some(gradient) = pass.gradients[index].take() {
                network.differentiate(index, gradient, &mut pass);
            }
        }
        let gradient = pass.gradients[watched].take().unwrap_or_default();
        network.end_backward(pass);
        let values = network.values[watched].take().unwrap_or_default();
        (watched..=last).for_each(|index| network.release(index));
        let (height, width) = match network.graph.nodes[watched].shape {
            Shape::Map { height, width, .. } => (height, width),
            Shape::Vector(_) => (1, 1),
        };
        Attribution { height, width, values, gradient }
    }
}
