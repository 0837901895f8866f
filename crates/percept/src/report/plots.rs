//! Plots as SVG text: readable in light and dark, in colours that the colour-blind tell apart (Okabe and Ito 2008).

use std::fmt::Write;

use crate::{evaluate::Bin, train::HistoryRow};

const BLUE: &str = "#0072B2";
const ORANGE: &str = "#D55E00";
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;
/// More classes than this and the confusion matrix shows no numbers and no names.
const NAMED_CLASSES: usize = 20;

/// A line of a plot.
struct Line<'a> {
    name: &'a str,
    colour: &'a str,
    points: Vec<(f64, f64)>,
}

pub(super) fn loss(history: &[HistoryRow]) -> String {
    curves("Loss", history, |row| Some(row.train_loss), |row| row.validation_loss, 1.0)
}

pub(super) fn accuracy(history: &[HistoryRow]) -> String {
    curves("Accuracy in percent", history, |row| Some(row.train_top1), |row| row.validation_top1, 100.0)
}

fn curves(
    title: &str,
    history: &[HistoryRow],
    train: impl Fn(&HistoryRow) -> Option<f64>,
    validation: impl Fn(&HistoryRow) -> Option<f64>,
    scale: f64,
) -> String {
    let points = |value: &dyn Fn(&HistoryRow) -> Option<f64>| {
        let all = history.iter().filter_map(|row| Some((row.epoch, scale * value(row)?)));
        all.filter(|(_, y)| y.is_finite()).collect::<Vec<_>>()
    };
    let lines = [
        Line { name: "training, as augmented", colour: BLUE, points: points(&train) },
        Line { name: "validation", colour: ORANGE, points: points(&validation) },
    ];
    let all = || lines.iter().flat_map(|line| &line.points);
    let span = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        if low > high { (0.0, 1.0) } else { (low, if high > low { high } else { low + 1.0 }) }
    };
    let (first, last) = span(&mut all().map(|point| point.0));
    let (low, high) = span(&mut all().map(|point| point.1));
    let step = nice_step(high - low);
    let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
    let x = |value: f64| LEFT + (value - first) / (last - first) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut svg = open(title, WIDTH, HEIGHT);
    text(&mut svg, LEFT, 20.0, "start", 14, title);
    let mut level = low;
    while level <= high + step / 2.0 {
        _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {:.1}H{:.1}\" stroke=\"currentColor\" stroke-opacity=\"0.15\"/>",
            y(level),
            WIDTH - RIGHT
        );
        text(&mut svg, LEFT - 6.0, y(level) + 4.0, "end", 11, &number(level, step));
        level += step;
    }
    let across = nice_step(last - first);
    let mut tick = (first / across).ceil() * across;
    while tick <= last + 1e-9 {
        text(&mut svg, x(tick), HEIGHT - BOTTOM + 18.0, "middle", 11, &number(tick, across));
        tick += across;
    }
    text(&mut svg, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8.0, "middle", 12, "epoch");
    let mut legend = WIDTH - RIGHT;
    for line in lines.iter().rev().filter(|line| !line.points.is_empty()) {
        let path: Vec<String> = line.points.iter().map(|&(px, py)| format!("{:.1} {:.1}", x(px), y(py))).collect();
        _ = writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>",
            path.join("L"),
            line.colour
        );
        legend -= 7.0 * line.name.len() as f64 + 26.0;
        _ = writeln!(svg, "<path d=\"M{legend:.1} 16h16\" stroke=\"{}\" stroke-width=\"3\"/>", line.colour);
        text(&mut svg, legend + 21.0, 20.0, "start", 12, line.name);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Steps of 1, 2 or 5 times a power of ten that cut a span into about five.
fn nice_step(span: f64) -> f64 {
    let rough = (span / 5.0).max(1e-9);
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|&step| step >= rough).unwrap_or(power)
}

fn number(value: f64, step: f64) -> String {
    let digits = if step >= 1.0 { 0 } else { (-step.log10()).ceil() as usize };
    // Not "-0".
    format!("{:.digits$}", if value.abs() < step / 1e3 { 0.0 } else { value })
}

pub(super) fn confusion(matrix: &[Vec<usize>], classes: &[String]) -> String {
    let count = matrix.len().max(1);
    let named = count <= NAMED_CLASSES;
    let cell = if named { (420.0 / count as f64).clamp(22.0, 56.0) } else { (480.0 / count as f64).max(3.0) };
    let longest = classes.iter().map(|name| name.chars().count().min(18)).max().unwrap_or(0) as f64;
    let margin = if named { 30.0 + 7.2 * longest } else { 30.0 };
    let side = cell * count as f64;
    let (width, height) = (margin + side + 12.0, margin + side + 12.0);
    let mut svg = open("Confusion matrix", width, height);
    text(&mut svg, margin + side / 2.0, 14.0, "middle", 12, "predicted");
    _ = writeln!(
        svg,
        "<text transform=\"translate(12 {:.1}) rotate(-90)\" text-anchor=\"middle\" font-size=\"12\" fill=\"currentColor\">true</text>",
        margin + side / 2.0
    );
    for (label, row) in matrix.iter().enumerate() {
        let total = row.iter().sum::<usize>().max(1) as f64;
        let top = margin + label as f64 * cell;
        for (predicted, &times) in row.iter().enumerate() {
            let left = margin + predicted as f64 * cell;
            let share = times as f64 / total;
            let (colour, ink) = heat(share);
            _ = writeln!(
                svg,
                "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{cell:.1}\" height=\"{cell:.1}\" fill=\"{colour}\"/>"
            );
            if named && times > 0 {
                let size = if cell > 30.0 { 11 } else { 8 };
                _ = writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"{size}\" fill=\"{ink}\">{times}</text>",
                    left + cell / 2.0,
                    top + cell / 2.0 + 4.0
                );
            }
        }
        if named {
            let name = short(&classes[label]);
            text(&mut svg, margin - 6.0, top + cell / 2.0 + 4.0, "end", 11, &name);
            _ = writeln!(
                svg,
                "<text transform=\"translate({:.1} {:.1}) rotate(-90)\" font-size=\"11\" fill=\"currentColor\">{}</text>",
                top + cell / 2.0 + 4.0,
                margin - 6.0,
                escape(&name)
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// A colour from near white to deep blue for a share, and one to write on it.
fn heat(share: f64) -> (String, &'static str) {
    // Small shares are what one looks for: the root lifts them.
    let depth = share.clamp(0.0, 1.0).sqrt();
    let mix = |from: f64, to: f64| (from + depth * (to - from)).round() as u8;
    let colour = format!("#{:02x}{:02x}{:02x}", mix(240.0, 8.0), mix(244.0, 64.0), mix(250.0, 129.0));
    (colour, if depth > 0.55 { "#ffffff" } else { "#1d2939" })
}

pub(super) fn reliability(before: &[Bin], after: &[Bin]) -> String {
    let (side, margin) = (260.0, 48.0);
    let mut svg = open("Reliability diagram", side + 2.0 * margin + 90.0, side + 2.0 * margin);
    let x = |value: f64| margin + value * side;
    let y = |value: f64| margin + (1.0 - value) * side;
    _ = writeln!(
        svg,
        "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"currentColor\" stroke-opacity=\"0.4\" stroke-dasharray=\"4 4\"/>\
         <rect x=\"{margin}\" y=\"{margin}\" width=\"{side}\" height=\"{side}\" fill=\"none\" stroke=\"currentColor\" stroke-opacity=\"0.3\"/>",
        x(0.0),
        y(0.0),
        x(1.0),
        y(1.0)
    );
    for level in [0.0, 0.5, 1.0] {
        text(&mut svg, x(level), y(0.0) + 16.0, "middle", 11, &format!("{level}"));
        text(&mut svg, x(0.0) - 6.0, y(level) + 4.0, "end", 11, &format!("{level}"));
    }
    text(&mut svg, x(0.5), y(0.0) + 36.0, "middle", 12, "confidence");
    text(&mut svg, margin, margin - 12.0, "start", 12, "accuracy, by confidence");
    for (index, (bins, colour, name)) in [(before, ORANGE, "before"), (after, BLUE, "after")].into_iter().enumerate() {
        let points: Vec<String> = bins
            .iter()
            .filter(|bin| bin.images > 0)
            .map(|bin| format!("{:.1} {:.1}", x(bin.confidence), y(bin.accuracy)))
            .collect();
        if !points.is_empty() {
            let path = points.join("L");
            _ = writeln!(svg, "<path d=\"M{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        }
        let top = margin + 16.0 + 20.0 * index as f64;
        _ = writeln!(
            svg,
            "<path d=\"M{:.1} {:.1}h16\" stroke=\"{colour}\" stroke-width=\"3\"/>",
            x(1.0) + 12.0,
            top - 4.0
        );
        text(&mut svg, x(1.0) + 33.0, top, "start", 12, name);
    }
    svg.push_str("</svg>\n");
    svg
}

fn open(title: &str, width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"system-ui, sans-serif\" role=\"img\"><title>{title}</title>\n"
    )
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, size: u32, text: &str) {
    let text = escape(text);
    _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"currentColor\">{text}</text>"
    );
}

fn short(name: &str) -> String {
    match name.chars().count() {
        0..=18 => name.into(),
        _ => name.chars().take(17).chain(['…']).collect(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
