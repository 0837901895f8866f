//! Batch norms with fixed statistics as part of the convolutions before them, and back: how a network is fine-tuned on
//! batches too small to measure statistics on.

use super::{
    Graph, Parameters,
    graph::{Layout, Node, Op, ParameterSpec, Role},
};
use crate::{Error, Result};

/// The same network without batch norms: each is folded into its convolution, which gets a bias.
///
/// # Errors
/// A norm that follows no convolution.
pub fn fold_norms(graph: &Graph, parameters: &Parameters) -> Result<(Graph, Parameters)> {
    let mut folded = Graph { nodes: Vec::new(), parameters: Vec::new(), ..graph.clone() };
    let mut numbers = Vec::new();
    // The place of each old node's value among the new nodes.
    let mut places: Vec<usize> = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        if node.op.is_batch_norm() {
            let place = places[node.inputs[0]];
            let follows = matches!(graph.nodes[node.inputs[0]].op, Op::Conv2d { bias: false, .. });
            let readers = graph.nodes.iter().filter(|reader| reader.inputs.contains(&node.inputs[0])).count();
            if !follows || readers != 1 {
                let what = format!("{}: {} cannot be folded into what it follows", graph.name, node.name);
                return Err(Error::invalid(what, "train all of it: --from-scratch"));
            }
            let [multiplier, offset] = affine(parameters, node);
            let weights: &mut Vec<f32> = &mut numbers[folded.nodes[place].parameters[0]];
            for row in weights.chunks_exact_mut(multiplier.len()) {
                row.iter_mut().zip(&multiplier).for_each(|(weight, multiplier)| *weight *= multiplier);
            }
            numbers[folded.nodes[place].parameters[1]] = offset;
            places.push(place);
            continue;
        }
        let mut new = node.clone();
        new.inputs = node.inputs.iter().map(|&input| places[input]).collect();
        new.parameters.clear();
        for &position in &node.parameters {
            new.parameters.push(numbers.len());
            folded.parameters.push(graph.parameters[position].clone());
            numbers.push(parameters.0[position].clone());
        }
        if norm_after(graph, index).is_some()
            && let Op::Conv2d { bias, .. } = &mut new.op
        {
            *bias = true;
            let channels = node.shape.channels();
            new.parameters.push(numbers.len());
            folded.parameters.push(ParameterSpec {
                name: format!("{}.bias", node.name),
                shape: vec![channels],
                layout: Layout::Plain,
                role: Role::Bias,
                init: super::graph::Init::Zeros,
            });
            numbers.push(vec![0.0; channels]);
        }
        places.push(folded.nodes.len());
        folded.nodes.push(new);
    }
    Ok((folded, Parameters(numbers)))
}

/// Puts the numbers of a folded network back into `parameters` of the network that it came from. Norms keep their
/// statistics and get the scale that undoes them, so that both give the same values.
pub fn unfold_norms(graph: &Graph, parameters: &mut Parameters, folded: &Graph, numbers: &Parameters) {
    for (spec, values) in folded.parameters.iter().zip(&numbers.0) {
        if let Some(own) = parameters.get_mut(graph, &spec.name) {
            own.copy_from_slice(values);
        }
    }
    for (conv, node) in graph.nodes.iter().enumerate() {
        let Some(norm) = norm_after(graph, conv) else { continue };
        let Op::BatchNorm { epsilon } = graph.nodes[norm].op else { continue };
        let Some(bias) = numbers.get(folded, &format!("{}.bias", node.name)) else { continue };
        let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|place| graph.nodes[norm].parameters[place]);
        for (channel, bias) in bias.iter().enumerate() {
            parameters.0[scale][channel] = (parameters.0[variance][channel] + epsilon).sqrt();
            parameters.0[shift][channel] = bias + parameters.0[mean][channel];
        }
    }
}

/// The norm that reads a convolution.
fn norm_after(graph: &Graph, conv: usize) -> Option<usize> {
    let is_conv = matches!(graph.nodes[conv].op, Op::Conv2d { .. });
    graph.nodes.iter().position(|node| is_conv && node.op.is_batch_norm() && node.inputs[0] == conv)
}

/// A batch norm with running statistics, or a layer scale, as `multiplier x + offset`, by channel.
pub(crate) fn affine(parameters: &Parameters, norm: &Node) -> [Vec<f32>; 2] {
    // Scale, shift, mean and variance.
    let number = |place: usize| parameters.0[norm.parameters[place]].iter();
    let Op::BatchNorm { epsilon } = norm.op else {
        return [number(0).copied().collect(), vec![0.0; number(0).len()]];
    };
    let deviation = number(3).map(|variance| (variance + epsilon).sqrt());
    let multiplier: Vec<f32> = number(0).zip(deviation).map(|(scale, deviation)| scale / deviation).collect();
    let moved = number(2).zip(&multiplier).map(|(mean, multiplier)| mean * multiplier);
    let offset = number(1).zip(moved).map(|(shift, moved)| shift - moved).collect();
    [multiplier, offset]
}
