//! Threads that each own a copy of a model compute batches: pictures that are ready, together up to a number. A picture
//! waits for others only while some are being decoded, and never longer than a delay. Knows no HTTP and decodes nothing.
//!
//! A thread a core, each computing alone, answers most: none waits for another at the end of every layer. Where only one of
//! them has work, and that is much, it is shared among all cores, so that one picture is answered soon.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use percept::Outcome;
use tokio::sync::oneshot;

use crate::{
    config::Batching,
    log,
    queue::{Announced, Queue},
};

/// A picture that waits for its batch.
struct Job {
    /// `[height, width, channels]` of the model.
    pixels: Vec<u8>,
    queued: Instant,
    /// Whose it is, for the log.
    request: Option<Arc<str>>,
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

impl Row {
    /// Labels and probabilities of the `top` likeliest classes, the likeliest first.
    pub fn ranked(&self, top: usize) -> impl Iterator<Item = (usize, f32)> {
        let mut ranked: Vec<_> = self.probabilities.iter().copied().enumerate().collect();
        let likelier = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        // Of a thousand classes, the few alone are put in order.
        if top < ranked.len() {
            ranked.select_nth_unstable_by(top, likelier);
            ranked.truncate(top);
        }
        ranked.sort_unstable_by(likelier);
        ranked.into_iter()
    }

    /// The label of the likeliest class.
    pub fn likeliest(&self) -> usize {
        let pairs = self.probabilities.iter().enumerate();
        pairs.max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0))).map_or(0, |(label, _)| label)
    }
}

/// Told of every batch: pictures, the time that each of them waited, and the time that it took.
pub type Observer = Box<dyn Fn(&[Duration], Duration) + Send + Sync>;

/// The threads of a model: one for each of the cores.
pub struct Workers {
    /// All cores together, for whoever is the only one that has work.
    pub cores: Arc<rayon::ThreadPool>,
    /// Pictures of a batch from which on that is worth it.
    pub least: usize,
}

/// Hands pictures to a model's threads, which end when this is dropped and every picture is answered.
pub struct Batcher {
    jobs: Arc<Queue<Job>>,
}

/// A picture that will soon be handed over; batches wait for it.
pub struct Expected(Announced<Job>);

impl Batcher {
    /// Starts the threads. `make` gives what computes: u8 images to their outcome, one for each thread. It is called again
    /// after a panic.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start<Compute>(
        name: &str,
        batching: Batching,
        workers: Workers,
        make: impl Fn() -> Compute + Send + Sync + 'static,
        observer: Observer,
    ) -> io::Result<Self>
    where
        Compute: FnMut(&[u8]) -> Outcome + Send,
    {
        // Closes the queue again if a thread is missing.
        let batcher = Self { jobs: Arc::new(Queue::new()) };
        let count = workers.cores.current_num_threads();
        let (shared, busy) = (Arc::new((make, observer, workers)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..count {
            let gather = Gather { queue: batcher.jobs.clone(), batching };
            let (shared, busy) = (shared.clone(), busy.clone());
            thread::Builder::new().name(format!("model {name}")).spawn(move || {
                let (make, observer, Workers { cores, least }) = &*shared;
                // What computes finds this thread alone in its pool, and does not cut its work.
                let alone = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
                let mut compute = make();
                while let Some(batch) = gather.next() {
                    let is_alone = busy.fetch_add(1, Ordering::AcqRel) == 0;
                    match is_alone && batch.len() >= *least {
                        true => cores.install(|| answer(&mut compute, make, batch, observer)),
                        false => answer(&mut compute, make, batch, observer),
                    }
                    busy.fetch_sub(1, Ordering::AcqRel);
                }
                drop(alone);
            })?;
        }
        Ok(batcher)
    }

    /// Says that a picture will come.
    pub fn expect(&self) -> Expected {
        Expected(self.jobs.announce())
    }

    /// Hands a picture over. The answer never comes if its computation panicked.
    pub fn submit(&self, pixels: Vec<u8>, expected: Expected) -> oneshot::Receiver<Row> {
        let (reply, answer) = oneshot::channel();
        // A queue that is closed drops the job, which the receiver notices.
        expected.0.push(Job { pixels, queued: Instant::now(), request: log::request(), reply });
        answer
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.jobs.close();
    }
}

struct Gather {
    queue: Arc<Queue<Job>>,
    batching: Batching,
}

impl Gather {
    /// The next batch, the longest waiting first; none when nobody can submit any more.
    fn next(&self) -> Option<Vec<Job>> {
        let first = self.queue.pop()?;
        let deadline = Instant::now() + self.batching.max_delay;
        let mut batch = vec![first];
        while batch.len() < self.batching.max_batch {
            let Some(job) = self.queue.pop_announced(deadline) else { break };
            batch.push(job);
        }
        // Nobody waits any longer for the answer of a request that timed out.
        batch.retain(|job| !job.reply.is_closed());
        Some(batch)
    }
}

impl Drop for Gather {
    /// However the thread ends: nobody is to wait for its answers.
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

/// Computes and answers. After a panic what computes is made anew, and every picture of the batch is computed alone: the
/// panic costs the one that caused it.
fn answer<Compute: FnMut(&[u8]) -> Outcome>(
    compute: &mut Compute,
    make: &impl Fn() -> Compute,
    batch: Vec<Job>,
    observer: &Observer,
) {
    if batch.is_empty() {
        return;
    }
    let begin = Instant::now();
    let together;
    let request = if let [only] = &batch[..] { only.request.clone() } else { None };
    let pixels = match &batch[..] {
        [only] => &only.pixels,
        all => {
            together = all.iter().flat_map(|job| &job.pixels).copied().collect::<Vec<u8>>();
            &together
        }
    };
    let Ok(outcome) = log::under(request, || catch_unwind(AssertUnwindSafe(|| compute(pixels)))) else {
        *compute = make();
        if batch.len() > 1 {
            batch.into_iter().for_each(|job| answer(compute, make, vec![job], observer));
        }
        return;
    };
    let computed = begin.elapsed();
    let waits: Vec<Duration> = batch.iter().map(|job| begin - job.queued).collect();
    observer(&waits, computed);
    let classes = outcome.probabilities.len() / batch.len();
    let rows = outcome.probabilities.chunks_exact(classes.max(1)).zip(outcome.unknown).zip(waits);
    for (job, ((row, unknown), waited)) in batch.into_iter().zip(rows) {
        // Whoever left does not get it.
        _ = job.reply.send(Row { probabilities: row.to_vec(), unknown, waited, computed });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        mpsc::{self, Receiver},
    };

    use super::*;

    const BATCHING: Batching = Batching { max_batch: 4, max_delay: Duration::from_secs(60) };

    /// Pictures of one byte, which is the probability of the one class; 255 panics. Tells of its batches.
    fn batcher(batching: Batching, release: Receiver<()>) -> (Batcher, Arc<Mutex<Vec<Vec<u8>>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (batches, release) = (seen.clone(), Arc::new(Mutex::new(release)));
        let make = move || {
            let (batches, release) = (batches.clone(), release.clone());
            move |pixels: &[u8]| {
                _ = release.lock().unwrap().recv();
                batches.lock().unwrap().push(pixels.to_vec());
                assert!(!pixels.contains(&255), "the picture that panics");
                let probabilities = pixels.iter().map(|&pixel| f32::from(pixel)).collect();
                Outcome { probabilities, unknown: vec![false; pixels.len()] }
            }
        };
        let cores = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
        let workers = Workers { cores, least: usize::MAX };
        (Batcher::start("test", batching, workers, make, Box::new(|_, _| {})).unwrap(), seen)
    }

    fn submit(batcher: &Batcher, pixel: u8) -> oneshot::Receiver<Row> {
        batcher.submit(vec![pixel], batcher.expect())
    }

    fn probability(answer: oneshot::Receiver<Row>) -> Option<f32> {
        answer.blocking_recv().ok().map(|row| row.probabilities[0])
    }

    #[test]
    fn what_gathered_while_a_batch_ran_goes_together_up_to_the_most() {
        let (release, gate) = mpsc::channel();
        let (batcher, seen) = batcher(BATCHING, gate);
        // Alone: nobody is on the way, so that it does not wait for the minute.
        release.send(()).unwrap();
        assert_eq!(probability(submit(&batcher, 0)), Some(0.0));
        let answers: Vec<_> = (1..=7).map(|pixel| submit(&batcher, pixel)).collect();
        drop(release);
        let got: Vec<_> = answers.into_iter().map(probability).collect();
        assert_eq!(got, (1..=7).map(|pixel| Some(f32::from(pixel as u8))).collect::<Vec<_>>());
        let seen = seen.lock().unwrap();
        assert_eq!(seen.concat(), [0, 1, 2, 3, 4, 5, 6, 7], "in their order");
        assert!(seen.iter().all(|batch| batch.len() <= 4), "{seen:?}");
    }

    #[test]
    fn a_picture_that_comes_alone_never_waits_for_others() {
        let (release, gate) = mpsc::channel();
        drop(release);
        let (batcher, _) = batcher(BATCHING, gate);
        let begin = Instant::now();
        assert!((0..2_000).all(|_| probability(submit(&batcher, 1)) == Some(1.0)));
        assert!(begin.elapsed() < BATCHING.max_delay / 2, "{:?}", begin.elapsed());
    }

    #[test]
    fn a_batch_waits_for_pictures_that_are_being_decoded() {
        let (release, gate) = mpsc::channel();
        drop(release);
        let (batcher, seen) = batcher(BATCHING, gate);
        let expected = batcher.expect();
        let first = submit(&batcher, 1);
        thread::sleep(Duration::from_millis(50));
        let second = batcher.submit(vec![2], expected);
        assert_eq!((probability(first), probability(second)), (Some(1.0), Some(2.0)));
        assert_eq!(*seen.lock().unwrap(), [[1, 2]]);
        // One that never comes holds nobody up for longer than the delay.
        let short = Batching { max_delay: Duration::from_millis(5), ..BATCHING };
        let (batcher, _) = self::batcher(short, mpsc::channel().1);
        let _never = batcher.expect();
        assert_eq!(probability(submit(&batcher, 3)), Some(3.0));
    }

    #[test]
    fn a_panic_costs_the_picture_that_caused_it() {
        let (release, gate) = mpsc::channel();
        let (batcher, _) = batcher(BATCHING, gate);
        let answers: Vec<_> = [1, 255, 3, 4].map(|pixel| submit(&batcher, pixel)).into();
        drop(release);
        let got: Vec<_> = answers.into_iter().map(probability).collect();
        assert_eq!(got, [Some(1.0), None, Some(3.0), Some(4.0)]);
        assert_eq!(probability(submit(&batcher, 5)), Some(5.0), "and it goes on");
    }

    #[test]
    fn whoever_left_is_not_computed_for() {
        let (release, gate) = mpsc::channel();
        let (batcher, seen) = batcher(BATCHING, gate);
        let first = submit(&batcher, 1);
        drop(submit(&batcher, 2));
        let third = submit(&batcher, 3);
        drop(release);
        assert_eq!((probability(first), probability(third)), (Some(1.0), Some(3.0)));
        assert!(!seen.lock().unwrap().concat().contains(&2));
    }

    #[test]
    fn the_likeliest_come_first() {
        let zero = Duration::ZERO;
        let row = Row { probabilities: vec![0.1, 0.6, 0.3], unknown: false, waited: zero, computed: zero };
        assert_eq!(row.ranked(2).collect::<Vec<_>>(), [(1, 0.6), (2, 0.3)]);
        assert_eq!((row.likeliest(), row.ranked(9).count()), (1, 3));
    }
}
