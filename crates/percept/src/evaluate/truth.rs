//! What images show, as logits are measured against it.

use crate::data::Dataset;

/// What some images show, in their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Truth {
    /// One class each: its label.
    One(Vec<u32>),
    /// Several classes each, or none, `[images, classes]`: 1 where an image shows a class, 0 where not.
    Several(Vec<f32>),
}

/// That of no image.
impl Default for Truth {
    fn default() -> Self {
        Self::One(Vec::new())
    }
}

impl Truth {
    /// Of some images of a dataset.
    pub fn of(dataset: &Dataset, images: &[u32]) -> Self {
        let labels: Vec<u32> = images.iter().map(|&index| dataset.labels[index as usize]).collect();
        match &dataset.sets {
            Some(sets) => Self::Several(sets.targets(&labels, dataset.classes.len())),
            None => Self::One(labels),
        }
    }

    /// This of some images, then `others` of further ones. What is of another kind is left out.
    #[must_use]
    pub fn followed_by(&self, others: &Self) -> Self {
        match (self, others) {
            (Self::One(labels), Self::One(others)) => Self::One([&labels[..], others].concat()),
            (Self::Several(targets), Self::Several(others)) => Self::Several([&targets[..], others].concat()),
            _ => self.clone(),
        }
    }

    /// Keeps that of the first `images`, and gives that of the others.
    #[must_use]
    pub fn split_off(&mut self, images: usize, classes: usize) -> Self {
        match self {
            Self::One(labels) => Self::One(labels.split_off(images)),
            Self::Several(targets) => Self::Several(targets.split_off(images * classes)),
        }
    }

    /// How many images there are.
    pub fn images(&self, classes: usize) -> usize {
        match self {
            Self::One(labels) => labels.len(),
            Self::Several(targets) => targets.len() / classes.max(1),
        }
    }
}
