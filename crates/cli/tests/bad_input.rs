//! What goes wrong on a user's machine: the message names it, nothing is lost, no panic.

mod common;

use std::{
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use common::{command, percept, refused, stdout, two_classes};
use tempfile::TempDir;

const QUICK: [&str; 4] = ["--model", "softmax", "--epochs", "3"];

fn train(folder: &Path, data: &str, out: &str, more: &[&str]) -> String {
    stdout(&percept(folder, &[&["train", data, "--out", out], &QUICK[..], more].concat()))
}

/// A PNG whose header promises 60,000 x 60,000 pixels.
fn oversized(path: &Path) {
    common::picture(path, 8, |_, _| 0);
    let mut file = OpenOptions::new().write(true).open(path).expect("opens");
    let mut header = b"IHDR".to_vec();
    header.extend(60_000u32.to_be_bytes());
    header.extend(60_000u32.to_be_bytes());
    header.extend([8, 0, 0, 0, 0]);
    file.seek(SeekFrom::Start(12)).expect("seeks");
    file.write_all(&header).expect("writes");
    let checksum = crc32(&header);
    file.write_all(&checksum.to_be_bytes()).expect("writes");
}

/// The CRC-32 of PNG's chunks, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 })
    })
}

#[test]
fn images_that_cannot_be_read_are_named_counted_and_left_out() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    two_classes(&folder.join("photos"), 20);
    oversized(&folder.join("photos/above/huge.png"));
    fs::write(folder.join("photos/below/text.jpg"), "no picture").expect("writes");
    let whole = fs::read(folder.join("photos/below/1.png")).expect("reads");
    fs::write(folder.join("photos/below/cut.png"), &whole[..whole.len() - 20]).expect("writes");
    let begin = Instant::now();
    let arguments = [&["train", "photos", "--out", "run"], &QUICK[..]].concat();
    let output = percept(folder, &arguments);
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("left out 3 of 43 images that cannot be read"), "{notes}");
    for part in ["above/huge.png", "60000", "below/text.jpg", "below/cut.png"] {
        assert!(notes.contains(part), "{part} is not in {notes}");
    }
    assert!(begin.elapsed() < Duration::from_secs(60), "a header of 60,000 x 60,000 costs nothing");
    refused(folder, &["train", "photos", "--bad-images", "fail", "--out", "strict"], &["cannot read image ", "hint: "]);
    assert!(!folder.join("strict").exists(), "a run that never began leaves nothing");
    // Predictions name the bad file and go on with the others.
    let arguments = ["predict", "run", "photos/above/huge.png", "photos/below/2.png", "--format", "json"];
    let output = percept(folder, &arguments);
    let answers: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(answers[0]["error"].as_str().is_some_and(|error| error.contains("60000")), "{answers}");
    assert_eq!(answers[1]["predictions"][0]["class"], "below");
}

#[test]
fn places_that_cannot_be_written_are_named() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    two_classes(&folder.join("photos"), 20);
    fs::write(folder.join("file"), "in the way").expect("writes");
    let arguments = [&["train", "photos", "--out", "file/run"], &QUICK[..]].concat();
    refused(folder, &arguments, &["file/run", "hint: "]);
}

/// A tiny file system, where the test may mount one: only root may.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_leaves_no_half_file() {
    let folder = TempDir::new().expect("a folder");
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).expect("creates");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=48k", "none"]).arg(&disk).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no small file system can be mounted here");
        return;
    }
    two_classes(&folder.path().join("photos"), 20);
    let arguments = ["train", "photos", "--model", "mlp", "--epochs", "2", "--out", "disk/run"];
    let output = percept(folder.path(), &arguments);
    let left: Vec<_> = fs::read_dir(disk.join("run")).expect("lists").flatten().map(|e| e.file_name()).collect();
    let unmounted = Command::new("umount").arg(&disk).status();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("free some space"), "{message}");
    assert!(!left.iter().any(|name| name == "model.safetensors" || name == "metrics.json"), "{left:?}");
    assert!(unmounted.is_ok_and(|status| status.success()));
}

/// Waits until a run has saved its first checkpoint.
fn wait_for_checkpoint(child: &mut Child, run: &Path) {
    let begin = Instant::now();
    while !run.join("checkpoint").is_dir()
        || fs::read_dir(run.join("checkpoint")).is_ok_and(|mut all| all.next().is_none())
    {
        assert!(child.try_wait().expect("looks").is_none(), "it ended before its first checkpoint");
        assert!(begin.elapsed() < Duration::from_secs(60), "no checkpoint came");
        sleep(Duration::from_millis(5));
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_training_goes_on_to_the_same_bits_but_not_with_other_data() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    two_classes(&folder.join("photos"), 40);
    let settings = ["--model", "mlp", "--steps", "3000", "--checkpoint-every", "0.05"];
    stdout(&percept(folder, &[&["train", "photos", "--out", "whole"], &settings[..]].concat()));
    let arguments = [&["train", "photos", "--out", "cut"], &settings[..]].concat();
    let mut child = command(folder, &arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
    wait_for_checkpoint(&mut child, &folder.join("cut"));
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.is_ok_and(|status| status.success()));
    let output = child.wait_with_output().expect("ends");
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && notes.contains("stopped after step"), "{notes}");
    assert!(notes.contains("percept train --resume cut"), "{notes}");
    assert!(!folder.join("cut/metrics.json").exists());

    let extra = folder.join("photos/above/extra.png");
    common::picture(&extra, 8, |y, _| if y < 4 { 255 } else { 0 });
    refused(folder, &["train", "--resume", "cut"], &["the data of cut is not what the run began with", "hint: "]);
    fs::remove_file(extra).expect("removes");
    stdout(&percept(folder, &["train", "--resume", "cut"]));
    let model = |run: &str| fs::read(folder.join(run).join("model.safetensors")).expect("a model file");
    assert!(model("whole") == model("cut"));
}

#[test]
fn figures_do_not_measure_what_was_trained_on() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    two_classes(&folder.join("photos"), 60);
    let trained: serde_json::Value = serde_json::from_str(&train(folder, "photos", "run", &["--json"])).expect("JSON");
    let measure = |data: &str| -> serde_json::Value {
        serde_json::from_str(&stdout(&percept(folder, &["evaluate", "run", data, "--json"]))).expect("JSON")
    };
    // The folder that it learned from: the same held-out images. Another one: all of it.
    assert_eq!(measure("photos")["test"], trained["test"]);
    two_classes(&folder.join("others"), 7);
    assert_eq!(measure("others")["test"]["images"], 14);
    // A class alone can be measured; a class that the model does not know cannot.
    fs::create_dir(folder.join("half")).expect("creates");
    fs::rename(folder.join("others/below"), folder.join("half/below")).expect("moves");
    assert_eq!(measure("half")["test"]["images"], 7);
    fs::rename(folder.join("half/below"), folder.join("half/beside")).expect("moves");
    refused(folder, &["evaluate", "run", "half"], &["knows no class \"beside\"", "above, below", "hint: "]);
}

#[test]
fn a_class_that_vanished_between_runs_is_named() {
    let folder = TempDir::new().expect("a folder");
    let folder = folder.path();
    two_classes(&folder.join("photos"), 20);
    for number in 0..20 {
        let path = folder.join(format!("photos/grey/{number}.png"));
        common::picture(&path, 8, |y, x| ((y * 31 + x * 17 + number * 101) % 97) as u8 + 60);
    }
    train(folder, "photos", "done", &["--checkpoint-every", "0"]);
    train(folder, "photos", "cut", &["--checkpoint-every", "0"]);
    fs::remove_file(folder.join("cut/metrics.json")).expect("removes");
    fs::rename(folder.join("photos/grey"), folder.join("grey")).expect("moves");
    let resume = ["train", "--resume", "cut"];
    refused(
        folder,
        &resume,
        &["the data of cut is not what", "photos has no class \"grey\" any more", "hint: bring the"],
    );
    let measured = percept(folder, &["evaluate", "done", "photos", "--json"]);
    let notes = String::from_utf8_lossy(&measured.stderr).into_owned();
    assert!(measured.status.success(), "{notes}");
    assert!(notes.contains("photos has no image of class \"grey\", which the model knows"), "{notes}");
    // An empty folder is no class either; all of the data gone is a path.
    fs::create_dir(folder.join("photos/grey")).expect("creates");
    refused(folder, &resume, &["photos has no class \"grey\" any more"]);
    fs::remove_dir(folder.join("photos/grey")).expect("removes");
    fs::rename(folder.join("grey"), folder.join("photos/grey")).expect("moves");
    common::picture(&folder.join("photos/grey/20.png"), 8, |_, _| 9);
    refused(folder, &resume, &["images in photos were added, taken out or changed"]);
    fs::remove_file(folder.join("photos/grey/20.png")).expect("removes");
    stdout(&percept(folder, &resume));
}
