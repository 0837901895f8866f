//! The statistics extension: how often a model answered, and where the time went.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::{Value, json};

use super::Which;
use crate::{
    AppState,
    failure::Failure,
    model::{Loaded, Slot},
    recognise::{Recognised, Unreadable},
};

/// How often something happened, and how long it took in all.
#[derive(Clone, Copy, Default, Serialize)]
struct Tally {
    count: u64,
    ns: u64,
}

impl Tally {
    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.ns += time.as_nanos() as u64;
    }
}

#[derive(Clone, Default)]
struct Tallies {
    success: Tally,
    fail: Tally,
    queue: Tally,
    prepare: Tally,
    compute: Tally,
    pictures: u64,
    batches: BTreeMap<usize, Tally>,
    /// Milliseconds since 1970.
    last: u64,
}

/// What a version of a model has done since it was loaded.
#[derive(Default)]
pub(crate) struct Statistics(Mutex<Tallies>);

impl Statistics {
    fn lock(&self) -> MutexGuard<'_, Tallies> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was answered, through whichever API: with success if each of its pictures was recognised.
    pub fn answered(&self, time: Duration, outcomes: &[Result<Recognised, Unreadable>]) {
        let last = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let recognised = || outcomes.iter().flatten();
        let longest = |of: fn(&Recognised) -> Duration| recognised().map(of).max().unwrap_or_default();
        let count = recognised().count();
        let mut tallies = self.lock();
        tallies.pictures += count as u64;
        if count < outcomes.len() {
            return tallies.fail.add(time);
        }
        tallies.last = last;
        tallies.success.add(time);
        // Of a request's pictures, which go side by side, the slowest.
        tallies.prepare.add(longest(|one| one.prepared));
        tallies.queue.add(longest(|one| one.row.waited));
        tallies.compute.add(longest(|one| one.row.computed));
    }

    /// A request was refused.
    pub fn failed(&self, time: Duration) {
        self.lock().fail.add(time);
    }

    /// A batch was computed, of whichever requests.
    pub fn batch(&self, pictures: usize, time: Duration) {
        self.lock().batches.entry(pictures).or_default().add(time);
    }
}

fn describe(slot: &Slot, loaded: &Loaded) -> Value {
    let Tallies { success, fail, queue, prepare, compute, pictures, batches, last } = loaded.statistics.lock().clone();
    let executions: u64 = batches.values().map(|tally| tally.count).sum();
    let none = Tally::default();
    let batches: Vec<Value> = batches
        .into_iter()
        .map(|(size, tally)| {
            json!({"batch_size": size, "compute_input": none, "compute_infer": tally, "compute_output": none})
        })
        .collect();
    json!({
        "name": slot.name,
        "version": loaded.version.to_string(),
        "last_inference": last,
        "inference_count": pictures,
        "execution_count": executions,
        "inference_stats": {
            "success": success, "fail": fail, "queue": queue, "compute_input": prepare, "compute_infer": compute,
            "compute_output": none,
        },
        "batch_stats": batches,
    })
}

pub(crate) async fn one(State(state): State<AppState>, which: Which) -> Result<Json<Value>, Failure> {
    let slot = state.slot(Some(&which.name))?;
    let loaded = slot.current();
    which.check(&loaded)?;
    Ok(Json(json!({"model_stats": [describe(slot, &loaded)]})))
}

pub(crate) async fn all(State(state): State<AppState>) -> Json<Value> {
    let all: Vec<Value> = state.0.slots.iter().map(|slot| describe(slot, &slot.current())).collect();
    Json(json!({"model_stats": all}))
}
