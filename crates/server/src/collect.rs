//! `POST /collect`: keeps a picture whose right class a user named, in a folder of that name, ready to train on. Only where
//! the server was started with a folder for that; nothing outside it is ever written.

use std::path::PathBuf;

use axum::{
    Json,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use percept::{files, image};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use crate::{
    AppState,
    failure::Failure,
    predict::{Content, query, refused},
    recognise::Unreadable,
    upload::{Upload, refuse},
};

/// Bytes of a class's name.
const LONGEST_NAME: usize = 100;

#[derive(Deserialize)]
pub(crate) struct Options {
    model: Option<String>,
    class: String,
}

pub(crate) async fn collect(
    State(state): State<AppState>,
    options: Result<Query<Options>, QueryRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let (class, folder) = match check(&state, options, &request) {
        Ok(checked) => checked,
        Err(failure) => return Err(refuse(request, failure).await),
    };
    let upload = Upload::read(request, &state).await?;
    let (send, receive) = oneshot::channel();
    let pixels = state.0.config.limits.pixels;
    // Decoded, so that only pictures are kept, by the threads that are there for it.
    state.0.decoders.spawn(move || {
        let decoded = image::decode_within(&upload.bytes, 3, pixels).map(|_| upload.bytes);
        _ = send.send(decoded);
    });
    let bytes = receive.await.map_err(|_| refused(&Unreadable::Failed))?;
    let bytes = bytes.map_err(|reason| refused(&Unreadable::Picture(reason)))?;
    let name = format!("{}.{}", state.next_name(), extension(&bytes));
    let path = folder.join(&name);
    let written = tokio::task::spawn_blocking(move || {
        files::create_folder(&folder)?;
        files::write_whole(&path, &bytes)
    });
    match written.await {
        Ok(Ok(())) => Ok((StatusCode::CREATED, Json(json!({"file": format!("{class}/{name}")}))).into_response()),
        Ok(Err(error)) => {
            tracing::error!(error = %error, "a picture could not be kept");
            let hint = "the server's log says why";
            Err(Failure::new(StatusCode::INSUFFICIENT_STORAGE, "the picture could not be kept", hint))
        }
        Err(_) => Err(refused(&Unreadable::Failed)),
    }
}

/// The class, and the folder of its pictures.
fn check(
    state: &AppState,
    options: Result<Query<Options>, QueryRejection>,
    request: &Request,
) -> Result<(String, PathBuf), Failure> {
    let Some(folder) = &state.0.config.collect else {
        let hint = "start the server with --collect DIR";
        return Err(Failure::new(StatusCode::FORBIDDEN, "this server keeps no pictures", hint));
    };
    let Options { model, class } = query(options)?;
    let slot = state.slot(model.as_deref())?;
    let class = class.trim().to_string();
    if !is_sound(&class) {
        let hint = "use a name without / \\ : and control characters that does not begin with a dot";
        return Err(Failure::bad_request(format!("{class:?} cannot be a folder's name"), hint));
    }
    if let Content::Form(_) = Content::of(request.headers())? {
        let hint = "send the picture itself as the body";
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "forms are not kept", hint));
    }
    // One model's folder can be trained on as it is; several do not share one.
    let folder = if state.0.slots.len() == 1 { folder.clone() } else { folder.join(&slot.name) };
    Ok((class.clone(), folder.join(class)))
}

/// Whether it can be a folder's name, on any system.
fn is_sound(name: &str) -> bool {
    let odd = |letter: char| letter.is_control() || r#"/\:*?"<>|"#.contains(letter);
    let stem = name.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let device = matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || (stem.len() == 4
            && (stem.starts_with("COM") || stem.starts_with("LPT"))
            && stem.ends_with(|c: char| c.is_ascii_digit()));
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains(odd)
        && !device
}

/// By the first bytes of a picture that was decoded.
fn extension(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xff, 0xd8, ..] => "jpg",
        [0x89, b'P', ..] => "png",
        [b'R', b'I', ..] => "webp",
        [b'B', b'M', ..] => "bmp",
        [b'G', b'I', ..] => "gif",
        _ => "tif",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_stay_in_the_folder_are_sound() {
        for name in ["cat", "Maine Coon", "zwölf", "猫", "t-shirt", "a.b"] {
            assert!(is_sound(name), "{name}");
        }
        let long = "x".repeat(LONGEST_NAME + 1);
        for name in ["", ".", "..", ".git", "../cat", "a/b", "a\\b", "C:", "a\0", "a\n", "nul", "com1.x", "cat.", &long]
        {
            assert!(!is_sound(name), "{name}");
        }
    }
}
