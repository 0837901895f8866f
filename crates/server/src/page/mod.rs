//! The web page: HTML rendered here, small programs and one style sheet that are part of the binary. It reads pictures
//! through the same API as every other client, and two files of a run's folder; no address leads to any other file.

mod about;
mod answers;
mod confusion;
mod forms;
mod known;
mod language;
mod layout;
mod start;
mod words;

use axum::{
    Router,
    extract::{FromRequestParts, Path, Query, State, rejection::PathRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use maud::{Markup, html};
use serde::Deserialize;

use crate::{AppState, ModelView, guard::shows_token};
use answers::Answered;
use known::Known;
use language::Language;
use layout::{Page, Place, about_address, document, start_address};
use start::Start;
use words::words;

/// Style, programs and the icon: name, type, content.
const ASSETS: [(&str, &str, &str); 8] = [
    ("style.css", "text/css; charset=utf-8", include_str!("../../assets/style.css")),
    ("page.js", "text/javascript; charset=utf-8", include_str!("../../assets/page.js")),
    ("api.js", "text/javascript; charset=utf-8", include_str!("../../assets/api.js")),
    ("answers.js", "text/javascript; charset=utf-8", include_str!("../../assets/answers.js")),
    ("camera.js", "text/javascript; charset=utf-8", include_str!("../../assets/camera.js")),
    ("draw.js", "text/javascript; charset=utf-8", include_str!("../../assets/draw.js")),
    ("words.js", "text/javascript; charset=utf-8", include_str!("../../assets/words.js")),
    ("icon.svg", "image/svg+xml", include_str!("../../assets/icon.svg")),
];

/// Every route of the page.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/", get(show_start).post(forms::answer))
        .route("/models/{name}/page", get(show_about))
        .route("/assets/{file}", get(asset))
}

/// What an address of the page may ask for.
#[derive(Deserialize)]
struct Wishes {
    model: Option<String>,
    language: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Wishes {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let wishes = Query::<Self>::from_request_parts(parts, state).await;
        wishes.map(|Query(wishes)| wishes).map_err(|_| not_found(&parts.headers))
    }
}

impl Wishes {
    /// The page that recognises, with the model that is wished for. It tells nothing that the reader has not said.
    fn start_address(&self) -> String {
        self.model.as_deref().map_or_else(|| "/".into(), start_address)
    }
}

async fn show_start(State(state): State<AppState>, wishes: Wishes, headers: HeaderMap) -> Response {
    let address = wishes.start_address();
    if let Some(language) = wishes.language.as_deref().and_then(Language::from_tag) {
        return switched(language, &address);
    }
    if !shows_token(&state, &headers) {
        return locked(&headers, &address, &address, false);
    }
    let models = state.models();
    let Some(model) = chosen(&models, wishes.model.as_deref()) else { return not_found(&headers) };
    start_page(&state, &models, model, Language::of(&headers), &[], None).await
}

async fn show_about(
    State(state): State<AppState>,
    name: Result<Path<String>, PathRejection>,
    wishes: Wishes,
    headers: HeaderMap,
) -> Response {
    let Ok(Path(name)) = name else { return not_found(&headers) };
    let address = about_address(&name);
    if let Some(language) = wishes.language.as_deref().and_then(Language::from_tag) {
        return switched(language, &address);
    }
    if !shows_token(&state, &headers) {
        return locked(&headers, &address, &start_address(&name), false);
    }
    let models = state.models();
    let Some(model) = chosen(&models, Some(&name)) else { return not_found(&headers) };
    let language = Language::of(&headers);
    let known = known::of(model).await;
    let content = about::content(&models, model, &known, words(language));
    let title = model.name();
    page(StatusCode::OK, Page { title, language, address, model: Some(title), place: Place::About, content })
}

/// The page that recognises.
async fn start_page(
    state: &AppState,
    models: &[ModelView],
    model: &ModelView,
    language: Language,
    answered: &[Answered],
    token: Option<&str>,
) -> Response {
    let (words, known) = (words(language), known::of(model).await);
    let known: &Known = &known;
    let card = model.card();
    let graph = percept::model::build(&card.model, &card.architecture).ok();
    let votes = graph.is_some_and(|graph| !graph.is_convolutional());
    let drawn = known::drawn(model, known, brightness(state, model.name()));
    let content = start::content(&Start { models, model, known, drawn, votes, words, answered, token });
    let address = start_address(model.name());
    let model = Some(model.name());
    page(StatusCode::OK, Page { title: words.question, language, address, model, place: Place::Start, content })
}

/// The mean of a model's training pictures, from 0 to 255, as its normalisation knows it.
fn brightness(state: &AppState, name: &str) -> Option<f32> {
    let loaded = state.slot(Some(name)).ok()?.current();
    let means = loaded.saved.parameters.get(&loaded.saved.graph, "normalize.mean")?;
    Some(means.iter().sum::<f32>() / means.len().max(1) as f32)
}

/// The model of this name, or the first where none is named.
fn chosen<'m>(models: &'m [ModelView], name: Option<&str>) -> Option<&'m ModelView> {
    match name {
        Some(name) => models.iter().find(|model| model.name() == name),
        None => models.first(),
    }
}

/// Asks for the token and tells nothing else. `action` is where a form without programs sends it.
fn locked(headers: &HeaderMap, address: &str, action: &str, wrong: bool) -> Response {
    let language = Language::of(headers);
    let words = words(language);
    let content = html! {
        form.card.lock id="lock" method="post" action=(action) enctype="multipart/form-data" {
            h1 { (words.token_title) }
            p { (words.token_note) }
            label { (words.token) input type="password" name="token" autocomplete="off" required autofocus; }
            p.problem hidden[!wrong] role="alert" { (words.token_wrong) }
            div.actions { button.primary type="submit" { (words.token_send) } }
        }
    };
    let place = Place::Nowhere;
    let title = words.token_title;
    page(StatusCode::UNAUTHORIZED, Page { title, language, address: address.into(), model: None, place, content })
}

fn not_found(headers: &HeaderMap) -> Response {
    let language = Language::of(headers);
    let words = words(language);
    let content: Markup =
        html! { div.hero { h1 { (words.not_found) } p { a.button.primary href="/" { (words.back) } } } };
    let address = "/".to_string();
    let title = words.not_found;
    page(StatusCode::NOT_FOUND, Page { title, language, address, model: None, place: Place::Nowhere, content })
}

/// Remembers a language and goes back to the page.
fn switched(language: Language, address: &str) -> Response {
    let location = HeaderValue::from_str(address).unwrap_or_else(|_| HeaderValue::from_static("/"));
    let headers = [(header::SET_COOKIE, language.cookie()), (header::LOCATION, location)];
    (StatusCode::SEE_OTHER, headers).into_response()
}

fn page(status: StatusCode, page: Page) -> Response {
    let headers: [(HeaderName, &'static str); 3] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        // With none at all, browsers would not say of the form that it is this page's.
        (header::REFERRER_POLICY, "same-origin"),
        // It depends on language and token, and holds training pictures.
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, document(page).into_string()).into_response()
}

async fn asset(file: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    let named = |name: &str| file.as_ref().is_ok_and(|Path(file)| name == file);
    let Some((_, kind, content)) = ASSETS.iter().find(|(name, ..)| named(name)) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // The browser asks each time, so that a newer program never meets an older page; unchanged ones are not sent again.
    let tag = format!("\"{:016x}\"", digest(content));
    let common = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".into())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, *kind)], *content).into_response()
}

/// Tells contents apart (FNV-1a, Fowler, Noll and Vo 1991); nothing rests on it but a cache.
fn digest(content: &str) -> u64 {
    content.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
