//! The page as a plain form, for readers without programs: pictures, and the token where one is needed, come as
//! `multipart/form-data`; the answer is the page with cards on it.

use std::convert::Infallible;

use axum::{
    body::Bytes,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use futures_util::stream;
use multer::Multipart;
use percept::image::{self, Image};

use super::{
    Wishes,
    answers::{Answer, Answered, Likelihood},
    chosen, known,
    language::Language,
    locked, not_found, start_page,
    words::{Words, words},
};
use crate::{
    AppState, ModelView,
    guard::shows_token,
    model::Loaded,
    recognise::{Picture, Recognised, recognise},
    upload::Upload,
};

/// Longest side of a picture that is shown again.
const SHOWN_SIDE: usize = 480;
/// Pictures up to this side are shown with their pixels.
const SMALL_SIDE: usize = 96;
/// Classes of an answer.
const TOP: usize = 5;

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
    request: Request,
) -> Response {
    let (language, address) = (Language::of(&headers), wishes.start_address());
    let (read, _memory) = match Upload::read(request, &state).await {
        Ok(upload) => (read(&headers, upload.bytes.clone(), state.0.config.limits.pictures).await, Some(upload)),
        Err(failure) => (Err(failure.status), None),
    };
    if let Some(token) = read.as_ref().ok().and_then(|form| form.token.as_deref()) {
        match HeaderValue::from_str(&format!("Bearer {token}")) {
            Ok(value) => _ = headers.insert(header::AUTHORIZATION, value),
            Err(_) => return locked(&headers, &address, &address, true),
        }
    }
    if !shows_token(&state, &headers) {
        let tried = headers.contains_key(header::AUTHORIZATION);
        return locked(&headers, &address, &address, tried);
    }
    let models = state.models();
    let Some(model) = chosen(&models, wishes.model.as_deref()) else { return not_found(&headers) };
    let spoken = words(language);
    let (answered, status, token) = match read {
        Ok(Form { files, token }) => match recognised(&state, model, files, spoken).await {
            Ok(answered) => (answered, StatusCode::OK, token),
            Err(status) => (vec![refused(status, spoken)], status, token),
        },
        Err(status) => (vec![refused(status, spoken)], status, None),
    };
    let mut page = start_page(&state, &models, model, language, &answered, token.as_deref()).await;
    *page.status_mut() = status;
    page
}

/// Reads files and the token of a form; further parts are not ours.
async fn read(headers: &HeaderMap, body: Bytes, most: usize) -> Result<Form, StatusCode> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(kind).map_err(|_| StatusCode::UNSUPPORTED_MEDIA_TYPE)?;
    let mut parts = Multipart::new(stream::iter([Ok::<_, Infallible>(body)]), boundary);
    let mut form = Form::default();
    while let Some(part) = parts.next_field().await.map_err(|_| StatusCode::BAD_REQUEST)? {
        let (name, file) = (part.name().map(str::to_string), part.file_name().map(str::to_string));
        let bytes = part.bytes().await.map_err(|_| StatusCode::BAD_REQUEST)?;
        match (name.as_deref(), file) {
            (Some("token"), None) => form.token = Some(String::from_utf8_lossy(&bytes).trim().to_string()),
            (Some("file"), Some(_)) if form.files.len() >= most => return Err(StatusCode::PAYLOAD_TOO_LARGE),
            // A form without a choice sends one file without a content.
            (Some("file"), Some(file)) if !bytes.is_empty() => form.files.push((file, bytes)),
            _ => {}
        }
    }
    Ok(form)
}

/// The answers on some pictures, or the status of a failure that concerns them all.
async fn recognised(
    state: &AppState,
    model: &ModelView,
    files: Vec<(String, Bytes)>,
    words: &Words,
) -> Result<Vec<Answered>, StatusCode> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let slot = state.slot(Some(model.name())).map_err(|failure| failure.status)?;
    let loaded = slot.current();
    let pictures = files.iter().map(|(_, bytes)| Picture::Encoded(bytes.clone())).collect();
    let outcomes = recognise(state, slot, &loaded, pictures, false).await.map_err(|failure| failure.status)?;
    let (channels, pixels) = (loaded.card.architecture.input.channels, state.0.config.limits.pixels);
    let mut answered = Vec::with_capacity(files.len());
    for ((file, bytes), outcome) in files.into_iter().zip(outcomes) {
        let answer = match outcome {
            Ok(outcome) => Ok(to_answer(&loaded, &outcome)),
            Err(unreadable) => Err(sentence(unreadable.status(), words).to_string()),
        };
        let shown = match &answer {
            Ok(_) => tokio::task::spawn_blocking(move || shown(&bytes, channels, pixels)).await.ok().flatten(),
            Err(_) => None,
        };
        let (picture, small) = shown.map_or((None, false), |(address, small)| (Some(address), small));
        answered.push(Answered { file, picture, small, answer });
    }
    Ok(answered)
}

fn to_answer(loaded: &Loaded, outcome: &Recognised) -> Answer {
    let classes = &loaded.card.classes;
    let likely = |(label, probability, chosen): (usize, f32, _)| Likelihood {
        class: classes[label].clone(),
        probability: probability.into(),
        chosen,
    };
    Answer {
        predictions: loaded.named(&outcome.row, TOP).into_iter().map(likely).collect(),
        unknown: outcome.row.unknown,
        milliseconds: 1e3 * outcome.total.as_secs_f64(),
    }
}

/// The picture as an address that holds it, and whether its pixels are to be seen.
fn shown(bytes: &[u8], channels: usize, pixels: u64) -> Option<(String, bool)> {
    let picture: Image = image::decode_within(bytes, channels, pixels).ok()?;
    let small = picture.shape.height.max(picture.shape.width) <= SMALL_SIDE;
    Some((known::address(&known::reduced(&picture, SHOWN_SIDE)), small))
}

fn refused(status: StatusCode, words: &Words) -> Answered {
    Answered { file: String::new(), picture: None, small: false, answer: Err(sentence(status, words).into()) }
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
