//! One thread owns a model and computes batches: pictures that are ready, together up to a number. A picture waits for
//! others only while some are being decoded, and never longer than a delay. Knows no HTTP and decodes nothing.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use percept::Outcome;
use tokio::sync::oneshot;

use crate::config::Batching;

/// A picture that waits for its batch.
struct Job {
    /// `[height, width, channels]` of the model.
    pixels: Vec<u8>,
    queued: Instant,
    reply: oneshot::Sender<Row>,
}

/// What the model says of one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// A class each, in the model's order.
    pub probabilities: Vec<f32>,
    /// Whether it is unlike all that the model has seen.
    pub unknown: bool,
    /// How long it waited for its batch.
    pub waited: Duration,
    /// How long its batch took.
    pub computed: Duration,
}

/// Told of every batch: pictures, the time that each of them waited, and the time that it took.
pub type Observer = Box<dyn Fn(&[Duration], Duration) + Send>;

/// Hands pictures to a model's thread, which ends when this is dropped and every picture is answered.
pub struct Batcher {
    jobs: mpsc::Sender<Job>,
    on_the_way: Arc<AtomicUsize>,
}

/// A picture that will soon be handed over; batches wait for it.
pub struct Expected(Arc<AtomicUsize>);

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Batcher {
    /// Starts the thread. `make` gives what computes: u8 images to their outcome. It is called again after a panic.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start<Compute>(
        name: &str,
        batching: Batching,
        make: impl Fn() -> Compute + Send + 'static,
        observer: Observer,
    ) -> std::io::Result<Self>
    where
        Compute: FnMut(&[u8]) -> Outcome,
    {
        let (jobs, queue) = mpsc::channel();
        let on_the_way = Arc::new(AtomicUsize::new(0));
        let gather = Gather { queue, on_the_way: on_the_way.clone(), batching };
        thread::Builder::new().name(format!("model {name}")).spawn(move || {
            let mut compute = make();
            while let Some(batch) = gather.next() {
                if !answer(&mut compute, batch, &observer) {
                    compute = make();
                }
            }
        })?;
        Ok(Self { jobs, on_the_way })
    }

    /// Says that a picture will come.
    pub fn expect(&self) -> Expected {
        self.on_the_way.fetch_add(1, Ordering::AcqRel);
        Expected(self.on_the_way.clone())
    }

    /// Hands a picture over. The answer never comes if its computation panicked.
    pub fn submit(&self, pixels: Vec<u8>, expected: Expected) -> oneshot::Receiver<Row> {
        let (reply, answer) = oneshot::channel();
        // A thread that is gone drops the job, which the receiver notices.
        _ = self.jobs.send(Job { pixels, queued: Instant::now(), reply });
        drop(expected);
        answer
    }
}

struct Gather {
    queue: Receiver<Job>,
    on_the_way: Arc<AtomicUsize>,
    batching: Batching,
}

impl Gather {
    /// The next batch, the longest waiting first; none when nobody can submit any more.
    fn next(&self) -> Option<Vec<Job>> {
        let first = self.queue.recv().ok()?;
        let deadline = Instant::now() + self.batching.max_delay;
        let mut batch = vec![first];
        while batch.len() < self.batching.max_batch {
            // Read before the queue: whoever is no longer on the way is in the queue.
            let nobody_comes = self.on_the_way.load(Ordering::Acquire) == 0;
            let job = match self.queue.try_recv() {
                Ok(job) => job,
                Err(TryRecvError::Disconnected) => break,
                Err(TryRecvError::Empty) if nobody_comes => break,
                Err(TryRecvError::Empty) => {
                    match self.queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                        Ok(job) => job,
                        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                    }
                }
            };
            batch.push(job);
        }
        // Nobody waits any longer for the answer of a request that timed out.
        batch.retain(|job| !job.reply.is_closed());
        Some(batch)
    }
}

/// Computes and answers. A panic costs the picture that caused it: the others are computed alone. False after one.
fn answer(compute: &mut impl FnMut(&[u8]) -> Outcome, mut batch: Vec<Job>, observer: &Observer) -> bool {
    if batch.is_empty() {
        return true;
    }
    let begin = Instant::now();
    let pixels = match &mut batch[..] {
        [only] => std::mem::take(&mut only.pixels),
        all => all.iter().flat_map(|job| job.pixels.iter().copied()).collect(),
    };
    let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| compute(&pixels))) else {
        return false;
    };
    let computed = begin.elapsed();
    let waits: Vec<Duration> = batch.iter().map(|job| begin - job.queued).collect();
    observer(&waits, computed);
    let classes = outcome.probabilities.len() / batch.len();
    let rows = outcome.probabilities.chunks_exact(classes).zip(outcome.unknown).zip(waits);
    for (job, ((row, unknown), waited)) in batch.into_iter().zip(rows) {
        // Whoever left does not get it.
        _ = job.reply.send(Row { probabilities: row.to_vec(), unknown, waited, computed });
    }
    true
}
