//! Forms (multipart/form-data, RFC 7578): the files in them, and the page's token.

use axum::{body::Bytes, http::StatusCode};
use futures_util::stream;
use multer::{Constraints, Multipart, SizeLimit};

use crate::failure::Failure;

/// What a form holds.
pub(crate) struct Form {
    pub files: Vec<File>,
    /// The text of the part called `token`.
    pub token: Option<String>,
}

/// A file of a form.
pub(crate) struct File {
    pub name: String,
    pub bytes: Bytes,
}

/// How many parts beside files a form may have.
const OTHER_PARTS: usize = 64;

/// Reads a body that is in memory, with `most` files at most. Of parts without a file's name only the token is ours.
pub(crate) async fn read(body: Bytes, boundary: String, most: usize) -> Result<Form, Failure> {
    let whole = SizeLimit::new().whole_stream(body.len() as u64);
    let body = stream::iter([Ok::<_, std::convert::Infallible>(body)]);
    let mut parts = Multipart::with_constraints(body, boundary, Constraints::new().size_limit(whole));
    let (mut form, mut others) = (Form { files: Vec::new(), token: None }, 0);
    let broken = |error: multer::Error| {
        Failure::bad_request(format!("the form cannot be read: {error}"), "send multipart/form-data with files in it")
    };
    while let Some(part) = parts.next_field().await.map_err(broken)? {
        let Some(name) = part.file_name().map(str::to_string) else {
            others += 1;
            if others > OTHER_PARTS {
                let error = format!("the form has more than {OTHER_PARTS} parts that are no files");
                return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send files only"));
            }
            if part.name() == Some("token") {
                let token = part.bytes().await.map_err(broken)?;
                form.token = Some(String::from_utf8_lossy(&token).trim().to_string());
            }
            continue;
        };
        if form.files.len() == most {
            let error = format!("the form holds more than {most} files");
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send them in several requests"));
        }
        form.files.push(File { name, bytes: part.bytes().await.map_err(broken)? });
    }
    Ok(form)
}
