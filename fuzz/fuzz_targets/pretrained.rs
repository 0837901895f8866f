//! Weights of other programs that nobody trusts, PyTorch's pickles and archives among them: they are read, or refused
//! with a message.
#![no_main]

use std::{fs, path::PathBuf};

use libfuzzer_sys::fuzz_target;
use percept::weights::pretrained::{Places, Pretrained};
use tempfile::TempDir;

thread_local! {
    static FOLDER: TempDir = TempDir::new().expect("a folder");
}

fuzz_target!(|bytes: &[u8]| {
    let pretrained = Pretrained::of("efficientnet_lite0").expect("a pretrained model");
    let file = FOLDER.with(|folder| folder.path().join("weights.pth"));
    fs::write(&file, bytes).expect("a file");
    let places = Places { file: Some(file), ..Places::new(PathBuf::new(), &|_, _, _| {}) };
    if let Err(error) = pretrained.load(&places) {
        assert!(!error.to_string().is_empty());
    }
});
