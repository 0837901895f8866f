//! One update of every trained parameter.

use percept_kernels::{self as kernels, AdamW, Sgd};

use super::config::OptimizerKind;
use crate::{
    model::{
        Graph,
        graph::{Layout, ParameterSpec, Role},
    },
    ops::{LossConfig, Network, StepOutcome, Targets, Update, Updates},
};

/// Adam's memory of squared gradients: shorter than usual, for trainings of hundreds to thousands of steps.
const BETA2: f32 = 0.99;
/// AdamW's share of Muon's learning rate, for what Muon does not update.
const ADAMW_SHARE: f64 = 0.04;
/// Share of the learning rate that the first layer of a pretrained network gets; layers between follow a geometric
/// series. What early layers know is of use everywhere (Howard and Ruder 2018).
const FIRST_LAYER: f64 = 0.1;
/// Share of fine-tuning's steps over which layers join in, the last first.
const UNFREEZING: f64 = 0.3;
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
    /// Where a pretrained network is fine-tuned, the steps of that: earlier layers then learn later and less.
    pub fine_tuning: Option<u64>,
}

impl OptimizerConfig {
    /// An optimiser that remembers nothing yet.
    pub fn init(&self, graph: &Graph) -> Optimizer {
        let memory = graph.parameters.iter().map(|spec| {
            let len = if spec.role.is_trained() { spec.len() } else { 0 };
            let first = if self.kind == OptimizerKind::Sgd && self.momentum == 0.0 { 0 } else { len };
            let second = match self.kind {
                OptimizerKind::Sgd => 0,
                OptimizerKind::Muon if is_filter(spec) => 0,
                _ => len,
            };
            [vec![0.0; first], vec![0.0; second]]
        });
        Optimizer {
            rule: Rule { kind: self.kind, momentum: self.momentum as f32, weight_decay: self.weight_decay as f32 },
            clip: self.gradient_clip,
            fine_tuning: self.fine_tuning,
            memory: memory.collect(),
            update: Vec::new(),
        }
    }
}

/// The optimiser's settings and its memory of past gradients.
pub struct Optimizer {
    rule: Rule,
    clip: f64,
    fine_tuning: Option<u64>,
    /// The tensors it remembers with: `velocity`, or `first` and `second` moments, in the graph's order.
    pub memory: Vec<[Vec<f32>; 2]>,
    /// Room for Muon's update.
    update: Vec<f32>,
}

impl Optimizer {
    /// One whole step on a batch: gradients of the mean loss, and the network's parameters moved by them. `step` counts
    /// from 0.
    ///
    /// # Panics
    /// As [`Network::learn`].
    pub fn learn(
        &mut self,
        network: &mut Network,
        images: &[u8],
        targets: Targets,
        loss: &LossConfig,
        learning_rate: f64,
        step: u64,
    ) -> StepOutcome {
        let (rule, clip) = (self.rule, self.clip);
        // A gradient that may be clipped has to be known as a whole.
        let at_once = |spec: &ParameterSpec, clip: f64| {
            clip == 0.0 && (is_matrix(spec) || is_filter(spec) && rule.kind != OptimizerKind::Muon)
        };
        let shares = self.shares(step);
        let updates = Updates {
            memory: &mut self.memory,
            rule: &|index, spec, memory| {
                at_once(spec, clip).then(|| rule.update(spec, memory, shares(index) * learning_rate, step))
            },
        };
        let outcome = network.learn_and_update(images, targets, loss, updates);
        self.clip(network);
        self.step_where(network, learning_rate, step, |spec| !at_once(spec, clip));
        outcome
    }

    /// Moves the network's parameters by its gradients. `step` counts from 0.
    pub fn step(&mut self, network: &mut Network, learning_rate: f64, step: u64) {
        self.clip(network);
        self.step_where(network, learning_rate, step, |_| true);
    }

    fn step_where(
        &mut self,
        network: &mut Network,
        learning_rate: f64,
        step: u64,
        is_wanted: impl Fn(&ParameterSpec) -> bool,
    ) {
        let shares = self.shares(step);
        for (index, memory) in self.memory.iter_mut().enumerate() {
            let spec = &network.graph().parameters[index];
            if !spec.role.is_trained() || !is_wanted(spec) {
                continue;
            }
            let learning_rate = shares(index) * learning_rate;
            let (is_muon, outputs) = (self.rule.kind == OptimizerKind::Muon && is_filter(spec), spec.shape[0]);
            let update = (!is_muon).then(|| self.rule.update(spec, memory, learning_rate, step));
            let parameters = &mut network.parameters.0[index];
            let gradients = &network.gradients[index];
            match update {
                Some(update) => update.apply(parameters, gradients),
                None => {
                    let (rate, momentum) = (learning_rate as f32, self.rule.momentum);
                    network.precision.run(|| {
                        muon_step(rate, momentum, outputs, parameters, gradients, &mut memory[0], &mut self.update);
                    });
                }
            }
        }
    }

    /// The share of the learning rate that each parameter gets at a step.
    fn shares(&self, step: u64) -> impl Fn(usize) -> f64 + use<> {
        let (steps, last) = (self.fine_tuning, self.memory.len().max(2) - 1);
        move |index| {
            let Some(steps) = steps else { return 1.0 };
            let depth = index as f64 / last as f64;
            let progress = step as f64 / steps.max(1) as f64;
            if progress < UNFREEZING * (1.0 - depth) { 0.0 } else { FIRST_LAYER.powf(1.0 - depth) }
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

/// How one parameter follows its gradient, value by value; Muon has a rule of its own for filters.
#[derive(Clone, Copy)]
struct Rule {
    kind: OptimizerKind,
    momentum: f32,
    weight_decay: f32,
}

impl Rule {
    fn update<'a>(
        &self,
        spec: &ParameterSpec,
        [first, second]: &'a mut [Vec<f32>; 2],
        learning_rate: f64,
        step: u64,
    ) -> Update<'a> {
        let weight_decay = if spec.role == Role::Weight { self.weight_decay } else { 0.0 };
        let (share, beta1) = match self.kind {
            OptimizerKind::Sgd => {
                let (momentum, nesterov) = (self.momentum, self.momentum > 0.0);
                let settings = Sgd { learning_rate: learning_rate as f32, momentum, nesterov, weight_decay };
                return Update::Sgd { settings, velocity: first };
            }
            OptimizerKind::AdamW => (1.0, self.momentum),
            OptimizerKind::Muon => (ADAMW_SHARE, 0.9),
        };
        let learning_rate = (learning_rate * share) as f32;
        let settings = AdamW { learning_rate, beta1, beta2: BETA2, epsilon: 1e-8, weight_decay };
        Update::AdamW { settings, step: step + 1, first_moment: first, second_moment: second }
    }
}

/// Whether it is the weight of a linear layer.
fn is_matrix(spec: &ParameterSpec) -> bool {
    spec.role == Role::Weight && matches!(spec.layout, Layout::Matrix { .. })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        image::ImageShape,
        model::{self, ModelConfig, Parameters},
    };

    #[test]
    fn early_layers_of_a_pretrained_network_join_in_late_and_learn_less() {
        let input = ImageShape { height: 8, width: 8, channels: 3 };
        let config = ModelConfig { input, classes: 3, hidden: 7, per_pixel: false, conventions: None };
        let graph = model::build("cnn6", &config).unwrap();
        let steps = 100;
        let fine_tuning = |fine_tuning| OptimizerConfig {
            kind: OptimizerKind::AdamW,
            momentum: 0.9,
            weight_decay: 0.01,
            gradient_clip: 0.0,
            fine_tuning,
        };
        let last = graph.parameters.len() - 1;
        let optimizer = fine_tuning(Some(steps)).init(&graph);
        let at = |step| (0..=last).map(optimizer.shares(step)).collect::<Vec<f64>>();
        // The last layer learns from the first step on, the first one after three tenths of them.
        assert!(at(0)[..last].iter().all(|&share| share == 0.0) && at(0)[last] == 1.0);
        assert!(at(15).iter().filter(|&&share| share > 0.0).count() > last / 3 && at(15)[0] == 0.0);
        assert_eq!((at(29)[0], at(30)[0]), (0.0, FIRST_LAYER));
        let joined = at(30);
        assert!(joined.is_sorted() && joined[0] == FIRST_LAYER && joined[last] == 1.0, "{joined:?}");
        assert_eq!(at(99), joined);
        let middle = joined[last / 2];
        assert!((middle - FIRST_LAYER.powf(1.0 - (last / 2) as f64 / last as f64)).abs() < 1e-12);
        // Nothing of that in a training from nothing.
        assert!((0..=last).map(fine_tuning(None).init(&graph).shares(0)).all(|share| share == 1.0));
        // And the parameters move by it.
        let mut parameters = Parameters::initialize(&graph, 3);
        parameters.get_mut(&graph, "normalize.deviation").unwrap().fill(60.0);
        let images: Vec<u8> = (0..4 * input.len()).map(|i| ((i * 7919 + i / 13 * 104_729) % 256) as u8).collect();
        let mut network = Network::new(graph.clone(), parameters.clone());
        let mut optimizer = fine_tuning(Some(steps)).init(&graph);
        let mut moved = |step| {
            let before = network.parameters.clone();
            let targets = Targets::Labels(&[0, 1, 2, 1]);
            optimizer.learn(&mut network, &images, targets, &LossConfig::default(), 0.01, step);
            let pairs = graph.parameters.iter().zip(before.0.iter().zip(&network.parameters.0));
            let trained = pairs.filter(|(spec, _)| spec.role.is_trained());
            trained.map(|(_, (before, after))| before != after).collect::<Vec<bool>>()
        };
        let first = moved(0);
        assert!(first[first.len() - 1] && first.iter().filter(|&&moved| moved).count() == 1, "{first:?}");
        assert!(moved(30).into_iter().all(|moved| moved));
    }

    #[test]
    fn a_step_that_uses_gradients_up_gives_the_bits_of_one_that_keeps_them() {
        let images: Vec<u8> = (0..6 * 8 * 8 * 3).map(|i| ((i * 7919 + i / 13 * 104_729) % 256) as u8).collect();
        let labels = [0, 2, 1, 1, 2, 0];
        let input = ImageShape { height: 8, width: 8, channels: 3 };
        let kinds = [(OptimizerKind::Sgd, 0.0), (OptimizerKind::Sgd, 0.9), (OptimizerKind::AdamW, 0.9)];
        for ((kind, momentum), (name, per_pixel)) in
            kinds.into_iter().flat_map(|kind| [("softmax", true), ("mlp", false), ("cnn6", false)].map(|m| (kind, m)))
        {
            let graph =
                model::build(name, &ModelConfig { input, classes: 3, hidden: 70, per_pixel, conventions: None })
                    .unwrap();
            let mut parameters = Parameters::initialize(&graph, 3);
            parameters.get_mut(&graph, "normalize.deviation").unwrap().fill(60.0);
            let config = OptimizerConfig { kind, momentum, weight_decay: 0.01, gradient_clip: 0.0, fine_tuning: None };
            let mut networks = [(); 2].map(|()| Network::new(graph.clone(), parameters.clone()));
            let mut optimizers = [(); 2].map(|()| config.init(&graph));
            for step in 0..3 {
                let targets = || Targets::Labels(&labels);
                let loss = LossConfig::default();
                let at_once = optimizers[0].learn(&mut networks[0], &images, targets(), &loss, 0.01, step);
                let kept = networks[1].learn(&images, targets(), &loss, false, 1.0);
                optimizers[1].step(&mut networks[1], 0.01, step);
                assert_eq!(at_once, kept, "{name} {kind}");
            }
            assert_eq!(networks[0].parameters.0, networks[1].parameters.0, "{name} {kind}");
            assert_ne!(networks[0].parameters.0, parameters.0, "{name} {kind}");
        }
    }
}
