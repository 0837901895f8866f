//! What the server counts, as Prometheus reads it. Labels come from models, routes and statuses, never from requests.

use std::{fmt, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::recognise::{Recognised, Unreadable};

/// The type of the text that [`Metrics::text`] gives.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRoute {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfModel {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOutcome {
    model: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfClass {
    model: String,
    class: String,
}

type Times<Labels> = Family<Labels, Histogram, fn() -> Histogram>;

pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<OfRequest, Counter>,
    request_seconds: Times<OfRoute>,
    pictures: Family<OfOutcome, Counter>,
    predictions: Family<OfClass, Counter>,
    prepare_seconds: Times<OfModel>,
    wait_seconds: Times<OfModel>,
    compute_seconds: Times<OfModel>,
    batch_pictures: Times<OfModel>,
    queue: Family<OfModel, Gauge>,
    versions: Family<OfModel, Gauge>,
    reloads: Family<OfOutcome, Counter>,
    pub connections: Gauge,
    pub panics: Counter<u64, AtomicU64>,
    ready: Gauge,
}

/// From 0.1 ms to 13 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(1e-4, 2.0, 18))
}

/// From 1 to 256.
fn counts() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 9))
}

fn times<Labels: Clone + Eq + std::hash::Hash>(make: fn() -> Histogram) -> Times<Labels> {
    Family::new_with_constructor(make)
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("percept"),
            requests: Family::default(),
            request_seconds: times(seconds),
            pictures: Family::default(),
            predictions: Family::default(),
            prepare_seconds: times(seconds),
            wait_seconds: times(seconds),
            compute_seconds: times(seconds),
            batch_pictures: times(counts),
            queue: Family::default(),
            versions: Family::default(),
            reloads: Family::default(),
            connections: Gauge::default(),
            panics: Counter::default(),
            ready: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("requests", "Requests answered, by route and status", metrics.requests.clone());
        let mut timing = |name: &str, help: &str, what: &Times<OfModel>| {
            registry.register_with_unit(name, help, Unit::Seconds, what.clone());
        };
        timing(
            "prepare",
            "Time to decode and resize a picture, its wait for a thread included",
            &metrics.prepare_seconds,
        );
        timing("wait", "Time that a prepared picture waited for its batch", &metrics.wait_seconds);
        timing("compute", "Time that the network took for a batch", &metrics.compute_seconds);
        let help = "Time from a request's head to its answer";
        registry.register_with_unit("request", help, Unit::Seconds, metrics.request_seconds.clone());
        registry.register("pictures", "Pictures, by what became of them", metrics.pictures.clone());
        registry.register("predictions", "Pictures by the likeliest class", metrics.predictions.clone());
        registry.register("batch_pictures", "Pictures in a batch", metrics.batch_pictures.clone());
        registry.register("queue_pictures", "Places taken in the queue", metrics.queue.clone());
        registry.register("model_version", "The version that is served", metrics.versions.clone());
        registry.register("model_reloads", "Replacements of a model, by their outcome", metrics.reloads.clone());
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register(
            "panics",
            "Requests and pictures that have no answer for a fault of the server",
            metrics.panics.clone(),
        );
        registry.register("ready", "1 while new requests are welcome", metrics.ready.clone());
        metrics
    }

    /// A request was answered. `route` is a pattern, such as `/v2/models/{name}`.
    pub fn request(&self, route: &str, status: u16, time: Duration) {
        self.requests.get_or_create(&OfRequest { route: route.into(), status }).inc();
        self.request_seconds.get_or_create(&OfRoute { route: route.into() }).observe(time.as_secs_f64());
    }

    /// A picture was answered.
    pub fn picture(&self, model: &str, classes: &[String], outcome: &Result<Recognised, Unreadable>) {
        let named = match outcome {
            Ok(recognised) if recognised.row.unknown => "unknown",
            Ok(_) => "recognised",
            Err(Unreadable::Picture(_)) => "unreadable",
            Err(Unreadable::Failed) => "failed",
        };
        self.pictures.get_or_create(&OfOutcome { model: model.into(), outcome: named }).inc();
        if matches!(outcome, Err(Unreadable::Failed)) {
            self.panics.inc();
        }
        if let Ok(recognised) = outcome {
            let class = classes[recognised.row.likeliest()].clone();
            self.predictions.get_or_create(&OfClass { model: model.into(), class }).inc();
            let of = OfModel { model: model.into() };
            self.prepare_seconds.get_or_create(&of).observe(recognised.prepared.as_secs_f64());
        }
    }

    /// A batch was computed.
    pub fn batch(&self, model: &str, waits: &[Duration], computed: Duration) {
        let of = OfModel { model: model.into() };
        self.batch_pictures.get_or_create(&of).observe(waits.len() as f64);
        self.compute_seconds.get_or_create(&of).observe(computed.as_secs_f64());
        let wait_seconds = self.wait_seconds.get_or_create(&of);
        waits.iter().for_each(|wait| wait_seconds.observe(wait.as_secs_f64()));
    }

    /// A version is served from now on.
    pub fn version(&self, model: &str, version: u64) {
        self.versions.get_or_create(&OfModel { model: model.into() }).set(version as i64);
    }

    /// A model was to be replaced.
    pub fn reload(&self, model: &str, done: bool) {
        let outcome = if done { "done" } else { "failed" };
        self.reloads.get_or_create(&OfOutcome { model: model.into(), outcome }).inc();
    }

    /// Everything as text, with places taken in each model's queue.
    pub fn text<'a>(&self, ready: bool, queues: impl Iterator<Item = (&'a str, usize)>) -> Result<String, fmt::Error> {
        self.ready.set(i64::from(ready));
        for (model, places) in queues {
            self.queue.get_or_create(&OfModel { model: model.into() }).set(places as i64);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
