//! The page as a plain form, for readers without programs: pictures, and the token where one is needed, come as
//! `multipart/form-data`; the answer is the page with cards on it.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};

use super::{
    Wishes,
    answers::{Answer, Answered, Likelihood},
    chosen,
    language::Language,
    locked, not_found, start_page,
    words::{Words, words},
};
use crate::{
    AppState, ModelView,
    admission::Admission,
    failure::Failure,
    guard::shows_token,
    model::Loaded,
    multipart::{self, File, Form},
    predict::Content,
    recognise::{Picture, Recognised, Show, recognise},
    upload::{Upload, refuse, reserve},
};

/// Pictures up to this side are shown with their pixels.
const SMALL_SIDE: usize = 96;
/// Classes of an answer.
const TOP: usize = 5;

pub async fn answer(
    State(state): State<AppState>,
    wishes: Wishes,
    mut headers: HeaderMap,
    request: Request,
) -> Response {
    let (language, address) = (Language::of(&headers), wishes.start_address());
    let (read, _upload) = match read(&state, &wishes, request).await {
        Ok((form, upload)) => (Ok(form), Some(upload)),
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
            Err(failure) => (vec![refused(failure.status, spoken)], failure.status, token),
        },
        Err(status) => (vec![refused(status, spoken)], status, None),
    };
    let mut page = start_page(&state, &models, model, language, &answered, token.as_deref()).await;
    *page.status_mut() = status;
    page
}

/// The form, and the body that it shares its memory with.
async fn read(state: &AppState, wishes: &Wishes, request: Request) -> Result<(Form, Upload), Failure> {
    let boundary = match check(state, wishes, &request) {
        Ok(boundary) => boundary,
        Err(failure) => return Err(refuse(request, failure).await),
    };
    let upload = Upload::read(request, state).await?;
    let mut form = multipart::read(upload.bytes.clone(), boundary, state.0.config.limits.pictures).await?;
    // A form without a choice sends one file without a content.
    form.files.retain(|file| !file.bytes.is_empty());
    Ok((form, upload))
}

/// The form's boundary, where there is a form and a place for a picture.
fn check(state: &AppState, wishes: &Wishes, request: &Request) -> Result<String, Failure> {
    let Content::Form(boundary) = Content::of(request.headers())? else {
        let error = "the page takes forms";
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error, "send the picture to /predict"));
    };
    // Those who are still to show the token are not told of what goes on.
    if shows_token(state, request.headers()) {
        Admission::is_possible(state.slot(wishes.model.as_deref())?)?;
    }
    Ok(boundary)
}

/// The answers on some pictures, or a failure that concerns them all.
async fn recognised(
    state: &AppState,
    model: &ModelView,
    files: Vec<File>,
    words: &Words,
) -> Result<Vec<Answered>, Failure> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let slot = state.slot(Some(model.name()))?;
    let loaded = slot.current();
    let _memory = reserve(files.len() * Show::Picture.most_bytes(), state)?;
    let pictures = files.iter().map(|file| Picture::Encoded(file.bytes.clone())).collect();
    let outcomes = recognise(state, slot, &loaded, pictures, Show::Picture).await?;
    let answered = files.into_iter().zip(outcomes).map(|(file, outcome)| {
        let (picture, answer) = match outcome {
            Ok(mut recognised) => (recognised.shown.take(), Ok(to_answer(&loaded, &recognised))),
            Err(unreadable) => (None, Err(sentence(unreadable.status(), words).to_string())),
        };
        let small = picture.as_ref().is_some_and(|picture| picture.side <= SMALL_SIDE);
        Answered { file: file.name, picture: picture.map(|picture| picture.address), small, answer }
    });
    Ok(answered.collect())
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
