//! The page that recognises: draw, drop, paste, choose or photograph, and read the answers. Works without programs too,
//! as a plain form.

use maud::{Markup, html};

use super::{
    answers::{self, Answered},
    known::{self, Accuracy, Drawn, Known},
    layout::{percent, start_address, thousands},
    words::{Words, fill, list},
};
use crate::ModelView;

/// Up to this many classes are named in one sentence, if their names are no longer than so many letters together.
const NAMED: usize = 12;
const LETTERS: usize = 60;
/// Classes that stand for more of them.
const EXAMPLES: usize = 4;

/// What the page is made of.
pub struct Start<'p> {
    /// All models that are served.
    pub models: &'p [ModelView],
    /// The one that answers.
    pub model: &'p ModelView,
    /// What its run's folder tells.
    pub known: &'p Known,
    /// How to draw for it, if that makes sense.
    pub drawn: Option<Drawn>,
    /// Whether explanations are votes of pixels, for and against.
    pub votes: bool,
    /// The reader's words.
    pub words: &'static Words,
    /// Answers of a form that was sent without programs.
    pub answered: &'p [Answered],
    /// The token that came with that form.
    pub token: Option<&'p str>,
}

/// The content.
pub fn content(start: &Start) -> Markup {
    let Start { models, model, known, drawn, votes, words, answered, .. } = *start;
    let classes = &model.card().classes;
    let script = serde_json::to_string(&words.script).unwrap_or_default();
    html! {
        div id="page" data-model=(model.name()) data-version=(model.version()) data-unknown=(words.unknown) data-words=(script) {}
        div.hero {
            h1 { (words.question) }
            p.lead { (lead(model, words)) }
            @if models.len() > 1 { nav.models aria-label=(words.models) { @for other in models {
                @let here = (other.name() == model.name()).then_some("page");
                a href=(start_address(other.name())) aria-current=[here] { (other.name()) }
            } } }
        }
        @if let Some(drawn) = drawn { (drawing(drawn, classes, words)) }
        (upload(start))
        section.answers hidden[answered.is_empty()] aria-labelledby="answers" {
            div.title {
                h2 id="answers" tabindex="-1" { (words.answers) }
                button.clear-all type="button" hidden { (words.clear_all) }
            }
            ol.results { (answers::cards(answered, words)) }
        }
        p.unseen role="status" aria-live="polite" id="said" {}
        (learned(known, classes, words))
        dialog.camera aria-labelledby="camera" {
            h2 id="camera" { (words.camera) }
            video autoplay muted playsinline {}
            p.problem hidden role="alert" {}
            div.actions {
                button.primary.shoot type="button" { (words.shoot) }
                button.cancel type="button" { (words.cancel) }
            }
        }
        (answers::templates(classes, model.collects(), votes, drawn.is_some(), words))
    }
}

/// What the model knows, and how well, in a sentence or two.
fn lead(model: &ModelView, words: &Words) -> Markup {
    let classes: Vec<&str> = model.card().classes.iter().map(String::as_str).collect();
    let (name, count) = (model.name(), thousands(classes.len() as u64));
    let letters: usize = classes.iter().map(|class| class.chars().count()).sum();
    let tells = if classes.len() <= EXAMPLES || classes.len() <= NAMED && letters <= LETTERS {
        fill(words.tells, &[("model", &name), ("classes", &list(&classes, words))])
    } else {
        let some = classes[..EXAMPLES].join(words.comma);
        fill(words.tells_many, &[("model", &name), ("count", &count), ("classes", &some)])
    };
    html! {
        (tells)
        @if let Some((Accuracy { test, scores }, share)) = known::accuracy(model).and_then(|found| { let share = found.scores.top1?; Some((found, share)) }) {
            @let split = if test { words.test } else { words.validation };
            @let images = thousands(scores.images as u64);
            (fill(words.was_right, &[("percent", &percent(share)), ("images", &images), ("split", &split)]))
        }
    }
}

fn drawing(drawn: Drawn, classes: &[String], words: &Words) -> Markup {
    let names: Vec<&str> = classes.iter().take(NAMED).map(String::as_str).collect();
    let Drawn { light_on_dark, extent, side } = drawn;
    html! {
        section.card.draw hidden aria-labelledby="draw" data-side=(side) data-extent=(format!("{extent:.3}"))
            data-light=(if light_on_dark { "true" } else { "false" }) {
            div.pad {
                h2 id="draw" { (words.draw) }
                canvas tabindex="0" role="img" aria-label=(words.canvas) aria-describedby="draw-keys" data-hint=(words.draw_here) width="560" height="560" {}
                div.actions {
                    button.undo type="button" disabled { (words.undo) }
                    button.clear type="button" disabled { (words.clear) }

                }
            }
            div.said {
                div.empty {
                    p.hint { (fill(words.draw_hint, &[("classes", &names.join(words.comma))])) }
                    p.soft { (words.answer_here) }
                }
                ul.results {}
                p.soft.keys id="draw-keys" { (words.canvas_keys) }
            }
        }
    }
}

fn upload(start: &Start) -> Markup {
    let Start { model, words, token, .. } = *start;
    let privacy = if model.collects() { words.privacy_collects } else { words.privacy };
    html! {
        form.card.zone method="post" action=(start_address(model.name())) enctype="multipart/form-data"
            aria-label=(words.upload) {
            @if let Some(token) = token { input type="hidden" name="token" value=(token); }
            svg.icon viewBox="0 0 48 48" width="48" height="48" aria-hidden="true" {
                path d="M6 15V9a3 3 0 0 1 3-3h6M33 6h6a3 3 0 0 1 3 3v6M42 33v6a3 3 0 0 1-3 3h-6M15 42H9a3 3 0 0 1-3-3v-6" {}
                path d="M11 33l8-10 6 7 5-6 7 9z" {}
                circle cx="30" cy="17" r="2.6" {}
            }
            div.ways {
                span.pick {
                    input type="file" name="file" id="file" accept="image/*,.tif,.tiff,.bmp" multiple required;
                    label.button.primary for="file" { (words.choose) }
                }
                button.photograph type="button" hidden { (words.photograph) }
                noscript { button.primary type="submit" { (words.submit) } }
            }
            p.drop { (words.or_drop) }
            noscript { p { (words.no_script) } }
            p.soft { (words.formats) span.dot aria-hidden="true" { " · " } span.privacy { (privacy) } }
        }
    }
}

/// Pictures of what it knows, or its classes where there are none.
fn learned(known: &Known, classes: &[String], words: &Words) -> Markup {
    html! {
        @if known.samples.is_empty() {
            section.learned aria-labelledby="learned" {
                h2 id="learned" { (words.all_classes) }
                (names(classes))
            }
        } @else {
            section.learned aria-labelledby="learned" {
                h2 id="learned" { (words.samples) }
                (pictures(known))
            }
        }
    }
}

/// Sample pictures with their classes.
pub fn pictures(known: &Known) -> Markup {
    html! { ul.samples { @for sample in &known.samples { li { figure {
        img.small[sample.small] src=(sample.address) alt="" width="96" height="96";
        figcaption { (sample.class) }
    } } } } }
}

/// Class names beside each other; many are folded away.
pub fn names(classes: &[String]) -> Markup {
    const OPEN: usize = 60;
    let some = |names: &[String]| html! { ul.names { @for name in names { li { (name) } } } };
    html! {
        (some(&classes[..classes.len().min(OPEN)]))
        @if classes.len() > OPEN {
            details { summary { "+ " (classes.len() - OPEN) } (some(&classes[OPEN..])) }
        }
    }
}
