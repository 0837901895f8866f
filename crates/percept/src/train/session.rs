//! The loop: batches in, updates, evaluations and checkpoints on the way.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use super::{
    checkpoint::{self, Checkpoint, Groups, Progress},
    config::{ClassWeights, TrainConfig},
    events::{Event, HistoryRow, Listener},
    finetune::StageOne,
    optimizer::{Optimizer, OptimizerConfig},
};
use crate::{
    Error, Result,
    data::{
        Dataset, LabelKind, Split,
        augment::Moment,
        batches::{Batch, Images, Sampler},
    },
    evaluate::{Evaluation, Truth, logits_of},
    model::Parameters,
    ops::{LossConfig, Network, StepOutcome, Targets},
};
use percept_kernels as kernels;

/// A mean loss that no training comes back from.
const HOPELESS_LOSS: f64 = 1e6;

/// A training under way.
pub(super) struct Session<'a> {
    pub config: TrainConfig,
    pub dataset: &'a Dataset,
    pub network: Network,
    pub progress: Progress,
    run: &'a Path,
    optimizer: Optimizer,
    sampler: Sampler,
    loss: LossConfig,
    /// The running average of the parameters, where one is kept.
    average: Option<Parameters>,
    /// The parameters that were best on validation.
    best: Option<Parameters>,
    batch: Batch,
    saved_at: Instant,
    /// Seconds of earlier sittings.
    earlier: f64,
    started: Instant,
}

/// How long steps take, for a training that has a deadline: looked at a few times on the way.
struct Pace {
    looks: std::slice::Iter<'static, f64>,
    next: Option<f64>,
    /// When the last look was, and at which step.
    since: (Instant, u64),
}

/// Shares of a training at which its pace is looked at.
const LOOKS: [f64; 3] = [0.1, 0.4, 0.8];
/// Fewer steps than this tell nothing of the pace.
const LEAST_STEPS: u64 = 10;
/// Share of the steps that would fit into what is left that is planned, so that a slower moment does not cut the end off.
const PLANNED_AGAIN: f64 = 0.98;

impl Pace {
    fn new(step: u64) -> Self {
        let mut looks = LOOKS.iter();
        let next = looks.next().copied();
        Self { looks, next, since: (Instant::now(), step) }
    }

    /// The steps in all that fit before the deadline at the pace since the last look, when it is time for the next.
    fn steps_until(&mut self, deadline: Instant, step: u64, progress: f64) -> Option<u64> {
        self.next.filter(|&look| progress >= look && step >= self.since.1 + LEAST_STEPS)?;
        self.next = self.looks.next().copied();
        let cost = self.since.0.elapsed().as_secs_f64() / (step - self.since.1) as f64;
        self.since = (Instant::now(), step);
        let left = deadline.saturating_duration_since(Instant::now()).as_secs_f64();
        Some(step + ((PLANNED_AGAIN * left / cost) as u64).max(1))
    }
}

/// How a loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Every step was done, or patience or time ran out.
    Done,
    /// The user asked it to stop.
    Interrupted,
}

impl<'a> Session<'a> {
    /// A training that begins now.
    ///
    /// # Errors
    /// No images to train on.
    pub fn new(config: TrainConfig, dataset: &'a Dataset, network: Network, run: &'a Path) -> Result<Self> {
        let progress = Progress {
            fingerprint: dataset.fingerprint.clone(),
            classes: dataset.classes.clone(),
            settings: config.to_toml(),
            ..Progress::default()
        };
        let sampler = Sampler::new(dataset.train.clone(), config.batch_size, config.sampling, false, config.seed)?;
        Ok(Self {
            optimizer: optimizer_config(&config).init(network.graph()),
            loss: loss_config(&config, dataset),
            average: (config.average > 0.0).then(|| network.parameters.clone()),
            best: None,
            batch: Batch::default(),
            saved_at: Instant::now(),
            earlier: 0.0,
            started: Instant::now(),
            sampler,
            config,
            dataset,
            network,
            progress,
            run,
        })
    }

    /// Takes up where a checkpoint left.
    ///
    /// # Errors
    /// Other data or settings, or a damaged checkpoint.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let found = &checkpoint.progress;
        if found.fingerprint != self.progress.fingerprint {
            return Err(Error::invalid(
                format!(
                    "the data of {} is not what the run began with: {}",
                    self.run.display(),
                    self.what_changed(&found.classes)
                ),
                "bring the images back as they were, or start a new run",
            ));
        }
        if found.settings != self.progress.settings {
            return Err(Error::invalid(
                format!("the settings in {} are not what the run began with", self.run.join("config.toml").display()),
                "restore config.toml, or start a new run with percept train --config",
            ));
        }
        let graph = self.network.graph().clone();
        checkpoint.restore("parameters", &graph, self.network.parameters.0.iter_mut())?;
        for (slot, name) in ["memory.0", "memory.1"].into_iter().enumerate() {
            checkpoint.restore(name, &graph, self.optimizer.memory.iter_mut().map(|pair| &mut pair[slot]))?;
        }
        if let Some(average) = &mut self.average {
            checkpoint.restore("average", &graph, average.0.iter_mut())?;
        }
        if checkpoint.has("best") {
            let mut best = self.network.parameters.clone();
            checkpoint.restore("best", &graph, best.0.iter_mut())?;
            self.best = Some(best);
        }
        self.progress = found.clone();
        if let Some(&[_, steps]) = found.plans.last() {
            self.config.plans.clone_from(&found.plans);
            self.config.steps = steps;
        }
        self.earlier = found.seconds;
        Ok(())
    }

    /// How the data differs from that of a run which had these classes.
    fn what_changed(&self, classes: &[String]) -> String {
        let (data, now) = (&self.config.data, &self.dataset.classes);
        let missing = classes.iter().find(|class| !now.contains(class));
        let added = now.iter().find(|class| !classes.contains(class));
        match (missing, added) {
            (Some(class), _) => format!("{data} has no class \"{class}\" any more"),
            (None, Some(class)) if !classes.is_empty() => format!("{data} has a new class \"{class}\""),
            _ => format!("images in {data} were added, taken out or changed"),
        }
    }

    /// Trains until the end.
    ///
    /// # Errors
    /// Divergence, or a checkpoint that cannot be written.
    pub fn run(&mut self, deadline: Option<Instant>, stop: &AtomicBool, listener: Listener) -> Result<End> {
        let steps = self.last_step();
        let per_epoch = self.steps_per_epoch();
        let batch_size = self.config.batch_size.min(self.dataset.train.len());
        listener(Event::Begin { step: self.progress.step, steps, steps_per_epoch: per_epoch, batch_size });
        let mut pace = Pace::new(self.progress.step);
        while self.progress.step < self.last_step() {
            if stop.load(Ordering::Relaxed) {
                self.save()?;
                return Ok(End::Interrupted);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.config.stop_step = Some(self.progress.step);
                break;
            }
            let step = self.progress.step;
            let outcome = self.step(step)?;
            let images = self.batch.labels.len();
            listener(Event::Step { step, loss: outcome.loss, top1: outcome.correct as f64 / images as f64 });
            self.progress.step += 1;
            if let Some(deadline) = deadline
                && let Some(steps) = pace.steps_until(deadline, self.progress.step, self.config.progress_at(step))
            {
                self.replan(steps);
                listener(Event::Replanned { steps });
            }
            if self.progress.step.is_multiple_of(per_epoch) || self.progress.step == self.last_step() {
                listener(Event::Evaluated(self.look()?));
                if self.config.patience > 0 && self.progress.stale >= self.config.patience {
                    listener(Event::Note(format!(
                        "validation did not improve in {} evaluations: stopping at step {}",
                        self.progress.stale, self.progress.step
                    )));
                    break;
                }
            }
            if self.saved_at.elapsed().as_secs_f64() >= self.config.checkpoint_every {
                self.save()?;
            }
        }
        if self.progress.seen > 0 {
            listener(Event::Evaluated(self.look()?));
        }
        Ok(End::Done)
    }

    fn last_step(&self) -> u64 {
        self.config.stop_step.unwrap_or(self.config.steps)
    }

    /// Goes on as if so many steps had been planned for what is left.
    fn replan(&mut self, steps: u64) {
        if self.config.plans.is_empty() {
            self.config.plans.push([0, self.config.steps]);
        }
        self.config.plans.push([self.progress.step, steps]);
        self.config.steps = steps;
        self.progress.plans.clone_from(&self.config.plans);
    }

    /// Opens the history with what stage 1 of fine-tuning found. Where images are held out, it is the first to be kept and the
    /// floor: what stage 2 has at a lower figure never takes its place.
    pub fn note_stage_one(&mut self, found: &StageOne) {
        let held = &found.held;
        let scores = held.evaluate(self.dataset.classes.len()).scores;
        let scores = Some(scores).filter(|_| !held.logits.is_empty());
        let several = scores.as_ref().and_then(|scores| scores.several);
        self.progress.history.push(HistoryRow {
            epoch: 0.0,
            step: 0,
            seconds: 0.0,
            train_loss: found.loss,
            train_top1: found.right,
            validation_loss: scores.as_ref().map(|scores| scores.loss),
            validation_top1: scores.as_ref().and_then(|scores| scores.top1),
            validation_top5: scores.as_ref().and_then(|scores| scores.top5),
            validation_map: several.map(|several| [several.mean_average_precision, several.error]),
            learning_rate: 0.0,
        });
        if !self.dataset.validation.is_empty() {
            self.progress.best = Some(0);
            self.best = Some(self.network.parameters.clone());
        }
    }

    /// Steps in which every image is seen about once.
    pub fn steps_per_epoch(&self) -> u64 {
        self.sampler.steps_per_epoch()
    }

    /// One update.
    ///
    /// # Errors
    /// Divergence, or labels or settings out of range.
    pub fn step(&mut self, step: u64) -> Result<StepOutcome> {
        let outcome = self.learn(step)?;
        if !outcome.loss.is_finite() || outcome.loss > HOPELESS_LOSS {
            return Err(self.diverged(step, outcome.loss));
        }
        if let Some(average) = &mut self.average {
            // Short at first, so that the beginning is forgotten.
            let decay = self.config.average.min((1.0 + step as f64) / (10.0 + step as f64));
            for (into, from) in average.0.iter_mut().zip(&self.network.parameters.0) {
                kernels::average(into, from, decay as f32);
            }
        }
        self.progress.loss_sum += outcome.loss * self.batch.labels.len() as f64;
        self.progress.correct += outcome.correct as u64;
        self.progress.seen += self.batch.labels.len() as u64;
        Ok(outcome)
    }

    /// Fills the batch of a step.
    ///
    /// # Errors
    /// Labels or settings out of range.
    pub fn fill(&mut self, step: u64) -> Result<(&Dataset, &Batch)> {
        let images = Images::of(self.dataset);
        let moment = Moment { seed: self.config.seed, epoch: self.sampler.epoch_of(step), step };
        self.batch.fill(&images, self.sampler.batch(step), &self.config.augmentation, moment)?;
        Ok((self.dataset, &self.batch))
    }

    /// Gradients of the batch of a step, and the parameters moved by them.
    ///
    /// # Errors
    /// Labels or settings out of range.
    fn learn(&mut self, step: u64) -> Result<StepOutcome> {
        self.fill(step)?;
        let (network, optimizer, loss) = (&mut self.network, &mut self.optimizer, &self.loss);
        let rate = self.config.learning_rate_at(step);
        let (size, classes) = (self.dataset.shape.len(), self.dataset.classes.len());
        let count = self.batch.labels.len();
        let part = count.div_ceil(self.config.accumulate);
        let targets = |first: usize, last: usize| match &self.batch.targets {
            Some(all) => Targets::Probabilities(&all[first * classes..last * classes]),
            None => Targets::Labels(&self.batch.labels[first..last]),
        };
        if part == count {
            return Ok(optimizer.learn(network, &self.batch.pixels, targets(0, count), loss, rate, step));
        }
        let mut total = StepOutcome { loss: 0.0, correct: 0 };
        for first in (0..count).step_by(part) {
            let last = (first + part).min(count);
            let share = (last - first) as f32 / count as f32;
            let pixels = &self.batch.pixels[first * size..last * size];
            let outcome = network.learn(pixels, targets(first, last), loss, first > 0, share);
            total.loss += outcome.loss * f64::from(share);
            total.correct += outcome.correct;
        }
        optimizer.step(network, rate, step);
        Ok(total)
    }

    fn diverged(&self, step: u64, loss: f64) -> Error {
        let rate = self.config.learning_rate;
        let kept = match checkpoint::path(self.run).exists() {
            true => format!("; the last good checkpoint is in {}", self.run.join("checkpoint").display()),
            false => String::new(),
        };
        Error::Diverged {
            step,
            cause: format!("the loss became {loss:.4}; the learning rate {rate} is the likely cause"),
            hint: format!("try --learning-rate {} or --gradient-clip 1{kept}", rate / 10.0),
        }
    }

    /// Evaluates on validation, remembers what is best, and closes a row of the history.
    fn look(&mut self) -> Result<HistoryRow> {
        let validation = match self.dataset.validation.is_empty() {
            true => None,
            false => Some(self.evaluate(&self.dataset.validation)),
        };
        if let Some(Evaluation { scores, .. }) = &validation {
            let figures = |row: &HistoryRow| Some([row.validation_headline()?, row.validation_loss?]);
            let best = self.progress.best.and_then(|best| self.progress.history.get(best));
            let noise = best.map_or(0.0, |row| row.noise(scores.images));
            // What stage 1 found is the row before the first step.
            let floor =
                self.progress.history.first().filter(|row| row.step == 0).and_then(HistoryRow::validation_headline);
            let found = [scores.headline(), scores.loss];
            if best.and_then(figures).is_none_or(|best| is_better(found, best, noise, floor)) {
                self.progress.best = Some(self.progress.history.len());
                self.progress.stale = 0;
                self.best = Some(self.average.as_ref().unwrap_or(&self.network.parameters).clone());
            } else {
                self.progress.stale += 1;
            }
        }
        self.progress.seconds = self.earlier + self.started.elapsed().as_secs_f64();
        let seen = self.progress.seen.max(1) as f64;
        let step = self.progress.step;
        let scores = validation.as_ref().map(|evaluation| &evaluation.scores);
        let row = HistoryRow {
            epoch: (step * self.config.batch_size as u64) as f64 / self.dataset.train.len() as f64,
            step,
            seconds: self.progress.seconds,
            train_loss: self.progress.loss_sum / seen,
            train_top1: self.progress.correct as f64 / seen,
            validation_loss: scores.map(|s| s.loss),
            validation_top1: scores.and_then(|s| s.top1),
            validation_top5: scores.and_then(|s| s.top5),
            validation_map: scores.and_then(|s| s.several).map(|s| [s.mean_average_precision, s.error]),
            learning_rate: self.config.learning_rate_at(step.max(1) - 1),
        };
        self.progress.history.push(row);
        (self.progress.loss_sum, self.progress.correct, self.progress.seen) = (0.0, 0, 0);
        Ok(row)
    }

    /// Measures the parameters that would be kept now.
    fn evaluate(&mut self, images: &[u32]) -> Evaluation {
        self.swap_average();
        let logits = logits_of(&mut self.network.predictor(), self.dataset, images);
        let (truth, classes) = (Truth::of(self.dataset, images), self.dataset.classes.len());
        let evaluation = match self.config.stage {
            2 => Evaluation::at_best_temperature(&logits, &truth, classes),
            _ => Evaluation::of(&logits, &truth, classes, 1.0, &[]),
        };
        self.swap_average();
        evaluation
    }

    fn swap_average(&mut self) {
        if let Some(average) = &mut self.average {
            std::mem::swap(average, &mut self.network.parameters);
        }
    }

    /// Puts the parameters to keep into the network: the best on validation, else the last.
    pub fn keep_best(&mut self) {
        let average = self.average.take();
        if let Some(best) = self.best.take().or(average) {
            self.network.parameters = best;
        }
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// A folder that cannot be written, or a full disk.
    pub fn save(&mut self) -> Result<()> {
        self.progress.seconds = self.earlier + self.started.elapsed().as_secs_f64();
        let mut groups: Groups = vec![("parameters", slices(&self.network.parameters))];
        for (slot, name) in ["memory.0", "memory.1"].into_iter().enumerate() {
            groups.push((name, self.optimizer.memory.iter().map(|pair| pair[slot].as_slice()).collect()));
        }
        if let Some(average) = &self.average {
            groups.push(("average", slices(average)));
        }
        if let Some(best) = &self.best {
            groups.push(("best", slices(best)));
        }
        checkpoint::save(self.run, &self.progress, self.network.graph(), &groups)?;
        self.saved_at = Instant::now();
        Ok(())
    }
}

/// Whether accuracy, or mean average precision, and loss on validation are better. The first decides where it differs by more
/// than its standard error, `noise`; below that it is luck, and the loss, which is less noisy, decides. Many small steps down
/// would still lead far: nothing below the `floor`, where there is one, is better than anything.
fn is_better([figure, loss]: [f64; 2], [best, best_loss]: [f64; 2], noise: f64, floor: Option<f64>) -> bool {
    let decides = (figure - best).abs() > noise;
    floor.is_none_or(|floor| figure >= floor) && if decides { figure > best } else { loss < best_loss }
}

impl HistoryRow {
    /// The standard error of its figure on so many validation images: of a share p it is `sqrt(p (1 - p) / n)`.
    fn noise(&self, images: usize) -> f64 {
        match (self.validation_map, self.validation_top1) {
            (Some([_, error]), _) => error,
            (None, share) => share.map_or(0.0, |p| (p * (1.0 - p) / images.max(1) as f64).sqrt()),
        }
    }
}

fn slices(numbers: &Parameters) -> Vec<&[f32]> {
    numbers.0.iter().map(Vec::as_slice).collect()
}

fn optimizer_config(config: &TrainConfig) -> OptimizerConfig {
    OptimizerConfig {
        kind: config.optimizer,
        momentum: config.momentum,
        weight_decay: config.weight_decay,
        gradient_clip: config.gradient_clip,
        fine_tuning: (config.stage == 2).then_some(config.steps_at_first()),
    }
}

/// A weight for each class, where they are to count equally. Where they are independent it is that of images that show it,
/// so that these count as much as those that do not. `counts` are images of each class, of `images` in all.
pub(super) fn class_weights(config: &TrainConfig, counts: &[usize], images: usize) -> Option<Vec<f32>> {
    (config.class_weights == ClassWeights::Balanced).then(|| {
        let total = images as f32;
        let weight = |count: f32| match config.labels {
            LabelKind::One => total / (counts.len() as f32 * count),
            LabelKind::Several => ((total - count) / count).max(1.0 / total),
        };
        counts.iter().map(|&count| weight(count.max(1) as f32)).collect()
    })
}

fn loss_config(config: &TrainConfig, dataset: &Dataset) -> LossConfig {
    let counts = dataset.class_counts(Split::Train);
    LossConfig {
        label_smoothing: config.label_smoothing as f32,
        class_weights: class_weights(config, &counts, dataset.train.len()),
        independent: config.labels == LabelKind::Several,
    }
}

#[cfg(test)]
mod tests {
    use super::{HistoryRow, is_better};

    #[test]
    fn accuracy_decides_beyond_its_noise_and_loss_below_it() {
        let row = |validation_top1, validation_map| HistoryRow {
            epoch: 1.0,
            step: 1,
            seconds: 1.0,
            train_loss: 1.0,
            train_top1: 0.5,
            validation_loss: Some(1.0),
            validation_top1,
            validation_top5: None,
            validation_map,
            learning_rate: 0.1,
        };
        // 1000 images at 0.9
        let noise = row(Some(0.9), None).noise(1000);
        assert!((noise - 0.0095).abs() < 1e-4);
        assert_eq!(row(None, Some([0.9, 0.02])).noise(1000), 0.02);
        let is_better = |found, best| is_better(found, best, noise, None);
        assert!(is_better([0.92, 0.5], [0.9, 0.3]));
        assert!(!is_better([0.88, 0.1], [0.9, 0.3]));
        assert!(is_better([0.895, 0.2], [0.9, 0.3]));
        assert!(!is_better([0.905, 0.4], [0.9, 0.3]));
        assert!(!is_better([0.9, 0.3], [0.9, 0.3]));
    }

    #[test]
    fn nothing_below_the_floor_is_kept() {
        let noise = 0.0095;
        // By the loss alone each would take the place of the one before.
        assert!(is_better([0.899, 0.2], [0.9, 0.3], noise, None));
        assert!(!is_better([0.899, 0.2], [0.9, 0.3], noise, Some(0.9)));
        assert!(is_better([0.9, 0.2], [0.905, 0.3], noise, Some(0.9)));
        assert!(is_better([0.92, 0.5], [0.9, 0.3], noise, Some(0.9)));
    }
}
