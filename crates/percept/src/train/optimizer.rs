//! One update of every trained parameter.

use percept_kernels::{self as kernels, AdamW, Sgd};

use super::config::OptimizerKind;
use crate::{
    model::{
        Graph,
        graph::{Layout, ParameterSpec, Role},
    },
    ops::Network,
};

/// Adam's memory of squared gradients: shorter than usual, for trainings of hundreds to thousands of steps.
const BETA2: f32 = 0.99;
/// AdamW's share of Muon's learning rate, for what Muon does not update.
const ADAMW_SHARE: f64 = 0.04;
/// Iterations of Muon's orthogonalisation.
const NEWTON_SCHULZ: usize = 4;

/// How parameters follow their gradients.
#[derive(Clone, Copy, Debug)]
pub struct OptimizerConfig {
    /// The rule.
    pub kind: OptimizerKind,
    /// Share of the old direction kept: momentum, or Adam's beta1. SGD's momentum is Nesterov's.
    pub momentum: f64,
    /// Pull of weights towards 0; biases and norms are left alone.
    pub weight_decay: f64,
    /// Longest gradient, over all parameters; 0 for any.
    pub gradient_clip: f64,
}

impl OptimizerConfig {
    /// An optimiser that remembers nothing yet.
    pub fn init(&self, graph: &Graph) -> Optimizer {
        let memory = graph.parameters.iter().map(|spec| {
            let len = if spec.role.is_trained() { spec.len() } else { 0 };
            let second = match self.kind {
                OptimizerKind::Sgd => 0,
                OptimizerKind::Muon if is_filter(spec) => 0,
                _ => len,
            };
            [vec![0.0; len], vec![0.0; second]]
        });
        Optimizer {
            kind: self.kind,
            momentum: self.momentum as f32,
            weight_decay: self.weight_decay as f32,
            clip: self.gradient_clip,
            memory: memory.collect(),
            update: Vec::new(),
        }
    }
}

/// The optimiser's settings and its memory of past gradients.
pub struct Optimizer {
    kind: OptimizerKind,
    momentum: f32,
    weight_decay: f32,
    clip: f64,
    /// The tensors it remembers with: `velocity`, or `first` and `second` moments, in the graph's order.
    pub memory: Vec<[Vec<f32>; 2]>,
    /// Room for Muon's update.
    update: Vec<f32>,
}

impl Optimizer {
    /// Updates the network's parameters by its gradients. `step` counts from 0.
    pub fn step(&mut self, network: &mut Network, learning_rate: f64, step: u64) {
        self.clip(network);
        for index in 0..self.memory.len() {
            let spec = &network.graph().parameters[index];
            if !spec.role.is_trained() {
                continue;
            }
            let decay = if spec.role == Role::Weight { self.weight_decay } else { 0.0 };
            let muon = self.kind == OptimizerKind::Muon && is_filter(spec);
            let outputs = spec.shape[0];
            let parameters = &mut network.parameters.0[index];
            let gradients = &network.gradients[index];
            let [first, second] = &mut self.memory[index];
            if muon {
                let rate = learning_rate as f32;
                muon_step(rate, self.momentum, outputs, parameters, gradients, first, &mut self.update);
            } else if self.kind == OptimizerKind::Sgd {
                let sgd = Sgd {
                    learning_rate: learning_rate as f32,
                    momentum: self.momentum,
                    nesterov: self.momentum > 0.0,
                    weight_decay: decay,
                };
                kernels::sgd_step(&sgd, parameters, gradients, first);
            } else {
                let (share, beta1) = match self.kind {
                    OptimizerKind::Muon => (ADAMW_SHARE, 0.9),
                    _ => (1.0, self.momentum),
                };
                let adamw = AdamW {
                    learning_rate: (learning_rate * share) as f32,
                    beta1,
                    beta2: BETA2,
                    epsilon: 1e-8,
                    weight_decay: decay,
                };
                kernels::adamw_step(&adamw, step + 1, parameters, gradients, first, second);
            }
        }
    }

    /// Shortens the gradient to the longest that is allowed.
    fn clip(&self, network: &mut Network) {
        if self.clip == 0.0 {
            return;
        }
        let length = network.gradients.iter().map(|g| kernels::square_sum(g)).sum::<f64>().sqrt();
        if length > self.clip {
            let factor = (self.clip / length) as f32;
            network.gradients.iter_mut().for_each(|g| kernels::scale(g, factor));
        }
    }
}

/// Whether Muon updates it: filters alone, whose length a norm makes free.
fn is_filter(spec: &ParameterSpec) -> bool {
    spec.role == Role::Weight && spec.layout == Layout::Filters
}

/// Muon with Nesterov momentum; weights are kept at the length of the square root of their outputs, as airbench does.
fn muon_step(
    learning_rate: f32,
    momentum: f32,
    outputs: usize,
    parameters: &mut [f32],
    gradients: &[f32],
    velocity: &mut [f32],
    update: &mut Vec<f32>,
) {
    update.clear();
    update.extend(velocity.iter_mut().zip(gradients).map(|(velocity, gradient)| {
        *velocity = momentum * *velocity + gradient;
        gradient + momentum * *velocity
    }));
    // In memory a weight is [inputs, outputs].
    kernels::newton_schulz(parameters.len() / outputs, outputs, update, NEWTON_SCHULZ);
    let length = kernels::square_sum(parameters).sqrt() as f32;
    let factor = (outputs as f32).sqrt() / length.max(1e-12);
    parameters.iter_mut().zip(update).for_each(|(p, u)| *p = *p * factor - learning_rate * *u);
}
