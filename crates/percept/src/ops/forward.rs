//! The forward pass.

use std::ops::Range;

use percept_kernels::{
    self as kernels, Activation, ConvShape, Element, LinearInput, LinearShape, NormShape, Padding, PoolShape,
};

use super::{
    NORM_MOMENTUM, Network, checked, numbers,
    plan::{Block, Chain, activation, epsilon},
    with_element,
};
use crate::model::{
    fold::affine,
    graph::{Node, Op, Shape},
};

impl Network {
    /// Runs every node. A value goes with its last reader, unless it is to stay.
    pub(super) fn forward(&mut self, images: &[u8], batch: usize, training: bool) {
        self.prepare_factors();
        let mut left = self.plan.readers.clone();
        let first = match self.plan.by_image {
            Some(end) if batch > 1 => {
                let size = self.graph.nodes[end].shape.len();
                let mut all = self.pool.take(batch * size);
                for (image, output) in images.chunks_exact(self.graph.input.len()).zip(all.chunks_exact_mut(size)) {
                    self.run_range(0..end, image, 1, training, &mut left.clone());
                    self.run(end, image, 1, training, output);
                    (0..end).for_each(|index| self.release(index));
                }
                self.values[end] = Some(all);
                end + 1
            }
            _ => 0,
        };
        self.run_range(first..self.graph.nodes.len(), images, batch, training, &mut left);
    }

    /// Runs these nodes; `left` counts the readers of each value.
    fn run_range(&mut self, nodes: Range<usize>, images: &[u8], batch: usize, training: bool, left: &mut [usize]) {
        for index in nodes {
            if self.plan.is_idle(index) || self.graph.nodes[index].op == Op::Input {
                continue;
            }
            let length = self.words(index, batch);
            let mut output = match self.plan.keeps[index] {
                true => self.pool.take_for_long(length),
                false => self.pool.take(length),
            };
            self.run(index, images, batch, training, &mut output);
            self.values[index] = Some(output);
            for position in 0..self.plan.reads[index].len() {
                let input = self.plan.reads[index][position];
                left[input] -= 1;
                if left[input] == 0 && !self.plan.keeps[input] {
                    self.release(input);
                }
            }
        }
    }

    pub(super) fn release(&mut self, index: usize) {
        if let Some(buffer) = self.values[index].take() {
            self.pool.give(buffer);
        }
    }

    /// Computes one node, and what it absorbed, into `output`: the words of its value.
    pub(super) fn run(&mut self, index: usize, images: &[u8], batch: usize, training: bool, output: &mut [f32]) {
        if let Some(block) = &self.plan.blocks[index] {
            return self.run_block(block, batch, output);
        }
        if let Some(chain) = &self.plan.chains[index] {
            return self.run_chain(chain, batch, output);
        }
        let node = &self.graph.nodes[index];
        let own = &node.parameters;
        let reads = &self.plan.reads[index];
        let source = |position: usize| self.values[reads[position]].as_deref().unwrap_or_default();
        let parameter = |position: usize| self.parameters.0[own[position]].as_slice();
        match &node.op {
            Op::Input => {}
            Op::Normalize { .. } => {
                let (shape, [multiplier, offset]) = (node.shape, &self.factors);
                kernels::normalize(batch, shape.pixels(), shape.channels(), images, multiplier, offset, output);
            }
            Op::Conv2d { bias, .. } => {
                let shape = self.conv_shape(index, batch);
                let (weights, bias) = (parameter(0), bias.then(|| parameter(1)));
                let input = &self.values[reads[0]];
                let [reads_bf16, gives_bf16] = [reads[0], index].map(|node| self.is_narrow(node));
                let statistics = self.plan.measures[index].map(|norm| {
                    let [mean, variance] = &mut self.saved[norm].statistics;
                    mean.resize(shape.out_channels, 0.0);
                    variance.resize(shape.out_channels, 0.0);
                    [mean, variance]
                });
                with_element!(reads_bf16, I => with_element!(gives_bf16, O => {
                    let input = numbers::<I>(input, shape.input_len());
                    let output = O::of_words_mut(output, shape.output_len());
                    match statistics {
                        None => kernels::conv2d(&shape, input, weights, bias, output),
                        Some([mean, variance]) => {
                            kernels::conv2d_with_statistics(&shape, input, weights, bias, output, mean, variance);
                        }
                    }
                }));
            }
            Op::BatchNorm { .. } => self.normalize(index, Activation::Identity, batch, training, output),
            Op::LayerNorm { epsilon } => {
                let shape = self.norm_shape(index, batch);
                kernels::layer_norm(&shape, source(0), parameter(0), parameter(1), *epsilon, output);
            }
            Op::LayerScale => {
                let NormShape { rows, channels, .. } = self.norm_shape(index, batch);
                kernels::channel_gate(1, rows, channels, source(0), parameter(0), output);
            }
            Op::Gate => {
                let shape = node.shape;
                kernels::channel_gate(batch, shape.pixels(), shape.channels(), source(0), source(1), output);
            }
            op @ (Op::Relu | Op::Relu6 | Op::HardSwish | Op::HardSigmoid | Op::Silu | Op::Gelu) => {
                let Some(activation) = activation(op) else { return };
                match self.plan.absorbed(&self.graph, index) {
                    Some(add) if self.graph.nodes[add].op == Op::Add => {
                        if let Some(norm) = self.plan.norm_of_sum(&self.graph, add) {
                            return self.normalize(norm, activation, batch, training, output);
                        }
                        output.copy_from_slice(source(0));
                        let (other, length) = (&self.values[reads[1]], self.length(index, batch));
                        with_element!(self.is_narrow(index), E => {
                            kernels::add_relu(E::of_words_mut(output, length), numbers(other, length));
                        });
                    }
                    Some(norm) => self.normalize(norm, activation, batch, training, output),
                    None => {
                        let (input, length) = (&self.values[reads[0]], self.length(index, batch));
                        with_element!(self.is_narrow(index), E => {
                            kernels::activate(activation, numbers(input, length), E::of_words_mut(output, length));
                        });
                    }
                }
            }
            Op::Add => {
                if let Some(norm) = self.plan.norm_of_sum(&self.graph, index) {
                    return self.normalize(norm, Activation::Identity, batch, training, output);
                }
                output.copy_from_slice(source(0));
                let (other, length) = (&self.values[reads[1]], self.length(index, batch));
                with_element!(self.is_narrow(index), E => {
                    kernels::add(E::of_words_mut(output, length), numbers(other, length));
                });
            }
            Op::MaxPool { .. } => {
                let shape = self.pool_shape(index, batch);
                let (input, is_narrow) = (&self.values[reads[0]], self.is_narrow(index));
                let argmax = &mut self.saved[index].argmax;
                argmax.resize(shape.output_len(), 0);
                with_element!(is_narrow, E => {
                    let output = E::of_words_mut(output, shape.output_len());
                    kernels::max_pool(&shape, numbers(input, shape.input_len()), output, argmax);
                });
            }
            Op::GlobalAveragePool => {
                let shape = self.graph.nodes[node.inputs[0]].shape;
                let (pixels, channels, input) = (shape.pixels(), shape.channels(), &self.values[reads[0]]);
                with_element!(self.is_narrow(reads[0]), E => {
                    let input = numbers::<E>(input, batch * shape.len());
                    kernels::global_average_pool(batch, pixels, channels, input, output);
                });
            }
            Op::GlobalMaxPool => {
                let shape = self.graph.nodes[node.inputs[0]].shape;
                let (pixels, channels, input) = (shape.pixels(), shape.channels(), &self.values[reads[0]]);
                let is_narrow = self.is_narrow(reads[0]);
                let argmax = &mut self.saved[index].argmax_global;
                argmax.resize(output.len(), 0);
                with_element!(is_narrow, E => {
                    let input = numbers::<E>(input, batch * shape.len());
                    kernels::global_max_pool(batch, pixels, channels, input, output, argmax);
                });
            }
            // Memory counts pixel by pixel either way; the weights' layout knows.
            Op::Flatten => output.copy_from_slice(source(0)),
            Op::Linear if let Some(layer) = &self.prepared[index] => {
                layer.run(batch, source(0), None, Activation::Identity, output);
            }
            Op::Linear => {
                let shape = self.linear_shape(index, batch);
                let (weights, bias) = (parameter(0), Some(parameter(1)));
                let input = match self.plan.reads_bytes[index] {
                    true => pixels(images, &self.factors),
                    false => source(0).into(),
                };
                kernels::linear(&shape, input, weights, bias, output);
            }
            Op::Scale(factor) => {
                output.copy_from_slice(source(0));
                kernels::scale(output, *factor);
            }
        }
    }

    /// A convolution whose norm is in its weights, with a residual and an activation.
    fn run_chain(&self, chain: &Chain, batch: usize, output: &mut [f32]) {
        let value = |index: usize| self.values[index].as_deref().unwrap_or_default();
        let input = value(self.graph.nodes[chain.conv].inputs[0]);
        if let Some(convolution) = &self.prepared[chain.conv] {
            convolution.run(batch, input, chain.residual.map(value), chain.activation, output);
        }
    }

    /// Convolutions whose values between them never lie in memory.
    fn run_block(&self, block: &Block, batch: usize, output: &mut [f32]) {
        let layer = |last: usize| {
            let chain = self.plan.chains[last].as_ref()?;
            let convolution = self.prepared[chain.conv].as_ref()?;
            Some(kernels::BlockLayer { convolution, activation: chain.activation })
        };
        let [input, residual] = [0, 1].map(|read| self.plan.reads[block.project].get(read));
        let value = |index: &usize| self.values[*index].as_deref().unwrap_or_default();
        if let (Some(depthwise), Some(project)) = (layer(block.depthwise), layer(block.project)) {
            let expand = block.expand.and_then(layer);
            let (input, residual) = (input.map(value).unwrap_or_default(), residual.map(value));
            kernels::InvertedResidual { expand, depthwise, project }.run(batch, input, residual, output);
        }
    }

    /// Batch norm, the residual that belongs to it, and activation in one. While training, the running statistics move.
    fn normalize(&mut self, norm: usize, activation: Activation, batch: usize, training: bool, output: &mut [f32]) {
        let node = &self.graph.nodes[norm];
        let shape = self.norm_shape(norm, batch);
        let &[scale, shift, mean, variance] = node.parameters.as_slice() else { return };
        if !training {
            let input = self.values[self.plan.origin[node.inputs[0]]].as_deref().unwrap_or_default();
            let [multiplier, offset] = affine(&self.parameters, node);
            let Some(residual) = self.residual(norm).and_then(Option::as_deref) else {
                return kernels::batch_norm_infer(&shape, input, &multiplier, &offset, activation, output);
            };
            kernels::batch_norm_infer(&shape, input, &multiplier, &offset, Activation::Identity, output);
            kernels::add(output, residual);
            // Nothing but this one joins an addition.
            if activation == Activation::Relu {
                kernels::relu(output);
            }
            return;
        }
        if self.plan.measures[node.inputs[0]] == Some(norm) {
            self.apply_norm(norm, activation, batch, output);
        } else {
            let (input, is_narrow) = (&self.values[self.plan.origin[node.inputs[0]]], self.is_narrow(norm));
            let [batch_mean, batch_variance] = &mut self.saved[norm].statistics;
            batch_mean.resize(shape.channels, 0.0);
            batch_variance.resize(shape.channels, 0.0);
            let (scale, shift) = (&self.parameters.0[scale], &self.parameters.0[shift]);
            let (mean, variance) = (&mut *batch_mean, &mut *batch_variance);
            let epsilon = epsilon(&node.op);
            with_element!(is_narrow, E => {
                let (input, output) = (numbers::<E>(input, shape.len()), E::of_words_mut(output, shape.len()));
                kernels::batch_norm_train(&shape, input, scale, shift, epsilon, activation, output, mean, variance);
            });
        }
        if batch == 0 {
            return; // which tells nothing
        }
        let [batch_mean, batch_variance] = &self.saved[norm].statistics;
        let parameters = &mut self.parameters.0;
        kernels::average(&mut parameters[mean], batch_mean, 1.0 - NORM_MOMENTUM);
        // torch keeps the unbiased variance.
        let unbiased = shape.rows as f32 / (shape.rows.max(2) - 1) as f32;
        let newest = batch_variance.iter().map(|v| v * unbiased);
        parameters[variance]
            .iter_mut()
            .zip(newest)
            .for_each(|(running, newest)| *running += NORM_MOMENTUM * (newest - *running));
    }

    /// What is added to a norm's result.
    fn residual(&self, norm: usize) -> Option<&Option<Vec<f32>>> {
        Some(&self.values[self.plan.origin[self.plan.residuals[norm]?]])
    }

    /// Batch norm by the statistics of the batch, which are known, its residual and its activation.
    pub(super) fn apply_norm(&self, norm: usize, activation: Activation, batch: usize, output: &mut [f32]) {
        let node = &self.graph.nodes[norm];
        let shape = self.norm_shape(norm, batch);
        let input = &self.values[self.plan.origin[node.inputs[0]]];
        let [mean, variance] = &self.saved[norm].statistics;
        let [scale, shift] = [0, 1].map(|position| &self.parameters.0[node.parameters[position]]);
        let epsilon = epsilon(&node.op);
        with_element!(self.is_narrow(norm), E => {
            let (input, output) = (numbers::<E>(input, shape.len()), E::of_words_mut(output, shape.len()));
            let residual = self.residual(norm).map(|residual| numbers(residual, shape.len()));
            kernels::batch_norm_apply(
                &shape, input, mean, variance, scale, shift, epsilon, residual, activation, output,
            );
        });
    }

    /// What normalises the images, from the means and deviations of now.
    fn prepare_factors(&mut self) {
        let is_normalize = |node: &&Node| matches!(node.op, Op::Normalize { .. });
        let Some(node) = self.graph.nodes.iter().find(is_normalize) else { return };
        let [means, deviations] = [0, 1].map(|position| &self.parameters.0[node.parameters[position]]);
        let given = means.len();
        // A linear layer wants those of every place, the convolutions' pass over the pixels repeats them itself.
        let length = if self.plan.reads_bytes.contains(&true) { node.shape.len() } else { given };
        let [multipliers, offsets] = &mut self.factors;
        let mut changed = multipliers.len() != length;
        for factors in [&mut *multipliers, &mut *offsets] {
            factors.resize(length, 0.0);
        }
        for (place, (mean, deviation)) in means.iter().zip(deviations).enumerate() {
            let multiplier = 1.0 / deviation;
            let factors = [multiplier, -mean * multiplier];
            changed |= [multipliers[place], offsets[place]] != factors;
            [multipliers[place], offsets[place]] = factors;
        }
        if !changed {
            return;
        }
        for factors in &mut self.factors {
            let (first, rest) = factors.split_at_mut(given);
            rest.chunks_exact_mut(given).for_each(|part| part.copy_from_slice(first));
        }
    }

    pub(super) fn conv_shape(&self, index: usize, batch: usize) -> ConvShape {
        let node = &self.graph.nodes[index];
        let (height, width) = self.input_size(index);
        let (kernel, stride, padding, dilation, groups) = match node.op {
            Op::Conv2d { kernel, stride, padding, dilation, groups, .. } => (kernel, stride, padding, dilation, groups),
            _ => (1, 1, [[0; 2]; 2], 1, 1),
        };
        let [[top, bottom], [left, right]] = padding;
        let padding = Padding { top, bottom, left, right };
        let in_channels = self.graph.nodes[node.inputs[0]].shape.channels();
        let out_channels = node.shape.channels();
        let shape = ConvShape::new([batch, height, width, in_channels], out_channels, [kernel; 2], stride, padding);
        checked(shape.and_then(|shape| shape.with_dilation(dilation)?.with_groups(groups)))
    }

    pub(super) fn norm_shape(&self, index: usize, batch: usize) -> NormShape {
        let shape = self.graph.nodes[index].shape;
        checked(NormShape::new(batch * shape.pixels(), shape.channels()))
    }

    pub(super) fn pool_shape(&self, index: usize, batch: usize) -> PoolShape {
        let (height, width) = self.input_size(index);
        let (kernel, stride, padding) = match self.graph.nodes[index].op {
            Op::MaxPool { kernel, stride, padding } => (kernel, stride, padding),
            _ => (1, 1, 0),
        };
        let channels = self.graph.nodes[index].shape.channels();
        checked(PoolShape::new([batch, height, width, channels], kernel, stride, padding))
    }

    pub(super) fn linear_shape(&self, index: usize, batch: usize) -> LinearShape {
        let node = &self.graph.nodes[index];
        checked(LinearShape::new(batch, self.graph.nodes[node.inputs[0]].shape.len(), node.shape.len()))
    }

    fn input_size(&self, index: usize) -> (usize, usize) {
        match self.graph.nodes[self.graph.nodes[index].inputs[0]].shape {
            Shape::Map { height, width, .. } => (height, width),
            Shape::Vector(_) => (1, 1),
        }
    }
}

/// The images as a linear layer reads them that normalises them by these factors.
pub(super) fn pixels<'a>(images: &'a [u8], [multiplier, offset]: &'a [Vec<f32>; 2]) -> LinearInput<'a> {
    LinearInput::Bytes { bytes: images, multiplier, offset }
}
