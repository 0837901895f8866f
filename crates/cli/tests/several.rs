//! Pictures that show several classes each, or none, from a table to predictions: pairs of the embedded digits, side by
//! side, learned in seconds.

mod common;

use std::{fs, path::Path};

use common::{percept, refused, stdout};
use percept::data::{Dataset, DatasetConfig};
use serde_json::Value;
use tempfile::TempDir;

const SIDE: usize = 8;
/// Every digit stands in one picture alone, so that no test picture shows one that was learned.
const PAIRS: usize = 898;

/// Writes pictures of 8x16 pixels, and a table of the digits in them: two mostly, sometimes one, sometimes none.
fn pairs(folder: &Path) {
    let config = DatasetConfig { cache_dir: folder.join("cache"), ..DatasetConfig::new("digits") };
    let digits = Dataset::open(&config, &|_| {}).expect("the embedded digits");
    let mut table = String::from("file_name,labels\n");
    fs::create_dir_all(folder.join("pairs/pictures")).expect("creates");
    for number in 0..PAIRS {
        let mut pixels = vec![0; 2 * SIDE * SIDE];
        let mut names = Vec::new();
        let places: &[usize] = match number {
            n if n % 30 == 7 => &[],
            n if n % 9 == 4 => &[1],
            _ => &[0, 1],
        };
        for &place in places {
            let digit = 2 * number + place;
            for (row, values) in digits.image(digit).chunks_exact(SIDE).enumerate() {
                pixels[(2 * row + place) * SIDE..][..SIDE].copy_from_slice(values);
            }
            names.push(digits.classes[digits.labels[digit] as usize].clone());
        }
        let name = format!("pictures/{number}.png");
        let file = fs::File::create(folder.join("pairs").join(&name)).expect("creates");
        let mut writer = png::Encoder::new(file, 2 * SIDE as u32, SIDE as u32);
        writer.set_color(png::ColorType::Grayscale);
        writer.write_header().and_then(|mut writer| writer.write_image_data(&pixels)).expect("writes");
        table += &format!("{name},{}\n", names.join("|"));
    }
    fs::write(folder.join("pairs/labels.csv"), table).expect("writes");
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("one JSON value")
}

#[test]
fn pairs_of_digits_are_learned_measured_and_named() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    pairs(folder);
    let inspected = stdout(&percept(folder, &["data", "inspect", "pairs/labels.csv"]));
    assert!(inspected.contains("labels: several an image, 1."), "{inspected}");
    let train = ["train", "pairs/labels.csv", "--model", "mlp", "--epochs", "120", "--out", "run", "--json"];
    let output = percept(folder, &train);
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(notes.contains("note: an image may show several classes: 1."), "{notes}");
    let figures = json(&stdout(&output));
    for split in ["train", "validation", "test"] {
        assert!(figures[split]["mAP"].is_f64() && figures[split]["top1"].is_null(), "{figures}");
    }
    let test = &figures["test"];
    // One layer and some 600 pictures: guessing has a mean average precision of 0.2 and no set right.
    assert!(test["mAP"].as_f64() > Some(0.93), "{figures}");
    assert!(test["f1_micro"].as_f64() > Some(0.8) && test["exact_match"].as_f64() > Some(0.5), "{figures}");
    let metrics = json(&fs::read_to_string(folder.join("run/metrics.json")).expect("reads"));
    let class = &metrics["measured"]["classes"][3];
    assert!(class["average_precision"].is_f64() && class["threshold"].is_f64(), "{class}");
    assert!(metrics["measured"]["confusion"].is_null() && metrics["measured"]["top1_interval"].is_null());
    let history = fs::read_to_string(folder.join("run/results.csv")).expect("reads");
    assert!(history.starts_with("epoch,seconds,train/loss,train/exact_match,val/loss,val/mAP,val/mAP_error,lr\n"));
    assert!(folder.join("run/report.html").exists() && !folder.join("run/confusion.svg").exists());

    // Measured again, split as it was: the same figures.
    let evaluated = json(&stdout(&percept(folder, &["evaluate", "run", "pairs/labels.csv", "--json"])));
    assert_eq!(&evaluated["test"], test);
    let text = stdout(&percept(folder, &["evaluate", "run", "pairs/labels.csv"]));
    assert!(text.contains("threshold") && text.contains("micro avg") && text.contains("\nmAP 9"), "{text}");

    // Named: every class with its probability, those that are there marked.
    let predict =
        |more: &[&'static str]| stdout(&percept(folder, &[&["predict", "run", "pairs/pictures"], more].concat()));
    let named = json(&predict(&["--format", "json"]));
    let (mut right, mut marked) = (0, Vec::new());
    let table = fs::read_to_string(folder.join("pairs/labels.csv")).expect("reads");
    for picture in named.as_array().expect("a list") {
        let rows = picture["predictions"].as_array().expect("classes");
        let sum: f64 = rows.iter().filter_map(|row| row["probability"].as_f64()).sum();
        marked.push(sum);
        let chosen = rows.iter().filter(|row| row["chosen"] == true).filter_map(|row| row["class"].as_str());
        let mut chosen: Vec<&str> = chosen.collect();
        chosen.sort_unstable();
        let file = picture["file"].as_str().expect("a name").strip_prefix("pairs/").expect("its folder");
        let line = table.lines().find(|line| line.starts_with(&format!("{file},"))).expect("a row");
        let mut labels: Vec<&str> = line.split(',').next_back().into_iter().flat_map(|cell| cell.split('|')).collect();
        labels.retain(|label| !label.is_empty());
        labels.sort_unstable();
        labels.dedup();
        right += usize::from(chosen == labels);
        assert_eq!((rows.len(), picture["unknown"].is_boolean()), (10, true));
    }
    assert!(right * 10 > PAIRS * 8, "{right} of {PAIRS}");
    assert!(marked.iter().any(|&sum| sum > 1.5) && marked.iter().any(|&sum| sum < 0.5), "each class has its own");
    let first = "pairs/pictures/0.png,1,";
    let rows = predict(&["--format", "csv", "--top", "2"]);
    assert!(
        rows.starts_with("file,rank,class,probability,chosen,unknown,error\n") && rows.contains(first),
        "{rows:.200}"
    );
    assert!(predict(&["--top", "2"]).lines().next().is_some_and(|line| line.contains('*') || line.contains(" %")));

    let explain = ["explain", "run", "pairs/pictures/0.png", "--class", "7", "--out", "drawn"];
    assert!(stdout(&percept(folder, &explain)).contains("0.png   7 "));
    assert!(folder.join("drawn/0-explained.png").exists());

    // The settings repeat it, bit for bit.
    stdout(&percept(folder, &["train", "--config", "run/config.toml", "--out", "again"]));
    let model = |run: &str| fs::read(folder.join(run).join("model.safetensors")).expect("a model");
    assert!(model("run") == model("again"));
}

#[test]
fn other_losses_and_models_learn_them_too() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    pairs(folder);
    let train = |out: &'static str, more: &[&'static str]| {
        let asked = ["train", "pairs/labels.csv", "--out", out, "--json"];
        json(&stdout(&percept(folder, &[&asked[..], more].concat())))
    };
    let quick = ["--model", "mlp", "--epochs", "20"];
    let mixed = train("mixed", &[&quick[..], &["--mixup", "0.2", "--cutmix", "1"]].concat());
    assert!(mixed["test"]["mAP"].as_f64() > Some(0.6), "{mixed}");
    let balanced = train("balanced", &[&quick[..], &["--class-weights", "balanced"]].concat());
    assert!(balanced["test"]["mAP"].as_f64() > Some(0.8), "{balanced}");
    let smooth = train("smooth", &[&quick[..], &["--label-smoothing", "0.1", "--validation", "0"]].concat());
    assert!(smooth["test"]["mAP"].as_f64() > Some(0.8) && smooth["validation"].is_null(), "{smooth}");
    let cnn = train("cnn", &["--model", "cnn", "--epochs", "3"]);
    assert!(cnn["test"]["mAP"].as_f64() > Some(0.6), "{cnn}");
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    pairs(folder);
    let quick = ["--model", "softmax", "--steps", "2", "--no-unknown"];
    refused(
        folder,
        &[&["train", "pairs/labels.csv", "--labels", "one", "--out", "one"], &quick[..]].concat(),
        &["labels.csv, row 9: pictures/7.png has no label", "--labels several if images may show nothing"],
    );
    stdout(&percept(folder, &[&["train", "digits", "--out", "digits"], &quick[..]].concat()));
    refused(
        folder,
        &["evaluate", "digits", "pairs/labels.csv"],
        &["pairs/labels.csv show several classes each, but the model names one", "hint: "],
    );
    fs::write(folder.join("pairs/wrong.csv"), "file_name,1,2\npictures/0.png,1,0\npictures/1.png,1,yes\n")
        .expect("writes");
    refused(folder, &["train", "pairs/wrong.csv"], &["wrong.csv, row 3: \"yes\" in column \"2\" is neither 0 nor 1"]);
    // A set of one class each is learned as several where that is asked for.
    let several = ["train", "digits", "--labels", "several", "--out", "several", "--json"];
    let figures = json(&stdout(&percept(folder, &[&several[..], &quick].concat())));
    assert!(figures["test"]["mAP"].is_f64(), "{figures}");
    stdout(&percept(folder, &["evaluate", "several", "digits"]));
}
