//! The HTML report of a run, and its pictures as SVG. Knows figures and pixels; runs no network.

mod page;
mod plots;
mod templates;

pub use templates::weight_templates;

use crate::{evaluate::Evaluation, image::Image, train::HistoryRow};

/// A picture with what is to be said of it.
pub struct Shown {
    /// The pixels.
    pub image: Image,
    /// What stands below it.
    pub caption: String,
    /// What tells it from others, such as the file's name.
    pub name: String,
}

/// All that a report shows. What is empty or `None` is left out.
#[derive(Default)]
pub struct Report {
    /// Data and model.
    pub title: String,
    /// The most important figures, in order: label and value.
    pub facts: Vec<(String, String)>,
    /// Sentences that explain them.
    pub remarks: Vec<String>,
    /// Every setting, as text.
    pub settings: String,
    /// One row an evaluation.
    pub history: Vec<HistoryRow>,
    /// Class names by label.
    pub classes: Vec<String>,
    /// The split that was measured, its name first.
    pub measured: Option<(String, Evaluation)>,
    /// Validation before and after the temperature.
    pub calibration: Option<[Evaluation; 2]>,
    /// A batch as the network saw it.
    pub samples: Vec<Shown>,
    /// The surest wrong answers.
    pub mistakes: Vec<Shown>,
    /// Weights of a linear model, one picture a class.
    pub templates: Vec<Shown>,
}

/// A finished report.
pub struct Rendered {
    /// One self-contained page.
    pub html: String,
    /// File names and contents of the same plots.
    pub pictures: Vec<(&'static str, String)>,
}

/// Renders a report.
pub fn render(report: &Report) -> Rendered {
    let mut pictures = Vec::new();
    if report.history.len() > 1 {
        pictures.push(("loss.svg", plots::loss(&report.history)));
        pictures.push(("accuracy.svg", plots::accuracy(&report.history)));
    }
    if let Some((_, evaluation)) = &report.measured {
        pictures.push(("confusion.svg", plots::confusion(&evaluation.confusion, &report.classes)));
    }
    if let Some([before, after]) = &report.calibration {
        pictures.push(("reliability.svg", plots::reliability(&before.bins, &after.bins)));
    }
    Rendered { html: page::html(report, &pictures), pictures }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageShape;

    fn full() -> Report {
        let shape = ImageShape { height: 2, width: 2, channels: 1 };
        let shown = || {
            let image = Image { shape, pixels: vec![0, 80, 160, 255] };
            Shown { image, caption: "a <b> & c".into(), name: "x\"y".into() }
        };
        let row = |epoch: f64, loss: f64| HistoryRow {
            epoch,
            step: 10,
            seconds: 1.0,
            train_loss: loss,
            train_top1: 0.5,
            validation_loss: Some(1.0),
            validation_top1: Some(0.4),
            validation_top5: None,
            learning_rate: 0.1,
        };
        let evaluation = || Evaluation::new(&[1.0, 0.0, 0.0, 1.0], &[0, 0], 2, 1.0);
        Report {
            title: "pets & <script>".into(),
            facts: vec![("Test accuracy".into(), "50 %".into())],
            remarks: vec!["A remark.".into()],
            settings: "seed = 0".into(),
            history: vec![row(1.0, f64::NAN), row(2.0, 1.0)],
            classes: vec!["猫 <cat>".into(), "dog".into()],
            measured: Some(("test".into(), evaluation())),
            calibration: Some([evaluation(), evaluation()]),
            samples: vec![shown()],
            mistakes: vec![shown()],
            templates: vec![shown()],
        }
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere_and_escapes_names() {
        let Rendered { html, pictures } = render(&full());
        for foreign in ["<script", "src=\"http", "href=\"http", "<cat>", "NaN"] {
            assert!(!html.contains(foreign), "{foreign}");
        }
        assert!(html.contains("猫 &lt;cat&gt;"));
        assert_eq!(pictures.len(), 4);
        for heading in ["Learning", "Confusion", "Mistakes", "Calibration", "What each class looks for", "Settings"] {
            assert!(html.contains(heading), "{heading}");
        }
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let html = render(&Report { title: "empty".into(), ..Report::default() }).html;
        for heading in ["Learning", "Confusion", "Mistakes", "Calibration", "What each class looks for"] {
            assert!(!html.contains(heading), "{heading}");
        }
    }

    #[test]
    fn the_same_report_has_the_same_bytes() {
        assert_eq!(render(&full()).html, render(&full()).html);
    }
}
