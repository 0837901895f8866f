//! What goes wrong, as callers see it: a status, a sentence, and what to do next. Says nothing of the machine's files.

use std::{borrow::Cow, io, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// Why a server does not start, or a model is not replaced.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A model cannot be read.
    #[error(transparent)]
    Model(#[from] percept::Error),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Address {
        /// What was asked for.
        address: std::net::SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// A setting that cannot be used.
    #[error("{0}")]
    Setting(String),
}

/// An answer that is not the one hoped for.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    #[serde(skip)]
    pub status: StatusCode,
    pub error: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub hint: Cow<'static, str>,
}

impl Failure {
    pub fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<Cow<'static, str>>) -> Self {
        Self { status, error: error.into(), hint: hint.into() }
    }

    pub fn bad_request(error: impl Into<String>, hint: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, hint)
    }

    pub fn overloaded() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too many pictures wait already", "try again in a second")
    }

    /// There was no answer within this time.
    pub fn late(limit: Duration) -> Self {
        let error = format!("no answer within {} s", limit.as_secs_f64());
        let hint = "try again later, or start the server with a longer --timeout";
        Self::new(StatusCode::GATEWAY_TIMEOUT, error, hint)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
