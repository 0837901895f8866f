//! Every route, and what lies around all of them.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
    decompression::RequestDecompressionLayer,
};

use crate::{AppState, collect, failure::Failure, guard, observe, page, predict, v2};

/// The whole server as a service, without a port.
pub fn router(state: AppState) -> Router {
    let api = Router::new()
        .route("/predict", post(predict::predict))
        .route("/collect", post(collect::collect))
        .route("/models", get(predict::models))
        .route("/metrics", get(observe::metrics))
        .merge(v2::router())
        .layer(RequestDecompressionLayer::new())
        .route_layer(from_fn_with_state(state.clone(), guard::token));
    let routes = Router::new()
        .merge(api)
        .merge(v2::health())
        .route("/openapi.json", get(openapi))
        .merge(page::router())
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method);
    within(routes, state)
}

/// What lies around every request.
fn within(routes: Router<AppState>, state: AppState) -> Router {
    let failing = state.clone();
    routes
        .layer(DefaultBodyLimit::max(state.0.config.limits.body))
        .layer(CatchPanicLayer::custom(move |panic| observe::panicked(&failing, panic)))
        .layer(from_fn_with_state(state.clone(), guard::same_place))
        .layer(cross_origin(&state))
        .layer(from_fn_with_state(state.clone(), observe::observe))
        .with_state(state)
}

async fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "there is nothing at this path", "GET /openapi.json lists what there is")
}

async fn wrong_method() -> Failure {
    let hint = "GET /openapi.json lists what there is";
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method", hint)
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}

/// Lets pages of the origins that were named read answers; says nothing where none was.
fn cross_origin(state: &AppState) -> CorsLayer {
    let origins = &state.0.config.allowed_origins;
    if origins.is_empty() {
        return CorsLayer::new();
    }
    let origins = match origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    let own = ["inference-header-content-length", "x-request-id"].map(HeaderName::from_static);
    let [length, id] = own.clone();
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, length, id])
        .expose_headers(own)
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn a_panic_costs_the_request_that_caused_it() {
        async fn panics() {
            panic!("a request that panics");
        }
        let state = testing::state(|_| {});
        let server = within(
            Router::new().route("/panics", get(panics)).route("/works", get(|| async { "works" })),
            state.clone(),
        );
        let ask = |path: &str| server.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
        let failed = ask("/panics").await.unwrap();
        assert_eq!(failed.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(failed.headers().contains_key("x-request-id"));
        let body = failed.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("the server failed on this request"), "{body:?}");
        assert_eq!(state.0.metrics.panics.get(), 1);
        assert_eq!(ask("/works").await.unwrap().status(), StatusCode::OK);
        assert_eq!(state.0.metrics.panics.get(), 1);
    }
}
