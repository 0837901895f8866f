//! The page.

use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Report, Shown};
use crate::{evaluate::Evaluation, image::encode_png};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d2939; --soft: #667085; --paper: #fcfcfd; --card: #ffffff; --line: #e4e7ec; --mark: #0072B2; }
@media (prefers-color-scheme: dark) { :root { --ink: #eaecf0; --soft: #98a2b3; --paper: #101418; --card: #181d23; --line: #2c343d; --mark: #56B4E9; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { max-width: 42rem; margin: .5rem 0; }
.soft { color: var(--soft); }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.facts div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .6rem .8rem; }
.facts dt { color: var(--soft); font-size: .8rem; }
.facts dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .75rem; overflow-x: auto; max-width: 100%; }
.plots .card { flex: 1 1 26rem; }
.card svg { display: block; max-width: 100%; height: auto; }
.wide svg { max-width: none; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); gap: .75rem; }
figure { margin: 0; font-size: .8rem; line-height: 1.3; overflow-wrap: anywhere; }
figure img { width: 100%; border-radius: .35rem; border: 1px solid var(--line); display: block; margin-bottom: .25rem; }
figure img.small { image-rendering: pixelated; }
pre { margin: 0; font-size: .85rem; }
@media print { .card, .facts div { break-inside: avoid; } }
";

/// Pictures up to this side are shown with their pixels.
const SMALL: usize = 64;

pub(super) fn html(report: &Report, pictures: &[(&str, String)]) -> String {
    let picture = |name: &str| pictures.iter().find(|(file, _)| *file == name).map(|(_, svg)| PreEscaped(svg.clone()));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (report.title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                h1 { (report.title) }
                @if !report.facts.is_empty() {
                    dl.facts { @for (label, value) in &report.facts { div { dt { (label) } dd { (value) } } } }
                }
                @for remark in &report.remarks { p { (remark) } }
                @if let (Some(loss), Some(accuracy)) = (picture("loss.svg"), picture("accuracy.svg")) {
                    h2 { "Learning" }
                    div.plots { div.card { (loss) } div.card { (accuracy) } }
                }
                @if let Some((split, evaluation)) = &report.measured { (measured(report, split, evaluation, picture("confusion.svg"))) }
                (gallery("Mistakes", "The surest wrong answers among the images measured.", &report.mistakes))
                @if let (Some([before, after]), Some(svg)) = (&report.calibration, picture("reliability.svg")) {
                    h2 { "Calibration" }
                    p { "On validation images the mean gap between confidence and accuracy was "
                        (percent(before.calibration_error)) " before and is " (percent(after.calibration_error))
                        " after the logits were divided by a fitted temperature. On the dashed line, confidence is what it says." }
                    div.card { (svg) }
                }
                (gallery("What each class looks for",
                    "A linear model counts votes: each pixel's colour votes for or against each class. Bright means for, dark against, \
                     grey neither. What you see is the average outline that the class shares.", &report.templates))
                (gallery("A training batch", "As the network saw it, after augmentation.", &report.samples))
                @if !report.settings.is_empty() {
                    h2 { "Settings" }
                    div.card { pre { (report.settings) } }
                }
                p.soft { "Made by Percept " (env!("CARGO_PKG_VERSION")) "." }
            } }
        }
    };
    page.into_string()
}

fn measured(report: &Report, split: &str, evaluation: &Evaluation, confusion: Option<PreEscaped<String>>) -> Markup {
    let confused = evaluation.confused(5);
    html! {
        h2 { "Confusion" }
        p { "Rows are what the " (split) " images are, columns what they were taken for." }
        @if let Some(svg) = confusion { div.card.wide { (svg) } }
        @if !confused.is_empty() {
            p { "Most often confused: "
                @for (index, (label, predicted, times)) in confused.iter().enumerate() {
                    @if index > 0 { "; " }
                    (report.classes[*label]) " taken for " (report.classes[*predicted]) " (" (times) ")"
                } "." }
        }
        h2 { "Classes" }
        div.card { table {
            thead { tr { th { "class" } th { "precision" } th { "recall" } th { "F1" } th { "images" } } }
            tbody { @for (name, class) in report.classes.iter().zip(&evaluation.classes) {
                tr { td { (name) } td { (percent(class.precision)) } td { (percent(class.recall)) } td { (percent(class.f1)) } td { (class.support) } }
            } }
        } }
    }
}

fn gallery(title: &str, explanation: &str, pictures: &[Shown]) -> Markup {
    html! {
        @if !pictures.is_empty() {
            h2 { (title) }
            p { (explanation) }
            div.pictures { @for Shown { image, caption, name } in pictures {
                figure title=(name) {
                    img class=[(image.shape.height.max(image.shape.width) <= SMALL).then_some("small")] alt=(caption)
                        src={ "data:image/png;base64," (STANDARD.encode(encode_png(image))) };
                    figcaption { (caption) }
                }
            } }
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
