//! Runs `percept` as a user does, in a folder of the test's own and without the network.
#![allow(dead_code, reason = "every test file uses a part")]

#[cfg(unix)]
pub mod server;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// Runs `percept` in a folder of the test's own.
pub fn percept(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().expect("percept starts")
}

pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_percept"));
    command
        .current_dir(folder)
        .args(arguments)
        // Help is as wide as the terminal, where there is one.
        .stdin(Stdio::null())
        .env_remove("COLUMNS")
        .env("PERCEPT_CACHE", folder.join("cache"))
        .env("PERCEPT_OFFLINE", "1")
        .env_remove("PERCEPT_DATA");
    command
}

pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The message of a command that must fail because of its input.
pub fn failure(folder: &Path, arguments: &[&str]) -> String {
    let output = percept(folder, arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
    assert!(!message.contains("panicked"), "{message}");
    message
}

/// A command that must fail, with these parts in its message.
pub fn refused(folder: &Path, arguments: &[&str], parts: &[&str]) {
    let message = failure(folder, arguments);
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

/// Writes a grey picture whose pixels follow from their place.
pub fn picture(path: &Path, side: u32, pixel: impl Fn(u32, u32) -> u8) -> PathBuf {
    fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
    let mut writer = png::Encoder::new(fs::File::create(path).expect("creates"), side, side);
    writer.set_color(png::ColorType::Grayscale);
    let pixels: Vec<u8> = (0..side * side).map(|i| pixel(i / side, i % side)).collect();
    writer.write_header().and_then(|mut w| w.write_image_data(&pixels)).expect("writes");
    path.to_path_buf()
}

/// A folder of two classes, bright above or bright below, `images` each.
pub fn two_classes(root: &Path, images: u32) {
    for number in 0..images {
        let noise = move |y: u32, x: u32| ((y * 31 + x * 17 + number * 101) % 97) as u8;
        picture(&root.join(format!("above/{number}.png")), 8, |y, x| noise(y, x) + if y < 4 { 150 } else { 0 });
        picture(&root.join(format!("below/{number}.png")), 8, |y, x| noise(y, x) + if y < 4 { 0 } else { 150 });
    }
}
