//! Code that blocks its thread, run where that does no harm.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

use crate::current::{self, ThreadState};
use crate::handle::Handle;
use crate::park::waiter::{self, Waiter};
use crate::shim::{AtomicBool, Ordering};

#[cfg(test)]
#[path = "loom_unblock.rs"]
mod loom_unblock;

/// Runs `f`, which may block its thread for long, on a pool of threads, and parks the calling fiber
/// until it has returned. `f` may borrow.
///
/// For file system calls, name lookup, CPU-bound work, foreign libraries that block, and tokio's own
/// blocking calls. On a plain thread `f` is called where it is. The caller's `tracing` span is current in `f`.
///
/// # Panics
/// If `f` does, with the same payload. On a worker's own stack: use `tokio::task::spawn_blocking` there. If
/// the runtime's threads are gone.
///
/// # Cancellation
/// A closure that blocks cannot be unwound, so the wait for it cannot be cut short: a cancel, or the deadline of a
/// [`timeout`](crate::timeout()), is met at the next wait.
///
/// ```
/// let manifest = sisal::run(|| sisal::unblock(|| std::fs::read_to_string("Cargo.toml")));
/// assert!(manifest.unwrap().contains("[package]"));
/// ```
///
/// `f` runs on another thread, so what it borrows is `Sync`:
///
/// ```compile_fail,E0277
/// let cell = std::cell::Cell::new(1);
/// sisal::unblock(|| cell.set(2));
/// ```
#[track_caller]
pub fn unblock<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    if let ThreadState::Plain = current::state() {
        return f();
    }
    wait_for_pool(f)
}

/// [`unblock`] for calls of ours that std has too: a suspension point before `f` begins, so that a loop of them can be
/// ended. `call` and `instead` are for the panic on a worker's own stack (S10).
#[track_caller]
pub(crate) fn unblock_call<F, T>(call: &str, instead: &str, f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    match current::state() {
        ThreadState::Fiber(running) => {
            running.unwind_if_cancelled();
            wait_for_pool(f)
        }
        ThreadState::Worker => current::refuse_worker(call, instead),
        ThreadState::Plain => f(),
    }
}

#[track_caller]
#[inline(never)]
#[unsafe(link_section = "sisal_lend")] // see `overflow::kill`
fn wait_for_pool<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    const INSTEAD: &str = "use `tokio::task::spawn_blocking` there";
    let (waiting, waiter) = waiter::caller("unblock", INSTEAD);
    let handle = Handle::current();
    let mut result: Option<thread::Result<T>> = None;
    let done = Arc::new(Done::new(waiter));
    let finish = Finish(Arc::clone(&done));
    let out = &mut result;
    // The caller's span is the closure's too.
    let span = tracing::Span::current();
    let f = move || span.in_scope(f);
    let job = (f, handle.blocking().count(), finish);
    // In `f` tokio's current runtime is the caller's, which somebody drives.
    let tokio = tokio::runtime::Handle::current();
    let closure: Box<dyn FnOnce() + Send + '_> = Box::new(move || {
        // Locals are dropped last to first, so `finish` outlives the closure and what it holds.
        let (f, running, finish) = job;
        let _finish = finish;
        let _running = running;
        let _entered = tokio.enter();
        *out = Some(catch_unwind(AssertUnwindSafe(f)));
    });
    // SAFETY: what the closure borrows lives until `done`, which is set after the closure's last
    // use of it, also when the closure is dropped without being called; this frame waits for
    // that below, and the wait cannot be cut short (S5).
    let closure = unsafe { std::mem::transmute::<Box<dyn FnOnce() + Send + '_>, Closure>(closure) };
    let ours = Arc::new(Mutex::new(Some(closure)));
    let theirs = Job(Arc::clone(&ours));
    let given = catch_unwind(AssertUnwindSafe(|| {
        handle.blocking().spawn(Box::new(move || theirs.run()));
    }));
    if given.is_err() {
        let closure = ours.lock().take();
        drop(closure);
    }
    waiting.until(|| done.is_set());
    match (result, given) {
        (Some(Ok(value)), _) => value,
        (Some(Err(payload)), _) | (None, Err(payload)) => resume_unwind(payload),
        (None, Ok(())) => panic!("`unblock`: the runtime's blocking threads have shut down"),
    }
}

type Closure = Box<dyn FnOnce() + Send>;

/// The place of a closure that the pool is to run, or to drop. Not the closure itself: if the system
/// has no thread, the pool panics and keeps what it got for a thread that may never be, and the
/// caller must be able to take the closure back.
struct Job(Arc<Mutex<Option<Closure>>>);

impl Job {
    fn run(self) {
        let closure = self.0.lock().take();
        if let Some(closure) = closure {
            closure();
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let closure = self.0.lock().take();
        drop(closure);
    }
}

/// Whether the pool is through with the waiting frame.
struct Done {
    done: AtomicBool,
    waiter: Waiter,
}

impl Done {
    fn new(waiter: Waiter) -> Done {
        let done = AtomicBool::new(false);
        Done { done, waiter }
    }

    fn is_set(&self) -> bool {
        // Acquire pairs with the Release in `Finish::drop`.
        self.done.load(Ordering::Acquire)
    }
}

/// Dropped after the last use of the waiting frame. In a tuple behind the closure: a tuple drops its
/// fields in order, so that holds for a closure that is dropped without being called too.
struct Finish(Arc<Done>);

impl Drop for Finish {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `is_set`.
        self.0.done.store(true, Ordering::Release);
        self.0.waiter.wake();
    }
}
