//! Bodies as they arrive from strangers: bounded in bytes, in time, and together in memory. A body that is too long is
//! refused by its announced length before it is read; memory is counted as it arrives, so that nobody holds any by a promise.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{StatusCode, header},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{AppState, failure::Failure, guard::shows_token};

/// Memory is counted in pieces of this many bytes.
const PIECE: usize = 1 << 10;
/// How much longer a refused body is listened to, so that its sender reads the answer instead of a broken connection.
const LINGER: Duration = Duration::from_secs(1);

/// A whole body.
pub(crate) struct Upload {
    pub bytes: Bytes,
    /// Its share of the memory for bodies.
    _memory: OwnedSemaphorePermit,
}

impl Upload {
    /// Reads it, or says why not: 413 too large, 408 too slow, 503 where other bodies fill the memory.
    pub async fn read(request: Request, state: &AppState) -> Result<Self, Failure> {
        let limits = state.0.config.limits;
        let announced = request.headers().get(header::CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > limits.body) {
            return Err(refuse(request, too_large(limits.body)).await);
        }
        // Without a token only a form may still bring one.
        let share = if shows_token(state, request.headers()) { &state.0.memory } else { &state.0.strangers };
        if announced.is_some_and(|length| pieces(length) > share.available_permits()) {
            return Err(refuse(request, Failure::overloaded()).await);
        }
        let mut body = Limited::new(request.into_body(), limits.body);
        match timeout(limits.timeout, gather(&mut body, share)).await {
            Ok(Ok(upload)) => Ok(upload),
            Ok(Err(Broken::NoMemory)) => {
                _ = timeout(LINGER, drain(&mut body)).await;
                Err(Failure::overloaded())
            }
            Ok(Err(Broken::Body(error))) if is_too_long(error.as_ref()) => Err(too_large(limits.body)),
            Ok(Err(Broken::Body(_))) => Err(Failure::bad_request(
                "the body broke off, or is not in the encoding that it names",
                "send it again",
            )),
            Err(_) => {
                let error = format!("the body took longer than {} s to arrive", limits.timeout.as_secs_f64());
                let hint = "send it again, smaller or over a faster line";
                Err(Failure::new(StatusCode::REQUEST_TIMEOUT, error, hint))
            }
        }
    }
}

/// Why a body is not whole.
enum Broken {
    NoMemory,
    Body(Box<dyn std::error::Error + Send + Sync>),
}

async fn gather(body: &mut Limited<Body>, share: &Arc<Semaphore>) -> Result<Upload, Broken> {
    let take = |pieces: usize| share.clone().try_acquire_many_owned(pieces as u32).map_err(|_| Broken::NoMemory);
    let (mut first, mut all, mut length, mut memory) = (Bytes::new(), Vec::new(), 0, take(0)?);
    while let Some(frame) = body.frame().await {
        let Ok(part) = frame.map_err(Broken::Body)?.into_data() else { continue };
        let before = pieces(length);
        length += part.len();
        memory.merge(take(pieces(length) - before)?);
        // What comes at once is not copied. What comes in small parts is, since each of them has a cost of its own.
        if first.is_empty() {
            first = part;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&part);
    }
    let bytes = if all.is_empty() { first } else { all.into() };
    Ok(Upload { bytes, _memory: memory })
}

/// Memory for so many bytes of an answer, or why there is none: 503 where others fill it.
pub(crate) fn reserve(bytes: usize, state: &AppState) -> Result<OwnedSemaphorePermit, Failure> {
    let limit = state.0.config.limits.memory;
    if bytes > limit {
        let error = format!("pictures in the answer may take {bytes} bytes, which is more than the {limit} for all");
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send fewer pictures in a request"));
    }
    state.0.memory.clone().try_acquire_many_owned(pieces(bytes) as u32).map_err(|_| Failure::overloaded())
}

/// Pieces of memory for so many bytes.
pub(crate) fn pieces(bytes: usize) -> usize {
    bytes.div_ceil(PIECE).min(u32::MAX as usize >> 3)
}

/// Gives the failure back once the body was heard for a moment.
pub(crate) async fn refuse(request: Request, failure: Failure) -> Failure {
    // Whoever sends on after that does not listen.
    _ = timeout(LINGER, drain(&mut request.into_body())).await;
    failure
}

async fn drain<B: axum::body::HttpBody + Unpin>(body: &mut B) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// The limit's error may be wrapped, where the body is decompressed.
fn is_too_long(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<LengthLimitError>())
}

fn too_large(limit: usize) -> Failure {
    let error = format!("the body is larger than {limit} bytes");
    let hint = "send smaller or fewer pictures, or start the server with a larger --max-body";
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, hint)
}
