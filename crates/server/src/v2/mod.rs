//! The Open Inference Protocol, version 2, over HTTP, as KServe and Triton speak it, so that their clients work unchanged:
//! health, metadata, inference (JSON and the binary-tensor extension), classification and statistics.

mod answer;
mod infer;
pub(crate) mod request;
mod statistics;
mod tensor;

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, State, rejection::PathRejection},
    http::{StatusCode, request::Parts},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{AppState, failure::Failure, model::Loaded};
pub(crate) use statistics::Statistics;

/// The name of the tensor that goes in.
pub(crate) const IMAGES: &str = "images";
/// The names of the tensors that come out.
pub(crate) const PROBABILITIES: &str = "probabilities";
pub(crate) const UNKNOWN: &str = "unknown";

/// What may be asked without a token.
pub(crate) fn health() -> Router<AppState> {
    Router::new().route("/v2/health/live", get(|| async { StatusCode::OK })).route("/v2/health/ready", get(ready))
}

/// Everything else.
pub(crate) fn router() -> Router<AppState> {
    let mut router = Router::new()
        .route("/v2", get(server))
        .route("/v2/", get(server))
        .route("/v2/models/stats", get(statistics::all))
        .route("/v2/repository/index", post(index));
    for base in ["/v2/models/{name}", "/v2/models/{name}/versions/{version}"] {
        router = router
            .route(base, get(metadata))
            .route(&format!("{base}/ready"), get(model_ready))
            .route(&format!("{base}/config"), get(configuration))
            .route(&format!("{base}/stats"), get(statistics::one))
            .route(&format!("{base}/infer"), post(infer::infer));
    }
    router
}

/// A model's name, and its version where that is asked for, from the path.
#[derive(Deserialize)]
pub(crate) struct Which {
    name: String,
    version: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Which {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<Self>::from_request_parts(parts, state).await;
        let broken = |rejection: PathRejection| {
            Failure::bad_request(rejection.body_text(), "POST /v2/repository/index lists the models")
        };
        path.map(|Path(which)| which).map_err(broken)
    }
}

impl Which {
    /// The version that is served now; another is not there.
    fn check(&self, loaded: &Loaded) -> Result<(), Failure> {
        match &self.version {
            Some(version) if *version != loaded.version.to_string() => {
                let error = format!("model {:?} has no version {version:?}", self.name);
                Err(Failure::new(StatusCode::NOT_FOUND, error, format!("version {} is served", loaded.version)))
            }
            _ => Ok(()),
        }
    }
}

async fn ready(State(state): State<AppState>) -> StatusCode {
    if state.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn server() -> Json<Value> {
    let extensions = ["binary_tensor_data", "classification", "model_configuration", "statistics"];
    Json(json!({"name": "percept", "version": env!("CARGO_PKG_VERSION"), "extensions": extensions}))
}

async fn model_ready(State(state): State<AppState>, which: Which) -> Result<StatusCode, Failure> {
    which.check(&state.slot(Some(&which.name))?.current())?;
    Ok(ready(State(state)).await)
}

async fn metadata(State(state): State<AppState>, which: Which) -> Result<Json<Value>, Failure> {
    let loaded = state.slot(Some(&which.name))?.current();
    which.check(&loaded)?;
    let input = loaded.card.architecture.input;
    let mut outputs =
        vec![json!({"name": PROBABILITIES, "datatype": "FP32", "shape": [-1, loaded.card.classes.len()]})];
    if loaded.saved.known.is_some() {
        outputs.push(json!({"name": UNKNOWN, "datatype": "BOOL", "shape": [-1]}));
    }
    Ok(Json(json!({
        "name": which.name,
        "versions": [loaded.version.to_string()],
        "platform": "percept",
        "inputs": [{"name": IMAGES, "datatype": "UINT8", "shape": [-1, input.height, input.width, input.channels]}],
        "outputs": outputs,
    })))
}

/// Triton's own description, which its tools ask for.
async fn configuration(State(state): State<AppState>, which: Which) -> Result<Json<Value>, Failure> {
    let loaded = state.slot(Some(&which.name))?.current();
    which.check(&loaded)?;
    let input = loaded.card.architecture.input;
    let batching = state.0.config.batching;
    let classes = loaded.card.classes.len();
    let mut outputs = vec![json!({"name": PROBABILITIES, "data_type": "TYPE_FP32", "dims": [classes]})];
    if loaded.saved.known.is_some() {
        outputs.push(json!({"name": UNKNOWN, "data_type": "TYPE_BOOL", "dims": [1]}));
    }
    let dims = [input.height, input.width, input.channels];
    Ok(Json(json!({
        "name": which.name,
        "platform": "percept",
        "max_batch_size": state.0.config.limits.pictures,
        "input": [{"name": IMAGES, "data_type": "TYPE_UINT8", "format": "FORMAT_NHWC", "dims": dims}],
        "output": outputs,
        "dynamic_batching": {
            "preferred_batch_size": [batching.max_batch],
            "max_queue_delay_microseconds": batching.max_delay.as_micros() as u64,
        },
    })))
}

async fn index(State(state): State<AppState>) -> Json<Value> {
    let models = state.models();
    let rows = models
        .iter()
        .map(|model| json!({"name": model.name(), "version": model.version(), "state": "READY", "reason": ""}));
    Json(rows.collect())
}
