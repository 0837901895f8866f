//! Model files that nobody trusts: what opens also predicts, everything else is refused with a message.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use percept::{Classifier, image::Image, weights};

/// More would be slow rather than new.
const MOST_VALUES: usize = 1 << 20;

/// The bytes as they are, or, after a first byte of `h`, a header whose length is right and a body of zeros as long as
/// its largest offset asks for: a length of eight bytes and a matching body are what a fuzzer rarely finds.
fn file_of(bytes: &[u8]) -> Vec<u8> {
    let Some(header) = bytes.strip_prefix(b"h") else { return bytes.to_vec() };
    let digits = header.split(|byte| !byte.is_ascii_digit());
    let numbers = digits.filter_map(|number| std::str::from_utf8(number).ok()?.parse::<usize>().ok());
    let body = numbers.filter(|&number| number < 1 << 20).max().unwrap_or(0);
    [&(header.len() as u64).to_le_bytes(), header, &vec![0; body]].concat()
}

fuzz_target!(|bytes: &[u8]| {
    let model = match weights::parse(&file_of(bytes), Path::new("model.safetensors")) {
        Ok(model) => model,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let values: usize = model.graph.nodes.iter().map(|node| node.shape.len()).max().unwrap_or(0);
    if values > MOST_VALUES || model.graph.multiply_adds() > 10 * MOST_VALUES as u64 {
        return;
    }
    let shape = model.card.architecture.input;
    let classes = model.card.classes.len();
    let image = Image { shape, pixels: vec![7; shape.len()] };
    let predictions = Classifier::from_saved(model).classify(&[image]);
    assert_eq!(predictions[0].likelihoods.len(), classes);
});
