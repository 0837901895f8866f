//! What figures say together, in sentences. They claim no more than the figures do.

use super::{Accuracy, Calibration, Unknown};
use crate::{
    evaluate::{Evaluation, Scores},
    train::HistoryRow,
};

/// Fewer images than this make an accuracy rough.
const FEW: usize = 1_000;

/// Whether the model knows its training images better than others.
pub(super) fn overfitting(accuracies: &[Accuracy], figure: &str) -> Option<String> {
    let training = accuracies.iter().find(|accuracy| accuracy.split == "training")?;
    let measured = accuracies.iter().find(|accuracy| accuracy.interval.is_some())?;
    let ([low, high], gap) = (measured.interval?, training.value - measured.value);
    let split = measured.split;
    let both = format!(
        "Training {figure} is {}, {split} {figure} {}: a gap of {}",
        percent(training.value),
        percent(measured.value),
        points(gap)
    );
    Some(if gap <= 0.0 {
        format!(
            "Training {figure} ({}) is no higher than {split} {figure} ({}): no sign of overfitting.",
            percent(training.value),
            percent(measured.value)
        )
    } else if (low..=high).contains(&training.value) {
        format!("{both}, which chance alone may make among {} images: no clear sign of overfitting.", measured.images)
    } else if gap < 0.05 {
        format!("{both}. That gap is overfitting, and it is small: what was learned mostly holds for new images.")
    } else {
        format!(
            "{both}. That gap is overfitting: the model knows its training images better than new ones of their kind. \
             More images, augmentation, weight decay or a smaller model narrow it."
        )
    })
}

/// How far the measured figure can be trusted.
pub(super) fn certainty(accuracies: &[Accuracy], figure: &str) -> Option<String> {
    let measured = accuracies.iter().find(|accuracy| accuracy.interval.is_some())?;
    let ([low, high], split) = (measured.interval?, measured.split);
    let chose = match split {
        "validation" => " These images chose which weights were kept, so the figure flatters a little.",
        _ => "",
    };
    let few = match measured.images {
        images if images < FEW => " More images would narrow it.",
        _ => "",
    };
    Some(format!(
        "Measured on {} {split} images. For images of this kind in general, the 95 % interval of the {figure} is {} to \
         {}.{few}{chose}",
        measured.images,
        percent(low),
        percent(high)
    ))
}

/// Which weights were kept.
pub(super) fn kept(row: Option<&HistoryRow>) -> Option<String> {
    let row = row?;
    let figure = row.headline_name();
    Some(format!(
        "The weights that were kept are those of epoch {:.1}: validation {figure} {}, loss {:.4}. {} decides where \
         it differs by more than its standard error; below that it is luck, and the loss decides.",
        row.epoch,
        percent(row.validation_headline()?),
        row.validation_loss?,
        capital(figure)
    ))
}

/// What the temperature did, whichever way it went.
pub(super) fn calibration(fit: Option<&Calibration>, measured: Option<(&str, &Evaluation)>) -> Vec<String> {
    let several = fit.map(|fit| &fit.after).or(measured.map(|(_, evaluation)| evaluation));
    let several = several.is_some_and(|evaluation| evaluation.scores.several.is_some());
    let when = match several {
        false => "of all answers given with 70 %, 70 % are right",
        true => "of all classes given 70 %, 70 % are there",
    };
    let mut sentences = vec![format!(
        "A probability is calibrated when, {when}: on the dashed line. The \
         expected calibration error is the mean distance from that line. The larger a dot, the more {}.",
        if several { "answers" } else { "images" }
    )];
    match fit {
        Some(Calibration { temperature, before, after }) => sentences.push(format!(
            "A temperature of {temperature:.3}, by which logits are divided, was fitted, between 0.05 and 20, to make the \
             validation loss as low as it can be: {}. {}",
            moved(before.scores.loss, after.scores.loss, "it", |value| format!("{value:.4}")),
            error_moved(before, after)
        )),
        None => sentences.push(
            "No temperature was fitted, for want of enough validation images: probabilities are as the network gives them."
                .into(),
        ),
    }
    // Beside a fit, the images that it was fitted to say nothing new.
    if let Some((split, Evaluation { calibration_error, scores: Scores { images, .. }, .. })) = measured
        && (split == "test" || fit.is_none())
    {
        let apart = if fit.is_some() { ", which took no part in the fit" } else { "" };
        let error = percent(*calibration_error);
        sentences.push(format!("On the {images} {split} images{apart}, the error is {error}."));
    }
    sentences
}

fn error_moved(before: &Evaluation, after: &Evaluation) -> String {
    let (from, to) = (before.calibration_error, after.calibration_error);
    let moved = moved(from, to, "the calibration error on the same images", percent);
    match percent(from) != percent(to) && to > from {
        true => format!("Yet {moved}: a lower loss need not lower that error."),
        false => format!("In so doing, {moved}."),
    }
}

fn moved(from: f64, to: f64, what: &str, show: impl Fn(f64) -> String) -> String {
    let (before, after) = (show(from), show(to));
    match before == after {
        true => format!("{what} stayed at {after}"),
        false if to > from => format!("{what} rose from {before} to {after}"),
        false => format!("{what} fell from {before} to {after}"),
    }
}

/// A figure's name at the beginning of a sentence.
pub(super) fn capital(figure: &str) -> String {
    match figure.strip_prefix('a') {
        Some(rest) => format!("A{rest}"),
        None => figure.into(),
    }
}

/// Number and sign do not part at a line's end.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * share)
}

fn points(share: f64) -> String {
    match format!("{:.1}", 100.0 * share) {
        one if one == "1.0" => "1.0 percentage point".into(),
        many => format!("{many} percentage points"),
    }
}

/// When an image is called unknown, and how well that tells classes that were never seen.
pub(super) fn unknown(unknown: Option<&Unknown>) -> Vec<String> {
    let Some(&Unknown { false_rejection, rejected_held_out_images, auroc_of_left_out_classes, rejected_test_images }) =
        unknown
    else {
        return Vec::new();
    };
    let mut sentences = vec![format!(
        "An image is called unknown if its features are farther from those of the training images than those of {} of held \
         out images are ({} may be called so).",
        percent(1.0 - rejected_held_out_images),
        percent(false_rejection)
    )];
    if let Some(share) = rejected_test_images {
        sentences.push(format!(
            "Of the test images, which all are of known classes, {} are called unknown.",
            percent(share)
        ));
    }
    if let Some(area) = auroc_of_left_out_classes {
        sentences.push(format!(
            "Classes were left out of the statistics in turn: an image of such a class was farther than a held out image of \
             the others in {} of all pairs (AUROC; 50 % is guessing). Where the network itself has learned from that class, this is \
             rosier than for things it has never met.",
            percent(area)
        ));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accuracies(training: f64, test: f64) -> [Accuracy; 2] {
        let of = |split, value, interval| Accuracy { split, purpose: "", value, interval, images: 400 };
        [of("training", training, None), of("test", test, Some([test - 0.03, test + 0.03]))]
    }

    #[test]
    fn a_gap_is_named_as_what_it_is() {
        let said = |training, test| overfitting(&accuracies(training, test), "accuracy").expect("both are there");
        assert!(said(0.99, 0.80).contains("a gap of 19.0 percentage points. That gap is overfitting: the model"));
        assert!(said(0.84, 0.80).contains("it is small"));
        assert!(said(0.82, 0.80).contains("chance alone"));
        assert!(said(0.79, 0.80).contains("no higher"));
        assert!(overfitting(&accuracies(0.9, 0.8)[..1], "accuracy").is_none());
    }

    #[test]
    fn calibration_says_which_way_it_went() {
        let of = |loss: f64, error: f64| {
            let mut evaluation = Evaluation::new(&[1.0, 0.0], &[0], 2, 1.0);
            (evaluation.scores.loss, evaluation.calibration_error) = (loss, error);
            evaluation
        };
        let said = |before: (f64, f64), after: (f64, f64)| {
            let fit = Calibration { temperature: 1.1, before: of(before.0, before.1), after: of(after.0, after.1) };
            calibration(Some(&fit), None).concat()
        };
        let rose = said((1.72, 0.034), (1.71, 0.039));
        assert!(rose.contains("it fell from 1.7200 to 1.7100"), "{rose}");
        assert!(
            rose.contains("Yet the calibration error on the same images rose from 3.4\u{a0}% to 3.9\u{a0}%"),
            "{rose}"
        );
        assert!(said((0.5, 0.05), (0.4, 0.01)).contains("In so doing, the calibration error on the same images fell"));
        assert!(said((0.5, 0.01), (0.5, 0.01)).contains("it stayed at 0.5000"));
        assert!(calibration(None, None).concat().contains("No temperature was fitted"));
    }

    #[test]
    fn the_share_that_lies_beyond_the_line_is_what_was_found() {
        let found = |rejected| {
            let unknown = Unknown {
                false_rejection: 0.05,
                rejected_held_out_images: rejected,
                auroc_of_left_out_classes: None,
                rejected_test_images: None,
            };
            super::unknown(Some(&unknown)).concat()
        };
        let said = found(0.012);
        assert!(
            said.contains("than those of 98.8\u{a0}% of held out images are (5.0\u{a0}% may be called so)"),
            "{said}"
        );
        assert!(unknown(None).is_empty());
    }

    #[test]
    fn what_was_kept_is_told_with_its_figures() {
        let row = |epoch, top1, loss| HistoryRow {
            epoch,
            step: 1,
            seconds: 1.0,
            train_loss: 1.0,
            train_top1: 0.5,
            validation_loss: loss,
            validation_top1: top1,
            validation_top5: None,
            validation_map: None,
            learning_rate: 0.1,
        };
        let said = kept(Some(&row(2.0, Some(0.7), Some(0.9)))).expect("there is one");
        assert!(said.contains("epoch 2.0: validation accuracy") && said.contains("loss 0.9000"), "{said}");
        assert!(kept(None).is_none() && kept(Some(&row(1.0, None, None))).is_none());
    }
}
