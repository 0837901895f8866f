//! Who is let into a model's queue, before anything is done for a request.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{AppState, failure::Failure, model::Slot, recognise::Show};

/// Pictures of a model that are being explained, or wait for it.
const EXPLANATIONS: usize = 16;
/// Pictures of a request that are. One is drawn at a time, while the next is decoded.
const EXPLANATIONS_OF_A_REQUEST: usize = 2;

/// The places of a model.
pub(crate) struct Places {
    /// For every picture on the way.
    queue: Arc<Semaphore>,
    /// And one of these for a picture that is to be explained: whoever waits for that must not fill the queue.
    explanations: Arc<Semaphore>,
    limit: usize,
}

impl Places {
    pub fn new(queue: usize) -> Self {
        let limit = queue.min(Semaphore::MAX_PERMITS);
        let explanations = EXPLANATIONS.min(limit.div_ceil(2));
        let [queue, explanations] = [limit, explanations].map(|places| Arc::new(Semaphore::new(places)));
        Self { queue, explanations, limit }
    }

    /// Places that are taken.
    pub fn taken(&self) -> usize {
        self.limit - self.queue.available_permits()
    }
}

/// Places in a model's queue, given back when the last copy is dropped. Work on other threads holds one: it may go on when
/// nobody waits for it any longer.
#[derive(Clone)]
pub(crate) struct Admission {
    queue: Arc<OwnedSemaphorePermit>,
    _explanations: Option<Arc<OwnedSemaphorePermit>>,
}

impl Admission {
    /// Refuses where not one place is free, before anything is done for the request.
    pub fn is_possible(slot: &Slot) -> Result<(), Failure> {
        if slot.places.queue.available_permits() == 0 { Err(Failure::overloaded()) } else { Ok(()) }
    }

    /// Takes places, or refuses at once. A request takes no more than a batch has: so many of its pictures are on the
    /// way at once, and further ones follow as these are answered. That keeps large requests from holding up small ones.
    pub fn of(slot: &Slot, pictures: usize, show: Show, state: &AppState) -> Result<Self, Failure> {
        let Places { queue, explanations, limit } = &slot.places;
        let is_explained = show == Show::Explanation;
        let most = if is_explained { EXPLANATIONS_OF_A_REQUEST } else { state.0.config.batching.max_batch };
        // Half of the queue is for explanations.
        let most = most.min(if is_explained { limit.div_ceil(2) } else { *limit });
        let places = u32::try_from(pictures.clamp(1, most.max(1))).unwrap_or(u32::MAX);
        let take = |of: &Arc<Semaphore>| of.clone().try_acquire_many_owned(places).map(Arc::new);
        let explanations = is_explained.then(|| take(explanations)).transpose();
        match (take(queue), explanations) {
            (Ok(queue), Ok(_explanations)) => Ok(Self { queue, _explanations }),
            _ => Err(Failure::overloaded()),
        }
    }

    /// How many pictures may be on the way at once.
    pub fn places(&self) -> usize {
        self.queue.num_permits()
    }
}
