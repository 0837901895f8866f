//! What pictures are, against what they were taken for: a table that is shaded, and readable for two classes and for a
//! hundred.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::{
    known::Measured,
    layout::percent,
    words::{Words, fill},
};

/// More classes than this do not fit on a page with their names: those most often confused are shown.
const SHOWN_CLASSES: usize = 20;
/// Up to this many classes the whole matrix is there too, to scroll in.
const WHOLE: usize = 120;
/// Pairs that are listed.
const PAIRS: usize = 10;
/// Letters of a short name.
const SHORT: usize = 3;
/// Steps of shading beside none.
const SHADES: f64 = 10.0;

/// The part in which most mistakes lie, the pairs, and the whole where there is more.
pub fn matrix(measured: &Measured, names: &[String], words: &Words, split: &str) -> Markup {
    let shown = shown_classes(measured);
    let is_part = shown.len() < names.len();
    html! {
        p { (fill(words.confusion_note, &[("split", &split)])) }
        @if is_part { p { (fill(words.confusion_part, &[("shown", &shown.len()), ("count", &names.len())])) } }
        (table(measured, names, &shown, words))
        (pairs(measured, names, words))
        @if is_part && names.len() <= WHOLE {
            details {
                summary { (words.confusion_whole) }
                (table(measured, names, &(0..names.len()).collect::<Vec<_>>(), words))
            }
        } @else if is_part {
            p.soft { (words.confusion_too_many) }
        }
    }
}

fn table(measured: &Measured, names: &[String], shown: &[usize], words: &Words) -> Markup {
    let rest = names.len() - shown.len();
    let others = fill(words.others, &[("count", &rest)]);
    // Names that fit above a column need not be turned.
    let short = rest == 0 && shown.iter().all(|&class| names[class].chars().count() <= SHORT);
    html! {
        div.scroll tabindex="0" role="group" aria-label=(words.confusion) { table.matrix.many[shown.len() > 12].short[short] {
            thead { tr {
                td { (words.actual) " ↓ " (words.taken_for) " →" }
                @for &class in shown { th scope="col" { span { (names[class]) } } }
                @if rest > 0 { th scope="col" { span { (others) } } }
            } }
            tbody { @for &label in shown {
                @let row = &measured.confusion[label];
                @let total: usize = row.iter().sum();
                tr {
                    th scope="row" { (names[label]) }
                    @for &class in shown { (cell(row[class], total, &names[label], &names[class], label == class, words)) }
                    @if rest > 0 {
                        @let outside = total - shown.iter().map(|&class| row[class]).sum::<usize>();
                        (cell(outside, total, &names[label], &others, false, words))
                    }
                }
            } }
        } }
    }
}

fn cell(times: usize, total: usize, actual: &str, taken: &str, right: bool, words: &Words) -> Markup {
    if times == 0 {
        return html! { td.right[right] {} };
    }
    // Small shares are what one looks for: the root lifts them.
    let depth = (SHADES * (times as f64 / total.max(1) as f64).sqrt()).ceil();
    let says = fill(words.cell, &[("actual", &actual), ("taken", &taken), ("times", &times), ("total", &total)]);
    let class = format!("shade-{depth}{}", if right { " right" } else { "" });
    html! { td class=(class) title=(says) { (times) } }
}

fn pairs(measured: &Measured, names: &[String], words: &Words) -> Markup {
    let pairs: Vec<_> = confused(measured).into_iter().take(PAIRS).collect();
    if pairs.is_empty() {
        return html! { p { (words.no_mistakes) } };
    }
    html! {
        h3 { (words.pairs) }
        div.scroll tabindex="0" role="group" aria-label=(words.pairs) { table.plain {
            thead { tr {
                th scope="col" { (words.actual) } th scope="col" { (words.taken_for) }
                th.number scope="col" { (words.times) } th.number scope="col" { (words.share) }
            } }
            tbody { @for (label, predicted, times) in pairs {
                tr {
                    th scope="row" { (names[label]) } td { (names[predicted]) } td.number { (times) }
                    td.number { (percent(times as f64 / measured.classes[label].support.max(1) as f64)) }
                }
            } }
        } }
    }
}

/// True class, predicted class, times; the most often confused first.
fn confused(measured: &Measured) -> Vec<(usize, usize, usize)> {
    let rows = measured.confusion.iter().enumerate();
    let cells = rows.flat_map(|(label, row)| row.iter().enumerate().map(move |(class, &times)| (label, class, times)));
    let mut pairs: Vec<_> = cells.filter(|&(label, class, times)| label != class && times > 0).collect();
    pairs.sort_by_key(|&(label, class, times)| (Reverse(times), label, class));
    pairs
}

/// All classes, or the parties to the commonest confusions, each pair beside each other.
fn shown_classes(measured: &Measured) -> Vec<usize> {
    let count = measured.confusion.len();
    if count <= SHOWN_CLASSES {
        return (0..count).collect();
    }
    let mut shown = Vec::new();
    for (label, predicted, _) in confused(measured) {
        for class in [label, predicted] {
            if shown.len() < SHOWN_CLASSES && !shown.contains(&class) {
                shown.push(class);
            }
        }
    }
    // Where little is confused, the first ones fill up.
    let missing: Vec<usize> = (0..count).filter(|class| !shown.contains(class)).collect();
    shown.extend(missing.into_iter().take(SHOWN_CLASSES - shown.len()));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::{known::ClassFigures, language::Language, words::words};

    fn measured(classes: usize, wrong: &[(usize, usize)]) -> Measured {
        let mut confusion = vec![vec![0; classes]; classes];
        (0..classes).for_each(|class| confusion[class][class] = 9);
        wrong.iter().for_each(|&(label, class)| confusion[label][class] += 1);
        let figures = ClassFigures { precision: 0.9, recall: 0.9, f1: 0.9, support: 9 };
        Measured { classes: vec![figures; classes], confusion }
    }

    fn drawn(classes: usize, wrong: &[(usize, usize)]) -> String {
        let names: Vec<String> = (0..classes).map(|class| format!("class {class}")).collect();
        matrix(&measured(classes, wrong), &names, words(Language::English), "test").into_string()
    }

    #[test]
    fn few_classes_are_shown_whole_and_many_by_their_mistakes() {
        let few = drawn(2, &[(0, 1)]);
        assert!(few.contains("class 0 taken for class 1: 1 of 10") && !few.contains("<details"), "{few}");
        let many = drawn(100, &[(70, 95)]);
        assert!(many.contains("80 others") && many.contains("<details"), "{many}");
        assert!(many.find("class 70").unwrap() < many.find("class 0<").unwrap());
        let huge = drawn(500, &[]);
        assert!(huge.contains("metrics.json") && huge.contains("no mistake") && huge.len() < 60_000);
    }
}
