//! Who may call: the token, pages of other origins, names that lead here from elsewhere; and what browsers are told to keep
//! to. Health can be asked by anybody.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, uri::Authority},
    middleware::Next,
    response::Response,
};
use subtle::ConstantTimeEq;

use crate::{
    AppState,
    config::{Access, ServerConfig},
    failure::Failure,
    upload::refuse,
};

/// What a page may do: nothing but what this server itself gives it.
const CONTENT_POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; \
                              base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Refuses whom a browser brought from another place.
pub(crate) async fn same_place(State(state): State<AppState>, request: Request, next: Next) -> Response {
    use axum::response::IntoResponse;
    match check_place(&state, &request) {
        Ok(()) => next.run(request).await,
        Err(failure) => refuse(request, failure).await.into_response(),
    }
}

fn check_place(state: &AppState, request: &Request) -> Result<(), Failure> {
    let config = &state.0.config;
    let headers = request.headers();
    let host = host_of(request);
    // Without a token, the name is all that tells a page elsewhere, whose name was made to lead here, from a page of ours.
    if config.access == Access::ThisMachine && !host.as_ref().is_none_or(is_loopback) {
        let error = format!(
            "this server answers to this machine only, not to {:?}",
            host.map_or_else(String::new, |h| h.to_string())
        );
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            error,
            "call it localhost, or start it with --token or --no-auth",
        ));
    }
    let Some(origin) = text_of(headers, &header::ORIGIN) else { return Ok(()) };
    let allowed = config.allowed_origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin));
    let own = origin.split_once("://").and_then(|(_, authority)| authority.parse::<Authority>().ok());
    if allowed || (own.is_some() && own == host) {
        return Ok(());
    }
    let error = format!("pages of {origin:?} may not call this server");
    Err(Failure::new(StatusCode::FORBIDDEN, error, "start it with --allow-origin for that origin"))
}

fn host_of(request: &Request) -> Option<Authority> {
    let given = text_of(request.headers(), &header::HOST).and_then(|host| host.parse().ok());
    given.or_else(|| request.uri().authority().cloned())
}

fn is_loopback(host: &Authority) -> bool {
    let name = host.host().trim_matches(['[', ']']);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("not text"))
}

/// Asks for the token, where there is one.
pub(crate) async fn token(State(state): State<AppState>, request: Request, next: Next) -> Result<Response, Failure> {
    if shows_token(&state, request.headers()) {
        return Ok(next.run(request).await);
    }
    let error = match request.headers().contains_key(header::AUTHORIZATION) {
        true => "the token is wrong",
        false => "this server asks for a token",
    };
    let failure = Failure::new(StatusCode::UNAUTHORIZED, error, "send the header Authorization: Bearer TOKEN");
    Err(refuse(request, failure).await)
}

/// Whether a request shows the token, where there is one.
pub(crate) fn shows_token(state: &AppState, headers: &HeaderMap) -> bool {
    let Access::Token(token) = &state.0.config.access else { return true };
    let shown = text_of(headers, &header::AUTHORIZATION).and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    // In the same time whatever is shown, so that nobody guesses it letter by letter.
    shown.is_some_and(|shown| bool::from(shown.as_bytes().ct_eq(token.as_bytes())))
}

/// What browsers are told, on every answer.
pub(crate) fn protect(headers: &mut HeaderMap, config: &ServerConfig) {
    // These, and what the server adds to them, without growing step by step.
    headers.reserve(12);
    let mut say = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    say(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    say(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    say(header::X_FRAME_OPTIONS, "DENY");
    say(header::REFERRER_POLICY, "no-referrer");
    say(header::CACHE_CONTROL, "no-store");
    say(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    say(HeaderName::from_static("permissions-policy"), "camera=(self), geolocation=(), microphone=()");
    let is_shared = !config.allowed_origins.is_empty();
    say(
        HeaderName::from_static("cross-origin-resource-policy"),
        if is_shared { "cross-origin" } else { "same-origin" },
    );
    // Of this machine alone, browsers would hold it against everything else that listens there.
    if config.tls.is_some() && !config.address.ip().is_loopback() {
        say(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
}
