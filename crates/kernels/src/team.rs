//! Threads that stay together through many short loops.
//!
//! Rayon's threads go to sleep when there is nothing to do, and waking one takes as long as a layer of a small network on
//! one image. A team's threads wait for the next loop awake, and a loop costs a few changes of cache lines. They are busy
//! for as long as the team lasts, which should be milliseconds.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use crate::scoped::within;

/// How loops of this thread are shared out.
#[derive(Clone, Copy)]
pub(crate) enum Sharing {
    /// With rayon's threads.
    Pool,
    /// With the team that this thread leads.
    Team(*const Team),
    /// Not at all: this thread computes a part of a loop already.
    Nobody,
}

thread_local! {
    static SHARING: Cell<Sharing> = const { Cell::new(Sharing::Pool) };
}

impl Sharing {
    pub(crate) fn current() -> Self {
        SHARING.get()
    }

    fn run<R>(self, work: impl FnOnce() -> R) -> R {
        within(&SHARING, self, work)
    }
}

/// Runs `work`, whose loops are shared by all threads of the pool that this thread belongs to, without waking them each
/// time: for many short loops, as a small network on one image has. Apart from its speed nothing changes; outside of a pool,
/// nothing at all. `work` must not call rayon by itself.
pub fn together<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let threads = rayon::current_num_threads();
    let is_free = matches!(Sharing::current(), Sharing::Pool);
    let Some(leader) = rayon::current_thread_index().filter(|_| threads > 1 && is_free) else { return work() };
    let team = Team::new(threads);
    rayon::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| {
                // A leader that waits may be given its own helper to run, and would wait for itself.
                if rayon::current_thread_index() != Some(leader) {
                    team.help();
                }
            });
        }
        let _end = End(&team);
        Sharing::Team(&raw const team).run(work)
    })
}

/// Lets the helpers go, also when the work has panicked.
struct End<'a>(&'a Team);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, SeqCst);
    }
}

/// A loop: `task(0)` to `task(count - 1)`.
#[derive(Clone, Copy)]
struct Loop {
    task: *const (dyn Fn(usize) + Sync),
    count: usize,
}

/// A number with a cache line of its own.
#[repr(align(128))]
struct Line(AtomicUsize);

pub(crate) struct Team {
    /// Odd while there is a loop to share, and higher each time.
    turn: Line,
    /// Read by helpers that are among `inside` at an odd turn, written by the leader when none is.
    shared: UnsafeCell<Option<Loop>>,
    /// Helpers that look at the loop.
    inside: Line,
    /// For each thread, how many tasks of its part of the loop are taken.
    taken: Vec<Line>,
    /// Helpers that have come.
    helpers: AtomicUsize,
    is_over: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: the loop is written by the leader alone, while no helper reads it: see `run` and `help`.
unsafe impl Sync for Team {}

impl Team {
    fn new(threads: usize) -> Self {
        let line = || Line(AtomicUsize::new(0));
        Self {
            turn: line(),
            shared: UnsafeCell::new(None),
            inside: line(),
            taken: (0..threads).map(|_| line()).collect(),
            helpers: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            panic: Mutex::new(None),
        }
    }

    /// Runs the tasks on all threads of the team; the caller is its leader.
    pub(crate) fn run(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        /// Waits until no helper looks at the loop any more, also when a task of the leader has panicked.
        struct Close<'a>(&'a Team);
        impl Drop for Close<'_> {
            fn drop(&mut self) {
                self.0.turn.0.fetch_add(1, SeqCst);
                wait(|| self.0.inside.0.load(SeqCst) == 0);
                // Where the leader has panicked too, that is what the caller sees.
                if std::thread::panicking() {
                    self.0.take_panic();
                }
            }
        }
        // SAFETY: this only forgets how long the task lives. Helpers use it while they are inside at an odd turn, and
        // `Close` waits for them before this call ends.
        let task: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(task) };
        self.taken.iter().for_each(|taken| taken.0.store(0, SeqCst));
        let shared = Loop { task, count };
        // SAFETY: the turn is even and no helper is inside: nobody reads it.
        unsafe { *self.shared.get() = Some(shared) };
        self.turn.0.fetch_add(1, SeqCst);
        let close = Close(self);
        Sharing::Nobody.run(|| self.work(0, shared));
        drop(close);
        if let Some(panic) = self.take_panic() {
            resume_unwind(panic);
        }
    }

    /// The panic of a helper, if there was one.
    fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.panic.lock().map_or(None, |mut panic| panic.take())
    }

    /// What a helper does until the team is over.
    fn help(&self) {
        let number = 1 + self.helpers.fetch_add(1, SeqCst);
        let mut last = 0;
        loop {
            let (mut turn, mut is_new) = (last, false);
            wait(|| {
                turn = self.turn.0.load(SeqCst);
                is_new = turn % 2 == 1 && turn != last;
                is_new || self.is_over.load(SeqCst)
            });
            if !is_new {
                return; // the team is over, and with it all loops
            }
            last = turn;
            self.inside.0.fetch_add(1, SeqCst);
            // Either this sees that the leader has closed the loop, or the leader sees this helper inside and waits.
            if self.turn.0.load(SeqCst) == turn {
                // SAFETY: the loop is open, and the leader waits for those inside before it writes another.
                if let Some(shared) = unsafe { *self.shared.get() } {
                    let work = AssertUnwindSafe(|| Sharing::Nobody.run(|| self.work(number, shared)));
                    if let Err(panic) = catch_unwind(work)
                        && let Ok(mut first) = self.panic.lock()
                    {
                        first.get_or_insert(panic);
                    }
                }
            }
            self.inside.0.fetch_sub(1, SeqCst);
        }
    }

    /// Takes tasks until none is left: first of this thread's own part, which lies together, then of the others'.
    fn work(&self, number: usize, Loop { task, count }: Loop) {
        let threads = self.taken.len();
        for part in (0..threads).map(|step| (number + step) % threads) {
            let (start, end) = (part * count / threads, (part + 1) * count / threads);
            let taken = &self.taken[part].0;
            while start + taken.load(SeqCst) < end {
                let index = start + taken.fetch_add(1, SeqCst);
                if index >= end {
                    break;
                }
                // SAFETY: the task lives until nobody is inside; see `run`.
                unsafe { (*task)(index) };
            }
        }
    }
}

/// Waits until `is_done`, awake; after a while others may have the processor in between.
fn wait(mut is_done: impl FnMut() -> bool) {
    const AWAKE: usize = 2000;
    let mut rounds = 0;
    while !is_done() {
        if rounds < AWAKE {
            rounds += 1;
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::parallel::for_each;

    fn in_pool<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool").install(work)
    }

    #[test]
    fn every_task_of_many_loops_runs_once() {
        for threads in 1..=4 {
            let sums = in_pool(threads, || {
                together(|| {
                    (0..2000usize)
                        .map(|round| {
                            let sum = AtomicU64::new(0);
                            let count = round % 17;
                            for_each(count, |index| {
                                sum.fetch_add(1 << (3 * index), SeqCst);
                            });
                            (count, sum.into_inner())
                        })
                        .collect::<Vec<_>>()
                })
            });
            for (count, sum) in sums {
                assert_eq!(sum, (0..count).map(|index| 1 << (3 * index)).sum(), "{threads} threads, {count} tasks");
            }
        }
    }

    #[test]
    fn helpers_do_take_tasks() {
        let seen = in_pool(3, || {
            together(|| {
                let seen = Mutex::new(std::collections::HashSet::new());
                for _ in 0..200 {
                    for_each(6, |_| {
                        std::thread::sleep(std::time::Duration::from_micros(200));
                        seen.lock().expect("a lock").insert(rayon::current_thread_index());
                    });
                }
                seen.into_inner().expect("a lock").len()
            })
        });
        assert_eq!(seen, 3);
    }

    #[test]
    fn loops_within_loops_and_teams_within_teams_run_on_their_thread() {
        let count = AtomicU64::new(0);
        in_pool(2, || {
            together(|| {
                for_each(5, |_| {
                    together(|| {
                        for_each(7, |_| {
                            count.fetch_add(1, SeqCst);
                        });
                    });
                });
            });
        });
        assert_eq!(count.into_inner(), 35);
    }

    #[test]
    fn a_panic_of_any_thread_reaches_the_caller_and_ends_the_team() {
        for _ in 0..50 {
            for bad in 0..4 {
                let caught = in_pool(2, || {
                    catch_unwind(|| together(|| for_each(4, |index| assert!(index != bad, "task {index}"))))
                });
                let message = *caught.expect_err("a panic").downcast::<String>().expect("a message");
                assert_eq!(message, format!("task {bad}"));
            }
        }
    }

    #[test]
    fn a_panic_of_all_threads_is_that_of_its_loop_alone() {
        in_pool(3, || {
            together(|| {
                for _ in 0..50 {
                    let all = AssertUnwindSafe(|| {
                        for_each(3, |index| {
                            std::thread::sleep(std::time::Duration::from_micros(300));
                            panic!("task {index}");
                        });
                    });
                    assert!(catch_unwind(all).is_err());
                    for_each(3, |_| ());
                }
            });
        });
    }

    #[test]
    fn outside_of_a_pool_the_work_runs_where_it_is() {
        let here = std::thread::current().id();
        assert_eq!(together(|| std::thread::current().id()), here);
    }
}
