//! The page as a plain form, for readers without programs: pictures, and the token where one is needed, come as
//! `multipart/form-data`; the answer is the page with cards on it.

use axum::{
    body::{Body, Bytes},
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use futures_util::{StreamExt, stream};
use multer::Multipart;
use percept::image::{Image, decode};
use serde::Deserialize;

use super::{
    Wishes,
    answers::{Answer, Answered},
    call, chosen, is_allowed, known,
    language::Language,
    layout::{encoded, start_address},
    locked, not_found, start_page,
    words::{Words, words},
};
use crate::AppState;

/// Longest side of a picture that is shown again.
const SHOWN_SIDE: usize = 480;
/// Pictures that are asked for at once.
const AT_ONCE: usize = 4;
/// What the API answers is far smaller.
const MOST_ANSWER: usize = 1 << 20;

/// What a form holds.
#[derive(Default)]
struct Form {
    files: Vec<(String, Bytes)>,
    token: Option<String>,
}

pub async fn answer(
    State(state): State<AppState>,
    Query(wishes): Query<Wishes>,
    mut headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    let models = state.models();
    let Some(model) = chosen(&models, wishes.model.as_deref()) else { return not_found(&headers) };
    let language = Language::of(&headers);
    let spoken = words(language);
    let refused = |status| {
        let answer = Err(sentence(status, spoken).to_string());
        let answered = [Answered { file: String::new(), picture: None, small: false, answer }];
        let mut page = start_page(&models, model, language, &answered, None);
        *page.status_mut() = status;
        page
    };
    let form = match body {
        Ok(body) => read(&headers, body, state.0.config.limits.pictures).await,
        Err(rejection) => Err(rejection.status()),
    };
    if let Some(token) = form.as_ref().ok().and_then(|form| form.token.as_deref()) {
        match HeaderValue::from_str(&format!("Bearer {token}")) {
            Ok(value) => _ = headers.insert(header::AUTHORIZATION, value),
            Err(_) => return locked(&headers, start_address(model.name()), true),
        }
    }
    if !is_allowed(&state, &headers).await {
        let tried = headers.contains_key(header::AUTHORIZATION);
        return locked(&headers, start_address(model.name()), tried);
    }
    let form = match form {
        Ok(form) => form,
        Err(status) => return refused(status),
    };
    let channels = model.card().architecture.input.channels;
    let (state, headers, name) = (&state, &headers, model.name());
    let asked = form.files.iter().map(|(file, bytes)| async move {
        let answer = ask(state, headers, name, bytes.clone(), spoken).await;
        // Decoded a second time only to be shown, and only what was answered: bounded already.
        let shown = answer.is_ok().then(|| decode(bytes, channels).ok()).flatten();
        let small = shown.as_ref().is_some_and(is_small);
        let picture = shown.map(|picture| known::address(&known::reduced(&picture, SHOWN_SIDE)));
        Answered { file: file.clone(), picture, small, answer }
    });
    let answered: Vec<Answered> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    start_page(&models, model, language, &answered, form.token.as_deref())
}

fn is_small(picture: &Image) -> bool {
    picture.shape.height.max(picture.shape.width) <= 96
}

async fn read(headers: &HeaderMap, body: Bytes, most: usize) -> Result<Form, StatusCode> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(|_| StatusCode::UNSUPPORTED_MEDIA_TYPE)?;
    let once = stream::once(async move { Ok::<_, std::convert::Infallible>(body) });
    let mut parts = Multipart::new(once, boundary);
    let mut form = Form::default();
    while let Some(part) = parts.next_field().await.map_err(|_| StatusCode::BAD_REQUEST)? {
        let (name, file) = (part.name().map(str::to_string), part.file_name().map(str::to_string));
        let bytes = part.bytes().await.map_err(|_| StatusCode::BAD_REQUEST)?;
        match (name.as_deref(), file) {
            (Some("token"), None) => form.token = Some(String::from_utf8_lossy(&bytes).trim().to_string()),
            // A form without a choice sends one file without a name.
            (Some("file"), Some(file)) if !bytes.is_empty() && form.files.len() < most => {
                form.files.push((file, bytes))
            }
            _ => {}
        }
    }
    Ok(form)
}

/// The API's answer on one picture, or a sentence for the reader.
async fn ask(
    state: &AppState,
    headers: &HeaderMap,
    model: &str,
    bytes: Bytes,
    words: &Words,
) -> Result<Answer, String> {
    #[derive(Deserialize)]
    struct Answers {
        results: Vec<Answer>,
    }
    let address = format!("/predict?model={}&top=5", encoded(model));
    let response = call(state, headers, Method::POST, &address, Body::from(bytes)).await;
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), MOST_ANSWER).await.unwrap_or_default();
    let answer = serde_json::from_slice::<Answers>(&body).ok().and_then(|mut answers| answers.results.pop());
    match answer {
        Some(answer) if answer.error.is_none() => Ok(answer),
        Some(_) => Err(words.script.unreadable.into()),
        None => Err(sentence(status, words).into()),
    }
}

/// What a status means to a reader.
fn sentence(status: StatusCode, words: &Words) -> &'static str {
    let script = &words.script;
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => script.too_large,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => script.not_a_picture,
        StatusCode::UNPROCESSABLE_ENTITY => script.unreadable,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => script.busy,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => script.late,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => script.refused,
        _ => script.failed,
    }
}
