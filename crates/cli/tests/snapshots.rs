//! What scripts and readers depend on, word for word: help texts, graphs, tables. After a wanted change, look at the
//! difference and accept it: `INSTA_UPDATE=always cargo test --release -p percept-cli --test snapshots`.

mod common;

use common::{command, percept, stdout};
use tempfile::TempDir;

fn shown(arguments: &[&str]) -> String {
    let folder = TempDir::new().expect("a folder");
    stdout(&percept(folder.path(), arguments))
}

#[test]
fn help() {
    for path in [
        "",
        "train",
        "evaluate",
        "predict",
        "explain",
        "serve",
        "graph",
        "models",
        "data",
        "data list",
        "data get",
        "data inspect",
    ] {
        let mut arguments: Vec<&str> = path.split_whitespace().collect();
        arguments.push("--help");
        insta::assert_snapshot!(format!("help {path}").trim().replace(' ', "_"), shown(&arguments));
    }
}

#[test]
fn graphs() {
    insta::assert_snapshot!("graph_softmax", shown(&["graph", "softmax"]));
    insta::assert_snapshot!("graph_cnn", shown(&["graph", "cnn"]));
}

#[test]
fn tables() {
    insta::assert_snapshot!("models", shown(&["models"]));
    insta::assert_snapshot!("data_list", shown(&["data", "list"]));
    insta::assert_snapshot!("data_inspect", shown(&["data", "inspect", "digits"]));
}

#[test]
fn usage_errors() {
    let folder = TempDir::new().expect("a folder");
    for (name, arguments) in [
        ("usage_epochs_and_steps", &["train", "digits", "--epochs", "1", "--steps", "2"][..]),
        ("usage_unknown_optimizer", &["train", "digits", "--optimizer", "adam"]),
        ("usage_no_pictures", &["predict", "run"]),
    ] {
        let output = command(folder.path(), arguments).output().expect("percept starts");
        assert_eq!(output.status.code(), Some(2));
        insta::assert_snapshot!(name, String::from_utf8_lossy(&output.stderr));
    }
}
