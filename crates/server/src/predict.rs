//! The plain API: `POST /predict` takes pictures as they are, `GET /models` says what is served.

use std::time::{Duration, Instant};

use axum::{
    Json,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use percept::image::ImageShape;
use serde::{Deserialize, Serialize};

use crate::{
    AppState,
    admission::Admission,
    batcher::Row,
    failure::Failure,
    model::Loaded,
    multipart::{self, File},
    recognise::{Picture, Recognised, Show, Unreadable, recognise},
    upload::{Upload, refuse, reserve},
};

/// Classes that are named where nobody says how many.
const TOP: usize = 5;

#[derive(Deserialize)]
pub(crate) struct Options {
    model: Option<String>,
    top: Option<usize>,
    #[serde(default)]
    explain: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    model: &'a str,
    version: String,
    milliseconds: f64,
    results: Vec<FileAnswer<'a>>,
}

#[derive(Serialize)]
struct FileAnswer<'a> {
    file: &'a str,
    #[serde(flatten)]
    outcome: Outcome<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Outcome<'a> {
    Recognised {
        predictions: Vec<Prediction<'a>>,
        unknown: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        overlay: Option<String>,
        milliseconds: f64,
    },
    Unreadable {
        error: String,
    },
}

#[derive(Serialize)]
struct Prediction<'a> {
    class: &'a str,
    probability: f32,
    /// Whether the picture is said to show it, where classes do not exclude each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    chosen: Option<bool>,
}

pub(crate) async fn predict(
    State(state): State<AppState>,
    options: Result<Query<Options>, QueryRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let begin = Instant::now();
    let checked = query(options).and_then(|options| Ok((state.slot(options.model.as_deref())?, options)));
    let checked = checked.and_then(|(slot, options)| {
        let content = Content::of(request.headers())?;
        Admission::is_possible(slot)?;
        Ok((slot, options, content))
    });
    let (slot, options, content) = match checked {
        Ok(checked) => checked,
        Err(failure) => return Err(refuse(request, failure).await),
    };
    let upload = Upload::read(request, &state).await?;
    let files = match content {
        Content::Picture => vec![File { name: "picture".into(), bytes: upload.bytes.clone() }],
        Content::Form(boundary) => {
            multipart::read(upload.bytes.clone(), boundary, state.0.config.limits.pictures).await?.files
        }
    };
    if files.is_empty() {
        let hint = "add a part with a file name, as curl -F image=@cat.jpg does";
        return Err(Failure::bad_request("the form holds no file", hint));
    }
    let show = if options.explain { Show::Explanation } else { Show::Nothing };
    let _memory = options.explain.then(|| reserve(files.len() * show.most_bytes(), &state)).transpose()?;
    let loaded = slot.current();
    let pictures = files.iter().map(|file| Picture::Encoded(file.bytes.clone())).collect();
    let outcomes = recognise(&state, slot, &loaded, pictures, show).await?;
    if let [Err(unreadable)] = &outcomes[..] {
        return Err(refused(unreadable));
    }
    let top = options.top.unwrap_or(TOP).max(1);
    let results = files.iter().zip(outcomes).map(|(file, outcome)| FileAnswer {
        file: &file.name,
        outcome: match outcome {
            Ok(Recognised { row, total, shown, .. }) => Outcome::Recognised {
                predictions: likeliest(&loaded, &row, top),
                unknown: row.unknown,
                overlay: shown.map(|shown| shown.address),
                milliseconds: milliseconds(total),
            },
            Err(unreadable) => Outcome::Unreadable { error: unreadable.sentence() },
        },
    });
    let results = results.collect();
    let version = loaded.version.to_string();
    Ok(Json(Answer { model: &slot.name, version, milliseconds: milliseconds(begin.elapsed()), results })
        .into_response())
}

pub(crate) fn refused(unreadable: &Unreadable) -> Failure {
    let hint = match unreadable {
        Unreadable::Picture(_) => "send a JPEG, PNG, WebP, BMP, GIF or TIFF picture that opens elsewhere too",
        Unreadable::Failed => "send it again; if that fails too, the server's log says more",
    };
    Failure::new(unreadable.status(), unreadable.sentence(), hint)
}

pub(crate) fn query<T>(options: Result<Query<T>, QueryRejection>) -> Result<T, Failure> {
    let broken = |rejection: QueryRejection| {
        Failure::bad_request(rejection.body_text(), "GET /openapi.json lists what there is")
    };
    options.map(|Query(options)| options).map_err(broken)
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn likeliest<'a>(loaded: &'a Loaded, row: &Row, top: usize) -> Vec<Prediction<'a>> {
    let classes = &loaded.card.classes;
    let prediction =
        |(label, probability, chosen): (usize, f32, _)| Prediction { class: &classes[label], probability, chosen };
    loaded.named(row, top).into_iter().map(prediction).collect()
}

/// What a body is said to hold.
pub(crate) enum Content {
    Picture,
    Form(String),
}

impl Content {
    /// By the header. What a picture is, is seen by its bytes; the header only tells what is none.
    pub fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        const PICTURES: [&str; 11] = [
            "image/jpeg",
            "image/jpg",
            "image/pjpeg",
            "image/png",
            "image/webp",
            "image/bmp",
            "image/x-ms-bmp",
            "image/gif",
            "image/tiff",
            "application/octet-stream",
            // What curl --data-binary says of anything.
            "application/x-www-form-urlencoded",
        ];
        let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(Self::Picture) };
        let given = given.to_str().unwrap_or_default();
        let kind = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind == "multipart/form-data" {
            let boundary = multer::parse_boundary(given);
            return boundary.map(Self::Form).map_err(|_| {
                Failure::bad_request(
                    "the form's Content-Type names no boundary",
                    "let the client write that header itself",
                )
            });
        }
        if PICTURES.contains(&kind.as_str()) {
            return Ok(Self::Picture);
        }
        let error = format!("a body of type {given:?} is not taken");
        let hint = "send a JPEG, PNG, WebP, BMP, GIF or TIFF picture, or multipart/form-data with such files";
        Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error, hint))
    }
}

#[derive(Serialize)]
pub(crate) struct Models {
    models: Vec<Model>,
}

#[derive(Serialize)]
struct Model {
    name: String,
    version: String,
    classes: Vec<String>,
    input: ImageShape,
    has_unknown: bool,
    collects: bool,
}

pub(crate) async fn models(State(state): State<AppState>) -> Json<Models> {
    let models = state.models().into_iter().map(|model| Model {
        name: model.name().into(),
        version: model.version(),
        classes: model.card().classes.clone(),
        input: model.card().architecture.input,
        has_unknown: model.has_unknown(),
        collects: model.collects(),
    });
    Json(Models { models: models.collect() })
}
