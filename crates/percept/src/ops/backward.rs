//! The backward pass: reverse-mode differentiation, node by node from the logits to the first trained parameter.

use percept_kernels::{self as kernels, Activation, NormShape};

use super::{
    NORM_EPSILON, Network, Update, checked,
    forward::pixels,
    plan::{Plan, activation},
};
use crate::model::graph::Op;

impl Network {
    /// Propagates the gradient of the logits, fills the parameters' gradients, and releases every value on the way.
    /// Weights that have an update get it at once.
    pub(super) fn backward(
        &mut self,
        images: &[u8],
        logits_gradient: Vec<f32>,
        accumulate: bool,
        updates: &mut Vec<(usize, Update<'_>)>,
    ) {
        let batch = self.count(images);
        let mut gradients: Vec<Option<Vec<f32>>> = self.graph.nodes.iter().map(|_| None).collect();
        if let Some(last) = gradients.last_mut() {
            *last = Some(logits_gradient);
        }
        for index in (0..self.graph.nodes.len()).rev() {
            if let Some(gradient) = gradients[index].take() {
                match self.graph.nodes[index].op {
                    Op::Linear => self.linear_gradient(index, images, gradient, accumulate, updates, &mut gradients),
                    _ => self.differentiate(index, batch, gradient, accumulate, &mut gradients),
                }
            }
            self.release(index);
        }
    }

    /// Turns the gradient of one node's output into those of its parameters and inputs.
    fn differentiate(
        &mut self,
        index: usize,
        batch: usize,
        mut gradient: Vec<f32>,
        accumulate: bool,
        gradients: &mut [Option<Vec<f32>>],
    ) {
        let op = self.graph.nodes[index].op.clone();
        let input = self.graph.nodes[index].inputs.first().copied().unwrap_or(0);
        let wanted = self.plan.needs_gradient[input];
        match op {
            Op::Input | Op::Normalize { .. } => self.pool.give(gradient),
            Op::Conv2d { bias, .. } => {
                let shape = self.conv_shape(index, batch);
                if Plan::is_trained(&self.graph, index) {
                    let source = self.take_value(input, batch);
                    self.parameter_gradient(index, 0, accumulate, |into| {
                        kernels::conv2d_weight_gradient(&shape, &source, &gradient, into);
                    });
                    self.put_back(input, source);
                }
                if bias {
                    let rows = gradient.len() / shape.out_channels;
                    self.parameter_gradient(index, 1, accumulate, |into| {
                        kernels::channel_sums(rows, shape.out_channels, &gradient, into);
                    });
                }
                if wanted {
                    let mut result = self.pool.take(batch * self.graph.nodes[input].shape.len());
                    let weights = &self.parameters.0[self.graph.nodes[index].parameters[0]];
                    kernels::conv2d_input_gradient(&shape, &gradient, weights, &mut result);
                    self.pass_on(input, result, gradients);
                }
                self.pool.give(gradient);
            }
            Op::BatchNorm => self.norm_gradient(index, Activation::Identity, batch, gradient, accumulate, gradients),
            Op::Relu | Op::Relu6 | Op::HardSwish | Op::Silu | Op::Gelu => {
                let Some(activation) = activation(&op) else { return };
                match self.plan.absorbed(&self.graph, index) {
                    Some(add) if self.graph.nodes[add].op == Op::Add => {
                        kernels::relu_gradient(self.values[index].as_deref().unwrap_or_default(), &mut gradient);
                        self.pass_to_both(add, gradient, gradients);
                    }
                    Some(norm) => self.norm_gradient(norm, activation, batch, gradient, accumulate, gradients),
                    None => {
                        let source = self.values[self.plan.origin[input]].as_deref().unwrap_or_default();
                        kernels::activate_gradient(activation, source, &mut gradient);
                        self.pass_on(input, gradient, gradients);
                    }
                }
            }
            Op::Add => self.pass_to_both(index, gradient, gradients),
            Op::MaxPool { .. } => {
                let shape = self.pool_shape(index, batch);
                let mut result = self.pool.take(batch * self.graph.nodes[input].shape.len());
                kernels::max_pool_gradient(&shape, &gradient, &self.saved[index].argmax, &mut result);
                self.pool.give(gradient);
                self.pass_on(input, result, gradients);
            }
            Op::GlobalAveragePool | Op::GlobalMaxPool => {
                let shape = self.graph.nodes[input].shape;
                let (pixels, channels) = (shape.pixels(), shape.channels());
                let mut result = self.pool.take(batch * shape.len());
                if op == Op::GlobalAveragePool {
                    kernels::global_average_pool_gradient(batch, pixels, channels, &gradient, &mut result);
                } else {
                    let argmax = &self.saved[index].argmax_global;
                    kernels::global_max_pool_gradient(batch, pixels, channels, &gradient, argmax, &mut result);
                }
                self.pool.give(gradient);
                self.pass_on(input, result, gradients);
            }
            Op::Flatten => self.pass_on(input, gradient, gradients),
            Op::Linear => unreachable!("linear layers have a function of their own"),
            Op::Scale(factor) => {
                kernels::scale(&mut gradient, factor);
                self.pass_on(input, gradient, gradients);
            }
        }
    }

    fn linear_gradient(
        &mut self,
        index: usize,
        images: &[u8],
        gradient: Vec<f32>,
        accumulate: bool,
        updates: &mut Vec<(usize, Update<'_>)>,
        gradients: &mut [Option<Vec<f32>>],
    ) {
        let input = self.graph.nodes[index].inputs[0];
        let weights = self.graph.nodes[index].parameters[0];
        let shape = self.linear_shape(index, self.count(images));
        if self.plan.needs_gradient[input] {
            let mut result = self.pool.take(shape.batch * shape.inputs);
            kernels::linear_input_gradient(&shape, &gradient, &self.parameters.0[weights], &mut result);
            self.pass_on(input, result, gradients);
        }
        self.parameter_gradient(index, 1, accumulate, |into| {
            kernels::channel_sums(shape.batch, shape.outputs, &gradient, into);
        });
        // Put aside, so that parameters can be changed while it is read.
        let factors = std::mem::take(&mut self.factors);
        let origin = self.plan.origin[input];
        let value = self.take_value(origin, shape.batch);
        let source = match self.plan.normalizes[index] {
            Some(_) => pixels(images, &factors),
            None => (&value).into(),
        };
        match updates.iter().position(|&(parameter, _)| parameter == weights) {
            Some(place) => {
                let (_, update) = updates.swap_remove(place);
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
        let norm = self.plan.absorbed(&self.graph, index).filter(|&norm| self.graph.nodes[norm].op == Op::BatchNorm);
        let (None, Some(norm), Some(activation)) = (&kept, norm, activation(&self.graph.nodes[index].op)) else {
            return kept.unwrap_or_default();
        };
        let mut value = self.pool.take(batch * self.graph.nodes[index].shape.len());
        self.apply_norm(norm, activation, batch, &mut value);
        value
    }

    fn put_back(&mut self, index: usize, value: Vec<f32>) {
        if self.plan.keeps[index] {
            self.values[index] = Some(value);
        } else {
            self.pool.give(value);
        }
    }

    fn norm_gradient(
        &mut self,
        norm: usize,
        activation: Activation,
        batch: usize,
        gradient: Vec<f32>,
        accumulate: bool,
        gradients: &mut [Option<Vec<f32>>],
    ) {
        let node = &self.graph.nodes[norm];
        let input = node.inputs[0];
        let shape = checked(NormShape::new(batch * node.shape.pixels(), node.shape.channels()));
        let (scale, shift) = (node.parameters[0], node.parameters[1]);
        let mut result = self.pool.take(gradient.len());
        let mut scale_gradient = self.pool.take(shape.channels);
        let mut shift_gradient = self.pool.take(shape.channels);
        kernels::batch_norm_gradient(
            &shape,
            self.values[self.plan.origin[input]].as_deref().unwrap_or_default(),
            &self.saved[norm].statistics[0],
            &self.saved[norm].statistics[1],
            &self.parameters.0[scale],
            &self.parameters.0[shift],
            NORM_EPSILON,
            activation,
            &gradient,
            &mut result,
            &mut scale_gradient,
            &mut shift_gradient,
        );
        self.parameter_gradient(norm, 0, accumulate, |into| into.copy_from_slice(&scale_gradient));
        self.parameter_gradient(norm, 1, accumulate, |into| into.copy_from_slice(&shift_gradient));
        self.pool.give(scale_gradient);
        self.pool.give(shift_gradient);
        self.pool.give(gradient);
        self.pass_on(input, result, gradients);
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

    fn pass_to_both(&mut self, add: usize, gradient: Vec<f32>, gradients: &mut [Option<Vec<f32>>]) {
        let (left, right) = (self.graph.nodes[add].inputs[0], self.graph.nodes[add].inputs[1]);
        let mut copy = self.pool.take(gradient.len());
        copy.copy_from_slice(&gradient);
        self.pass_on(left, gradient, gradients);
        self.pass_on(right, copy, gradients);
    }

    /// Adds a gradient to what a node has received so far.
    fn pass_on(&mut self, node: usize, gradient: Vec<f32>, gradients: &mut [Option<Vec<f32>>]) {
        if !self.plan.needs_gradient[node] {
            self.pool.give(gradient);
            return;
        }
        match &mut gradients[node] {
            Some(sum) => {
                kernels::add(sum, &gradient);
                self.pool.give(gradient);
            }
            none => *none = Some(gradient),
        }
    }
}
