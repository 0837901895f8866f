use super::*;
use crate::image::ImageShape;

/// What would break out of a page or a drawing, if it could.
const EVIL: &str = "<script>alert(1)</script> & \"quoted\" 'name' <img src=\"http://elsewhere/x.png\">";

fn shown(name: &str) -> Shown {
    let shape = ImageShape { height: 2, width: 2, channels: 1 };
    let image = Image { shape, pixels: vec![0, 80, 160, 255] };
    Shown { overlay: Some(image.clone()), image, caption: format!("caption of {name}"), name: name.into() }
}

fn row(epoch: f64, loss: f64) -> HistoryRow {
    HistoryRow {
        epoch,
        step: 10,
        seconds: 1.0,
        train_loss: loss,
        train_top1: 0.5,
        validation_loss: Some(1.0),
        validation_top1: Some(0.4),
        validation_top5: None,
        validation_map: None,
        learning_rate: 0.1,
    }
}

/// As many classes as names, each with two images, every third of them taken for the next class.
fn evaluation(classes: usize) -> Evaluation {
    let labels: Vec<u32> = (0..2 * classes as u32).map(|image| image / 2).collect();
    let mut logits = vec![0.0; labels.len() * classes];
    for (image, row) in logits.chunks_exact_mut(classes).enumerate() {
        row[(image / 2 + usize::from(image % 3 == 0)) % classes] = 3.0;
    }
    Evaluation::new(&logits, &labels, classes, 1.0)
}

fn full(names: &[String]) -> Report {
    let evaluation = || evaluation(names.len());
    let accuracy = |split, interval| Accuracy { split, purpose: "a purpose", value: 0.5, interval, images: 10 };
    Report {
        title: format!("cnn on {EVIL}"),
        figure: "accuracy",
        accuracies: vec![accuracy("training", None), accuracy("test", Some([0.3, 0.7]))],
        facts: vec![("steps".into(), "10".into())],
        remarks: vec!["A remark.".into()],
        settings: format!("data = {EVIL}"),
        history: vec![row(1.0, f64::NAN), row(2.0, 1.0)],
        kept: Some(row(2.0, 1.0)),
        learning: vec!["How to read it.".into()],
        learning_rates: vec![(0.0, 0.1), (2.0, 0.0)],
        classes: names.to_vec(),
        measured: Some(("test".into(), evaluation())),
        calibration: Some(Calibration { temperature: 1.5, before: evaluation(), after: evaluation() }),
        unknown: Some(Unknown {
            false_rejection: 0.05,
            auroc_of_left_out_classes: Some(0.8),
            rejected_held_out_images: 0.04,
            rejected_test_images: Some(0.06),
        }),
        samples: vec![shown(EVIL)],
        mistakes: vec![shown(EVIL)],
        templates: vec![shown("猫")],
    }
}

fn names(count: usize) -> Vec<String> {
    let special = ["猫 <cat>".into(), EVIL.into(), "a very long name of a class, ".repeat(12), "\u{1}🐕".into()];
    special.into_iter().chain((0..).map(|number| format!("class {number}"))).take(count).collect()
}

/// Panics unless every tag that opens closes, in order, and nothing stands bare that has to be escaped.
fn assert_well_formed(xml: &str) {
    let mut open = Vec::new();
    for (place, part) in xml.split('<').enumerate() {
        let Some((tag, text)) = part.split_once('>') else {
            assert!(place == 0 && part.is_empty(), "a bare < before {part:?}");
            continue;
        };
        for reference in part.split('&').skip(1) {
            let name = reference.split(';').next().expect("a part");
            assert!(["amp", "lt", "gt", "quot"].contains(&name), "&{name} in {part:?}");
        }
        assert!(!text.contains('>'), "a bare > in {text:?}");
        assert!(part.chars().all(|c| c >= ' ' || c == '\n'), "a control character in {part:?}");
        assert!(tag.matches('"').count() % 2 == 0, "a quote that does not end in {tag:?}");
        match (tag.strip_prefix('/'), tag.ends_with('/')) {
            (Some(name), _) => assert_eq!(open.pop(), Some(name), "</{name}> closes another"),
            (None, false) => open.push(tag.split([' ', '\n']).next().expect("a name")),
            (None, true) => {}
        }
    }
    assert!(open.is_empty(), "{open:?} do not close");
}

const HEADINGS: [&str; 9] = [
    "Learning",
    "Confusion",
    "Classes",
    "Worst mistakes",
    "Calibration",
    "Unknown images",
    "What each class looks for",
    "A training batch",
    "Settings",
];

fn has_section(html: &str, heading: &str) -> bool {
    html.contains(&format!(">{heading}</h2>"))
}

#[test]
fn a_page_needs_nothing_from_elsewhere_and_escapes_names() {
    let html = render(&full(&names(4))).html;
    for foreign in ["<script", "<link", "<iframe", "<object", "@import", "url(", "<cat>", "NaN"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    for attribute in ["src=\"", "href=\""] {
        for address in html.split(attribute).skip(1) {
            assert!(address.starts_with("data:image/png") || address.starts_with('#'), "{address:.40}");
        }
    }
    assert!(html.contains("猫 &lt;cat&gt;"));
}

#[test]
fn a_full_report_has_every_section_and_picture() {
    let Rendered { html, pictures } = render(&full(&names(3)));
    for heading in HEADINGS {
        assert!(has_section(&html, heading), "{heading}");
    }
    let files: Vec<_> = pictures.iter().map(|picture| picture.0).collect();
    let expected = ["scores", "accuracy", "loss", "learning-rate", "confusion", "reliability", "mistakes", "templates"];
    assert_eq!(files[..8], expected.map(|name| format!("{name}.svg")));
    assert_eq!(files[8], "batch.svg");
}

#[test]
fn what_is_not_there_is_left_out() {
    let html = render(&Report { title: "empty".into(), ..Report::default() }).html;
    for heading in HEADINGS {
        assert!(!has_section(&html, heading), "{heading}");
    }
}

#[test]
fn pictures_are_valid_files_of_their_own() {
    for count in [2, 4, 12, 40, 120] {
        for (name, svg) in render(&full(&names(count))).pictures {
            assert_well_formed(&svg);
            assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""), "{name}");
            assert!(!svg.contains("NaN") && !svg.contains("inf\""), "{name}");
        }
    }
}

#[test]
fn pictures_in_a_page_bring_no_style() {
    let html = render(&full(&names(3))).html;
    assert_eq!(html.matches("<style>").count(), 1);
}

#[test]
fn one_evaluation_is_drawn() {
    let report = Report { history: vec![row(1.0, 2.0)], ..full(&names(3)) };
    let pictures = render(&report).pictures;
    let loss = pictures.iter().find(|picture| picture.0 == "loss.svg").expect("a plot of one epoch");
    assert!(loss.1.contains("training, epoch 1.0: 2.0000"), "{}", loss.1);
}

#[test]
fn many_classes_stay_small() {
    let html = render(&full(&names(1000))).html;
    assert!(html.len() < 1_500_000, "{}", html.len());
    assert!(html.contains("The other 985 classes"));
}

#[test]
fn the_same_report_has_the_same_bytes() {
    assert_eq!(render(&full(&names(5))).html, render(&full(&names(5))).html);
}

#[test]
fn several_classes_an_image_have_thresholds_and_no_confusion() {
    let targets: Vec<f32> = (0..30).map(|place| f32::from(u8::from(place % 2 == 0 || place % 5 == 0))).collect();
    let logits: Vec<f32> = (0..30).map(|place| (place * 7 % 11) as f32 - 5.0).collect();
    let evaluation = || Evaluation::of_sets(&logits, &targets, 3, 1.0, &[0.5, 0.321, 0.5]);
    let report = Report {
        figure: "mAP",
        history: vec![HistoryRow { validation_top1: None, validation_map: Some([0.4, 0.1]), ..row(1.0, 1.0) }],
        kept: Some(HistoryRow { validation_top1: None, validation_map: Some([0.4, 0.1]), ..row(1.0, 1.0) }),
        measured: Some(("test".into(), evaluation())),
        calibration: Some(Calibration { temperature: 1.5, before: evaluation(), after: evaluation() }),
        ..full(&names(3))
    };
    let Rendered { html, pictures } = render(&report);
    assert!(!has_section(&html, "Confusion") && pictures.iter().all(|(name, _)| *name != "confusion.svg"));
    for said in
        ["32.1\u{a0}%", "test mAP", "validation mAP 40.0\u{a0}%", "(exact match)", "average precision", "mAP by split"]
    {
        assert!(html.contains(said), "{said}");
    }
    pictures.iter().for_each(|(_, svg)| assert_well_formed(svg));
}
