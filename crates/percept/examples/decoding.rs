//! How fast photographs become a network's images: decoded and resized to 224x224, as training and prediction do it.
//! Percept's side of `bench/decoding.py`.
//!
//! `cargo run --release -p percept --example decoding -- FOLDER [--threads 2] [--milliseconds 2000] [--ask] [--write FILE]`
//!
//! Prints what it reads and then one turn, each as a line of JSON; a step is all files once, times are milliseconds a step.
//! With `--ask` it takes a turn for every line of standard input instead. `--write` writes the pixels of all files, in the
//! order of their paths, and ends.

use std::{
    fs,
    io::{self, BufRead},
    path::Path,
    time::{Duration, Instant},
};

use percept::image::{self, Fit, Image};
use rayon::prelude::*;
use serde_json::json;

const SIDE: usize = 224;

fn main() -> io::Result<()> {
    let all: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| all.iter().position(|word| word == name).and_then(|place| all.get(place + 1));
    let number = |name: &str, usual: usize| after(name).map_or(usual, |text| text.parse().expect("a number"));
    let folder =
        all.first().expect("usage: decoding FOLDER [--threads 2] [--milliseconds 2000] [--ask] [--write FILE]");
    let mut files = image::files_in(Path::new(folder)).map_err(io::Error::other)?;
    // The peer reads no other.
    files.retain(|file| {
        file.extension().is_some_and(|end| ["jpg", "jpeg"].iter().any(|jpeg| end.eq_ignore_ascii_case(jpeg)))
    });
    let encoded: Vec<Vec<u8>> = files.iter().map(fs::read).collect::<io::Result<_>>()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(number("--threads", 2)).build().map_err(io::Error::other)?;
    pool.install(|| {
        if let Some(file) = after("--write") {
            let pixels: Vec<u8> = encoded.iter().flat_map(|bytes| prepare(bytes).pixels).collect();
            return fs::write(file, pixels);
        }
        let step = || encoded.par_iter().for_each(|bytes| drop(prepare(bytes)));
        step();
        println!("{}", json!({ "ready": true, "batch": files.len(), "version": env!("CARGO_PKG_VERSION") }));
        let time = Duration::from_millis(number("--milliseconds", 2000) as u64);
        if !all.iter().any(|word| word == "--ask") {
            println!("{}", take_turn(&step, time));
            return Ok(());
        }
        for line in io::stdin().lock().lines() {
            line?;
            println!("{}", take_turn(&step, time));
        }
        Ok(())
    })
}

fn prepare(bytes: &[u8]) -> Image {
    let picture = image::decode(bytes, 3).expect("a picture");
    image::resize(&picture, SIDE, SIDE, Fit::Stretch)
}

/// Steps until the time is over, at least one.
fn take_turn(step: &dyn Fn(), time: Duration) -> serde_json::Value {
    let (begin, mut steps) = (Instant::now(), 0u32);
    while steps == 0 || begin.elapsed() < time {
        step();
        steps += 1;
    }
    json!({ "mean": begin.elapsed().as_secs_f64() * 1e3 / f64::from(steps), "steps": steps })
}
