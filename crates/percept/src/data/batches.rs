//! Batches: which images a step sees, gathered and augmented into one buffer of bytes. Knows no tensors, and carries
//! no random state: the batch of step k is a function of the seed and k alone.

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use super::augment::Moment;
use super::{
    Dataset, LabelSets,
    augment::Augmentation,
    random::{Draws, Purpose},
};
use crate::{Error, Result, image::ImageShape};

/// How training images are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// Every epoch shows every image once, in a new random order.
    #[default]
    EpochShuffle,
    /// Every image of every batch is drawn anew among all images, as textbooks describe it.
    WithReplacement,
}

/// Tells which images make up the batch of a step.
pub struct Sampler {
    images: Vec<u32>,
    batch_size: usize,
    sampling: Sampling,
    keep_last: bool,
    seed: u64,
    /// The images of `shuffled_epoch` in its order.
    shuffled: Vec<u32>,
    shuffled_epoch: Option<u64>,
    drawn: Vec<u32>,
}

impl Sampler {
    /// A sampler of these images (indices into a dataset, in an order that does not change). `keep_last` keeps the
    /// short batch that is left at the end of an epoch; training drops it, so that all steps have one size and one
    /// cost, and the images in it come up in other epochs. Where there are fewer images than `batch_size` the one
    /// batch of an epoch holds all of them in either case.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no image or the batch size is 0.
    pub fn new(images: Vec<u32>, batch_size: usize, sampling: Sampling, keep_last: bool, seed: u64) -> Result<Self> {
        if images.is_empty() {
            return Err(Error::invalid(
                "there is no image to train on",
                "check the training split with `percept data inspect`",
            ));
        }
        if batch_size == 0 {
            return Err(Error::invalid(
                "batch size 0 holds no image",
                "choose a batch size of 1 or more; 128 is usual",
            ));
        }
        let (shuffled, drawn) = (Vec::new(), Vec::new());
        Ok(Self { images, batch_size, sampling, keep_last, seed, shuffled, shuffled_epoch: None, drawn })
    }

    /// Steps that one epoch takes; with replacement, the steps that draw as many images as there are.
    pub fn steps_per_epoch(&self) -> u64 {
        let images = self.images.len();
        let steps = if self.keep_last { images.div_ceil(self.batch_size) } else { images / self.batch_size };
        steps.max(1) as u64
    }

    /// The epoch that a step belongs to, both counted from 0.
    pub fn epoch_of(&self, step: u64) -> u64 {
        step / self.steps_per_epoch()
    }

    /// The images of a step's batch. Steps may be asked for in any order; going through them in turn shuffles once
    /// an epoch.
    pub fn batch(&mut self, step: u64) -> &[u32] {
        match self.sampling {
            Sampling::EpochShuffle => {
                self.shuffle(self.epoch_of(step));
                let begin = (step % self.steps_per_epoch()) as usize * self.batch_size;
                &self.shuffled[begin..(begin + self.batch_size).min(self.shuffled.len())]
            }
            Sampling::WithReplacement => {
                let mut draws = Draws::new(self.seed, Purpose::Replacement, step, 0);
                let images = &self.images;
                self.drawn.clear();
                self.drawn.extend((0..self.batch_size).map(|_| images[draws.below(images.len() as u32) as usize]));
                &self.drawn
            }
        }
    }

    /// Brings the images into an epoch's order by Fisher and Yates's shuffle, always from their first order.
    fn shuffle(&mut self, epoch: u64) {
        if self.shuffled_epoch == Some(epoch) {
            return;
        }
        self.shuffled.clone_from(&self.images);
        let mut draws = Draws::new(self.seed, Purpose::Shuffle, epoch, 0);
        for last in (1..self.shuffled.len()).rev() {
            self.shuffled.swap(last, draws.below(last as u32 + 1) as usize);
        }
        self.shuffled_epoch = Some(epoch);
    }
}

/// The images of a split for evaluation: consecutive batches in their own order, the last one possibly short. Read
/// them with [`Batch::gather`].
pub fn evaluation_batches(images: &[u32], batch_size: usize) -> impl ExactSizeIterator<Item = &[u32]> {
    images.chunks(batch_size.max(1))
}

/// Decoded images and their labels, as a dataset lends them.
#[derive(Clone, Copy)]
pub struct Images<'a> {
    /// Size of every image; 1 or 3 channels.
    pub shape: ImageShape,
    /// `[images, height, width, channels]`.
    pub pixels: &'a [u8],
    /// Classes by image, each below `classes`; places in `sets`, where there are such.
    pub labels: &'a [u32],
    /// Where an image may show several classes, or none: their sets, by label.
    pub sets: Option<&'a LabelSets>,
    /// How many classes there are.
    pub classes: usize,
}

impl<'a> Images<'a> {
    /// All images of a dataset.
    pub fn of(dataset: &'a Dataset) -> Self {
        Self {
            shape: dataset.shape,
            pixels: dataset.pixels(),
            labels: &dataset.labels,
            sets: dataset.sets.as_ref(),
            classes: dataset.classes.len(),
        }
    }

    fn image(&self, index: u32) -> &[u8] {
        &self.pixels[index as usize * self.shape.len()..][..self.shape.len()]
    }

    /// Makes sure that a batch of these images can be read: after this nothing can fail.
    fn check(&self, indices: &[u32]) -> Result<()> {
        let refuse = |what| Err(Error::invalid(what, "this is a mistake in the program that calls: please report it"));
        let ImageShape { height, width, channels } = self.shape;
        if self.shape.is_empty() || !matches!(channels, 1 | 3) {
            return refuse(format!("images of {height}×{width} pixels and {channels} channels cannot be batched"));
        }
        if self.labels.len().checked_mul(self.shape.len()) != Some(self.pixels.len()) {
            let (labels, bytes) = (self.labels.len(), self.pixels.len());
            return refuse(format!("{bytes} bytes are not {labels} images of {height}×{width}×{channels}"));
        }
        let labels = self.sets.map_or(self.classes, LabelSets::len);
        for &index in indices {
            match self.labels.get(index as usize) {
                None => return refuse(format!("image {index} was asked for, but there are {}", self.labels.len())),
                Some(&label) if label as usize >= labels => {
                    return refuse(format!("image {index} has label {label}, but there are {} classes", self.classes));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// What one step reads. Fill the same batch again and again: its buffers are reused.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Size of every image.
    pub shape: ImageShape,
    /// `[images, height, width, channels]`.
    pub pixels: Vec<u8>,
    /// Classes by image, or places in the sets of classes.
    pub labels: Vec<u32>,
    /// `[images, classes]`, each row of sum 1, when mixup or cutmix made the labels soft; or shares of each class from 0 to
    /// 1, where an image may show several. Use them instead of `labels`.
    pub targets: Option<Vec<f32>>,
}

impl Default for Batch {
    fn default() -> Self {
        let shape = ImageShape { height: 0, width: 0, channels: 0 };
        Self { shape, pixels: Vec::new(), labels: Vec::new(), targets: None }
    }
}

impl Batch {
    /// How many images it holds.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether it holds no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Fills the batch with images as they are: for evaluation, and for training without augmentation.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an index, a label or the size of `images.pixels` is out of range.
    pub fn gather(&mut self, images: &Images, indices: &[u32]) -> Result<()> {
        self.prepare(images, indices)?;
        self.write_targets(images);
        let len = images.shape.len();
        let group = images_per_task(len, COPIED_BYTES_PER_TASK);
        let tasks = self.pixels.par_chunks_mut(group * len).zip(indices.par_chunks(group));
        tasks.for_each(|(targets, indices)| {
            for (target, &index) in targets.chunks_exact_mut(len).zip(indices) {
                target.copy_from_slice(images.image(index));
            }
        });
        Ok(())
    }

    /// Fills the batch with augmented images, in parallel. The bytes depend on the arguments alone, not on what the
    /// batch held before nor on the number of threads. An image's augmentation does not depend on the others in the
    /// batch, except for mixup and cutmix.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an index, a label, the size of `images.pixels` or a value of `augmentation` is out of range.
    pub fn fill(
        &mut self,
        images: &Images,
        indices: &[u32],
        augmentation: &Augmentation,
        moment: Moment,
    ) -> Result<()> {
        if augmentation.is_none() {
            return self.gather(images, indices);
        }
        augmentation.validate(images.shape)?;
        self.prepare(images, indices)?;
        let (shape, len) = (images.shape, images.shape.len());
        let group = images_per_task(len, AUGMENTED_BYTES_PER_TASK);
        let tasks = self.pixels.par_chunks_mut(group * len).zip(indices.par_chunks(group));
        tasks.for_each(|(targets, indices)| {
            SCRATCH.with_borrow_mut(|scratch| {
                for (target, &index) in targets.chunks_exact_mut(len).zip(indices) {
                    augmentation.augment(images.image(index), target, scratch, shape, moment, index);
                }
            });
        });
        if augmentation.mixes() {
            let own = augmentation.mix(&mut self.pixels, shape, moment);
            mix_targets(self.targets.get_or_insert_default(), &self.labels, images, own);
        } else {
            self.write_targets(images);
        }
        Ok(())
    }

    /// The targets of images as they are, where these may show several classes.
    fn write_targets(&mut self, images: &Images) {
        match images.sets {
            Some(sets) => sets.write_targets(&self.labels, images.classes, self.targets.get_or_insert_default()),
            None => self.targets = None,
        }
    }

    /// Checks the request, copies the labels and makes room for the pixels.
    fn prepare(&mut self, images: &Images, indices: &[u32]) -> Result<()> {
        images.check(indices)?;
        self.shape = images.shape;
        self.labels.clear();
        self.labels.extend(indices.iter().map(|&index| images.labels[index as usize]));
        self.pixels.resize(indices.len() * images.shape.len(), 0);
        Ok(())
    }
}

/// Soft targets `[images, classes]` of a mixed batch: an image's own share for what it shows, the rest for what its partner
/// does.
fn mix_targets(targets: &mut Vec<f32>, labels: &[u32], images: &Images, own: f32) {
    targets.clear();
    targets.resize(labels.len() * images.classes, 0.0);
    let pairs = labels.iter().zip(labels.iter().rev());
    for (row, (&label, &partner)) in targets.chunks_exact_mut(images.classes.max(1)).zip(pairs) {
        for (label, share) in [(label, own), (partner, 1.0 - own)] {
            match images.sets {
                None => row[label as usize] += share,
                Some(sets) => sets.classes_of(label).iter().for_each(|&class| row[class as usize] += share),
            }
        }
    }
}

thread_local! {
    /// Room for an image while it is augmented: a thread keeps it from step to step.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that make a task worth a thread's while. Work is cut by them, never by the number of threads.
const COPIED_BYTES_PER_TASK: usize = 1 << 17;
const AUGMENTED_BYTES_PER_TASK: usize = 1 << 14;

fn images_per_task(image_len: usize, bytes: usize) -> usize {
    (bytes / image_len).max(1)
}
