//! A graph for people: as a table in text, and as a drawing in SVG.

use std::fmt::Write;

use super::graph::{Graph, Node, Op, Role};

/// A table of every operation, the loss, and what the optimiser updates.
pub fn to_text(graph: &Graph) -> String {
    let header = ["name", "operation", "from", "output", "parameters", "multiply-adds"].map(String::from);
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(graph.nodes.iter().map(|n| row(graph, n))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            match column {
                4 | 5 => _ = write!(line, "{cell:>width$}  "),
                _ => _ = write!(line, "{cell:<width$}  "),
            }
        }
        _ = writeln!(text, "{}", line.trim_end());
    }
    text.push('\n');
    for (label, fact) in facts(graph) {
        _ = writeln!(text, "{:<12}{fact}", format!("{label}:"));
    }
    text
}

fn row(graph: &Graph, node: &Node) -> [String; 6] {
    let from: Vec<_> = node.inputs.iter().map(|&input| graph.nodes[input].name.as_str()).collect();
    let count: usize = node.parameters.iter().map(|&p| graph.parameters[p].len()).sum();
    let shown = |count: u64| if count == 0 { String::new() } else { thousands(count) };
    let shape = match node.op {
        Op::Input => format!("{} u8", node.shape),
        _ => node.shape.to_string(),
    };
    [node.name.clone(), node.op.label(), from.join(" + "), shape, shown(count as u64), shown(node.multiply_adds)]
}

/// What stands below the table.
fn facts(graph: &Graph) -> Vec<(&'static str, String)> {
    let classes = graph.classes();
    let logits = graph.nodes.last().map_or("", |node| node.name.as_str());
    let named = |role: Role| {
        let numbers: usize = graph.parameters.iter().filter(|p| p.role == role).map(|p| p.len()).sum();
        (numbers, graph.parameters.iter().filter(|p| p.role == role).count())
    };
    let ((weights, weight_tensors), (biases, _), (scales, _)) =
        (named(Role::Weight), named(Role::Bias), named(Role::Scale));
    let ((statistics, _), (fixed, _)) = (named(Role::Statistic), named(Role::Fixed));
    let mut updates = format!("{} weights in {weight_tensors} tensors (decayed)", thousands(weights as u64));
    _ = write!(updates, ", {} biases", thousands(biases as u64));
    if scales > 0 {
        _ = write!(updates, ", {} scales of norms", thousands(scales as u64));
    }
    let mut all = vec![
        (
            "inputs",
            format!(
                "images [?, {}, {}, {}] u8, labels [?] int64; ? is the batch size, open until it runs",
                graph.input.channels, graph.input.height, graph.input.width
            ),
        ),
        ("loss", format!("mean softmax cross-entropy of {logits} [?, {classes}] and labels [?]")),
        ("optimiser", format!("updates {updates}")),
    ];
    if statistics > 0 {
        all.push(("forward", format!("updates {} running statistics of norms", thousands(statistics as u64))));
    }
    all.push((
        "fixed",
        format!("{} numbers, set from the training images before the first step", thousands(fixed as u64)),
    ));
    all.push((
        "in all",
        format!(
            "{} trained parameters, {} multiply-adds an image forward",
            thousands(graph.trained_parameters() as u64),
            thousands(graph.multiply_adds())
        ),
    ));
    all
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const BOX: [usize; 2] = [360, 40];
const GAP: usize = 18;
const LEFT: usize = 40;

/// A drawing: one box an operation, from the images at the top to the loss at the bottom.
pub fn to_svg(graph: &Graph) -> String {
    let step = BOX[1] + GAP;
    let loss = graph.nodes.len();
    let height = (loss + 1) * step + 2 * GAP;
    let width = BOX[0] + 2 * LEFT + 60;
    let top = |index: usize| GAP + index * step;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, sans-serif\">\n<title>Graph of {}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escape(&graph.name)
    );
    for (index, node) in graph.nodes.iter().enumerate() {
        for &input in &node.inputs {
            connect(&mut svg, input, index, top);
        }
    }
    connect(&mut svg, loss - 1, loss, top);
    for (index, node) in graph.nodes.iter().enumerate() {
        let [name, label, _, shape, parameters, _] = row(graph, node);
        let detail = if parameters.is_empty() { shape } else { format!("{shape}  ·  {parameters} parameters") };
        draw_box(&mut svg, top(index), colour(&node.op), &label, &name, &detail);
    }
    let classes = graph.classes();
    draw_box(
        &mut svg,
        top(loss),
        "#fde2e2",
        "softmax cross-entropy",
        "loss",
        &format!("[?, {classes}] and labels [?]"),
    );
    svg.push_str("</svg>\n");
    svg
}

fn connect(svg: &mut String, from: usize, to: usize, top: impl Fn(usize) -> usize) {
    let (start, end) = (top(from) + BOX[1], top(to));
    if to == from + 1 {
        let x = LEFT + BOX[0] / 2;
        _ = writeln!(svg, "<path d=\"M{x} {start}V{end}\" stroke=\"#667085\" stroke-width=\"1.5\" fill=\"none\"/>");
    } else {
        // A shortcut leaves the side of one box and enters the side of another.
        let (x, bend) = (LEFT + BOX[0], LEFT + BOX[0] + 48);
        let (start, end) = (top(from) + BOX[1] / 2, top(to) + BOX[1] / 2);
        _ = writeln!(
            svg,
            "<path d=\"M{x} {start}C{bend} {start} {bend} {end} {x} {end}\" stroke=\"#98a2b3\" stroke-width=\"1.5\" fill=\"none\"/>"
        );
    }
}

fn draw_box(svg: &mut String, top: usize, colour: &str, label: &str, name: &str, detail: &str) {
    let (width, height) = (BOX[0], BOX[1]);
    let (x, right) = (LEFT + 12, LEFT + width - 12);
    let (first, second) = (top + 17, top + 32);
    _ = write!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{colour}\" stroke=\"#98a2b3\"/>\n\
         <text x=\"{x}\" y=\"{first}\" font-size=\"13\" font-weight=\"600\" fill=\"#101828\">{}</text>\n\
         <text x=\"{right}\" y=\"{first}\" font-size=\"11\" text-anchor=\"end\" fill=\"#475467\">{}</text>\n\
         <text x=\"{x}\" y=\"{second}\" font-size=\"11\" fill=\"#475467\">{}</text>\n",
        escape(label),
        escape(name),
        escape(detail)
    );
}

fn colour(op: &Op) -> &'static str {
    match op {
        Op::Input | Op::Normalize { .. } => "#eef2f6",
        Op::Conv2d { .. } => "#dbeafe",
        Op::Linear => "#e0e7ff",
        Op::BatchNorm { .. } | Op::LayerNorm { .. } => "#dcfce7",
        Op::Relu | Op::Relu6 | Op::HardSwish | Op::HardSigmoid | Op::Silu | Op::Gelu => "#fef9c3",
        Op::MaxPool { .. } | Op::GlobalAveragePool | Op::GlobalMaxPool => "#ffedd5",
        Op::Add | Op::Gate | Op::LayerScale | Op::Flatten | Op::Scale(_) => "#f5f5f4",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        image::ImageShape,
        model::{
            ModelConfig, build,
            graph::{Convolution, Init, Window},
        },
    };

    fn cifar(name: &str) -> Graph {
        let input = ImageShape { height: 32, width: 32, channels: 3 };
        build(name, &ModelConfig { input, classes: 10, hidden: 512, per_pixel: false, conventions: None })
            .expect("builds")
    }

    #[test]
    fn the_tutorials_graph_is_shown_with_its_open_batch() {
        let text = to_text(&cifar("softmax"));
        for part in ["[?, 3, 32, 32] u8", "[?, 3072]", "[?, 10]", "30,730", "30,720 weights in 1 tensors", "10 biases"]
        {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn a_drawing_has_one_box_an_operation_and_the_loss() {
        let graph = cifar("resnet18");
        let svg = to_svg(&graph);
        assert_eq!(svg.matches("rx=\"6\"").count(), graph.nodes.len() + 1);
        // Five identity shortcuts, and two curves around each of the three projected ones.
        assert_eq!(svg.matches("stroke=\"#98a2b3\" stroke-width").count(), 5 + 2 * 3);
    }

    #[test]
    fn a_convolution_says_what_is_special_about_it() {
        let input = ImageShape { height: 16, width: 16, channels: 4 };
        let (mut graph, images) = Graph::new("special", input, false);
        let plain = Convolution::new(8, Window::same(3, 2));
        let convolution = Convolution { groups: 2, dilation: 2, ..plain };
        let x = graph.convolution("c", images, convolution, Init::Zeros).expect("fits");
        let x = graph.hard_swish("act", x);
        let x = graph.silu("act2", x);
        graph.relu6("act3", x);
        let (text, svg) = (to_text(&graph), to_svg(&graph));
        for part in
            ["conv 3x3 / 2, dilation 2, 2 groups", "[?, 8, 7, 7]", "144", "7,056", "hard swish", "silu", "relu6"]
        {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(svg.contains("conv 3x3 / 2, dilation 2, 2 groups"));
    }

    #[test]
    fn known_costs() {
        // 3x3 convolutions of shared figures: about 38.6 million multiply-adds for cnn6 on 32x32.
        let graph = cifar("cnn6");
        let convolutions: u64 =
            graph.nodes.iter().filter(|n| matches!(n.op, Op::Conv2d { .. })).map(|n| n.multiply_adds).sum();
        assert_eq!(convolutions, 38_633_472);
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(12), "12");
    }
}
