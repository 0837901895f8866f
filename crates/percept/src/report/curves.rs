//! Loss, accuracy and learning rate over a training.

use super::svg::{Anchor, BLUE, Drawing, ORANGE, PHONE, text_width};
use crate::train::HistoryRow;

const HEIGHT: f64 = 230.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 42.0;
/// Up to so many points are dots that can be pointed at.
const DOTS: usize = 60;

/// A line of a plot.
struct Line {
    name: &'static str,
    colour: &'static str,
    points: Vec<(f64, f64)>,
}

/// A plot over epochs.
struct Plot {
    title: &'static str,
    lines: Vec<Line>,
    /// Whether the vertical axis begins at 0.
    from_zero: bool,
    /// Whether each point was measured, and is drawn as one.
    measured: bool,
}

pub(super) fn loss(history: &[HistoryRow]) -> Drawing {
    let training = history.iter().map(|row| (row.epoch, Some(row.train_loss)));
    let validation = history.iter().map(|row| (row.epoch, row.validation_loss));
    training_and_validation("Loss", training, validation)
}

pub(super) fn accuracy(history: &[HistoryRow]) -> Drawing {
    // In training only whole answers are counted: that is no mean average precision.
    let is_accuracy = |row: &HistoryRow| row.validation_map.is_none();
    let training = history.iter().map(|row| (row.epoch, is_accuracy(row).then_some(100.0 * row.train_top1)));
    let validation = history.iter().map(|row| (row.epoch, row.validation_headline().map(|value| 100.0 * value)));
    let title = if history.iter().all(is_accuracy) { "Accuracy, %" } else { "mAP, %" };
    training_and_validation(title, training, validation)
}

/// `rates` are pairs of epoch and learning rate.
pub(super) fn learning_rate(rates: &[(f64, f64)]) -> Drawing {
    let line = Line { name: "every step", colour: BLUE, points: rates.to_vec() };
    Plot { title: "Learning rate", lines: vec![line], from_zero: true, measured: false }.draw()
}

fn training_and_validation(
    title: &'static str,
    training: impl Iterator<Item = (f64, Option<f64>)>,
    validation: impl Iterator<Item = (f64, Option<f64>)>,
) -> Drawing {
    // A loss that is not a number has no place.
    let there = |(epoch, value): (f64, Option<f64>)| Some((epoch, value.filter(|value| value.is_finite())?));
    let lines = vec![
        Line { name: "training", colour: BLUE, points: training.filter_map(there).collect() },
        Line { name: "validation", colour: ORANGE, points: validation.filter_map(there).collect() },
    ];
    Plot { title, lines, from_zero: false, measured: true }.draw()
}

impl Plot {
    fn draw(mut self) -> Drawing {
        self.lines.retain(|line| !line.points.is_empty());
        let all = || self.lines.iter().flat_map(|line| &line.points);
        let last = all().map(|point| point.0).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let [low, high, step] = self.levels(all().map(|point| point.1));
        let levels: Vec<f64> = (0..=((high - low) / step).round() as u64).map(|n| low + n as f64 * step).collect();
        let labels: Vec<String> = levels.iter().map(|&level| number(level, step)).collect();
        let left = 14.0 + labels.iter().map(|label| text_width(label, 12.0)).fold(0.0, f64::max);
        let x = |epoch: f64| left + epoch / last * (PHONE - left - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM);

        let mut drawing = Drawing::new(format!("{} by epoch", self.title), PHONE, HEIGHT);
        drawing.text(8.0, 18.0, Anchor::Start, 14.0, self.title);
        let names: Vec<_> = self.lines.iter().map(|line| (line.name, line.colour)).collect();
        drawing.legend(8.0, 37.0, &names);
        for (&level, label) in levels.iter().zip(&labels) {
            drawing.rule(format_args!("M{left:.1} {:.1}H{:.1}", y(level), PHONE - RIGHT));
            drawing.text(left - 6.0, y(level) + 4.0, Anchor::End, 12.0, label);
        }
        let across = nice_step(last);
        for tick in (0..=(last / across + 1e-6) as u64).map(|n| n as f64 * across) {
            drawing.text(x(tick), HEIGHT - BOTTOM + 17.0, Anchor::Middle, 12.0, &number(tick, across));
        }
        drawing.text((left + PHONE - RIGHT) / 2.0, HEIGHT - 8.0, Anchor::Middle, 12.0, "epoch");
        for line in &self.lines {
            let points: Vec<_> = line.points.iter().map(|&(epoch, value)| (x(epoch), y(value))).collect();
            drawing.line(&points, line.colour);
            if self.measured && points.len() <= DOTS {
                for (&(epoch, value), (x, y)) in line.points.iter().zip(points) {
                    let radius = if line.points.len() == 1 { 4.5 } else { 2.5 };
                    drawing.dot(x, y, radius, line.colour, &format!("{}, epoch {epoch:.1}: {value:.4}", line.name));
                }
            }
        }
        drawing
    }

    /// Where the vertical axis begins and ends, and the step between its lines.
    fn levels(&self, values: impl Iterator<Item = f64>) -> [f64; 3] {
        let (mut low, mut high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return [0.0, 1.0, 0.2];
        }
        if self.from_zero {
            low = low.min(0.0);
        }
        if high - low <= 1e-9 * high.abs() {
            let room = (0.1 * high.abs()).max(1e-3);
            (low, high) = (low - room, high + room);
        }
        let step = nice_step(high - low);
        [(low / step).floor() * step, (high / step - 1e-9).ceil() * step, step]
    }
}

/// Steps of 1, 2 or 5 times a power of ten that cut a span into about five.
fn nice_step(span: f64) -> f64 {
    let rough = (span / 5.0).max(1e-12);
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|&step| step >= rough).unwrap_or(power)
}

fn number(value: f64, step: f64) -> String {
    // Not "-0".
    let value = if value.abs() < step / 1e3 { 0.0 } else { value };
    if value != 0.0 && step < 0.99e-4 {
        return format!("{:.0}e{}", value / 10f64.powf(step.log10().floor()), step.log10().floor());
    }
    let digits = if step >= 1.0 { 0 } else { (-step.log10()).ceil() as usize };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_show_what_their_step_needs() {
        assert_eq!(number(0.30000000000000004, 0.1), "0.3");
        assert_eq!(number(-1e-17, 0.5), "0.0");
        assert_eq!(number(15.0, 5.0), "15");
        assert_eq!(number(4e-5, 2e-5), "4e-5");
        assert_eq!(number(1.2e-4, 2e-5), "12e-5");
    }

    #[test]
    fn axes_hold_every_value() {
        let plot = |from_zero| Plot { title: "", lines: Vec::new(), from_zero, measured: true };
        for values in [vec![0.005], vec![0.0], vec![41.2, 43.9], vec![1e-6, 3e-6], vec![100.0]] {
            for from_zero in [false, true] {
                let [low, high, step] = plot(from_zero).levels(values.iter().copied());
                assert!(values.iter().all(|&v| low - 1e-9 <= v && v <= high + 1e-9), "{values:?}: {low} {high}");
                assert!(high > low && step > 0.0 && (high - low) / step < 12.0, "{values:?}: {low} {high} {step}");
            }
        }
    }
}
