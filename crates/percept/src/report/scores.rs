//! The figures of a run's splits beside each other.

use super::{
    Accuracy,
    svg::{Anchor, BLUE, Drawing, ORANGE, PHONE},
    words::capital,
};

const ROW: f64 = 46.0;
const LEFT: f64 = 8.0;
/// Room for the values.
const RIGHT: f64 = 64.0;
const BAR: f64 = 14.0;

/// A bar a split. What was measured for the figure to be reported is in the second colour, with its interval.
pub(super) fn bars(accuracies: &[Accuracy], figure: &str) -> Drawing {
    let mut drawing = Drawing::new(format!("{} by split", capital(figure)), PHONE, 4.0 + ROW * accuracies.len() as f64);
    let x = |share: f64| LEFT + share * (PHONE - LEFT - RIGHT);
    for (place, accuracy) in accuracies.iter().enumerate() {
        let top = 18.0 + ROW * place as f64;
        let Accuracy { split, purpose, value, interval, images } = accuracy;
        let colour = if interval.is_some() { ORANGE } else { BLUE };
        drawing.text(LEFT, top, Anchor::Start, 12.0, &format!("{split}, {images} images: {purpose}"));
        let bar = |to: f64| [LEFT, top + 7.0, x(to) - LEFT, BAR];
        drawing.rectangle(bar(1.0), "fill=\"currentColor\" fill-opacity=\"0.08\"", "");
        let says = format!("{split}: {:.2} %", 100.0 * value);
        drawing.rectangle(bar(*value), &format!("fill=\"{colour}\""), &says);
        if let Some([low, high]) = interval {
            let middle = top + 7.0 + BAR / 2.0;
            let (from, to) = (x(*low), x(*high));
            drawing.add(format_args!(
                "<path d=\"M{from:.1} {middle:.1}H{to:.1}M{from:.1} {:.1}v8M{to:.1} {:.1}v8\" fill=\"none\" \
                 stroke=\"currentColor\" stroke-width=\"1.5\"/>",
                middle - 4.0,
                middle - 4.0
            ));
        }
        drawing.text(PHONE - LEFT, top + 19.0, Anchor::End, 13.0, &format!("{:.1} %", 100.0 * value));
    }
    drawing
}
