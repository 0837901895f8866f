//! A queue between threads that sleep while it is empty. The standard library's channels look for work some times before
//! they sleep, and on few cores take the time from threads that have some.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// First in, first out.
pub(crate) struct Queue<T> {
    inside: Mutex<Inside<T>>,
    changed: Condvar,
}

struct Inside<T> {
    items: VecDeque<T>,
    closed: bool,
}

impl<T> Queue<T> {
    pub fn new() -> Self {
        Self { inside: Mutex::new(Inside { items: VecDeque::new(), closed: false }), changed: Condvar::new() }
    }

    /// Lets go of the item if the queue is closed.
    pub fn push(&self, item: T) {
        let mut inside = self.lock();
        if !inside.closed {
            inside.items.push_back(item);
            self.changed.notify_one();
        }
    }

    /// The first item, once there is one; none when the queue is closed and empty.
    pub fn pop(&self) -> Option<T> {
        let mut inside = self.lock();
        loop {
            if let Some(item) = inside.items.pop_front() {
                return Some(item);
            }
            if inside.closed {
                return None;
            }
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The first item, if there is one.
    pub fn try_pop(&self) -> Option<T> {
        self.lock().items.pop_front()
    }

    /// The first item, if there is one by then.
    pub fn pop_until(&self, deadline: Instant) -> Option<T> {
        let left = deadline.saturating_duration_since(Instant::now());
        let is_empty = |inside: &mut Inside<T>| inside.items.is_empty() && !inside.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), left, is_empty);
        waited.unwrap_or_else(PoisonError::into_inner).0.items.pop_front()
    }

    /// Takes nothing more in.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The same, and lets go of what is in it.
    pub fn abandon(&self) {
        self.close();
        self.lock().items.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inside<T>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
