//! The table of classes, the weakest first, and the pairs that were confused.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::{Report, words::percent};
use crate::evaluate::{ClassFigures, Evaluation};

/// More classes than this are folded away.
const OPEN: usize = 30;
/// Pairs of confused classes that are listed.
const PAIRS: usize = 10;
/// Below the mean by this much, a class is weak, unless it is for fewer mistakes than [`CHANCE`].
const WEAK: f64 = 0.02;
/// Fewer mistakes than this may be chance.
const CHANCE: usize = 3;

/// Pairs that were most often confused.
pub(super) fn confused(report: &Report, evaluation: &Evaluation) -> Markup {
    let pairs = evaluation.confused(PAIRS);
    html! {
        @if !pairs.is_empty() {
            div.card.table { table {
                thead { tr { th.name { "is" } th.name { "taken for" } th { "times" } th { "of the class" } } }
                tbody { @for (label, predicted, times) in pairs {
                    tr {
                        th.name scope="row" { (report.classes[label]) } td.name { (report.classes[predicted]) }
                        td { (times) } td { (share(times, evaluation.classes[label].support)) }
                    }
                } }
            } }
        }
    }
}

/// A row a class.
pub(super) fn table(report: &Report, split: &str, evaluation: &Evaluation) -> Markup {
    let mean = |figure: fn(&ClassFigures) -> f64| {
        evaluation.classes.iter().map(figure).sum::<f64>() / evaluation.classes.len().max(1) as f64
    };
    let means = [mean(|class| class.precision), mean(|class| class.recall), mean(|class| class.f1)];
    let mut order: Vec<usize> = (0..evaluation.classes.len()).collect();
    order.sort_by(|&a, &b| evaluation.classes[a].f1.total_cmp(&evaluation.classes[b].f1).then(a.cmp(&b)));
    let weakest = (order.len() / 5).clamp(1, 5);
    let is_weak = |place: usize, class: usize| {
        place < weakest && evaluation.classes[class].f1 < means[2] - WEAK && mistakes(evaluation, class) >= CHANCE
    };
    let rows = |from: usize, to: usize| {
        html! { @for (place, &class) in order.iter().enumerate().take(to).skip(from) {
            (row(report, evaluation, class, is_weak(place, class)))
        } }
    };
    let head = html! { thead { tr {
        th.name { "class" } th { "F1" } th { "recall" } th { "precision" } th.least { (split) " images" } th.name { "most often taken for" }
    } } };
    html! {
        p { "The weakest first. Recall: of the images of a class, the share that was found. Precision: of the images called \
            so, the share that are. F1 is high only where both are. A class of few images is measured roughly." }
        div.card.table {
            table {
                (head)
                tbody { (rows(0, if order.len() > OPEN { OPEN / 2 } else { OPEN })) }
                tfoot { tr {
                    th.name scope="row" { "mean of all classes" } td { (percent(means[2])) } td { (percent(means[1])) }
                    td { (percent(means[0])) } td.least { (evaluation.scores.images) } td.name {}
                } }
            }
            @if order.len() > OPEN {
                details {
                    summary { "The other " (order.len() - OPEN / 2) " classes" }
                    table { (head) tbody { (rows(OPEN / 2, order.len())) } }
                }
            }
        }
    }
}

fn row(report: &Report, evaluation: &Evaluation, class: usize, weak: bool) -> Markup {
    let ClassFigures { precision, recall, f1, support, .. } = evaluation.classes[class];
    let others = evaluation.confusion[class].iter().enumerate().filter(|&(other, &times)| other != class && times > 0);
    let other = others.min_by_key(|&(other, &times)| (Reverse(times), other));
    html! {
        tr.weak[weak] {
            th.name scope="row" { (report.classes[class]) @if weak { " " span.mark { "weak" } } }
            @if support == 0 {
                td { "–" } td { "–" } td { "–" } td.least { "0" } td.name { "no images to measure by" }
            } @else {
                td { (percent(f1)) span.bar style={ "width:" (format!("{:.1}", 100.0 * f1)) "%" } {} }
                td { (percent(recall)) } td { (percent(precision)) } td.least { (support) }
                td.name { @if let Some((other, &times)) = other { (report.classes[other]) " (" (share(times, support)) ")" } @else { "–" } }
            }
        }
    }
}

/// Images of the class that were taken for others, and images of others that were taken for it.
fn mistakes(evaluation: &Evaluation, class: usize) -> usize {
    let of_others: usize = evaluation.confusion.iter().map(|row| row[class]).sum();
    evaluation.classes[class].support + of_others - 2 * evaluation.confusion[class][class]
}

fn share(times: usize, support: usize) -> String {
    percent(times as f64 / support.max(1) as f64)
}
