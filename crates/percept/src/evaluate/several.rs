//! Figures of images that may show several classes each, or none: how well each class's probabilities rank images, and what
//! becomes of a threshold for each.

use std::fmt::Write;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{ClassFigures, Evaluation, Scores, calibration};

/// The probability from which on a class is said to be there, where none was chosen.
pub const HALF: f32 = 0.5;
/// With fewer images of a class the best threshold is luck.
const LEAST_IMAGES: usize = 5;
/// Draws of images that a standard error is made of: this many, or as many of so many logits as can be looked at quickly.
const DRAWS: usize = 100;
const LEAST_DRAWS: usize = 20;
const MOST_LOOKS: usize = 50_000_000;

/// The figures of one split where an image may show several classes. A mean over classes is called macro, one over all
/// pairs of image and class micro, as scikit-learn has it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetScores {
    /// Mean over the classes that occur of [`average_precision`].
    #[serde(rename = "mAP")]
    pub mean_average_precision: f64,
    /// Its standard error, by drawing images anew (Efron 1979).
    #[serde(rename = "mAP_error")]
    pub error: f64,
    /// Harmonic mean of precision and recall, over all pairs.
    pub f1_micro: f64,
    /// The same, mean of all classes.
    pub f1_macro: f64,
    /// Of the classes that images are said to show, the share that they do.
    pub precision_micro: f64,
    /// The same, mean of all classes.
    pub precision_macro: f64,
    /// Of the classes that images show, the share that was found.
    pub recall_micro: f64,
    /// The same, mean of all classes.
    pub recall_macro: f64,
    /// Share of images of which all classes, and no other, were found.
    pub exact_match: f64,
}

/// The area below precision over recall, as scikit-learn's `average_precision_score` defines it: the sum, over every
/// distinct score from the highest on, of the precision from there up times what recall gained. Nothing where no image
/// shows the class. Each pair is an image's score, and whether it shows the class.
pub fn average_precision(scores: impl IntoIterator<Item = (f32, bool)>) -> Option<f64> {
    let ranking = Ranking::new(scores.into_iter().collect());
    ranking.average_precision(|_| 1)
}

/// The images, the likeliest first.
struct Ranking {
    /// Image, whether it shows the class, and whether the next one has a lower score.
    images: Vec<(u32, bool, bool)>,
}

impl Ranking {
    /// A score that is no number is as wrong as can be.
    fn new(scores: Vec<(f32, bool)>) -> Self {
        let worst = |there: bool| if there { f32::NEG_INFINITY } else { f32::INFINITY };
        let score = |&(score, there): &(f32, bool)| if score.is_nan() { worst(there) } else { score };
        let mut order: Vec<u32> = (0..scores.len() as u32).collect();
        let of = |image: u32| score(&scores[image as usize]);
        order.sort_by(|&a, &b| of(b).total_cmp(&of(a)).then(a.cmp(&b)));
        let ends = |place: usize| order.get(place + 1).is_none_or(|&next| of(next) < of(order[place]));
        let images = order.iter().enumerate().map(|(place, &image)| (image, scores[image as usize].1, ends(place)));
        Self { images: images.collect() }
    }

    /// Where each image counts as often as `times` says.
    fn average_precision(&self, times: impl Fn(u32) -> u32) -> Option<f64> {
        let (mut sum, mut found, mut before, mut seen) = (0.0, 0u64, 0u64, 0u64);
        for &(image, there, ends) in &self.images {
            let count = u64::from(times(image));
            seen += count;
            found += if there { count } else { 0 };
            if ends && found > before {
                sum += (found - before) as f64 * (found as f64 / seen as f64);
                before = found;
            }
        }
        (found > 0).then(|| sum / found as f64)
    }
}

/// The mean over all classes that occur; 0 where none does.
fn mean(values: impl Iterator<Item = Option<f64>>) -> f64 {
    let (sum, count) = values.flatten().fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    sum / count.max(1) as f64
}

/// How far the mean average precision goes by chance: its deviation over draws of as many images, with replacement. The
/// draws are always the same.
fn standard_error(rankings: &[Ranking], images: usize) -> f64 {
    if images < 2 || rankings.is_empty() {
        return 0.0;
    }
    let draws = (MOST_LOOKS / (images * rankings.len())).clamp(LEAST_DRAWS, DRAWS);
    let draw = |number: usize| {
        let mut random = ChaCha8Rng::seed_from_u64(number as u64);
        let mut times = vec![0u32; images];
        (0..images).for_each(|_| times[random.random_range(0..images)] += 1);
        mean(rankings.iter().map(|ranking| ranking.average_precision(|image| times[image as usize])))
    };
    let found: Vec<f64> = (0..draws).into_par_iter().map(draw).collect();
    let middle = found.iter().sum::<f64>() / draws as f64;
    (found.iter().map(|value| (value - middle).powi(2)).sum::<f64>() / (draws - 1) as f64).sqrt()
}

/// The probability of a logit.
fn probability(logit: f32, temperature: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(logit) / f64::from(temperature)).exp())
}

/// Binary cross-entropy of a logit.
pub(super) fn loss(logit: f32, there: bool, temperature: f32) -> f64 {
    let logit = f64::from(logit) / f64::from(temperature);
    let against = if there { -logit } else { logit };
    against.max(0.0) + (-logit.abs()).exp().ln_1p()
}

/// For each class the probability from which on an image is said to show it that makes F1 as high as it can be on these
/// images; [`HALF`] for a class that fewer than 5 of them show. It lies halfway between the logits around it.
pub fn choose_thresholds(logits: &[f32], targets: &[f32], classes: usize, temperature: f32) -> Vec<f32> {
    let of_class = |class: usize| -> Option<f32> {
        let mut scores: Vec<(f32, bool)> = logits
            .chunks_exact(classes)
            .zip(targets.chunks_exact(classes))
            .map(|(logits, targets)| (logits[class].clamp(-80.0, 80.0), targets[class] > 0.5))
            .filter(|(logit, _)| !logit.is_nan())
            .collect();
        let all = scores.iter().filter(|(_, there)| *there).count();
        if all < LEAST_IMAGES {
            return None;
        }
        scores.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (mut found, mut best) = (0usize, (0.0, 0.0));
        for (place, &(logit, there)) in scores.iter().enumerate() {
            found += usize::from(there);
            let next = scores.get(place + 1).map_or(logit - 2.0, |next| next.0);
            let f1 = 2.0 * found as f64 / (place + 1 + all) as f64;
            if next < logit && f1 > best.0 {
                best = (f1, logit.midpoint(next));
            }
        }
        Some(probability(best.1, temperature) as f32)
    };
    (0..classes).map(|class| of_class(class).unwrap_or(HALF)).collect()
}

impl Evaluation {
    /// Counts everything of images that may show several classes. `logits` and `targets` (1 where an image shows a class,
    /// else 0) are `[images, classes]`; a class is said to be there from its threshold on, the probability at `temperature`.
    /// A logit that is NaN counts as wrong.
    pub fn of_sets(logits: &[f32], targets: &[f32], classes: usize, temperature: f32, thresholds: &[f32]) -> Self {
        let images = targets.len() / classes.max(1);
        let threshold = |class: usize| thresholds.get(class).copied().unwrap_or(HALF);
        // Called and there, called, there.
        let mut counts = vec![[0usize; 3]; classes];
        let (mut total, mut exact) = (0.0, 0usize);
        let mut answers = Vec::with_capacity(targets.len());
        for (logits, targets) in logits.chunks_exact(classes.max(1)).zip(targets.chunks_exact(classes.max(1))) {
            let mut right = true;
            for (class, (&logit, &target)) in logits.iter().zip(targets).enumerate() {
                let there = target > 0.5;
                let sure = probability(logit, temperature);
                let called = if logit.is_nan() { !there } else { sure as f32 >= threshold(class) };
                let [both, all_called, all_there] = &mut counts[class];
                *both += usize::from(called && there);
                *all_called += usize::from(called);
                *all_there += usize::from(there);
                right &= called == there;
                total += loss(logit, there, temperature);
                answers.push((sure, there));
            }
            exact += usize::from(right);
        }
        let rank = |class: usize| {
            let column = |values: &[f32]| values.iter().skip(class).step_by(classes).copied().collect::<Vec<f32>>();
            Ranking::new(column(logits).into_iter().zip(column(targets).into_iter().map(|t| t > 0.5)).collect())
        };
        let rankings: Vec<Ranking> = (0..classes).into_par_iter().map(rank).collect();
        let precisions: Vec<Option<f64>> = rankings.iter().map(|ranking| ranking.average_precision(|_| 1)).collect();
        let figures = |class: usize| ClassFigures {
            average_precision: precisions[class],
            threshold: Some(threshold(class)),
            ..figures_of(counts[class])
        };
        let figures: Vec<ClassFigures> = (0..classes).map(figures).collect();
        let over_all = figures_of(counts.iter().fold([0; 3], |sum, own| [0, 1, 2].map(|i| sum[i] + own[i])));
        let over_classes =
            |figure: fn(&ClassFigures) -> f64| figures.iter().map(figure).sum::<f64>() / classes.max(1) as f64;
        let (bins, calibration_error) = calibration::reliability(&answers);
        Self {
            scores: Scores {
                loss: total / answers.len().max(1) as f64,
                top1: None,
                top5: None,
                several: Some(SetScores {
                    mean_average_precision: mean(precisions.iter().copied()),
                    error: standard_error(&rankings, images),
                    f1_micro: over_all.f1,
                    f1_macro: over_classes(|class| class.f1),
                    precision_micro: over_all.precision,
                    precision_macro: over_classes(|class| class.precision),
                    recall_micro: over_all.recall,
                    recall_macro: over_classes(|class| class.recall),
                    exact_match: exact as f64 / images.max(1) as f64,
                }),
                images,
            },
            top1_interval: None,
            calibration_error,
            bins,
            classes: figures,
            confusion: Vec::new(),
        }
    }

    /// A class's figures a line, and their means.
    pub(super) fn report_of_sets(&self, names: &[String], scores: &SetScores) -> String {
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("macro avg".len());
        let mut text = format!(
            "{:>width$} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9}\n\n",
            "", "precision", "recall", "f1-score", "AP", "threshold", "support"
        );
        for (name, class) in names.iter().zip(&self.classes) {
            let ClassFigures { precision, recall, f1, support, average_precision, threshold } = class;
            let average_precision = average_precision.map_or("-".into(), |value| format!("{value:.2}"));
            let threshold = threshold.unwrap_or(HALF);
            _ = writeln!(
                text,
                "{name:>width$} {precision:>10.2} {recall:>9.2} {f1:>9.2} {average_precision:>9} {threshold:>9.2} {support:>9}"
            );
        }
        let support: usize = self.classes.iter().map(|class| class.support).sum();
        let SetScores { f1_micro, f1_macro, precision_micro, precision_macro, recall_micro, recall_macro, .. } = scores;
        _ = writeln!(
            text,
            "\n{:>width$} {precision_micro:>10.2} {recall_micro:>9.2} {f1_micro:>9.2} {:>9} {:>9} {support:>9}",
            "micro avg", "", ""
        );
        _ = writeln!(
            text,
            "{:>width$} {precision_macro:>10.2} {recall_macro:>9.2} {f1_macro:>9.2} {:>9.2} {:>9} {support:>9}",
            "macro avg", scores.mean_average_precision, ""
        );
        text
    }
}

/// As scikit-learn with zero_division=0.
fn figures_of([both, called, there]: [usize; 3]) -> ClassFigures {
    let share = |of: usize| if of == 0 { 0.0 } else { both as f64 / of as f64 };
    let f1 = if called + there == 0 { 0.0 } else { 2.0 * both as f64 / (called + there) as f64 };
    ClassFigures {
        precision: share(called),
        recall: share(there),
        f1,
        support: there,
        average_precision: None,
        threshold: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::several_values::*, *};

    #[test]
    fn figures_are_those_of_scikit_learn() {
        let found = Evaluation::of_sets(&LOGITS, &TARGETS, 4, 1.0, &[0.5, 0.4, 0.6, 0.5]);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} is not {b}");
        for (class, expected) in found.classes.iter().zip(AVERAGE_PRECISIONS) {
            close(class.average_precision.expect("the class occurs"), expected);
        }
        let scores = found.scores.several.expect("several labels an image");
        close(scores.mean_average_precision, AVERAGE_PRECISIONS.iter().sum::<f64>() / 4.0);
        let means = [
            scores.precision_micro,
            scores.recall_micro,
            scores.f1_micro,
            scores.precision_macro,
            scores.recall_macro,
            scores.f1_macro,
            scores.exact_match,
            found.scores.loss,
        ];
        means.into_iter().zip(MEANS).for_each(|(found, expected)| close(found, expected));
        assert!(scores.error > 0.0 && scores.error < 0.2 && found.scores.top1.is_none(), "{scores:?}");
        // Equal scores are one step, whatever their order.
        assert_eq!(average_precision([(0.5, true), (0.5, false)]), Some(0.5));
        assert_eq!(average_precision([(0.5, false)]), None);
    }

    #[test]
    fn a_class_that_no_image_shows_takes_no_part() {
        let targets = [1.0, 0.0, 0.0, 0.0];
        let found = Evaluation::of_sets(&[2.0, 1.0, -2.0, -1.0], &targets, 2, 1.0, &[]);
        assert_eq!(found.scores.several.map(|scores| scores.mean_average_precision), Some(1.0));
        assert_eq!((found.classes[1].average_precision, found.classes[1].support), (None, 0));
    }

    #[test]
    fn not_a_number_counts_as_wrong() {
        let found = Evaluation::of_sets(&[f32::NAN, f32::NAN], &[1.0, 0.0], 1, 1.0, &[]);
        let scores = found.scores.several.expect("several labels an image");
        assert_eq!((scores.exact_match, scores.mean_average_precision), (0.0, 0.5));
    }

    #[test]
    fn thresholds_make_the_most_of_each_class() {
        // The first class is there from a logit of -1 on, the second from 3 on; the third is too rare to say.
        let logits: Vec<f32> = (-20..20).flat_map(|x| [x as f32 / 2.0; 3]).collect();
        let targets: Vec<f32> = logits
            .chunks_exact(3)
            .flat_map(|row| [row[0] >= -1.0, row[1] >= 3.0, row[2] >= 8.0].map(|there| f32::from(u8::from(there))))
            .collect();
        let thresholds = choose_thresholds(&logits, &targets, 3, 2.0);
        let expected = [-1.25, 2.75].map(|logit| probability(logit, 2.0) as f32);
        assert_eq!(thresholds, [expected[0], expected[1], HALF]);
        let scores = |thresholds: &[f32]| Evaluation::of_sets(&logits, &targets, 3, 2.0, thresholds).scores.several;
        let [chosen, half] = [&thresholds[..], &[]].map(|given| scores(given).expect("scores").f1_macro);
        assert!(chosen > half, "{chosen} {half}");
    }
}
