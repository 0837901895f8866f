//! Runs a [`Graph`] on the CPU: the one bridge between models and `percept-kernels`.
//!
//! A [`Network`] owns the parameters and every buffer. Buffers are taken from a pool and given back, so a training
//! in its steady state allocates nothing. Values are channels-last; only this room and `model::parameters` know.

mod attribution;
mod backward;
mod forward;
mod plan;
mod pool;
mod predictor;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use percept_kernels as kernels;

use crate::model::{Graph, Parameters, graph::ParameterSpec};
pub use attribution::{Attribution, Explainer};
use backward::Backward;
use kernels::{Bf16, Element, PreparedConv};
pub use kernels::{Precision, Targets, Update};
use plan::Plan;
use pool::Pool;
pub use predictor::{Answers, Predictor};

/// Share of the newest batch in the running statistics, as torch's default.
const NORM_MOMENTUM: f32 = 0.1;

/// A network with its numbers, ready to learn.
pub struct Network {
    graph: Graph,
    plan: Plan,
    /// The numbers, in memory order.
    pub parameters: Parameters,
    /// Gradients of the trained parameters; empty for the others.
    pub gradients: Vec<Vec<f32>>,
    /// What the operands of products are rounded to while it learns; it predicts in f32.
    pub precision: Precision,
    /// Whether feature maps and their gradients are kept in bf16 while it learns, where not the precision decides.
    storage: Option<bool>,
    /// Whether they are now.
    stores_bf16: bool,
    /// What each node gave, while someone still needs it: f32, or where [`Network::is_narrow`] says so the words of bf16.
    values: Vec<Option<Vec<f32>>>,
    saved: Vec<Saved>,
    /// Multipliers and offsets that normalise the images: by channel or by pixel as the model has them, and by every place
    /// of an image where a linear layer normalises it.
    factors: [Vec<f32>; 2],
    /// Room for the gradients of the nodes' values, between backward passes.
    value_gradients: Vec<Option<Vec<f32>>>,
    /// Prediction only: convolutions, with their norms folded in, and linear layers, ready to run. Copies share them.
    prepared: Vec<Option<Arc<PreparedConv>>>,
    pool: Pool,
}

/// What a node's backward pass needs beside its inputs and outputs.
#[derive(Default)]
struct Saved {
    /// Mean and biased variance of the batch, by channel.
    statistics: [Vec<f32>; 2],
    argmax: Vec<u8>,
    argmax_global: Vec<u32>,
}

/// What the loss is made of, beside logits and labels.
#[derive(Clone, Debug, Default)]
pub struct LossConfig {
    /// Share of the target spread over all classes.
    pub label_smoothing: f32,
    /// A weight for each class; where they are independent, for images that show it alone.
    pub class_weights: Option<Vec<f32>>,
    /// Whether classes are independent of each other: targets are then shares of each, from 0 to 1, and the gradient is
    /// that of the sum of the classes' binary cross-entropies, so that it does not shrink as classes become more.
    pub independent: bool,
}

/// The steps that weights of linear layers and convolutions take while their gradients are at hand.
pub struct Updates<'a> {
    /// What the optimiser remembers of each parameter, in the graph's order.
    pub memory: &'a mut [[Vec<f32>; 2]],
    /// The step of the parameter at a place, with its memory; none where it keeps its gradient.
    pub rule: &'a UpdateRule<'a>,
}

/// Of a parameter's place, description and memory.
pub type UpdateRule<'a> = dyn for<'m> Fn(usize, &ParameterSpec, &'m mut [Vec<f32>; 2]) -> Option<Update<'m>> + 'a;

/// What one forward and backward pass found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepOutcome {
    /// Mean loss of the batch; the mean over classes, too, where they are independent.
    pub loss: f64,
    /// Images whose largest logit is the (heaviest) target; where classes are independent, those of which every logit is on
    /// its target's side.
    pub correct: usize,
}

impl Network {
    /// A network of `graph` with these numbers.
    pub fn new(graph: Graph, parameters: Parameters) -> Self {
        let plan = Plan::training(&graph);
        let gradients = graph.parameters.iter().map(|spec| match spec.role.is_trained() {
            true => vec![0.0; spec.len()],
            false => Vec::new(),
        });
        Self { gradients: gradients.collect(), ..Self::with_plan(graph, parameters, plan) }
    }

    fn with_plan(graph: Graph, parameters: Parameters, plan: Plan) -> Self {
        Self {
            gradients: Vec::new(),
            precision: Precision::F32,
            storage: None,
            stores_bf16: false,
            values: graph.nodes.iter().map(|_| None).collect(),
            saved: graph.nodes.iter().map(|_| Saved::default()).collect(),
            factors: Default::default(),
            value_gradients: Vec::new(),
            prepared: graph.nodes.iter().map(|_| None).collect(),
            pool: Pool::default(),
            plan,
            graph,
            parameters,
        }
    }

    /// What predicts with the numbers that this network has now.
    pub fn predictor(&self) -> Predictor {
        Predictor::new(self.graph.clone(), self.parameters.clone())
    }

    /// Its description.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// One forward and backward pass: fills [`Network::gradients`] with the gradient of the mean loss, times `share`,
    /// added to what was there if `accumulate`.
    ///
    /// # Panics
    /// If `images` and `targets` do not hold whole images of the same number, or if classes are independent and targets are
    /// labels.
    pub fn learn(
        &mut self,
        images: &[u8],
        targets: Targets,
        loss: &LossConfig,
        accumulate: bool,
        share: f32,
    ) -> StepOutcome {
        self.precision.run(|| self.pass(images, targets, loss, (accumulate, share), None))
    }

    /// [`Network::learn`] on a whole batch, and steps of those weights of linear layers and convolutions for which there is
    /// a rule: their gradients are used up on the way, and [`Network::gradients`] does not get them. Of no other parameter is
    /// the rule asked.
    ///
    /// # Panics
    /// As [`Network::learn`]; if there is not a memory for each parameter.
    pub fn learn_and_update(
        &mut self,
        images: &[u8],
        targets: Targets,
        loss: &LossConfig,
        updates: Updates<'_>,
    ) -> StepOutcome {
        assert_eq!(updates.memory.len(), self.parameters.0.len(), "memories and parameters");
        self.precision.run(|| self.pass(images, targets, loss, (false, 1.0), Some(updates)))
    }

    fn pass(
        &mut self,
        images: &[u8],
        targets: Targets,
        loss: &LossConfig,
        (accumulate, share): (bool, f32),
        updates: Option<Updates<'_>>,
    ) -> StepOutcome {
        let batch = self.count(images);
        let classes = self.graph.classes();
        self.stores_bf16 = self.storage.unwrap_or(self.precision.stores_maps());
        self.forward(images, batch, true);
        let logits = self.take_logits();
        let mut gradient = self.pool.take(batch * classes);
        let mut losses = self.pool.take(batch);
        let (smoothing, weights) = (loss.label_smoothing, loss.class_weights.as_deref());
        let (mean, correct) = match targets {
            Targets::Probabilities(targets) if loss.independent => {
                let sum = kernels::sigmoid_cross_entropy(
                    batch,
                    classes,
                    &logits,
                    targets,
                    smoothing,
                    weights,
                    &mut losses,
                    &mut gradient,
                );
                (sum / classes as f64, count_matching(&logits, targets, classes))
            }
            _ => {
                assert!(!loss.independent, "independent classes have a target each");
                let correct = count_correct(&logits, &targets, classes);
                let mean = kernels::softmax_cross_entropy(
                    batch,
                    classes,
                    &logits,
                    targets,
                    smoothing,
                    weights,
                    &mut losses,
                    &mut gradient,
                );
                (mean, correct)
            }
        };
        if share != 1.0 {
            kernels::scale(&mut gradient, share);
        }
        self.pool.give(losses);
        self.pool.give(logits);
        let pass = Backward { accumulate, updates, ..self.start_backward(images, batch) };
        self.backward(gradient, pass);
        StepOutcome { loss: mean, correct }
    }

    fn count(&self, images: &[u8]) -> usize {
        let size = self.graph.input.len();
        assert!(images.len().is_multiple_of(size), "{} bytes are not whole images of {size}", images.len());
        images.len() / size
    }

    /// Whether a node's value and its gradient are kept in bf16.
    fn is_narrow(&self, index: usize) -> bool {
        self.stores_bf16 && self.plan.narrow[index]
    }

    /// Numbers of a node's value.
    fn length(&self, index: usize, batch: usize) -> usize {
        batch * self.graph.nodes[index].shape.len()
    }

    /// The length of the buffer that has room for them.
    fn words(&self, index: usize, batch: usize) -> usize {
        let length = self.length(index, batch);
        if self.is_narrow(index) { Bf16::words(length) } else { length }
    }

    fn take_logits(&mut self) -> Vec<f32> {
        self.values.last_mut().and_then(Option::take).unwrap_or_default()
    }
}

/// Compiles `work` for both kinds of numbers that a feature map is kept in, and runs that for bf16 where `narrow`.
macro_rules! with_element {
    ($narrow:expr, $element:ident => $work:expr) => {
        if $narrow {
            type $element = percept_kernels::Bf16;
            $work
        } else {
            type $element = f32;
            $work
        }
    };
}
use with_element;

/// The numbers of a value, none where it is not there.
fn numbers<E: Element>(value: &Option<Vec<f32>>, length: usize) -> &[E] {
    value.as_ref().map_or(&[], |words| E::of_words(words, length))
}

/// A shape that the graph has checked already.
///
/// # Panics
/// If the graph let a wrong one through, which is a bug of the graph.
fn checked<T>(shape: Result<T, kernels::ShapeError>) -> T {
    shape.unwrap_or_else(|error| panic!("the graph let a wrong shape through: {error}"))
}

fn count_correct(logits: &[f32], targets: &Targets, classes: usize) -> usize {
    let matches = |(index, row): (usize, &[f32])| {
        let target = match targets {
            Targets::Labels(labels) => labels[index] as usize,
            Targets::Probabilities(all) => largest(&all[index * classes..][..classes]),
        };
        largest(row) == target
    };
    logits.chunks_exact(classes).enumerate().filter(|&pair| matches(pair)).count()
}

/// Images of which every class that is there, and no other, has a logit above 0.
fn count_matching(logits: &[f32], targets: &[f32], classes: usize) -> usize {
    let rows = logits.chunks_exact(classes).zip(targets.chunks_exact(classes));
    let matches = |(logits, targets): &(&[f32], &[f32])| {
        logits.iter().zip(*targets).all(|(&logit, &target)| (logit > 0.0) == (target > 0.5))
    };
    rows.filter(matches).count()
}

/// Probabilities of logits `[images, classes]` divided by a temperature, in their place: those of a row sum to 1 if its
/// classes exclude each other; otherwise each class has one of its own.
pub fn probabilities(logits: &mut [f32], classes: usize, temperature: f32, exclusive: bool) {
    kernels::scale(logits, 1.0 / temperature);
    match exclusive {
        true => kernels::softmax(logits.len() / classes, classes, logits),
        false => kernels::sigmoid(logits),
    }
}

/// Index of the largest value, the first of equals.
pub fn largest(values: &[f32]) -> usize {
    values.iter().enumerate().fold(0, |best, (index, value)| if *value > values[best] { index } else { best })
}
