//! The page that tells of a model: how often it is right, what it takes for what, what it learned from, how it is made.
//! What is not known is left out, with a sentence.

use std::time::{SystemTime, UNIX_EPOCH};

use maud::{Markup, html};
use percept::{
    image::{Fit, Views},
    model,
};

use super::{
    confusion,
    known::{self, Accuracy, Known, Measured},
    layout::{percent, start_address, thousands},
    start,
    words::{Words, fill},
};
use crate::ModelView;

/// More classes than this are folded away.
const OPEN: usize = 30;
/// Digits of a fingerprint that tell it from others.
const FINGERPRINT: usize = 16;

/// The content.
pub fn content(models: &[ModelView], model: &ModelView, known: &Known, words: &'static Words) -> Markup {
    let classes = &model.card().classes;
    let accuracy = known::accuracy(model);
    let split = if accuracy.as_ref().is_none_or(|accuracy| accuracy.test) { words.test } else { words.validation };
    html! {
        div.hero {
            h1 { (model.name()) }
            @if models.len() > 1 { nav.models aria-label=(words.models) { @for other in models {
                @let here = (other.name() == model.name()).then_some("page");
                a href=(super::layout::about_address(other.name())) aria-current=[here] { (other.name()) }
            } } }
        }
        section aria-labelledby="accuracy" {
            @let is_precision = accuracy.as_ref().is_some_and(|accuracy| accuracy.scores.several.is_some());
            h2 id="accuracy" { (if is_precision { words.mean_precision_head } else { words.accuracy }) }
            @if let Some(Accuracy { test, scores }) = &accuracy {
                @let share = scores.headline();
                @let [low, high] = scores.interval().unwrap_or_default();
                @let sentence = match (&scores.several, test) {
                    (Some(_), _) => words.mean_precision,
                    (None, true) => words.accuracy_test,
                    (None, false) => words.accuracy_validation,
                };
                p.headline { (percent(share)) }
                @if scores.interval().is_some() { div.interval aria-hidden="true" { (interval_drawing(share, low, high)) } }
                p { (fill(sentence, &[("images", &thousands(scores.images as u64)), ("split", &split), ("low", &percent(low)), ("high", &percent(high))]))
                    @if scores.several.is_some() && scores.interval().is_some() {
                        (fill(words.mean_precision_interval, &[("low", &percent(low)), ("high", &percent(high))]))
                    }
                }
            } @else {
                p { (words.no_accuracy) }
            }
        }
        section aria-labelledby="samples" {
            h2 id="samples" { (words.samples) }
            @if known.samples.is_empty() { p.soft { (words.no_samples) } }
            @else { p.soft { (words.samples_note) } (start::pictures(known)) }
        }
        @if let Some(measured) = known.measured.as_ref().filter(|measured| measured.classes.len() == classes.len()) {
            // Where a picture may show several classes, none is taken for another.
            @if !measured.confusion.is_empty() { section aria-labelledby="confusion" {
                h2 id="confusion" { (words.confusion) }
                (confusion::matrix(measured, classes, words, split))
            } }
            section aria-labelledby="classes" {
                h2 id="classes" { (words.classes) }
                p { (words.classes_note) }
                (table(measured, classes, words))
            }
        } @else {
            section aria-labelledby="classes" {
                h2 id="classes" { (words.classes) }
                (start::names(classes))
                p.soft { (words.no_run) }
            }
        }
        section aria-labelledby="card" {
            h2 id="card" { (words.card) }
            (card(model, known, words))
        }
        p { a.button.primary href=(start_address(model.name())) { (words.recognise) } }
    }
}

/// Where the accuracy lies between nothing and all, and how far it may be off.
fn interval_drawing(share: f64, low: f64, high: f64) -> Markup {
    let x = |share: f64| format!("{:.1}", 400.0 * share);
    html! {
        svg viewBox="0 0 400 20" preserveAspectRatio="none" width="400" height="20" focusable="false" {
            rect.all x="0" y="6" width="400" height="8" rx="4" {}
            rect.filled x="0" y="6" width=(x(share)) height="8" rx="4" {}
            rect.range x=(x(low)) y="2" width=(x((high - low).max(0.004))) height="16" rx="2" {}
        }
    }
}

/// A row a class, the weakest first.
fn table(measured: &Measured, names: &[String], words: &Words) -> Markup {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|&a, &b| measured.classes[a].f1.total_cmp(&measured.classes[b].f1).then(a.cmp(&b)));
    let (open, folded) = order.split_at(if order.len() > OPEN { OPEN / 2 } else { order.len() });
    let rows = |classes: &[usize]| {
        html! { div.scroll tabindex="0" role="group" aria-label=(words.classes) { table.plain {
            thead { tr {
                th scope="col" { (words.class) } th.number scope="col" { (words.found) }
                th.number scope="col" { (words.precise) } th.number scope="col" { (words.images) }
            } }
            tbody { @for &class in classes {
                @let figures = measured.classes[class];
                tr {
                    th scope="row" { (names[class]) }
                    @if figures.support == 0 { td.number { "–" } td.number { "–" } }
                    @else {
                        td.number { (percent(figures.recall)) meter min="0" max="1" value=(format!("{:.4}", figures.recall)) aria-hidden="true" {} }
                        td.number { (percent(figures.precision)) meter min="0" max="1" value=(format!("{:.4}", figures.precision)) aria-hidden="true" {} }
                    }
                    td.number { (figures.support) }
                }
            } }
        } } }
    };
    html! {
        (rows(open))
        @if !folded.is_empty() { details { summary { "+ " (folded.len()) } (rows(folded)) } }
    }
}

/// How it is made, and from what.
fn card(model: &ModelView, known: &Known, words: &Words) -> Markup {
    let card = model.card();
    let input = card.architecture.input;
    let colours = if input.channels == 1 { words.grey } else { words.colour };
    let fit = match card.fit {
        Fit::Stretch => words.stretch,
        Fit::Pad => words.pad,
        Fit::Crop => words.crop,
    };
    let mut preprocessing = vec![fit, words.normalised];
    if card.views != Views::One {
        preprocessing.push(words.mirrored);
    }
    let mut facts: Vec<(&str, String)> = vec![
        (words.architecture, card.model.clone()),
        (words.input, format!("{} × {}, {colours}", input.width, input.height)),
        (words.preprocessing, preprocessing.join(words.comma)),
    ];
    if let Ok(graph) = model::build(&card.model, &card.architecture) {
        facts.push((words.parameters, thousands(graph.trained_parameters() as u64)));
        facts.push((words.multiply_adds, thousands(graph.multiply_adds())));
    }
    if !card.data.is_empty() {
        facts.push((words.data, card.data.clone()));
        facts.push((words.fingerprint, card.fingerprint.chars().take(FINGERPRINT).collect()));
    }
    facts.push((
        words.calibration,
        match card.temperature == 1.0 {
            true => words.not_calibrated.into(),
            false => fill(words.calibrated, &[("temperature", &format!("{:.2}", card.temperature))]),
        },
    ));
    facts.push((
        words.unknown_pictures,
        match card.false_rejection.filter(|_| model.has_unknown()) {
            Some(share) => fill(words.rejects, &[("percent", &percent(share))]),
            None => words.rejects_none.into(),
        },
    ));
    if let Some(day) = known.ended.and_then(day) {
        facts.push((words.trained, day));
    }
    facts.push((words.version, model.version()));
    facts.push((words.made_with, format!("Percept {}", card.version)));
    html! { dl.facts { @for (label, value) in &facts { div { dt { (label) } dd { (value) } } } } }
}

/// Year, month and day of a moment in UTC (Howard Hinnant's `civil_from_days`).
fn day(moment: SystemTime) -> Option<String> {
    let days = moment.duration_since(UNIX_EPOCH).ok()?.as_secs() / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    Some(format!("{year}-{month:02}-{day:02}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let at = |seconds| day(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        assert_eq!(at(0), "1970-01-01");
        assert_eq!(at(951_782_400), "2000-02-29");
        assert_eq!(at(1_767_225_599), "2025-12-31");
    }
}
