//! The HTML report of a run, and its pictures as SVG. Knows figures and pixels; runs no network.

mod classes;
mod confusion;
mod curves;
mod gallery;
mod page;
mod reliability;
mod scores;
mod several;
mod svg;
mod templates;
#[cfg(test)]
mod tests;
mod words;

pub use templates::weight_templates;

use serde::Serialize;

use crate::{evaluate::Evaluation, image::Image, train::HistoryRow};
use svg::Drawing;

/// A picture with what is to be said of it.
pub struct Shown {
    /// The pixels.
    pub image: Image,
    /// What in it spoke for the answer, drawn over it.
    pub overlay: Option<Image>,
    /// What stands below it.
    pub caption: String,
    /// What tells it from others, such as the file's name.
    pub name: String,
}

/// The figure that counts, on one split.
pub struct Accuracy {
    /// `training`, `validation` or `test`.
    pub split: &'static str,
    /// What the split was used for.
    pub purpose: &'static str,
    /// Share of right answers, or mean average precision.
    pub value: f64,
    /// Its 95 % interval, of the split whose figure is reported.
    pub interval: Option<[f64; 2]>,
    /// Images measured.
    pub images: usize,
}

/// Validation before and after a temperature was fitted to it.
pub struct Calibration {
    /// What logits are divided by.
    pub temperature: f32,
    /// At a temperature of 1.
    pub before: Evaluation,
    /// At the one that was fitted.
    pub after: Evaluation,
}

/// How images unlike all that was seen are told.
#[derive(Clone, Debug, Serialize)]
pub struct Unknown {
    /// Share of held out images that may be called unknown.
    pub false_rejection: f64,
    /// Share of held out images that are.
    pub rejected_held_out_images: f64,
    /// How often an image of a class that was left out is farther than a held out one of the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auroc_of_left_out_classes: Option<f64>,
    /// Share of the test images that are called unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_test_images: Option<f64>,
}

/// All that a report shows. What is empty or `None` is left out.
#[derive(Default)]
pub struct Report {
    /// Model and data.
    pub title: String,
    /// What the figure that counts is called: `accuracy`, or `mAP` where images may show several classes.
    pub figure: &'static str,
    /// One a split that was measured.
    pub accuracies: Vec<Accuracy>,
    /// Further figures, in order: label and value.
    pub facts: Vec<(String, String)>,
    /// Sentences on the run and its data.
    pub remarks: Vec<String>,
    /// Every setting, as text.
    pub settings: String,
    /// One row an evaluation.
    pub history: Vec<HistoryRow>,
    /// The row whose weights were kept, where validation chose.
    pub kept: Option<HistoryRow>,
    /// Sentences on how to read it.
    pub learning: Vec<String>,
    /// Epochs, and the learning rate there.
    pub learning_rates: Vec<(f64, f64)>,
    /// Class names by label.
    pub classes: Vec<String>,
    /// The split that was measured, its name first.
    pub measured: Option<(String, Evaluation)>,
    /// Where a temperature was fitted.
    pub calibration: Option<Calibration>,
    /// Where the model calls images unknown.
    pub unknown: Option<Unknown>,
    /// A batch as the network saw it.
    pub samples: Vec<Shown>,
    /// The surest wrong answers.
    pub mistakes: Vec<Shown>,
    /// Weights of a linear model, one picture a class.
    pub templates: Vec<Shown>,
}

/// A finished report.
pub struct Rendered {
    /// One self-contained page.
    pub html: String,
    /// File names and contents of its pictures.
    pub pictures: Vec<(&'static str, String)>,
}

/// A drawing and the name of its file.
type Picture = (&'static str, Drawing);

/// Renders a report.
pub fn render(report: &Report) -> Rendered {
    let mut pictures = plots(report);
    let html = page::html(report, &pictures);
    for (name, title, shown) in [
        ("mistakes.svg", "Worst mistakes", &report.mistakes),
        ("templates.svg", "What each class looks for", &report.templates),
        ("batch.svg", "A training batch", &report.samples),
    ] {
        if !shown.is_empty() {
            pictures.push((name, gallery::grid(title, shown)));
        }
    }
    Rendered { html, pictures: pictures.into_iter().map(|(name, drawing)| (name, drawing.file())).collect() }
}

fn plots(report: &Report) -> Vec<Picture> {
    let mut plots = Vec::new();
    if !report.accuracies.is_empty() {
        plots.push(("scores.svg", scores::bars(&report.accuracies, report.figure)));
    }
    if !report.history.is_empty() {
        plots.push(("accuracy.svg", curves::accuracy(&report.history)));
        plots.push(("loss.svg", curves::loss(&report.history)));
    }
    if !report.learning_rates.is_empty() {
        plots.push(("learning-rate.svg", curves::learning_rate(&report.learning_rates)));
    }
    if let Some((_, evaluation)) = &report.measured
        && !evaluation.confusion.is_empty()
    {
        plots.push(("confusion.svg", confusion::matrix(evaluation, &report.classes)));
    }
    match (&report.calibration, &report.measured) {
        (Some(Calibration { before, after, .. }), _) => {
            let lines = [("validation before", before), ("validation after", after)];
            plots.push(("reliability.svg", reliability::diagram(&lines)));
        }
        (None, Some((split, evaluation))) => {
            plots.push(("reliability.svg", reliability::diagram(&[(split, evaluation)])));
        }
        (None, None) => {}
    }
    plots
}
