//! Threads that decode: the network's must not find themselves decoding while a batch waits for them.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use tokio::sync::oneshot;

use crate::{log, queue::Queue};

type Job = Box<dyn FnOnce() + Send>;

/// Their queue. They end when this is dropped and the queue is empty.
pub(crate) struct Decoders(Arc<Queue<Job>>);

impl Decoders {
    /// Starts a thread a core, which goes on after a job that panics.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start() -> io::Result<Self> {
        let decoders = Self(Arc::new(Queue::new()));
        for number in 0..threads() {
            let queue = decoders.0.clone();
            let work = move || {
                while let Some(job) = queue.pop() {
                    // Whoever waits for it learns of it.
                    _ = catch_unwind(AssertUnwindSafe(job));
                }
            };
            thread::Builder::new().name(format!("decoder {number}")).spawn(work)?;
        }
        Ok(decoders)
    }

    /// Runs this after what came before it has begun, unless nobody waits for it by then. Its result never comes if it
    /// panics. What it holds is let go of when it has ended, and not before, though nobody may wait any longer.
    pub fn run<T: Send + 'static>(
        &self,
        held: impl Send + 'static,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (send, receive) = oneshot::channel();
        let job = log::carry(job);
        self.0.push(Box::new(move || {
            // A panic lets go of it, too, before whoever waits is told.
            let held = held;
            if !send.is_closed() {
                let result = job();
                drop(held);
                _ = send.send(result);
            }
        }));
        receive
    }
}

/// How many there are.
pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl Drop for Decoders {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_costs_its_job_alone() {
        let decoders = Decoders::start().unwrap();
        let held = Arc::new(());
        let results: Vec<_> = (0..20)
            .map(|number| {
                decoders.run(held.clone(), move || {
                    assert!(number % 5 != 0, "a job that panics");
                    number
                })
            })
            .collect();
        let done: Vec<Option<i32>> = results.into_iter().map(|result| result.blocking_recv().ok()).collect();
        assert_eq!(done, (0..20).map(|number| (number % 5 != 0).then_some(number)).collect::<Vec<_>>());
        for number in 0..100 {
            let result = decoders.run(held.clone(), move || assert!(number % 2 == 0, "a job that panics"));
            assert_eq!(result.blocking_recv().is_ok(), number % 2 == 0);
            assert_eq!(Arc::strong_count(&held), 1, "it is free again before anybody is told");
        }
    }
}
