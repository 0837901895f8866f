//! `POST /v2/models/{name}/infer`.

use std::time::Instant;

use axum::{
    extract::{Request, State},
    http::HeaderMap,
    response::Response,
};

use super::{
    Which,
    answer::{self, HEAD_LENGTH},
    request::{self, Bounds},
};
use crate::{
    AppState,
    admission::Admission,
    failure::Failure,
    predict::refused,
    recognise::{Recognised, Show, recognise},
    upload::{Upload, refuse},
};

pub(crate) async fn infer(State(state): State<AppState>, which: Which, request: Request) -> Result<Response, Failure> {
    let begin = Instant::now();
    let checked = state.slot(Some(&which.name)).and_then(|slot| {
        let loaded = slot.current();
        which.check(&loaded)?;
        Ok((slot, loaded, head_length(request.headers())?))
    });
    let (slot, loaded, head) = match checked {
        Ok(checked) => checked,
        Err(failure) => return Err(refuse(request, failure).await),
    };
    let outcomes = async {
        if let Err(failure) = Admission::is_possible(slot) {
            return Err(refuse(request, failure).await);
        }
        let upload = Upload::read(request, &state).await?;
        let limits = state.0.config.limits;
        let has_unknown = loaded.saved.known.is_some();
        let bounds = Bounds { pictures: limits.pictures, pixels: limits.pixels, has_unknown };
        let request::Request { id, pictures, outputs } = request::parse(&upload.bytes, head, bounds)?;
        let outcomes = recognise(&state, slot, &loaded, pictures, Show::Nothing).await?;
        Ok((id, outputs, outcomes))
    };
    let (id, outputs, outcomes) = outcomes.await.inspect_err(|_| loaded.statistics.failed(begin.elapsed()))?;
    let several = outcomes.len() > 1;
    let named = |(at, outcome): (usize, Result<Recognised, _>)| {
        outcome.map(|recognised| recognised.row).map_err(|unreadable| {
            let failure = refused(&unreadable);
            let error = if several { format!("picture {at}: {}", failure.error) } else { failure.error };
            Failure { error, ..failure }
        })
    };
    let rows: Vec<_> = outcomes.into_iter().enumerate().map(named).collect::<Result<_, _>>()?;
    Ok(answer::write(&slot.name, &loaded, id.as_deref(), &outputs, &rows))
}

fn head_length(headers: &HeaderMap) -> Result<Option<usize>, Failure> {
    let Some(given) = headers.get(HEAD_LENGTH) else { return Ok(None) };
    let length = given.to_str().ok().and_then(|text| text.parse().ok());
    let error = || {
        Failure::bad_request(format!("Inference-Header-Content-Length {given:?} is no number"), "send the JSON's bytes")
    };
    length.map(Some).ok_or_else(error)
}
