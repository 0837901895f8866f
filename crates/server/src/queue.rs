//! A queue between threads that sleep while it is empty. The standard library's channels look for work some times before
//! they sleep, and on few cores take the time from threads that have some.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// First in, first out.
pub(crate) struct Queue<T> {
    inside: Mutex<Inside<T>>,
    changed: Condvar,
}

struct Inside<T> {
    items: VecDeque<T>,
    /// Items that were announced and are still to come.
    coming: usize,
    closed: bool,
}

/// An item that is still to come, if it comes at all.
pub(crate) struct Announced<T>(Arc<Queue<T>>, Option<T>);

impl<T> Announced<T> {
    /// Here it is. Lets go of it if the queue is closed.
    pub fn push(mut self, item: T) {
        self.1 = Some(item);
    }
}

impl<T> Drop for Announced<T> {
    fn drop(&mut self) {
        let mut inside = self.0.lock();
        inside.coming -= 1;
        if !inside.closed {
            inside.items.extend(self.1.take());
        }
        match inside.coming {
            // Whoever waits for what was announced has to know.
            0 => self.0.changed.notify_all(),
            _ => self.0.changed.notify_one(),
        }
    }
}

impl<T> Queue<T> {
    pub fn new() -> Self {
        Self {
            inside: Mutex::new(Inside { items: VecDeque::new(), coming: 0, closed: false }),
            changed: Condvar::new(),
        }
    }

    /// Says that an item will come.
    pub fn announce(self: &Arc<Self>) -> Announced<T> {
        self.lock().coming += 1;
        Announced(self.clone(), None)
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

    /// The first item. If there is none it is waited for while one is announced, until then.
    pub fn pop_announced(&self, deadline: Instant) -> Option<T> {
        let left = deadline.saturating_duration_since(Instant::now());
        let is_empty = |inside: &mut Inside<T>| inside.items.is_empty() && inside.coming > 0 && !inside.closed;
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
        // Dropped when the lock is free again.
        let items = std::mem::take(&mut self.lock().items);
        drop(items);
    }

    fn lock(&self) -> MutexGuard<'_, Inside<T>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
