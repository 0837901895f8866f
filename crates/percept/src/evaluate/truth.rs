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

impl Truth {
    /// Of some images of a dataset.
    pub fn of(dataset: &Dataset, images: &[u32]) -> Self {
        let labels: Vec<u32> = images.iter().map(|&index| dataset.labels[index as usize]).collect();
        match &dataset.sets {
            Some(sets) => Self::Several(sets.targets(&labels, dataset.classes.len())),
            None => Self::One(labels),
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
