//! A finished model learns more classes, with the pictures of the old ones and without them; forgets nothing; is repeated,
//! resumed, extended again; and what cannot be is named.

mod common;

use std::{fs, path::Path};

use common::{percept, refused, stdout};
use percept::data::{Dataset, DatasetConfig};
use serde_json::Value;
use tempfile::TempDir;

/// The digits of some classes as a folder of pictures.
fn digits(root: &Path, classes: &[&str]) {
    let cache = TempDir::new().expect("a folder");
    let config = DatasetConfig { cache_dir: cache.path().into(), ..DatasetConfig::new("digits") };
    let all = Dataset::open(&config, &|_| {}).expect("the digits");
    for (image, &label) in all.labels.iter().enumerate() {
        let class = &all.classes[label as usize];
        if classes.contains(&class.as_str()) {
            let pixels = all.image(image);
            common::picture(&root.join(class).join(format!("{image}.png")), 8, |y, x| pixels[(y * 8 + x) as usize]);
        }
    }
}

const OLD: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];

/// Runs a training; its figures and its notes.
fn train(folder: &Path, arguments: &[&str]) -> (Value, String) {
    let output = percept(folder, &[&["train"], arguments, &["--json"]].concat());
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    (serde_json::from_str(&stdout(&output)).expect("one JSON object"), notes)
}

fn model(folder: &Path, run: &str) -> Vec<u8> {
    fs::read(folder.join(run).join("model.safetensors")).expect("a model file")
}

/// What a model file says beside its tensors.
fn card(folder: &Path, run: &str) -> Value {
    let bytes = model(folder, run);
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
    serde_json::from_str(header["__metadata__"]["percept"].as_str().expect("an entry")).expect("a card")
}

fn top1(figures: &Value, place: &[&str]) -> f64 {
    let found = place.iter().fold(figures, |value, key| &value[key]);
    found["top1"].as_f64().unwrap_or_else(|| panic!("no accuracy at {place:?} in {figures}"))
}

/// Trains on digits 0 to 7 and checks what adding 8 and 9 does, with the old pictures and without them.
fn extended(model_name: &str, margin: f64, margin_without: f64) {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    digits(&folder.join("old"), &OLD);
    digits(&folder.join("new"), &["8", "9"]);
    train(folder, &["old", "--model", model_name, "--out", "eight"]);
    let alone = train(folder, &["new", "--extend", "eight", "--out", "with"]);
    let (figures, notes) = &alone;
    assert!(notes.contains("note: eight of 8 classes learns 2 others, 8, 9, from 354 new images"), "{notes}");
    assert!(
        notes.contains("note: the 8 old classes are held by their pictures: 1443 of old, unchanged since"),
        "{notes}"
    );
    let extended = &figures["extended"];
    assert_eq!(
        (extended["added"].clone(), extended["old_classes"].as_str()),
        (serde_json::json!(["8", "9"]), Some("pictures"))
    );
    let [before, after] = ["before", "after"].map(|when| top1(figures, &["extended", when]));
    assert!(before > 0.93 && after > before - margin, "{model_name}: {before} before, {after} after");
    assert!(top1(figures, &["test"]) > before - margin, "{figures}");
    assert_eq!(card(folder, "with")["classes"], serde_json::json!(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]));
    // The old data is measured on what was held out, as is the new.
    let images = figures["test"]["images"].as_u64().expect("a number");
    let measured = |data: &str| -> Value {
        serde_json::from_str(&stdout(&percept(folder, &["evaluate", "with", data, "--json"]))).expect("JSON")
    };
    let [old, new] = ["old", "new"].map(measured);
    assert_eq!(old["test"]["images"].as_u64().zip(new["test"]["images"].as_u64()).map(|(a, b)| a + b), Some(images));
    assert_eq!(top1(&old, &["test"]), after);
    // Its settings repeat it, bit for bit.
    train(folder, &["--config", "with/config.toml", "--out", "again"]);
    assert!(model(folder, "with") == model(folder, "again"));

    fs::rename(folder.join("old"), folder.join("gone")).expect("moves");
    let (figures, notes) = train(folder, &["new", "--extend", "eight", "--out", "without"]);
    assert!(notes.contains("the 8 old classes are held by what the model file keeps of their features"), "{notes}");
    assert_eq!((figures["extended"]["old_classes"].as_str(), figures["steps"].as_u64()), (Some("features"), Some(0)));
    assert!(figures["extended"].get("after").is_none(), "no picture of the old classes is there: {figures}");
    train(folder, &["--config", "without/config.toml", "--out", "without-again"]);
    assert!(model(folder, "without") == model(folder, "without-again"));
    // Measured on the old test images by the one who has them.
    fs::rename(folder.join("gone"), folder.join("old")).expect("moves");
    let kept = |data: &str| -> Value {
        serde_json::from_str(&stdout(&percept(folder, &["evaluate", "without", data, "--json"]))).expect("JSON")
    };
    let (kept, learned) = (kept("old"), kept("new"));
    assert_eq!(kept["test"]["images"], old["test"]["images"], "split as then");
    let [after, new] = [&kept, &learned].map(|figures| top1(figures, &["test"]));
    eprintln!("{model_name}: {before} before, {after} without pictures; {new} on new classes; {}", kept["unknown"]);
    assert!(after > before - margin_without, "{model_name}: {before} before, {after} without the pictures");
    assert!(new > 0.8, "{model_name}: {new} on the new classes");
}

#[test]
fn a_small_network_learns_more_digits_and_forgets_little() {
    // Without pictures six seeds lost 1.5 to 7.6 of 100 test images (mean 5.3): a network this small has not learned what
    // other classes will need, and its features of old ones are held by their means and spread alone.
    extended("cnn", 0.02, 0.1);
}

#[test]
fn a_hidden_layer_learns_more_digits_and_forgets_none() {
    // Trained on all ten digits from the start, it is wrong on as many of the eight.
    extended("mlp", 0.04, 0.08);
}

#[test]
fn an_extended_model_is_extended_again() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    digits(&folder.join("digits"), &OLD[..4]);
    let quick = ["--model", "cnn-small", "--epochs", "6"];
    train(folder, &[&["./digits", "--out", "four"], &quick[..]].concat());
    // More classes in the same folder: the pictures that were there are found in it.
    digits(&folder.join("digits"), &["4"]);
    let (_, notes) = train(folder, &["./digits", "--extend", "four", "--epochs", "2", "--out", "five"]);
    assert!(notes.contains("four of 4 classes learns another, \"4\", from 181 new images, beside 720 that"), "{notes}");
    // Pictures without class folders are a class by themselves.
    digits(&folder.join("5"), &["5"]);
    for file in fs::read_dir(folder.join("5/5")).expect("lists").flatten() {
        fs::rename(file.path(), folder.join("5").join(file.file_name())).expect("moves");
    }
    fs::remove_dir(folder.join("5/5")).expect("removes");
    let (figures, notes) = train(folder, &["./5", "--extend", "five", "--epochs", "2", "--out", "six"]);
    assert!(notes.contains("./5 has no class folders: its 182 images are class \"5\""), "{notes}");
    assert!(notes.contains("the 5 old classes are held by their pictures: 901 of digits, unchanged since"), "{notes}");
    assert!(top1(&figures, &["extended", "after"]) > 0.9, "{figures}");
    let card = card(folder, "six");
    assert_eq!(card["classes"], serde_json::json!(["0", "1", "2", "3", "4", "5"]));
    assert_eq!(card["parent"]["data"], serde_json::json!(["digits", "digits"]));
    assert_eq!(card["parent"]["file"].as_str().map(str::len), Some(64));
    // Nothing new: a training that goes on.
    let (_, notes) = train(folder, &["./5", "--extend", "six", "--epochs", "1", "--out", "more"]);
    assert!(notes.contains("six knows every class of the data: its training goes on, with 0 new images"), "{notes}");
}

#[test]
fn an_extension_in_two_sittings_is_one_in_one() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    digits(&folder.join("old"), &OLD[..5]);
    digits(&folder.join("new"), &["5"]);
    train(folder, &["old", "--model", "mlp", "--epochs", "3", "--out", "run"]);
    let asked = ["new", "--extend", "run", "--steps", "9", "--checkpoint-every", "0"];
    train(folder, &[&asked[..], &["--out", "whole"]].concat());
    train(folder, &[&asked[..], &["--out", "parts"]].concat());
    for file in ["metrics.json", "model.safetensors"] {
        fs::remove_file(folder.join("parts").join(file)).expect("removes");
    }
    let resume = |parts: &[&str]| refused(folder, &["train", "--resume", "parts"], parts);
    // Not with another model below it, nor without the pictures that it began with.
    fs::rename(folder.join("old"), folder.join("gone")).expect("moves");
    resume(&[
        "the pictures that run was trained on are needed: \"old\" is neither a path that exists",
        "hint: bring them back",
    ]);
    fs::rename(folder.join("gone"), folder.join("old")).expect("moves");
    let before = model(folder, "run");
    fs::copy(folder.join("whole/model.safetensors"), folder.join("run/model.safetensors")).expect("copies");
    resume(&[
        "run/model.safetensors is not the model that was extended: its SHA-256 is ",
        "hint: bring that model back",
    ]);
    fs::write(folder.join("run/model.safetensors"), before).expect("writes");
    stdout(&percept(folder, &["train", "--resume", "parts"]));
    assert!(model(folder, "whole") == model(folder, "parts"));
}

#[test]
fn a_second_stage_that_ruins_the_model_gives_back_the_first() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    digits(&folder.join("old"), &OLD[..4]);
    digits(&folder.join("new"), &["4"]);
    train(folder, &["old", "--model", "cnn-small", "--epochs", "6", "--out", "run"]);
    let (first, _) = train(folder, &["new", "--extend", "run", "--stage", "1", "--out", "first"]);
    let ruin = ["--stage", "2", "--learning-rate", "20", "--schedule", "constant", "--epochs", "8"];
    let (figures, notes) = train(folder, &[&["new", "--extend", "run", "--out", "ruined"], &ruin[..]].concat());
    let table = fs::read_to_string(folder.join("ruined/results.csv")).expect("a table");
    let figure = |row: &str| row.split(',').nth(5).and_then(|cell| cell.parse::<f64>().ok()).expect("an accuracy");
    let rows: Vec<f64> = table.lines().skip(1).map(figure).collect();
    assert!(rows[1..].iter().all(|&row| row < rows[0]), "every epoch is worse than stage 1: {rows:?}");
    assert_eq!(figures["validation"], first["validation"]);
    assert_eq!(figures["test"], first["test"]);
    // Half of the epochs without anything better end it.
    assert!(notes.contains("note: validation did not improve in 4 evaluations: stopping"), "{notes}");
    assert_eq!(rows.len(), 5, "{rows:?}");
    // A time that stage 1 uses up ends with it, too.
    let timed = ["new", "--extend", "run", "--stage", "2", "--time", "300ms", "--out", "timed"];
    let (figures, notes) = train(folder, &timed);
    assert!(notes.contains("is over after stage 1, whose classifier is the result"), "{notes}");
    assert_eq!(figures["steps"], 0);
    assert!(model(folder, "timed") == model(folder, "first"));
}

#[test]
fn what_contradicts_the_model_is_named() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    digits(&folder.join("old"), &OLD[..3]);
    digits(&folder.join("new"), &["3"]);
    for (name, run) in [("softmax", "linear"), ("mlp", "run")] {
        train(folder, &["old", "--model", name, "--epochs", "2", "--out", run]);
    }
    let asked = |more: &[&'static str]| [&["train", "new", "--extend", "run", "--out", "never"], more].concat();
    for (flag, value, own) in [
        ("--model", "cnn", "mlp"),
        ("--image-size", "9", "8x8"),
        ("--hidden", "7", "512"),
        ("--preprocess", "mean-image", "mean-std"),
        ("--fit", "pad", "stretch"),
        ("--test", "0.2", "0.1"),
        ("--validation", "0.3", "0.1"),
        ("--weights", "w.pth", "its own"),
    ] {
        let own = format!("contradicts --extend run, whose model has {own}");
        refused(folder, &asked(&[flag, value]), &[flag, &own, "hint: leave "]);
    }
    refused(folder, &asked(&["--from-scratch"]), &["--from-scratch and --extend run contradict each other"]);
    refused(
        folder,
        &["train", "new", "--extend", "nothing"],
        &["there is no model at nothing", "hint: pass a run's folder"],
    );
    refused(folder, &["train", "nothing", "--extend", "run"], &["\"nothing\" is neither a path"]);
    // A picture changed: the data is not what it was.
    common::picture(&folder.join("old/0/extra.png"), 8, |_, _| 9);
    refused(
        folder,
        &asked(&["--stage", "2"]),
        &["--stage 2 would forget the classes of run", "old is not what it was then"],
    );
    let linear = ["train", "new", "--extend", "linear", "--out", "never"];
    let parts =
        ["nothing is left of class \"0\" and 2 more", "keeps no features of it", "hint: bring the pictures back"];
    refused(folder, &linear, &parts);
    assert!(!folder.join("never").exists(), "a run that never began leaves nothing");
    // A model file alone does not say where its pictures are.
    fs::copy(folder.join("run/model.safetensors"), folder.join("alone.safetensors")).expect("copies");
    let (_, notes) = train(folder, &["new", "--extend", "alone.safetensors", "--out", "from-file"]);
    assert!(notes.contains("it has no config.toml beside it"), "{notes}");
    // What is grey by nature and what is not.
    train(folder, &["digits", "--model", "mlp", "--epochs", "1", "--out", "grey"]);
    let (_, notes) = train(folder, &["new", "--extend", "grey", "--epochs", "1", "--out", "regrey"]);
    assert!(notes.contains("new is shown in grey, as the pictures of the model were"), "{notes}");
}
