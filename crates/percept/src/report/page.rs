//! The page: one file that loads nothing, for any screen, by day and by night, and for paper.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Picture, Report, Shown, classes, confusion::SHOWN_CLASSES, gallery, several, words};

const STYLE: &str = include_str!("style.css");
/// Whatever a name may smuggle in, a browser loads and runs nothing.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// A part of the page.
struct Section {
    anchor: &'static str,
    title: &'static str,
    content: Markup,
}

pub(super) fn html(report: &Report, pictures: &[Picture]) -> String {
    let sections = sections(report, pictures);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (report.title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                h1 { (report.title) }
                @if let Some(headline) = report.accuracies.iter().find(|accuracy| accuracy.interval.is_some()) {
                    p.headline { b { (words::percent(headline.value)) } (headline.split) " " (report.figure) }
                }
                nav { @for section in &sections { a href={ "#" (section.anchor) } { (section.title) } } }
                (summary(report, pictures))
                @for Section { anchor, title, content } in sections {
                    section { h2 id=(anchor) { (title) } (content) }
                }
                p.soft { "Made by Percept " (env!("CARGO_PKG_VERSION")) "." }
            } }
        }
    };
    page.into_string()
}

fn sections(report: &Report, pictures: &[Picture]) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut add = |there: bool, anchor, title, content: Markup| {
        if there {
            sections.push(Section { anchor, title, content });
        }
    };
    add(!report.history.is_empty(), "learning", "Learning", learning(report, pictures));
    if let Some((split, evaluation)) = &report.measured {
        let many = evaluation.classes.len() > SHOWN_CLASSES / 2;
        let confusion = html! {
            p { "Each row holds the " (split) " images of one class; the columns are what they were taken for. The diagonal is right." }
            @if evaluation.classes.len() > SHOWN_CLASSES {
                p { "Shown are the " (SHOWN_CLASSES) " classes of " (evaluation.classes.len()) " among which most confusions lie; \
                    metrics.json holds the whole matrix." }
            }
            div.cards[!many] {
                div.card.matrix.many[many] { (plot(pictures, "confusion.svg")) }
                @if !evaluation.confusion.is_empty() { (classes::confused(report, evaluation)) }
            }
        };
        add(!evaluation.confusion.is_empty(), "confusion", "Confusion", confusion);
        let table = match &evaluation.scores.several {
            Some(scores) => several::table(report, split, evaluation, scores),
            None => classes::table(report, split, evaluation),
        };
        add(true, "classes", "Classes", table);
        let explained = report.mistakes.iter().any(|shown| shown.overlay.is_some());
        let mistakes = html! {
            p { "The " (split) " images that were wrong with the highest confidence. Look here for labels that are wrong, and for what \
                the training images lack." @if explained {
                " Beside each: what in it spoke for the class in question, the brighter the more."
            } }
            (figures(&report.mistakes))
        };
        add(!report.mistakes.is_empty(), "mistakes", "Worst mistakes", mistakes);
    }
    let measured = report.measured.as_ref().map(|(split, evaluation)| (split.as_str(), evaluation));
    let calibration = html! {
        @for sentence in words::calibration(report.calibration.as_ref(), measured) { p { (sentence) } }
        div.card.narrow { (plot(pictures, "reliability.svg")) }
    };
    let probabilities = report.calibration.is_some() || report.measured.is_some();
    add(probabilities, "calibration", "Calibration", calibration);
    let unknown = html! { @for sentence in words::unknown(report.unknown.as_ref()) { p { (sentence) } } };
    add(report.unknown.is_some(), "unknown", "Unknown images", unknown);
    let templates = html! {
        p { "The weights of a linear model, drawn as pictures. Each pixel's colour votes for or against each class: bright where it \
            speaks for the class, dark where against it, grey where it says nothing. Such a model has one picture a class, so what \
            you see is an average of all its images." }
        (figures(&report.templates))
    };
    add(!report.templates.is_empty(), "templates", "What each class looks for", templates);
    let samples = html! { p { "As the network saw it, after augmentation." } (figures(&report.samples)) };
    add(!report.samples.is_empty(), "batch", "A training batch", samples);
    let settings = html! { div.card.settings { pre { (report.settings) } } };
    add(!report.settings.is_empty(), "settings", "Settings", settings);
    sections
}

fn summary(report: &Report, pictures: &[Picture]) -> Markup {
    let figure = report.figure;
    let said = [words::certainty(&report.accuracies, figure), words::overfitting(&report.accuracies, figure)];
    html! {
        @if !report.accuracies.is_empty() {
            div.cards {
                div.card { (plot(pictures, "scores.svg")) }
                div.words {
                    @for sentence in said.iter().flatten().chain(&report.remarks) { p { (sentence) } }
                }
            }
        } @else {
            @for sentence in &report.remarks { p { (sentence) } }
        }
        @if !report.facts.is_empty() {
            dl.facts { @for (label, value) in &report.facts { div { dt { (label) } dd { (value) } } } }
        }
    }
}

fn learning(report: &Report, pictures: &[Picture]) -> Markup {
    html! {
        div.cards { @for name in ["accuracy.svg", "loss.svg", "learning-rate.svg"] {
            @if let Some(svg) = drawn(pictures, name) { div.card { (svg) } }
        } }
        @for sentence in words::kept(report.kept.as_ref()).iter().chain(&report.learning) { p { (sentence) } }
    }
}

fn plot(pictures: &[Picture], name: &str) -> Markup {
    html! { @if let Some(svg) = drawn(pictures, name) { (svg) } }
}

fn drawn(pictures: &[Picture], name: &str) -> Option<PreEscaped<String>> {
    pictures.iter().find(|picture| picture.0 == name).map(|picture| PreEscaped(picture.1.inline()))
}

fn figures(pictures: &[Shown]) -> Markup {
    html! {
        div.pictures.pairs[pictures.iter().any(|shown| shown.overlay.is_some())] {
            @for Shown { image, overlay, caption, name } in pictures { figure {
                div {
                    img class=[gallery::is_small(image).then_some("small")] alt=(caption) src=(gallery::data_address(image));
                    @if let Some(overlay) = overlay {
                        img alt={ "what spoke for the answer: " (caption) } src=(gallery::data_address(overlay));
                    }
                }
                figcaption { (caption) @if name != caption { span { (name) } } }
            } }
        }
    }
}
