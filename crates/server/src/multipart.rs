//! Files in a body of multipart/form-data (RFC 7578).

use axum::{body::Bytes, http::StatusCode};
use futures_util::stream;
use multer::{Constraints, Multipart, SizeLimit};

use crate::failure::Failure;

/// A file of a form.
pub(crate) struct File {
    pub name: String,
    pub bytes: Bytes,
}

/// How many parts beside files a form may have.
const OTHER_PARTS: usize = 64;

/// The files in a body that is in memory, `most` at most. Parts without a file's name are settings of forms, and none of ours.
pub(crate) async fn files(body: Bytes, boundary: String, most: usize) -> Result<Vec<File>, Failure> {
    let whole = SizeLimit::new().whole_stream(body.len() as u64);
    let body = stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let mut form = Multipart::with_constraints(body, boundary, Constraints::new().size_limit(whole));
    let (mut found, mut others) = (Vec::new(), 0);
    let broken = |error: multer::Error| {
        Failure::bad_request(format!("the form cannot be read: {error}"), "send multipart/form-data with files in it")
    };
    while let Some(part) = form.next_field().await.map_err(broken)? {
        let Some(name) = part.file_name().map(str::to_string) else {
            others += 1;
            if others > OTHER_PARTS {
                let error = format!("the form has more than {OTHER_PARTS} parts that are no files");
                return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send files only"));
            }
            continue;
        };
        if found.len() == most {
            let error = format!("the form holds more than {most} files");
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send them in several requests"));
        }
        found.push(File { name, bytes: part.bytes().await.map_err(broken)? });
    }
    if found.is_empty() {
        let hint = "add a part with a file name, as curl -F image=@cat.jpg does";
        return Err(Failure::bad_request("the form holds no file", hint));
    }
    Ok(found)
}
