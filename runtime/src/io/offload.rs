//! A value lent to a thread of the blocking pool, and a future for its return.
//!
//! Unlike [`unblock`](crate::unblock()) nothing is borrowed, so whoever waits may stop: the value then goes when its
//! operation is over.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::handle::Handle;
use crate::keep::keep;
use crate::shim::Mutex;

/// Calls `f` with `value` on the pool of the caller's runtime, or of the default one.
#[track_caller]
pub(super) fn offload<V, R, F>(value: V, f: F) -> Offloaded<V, R>
where
    V: Send + 'static,
    R: Send + 'static,
    F: FnOnce(&mut V) -> R + Send + 'static,
{
    let slot = Arc::new(Slot(Mutex::new(State::Out([None, None]))));
    // The caller's span and tokio runtime are `f`'s too, as in `unblock`.
    let span = tracing::Span::current();
    let tokio = tokio::runtime::Handle::try_current().ok();
    Handle::with_current_or_default(|handle| {
        let job = Job {
            value: Some((value, Arc::clone(&slot))),
            running: Some(handle.blocking().count()),
        };
        handle.blocking().spawn(Box::new(move || {
            let _entered = tokio.as_ref().map(tokio::runtime::Handle::enter);
            job.run(|value| span.in_scope(|| f(value)));
        }));
    });
    Offloaded(slot)
}

/// Why there is no result.
pub(super) enum Lost {
    Panicked(Box<dyn Any + Send>),
    /// The pool's threads are gone.
    ShutDown,
}

/// The right to the value and to what was made of it.
pub(super) struct Offloaded<V, R>(Arc<Slot<V, R>>);

impl<V, R> Offloaded<V, R> {
    /// # Panics
    /// If it is polled again after it was ready.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, side: usize) -> Poll<(V, Result<R, Lost>)> {
        // Both may be anybody's code: not under the lock.
        let waker = cx.waker().clone();
        let (found, _old) = self.0.take(waker, side);
        match found {
            Some(back) => Poll::Ready(back),
            None => Poll::Pending,
        }
    }
}

struct Slot<V, R>(Mutex<State<V, R>>);

enum State<V, R> {
    /// Two may wait, a reader and a writer: each its own waker.
    Out([Option<Waker>; 2]),
    Back(V, Result<R, Lost>),
    Taken,
}

impl<V, R> Slot<V, R> {
    /// What came back; else the waker stays. The second is a waker that is not needed.
    #[expect(clippy::type_complexity, reason = "one use")]
    fn take(&self, waker: Waker, side: usize) -> (Option<(V, Result<R, Lost>)>, Option<Waker>) {
        // A fiber that is left in the middle would leave the lock behind.
        keep(|| {
            let mut state = self.0.lock();
            if let State::Out(left) = &mut *state {
                return (None, left[side].replace(waker));
            }
            match std::mem::replace(&mut *state, State::Taken) {
                State::Back(value, result) => (Some((value, result)), Some(waker)),
                State::Out(_) | State::Taken => panic!("polled after it was ready"),
            }
        })
    }

    fn put(&self, value: V, result: Result<R, Lost>) {
        let before = std::mem::replace(&mut *self.0.lock(), State::Back(value, result));
        if let State::Out(wakers) = before {
            wakers.into_iter().flatten().for_each(Waker::wake);
        }
    }
}

/// The value on its way: it comes back also if the pool drops this.
struct Job<V, R, C> {
    value: Option<(V, Arc<Slot<V, R>>)>,
    /// By which the runtime's end counts closures.
    running: Option<C>,
}

impl<V, R, C> Job<V, R, C> {
    fn run(mut self, f: impl FnOnce(&mut V) -> R) {
        if let Some((mut value, slot)) = self.value.take() {
            // Whoever owns the value meets the panic, and sees what it left, as if it had called.
            let result = catch_unwind(AssertUnwindSafe(|| f(&mut value)));
            self.running = None;
            slot.put(value, result.map_err(Lost::Panicked));
        }
    }
}

impl<V, R, C> Drop for Job<V, R, C> {
    fn drop(&mut self) {
        self.running = None;
        if let Some((value, slot)) = self.value.take() {
            slot.put(value, Err(Lost::ShutDown));
        }
    }
}
