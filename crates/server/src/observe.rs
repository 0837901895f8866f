//! Around every request: its id, its line in the log, its place in the metrics, and what a panic in it costs.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{AppState, failure::Failure, guard, log, metrics::CONTENT_TYPE};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Letters of an id that a caller gives.
const LONGEST_ID: usize = 64;

/// Numbers for what has no name of its own; they do not repeat when the server is started again.
pub(crate) struct Names {
    start: u64,
    next: AtomicU64,
}

impl Names {
    pub fn new() -> Self {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        Self { start, next: AtomicU64::new(0) }
    }

    pub fn next(&self) -> String {
        format!("{:x}-{:x}", self.start, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

pub(crate) async fn observe(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let id: Arc<str> = given_id(&request).unwrap_or_else(|| state.0.names.next()).into();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    // The path without its query: what is asked may be private.
    let path = request.uri().path().to_owned();
    let mut response = log::within(id.clone(), next.run(request)).await;
    let (status, time) = (response.status().as_u16(), begin.elapsed());
    state.0.metrics.request(route.as_ref().map_or("none", MatchedPath::as_str), status, time);
    let milliseconds = (time.as_secs_f64() * 1e6).round() / 1e3;
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(request = %id, method = %method, path = %path, status, milliseconds, "answered")
        };
    }
    match status {
        // Refused for the load, or not in time.
        503 | 504 => line!(warn),
        500.. => line!(error),
        _ => line!(info),
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    if !state.is_ready() {
        // Whoever calls again is to find another server.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    guard::protect(headers, &state.0.config);
    response
}

/// A caller's own id, if it can be logged.
fn given_id(request: &Request) -> Option<String> {
    let id = request.headers().get(REQUEST_ID)?.to_str().ok()?;
    let sound = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    (!id.is_empty() && id.len() <= LONGEST_ID && id.chars().all(sound)).then(|| id.to_string())
}

/// The answer to a request that panicked; the panic's own words are in the log.
pub(crate) fn panicked(state: &AppState, _: Box<dyn Any + Send>) -> Response {
    state.0.metrics.panics.inc();
    let hint = "the server's log says more";
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed on this request", hint).into_response()
}

pub(crate) async fn metrics(State(state): State<AppState>) -> Result<Response, Failure> {
    let queues = state.0.slots.iter().map(|slot| (slot.name.as_str(), slot.places.taken()));
    let text = state
        .0
        .metrics
        .text(state.is_ready(), queues)
        .map_err(|_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written", ""))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
