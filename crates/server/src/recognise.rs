//! From pictures, encoded or not, to what a model says of them: admission to the bounded queue, decoding on threads of
//! its own, and the batch. Both APIs go through here; it knows neither.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{body::Bytes, http::StatusCode};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::{StreamExt, stream};
use percept::{
    explain::Interpreter,
    image::{self, Fit, Image, ImageShape},
};
use tokio::sync::oneshot;

use crate::{
    AppState,
    batcher::{Expected, Row},
    failure::Failure,
    model::{Loaded, Slot},
};

/// The longer side of the picture that an explanation is drawn over.
const DRAWN: usize = 640;

/// A picture as it came.
pub(crate) enum Picture {
    /// A file's bytes.
    Encoded(Bytes),
    /// u8 `[height, width, channels]`; what has the model's size is what the model reads.
    Pixels(ImageShape, Bytes),
}

/// What a model says of a picture.
pub(crate) struct Recognised {
    pub row: Row,
    /// How long decoding and resizing took.
    pub prepared: Duration,
    /// From the admission to the answer.
    pub total: Duration,
    /// The picture with what spoke for the answer drawn over it, as a data URL.
    pub overlay: Option<String>,
}

/// Why a picture has no answer.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It is none, or breaks a limit: a sentence.
    Picture(String),
    /// Something failed that is not the picture's fault.
    Failed,
}

impl Unreadable {
    pub fn sentence(&self) -> String {
        match self {
            Self::Picture(reason) => reason.clone(),
            Self::Failed => "the computation failed on it".into(),
        }
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Self::Picture(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// Places in a model's queue, given back when dropped.
pub(crate) struct Admission {
    places: usize,
    taken: Arc<AtomicUsize>,
}

impl Admission {
    /// Refuses where not one place is free, before anything is done for the request.
    pub fn is_possible(slot: &Slot, state: &AppState) -> Result<(), Failure> {
        let is_full = slot.taken.load(Ordering::Acquire) >= state.0.config.limits.queue;
        if is_full { Err(Failure::overloaded()) } else { Ok(()) }
    }

    /// Takes places, or refuses at once. A request takes no more than a batch has: so many of its pictures are on the
    /// way at once, and further ones follow as these are answered. That keeps large requests from holding up small ones.
    pub fn of(slot: &Slot, pictures: usize, state: &AppState) -> Result<Self, Failure> {
        let limit = state.0.config.limits.queue;
        let places = pictures.clamp(1, state.0.config.batching.max_batch.min(limit).max(1));
        let taken = slot.taken.clone();
        let take = |now: usize| Some(now + places).filter(|&then| then <= limit);
        match taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(_) => Ok(Self { places, taken }),
            Err(_) => Err(Failure::overloaded()),
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.places, Ordering::AcqRel);
    }
}

/// What the current version of a model says of some pictures, in their order, within the time for a request.
pub(crate) async fn recognise(
    state: &AppState,
    slot: &Slot,
    loaded: &Arc<Loaded>,
    pictures: Vec<Picture>,
    explain: bool,
) -> Result<Vec<Result<Recognised, Unreadable>>, Failure> {
    let most = state.0.config.limits.pictures;
    if pictures.len() > most {
        let error = format!("{} pictures are more than the {most} of a request", pictures.len());
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send them in several requests"));
    }
    let admission = Admission::of(slot, pictures.len(), state)?;
    let limit = state.0.config.limits.timeout;
    let each = pictures.into_iter().map(|picture| recognise_one(state, loaded, picture, explain));
    let all = stream::iter(each).buffered(admission.places).collect::<Vec<_>>();
    let outcomes = tokio::time::timeout(limit, all).await.map_err(|_| {
        let error = format!("no answer within {} s", limit.as_secs_f64());
        Failure::new(StatusCode::GATEWAY_TIMEOUT, error, "try again later, or start the server with a longer --timeout")
    })?;
    for outcome in &outcomes {
        state.0.metrics.picture(&slot.name, &loaded.card.classes, outcome);
    }
    Ok(outcomes)
}

async fn recognise_one(
    state: &AppState,
    loaded: &Arc<Loaded>,
    picture: Picture,
    explain: bool,
) -> Result<Recognised, Unreadable> {
    let begin = Instant::now();
    let input = loaded.card.architecture.input;
    let expected = loaded.batcher.expect();
    let (answer, kept) = match picture {
        Picture::Pixels(shape, bytes) if shape == input && !explain => {
            (loaded.batcher.submit(bytes.to_vec(), expected), None)
        }
        picture => prepare(state, loaded, picture, expected, explain).await?,
    };
    let prepared = begin.elapsed();
    let row = answer.await.map_err(|_| Unreadable::Failed)?;
    let overlay = match kept {
        Some(picture) => Some(draw(loaded, picture, &row).await?),
        None => None,
    };
    Ok(Recognised { row, prepared, total: begin.elapsed(), overlay })
}

/// Decodes and resizes on a decoder's thread, which hands over to the batcher by itself. Gives the picture back where it is
/// to be drawn over.
async fn prepare(
    state: &AppState,
    loaded: &Arc<Loaded>,
    picture: Picture,
    expected: Expected,
    keep: bool,
) -> Result<(oneshot::Receiver<Row>, Option<Image>), Unreadable> {
    let (send, receive) = oneshot::channel();
    let loaded = loaded.clone();
    let pixels = state.0.config.limits.pixels;
    state.0.decoders.spawn(move || {
        // Whoever asked may have left while this waited.
        if send.is_closed() {
            return;
        }
        let prepared = match picture {
            // What nobody draws over need not be decoded whole.
            Picture::Encoded(bytes) if !keep => {
                percept::prepare_encoded(&loaded.card, &bytes, pixels).map(|picture| (picture, None))
            }
            picture => decode(&loaded, picture, pixels).map(|picture| {
                let kept = keep.then(|| reduced(&picture));
                (percept::prepare(&loaded.card, &picture), kept)
            }),
        };
        let submitted = prepared.map(|(picture, kept)| (loaded.batcher.submit(picture.pixels, expected), kept));
        _ = send.send(submitted);
    });
    receive.await.map_err(|_| Unreadable::Failed)?.map_err(Unreadable::Picture)
}

fn decode(loaded: &Loaded, picture: Picture, pixels: u64) -> Result<Image, String> {
    let channels = loaded.card.architecture.input.channels;
    match picture {
        Picture::Encoded(bytes) => image::decode_within(&bytes, channels, pixels),
        Picture::Pixels(shape, bytes) => Ok(Image { shape, pixels: bytes.to_vec() }.with_channels(channels)),
    }
}

/// No larger than is looked at.
fn reduced(picture: &Image) -> Image {
    let ImageShape { height, width, .. } = picture.shape;
    let longer = height.max(width);
    if longer <= DRAWN {
        return picture.clone();
    }
    let side = |side: usize| (side * DRAWN / longer).max(1);
    image::resize(picture, side(height), side(width), Fit::Stretch)
}

/// One explanation of a model at a time: they are for people, and must not hold up the answers.
async fn draw(loaded: &Arc<Loaded>, picture: Image, row: &Row) -> Result<String, Unreadable> {
    let mut interpreter = loaded.interpreter.clone().lock_owned().await;
    let likeliest = row.likeliest();
    let saved = loaded.saved.clone();
    let drawn = tokio::task::spawn_blocking(move || {
        // After a panic it is made anew: it is taken out while it works.
        let mut own = interpreter.take().unwrap_or_else(|| Interpreter::from_saved((*saved).clone()));
        let (_, drawn) = own.explain(&picture, Some(likeliest));
        *interpreter = Some(own);
        image::encode_png(&drawn)
    });
    let png = drawn.await.map_err(|_| Unreadable::Failed)?;
    Ok(format!("data:image/png;base64,{}", BASE64_STANDARD.encode(png)))
}
