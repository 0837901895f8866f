//! What a model says beside a class: where it looked, and that it does not know.

mod common;

use std::{fs, path::Path};

use common::{failure, percept, picture, refused, stdout};
use serde_json::Value;
use tempfile::TempDir;

fn train(folder: &Path, out: &str, more: &[&str]) {
    stdout(&percept(folder, &[&["train", "digits", "--out", out], more].concat()));
}

/// A digit one, four times as large.
fn one(folder: &Path, name: &str) {
    picture(&folder.join(name), 32, |_, x| if matches!(x / 4, 3 | 4) { 255 } else { 0 });
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn pictures_are_drawn_over_and_named_apart() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    one(folder, "one.png");
    one(folder, "more/one.png");
    for (model, words) in [("cnn", "(Grad-CAM)"), ("softmax", "orange pixels voted for the class")] {
        train(folder, model, &["--model", model, "--epochs", "3"]);
        // The report draws the same over every wrong answer that it shows.
        let metrics = json(&fs::read_to_string(folder.join(model).join("metrics.json")).expect("metrics"));
        let (top1, images) = (metrics["test"]["top1"].as_f64(), metrics["test"]["images"].as_f64());
        let wrong = top1.zip(images).map(|(top1, images)| ((1.0 - top1) * images).round() as usize).expect("figures");
        assert!(wrong > 0, "{model} is never wrong: train less");
        let report = fs::read_to_string(folder.join(model).join("report.html")).expect("a report");
        assert!(report.contains("Worst mistakes</h2>"));
        assert_eq!(report.matches("alt=\"what spoke for the answer: ").count(), wrong.min(24), "{model}");
        let output = percept(folder, &["explain", model, "one.png", "more", "--out", "drawn"]);
        let text = stdout(&output);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("one.png   ") && lines[0].ends_with("drawn/one-explained.png"), "{text}");
        assert!(lines[1].starts_with("more/one.png   ") && lines[1].ends_with("drawn/one-explained-2.png"), "{text}");
        let notes = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(notes.contains(words), "{notes}");
        let decoder = png::Decoder::new(std::io::BufReader::new(
            fs::File::open(folder.join("drawn/one-explained-2.png")).expect("a drawing"),
        ));
        let reader = decoder.read_info().expect("a PNG file");
        assert_eq!((reader.info().width, reader.info().height), (160, 160), "enlarged, so that its pixels can be seen");
    }
    let asked = stdout(&percept(folder, &["explain", "cnn", "one.png", "--class", "7"]));
    assert!(asked.starts_with("one.png   7 "), "{asked}");
    assert!(folder.join("explanations/one-explained.png").is_file());
    refused(folder, &["explain", "cnn", "one.png", "--class", "ten"], &["no class \"ten\": it knows 0, 1, 2"]);
    fs::write(folder.join("not.png"), "no picture").expect("writes");
    let message = failure(folder, &["explain", "cnn", "not.png", "one.png", "--out", "rest"]);
    assert!(message.contains("not.png: error: ") && message.contains("1 of 2 pictures could not be read"), "{message}");
    assert!(folder.join("rest/one-explained.png").is_file(), "the others are drawn");
}

#[test]
fn what_was_never_seen_is_unknown() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    train(folder, "run", &["--epochs", "12"]);
    let metrics = json(&fs::read_to_string(folder.join("run/metrics.json")).expect("metrics"));
    assert_eq!(metrics["unknown"]["false_rejection"], 0.05);
    assert!(metrics["unknown"]["rejected_test_images"].as_f64() < Some(0.15), "{}", metrics["unknown"]);
    assert!(metrics["unknown"]["auroc_of_left_out_classes"].as_f64() > Some(0.8), "{}", metrics["unknown"]);
    assert!(fs::read_to_string(folder.join("run/report.html")).expect("a report").contains("Unknown images</h2>"));
    // Chequers and stripes are no digits.
    for number in 0..30u32 {
        let wide = 1 + number % 3;
        let light = move |lit: bool| if lit { 255 - (number * 3) as u8 } else { (number * 2) as u8 };
        picture(&folder.join(format!("other/chequers/{number}.png")), 8, move |y, x| {
            light(((y + number) / wide + x / wide) % 2 == 0)
        });
        picture(&folder.join(format!("other/stripes/{number}.png")), 8, move |y, _| {
            light((y + number) / wide % 2 == 0)
        });
    }
    let measured = json(&stdout(&percept(folder, &["evaluate", "run", "digits", "--unseen", "./other", "--json"])));
    let unseen = &measured["unknown"]["unseen"];
    assert_eq!((unseen["images"].as_u64(), unseen["data"].as_str()), (Some(60), Some("other")));
    assert!(unseen["auroc"].as_f64() > Some(0.95), "{measured}");
    let text = stdout(&percept(folder, &["evaluate", "run", "digits", "--unseen", "./other"]));
    assert!(text.contains("called unknown: ") && text.contains(" of 60 images of other, AUROC 0.9"), "{text}");
    let predict =
        |more: &[&str]| stdout(&percept(folder, &[&["predict", "run", "other/chequers/0.png"], more].concat()));
    assert!(predict(&[]).contains("   unknown   (nearest: "), "{}", predict(&[]));
    assert_eq!(json(&predict(&["--format", "json"]))[0]["unknown"], true);
    assert_eq!(json(&predict(&["--format", "json", "--no-unknown"]))[0]["unknown"], false);
    assert!(predict(&["--format", "csv", "--top", "1"]).contains(",true,\n"), "{}", predict(&["--format", "csv"]));
}

#[test]
fn a_model_that_calls_nothing_unknown_says_so() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    train(folder, "run", &["--epochs", "1", "--no-unknown"]);
    let settings = fs::read_to_string(folder.join("run/config.toml")).expect("settings");
    assert!(settings.contains("false_rejection = 0.0"), "{settings}");
    let metrics = json(&fs::read_to_string(folder.join("run/metrics.json")).expect("metrics"));
    assert!(metrics.get("unknown").is_none());
    refused(
        folder,
        &["evaluate", "run", "digits", "--unseen", "digits"],
        &["calls no image unknown", "--false-rejection"],
    );
    refused(folder, &["train", "digits", "--false-rejection", "1"], &["--false-rejection 1 is out of range"]);
}
