//! How fast photographs become a network's images: decoded and resized to 224x224, as training and prediction do it.
//! Percept's side of `bench/decoding.py`.
//!
//! `cargo run --release -p percept --example decoding -- FOLDER [--threads 2] [--milliseconds 2000] [--ask] [--write FILE]`
//!
//! Prints what it reads and then one turn, each as a line of JSON; a step is all files once, times are milliseconds a step.
//! With `--ask` it takes a turn for every line of standard input instead. `--write` writes the pixels of all files, in the
//! order of their paths, and ends.

mod side;

use std::{fs, io, path::Path};

use percept::image::{self, Fit, Image};
use rayon::prelude::*;
use serde_json::json;
use side::Arguments;

const SIDE: usize = 224;

fn main() -> io::Result<()> {
    let arguments = Arguments::new();
    let folder = arguments.all.first().expect("usage: decoding FOLDER [--threads 2] [--ask] [--write FILE]");
    let mut files = image::files_in(Path::new(folder)).map_err(io::Error::other)?;
    // The peer reads no other.
    let is_jpeg = |end: &std::ffi::OsStr| ["jpg", "jpeg"].iter().any(|jpeg| end.eq_ignore_ascii_case(jpeg));
    files.retain(|file| file.extension().is_some_and(is_jpeg));
    let encoded: Vec<Vec<u8>> = files.iter().map(fs::read).collect::<io::Result<_>>()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(arguments.number("--threads", 2)).build();
    pool.map_err(io::Error::other)?.install(|| {
        if let Some(file) = arguments.text("--write") {
            let pixels: Vec<u8> = encoded.iter().flat_map(|bytes| prepare(bytes).pixels).collect();
            return fs::write(file, pixels);
        }
        let mut step = |_| encoded.par_iter().for_each(|bytes| drop(prepare(bytes)));
        step(0);
        let ready = json!({ "ready": true, "batch": files.len(), "version": env!("CARGO_PKG_VERSION") });
        side::take_turns(&arguments, &ready, files.len(), &mut step)
    })
}

fn prepare(bytes: &[u8]) -> Image {
    image::decode_for(bytes, 3, [SIDE, SIDE], Fit::Stretch).expect("a picture")
}
