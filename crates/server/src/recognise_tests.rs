//! How pictures share what there is, by the order of things, never by the clock.

use std::time::Duration;

use super::*;
use crate::testing::{self, hold_decoders, png};

async fn ask(state: &AppState, pictures: usize, side: usize, show: Show) -> Result<usize, StatusCode> {
    let slot = state.slot(None).unwrap();
    let pictures = (0..pictures).map(|_| Picture::Encoded(png(side))).collect();
    let outcomes = recognise(state, slot, &slot.current(), pictures, show).await;
    outcomes.map(|outcomes| outcomes.iter().flatten().count()).map_err(|failure| failure.status)
}

fn taken(state: &AppState) -> usize {
    state.slot(None).unwrap().places.taken()
}

async fn until(is_true: impl Fn() -> bool) {
    while !is_true() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_taken_until_the_work_has_ended() {
    let state = testing::state(|config| {
        config.limits.queue = 1;
        config.limits.timeout = Duration::from_millis(20);
    });
    let hold = hold_decoders(&state);
    assert_eq!(ask(&state, 1, 8, Show::Nothing).await, Err(StatusCode::GATEWAY_TIMEOUT));
    // Nobody waits for it any longer, but it is still there.
    assert_eq!((taken(&state), ask(&state, 1, 8, Show::Nothing).await), (1, Err(StatusCode::SERVICE_UNAVAILABLE)));
    drop(hold);
    until(|| taken(&state) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_picture_is_answered_while_a_large_request_is_on_its_way() {
    let state = testing::state(|_| {});
    let hold = hold_decoders(&state);
    let many = tokio::spawn({
        let state = state.clone();
        async move { ask(&state, 256, 800, Show::Nothing).await }
    });
    let batch = state.0.config.batching.max_batch;
    until(|| taken(&state) == batch).await;
    let one = tokio::spawn({
        let state = state.clone();
        async move { ask(&state, 1, 8, Show::Nothing).await }
    });
    until(|| taken(&state) == batch + 1).await;
    drop(hold);
    assert_eq!(one.await.unwrap(), Ok(1));
    assert!(!many.is_finished(), "15 of 16 of its pictures come after");
    assert_eq!(many.await.unwrap(), Ok(256));
    until(|| taken(&state) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_picture_is_answered_under_a_flood_of_explanations() {
    let state = testing::state(|_| {});
    let interpreter = state.slot(None).unwrap().current().interpreter.clone();
    // None is drawn while this is held.
    let held = interpreter.lock().await;
    let flood: Vec<_> = (0..300)
        .map(|_| {
            let state = state.clone();
            tokio::spawn(async move { ask(&state, 1, 8, Show::Explanation).await })
        })
        .collect();
    until(|| flood.iter().filter(|request| request.is_finished()).count() == 300 - 16).await;
    assert_eq!(taken(&state), 16);
    assert_eq!(ask(&state, 1, 8, Show::Nothing).await, Ok(1));
    drop(held);
    let (mut answered, mut refused) = (0, 0);
    for request in flood {
        match request.await.unwrap() {
            Ok(_) => answered += 1,
            Err(status) => refused += usize::from(status == StatusCode::SERVICE_UNAVAILABLE),
        }
    }
    assert_eq!((answered, refused), (16, 284));
    until(|| taken(&state) == 0).await;
}

#[tokio::test]
async fn a_panic_on_the_way_is_counted_and_costs_one_answer() {
    let state = testing::state(|_| {});
    let slot = state.slot(None).unwrap();
    // A size that the model's threads cannot compute with.
    let loaded = slot.current();
    let broken = loaded.batcher.submit(vec![0; 3], loaded.batcher.expect());
    assert!(broken.await.is_err());
    let failed = Err(Unreadable::Failed);
    state.0.metrics.picture(&slot.name, &loaded.card.classes, &failed);
    assert_eq!(state.0.metrics.panics.get(), 1);
    assert_eq!(ask(&state, 1, 8, Show::Nothing).await, Ok(1));
}

#[tokio::test]
async fn pictures_to_look_at_are_made_of_what_was_decoded() {
    let state = testing::state(|_| {});
    let slot = state.slot(None).unwrap();
    let pictures = [8, 900].map(|side| Picture::Encoded(png(side))).into();
    let outcomes = recognise(&state, slot, &slot.current(), pictures, Show::Picture).await.unwrap();
    let sides: Vec<usize> = outcomes.iter().flatten().filter_map(|one| Some(one.shown.as_ref()?.side)).collect();
    assert_eq!(sides, [8, 480]);
    assert!(
        outcomes
            .iter()
            .flatten()
            .all(|one| one.shown.as_ref().unwrap().address.len() <= Show::Picture.most_bytes() + 1000)
    );
}
