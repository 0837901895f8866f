//! From pictures, encoded or not, to what a model says of them: admission to the bounded queue, decoding on threads of
//! its own, and the batch. Both APIs and the page go through here; it knows none of them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{body::Bytes, http::StatusCode};
use futures_util::{StreamExt, stream};
use percept::{
    explain::Interpreter,
    image::{self, Image, ImageShape},
};
use tokio::sync::oneshot;

use crate::{
    AppState,
    admission::Admission,
    batcher::{Expected, Row},
    failure::Failure,
    log,
    model::{Loaded, Slot},
    shown::{address, reduced},
};

/// A picture as it came.
pub(crate) enum Picture {
    /// A file's bytes.
    Encoded(Bytes),
    /// u8 `[height, width, channels]`; what has the model's size is what the model reads.
    Pixels(ImageShape, Bytes),
}

/// What is to be looked at beside the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    Nothing,
    /// The picture.
    Picture,
    /// The picture with what spoke for the answer drawn over it.
    Explanation,
}

impl Show {
    /// The longer side of what is shown, in pixels.
    const fn side(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Picture => 480,
            Self::Explanation => 640,
        }
    }

    /// Bytes that an address takes at most: three a pixel, and a third more as text.
    pub const fn most_bytes(self) -> usize {
        4 * self.side() * self.side()
    }
}

/// A picture to look at.
pub(crate) struct Shown {
    /// A data URL.
    pub address: String,
    /// Its longer side, in pixels.
    pub side: usize,
}

impl Shown {
    fn of(picture: &Image) -> Self {
        Self { address: address(picture), side: picture.shape.height.max(picture.shape.width) }
    }
}

/// What a model says of a picture.
pub(crate) struct Recognised {
    pub row: Row,
    /// How long decoding and resizing took.
    pub prepared: Duration,
    /// From the admission to the answer.
    pub total: Duration,
    /// What was asked for by [`Show`].
    pub shown: Option<Shown>,
}

/// Why a picture has no answer.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// It is none, or breaks a limit: a sentence.
    Picture(String),
    /// Something failed that is not the picture's fault: what was to answer panicked.
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

/// What the current version of a model says of some pictures, in their order, within the time for a request.
pub(crate) async fn recognise(
    state: &AppState,
    slot: &Slot,
    loaded: &Arc<Loaded>,
    pictures: Vec<Picture>,
    show: Show,
) -> Result<Vec<Result<Recognised, Unreadable>>, Failure> {
    let begin = Instant::now();
    let limits = state.0.config.limits;
    let most = limits.pictures;
    if pictures.len() > most {
        let error = format!("{} pictures are more than the {most} of a request", pictures.len());
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send them in several requests"));
    }
    let admission = Admission::of(slot, pictures.len(), show, state)?;
    let each = pictures.into_iter().map(|picture| recognise_one(state, loaded, picture, show, &admission));
    let all = stream::iter(each).buffered(admission.places()).collect::<Vec<_>>();
    let outcomes = tokio::time::timeout(limits.timeout, all).await.map_err(|_| Failure::late(limits.timeout))?;
    for outcome in &outcomes {
        state.0.metrics.picture(&slot.name, &loaded.card.classes, outcome);
    }
    loaded.statistics.answered(begin.elapsed(), &outcomes);
    Ok(outcomes)
}

async fn recognise_one(
    state: &AppState,
    loaded: &Arc<Loaded>,
    picture: Picture,
    show: Show,
    admission: &Admission,
) -> Result<Recognised, Unreadable> {
    let begin = Instant::now();
    let input = loaded.card.architecture.input;
    let expected = loaded.batcher.expect();
    let (answer, kept) = match picture {
        Picture::Pixels(shape, bytes) if shape == input && show == Show::Nothing => {
            (loaded.batcher.submit(bytes.to_vec(), expected), None)
        }
        picture => prepare(state, loaded, picture, expected, show, admission).await?,
    };
    let prepared = begin.elapsed();
    let row = answer.await.map_err(|_| Unreadable::Failed)?;
    let shown = match kept {
        None => None,
        Some(picture) if show == Show::Explanation => Some(draw(loaded, picture, &row, admission).await?),
        Some(picture) => {
            let shown = state.0.decoders.run(admission.clone(), move || Shown::of(&picture));
            Some(shown.await.map_err(|_| Unreadable::Failed)?)
        }
    };
    Ok(Recognised { row, prepared, total: begin.elapsed(), shown })
}

/// Decodes and resizes on a decoder's thread, which hands over to the batcher by itself. Gives the picture back where it is
/// to be shown.
async fn prepare(
    state: &AppState,
    loaded: &Arc<Loaded>,
    picture: Picture,
    expected: Expected,
    show: Show,
    admission: &Admission,
) -> Result<(oneshot::Receiver<Row>, Option<Image>), Unreadable> {
    let loaded = loaded.clone();
    let pixels = state.0.config.limits.pixels;
    let prepared = state.0.decoders.run(admission.clone(), move || {
        let (picture, kept) = match picture {
            // What nobody looks at need not be decoded whole.
            Picture::Encoded(bytes) if show == Show::Nothing => {
                (percept::prepare_encoded(&loaded.card, &bytes, pixels)?, None)
            }
            picture => {
                let picture = decode(&loaded, picture, pixels)?;
                let kept = (show != Show::Nothing).then(|| reduced(&picture, show.side()));
                (percept::prepare(&loaded.card, &picture), kept)
            }
        };
        Ok((loaded.batcher.submit(picture.pixels, expected), kept))
    });
    prepared.await.map_err(|_| Unreadable::Failed)?.map_err(Unreadable::Picture)
}

fn decode(loaded: &Loaded, picture: Picture, pixels: u64) -> Result<Image, String> {
    let channels = loaded.card.architecture.input.channels;
    match picture {
        Picture::Encoded(bytes) => image::decode_within(&bytes, channels, pixels),
        Picture::Pixels(shape, bytes) => Ok(Image { shape, pixels: bytes.to_vec() }.with_channels(channels)),
    }
}

/// One explanation of a model at a time: they are for people, and must not hold up the answers.
async fn draw(loaded: &Arc<Loaded>, picture: Image, row: &Row, admission: &Admission) -> Result<Shown, Unreadable> {
    let mut interpreter = loaded.interpreter.clone().lock_owned().await;
    let (likeliest, saved, admission) = (row.likeliest(), loaded.saved.clone(), admission.clone());
    let drawn = tokio::task::spawn_blocking(log::carry(move || {
        // Its place is free when it has ended, whoever still waits.
        let _held = admission;
        // After a panic it is made anew: it is taken out while it works.
        let mut own = interpreter.take().unwrap_or_else(|| Interpreter::from_saved((*saved).clone()));
        let (_, drawn) = own.explain(&picture, Some(likeliest));
        *interpreter = Some(own);
        Shown::of(&drawn)
    }));
    drawn.await.map_err(|_| Unreadable::Failed)
}

#[cfg(test)]
#[path = "recognise_tests.rs"]
mod tests;
