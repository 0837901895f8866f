//! The backward pass: reverse-mode differentiation, node by node from the logits to the first trained parameter.

use percept_kernels::{self as kernels, Activation, ConvShape, Element, NormShape};

use super::{
    Network, Update, Updates,
    forward::pixels,
    numbers,
    plan::{Plan, activation, epsilon},
    with_element,
};
use crate::model::{Graph, graph::Op};

/// What a backward pass goes by, and what it has found so far.
pub(super) struct Backward<'a> {
    pub(super) images: &'a [u8],
    pub(super) batch: usize,
    pub(super) accumulate: bool,
    /// Of weights that move at once.
    pub(super) updates: Option<Updates<'a>>,
    /// Of the nodes' values.
    pub(super) gradients: Vec<Option<Vec<f32>>>,
}

impl Backward<'_> {
    /// The step of these weights, if they are to move at once.
    fn update(&mut self, graph: &Graph, weights: usize) -> Option<Update<'_>> {
        let Updates { memory, rule } = self.updates.as_mut()?;
        rule(weights, &graph.parameters[weights], &mut memory[weights])
    }
}

impl Network {
    /// A pass that overwrites gradients and moves nothing; [`Network::end_backward`] takes its room back.
    pub(super) fn start_backward<'a>(&mut self, images: &'a [u8], batch: usize) -> Backward<'a> {
        let mut gradients = std::mem::take(&mut self.value_gradients);
        gradients.resize_with(self.graph.nodes.len(), || None);
        Backward { images, batch, accumulate: false, updates: None, gradients }
    }

    /// Ends a pass whose gradients are all used.
    pub(super) fn end_backward(&mut self, pass: Backward<'_>) {
        self.value_gradients = pass.gradients;
    }

    /// Propagates the gradient of the logits, fills the parameters' gradients, and releases every value on the way.
    /// Weights that have an update get it at once.
    pub(super) fn backward(&mut self, logits_gradient: Vec<f32>, mut pass: Backward<'_>) {
        if let Some(last) = pass.gradients.last_mut() {
            *last = Some(logits_gradient);
        }
        for index in (0..self.graph.nodes.len()).rev() {
            if let Some(gradient) = pass.gradients[index].take() {
                self.differentiate(index, gradient, &mut pass);
            }
            self.release(index);
        }
        self.end_backward(pass);
    }

    /// Turns the gradient of one node's output into those of its parameters and inputs.
    pub(super) fn differentiate(&mut self, index: usize, mut gradient: Vec<f32>, pass: &mut Backward<'_>) {
        let (batch, accumulate) = (pass.batch, pass.accumulate);
        let op = self.graph.nodes[index].op.clone();
        let input = self.graph.nodes[index].inputs.first().copied().unwrap_or(0);
        let wanted = self.plan.needs_gradient[input];
        match op {
            Op::Input | Op::Normalize { .. } => self.pool.give(gradient),
            Op::Conv2d { bias, .. } => {
                let shape = self.conv_shape(index, batch);
                let weights = self.graph.nodes[index].parameters[0];
                let to_apply = Plan::is_trained(&self.graph, index)
                    .then(|| self.filter_gradient(index, &shape, &gradient, pass))
                    .flatten();
                let is_narrow = self.is_narrow(index);
                if wanted {
                    let mut result = self.pool.take(self.words(input, batch));
                    let weights = &self.parameters.0[weights];
                    with_element!(is_narrow, G => with_element!(self.is_narrow(input), I => {
                        let gradient = G::of_words(&gradient, shape.output_len());
                        let result = I::of_words_mut(&mut result, shape.input_len());
                        kernels::conv2d_input_gradient(&shape, gradient, weights, result);
                    }));
                    self.pass_on(input, result, pass);
                }
                // Last, since the input's gradient wants the weights as they were.
                if let Some(of_weights) = to_apply {
                    if let Some(update) = pass.update(&self.graph, weights) {
                        update.apply(&mut self.parameters.0[weights], &of_weights);
                    }
                    self.pool.give(of_weights);
                }
                if bias {
                    let (length, channels) = (shape.output_len(), shape.out_channels);
                    self.parameter_gradient(index, 1, accumulate, |into| {
                        with_element!(is_narrow, G => {
                            let gradient = G::of_words(&gradient, length);
                            kernels::channel_sums(length / channels, channels, gradient, into);
                        });
                    });
                }
                self.pool.give(gradient);
            }
            Op::BatchNorm { .. } => {
                self.norm_gradient(index, Activation::Identity, &gradient, pass);
                self.pool.give(gradient);
            }
            Op::LayerNorm { .. } => self.layer_norm_gradient(index, gradient, pass),
            Op::LayerScale => self.layer_scale_gradient(index, gradient, pass),
            Op::Gate => self.gate_gradient(index, gradient, pass),
            Op::Relu | Op::Relu6 | Op::HardSwish | Op::HardSigmoid | Op::Silu | Op::Gelu => {
                let Some(activation) = activation(&op) else { return };
                match self.plan.absorbed(&self.graph, index) {
                    Some(add) if self.graph.nodes[add].op == Op::Add => {
                        let (output, length) = (&self.values[index], self.length(index, batch));
                        with_element!(self.is_narrow(index), E => {
                            kernels::relu_gradient(numbers(output, length), E::of_words_mut(&mut gradient, length));
                        });
                        self.pass_to_both(add, gradient, pass);
                    }
                    Some(norm) => {
                        self.norm_gradient(norm, activation, &gradient, pass);
                        self.pool.give(gradient);
                    }
                    None => {
                        let (source, length) = (&self.values[self.plan.origin[input]], self.length(index, batch));
                        with_element!(self.is_narrow(index), E => {
                            let gradient = E::of_words_mut(&mut gradient, length);
                            kernels::activate_gradient(activation, numbers(source, length), gradient);
                        });
                        self.pass_on(input, gradient, pass);
                    }
                }
            }
            Op::Add => self.pass_to_both(index, gradient, pass),
            Op::MaxPool { .. } => {
                let shape = self.pool_shape(index, batch);
                let (mut result, argmax) = (self.pool.take(self.words(input, batch)), &self.saved[index].argmax);
                with_element!(self.is_narrow(index), E => {
                    let gradient = E::of_words(&gradient, shape.output_len());
                    let result = E::of_words_mut(&mut result, shape.input_len());
                    kernels::max_pool_gradient(&shape, gradient, argmax, result);
                });
                self.pool.give(gradient);
                self.pass_on(input, result, pass);
            }
            Op::GlobalAveragePool | Op::GlobalMaxPool => {
                let shape = self.graph.nodes[input].shape;
                let (pixels, channels) = (shape.pixels(), shape.channels());
                let (mut result, length) = (self.pool.take(self.words(input, batch)), batch * shape.len());
                let argmax = &self.saved[index].argmax_global;
                with_element!(self.is_narrow(input), E => {
                    let result = E::of_words_mut(&mut result, length);
                    if op == Op::GlobalAveragePool {
                        kernels::global_average_pool_gradient(batch, pixels, channels, &gradient, result);
                    } else {
                        kernels::global_max_pool_gradient(batch, pixels, channels, &gradient, argmax, result);
                    }
                });
                self.pool.give(gradient);
                self.pass_on(input, result, pass);
            }
            Op::Flatten => self.pass_on(input, gradient, pass),
            Op::Linear => self.linear_gradient(index, gradient, pass),
            Op::Scale(factor) => {
                kernels::scale(&mut gradient, factor);
                self.pass_on(input, gradient, pass);
            }
        }
    }

    /// The gradient of a convolution's weights, which is returned where they are to move by it at once.
    fn filter_gradient(
        &mut self,
        index: usize,
        shape: &ConvShape,
        gradient: &[f32],
        pass: &mut Backward<'_>,
    ) -> Option<Vec<f32>> {
        let input = self.graph.nodes[index].inputs[0];
        let weights = self.graph.nodes[index].parameters[0];
        let source = self.take_value(input, pass.batch);
        let [reads_bf16, gives_bf16] = [input, index].map(|node| self.is_narrow(node));
        let compute = |into: &mut [f32]| {
            with_element!(reads_bf16, I => with_element!(gives_bf16, G => {
                let (source, gradient) = (
                    I::of_words(&source, shape.input_len()), G::of_words(gradient, shape.output_len()),
                );
                kernels::conv2d_weight_gradient(shape, source, gradient, into);
            }));
        };
        let moves = pass.update(&self.graph, weights).is_some();
        let to_apply = moves.then(|| {
            let mut of_weights = self.pool.take(self.parameters.0[weights].len());
            compute(&mut of_weights);
            of_weights
        });
        if !moves {
            self.parameter_gradient(index, 0, pass.accumulate, compute);
        }
        self.put_back(input, source);
        to_apply
    }

    fn linear_gradient(&mut self, index: usize, gradient: Vec<f32>, pass: &mut Backward<'_>) {
        let accumulate = pass.accumulate;
        let input = self.graph.nodes[index].inputs[0];
        let weights = self.graph.nodes[index].parameters[0];
        let shape = self.linear_shape(index, pass.batch);
        if self.plan.needs_gradient[input] {
            let mut result = self.pool.take(shape.batch * shape.inputs);
            kernels::linear_input_gradient(&shape, &gradient, &self.parameters.0[weights], &mut result);
            self.pass_on(input, result, pass);
        }
        self.parameter_gradient(index, 1, accumulate, |into| {
            kernels::channel_sums(shape.batch, shape.outputs, &gradient, into);
        });
        // Put aside, so that parameters can be changed while it is read.
        let factors = std::mem::take(&mut self.factors);
        let origin = self.plan.origin[input];
        let value = self.take_value(origin, shape.batch);
        let source = match self.plan.reads_bytes[index] {
            true => pixels(pass.images, &factors),
            false => (&value).into(),
        };
        match pass.update(&self.graph, weights) {
            Some(update) => {
                kernels::linear_weight_update(&shape, source, &gradient, update, &mut self.parameters.0[weights]);
            }
            None => self.parameter_gradient(index, 0, accumulate, |into| {
                kernels::linear_weight_gradient(&shape, source, &gradient, into);
            }),
        }
        self.put_back(origin, value);
        self.factors = factors;
        self.pool.give(gradient);
    }

    /// A value of the forward pass, empty where it was not kept and cannot be computed again.
    fn take_value(&mut self, index: usize, batch: usize) -> Vec<f32> {
        let kept = self.values[index].take();
        if kept.is_some() || !self.plan.renews(&self.graph, index) {
            return kept.unwrap_or_default();
        }
        let mut value = self.pool.take(self.words(index, batch));
        match (activation(&self.graph.nodes[index].op), self.plan.absorbed(&self.graph, index)) {
            (Some(activation), Some(norm)) => self.apply_norm(norm, activation, batch, &mut value),
            _ => self.renew(index, batch, &mut value),
        }
        value
    }

    /// Runs a node again whose inputs stay, or can be had again. One of them may be what another is computed from: each stays
    /// until all are there.
    fn renew(&mut self, index: usize, batch: usize, output: &mut [f32]) {
        let mut renewed = Vec::new();
        for position in 0..self.plan.reads[index].len() {
            let input = self.plan.reads[index][position];
            if self.values[input].is_none() && self.plan.renews(&self.graph, input) {
                self.values[input] = Some(self.take_value(input, batch));
                renewed.push(input);
            }
        }
        self.run(index, &[], batch, true, output);
        renewed.into_iter().for_each(|input| self.release(input));
    }

    fn put_back(&mut self, index: usize, value: Vec<f32>) {
        if self.plan.keeps[index] {
            self.values[index] = Some(value);
        } else {
            self.pool.give(value);
        }
    }

    /// The gradient of a norm and its activation, given that of their output.
    fn norm_gradient(&mut self, norm: usize, activation: Activation, gradient: &[f32], pass: &mut Backward<'_>) {
        let node = &self.graph.nodes[norm];
        let input = node.inputs[0];
        let origin = self.plan.origin[input];
        let shape = self.norm_shape(norm, pass.batch);
        let (scale, shift) = (node.parameters[0], node.parameters[1]);
        // Turned into its gradient in its place, where nobody needs it any more.
        let mut values = match self.plan.is_spent_by_norm(&self.graph, origin) {
            true => self.values[origin].take().unwrap_or_default(),
            false => {
                let mut copy = self.pool.take(gradient.len());
                copy.copy_from_slice(self.values[origin].as_deref().unwrap_or_default());
                copy
            }
        };
        let [mut scale_gradient, mut shift_gradient] = [0, 1].map(|_| self.pool.take(shape.channels));
        let [mean, variance] = &self.saved[norm].statistics;
        with_element!(self.is_narrow(norm), E => kernels::batch_norm_gradient(
            &shape,
            E::of_words_mut(&mut values, shape.len()),
            mean,
            variance,
            &self.parameters.0[scale],
            &self.parameters.0[shift],
            epsilon(&node.op),
            activation,
            E::of_words(gradient, shape.len()),
            &mut scale_gradient,
            &mut shift_gradient,
        ));
        self.parameter_gradient(norm, 0, pass.accumulate, |into| into.copy_from_slice(&scale_gradient));
        self.parameter_gradient(norm, 1, pass.accumulate, |into| into.copy_from_slice(&shift_gradient));
        self.pool.give(scale_gradient);
        self.pool.give(shift_gradient);
        self.pass_on(input, values, pass);
    }

    fn layer_norm_gradient(&mut self, norm: usize, gradient: Vec<f32>, pass: &mut Backward<'_>) {
        let node = &self.graph.nodes[norm];
        let input = node.inputs[0];
        let shape = self.norm_shape(norm, pass.batch);
        let mut result = self.pool.take(gradient.len());
        let [mut scale_gradient, mut shift_gradient] = [0, 1].map(|_| self.pool.take(shape.channels));
        kernels::layer_norm_gradient(
            &shape,
            self.values[self.plan.origin[input]].as_deref().unwrap_or_default(),
            &self.parameters.0[node.parameters[0]],
            epsilon(&node.op),
            &gradient,
            &mut result,
            &mut scale_gradient,
            &mut shift_gradient,
        );
        self.parameter_gradient(norm, 0, pass.accumulate, |into| into.copy_from_slice(&scale_gradient));
        self.parameter_gradient(norm, 1, pass.accumulate, |into| into.copy_from_slice(&shift_gradient));
        self.pool.give(scale_gradient);
        self.pool.give(shift_gradient);
        self.pool.give(gradient);
        self.pass_on(input, result, pass);
    }

    fn layer_scale_gradient(&mut self, index: usize, mut gradient: Vec<f32>, pass: &mut Backward<'_>) {
        let input = self.graph.nodes[index].inputs[0];
        let NormShape { rows, channels, .. } = self.norm_shape(index, pass.batch);
        let mut scale_gradient = self.pool.take(channels);
        let origin = self.plan.origin[input];
        let source = self.take_value(origin, pass.batch);
        let scale = &self.parameters.0[self.graph.nodes[index].parameters[0]];
        kernels::channel_gate_gradient(1, rows, channels, &source, scale, &mut gradient, &mut scale_gradient);
        self.put_back(origin, source);
        self.parameter_gradient(index, 0, pass.accumulate, |into| into.copy_from_slice(&scale_gradient));
        self.pool.give(scale_gradient);
        self.pass_on(input, gradient, pass);
    }

    fn gate_gradient(&mut self, index: usize, mut gradient: Vec<f32>, pass: &mut Backward<'_>) {
        let node = &self.graph.nodes[index];
        let (map, factors, shape) = (node.inputs[0], node.inputs[1], node.shape);
        let (pixels, channels) = (shape.pixels(), shape.channels());
        let mut factor_gradient = self.pool.take(pass.batch * channels);
        let [origin, gate] = [map, factors].map(|input| self.plan.origin[input]);
        let source = self.take_value(origin, pass.batch);
        kernels::channel_gate_gradient(
            pass.batch,
            pixels,
            channels,
            &source,
            // A vector may be its own gate.
            if gate == origin { &source } else { self.values[gate].as_deref().unwrap_or_default() },
            &mut gradient,
            &mut factor_gradient,
        );
        self.put_back(origin, source);
        self.pass_on(map, gradient, pass);
        self.pass_on(factors, factor_gradient, pass);
    }

    /// Lets `compute` overwrite the gradient of a node's parameter, or a buffer that is then added to it.
    fn parameter_gradient(&mut self, node: usize, position: usize, accumulate: bool, compute: impl FnOnce(&mut [f32])) {
        let parameter = self.graph.nodes[node].parameters[position];
        let len = self.gradients[parameter].len();
        if len == 0 {
            return;
        }
        if accumulate {
            let mut fresh = self.pool.take(len);
            compute(&mut fresh);
            kernels::add(&mut self.gradients[parameter], &fresh);
            self.pool.give(fresh);
        } else {
            compute(&mut self.gradients[parameter]);
        }
    }

    fn pass_to_both(&mut self, add: usize, gradient: Vec<f32>, pass: &mut Backward<'_>) {
        let (left, right) = (self.graph.nodes[add].inputs[0], self.graph.nodes[add].inputs[1]);
        // A norm that the addition alone reads takes its part here and now: it needs no copy.
        let [left_is_done, right_is_done] = [left, right].map(|node| {
            let is_alone = self.plan.readers[node] == 1 || self.plan.residuals[node].is_some();
            let takes = self.graph.nodes[node].op.is_batch_norm() && is_alone;
            if takes {
                self.norm_gradient(node, Activation::Identity, &gradient, pass);
            }
            takes
        });
        match (left_is_done, right_is_done) {
            (true, true) => self.pool.give(gradient),
            (true, false) => self.pass_on(right, gradient, pass),
            (false, true) => self.pass_on(left, gradient, pass),
            (false, false) => {
                let mut copy = self.pool.take(gradient.len());
                copy.copy_from_slice(&gradient);
                self.pass_on(left, gradient, pass);
                self.pass_on(right, copy, pass);
            }
        }
    }

    /// Adds a gradient to what a node has received so far.
    fn pass_on(&mut self, node: usize, gradient: Vec<f32>, pass: &mut Backward<'_>) {
        if !self.plan.needs_gradient[node] {
            self.pool.give(gradient);
            return;
        }
        match &mut pass.gradients[node] {
            Some(sum) => {
                let length = self.length(node, pass.batch);
                with_element!(self.is_narrow(node), E => {
                    kernels::add(E::of_words_mut(sum, length), E::of_words(&gradient, length));
                });
                self.pool.give(gradient);
            }
            none => *none = Some(gradient),
        }
    }
}
