//! Ways for the fuzz targets into the parsers that face the network; no part of what the library promises.

use axum::body::Bytes;
use futures_util::FutureExt;

use crate::{
    multipart,
    recognise::Picture,
    v2::request::{Bounds, parse},
};

/// Bytes of every picture of an inference request that is one: the body, and how much of it is JSON.
pub fn infer_request(body: &[u8], head: Option<usize>) -> Option<Vec<usize>> {
    let bounds = Bounds { pictures: 64, pixels: 1 << 20, has_unknown: true };
    let request = parse(&Bytes::copy_from_slice(body), head, bounds).ok()?;
    let length = |picture: &Picture| match picture {
        Picture::Encoded(bytes) => bytes.len(),
        Picture::Pixels(shape, bytes) => {
            assert_eq!(shape.len(), bytes.len(), "a picture has the pixels that its shape says");
            bytes.len()
        }
    };
    assert!(request.pictures.len() <= bounds.pictures && !request.pictures.is_empty());
    Some(request.pictures.iter().map(length).collect())
}

/// Bytes of every file of a form, and of its token, if it is a form.
pub fn form(body: &[u8], boundary: &str) -> Option<Vec<usize>> {
    // All of it is there, so that nothing is ever waited for.
    let form = multipart::read(Bytes::copy_from_slice(body), boundary.into(), 64).now_or_never();
    let form = form?.ok()?;
    assert!(form.files.len() <= 64);
    // Of what is no text every byte may become a sign of three.
    let token = form.token.map(|token| token.len() / 3);
    Some(form.files.iter().map(|file| file.bytes.len()).chain(token).collect())
}
