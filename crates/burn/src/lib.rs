//! Interprets a model's [`Graph`] with Burn's tensors, on any device that Burn has.
//!
//! It computes what `percept::ops` computes, one tensor operation a node, without a thought for speed: on the CPU it is the
//! reference that the kernels' bridge is held against. It changes no parameters and knows no optimiser.

mod loss;
mod values;

use burn_tensor::{
    Device, Tensor, TensorData, activation,
    module::{batch_norm, batch_norm_train, conv2d, linear, max_pool2d},
    ops::{ConvOptions, MaxPoolOptions},
};
use percept::{
    model::{
        Graph, Parameters,
        graph::{Node, Op},
        parameters::{to_file, to_memory},
    },
    ops::{LossConfig, Targets},
};
use values::Value;

/// Share of the newest batch in the running statistics, as torch's default.
const NORM_MOMENTUM: f32 = 0.1;

/// A network on a device.
pub struct Network {
    graph: Graph,
    device: Device,
    /// In file order, each as one row.
    parameters: Vec<Tensor<1>>,
}

/// What one forward and backward pass gave. Numbers are in the memory order of `percept::ops`.
pub struct Lesson {
    /// Mean loss of the batch.
    pub loss: f32,
    /// `[images, classes]`.
    pub logits: Vec<f32>,
    /// By parameter; empty for those that are not trained.
    pub gradients: Vec<Vec<f32>>,
}

impl Network {
    /// A network of `graph` with these numbers, which are in memory order.
    pub fn new(graph: Graph, parameters: &Parameters, device: &Device) -> Self {
        let place = |(spec, memory): (_, &Vec<f32>)| Tensor::from_data(to_file(spec, memory).as_slice(), device);
        let parameters = graph.parameters.iter().zip(&parameters.0).map(place).collect();
        Self { graph, device: device.clone(), parameters }
    }

    /// Logits `[images, classes]` of u8 images `[images, height, width, channels]`, by the running statistics.
    pub fn infer(&self, images: &[u8]) -> Vec<f32> {
        let logits = self.run(images, |position| self.parameters[position].clone(), None);
        numbers(logits)
    }

    /// Logits by the batch's statistics, loss and gradients. The running statistics move.
    ///
    /// # Panics
    /// If `images` and `targets` do not hold whole images of the same number.
    pub fn learn(&mut self, images: &[u8], targets: Targets, config: &LossConfig) -> Lesson {
        let tracked = |(spec, tensor): (&percept::model::graph::ParameterSpec, &Tensor<1>)| match spec.role.is_trained()
        {
            true => tensor.clone().autodiff().require_grad(),
            false => tensor.clone(),
        };
        let leaves: Vec<Tensor<1>> = self.graph.parameters.iter().zip(&self.parameters).map(tracked).collect();
        let mut statistics = Vec::new();
        let logits = self.run(images, |position| leaves[position].clone(), Some(&mut statistics));
        let loss = loss::loss(logits.clone(), targets, config, &self.device);
        let gradients = loss.backward();
        for (position, newest) in statistics {
            let running = self.parameters[position].clone();
            self.parameters[position] = running * (1.0 - NORM_MOMENTUM) + newest.inner() * NORM_MOMENTUM;
        }
        let gradient = |(spec, leaf): (_, &Tensor<1>)| {
            leaf.grad(&gradients).map_or_else(Vec::new, |gradient| to_memory(spec, &numbers(gradient)))
        };
        Lesson {
            loss: numbers(loss.inner())[0] / if config.independent { self.graph.classes() as f32 } else { 1.0 },
            logits: numbers(logits.inner()),
            gradients: self.graph.parameters.iter().zip(&leaves).map(gradient).collect(),
        }
    }

    /// The numbers that it has now, in memory order.
    pub fn parameters(&self) -> Parameters {
        let read = |(spec, tensor): (_, &Tensor<1>)| to_memory(spec, &numbers(tensor.clone()));
        Parameters(self.graph.parameters.iter().zip(&self.parameters).map(read).collect())
    }

    /// Runs every node. While learning, norms use the batch's statistics and leave the new ones in `learning`, with the
    /// parameters that they belong to.
    fn run(
        &self,
        images: &[u8],
        parameter: impl Fn(usize) -> Tensor<1>,
        mut learning: Option<&mut Vec<(usize, Tensor<1>)>>,
    ) -> Tensor<2> {
        let mut values: Vec<Value> = Vec::new();
        for node in &self.graph.nodes {
            let value = match node.inputs.first() {
                None => Value::Map(self.images(images)),
                Some(&input) => {
                    let own = |position: usize| parameter(node.parameters[position]);
                    let other = node.inputs.get(1).map(|&input| values[input].clone());
                    let shape = |position: usize| &self.graph.parameters[node.parameters[position]].shape[..];
                    apply(node, values[input].clone(), other, own, shape, learning.as_deref_mut())
                }
            };
            values.push(value);
        }
        values.pop().unwrap_or_else(|| unreachable!("a graph has an input")).vectors()
    }

    /// u8 images, channels last, as numbers, channels first.
    fn images(&self, images: &[u8]) -> Tensor<4> {
        let input = self.graph.input;
        let numbers: Vec<f32> = images.iter().map(|&byte| f32::from(byte)).collect();
        let shape = [images.len() / input.len(), input.height, input.width, input.channels];
        Tensor::from_data(TensorData::new(numbers, shape), &self.device).permute([0, 3, 1, 2])
    }
}

/// Computes one node from its inputs; `own` gives its parameters, `shape` their shapes.
fn apply<'a>(
    node: &Node,
    input: Value,
    other: Option<Value>,
    own: impl Fn(usize) -> Tensor<1>,
    shape: impl Fn(usize) -> &'a [usize],
    learning: Option<&mut Vec<(usize, Tensor<1>)>>,
) -> Value {
    let factors = |position: usize| own(position).reshape([1, shape(position)[0], 1, 1]);
    match node.op {
        Op::Input => input,
        Op::Normalize { .. } => {
            let shape = match *shape(0) {
                [channels, height, width] => [1, channels, height, width],
                _ => [1, shape(0)[0], 1, 1],
            };
            let [mean, deviation] = [0, 1].map(|position| own(position).reshape(shape));
            input.each_map(|map| (map - mean) / deviation)
        }
        Op::Conv2d { kernel, stride, padding, dilation, groups, bias } => {
            let weights = own(0).reshape([shape(0)[0], shape(0)[1], kernel, kernel]);
            let padding = padding.map(|[before, behind]| (before, behind));
            let options = ConvOptions::new_with_padding([stride; 2], padding, [dilation; 2], groups);
            input.each_map(|map| conv2d(map, weights, bias.then(|| own(1)), options))
        }
        Op::BatchNorm { epsilon } => input.each_map(|map| normalize(node, epsilon, map, own, learning)),
        Op::LayerNorm { epsilon } => input.each_map(|map| {
            let centred = map.clone() - map.mean_dim(1);
            let variance = centred.clone().square().mean_dim(1);
            centred / (variance + epsilon).sqrt() * factors(0) + factors(1)
        }),
        Op::LayerScale => input.each_map(|map| map * factors(0)),
        Op::Relu => input.each_map(activation::relu),
        Op::Relu6 => input.each_map(activation::relu6),
        Op::HardSwish => input.each_map(activation::hard_swish),
        Op::HardSigmoid => input.each_map(|map| activation::hard_sigmoid(map, 1.0 / 6.0, 0.5)),
        Op::Silu => input.each_map(activation::silu),
        Op::Gelu => input.each_map(activation::gelu),
        Op::Add | Op::Gate => {
            let other = other.unwrap_or_else(|| unreachable!("the graph gives two values here")).maps();
            input.each_map(|map| if node.op == Op::Add { map + other } else { map * other })
        }
        Op::MaxPool { kernel, stride, padding } => {
            let options = MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding([padding; 2]);
            input.each_map(|map| max_pool2d(map, options))
        }
        Op::GlobalAveragePool => Value::Vector(input.maps().mean_dim(3).mean_dim(2).flatten(1, 3)),
        Op::GlobalMaxPool => Value::Vector(input.maps().max_dim(3).max_dim(2).flatten(1, 3)),
        Op::Flatten => Value::Vector(input.maps().flatten(1, 3)),
        Op::Linear => {
            let weights = own(0).reshape([shape(0)[0], shape(0)[1]]).transpose();
            Value::Vector(linear(input.vectors(), weights, Some(own(1))))
        }
        Op::Scale(factor) => input.each_map(|map| map * factor),
    }
}

/// Batch norm, by the batch's statistics where something is learned.
fn normalize(
    node: &Node,
    epsilon: f32,
    input: Tensor<4>,
    own: impl Fn(usize) -> Tensor<1>,
    learning: Option<&mut Vec<(usize, Tensor<1>)>>,
) -> Tensor<4> {
    let Some(statistics) = learning else {
        return batch_norm(input, own(0), own(1), own(2), own(3), f64::from(epsilon));
    };
    let [images, _, height, width] = input.dims();
    let rows = images * height * width;
    let normalized = batch_norm_train(input, own(0), own(1), f64::from(epsilon));
    // torch keeps the unbiased variance.
    let unbiased = rows as f32 / (rows.max(2) - 1) as f32;
    statistics.push((node.parameters[2], normalized.mean));
    statistics.push((node.parameters[3], normalized.variance * unbiased));
    normalized.output
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data_as::<f32>().iter::<f32>().collect()
}
