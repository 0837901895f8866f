//! Every route, and what lies around all of them.

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::{get, post},
};

use crate::{AppState, page, predict};

/// The whole server as a service, without a port.
pub fn router(state: AppState) -> Router {
    let body = state.0.config.limits.body;
    Router::new()
        .route("/predict", post(predict::predict))
        .route("/models", get(predict::models))
        .route("/v2/health/live", get(|| async { StatusCode::OK }))
        .route("/v2/health/ready", get(ready))
        .merge(page::router())
        .layer(DefaultBodyLimit::max(body))
        .with_state(state)
}

async fn ready(State(state): State<AppState>) -> StatusCode {
    if state.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
