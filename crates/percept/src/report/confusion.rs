//! What images are, against what they were taken for.

use super::svg::{Anchor, Drawing, PHONE, fit_text, text_width};
use crate::evaluate::Evaluation;

/// More classes than this do not fit on a page with their names: those most often confused are shown.
pub(super) const SHOWN_CLASSES: usize = 20;
/// A blue that carries white and dark text.
const CELL: &str = "#1f6fb2";
const SMALLEST_CELL: f64 = 23.0;
const LARGEST_CELL: f64 = 40.0;
/// Room for names of few classes, so that a phone shows the whole, and of many, which it has to scroll.
const LONGEST_NAMES: [f64; 2] = [104.0, 150.0];
const NAME_SIZE: f64 = 11.0;

/// The matrix, or of many classes the part in which most mistakes lie, with a column for all others.
pub(super) fn matrix(evaluation: &Evaluation, names: &[String]) -> Drawing {
    let shown = shown_classes(evaluation);
    let rest = names.len() - shown.len();
    let title = match rest {
        0 => "Confusion matrix".to_string(),
        _ => format!("Confusion matrix of the {} classes of {} that are most often confused", shown.len(), names.len()),
    };
    let mut columns: Vec<String> = shown.iter().map(|&class| names[class].clone()).collect();
    if rest > 0 {
        columns.push(format!("{rest} others"));
    }
    let room = LONGEST_NAMES[usize::from(columns.len() > SHOWN_CLASSES / 2)];
    let longest = columns.iter().map(|name| text_width(name, NAME_SIZE)).fold(0.0, f64::max).min(room);
    // Axis names, class names, a gap.
    let margin = 22.0 + longest + 8.0;
    let cell = ((PHONE - margin) / columns.len() as f64).clamp(SMALLEST_CELL, LARGEST_CELL);
    let (right, bottom) = (margin + cell * columns.len() as f64, margin + cell * shown.len() as f64);
    let mut drawing = Drawing::new(title, right + 4.0, bottom + 4.0);
    drawing.text((margin + right) / 2.0, 14.0, Anchor::Middle, 12.0, "taken for");
    drawing.upwards(14.0, (margin + bottom) / 2.0, Anchor::Middle, 12.0, "is");
    for (place, name) in columns.iter().enumerate() {
        let name = fit_text(name, NAME_SIZE, room);
        let middle = margin + (place as f64 + 0.5) * cell + 4.0;
        drawing.upwards(middle, margin - 7.0, Anchor::Start, NAME_SIZE, &name);
        if place < shown.len() {
            drawing.text(margin - 7.0, middle, Anchor::End, NAME_SIZE, &name);
        }
    }
    for (line, &label) in shown.iter().enumerate() {
        let row = &evaluation.confusion[label];
        let total: usize = row.iter().sum();
        let mut counts: Vec<usize> = shown.iter().map(|&class| row[class]).collect();
        if rest > 0 {
            counts.push(total - counts.iter().sum::<usize>());
        }
        for (place, (times, called)) in counts.into_iter().zip(&columns).enumerate() {
            let (x, y) = (margin + place as f64 * cell, margin + line as f64 * cell);
            let share = times as f64 / total.max(1) as f64;
            // Small shares are what one looks for: the root lifts them.
            let depth = share.sqrt();
            let paint = format!("fill=\"{CELL}\" fill-opacity=\"{:.3}\"", 0.04 + 0.96 * depth);
            let says = format!("{} taken for {called}: {times} of {total} ({:.1} %)", names[label], 100.0 * share);
            drawing.rectangle([x, y, cell - 1.0, cell - 1.0], &paint, &says);
            if times > 0 {
                let number = times.to_string();
                let size = (0.86 * cell / text_width(&number, 1.0)).min(0.42 * cell).min(12.0);
                let ink = if depth > 0.75 { "#ffffff" } else { "currentColor" };
                let size = (10.0 * size).round() / 10.0;
                drawing.ink(x + (cell - 1.0) / 2.0, y + (cell + 0.7 * size) / 2.0, Anchor::Middle, size, ink, &number);
            }
        }
    }
    drawing
}

/// All classes, or the parties to the commonest confusions, each pair beside each other.
fn shown_classes(evaluation: &Evaluation) -> Vec<usize> {
    let count = evaluation.classes.len();
    if count <= SHOWN_CLASSES {
        return (0..count).collect();
    }
    let mut shown = Vec::new();
    for (label, predicted, _) in evaluation.confused(usize::MAX) {
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

    #[test]
    fn of_many_classes_those_confused_are_shown() {
        let classes = 100;
        let labels: Vec<u32> = (0..classes as u32).collect();
        let mut logits = vec![0.0; classes * classes];
        for (label, row) in logits.chunks_exact_mut(classes).enumerate() {
            row[if label == 70 { 95 } else { label }] = 1.0;
        }
        let evaluation = Evaluation::new(&logits, &labels, classes, 1.0);
        let shown = shown_classes(&evaluation);
        assert_eq!((&shown[..3], shown.len()), (&[70, 95, 0][..], SHOWN_CLASSES));
        let names: Vec<String> = (0..classes).map(|class| format!("class {class}")).collect();
        let drawn = matrix(&evaluation, &names).file();
        assert!(drawn.contains("class 70 taken for class 95: 1 of 1") && drawn.contains("80 others"), "{drawn}");
    }
}
