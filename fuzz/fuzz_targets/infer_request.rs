//! Inference requests that nobody trusts: a sentence or pictures, never a panic, and no more bytes than came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use percept_server::fuzzing::infer_request;

fuzz_target!(|bytes: &[u8]| {
    let Some((head, body)) = bytes.split_first_chunk::<2>() else { return };
    let head = match u16::from_le_bytes(*head) {
        u16::MAX => None,
        head => Some(usize::from(head)),
    };
    if let Some(pictures) = infer_request(body, head) {
        assert!(pictures.iter().sum::<usize>() <= body.len());
    }
});
