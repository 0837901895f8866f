//! Metrics and calibration: from logits and labels to honest figures. All sums are f64 in a fixed order.

mod calibration;
mod measure;
mod several;
#[cfg(test)]
mod several_values;
mod truth;

use std::fmt::Write;

use serde::{Deserialize, Serialize};

pub(crate) use calibration::log_normalizer;
pub use calibration::{Bin, fit_temperature};
pub use measure::{
    Figures, Measured, Places, UnknownFigures, UnseenFigures, answers_of, evaluate_model, evaluate_split,
    logits_and_distances, logits_of,
};
pub use several::{HALF, SetScores, average_precision, choose_thresholds};
pub use truth::Truth;

/// The figures of one split, as `--json` prints them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Mean softmax cross-entropy; where an image may show several classes, mean binary cross-entropy over all classes.
    pub loss: f64,
    /// Share of images whose likeliest class is the right one, where classes exclude each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top1: Option<f64>,
    /// Share of images with the right class among the likeliest five, where there are more than five.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// Where an image may show several classes.
    #[serde(flatten)]
    pub several: Option<SetScores>,
    /// Images measured.
    pub images: usize,
}

impl Scores {
    /// The figure that counts: accuracy, or mean average precision where an image may show several classes.
    pub fn headline(&self) -> f64 {
        self.several.map_or(self.top1.unwrap_or(0.0), |several| several.mean_average_precision)
    }

    /// What [`Scores::headline`] is called.
    pub fn headline_name(&self) -> &'static str {
        if self.several.is_some() { "mAP" } else { "accuracy" }
    }

    /// How far it goes by chance: the standard error of a share, or that of the mean average precision.
    pub fn noise(&self) -> f64 {
        match (&self.several, self.headline()) {
            (Some(several), _) => several.error,
            (None, share) => (share * (1.0 - share) / self.images.max(1) as f64).sqrt(),
        }
    }

    /// 95 % interval of [`Scores::headline`]: Wilson's (1927) of an accuracy, the normal one of a mean average precision. Of one
    /// without a mistake there is none: drawing images anew then says nothing of how far it may be off.
    pub fn interval(&self) -> Option<[f64; 2]> {
        let middle = self.headline();
        match &self.several {
            Some(several) if several.error == 0.0 => None,
            Some(several) => Some([(middle - Z * several.error).max(0.0), (middle + Z * several.error).min(1.0)]),
            None => Some(wilson((middle * self.images as f64).round() as usize, self.images)),
        }
    }
}

/// One class's figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Of the images called so, the share that are.
    pub precision: f64,
    /// Of the images that are, the share called so.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// Images of the class.
    pub support: usize,
    /// How well its probability ranks images, where they may show several classes and some shows this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
    /// The probability from which on an image is said to show it, where they may show several classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
}

/// Everything that is counted on one split.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// The main figures.
    #[serde(flatten)]
    pub scores: Scores,
    /// 95 % interval of the accuracy (Wilson 1927).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top1_interval: Option<[f64; 2]>,
    /// Expected calibration error over 15 bins (Guo et al. 2017).
    pub calibration_error: f64,
    /// The bins of the reliability diagram.
    pub bins: Vec<Bin>,
    /// A class's figures each, by label.
    pub classes: Vec<ClassFigures>,
    /// `[true class][predicted class]`; empty where classes do not exclude each other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<usize>>,
}

impl Evaluation {
    /// Counts everything, whatever images show; see [`Evaluation::new`] and [`Evaluation::of_sets`].
    pub fn of(logits: &[f32], truth: &Truth, classes: usize, temperature: f32, thresholds: &[f32]) -> Self {
        match truth {
            Truth::One(labels) => Self::new(logits, labels, classes, temperature),
            Truth::Several(targets) => Self::of_sets(logits, targets, classes, temperature, thresholds),
        }
    }

    /// [`Evaluation::of`] at the temperature that fits best: what a network is worth that gets this one at its end, as those
    /// of Percept do, however sure of itself it is.
    pub fn at_best_temperature(logits: &[f32], truth: &Truth, classes: usize) -> Self {
        Self::of(logits, truth, classes, fit_temperature(logits, truth, classes), &[])
    }

    /// Counts everything where classes exclude each other. `logits` is `[images, classes]`; probabilities are taken at
    /// `temperature`. An image whose logits hold NaN counts as wrong.
    pub fn new(logits: &[f32], labels: &[u32], classes: usize, temperature: f32) -> Self {
        let mut confusion = vec![vec![0usize; classes]; classes];
        let (mut loss, mut right, mut among_five) = (0.0, 0, 0);
        let mut confidences = Vec::with_capacity(labels.len());
        for (row, &label) in logits.chunks_exact(classes).zip(labels) {
            let label = label as usize;
            let broken = row.iter().any(|value| value.is_nan());
            let predicted = if broken { (label + 1) % classes } else { crate::ops::largest(row) };
            confusion[label][predicted] += 1;
            right += usize::from(predicted == label);
            let before = row
                .iter()
                .enumerate()
                .filter(|&(class, value)| *value > row[label] || (*value == row[label] && class < label));
            among_five += usize::from(!broken && before.count() < 5);
            let log_normalizer = log_normalizer(row, temperature);
            loss += log_normalizer - f64::from(row[label]) / f64::from(temperature);
            let confidence = (f64::from(row[predicted]) / f64::from(temperature) - log_normalizer).exp();
            confidences.push((confidence, predicted == label));
        }
        let images = labels.len();
        let count = images.max(1) as f64;
        let (bins, calibration_error) = calibration::reliability(&confidences);
        Self {
            scores: Scores {
                loss: loss / count,
                top1: Some(right as f64 / count),
                top5: (classes > 5).then(|| among_five as f64 / count),
                several: None,
                images,
            },
            top1_interval: Some(wilson(right, images)),
            calibration_error,
            bins,
            classes: (0..classes).map(|class| class_figures(&confusion, class)).collect(),
            confusion,
        }
    }

    /// Precision, recall and F1 a class and on average, laid out as scikit-learn's `classification_report` does.
    pub fn report(&self, names: &[String]) -> String {
        if let Some(scores) = &self.scores.several {
            return self.report_of_sets(names, scores);
        }
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("weighted avg".len());
        let mut text =
            format!("{:>width$} {:>10} {:>9} {:>9} {:>9}\n\n", "", "precision", "recall", "f1-score", "support");
        let total = self.scores.images;
        let mut line = |name: &str, [precision, recall, f1]: [f64; 3], support: usize| {
            _ = writeln!(text, "{name:>width$} {precision:>10.2} {recall:>9.2} {f1:>9.2} {support:>9}");
        };
        for (name, class) in names.iter().zip(&self.classes) {
            line(name, [class.precision, class.recall, class.f1], class.support);
        }
        let mean = |weight: &dyn Fn(&ClassFigures) -> f64| {
            let in_all: f64 = self.classes.iter().map(weight).sum();
            let of = |figure: fn(&ClassFigures) -> f64| {
                self.classes.iter().map(|class| weight(class) * figure(class)).sum::<f64>()
                    / in_all.max(f64::MIN_POSITIVE)
            };
            [of(|c| c.precision), of(|c| c.recall), of(|c| c.f1)]
        };
        let (even, weighted) = (mean(&|_| 1.0), mean(&|class| class.support as f64));
        let mut averages =
            format!("\n{:>width$} {:>10} {:>9} {:>9.2} {total:>9}\n", "accuracy", "", "", self.scores.headline());
        for (name, [precision, recall, f1]) in [("macro avg", even), ("weighted avg", weighted)] {
            _ = writeln!(averages, "{name:>width$} {precision:>10.2} {recall:>9.2} {f1:>9.2} {total:>9}");
        }
        text + &averages
    }

    /// The pairs of classes that were most often confused: true, predicted, times.
    pub fn confused(&self, most: usize) -> Vec<(usize, usize, usize)> {
        let mut pairs: Vec<_> = self
            .confusion
            .iter()
            .enumerate()
            .flat_map(|(label, row)| row.iter().enumerate().map(move |(predicted, &times)| (label, predicted, times)))
            .filter(|&(label, predicted, times)| label != predicted && times > 0)
            .collect();
        pairs.sort_by_key(|&(label, predicted, times)| (std::cmp::Reverse(times), label, predicted));
        pairs.truncate(most);
        pairs
    }
}

fn class_figures(confusion: &[Vec<usize>], class: usize) -> ClassFigures {
    let right = confusion[class][class];
    let support: usize = confusion[class].iter().sum();
    let called: usize = confusion.iter().map(|row| row[class]).sum();
    // As scikit-learn with zero_division=0.
    let share = |of: usize| if of == 0 { 0.0 } else { right as f64 / of as f64 };
    let f1 = if support + called == 0 { 0.0 } else { 2.0 * right as f64 / (support + called) as f64 };
    ClassFigures {
        precision: share(called),
        recall: share(support),
        f1,
        support,
        average_precision: None,
        threshold: None,
    }
}

/// Deviations of a normal distribution within which 95 % of it lie.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's score interval at 95 % for `right` of `images`.
fn wilson(right: usize, images: usize) -> [f64; 2] {
    if images == 0 {
        return [0.0, 1.0];
    }
    let (n, p) = (images as f64, right as f64 / images as f64);
    let middle = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation() -> Evaluation {
        // Predictions 0, 1, 1, 2, 2, 2 of labels 0, 0, 1, 1, 2, 2.
        let logits = [3., 0., 0., 0., 3., 0., 0., 3., 0., 0., 0., 3., 0., 0., 3., 0., 0., 3.];
        Evaluation::new(&logits, &[0, 0, 1, 1, 2, 2], 3, 1.0)
    }

    #[test]
    fn figures_are_those_counted_by_hand() {
        let found = evaluation();
        assert_eq!(found.scores.top1, Some(4.0 / 6.0));
        assert_eq!(found.confusion, [[1, 1, 0], [0, 1, 1], [0, 0, 2]]);
        assert_eq!((found.classes[2].precision, found.classes[2].recall), (2.0 / 3.0, 1.0));
        assert_eq!(found.confused(5), [(0, 1, 1), (1, 2, 1)]);
        assert!(found.scores.top5.is_none());
    }

    #[test]
    fn the_report_is_laid_out_as_scikit_learns() {
        // Printed by scikit-learn 1.9.1: classification_report([0,0,1,1,2,2], [0,1,1,2,2,2], target_names=["ant","bee","cat"]).
        let expected = "              precision    recall  f1-score   support

         ant       1.00      0.50      0.67         2
         bee       0.50      0.50      0.50         2
         cat       0.67      1.00      0.80         2

    accuracy                           0.67         6
   macro avg       0.72      0.67      0.66         6
weighted avg       0.72      0.67      0.66         6
";
        assert_eq!(evaluation().report(&["ant".into(), "bee".into(), "cat".into()]), expected);
    }

    #[test]
    fn not_a_number_counts_as_wrong() {
        let found = Evaluation::new(&[f32::NAN, 0.0, 0.0, 1.0], &[0, 1], 2, 1.0);
        assert_eq!(found.scores.top1, Some(0.5));
    }

    #[test]
    fn a_mean_average_precision_without_a_mistake_has_no_interval() {
        // Four images, of which there are 50 each: every draw of as many then shows every class.
        let truth = Truth::Several([1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0].repeat(50));
        let of = |logits: &[f32]| Evaluation::of(&logits.repeat(50), &truth, 2, 1.0, &[]).scores;
        let perfect = of(&[4.0, -4.0, -4.0, 4.0, 4.0, 4.0, -4.0, -4.0]);
        assert_eq!((perfect.headline(), perfect.interval()), (1.0, None));
        let [low, high] = of(&[4.0, -4.0, 5.0, 4.0, 4.0, -5.0, -4.0, -4.0]).interval().expect("an interval");
        assert!(low < high, "{low} {high}");
    }

    #[test]
    fn at_its_best_temperature_a_network_is_not_punished_for_being_sure() {
        // 60 images, of which each sixth is wrong; then the same answers, four times as sure.
        let labels: Vec<u32> = (0..60).map(|image| image % 2).collect();
        let row = |(image, &label): (usize, &u32)| {
            let shown = if image % 6 == 0 { 1 - label } else { label };
            [0, 1].map(|class| if class == shown { 1.0 } else { -0.5 })
        };
        let modest: Vec<f32> = labels.iter().enumerate().flat_map(row).collect();
        let sure: Vec<f32> = modest.iter().map(|logit| 4.0 * logit).collect();
        let truth = Truth::One(labels);
        let plain = |logits: &[f32]| Evaluation::of(logits, &truth, 2, 1.0, &[]).scores;
        assert!(plain(&sure).loss > 1.5 * plain(&modest).loss);
        let [modest, sure] = [modest, sure].map(|logits| Evaluation::at_best_temperature(&logits, &truth, 2).scores);
        assert!((modest.loss - sure.loss).abs() < 1e-4, "{} {}", modest.loss, sure.loss);
        assert_eq!(modest.top1, sure.top1);
    }

    #[test]
    fn intervals_hold_the_share() {
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
        let [low, high] = wilson(95, 100);
        // Wilson's formula worked out apart, in Python.
        assert!((low - 0.8882).abs() < 1e-4 && (high - 0.9785).abs() < 1e-4, "{low} {high}");
    }
}
