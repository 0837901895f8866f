//! Bodies as they arrive from strangers: bounded in bytes, in time, and together in memory. A body that is too long is
//! refused by its announced length before it is read.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{StatusCode, header},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use crate::{AppState, failure::Failure};

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
        let wanted = pieces(announced.unwrap_or(limits.body)) as u32;
        let Ok(memory) = state.0.memory.clone().try_acquire_many_owned(wanted) else {
            return Err(refuse(request, Failure::overloaded()).await);
        };
        let Ok(read) = timeout(limits.timeout, Limited::new(request.into_body(), limits.body).collect()).await else {
            let error = format!("the body took longer than {} s to arrive", limits.timeout.as_secs_f64());
            let hint = "send it again, smaller or over a faster line";
            return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, error, hint));
        };
        match read {
            Ok(body) => Ok(Self { bytes: body.to_bytes(), _memory: memory }),
            Err(error) if is_too_long(error.as_ref()) => Err(too_large(limits.body)),
            Err(_) => Err(Failure::bad_request(
                "the body broke off, or is not in the encoding that it names",
                "send it again",
            )),
        }
    }
}

/// Pieces of memory for so many bytes.
pub(crate) fn pieces(bytes: usize) -> usize {
    bytes.div_ceil(PIECE).min(u32::MAX as usize >> 3)
}

/// Gives the failure back once the body was heard for a moment.
pub(crate) async fn refuse(request: Request, failure: Failure) -> Failure {
    let mut body = request.into_body();
    // Whoever sends on after that does not listen.
    _ = timeout(LINGER, drain(&mut body)).await;
    failure
}

async fn drain(body: &mut Body) {
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
