//! `POST /predict`, the plain API, and `GET /models`.

use std::time::Instant;

use axum::{
    Json,
    body::Bytes,
    extract::{Query, State},
    http::StatusCode,
};
use percept::image;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{AppState, failure::Failure};

#[derive(Deserialize)]
pub(crate) struct Options {
    model: Option<String>,
    top: Option<usize>,
}

#[derive(Serialize)]
pub(crate) struct Answer {
    model: String,
    version: String,
    milliseconds: f64,
    results: Vec<Value>,
}

pub(crate) async fn models(State(state): State<AppState>) -> Json<Value> {
    let models: Vec<Value> = state
        .models()
        .iter()
        .map(|model| {
            let card = model.card();
            let input = card.architecture.input;
            json!({
                "name": model.name(), "version": model.version(), "classes": card.classes,
                "input": {"height": input.height, "width": input.width, "channels": input.channels},
                "has_unknown": model.has_unknown(), "collects": model.collects(),
            })
        })
        .collect();
    Json(json!({"models": models}))
}

pub(crate) async fn predict(
    State(state): State<AppState>,
    Query(options): Query<Options>,
    body: Bytes,
) -> Result<Json<Answer>, Failure> {
    let begin = Instant::now();
    let slot = state.slot(options.model.as_deref())?;
    let loaded = slot.current();
    let expected = loaded.batcher.expect();
    let (send, receive) = oneshot::channel();
    let held = loaded.clone();
    state.0.decoders.spawn(move || {
        let card = &held.card;
        let decoded = image::decode(&body, card.architecture.input.channels);
        _ = send.send(decoded.map(|picture| held.batcher.submit(percept::prepare(card, &picture).pixels, expected)));
    });
    let lost = || Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the picture's computation failed", "");
    let submitted = receive.await.map_err(|_| lost())?;
    let submitted = submitted.map_err(|error| {
        Failure::new(StatusCode::UNPROCESSABLE_ENTITY, error, "send a picture that opens elsewhere too")
    })?;
    let row = submitted.await.map_err(|_| lost())?;
    let mut ranked: Vec<(&String, f32)> = loaded.card.classes.iter().zip(row.probabilities.iter().copied()).collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let predictions: Vec<Value> = ranked
        .into_iter()
        .take(options.top.unwrap_or(5).max(1))
        .map(|(class, probability)| json!({"class": class, "probability": probability}))
        .collect();
    let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
    let result =
        json!({"file": "picture", "predictions": predictions, "unknown": row.unknown, "milliseconds": milliseconds});
    Ok(Json(Answer {
        model: slot.name.clone(),
        version: loaded.version.to_string(),
        milliseconds,
        results: vec![result],
    }))
}
