//! Answers as cards: the templates that the page's programs fill in, and the same cards for readers without programs.

use maud::{Markup, html};

use super::{
    layout::percent,
    words::{Words, fill},
};

/// What the model says of one picture.
pub struct Answer {
    /// The likeliest first.
    pub predictions: Vec<Likelihood>,
    /// Whether it is unlike all that the model has learned from.
    pub unknown: bool,
    /// How long it took.
    pub milliseconds: f64,
}

/// A class and how likely it is.
pub struct Likelihood {
    /// Its name.
    pub class: String,
    /// From 0 to 1.
    pub probability: f64,
    /// Whether the picture is said to show it, where it may show several classes.
    pub chosen: Option<bool>,
}

/// A picture and its answer, without programs.
pub struct Answered {
    /// The file's name.
    pub file: String,
    /// The picture as an address that holds it, if it could be read.
    pub picture: Option<String>,
    /// Whether its pixels are to be seen.
    pub small: bool,
    /// The answer, or a sentence on why there is none.
    pub answer: Result<Answer, String>,
}

/// The templates that programs fill in: a card, a bar, and the form that names the right class.
pub fn templates(classes: &[String], collects: bool, votes: bool, drawn: bool, words: &Words) -> Markup {
    html! {
        template id="card" { li.card.result {
            figure {
                div.frame { img.picture alt=""; img.overlay alt="" hidden; }
                figcaption { span.file {} }
            }
            div.answer {
                h3.verdict { span.name { (words.script.looking) } " " span.share {} }
                p.unknown-note hidden { (words.unknown_note) }
                p.problem hidden { span.sentence {} " " span.detail lang="en" {} }
                p.nearest hidden { (words.nearest) }
                ol.bars hidden aria-label=(words.likeliest) {}
                p.why-note hidden { (if votes { words.why_note_votes } else { words.why_note }) }
                div.actions {
                    button.again type="button" hidden { (words.script.try_again) }
                    button.why type="button" aria-pressed="false" hidden { (words.why) }
                    @if drawn { button.invert type="button" hidden { (words.invert) } }
                    @if collects { button.wrong type="button" aria-expanded="false" hidden { (words.wrong) } }
                    span.time {}
                }
                p.kept hidden {}
            }
            button.remove type="button" title=(words.remove) { span aria-hidden="true" { "×" } }
        } }
        template id="bar" { (bar(None, words)) }
        @if collects { template id="correction" { form.correction {
            h4 { (words.correct_title) }
            div.fields {
                label { (words.correct_class)
                    select name="class" {
                        option value="" { (words.correct_choose) }
                        @for class in classes { option value=(class) { (class) } }
                    }
                }
                label { (words.correct_other) input type="text" name="other" maxlength="80" autocomplete="off"; }
            }
            p.soft { (words.correct_note) }
            p.problem hidden role="alert" {}
            div.actions {
                button.primary type="submit" { (words.keep) }
                button.cancel type="button" { (words.cancel) }
            }
        } } }
    }
}

/// A class with its bar. The figure is read aloud, the bar is not. Of nothing the empty template.
fn bar(likelihood: Option<&Likelihood>, words: &Words) -> Markup {
    let (class, probability) = likelihood.map_or(("", 0.0), |likely| (&likely.class, likely.probability));
    let chosen = likelihood.is_some_and(|likely| likely.chosen == Some(true));
    html! { li.chosen[chosen] {
        span.class { (class) }
        meter min="0" max="1" value=(format!("{probability:.4}")) aria-hidden="true" {}
        span.percent { @if likelihood.is_some() { (percent(probability)) } }
        span.unseen.shown hidden[!chosen] { (words.script.shown) }
    } }
}

/// What a picture is said to show, and how likely that is where it is one class.
fn said(predictions: &[Likelihood], words: &Words) -> Option<(String, Option<f64>)> {
    let likeliest = predictions.first()?;
    if likeliest.chosen.is_none() {
        return Some((likeliest.class.clone(), Some(likeliest.probability)));
    }
    let chosen: Vec<&Likelihood> = predictions.iter().filter(|likely| likely.chosen == Some(true)).collect();
    Some(match chosen[..] {
        [] => (words.script.none_of_them.into(), None),
        [one] => (one.class.clone(), Some(one.probability)),
        _ => {
            let names: Vec<&str> = chosen.iter().map(|likely| likely.class.as_str()).collect();
            (names.join(words.script.and), None)
        }
    })
}

/// Finished cards.
pub fn cards(answered: &[Answered], words: &Words) -> Markup {
    html! { @for Answered { file, picture, small, answer } in answered {
        li.card.result {
            figure {
                @if let Some(address) = picture {
                    div.frame { img.picture.small[*small] src=(address) alt=(fill(words.script.picture_of, &[("file", file)])); }
                }
                figcaption { span.file { (file) } }
            }
            div.answer { @match answer {
                Ok(answer) => { (verdict(answer, words)) }
                Err(sentence) => { p.problem { (sentence) } }
            } }
        }
    } }
}

fn verdict(answer: &Answer, words: &Words) -> Markup {
    let Answer { predictions, unknown, milliseconds } = answer;
    html! {
        @if *unknown {
            h3.verdict { span.name { (words.unknown) } }
            p.unknown-note { (words.unknown_note) }
            p.nearest { (words.nearest) }
        } @else if let Some((name, probability)) = said(predictions, words) {
            h3.verdict { span.name { (name) } " " span.share { @if let Some(share) = probability { (percent(share)) } } }
        }
        ol.bars.muted[*unknown].several[predictions.iter().any(|likely| likely.chosen.is_some())] aria-label=(words.likeliest) {
            @for likelihood in predictions { (bar(Some(likelihood), words)) }
        }
        div.actions { span.time { (fill(words.script.milliseconds, &[("n", &format!("{milliseconds:.1}"))])) } }
    }
}
