//! Files of datasets that nobody trusts: tables, Parquet, IDX, CIFAR's batches (binary and pickle) and archives. What
//! opens has labels below its classes; everything else is refused with a message.
#![no_main]

use std::{fs, path::PathBuf};

use libfuzzer_sys::fuzz_target;
use percept::data::{DatasetConfig, Picture, Source};
use tempfile::TempDir;

const MOST_SAMPLES: usize = 20;
const CIFAR: [&str; 6] = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"];

/// The kinds of data, each a path and the files that hold the fuzzer's bytes; two files share them half and half.
struct Kinds {
    folder: TempDir,
    first: PathBuf,
    second: PathBuf,
}

thread_local! {
    static KINDS: Kinds = Kinds::new();
}

impl Kinds {
    const PATHS: [&str; 8] =
        ["table.csv", "table.tsv", "rows.parquet", "pickles", "binaries", "idx", "cifar-10-python.tar.gz", "emnist"];

    /// Every file of every kind is one of two files, under another name.
    fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        let place = |name: &str| folder.path().join(name);
        let (first, second) = (place("first"), place("second"));
        let link = |file: &PathBuf, name: String| {
            let path = place(&name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::hard_link(file, path).expect("a second name");
        };
        fs::write(&first, []).expect("a file");
        fs::write(&second, []).expect("a file");
        for name in ["table.csv", "table.tsv", "rows.parquet", "cifar-10-python.tar.gz", "emnist/emnist.zip"] {
            link(&first, name.into());
        }
        for batch in CIFAR {
            link(&first, format!("pickles/{batch}"));
            link(&first, format!("binaries/{batch}.bin"));
        }
        link(&second, "pickles/batches.meta".into());
        for split in ["train", "t10k"] {
            link(&first, format!("idx/{split}-images-idx3-ubyte"));
            link(&second, format!("idx/{split}-labels-idx1-ubyte"));
        }
        Self { folder, first, second }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    KINDS.with(|kinds| {
        let path = Kinds::PATHS[usize::from(choice) % Kinds::PATHS.len()];
        let half = if path == "idx" || path == "pickles" { bytes.len() / 2 } else { bytes.len() };
        fs::write(&kinds.first, &bytes[..half]).expect("a file");
        fs::write(&kinds.second, &bytes[half..]).expect("a file");
        let config = DatasetConfig {
            data: kinds.folder.path().join(path).display().to_string(),
            cache_dir: kinds.folder.path().join("cache"),
            ..DatasetConfig::new("")
        };
        let source = match Source::open(&config, &|_| {}) {
            Ok(source) => source,
            Err(error) => return assert!(!error.to_string().is_empty()),
        };
        let Ok(samples) = (source.samples)() else { return };
        for sample in samples.take(MOST_SAMPLES) {
            let Ok(sample) = sample else { return };
            assert!((sample.label as usize) < source.classes.len(), "label {}", sample.label);
            if let Picture::Pixels(image) = sample.picture {
                assert_eq!(image.pixels.len(), image.shape.len());
            }
        }
    });
});
