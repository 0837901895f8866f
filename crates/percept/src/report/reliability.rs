//! Whether confidence is as often right as it says.

use super::svg::{Anchor, BLUE, Drawing, ORANGE, PHONE};
use crate::evaluate::{Bin, Evaluation};

const LEFT: f64 = 46.0;
const TOP: f64 = 42.0;
const SIDE: f64 = 270.0;
const LARGEST_DOT: f64 = 9.0;

/// One line a measurement, with its name. The size of a dot goes by the images in its bin.
pub(super) fn diagram(lines: &[(&str, &Evaluation)]) -> Drawing {
    // Where images may show several classes, every class of an image has an answer.
    let several = lines.iter().any(|(_, evaluation)| evaluation.scores.several.is_some());
    let [across, upwards] = if several { ["probability", "share that is there"] } else { ["confidence", "accuracy"] };
    let [answers, right] = if several { ["classes", "there"] } else { ["images", "right"] };
    let mut drawing = Drawing::new(format!("Reliability: {upwards} by {across}"), PHONE, TOP + SIDE + 46.0);
    let x = |share: f64| LEFT + share * SIDE;
    let y = |share: f64| TOP + (1.0 - share) * SIDE;
    for level in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
        drawing.rule(format_args!("M{:.1} {:.1}H{:.1}", x(0.0), y(level), x(1.0)));
        drawing.rule(format_args!("M{:.1} {:.1}V{:.1}", x(level), y(0.0), y(1.0)));
        let percent = format!("{:.0}", 100.0 * level);
        drawing.text(x(level), y(0.0) + 17.0, Anchor::Middle, 12.0, &percent);
        drawing.text(x(0.0) - 6.0, y(level) + 4.0, Anchor::End, 12.0, &percent);
    }
    drawing.add(format_args!(
        "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"currentColor\" stroke-opacity=\"0.6\" stroke-dasharray=\"5 4\"/>",
        x(0.0),
        y(0.0),
        x(1.0),
        y(1.0)
    ));
    drawing.text(x(0.5), y(0.0) + 38.0, Anchor::Middle, 12.0, &format!("{across}, %"));
    drawing.upwards(14.0, y(0.5), Anchor::Middle, 12.0, &format!("{upwards}, %"));
    let colours: &[&str] = if lines.len() > 1 { &[ORANGE, BLUE] } else { &[BLUE] };
    let named: Vec<_> = lines.iter().zip(colours).map(|((name, _), colour)| (*name, *colour)).collect();
    drawing.legend(8.0, 20.0, &named);
    for ((_, evaluation), colour) in lines.iter().zip(colours) {
        let bins: Vec<&Bin> = evaluation.bins.iter().filter(|bin| bin.images > 0).collect();
        let fullest = bins.iter().map(|bin| bin.images).max().unwrap_or(1) as f64;
        let points: Vec<_> = bins.iter().map(|bin| (x(bin.confidence), y(bin.accuracy))).collect();
        drawing.line(&points, colour);
        for (bin, (x, y)) in bins.iter().zip(points) {
            let radius = (LARGEST_DOT * (bin.images as f64 / fullest).sqrt()).max(1.5);
            let (sure, share) = (100.0 * bin.confidence, 100.0 * bin.accuracy);
            let says = format!("{} {answers}, {sure:.1} % sure on average, {share:.1} % {right}", bin.images);
            drawing.dot(x, y, radius, colour, &says);
        }
    }
    drawing
}
