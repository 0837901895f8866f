//! What runs together, and for how long each value is needed.

use crate::model::graph::{Graph, Op};

/// How a graph is run.
pub(super) struct Plan {
    /// The activation or addition that does this node's work too: the node itself gives no value.
    pub absorbed_by: Vec<Option<usize>>,
    /// Nodes that read each node's value, an absorbed node's inputs counting for its absorber.
    pub readers: Vec<usize>,
    /// Whether a parameter before or at this node is trained, so that a gradient must reach it.
    pub needs_gradient: Vec<bool>,
}

impl Plan {
    pub fn new(graph: &Graph) -> Self {
        let mut consumers = vec![0; graph.nodes.len()];
        for node in &graph.nodes {
            node.inputs.iter().for_each(|&input| consumers[input] += 1);
        }
        let mut absorbed_by = vec![None; graph.nodes.len()];
        for (index, node) in graph.nodes.iter().enumerate() {
            let Some(&input) = node.inputs.first() else { continue };
            let fuses = match (&node.op, &graph.nodes[input].op) {
                (Op::Relu | Op::Gelu, Op::BatchNorm) => true,
                (Op::Relu, Op::Add) => true,
                // A vector's features and a map's pixels lie in memory as they are: flattening moves nothing.
                _ => false,
            };
            if fuses && consumers[input] == 1 {
                absorbed_by[input] = Some(index);
            }
        }
        let mut readers = vec![0; graph.nodes.len()];
        for (index, node) in graph.nodes.iter().enumerate() {
            if absorbed_by[index].is_none() {
                inputs(graph, &absorbed_by, index).iter().for_each(|&input| readers[input] += 1);
            }
            debug_assert!(node.inputs.iter().all(|&input| input < index));
        }
        let mut needs_gradient = vec![false; graph.nodes.len()];
        for (index, node) in graph.nodes.iter().enumerate() {
            needs_gradient[index] = node.inputs.iter().any(|&input| needs_gradient[input])
                || node.parameters.iter().any(|&p| graph.parameters[p].role.is_trained());
        }
        Self { absorbed_by, readers, needs_gradient }
    }

    /// The node whose work this one does beside its own.
    pub fn absorbed(&self, graph: &Graph, index: usize) -> Option<usize> {
        absorbed(graph, &self.absorbed_by, index)
    }

    /// The nodes whose values this node reads.
    pub fn inputs<'g>(&self, graph: &'g Graph, index: usize) -> &'g [usize] {
        inputs(graph, &self.absorbed_by, index)
    }
}

fn absorbed(graph: &Graph, absorbed_by: &[Option<usize>], index: usize) -> Option<usize> {
    graph.nodes[index].inputs.first().copied().filter(|&input| absorbed_by[input] == Some(index))
}

fn inputs<'g>(graph: &'g Graph, absorbed_by: &[Option<usize>], index: usize) -> &'g [usize] {
    let owner = absorbed(graph, absorbed_by, index).unwrap_or(index);
    &graph.nodes[owner].inputs
}
