//! Threads that decode: the network's must not find themselves decoding while a batch waits for them.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use crate::queue::Queue;

type Job = Box<dyn FnOnce() + Send>;

/// Their queue. They end when this is dropped and the queue is empty.
pub(crate) struct Decoders(Arc<Queue<Job>>);

impl Decoders {
    /// Starts a thread a core. `panicked` is told of every job that panics; the thread goes on.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(panicked: impl Fn() + Clone + Send + 'static) -> io::Result<Self> {
        let decoders = Self(Arc::new(Queue::new()));
        let threads = thread::available_parallelism().map_or(1, usize::from);
        for number in 0..threads {
            let (queue, panicked) = (decoders.0.clone(), panicked.clone());
            let work = move || {
                while let Some(job) = queue.pop() {
                    if catch_unwind(AssertUnwindSafe(job)).is_err() {
                        panicked();
                    }
                }
            };
            thread::Builder::new().name(format!("decoder {number}")).spawn(work)?;
        }
        Ok(decoders)
    }

    /// Runs this after what came before it has begun.
    pub fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        self.0.push(Box::new(job));
    }
}

impl Drop for Decoders {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    #[test]
    fn a_panic_costs_its_job_alone() {
        let panics = Arc::new(AtomicUsize::new(0));
        let counter = panics.clone();
        let decoders = Decoders::start(move || _ = counter.fetch_add(1, Ordering::SeqCst)).unwrap();
        let (tell, told) = mpsc::channel();
        for number in 0..20 {
            let tell = tell.clone();
            decoders.spawn(move || {
                assert!(number % 5 != 0, "a job that panics");
                tell.send(number).unwrap();
            });
        }
        drop(tell);
        let mut done: Vec<i32> = told.iter().collect();
        done.sort_unstable();
        assert_eq!(done, (0..20).filter(|number| number % 5 != 0).collect::<Vec<_>>());
        // The last one may be told of after its channel was dropped.
        while panics.load(Ordering::SeqCst) < 4 {
            thread::yield_now();
        }
    }
}
