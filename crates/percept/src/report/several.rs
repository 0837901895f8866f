//! The table of classes where images may show several of them: the weakest first, each with its threshold.

use maud::{Markup, html};

use super::{Report, words::percent};
use crate::evaluate::{ClassFigures, Evaluation, HALF, SetScores};

/// A row a class, and the means.
pub(super) fn table(report: &Report, split: &str, evaluation: &Evaluation, scores: &SetScores) -> Markup {
    let mut order: Vec<usize> = (0..evaluation.classes.len()).collect();
    let weakness = |class: usize| evaluation.classes[class].average_precision.unwrap_or(f64::INFINITY);
    order.sort_by(|&a, &b| weakness(a).total_cmp(&weakness(b)).then(a.cmp(&b)));
    html! {
        p { "The weakest first. Average precision: how well the class's probability ranks the images, whatever the threshold; its \
            mean over the classes is the mAP. An image is said to show a class if its probability reaches the threshold, which was \
            chosen for the highest F1 " @if split == "validation" { "on these very images, so that F1 flatters here." }
            @else { "on images that were held out, never on test images." }
            " Precision: of the images said to show it, the share that do. Recall: of those that do, the share that was found." }
        div.card.table { table {
            thead { tr {
                th.name { "class" } th { "average precision" } th { "F1" } th { "recall" } th { "precision" } th { "threshold" }
                th.least { (split) " images" }
            } }
            tbody { @for class in order { (row(&report.classes[class], &evaluation.classes[class])) } }
            tfoot {
                tr {
                    th.name scope="row" { "mean of all classes (macro)" } td { (percent(scores.mean_average_precision)) }
                    td { (percent(scores.f1_macro)) } td { (percent(scores.recall_macro)) } td { (percent(scores.precision_macro)) }
                    td {} td.least { (evaluation.scores.images) }
                }
                tr {
                    th.name scope="row" { "all answers together (micro)" } td {}
                    td { (percent(scores.f1_micro)) } td { (percent(scores.recall_micro)) } td { (percent(scores.precision_micro)) }
                    td {} td.least {}
                }
            }
        } }
        p { (percent(scores.exact_match)) " of the images have every class right (exact match)." }
    }
}

fn row(name: &str, class: &ClassFigures) -> Markup {
    let &ClassFigures { precision, recall, f1, support, average_precision, threshold } = class;
    html! { tr {
        th.name scope="row" { (name) }
        @if let Some(average_precision) = average_precision {
            td { (percent(average_precision)) span.bar style={ "width:" (format!("{:.1}", 100.0 * average_precision)) "%" } {} }
            td { (percent(f1)) } td { (percent(recall)) } td { (percent(precision)) }
        } @else {
            td { "–" } td { "–" } td { "–" } td { "–" }
        }
        td { (percent(f64::from(threshold.unwrap_or(HALF)))) } td.least { (support) }
    } }
}
