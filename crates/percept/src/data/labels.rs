//! Data in which an image may show several classes at once, or none: the sets of classes that occur. Reads no format.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// Whether classes exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelKind {
    /// An image shows one class.
    One,
    /// It may show several at once, or none.
    Several,
}

/// Every set of classes that an image of a source shows. The label of an image is the place of its set, so that labels
/// stay numbers wherever images are listed, kept and drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSets(Vec<Vec<u32>>);

impl LabelSets {
    /// The sets of some images, and the label of each image. Classes may be named in any order, and more than once.
    pub fn number(images: impl IntoIterator<Item = Vec<u32>>) -> (Self, Vec<u32>) {
        let (mut sets, mut places) = (Vec::new(), HashMap::new());
        let number = |mut classes: Vec<u32>| {
            classes.sort_unstable();
            classes.dedup();
            *places.entry(classes).or_insert_with_key(|classes| {
                sets.push(classes.clone());
                sets.len() as u32 - 1
            })
        };
        let labels = images.into_iter().map(number).collect();
        (Self(sets), labels)
    }

    /// A set of its own for each class: labels of images that show one class stay what they are.
    pub fn of_single(classes: usize) -> Self {
        Self((0..classes as u32).map(|class| vec![class]).collect())
    }

    /// How many sets there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The classes of a label, in order.
    ///
    /// # Panics
    /// When there is no such label.
    pub fn classes_of(&self, label: u32) -> &[u32] {
        &self.0[label as usize]
    }

    /// Every set, in the order of labels.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// `[labels, classes]`: 1 where an image shows a class, 0 where not.
    pub fn targets(&self, labels: &[u32], classes: usize) -> Vec<f32> {
        let mut targets = Vec::new();
        self.write_targets(labels, classes, &mut targets);
        targets
    }

    /// [`Self::targets`], in place of what `targets` held.
    pub fn write_targets(&self, labels: &[u32], classes: usize, targets: &mut Vec<f32>) {
        targets.clear();
        targets.resize(labels.len() * classes, 0.0);
        for (row, &label) in targets.chunks_exact_mut(classes.max(1)).zip(labels) {
            self.classes_of(label).iter().for_each(|&class| row[class as usize] = 1.0);
        }
    }

    /// Counts classes as `places` does.
    pub(super) fn rename(&mut self, places: &[u32]) {
        for set in &mut self.0 {
            set.iter_mut().for_each(|class| *class = places[*class as usize]);
            set.sort_unstable();
        }
    }

    /// A label for people: "cat, dog", or "nothing".
    pub fn describe(&self, label: u32, classes: &[String]) -> String {
        match self.classes_of(label) {
            [] => "nothing".into(),
            set => set.iter().map(|&class| classes[class as usize].as_str()).collect::<Vec<_>>().join(", "),
        }
    }
}

/// Images of each class among some indices; one with several classes counts for each.
pub(super) fn count_classes(indices: &[u32], labels: &[u32], sets: Option<&LabelSets>, classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    for &index in indices {
        let label = labels[index as usize];
        match sets {
            None => counts[label as usize] += 1,
            Some(sets) => sets.classes_of(label).iter().for_each(|&class| counts[class as usize] += 1),
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_have_one_label_whatever_their_order() {
        let (sets, labels) = LabelSets::number([vec![2, 0], vec![], vec![0, 2, 2], vec![1], vec![]]);
        assert_eq!(labels, [0, 1, 0, 2, 1]);
        assert_eq!(sets.iter().collect::<Vec<_>>(), [&[0, 2][..], &[], &[1]]);
        assert_eq!(sets.targets(&labels[..2], 3), [1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(count_classes(&[0, 2, 3], &labels, Some(&sets), 3), [2, 1, 2]);
        let names = ["cat".to_string(), "dog".into(), "bird".into()];
        assert_eq!([0, 1].map(|label| sets.describe(label, &names)), ["cat, bird", "nothing"]);
    }
}
