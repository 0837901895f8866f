//! The whole way on the digits inside the program: train, evaluate, predict; same bits; exact resume; named errors.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use common::{command, percept, stdout};
use tempfile::TempDir;

fn train(folder: &Path, out: &str, more: &[&str]) -> Vec<u8> {
    let arguments = [&["train", "digits", "--model", "mlp", "--epochs", "6", "--out", out], more].concat();
    stdout(&percept(folder, &arguments));
    fs::read(folder.join(out).join("model.safetensors")).expect("a model file")
}

/// A picture of a digit, four times as large, as PNG.
fn picture(folder: &Path, name: &str) -> PathBuf {
    common::picture(&folder.join(name), 32, |_, x| if matches!(x / 4, 3 | 4) { 255 } else { 0 })
}

#[test]
fn train_evaluate_predict() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    let text = stdout(&percept(folder, &["train", "digits", "--json", "--epochs", "12"]));
    let figures: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
    assert_eq!((figures["model"].as_str(), figures["data"].as_str()), (Some("cnn"), Some("digits")));
    let top1 = figures["test"]["top1"].as_f64().expect("a test accuracy");
    assert!(top1 > 0.95, "{top1}");
    let run = folder.join("runs/digits-cnn-1");
    for file in ["model.safetensors", "config.toml", "results.csv", "metrics.json", "report.html", "confusion.svg"] {
        assert!(run.join(file).is_file(), "{file} is missing");
    }
    let text = stdout(&percept(folder, &["evaluate", "runs/digits-cnn-1", "digits", "--json"]));
    let again: serde_json::Value = serde_json::from_str(&text).expect("one JSON object");
    assert_eq!(again["test"]["top1"], figures["test"]["top1"], "a saved model measures as it did");

    picture(folder, "one.png");
    fs::write(folder.join("not.png"), "no picture").expect("writes");
    let arguments = ["predict", "runs/digits-cnn-1", "one.png", "--format", "json", "--top", "2"];
    let answers: serde_json::Value = serde_json::from_str(&stdout(&percept(folder, &arguments))).expect("JSON");
    assert_eq!(answers[0]["file"], "one.png");
    assert_eq!(answers[0]["predictions"].as_array().map(Vec::len), Some(2));
    let output = percept(folder, &["predict", "runs/digits-cnn-1", "one.png", "not.png", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let answers: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON all the same");
    assert!(answers[0]["predictions"].is_array() && answers[1]["error"].is_string());
}

#[test]
fn the_tutorials_lines() {
    let folder = TempDir::new().expect("a folder");
    let arguments = [
        "train",
        "digits",
        "--model",
        "softmax",
        "--steps",
        "201",
        "--batch-size",
        "100",
        "--learning-rate",
        "0.0005",
        "--sampling",
        "with-replacement",
        "--schedule",
        "constant",
        "--preprocess",
        "mean-image",
        "--validation",
        "0",
    ];
    let text = stdout(&percept(folder.path(), &arguments));
    let settings = fs::read_to_string(folder.path().join("runs/digits-softmax-1/config.toml")).expect("settings");
    for part in ["optimizer = \"sgd\"", "momentum = 0.0", "weight_decay = 0.0", "flip = \"none\""] {
        assert!(settings.contains(part), "{part} is not in {settings}");
    }
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("Step     0: training accuracy 0."), "{text}");
    assert!(lines[1].starts_with("Step   100: training accuracy "), "{text}");
    assert!(lines[lines.len() - 2].starts_with("Test accuracy 0."), "{text}");
    assert!(lines[lines.len() - 1].starts_with("Total time: "), "{text}");
}

#[test]
fn same_seed_same_file_on_any_number_of_threads() {
    let folder = TempDir::new().expect("a folder");
    let one = train(folder.path(), "one", &["--threads", "1"]);
    assert!(one == train(folder.path(), "two", &["--threads", "2"]), "two threads");
    assert!(one == train(folder.path(), "again", &[]), "a second time");
    assert!(one != train(folder.path(), "other", &["--seed", "1"]), "another seed");
}

#[test]
fn a_training_by_the_clock_is_repeated_by_its_settings() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    let run = |arguments: &[&str]| stdout(&percept(folder, &[&["train"], arguments].concat()));
    run(&["digits", "--model", "mlp", "--time", "3s", "--out", "clock"]);
    let settings = fs::read_to_string(folder.join("clock/config.toml")).expect("settings");
    assert!(settings.contains("plans = ["), "it looks at its pace on the way: {settings}");
    run(&["--config", "clock/config.toml", "--out", "again"]);
    let model = |run: &str| fs::read(folder.join(run).join("model.safetensors")).expect("a model");
    assert!(model("clock") == model("again"));
}

#[test]
fn bf16_is_a_training_of_its_own_whose_model_predicts_as_any_other() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    let bf16 = train(folder, "bf16", &["--precision", "bf16"]);
    assert!(bf16 == train(folder, "threads", &["--precision", "bf16", "--threads", "1"]), "one thread");
    assert!(bf16 != train(folder, "f32", &[]), "nothing was rounded");
    let settings = fs::read_to_string(folder.join("bf16/config.toml")).expect("settings");
    assert!(settings.contains("precision = \"bf16\""), "{settings}");
    let scores = |run: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(folder.join(run).join("metrics.json")).expect("metrics")).expect("JSON")
    };
    let [narrow, wide] = ["bf16", "f32"].map(|run| scores(run)["test"]["top1"].as_f64().expect("an accuracy"));
    assert!((narrow - wide).abs() < 0.02, "bf16 {narrow}, f32 {wide}");
    let evaluated = stdout(&percept(folder, &["evaluate", "bf16", "digits", "--json"]));
    let evaluated: serde_json::Value = serde_json::from_str(&evaluated).expect("JSON");
    assert_eq!(evaluated["test"]["top1"].as_f64(), Some(narrow));
}

#[test]
fn killed_at_any_moment_and_resumed_it_ends_the_same() {
    for precision in ["f32", "bf16"] {
        kill_and_resume(precision);
    }
}

fn kill_and_resume(precision: &str) {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    let whole = train(folder, "whole", &["--precision", precision]);
    let begin = ["train", "digits", "--model", "mlp", "--epochs", "6", "--out", "cut", "--checkpoint-every", "0"];
    let mut arguments: Vec<&str> = [begin.as_slice(), &["--precision", precision]].concat();
    // Moments spread over the training, some before its first checkpoint.
    for kill in 0..20 {
        let mut child =
            command(folder, &arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("percept starts");
        std::thread::sleep(Duration::from_millis(5 + 7 * kill));
        child.kill().expect("is killed");
        child.wait().expect("ends");
        if folder.join("cut/metrics.json").exists() {
            break;
        }
        if folder.join("cut/config.toml").exists() {
            arguments = vec!["train", "--resume", "cut"];
        } else {
            let _ = fs::remove_dir_all(folder.join("cut"));
        }
    }
    if !folder.join("cut/metrics.json").exists() {
        stdout(&percept(folder, &arguments));
    }
    assert!(whole == fs::read(folder.join("cut/model.safetensors")).expect("a model file"));
}

#[test]
fn bad_input_is_named() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    let said = |arguments: &[&str], parts: &[&str]| common::refused(folder, arguments, parts);
    said(&["train", "nowhere"], &["\"nowhere\" is neither a path that exists nor the name of a dataset", "hint: "]);
    fs::create_dir(folder.join("empty")).expect("creates");
    said(&["train", "./empty"], &["holds no image", "hint: "]);
    fs::create_dir_all(folder.join("single/cat")).expect("creates");
    picture(folder, "single/cat/1.png");
    said(&["train", "./single"], &["one class only, \"cat\"", "hint: "]);
    said(&["train", "digits", "--model", "net"], &["there is no model named \"net\"", "choose auto, softmax"]);
    said(&["train", "digits", "--learning-rate=-1"], &["--learning-rate -1 is out of range"]);
    said(&["train", "digits", "--validation", "1.5"], &["--validation 1.5 is out of range"]);
    let wild =
        ["train", "digits", "--model", "softmax", "--optimizer", "sgd", "--learning-rate", "1e9", "--epochs", "5"];
    said(&wild, &["training diverged at step", "hint: try --learning-rate 100000000"]);
    fs::write(folder.join("other.safetensors"), "no model").expect("writes");
    said(&["predict", "other.safetensors", "x.png"], &["is not a model file of Percept"]);
    said(&["predict", "nothing", "x.png"], &["there is no model at nothing"]);
    said(
        &["train", "mnist"],
        &["the network is switched off by PERCEPT_OFFLINE", "train-images-idx3-ubyte.gz", "--data-dir"],
    );
    train(folder, "done", &[]);
    said(&["train", "--resume", "done"], &["the run done has ended already"]);
    said(&["train", "digits", "--out", "done"], &["done holds a run already"]);
    // A damaged model file: cut in the middle.
    let bytes = fs::read(folder.join("done/model.safetensors")).expect("reads");
    fs::write(folder.join("cut.safetensors"), &bytes[..bytes.len() / 2]).expect("writes");
    said(&["predict", "cut.safetensors", "x.png"], &["cut.safetensors is damaged"]);
    // A newer one.
    let newer: Vec<u8> = {
        let from = b"\\\"format\\\":1";
        let place = bytes.windows(from.len()).position(|w| w == from).expect("the version");
        let mut newer = bytes.clone();
        newer[place + from.len() - 1] = b'9';
        newer
    };
    fs::write(folder.join("newer.safetensors"), newer).expect("writes");
    said(&["predict", "newer.safetensors", "x.png"], &["has format 9", "install a newer Percept"]);
}

#[test]
fn wrong_usage_ends_with_2() {
    let folder = TempDir::new().expect("a folder");
    assert_eq!(percept(folder.path(), &["train", "digits", "--epochs", "1", "--steps", "2"]).status.code(), Some(2));
    assert_eq!(percept(folder.path(), &["nonsense"]).status.code(), Some(2));
}
