//! `POST /collect`: keeps a picture whose right class a user named, in a folder of that name, ready to train on. Only where
//! the server was started with a folder for that; nothing outside it is ever written.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use axum::{
    Json,
    body::Bytes,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use percept::{files, image};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    AppState,
    admission::Admission,
    failure::Failure,
    log,
    model::Slot,
    predict::{Content, query, refused},
    recognise::{Show, Unreadable},
    upload::{Upload, refuse},
};

/// Bytes of a class's name.
const LONGEST_NAME: usize = 100;
/// Bytes that a picture counts for at least: the limit is one on pictures and folders, too.
const LEAST: u64 = 64 << 10;

#[derive(Deserialize)]
pub(crate) struct Options {
    model: Option<String>,
    class: String,
}

/// Where a picture goes.
struct Target<'s> {
    slot: &'s Slot,
    class: String,
    folder: PathBuf,
}

pub(crate) async fn collect(
    State(state): State<AppState>,
    options: Result<Query<Options>, QueryRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let Target { slot, class, folder } = match check(&state, options, &request) {
        Ok(checked) => checked,
        Err(failure) => return Err(refuse(request, failure).await),
    };
    let upload = Upload::read(request, &state).await?;
    let admission = Admission::of(slot, 1, Show::Nothing, &state)?;
    let limits = state.0.config.limits;
    let kept = timeout(limits.timeout, keep(&state, upload.bytes.clone(), folder, admission));
    let name = kept.await.map_err(|_| Failure::late(limits.timeout))??;
    Ok((StatusCode::CREATED, Json(json!({"file": format!("{class}/{name}")}))).into_response())
}

/// Keeps a picture, and gives the name of its file.
async fn keep(state: &AppState, bytes: Bytes, folder: PathBuf, admission: Admission) -> Result<String, Failure> {
    let failed = || {
        state.0.metrics.panics.inc();
        refused(&Unreadable::Failed)
    };
    let pixels = state.0.config.limits.pixels;
    // Decoded, so that only pictures are kept, by the threads that are there for it.
    let decoded =
        state.0.decoders.run(admission.clone(), move || image::decode_within(&bytes, 3, pixels).map(|_| bytes));
    let decoded = decoded.await.map_err(|_| failed())?;
    let bytes = decoded.map_err(|reason| refused(&Unreadable::Picture(reason)))?;
    let owned = state.clone();
    let written = tokio::task::spawn_blocking(log::carry(move || {
        let _held = admission;
        write(&owned, &folder, &bytes)
    }));
    written.await.map_err(|_| failed())?
}

fn write(state: &AppState, folder: &Path, bytes: &[u8]) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(request = log::request().as_deref(), error = %error, "a picture could not be kept");
        let hint = "the server's log says why";
        Failure::new(StatusCode::INSUFFICIENT_STORAGE, "the picture could not be kept", hint)
    };
    let is_free = state.0.kept.take(state, bytes.len() as u64).map_err(|error| failed(&error))?;
    if !is_free {
        let error = "the pictures that are kept fill the space that they have";
        let hint = "train with them and take them away, or start the server with a larger --max-collected";
        return Err(Failure::new(StatusCode::INSUFFICIENT_STORAGE, error, hint));
    }
    let name = format!("{}.{}", state.next_name(), extension(bytes));
    files::create_folder(folder).map_err(|error| failed(&error))?;
    files::write_whole(&folder.join(&name), bytes).map_err(|error| failed(&error))?;
    Ok(name)
}

/// Bytes of what is kept in all. They are counted when the first picture comes.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Option<u64>>);

impl Kept {
    /// Takes room for a picture of so many bytes, if there is some.
    fn take(&self, state: &AppState, bytes: u64) -> io::Result<bool> {
        let Some(folder) = &state.0.config.collect else { return Ok(false) };
        let (limit, bytes) = (state.0.config.limits.collected, bytes.max(LEAST));
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = match *used {
            Some(used) if used + bytes <= limit => used,
            // Somebody may have taken pictures away.
            _ => measure(folder, limit)?,
        };
        let is_free = now + bytes <= limit;
        *used = Some(if is_free { now + bytes } else { now });
        Ok(is_free)
    }
}

/// Bytes of the files below a folder, or more than the limit.
fn measure(folder: &Path, limit: u64) -> io::Result<u64> {
    let (mut sum, mut folders) = (0, vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        // Where nothing was kept yet there is no folder, and what is being taken away may be gone by now.
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(about) = entry.metadata() else { continue };
            match about.is_dir() {
                true => folders.push(entry.path()),
                false => sum += about.len().max(LEAST),
            }
            if sum > limit {
                return Ok(sum);
            }
        }
    }
    Ok(sum)
}

/// The class, and the folder of its pictures.
fn check<'s>(
    state: &'s AppState,
    options: Result<Query<Options>, QueryRejection>,
    request: &Request,
) -> Result<Target<'s>, Failure> {
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
    Admission::is_possible(slot)?;
    Ok(Target { slot, folder: folder.join(&class), class })
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
