//! What runs together, and for how long each value is needed.

use percept_kernels::Activation;

use crate::model::graph::{Graph, Op, Shape};

/// Numbers of one image's value from which on those of several images do not stay near the processor.
const LARGE_VALUES: usize = 128 << 10;

/// How a graph is run.
#[derive(Clone)]
pub(super) struct Plan {
    /// The activation, addition or norm that does this node's work too: the node itself gives no value.
    pub absorbed_by: Vec<Option<usize>>,
    /// The nodes whose values this node reads, for itself and for what it absorbed.
    pub reads: Vec<Vec<usize>>,
    /// Nodes that read each node's value.
    pub readers: Vec<usize>,
    /// Whether a parameter before or at this node is trained, so that a gradient must reach it.
    pub needs_gradient: Vec<bool>,
    /// Prediction only: the convolution that ends at this node.
    pub chains: Vec<Option<Chain>>,
    /// Prediction only: the inverted residual that ends at this node.
    pub blocks: Vec<Option<Block>>,
    /// Prediction only: the nodes up to this one run image by image, since what is between them is large. Nobody behind it
    /// reads what is before it.
    pub by_image: Option<usize>,
    /// The node whose value this node's is: itself, but for a flattening, which changes no memory.
    pub origin: Vec<usize>,
    /// Whether this linear layer reads the images' bytes and normalises them itself.
    pub reads_bytes: Vec<bool>,
    /// Whether this node's value stays after its last reader: for the backward pass, or for whoever asked for it. One that
    /// costs little to compute again from what stays anyway does not, unless it is read on other ways than through
    /// `Network::take_value`.
    pub keeps: Vec<bool>,
    /// Whether this node's value is a feature map that all who write and read it can keep in bf16.
    pub narrow: Vec<bool>,
    /// Training only: the norm whose statistics this convolution gathers on the way.
    pub measures: Vec<Option<usize>>,
    /// Training only: what is added to this norm's result while it is computed, before the activation. The addition that
    /// alone reads the norm has absorbed it.
    pub residuals: Vec<Option<usize>>,
}

/// A convolution and what follows it, as one operation: `activation(norm(convolution) + residual)`. A layer scale is a
/// norm here.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chain {
    pub conv: usize,
    pub norm: Option<usize>,
    /// The node that is added.
    pub residual: Option<usize>,
    pub activation: Activation,
}

/// Chains that run as one operation: a 1 x 1 convolution to more channels, if there is one, a depthwise convolution, and a
/// 1 x 1 convolution. They are named by the nodes where they end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Block {
    pub expand: Option<usize>,
    pub depthwise: usize,
    pub project: usize,
}

impl Plan {
    /// Values stay for the backward pass; norms and additions run with their activation.
    pub fn training(graph: &Graph) -> Self {
        let mut plan = Self::new(graph);
        let consumers = consumers(graph);
        plan.fuse_activations(graph, &consumers);
        for (norm, node) in graph.nodes.iter().enumerate().filter(|(_, node)| node.op.is_batch_norm()) {
            let input = node.inputs[0];
            if matches!(graph.nodes[input].op, Op::Conv2d { .. }) && consumers[input].len() == 1 {
                plan.measures[input] = Some(norm);
            }
        }
        plan.add_to_norms(graph, &consumers);
        plan.skip_passes(graph);
        plan.find_kept(graph);
        plan.find_narrow(graph, &consumers);
        plan.count_readers();
        plan
    }

    /// A network that learns nothing, but whose gradient is wanted at the value `watched`; values before it do not stay.
    pub fn explanation(graph: &Graph, watched: usize) -> Self {
        let mut plan = Self::new(graph);
        plan.fuse_activations(graph, &consumers(graph));
        for index in watched..graph.nodes.len() {
            let inputs = &graph.nodes[index].inputs;
            plan.needs_gradient[index] = index == watched || inputs.iter().any(|&input| plan.needs_gradient[input]);
        }
        plan.keeps[watched] = true;
        plan.skip_passes(graph);
        plan.find_kept(graph);
        plan.keeps[..watched].fill(false);
        plan.count_readers();
        plan
    }

    /// Every convolution runs with its norm, a residual and its activation, and inverted residuals run as one.
    pub fn prediction(graph: &Graph) -> Self {
        let mut plan = Self::new(graph);
        let consumers = consumers(graph);
        for (conv, node) in graph.nodes.iter().enumerate() {
            if !matches!(node.op, Op::Conv2d { .. }) {
                continue;
            }
            let mut chain = Chain { conv, norm: None, residual: None, activation: Activation::Identity };
            let mut last = conv;
            while let [next] = consumers[last][..] {
                match graph.nodes[next].op {
                    Op::BatchNorm { .. } | Op::LayerScale if last == conv => chain.norm = Some(next),
                    // An addition belongs to the first chain that reaches it; the other one is its residual.
                    Op::Add if chain.residual.is_none() && !plan.is_taken(graph, next) => {
                        let inputs = &graph.nodes[next].inputs;
                        chain.residual = Some(if inputs[0] == last { inputs[1] } else { inputs[0] });
                    }
                    ref op => match activation(op) {
                        Some(activation) => chain.activation = activation,
                        None => break,
                    },
                }
                plan.absorbed_by[last] = Some(next);
                last = next;
                if chain.activation != Activation::Identity {
                    break;
                }
            }
            plan.reads[last] = [node.inputs[0]].into_iter().chain(chain.residual).collect();
            plan.chains[last] = Some(chain);
        }
        plan.fuse_activations(graph, &consumers);
        plan.skip_passes(graph);
        plan.find_blocks(graph, &consumers);
        plan.count_readers();
        if let Some(features) = graph.features() {
            plan.keeps[features] = true;
        }
        plan.by_image = plan.last_by_image(graph);
        plan
    }

    /// The node that makes small values of the large ones that a network for photographs begins with, or the last one before
    /// it that all others can do with.
    fn last_by_image(&self, graph: &Graph) -> Option<usize> {
        let computes = |&node: &usize| !self.is_idle(node) && graph.nodes[node].op != Op::Input;
        let nodes: Vec<usize> = (0..graph.nodes.len()).filter(computes).collect();
        let large = nodes.iter().take_while(|&&node| graph.nodes[node].shape.len() > LARGE_VALUES).count();
        let is_enough = |&end: &usize| {
            let mut behind = nodes.iter().filter(|&&node| node > end).flat_map(|&node| &self.reads[node]);
            behind.all(|&read| read >= end) && !self.keeps[..end].contains(&true)
        };
        // One that alone is large gains nothing.
        let candidates = if large > 1 { &nodes[1..(large + 1).min(nodes.len())] } else { &[] };
        candidates.iter().copied().rev().find(is_enough)
    }

    /// Finds the chains that run as one, of which the last reads what the first does.
    fn find_blocks(&mut self, graph: &Graph, consumers: &[Vec<usize>]) {
        // The chain of such convolutions that alone makes and feeds what a chain reads.
        let before = |plan: &Self, last: usize, is_fitting: fn(&Graph, usize) -> bool| {
            let input = graph.nodes[plan.chains[last].as_ref()?.conv].inputs[0];
            let chain = plan.chains[input].as_ref().filter(|chain| chain.residual.is_none())?;
            let is_free = consumers[input].len() == 1 && plan.blocks[input].is_none();
            (is_free && is_fitting(graph, chain.conv)).then_some(input)
        };
        for project in 0..graph.nodes.len() {
            if !self.chains[project].as_ref().is_some_and(|chain| is_pointwise(graph, chain.conv)) {
                continue;
            }
            let Some(depthwise) = before(self, project, is_depthwise) else { continue };
            let expand = before(self, depthwise, is_pointwise);
            let first = expand.unwrap_or(depthwise);
            self.reads[project][0] = self.reads[first][0];
            for inner in [Some(depthwise), expand].into_iter().flatten() {
                self.absorbed_by[inner] = Some(project);
            }
            self.blocks[project] = Some(Block { expand, depthwise, project });
        }
    }

    fn new(graph: &Graph) -> Self {
        let count = graph.nodes.len();
        let mut needs_gradient = vec![false; count];
        for (index, node) in graph.nodes.iter().enumerate() {
            debug_assert!(node.inputs.iter().all(|&input| input < index));
            needs_gradient[index] = node.inputs.iter().any(|&input| needs_gradient[input])
                || node.parameters.iter().any(|&p| graph.parameters[p].role.is_trained());
        }
        Self {
            absorbed_by: vec![None; count],
            reads: graph.nodes.iter().map(|node| node.inputs.clone()).collect(),
            readers: vec![0; count],
            needs_gradient,
            chains: vec![None; count],
            blocks: vec![None; count],
            by_image: None,
            measures: vec![None; count],
            residuals: vec![None; count],
            origin: (0..count).collect(),
            reads_bytes: vec![false; count],
            keeps: vec![false; count],
            narrow: vec![false; count],
        }
    }

    /// Whether the node has nothing to compute: others do it, or nobody reads it.
    pub fn is_idle(&self, index: usize) -> bool {
        let is_read = self.readers[index] > 0 || index + 1 == self.readers.len();
        self.absorbed_by[index].is_some() || self.origin[index] != index || !is_read
    }

    /// Whether the gradient of the norm that reads this node's value is the last to need it: nobody else reads it, and its
    /// own operation does without its output.
    pub fn is_spent_by_norm(&self, graph: &Graph, index: usize) -> bool {
        self.readers[index] == 1 && matches!(graph.nodes[index].op, Op::Conv2d { .. } | Op::MaxPool { .. })
    }

    /// Lets whoever reads a flattened value read the value itself, and linear layers that alone read the normalised
    /// images read their bytes.
    fn skip_passes(&mut self, graph: &Graph) {
        let last = graph.nodes.len() - 1;
        for (index, node) in graph.nodes.iter().enumerate() {
            if node.op == Op::Flatten && index != last {
                self.origin[index] = self.origin[node.inputs[0]];
            }
        }
        for read in self.reads.iter_mut().flatten() {
            *read = self.origin[*read];
        }
        let Some(normalize) = graph.nodes.iter().position(|node| matches!(node.op, Op::Normalize { .. })) else {
            return;
        };
        let is_reader = |&reader: &usize| self.origin[reader] == reader && self.reads[reader].contains(&normalize);
        let readers: Vec<usize> = (0..=last).filter(is_reader).collect();
        if normalize != last
            && !self.keeps[normalize]
            && readers.iter().all(|&reader| graph.nodes[reader].op == Op::Linear)
        {
            for reader in readers {
                self.reads_bytes[reader] = true;
                self.reads[reader].clear();
            }
        }
    }

    /// Whether the optimiser moves this node's weights.
    pub fn is_trained(graph: &Graph, index: usize) -> bool {
        graph.nodes[index].parameters.first().is_some_and(|&weights| graph.parameters[weights].role.is_trained())
    }

    /// Lets additions run with a norm that they alone read, and whose statistics are known from its convolution.
    fn add_to_norms(&mut self, graph: &Graph, consumers: &[Vec<usize>]) {
        for (add, node) in graph.nodes.iter().enumerate().filter(|(_, node)| node.op == Op::Add) {
            let is_measured = |norm: usize| {
                let source = graph.nodes[norm].inputs.first();
                consumers[norm].len() == 1 && source.is_some_and(|&source| self.measures[source] == Some(norm))
            };
            let [left, right] = [node.inputs[0], node.inputs[1]];
            let [norm, residual] = match (is_measured(left), is_measured(right)) {
                (true, _) => [left, right],
                (false, true) => [right, left],
                (false, false) => continue,
            };
            self.absorbed_by[norm] = Some(add);
            self.residuals[norm] = Some(residual);
            self.reads[self.absorbed_by[add].unwrap_or(add)] = vec![graph.nodes[norm].inputs[0], residual];
        }
    }

    /// The norm that an addition computes too.
    pub fn norm_of_sum(&self, graph: &Graph, add: usize) -> Option<usize> {
        graph.nodes[add].inputs.iter().copied().find(|&input| self.residuals[input].is_some())
    }

    /// Whether another chain took this addition already.
    fn is_taken(&self, graph: &Graph, add: usize) -> bool {
        graph.nodes[add].inputs.iter().any(|&input| self.absorbed_by[input] == Some(add))
    }

    /// Lets norms and additions run with the activation that alone reads them, where no chain has them.
    fn fuse_activations(&mut self, graph: &Graph, consumers: &[Vec<usize>]) {
        for (index, node) in graph.nodes.iter().enumerate() {
            let Some(&input) = node.inputs.first() else { continue };
            let fuses = match graph.nodes[input].op {
                Op::BatchNorm { .. } => node.op.is_activation(),
                Op::Add => node.op == Op::Relu,
                _ => false,
            };
            let is_free = self.chains[index].is_none() && self.chains[input].is_none();
            if fuses && is_free && consumers[input].len() == 1 {
                self.absorbed_by[input] = Some(index);
                self.reads[index].clone_from(&graph.nodes[input].inputs);
            }
        }
    }

    /// Finds the feature maps that can be kept in bf16. Convolutions read one kind of number and write another; norms,
    /// activations, sums and pools have the same on both sides; all else knows f32 alone.
    fn find_narrow(&mut self, graph: &Graph, consumers: &[Vec<usize>]) {
        let converts = |node: usize| matches!(graph.nodes[node].op, Op::Conv2d { groups: 1, .. });
        let keeps_kind = |node: usize| match &graph.nodes[node].op {
            Op::BatchNorm { .. } | Op::Add | Op::MaxPool { .. } => true,
            op => op.is_activation(),
        };
        let reads = |node: usize| {
            converts(node)
                || keeps_kind(node)
                || matches!(graph.nodes[node].op, Op::GlobalAveragePool | Op::GlobalMaxPool)
        };
        let last = graph.nodes.len() - 1;
        for (index, narrow) in self.narrow.iter_mut().enumerate() {
            let is_map = matches!(graph.nodes[index].shape, Shape::Map { .. });
            let is_written = converts(index) || keeps_kind(index);
            *narrow = index != last && is_map && is_written && consumers[index].iter().all(|&node| reads(node));
        }
        // What has one kind on both sides passes f32 on, both ways, until nothing changes.
        let mut changed = true;
        while std::mem::take(&mut changed) {
            for index in (0..=last).filter(|&index| keeps_kind(index)) {
                let around = || graph.nodes[index].inputs.iter().copied().chain([index]);
                if around().any(|node| self.narrow[node]) && around().any(|node| !self.narrow[node]) {
                    around().for_each(|node| self.narrow[node] = false);
                    changed = true;
                }
            }
        }
    }

    fn count_readers(&mut self) {
        for (index, reads) in self.reads.iter().enumerate() {
            if self.absorbed_by[index].is_none() && self.origin[index] == index {
                reads.iter().for_each(|&input| self.readers[input] += 1);
            }
        }
    }

    /// Finds the values that the backward pass reads.
    fn find_kept(&mut self, graph: &Graph) {
        for (index, node) in graph.nodes.iter().enumerate() {
            let Some(&input) = node.inputs.first() else { continue };
            let absorbed = self.absorbed(graph, index).map(|absorbed| &graph.nodes[absorbed].op);
            let value = self.origin[input];
            match node.op {
                Op::Conv2d { .. } | Op::Linear if Self::is_trained(graph, index) => {
                    self.keeps[value] |= !self.renews(graph, value);
                }
                Op::LayerScale => self.keeps[value] |= !self.renews(graph, value),
                Op::Gate => {
                    self.keeps[value] |= !self.renews(graph, value);
                    self.keeps[self.origin[node.inputs[1]]] = true;
                }
                Op::BatchNorm { .. } | Op::LayerNorm { .. } => self.keeps[value] = true,
                _ if activation(&node.op).is_some() && absorbed.is_none() => self.keeps[value] = true,
                _ if absorbed == Some(&Op::Add) => self.keeps[index] = true,
                _ => {}
            }
        }
    }

    /// Whether a value that does not stay can be had again: of an activation and the norm that it absorbed, or either
    /// alone, from their input, and of a gate from the map and the factors. All of these stay, or can be had again.
    pub fn renews(&self, graph: &Graph, index: usize) -> bool {
        let node = &graph.nodes[index];
        match (&node.op, self.absorbed(graph, index)) {
            (Op::LayerNorm { .. } | Op::Gate, _) => true,
            (Op::Add, _) => false,
            (op, None) => op.is_activation(),
            (_, Some(absorbed)) => graph.nodes[absorbed].op.is_batch_norm(),
        }
    }

    /// The node whose work this activation does beside its own.
    pub fn absorbed(&self, graph: &Graph, index: usize) -> Option<usize> {
        graph.nodes[index].inputs.first().copied().filter(|&input| self.absorbed_by[input] == Some(index))
    }
}

/// Whether it is a convolution of 1 x 1 and nothing else.
fn is_pointwise(graph: &Graph, index: usize) -> bool {
    matches!(graph.nodes[index].op, Op::Conv2d { kernel: 1, stride: 1, padding: [[0, 0], [0, 0]], groups: 1, .. })
}

/// Whether it is a convolution whose every channel is a group.
fn is_depthwise(graph: &Graph, index: usize) -> bool {
    let Op::Conv2d { groups, .. } = graph.nodes[index].op else { return false };
    let node = &graph.nodes[index];
    groups > 1 && [node.shape, graph.nodes[node.inputs[0]].shape].iter().all(|shape| shape.channels() == groups)
}

/// What an activation is to the kernels.
pub(super) fn activation(op: &Op) -> Option<Activation> {
    match op {
        Op::Relu => Some(Activation::Relu),
        Op::Relu6 => Some(Activation::Relu6),
        Op::HardSwish => Some(Activation::HardSwish),
        Op::HardSigmoid => Some(Activation::HardSigmoid),
        Op::Silu => Some(Activation::Silu),
        Op::Gelu => Some(Activation::Gelu),
        _ => None,
    }
}

/// What a norm adds to the variance.
pub(super) fn epsilon(op: &Op) -> f32 {
    match *op {
        Op::BatchNorm { epsilon } | Op::LayerNorm { epsilon } => epsilon,
        _ => 0.0,
    }
}

/// The nodes that read each node's value.
fn consumers(graph: &Graph) -> Vec<Vec<usize>> {
    let mut consumers = vec![Vec::new(); graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|&input| consumers[input].push(index));
    }
    consumers
}
