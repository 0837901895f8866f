//! Forms that nobody trusts: a sentence or files, never a panic, and no more bytes than came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use percept_server::fuzzing::form;

fuzz_target!(|bytes: &[u8]| {
    if let Some(files) = form(bytes, "b") {
        assert!(files.iter().sum::<usize>() <= bytes.len());
    }
});
