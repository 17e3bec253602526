//! Waiting for a fiber's result: from a fiber, a thread or an async task.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::block_on::block_on;
use crate::current::{self, ThreadState};
use crate::error::JoinError;
use crate::fiber::{ASKED, CANCEL, Fiber, FiberRef};
use crate::park::waker;

/// The right to a fiber's result.
///
/// From blocking code call [`join`](Self::join); from async code `.await` it. Dropping the handle
/// detaches the fiber, which goes on.
///
/// # Cancellation
/// Dropping the future detaches the fiber. A fiber that is cancelled inside `join` detaches it too.
///
/// ```
/// #[tokio::main]
/// async fn main() {
///     let answer = sisal::spawn(|| 6 * 7).await.unwrap();
///     assert_eq!(answer, 42);
/// }
/// ```
pub struct JoinHandle<T> {
    raw: RawJoin<T>,
}

impl<T> JoinHandle<T> {
    /// # Safety
    /// As for [`RawJoin::new`].
    pub(crate) unsafe fn new(fiber: FiberRef) -> JoinHandle<T> {
        // SAFETY: by contract.
        let raw = unsafe { RawJoin::new(fiber) };
        JoinHandle { raw }
    }

    /// Waits for the fiber to end and returns what its closure returned.
    ///
    /// In a fiber this parks the fiber, on a plain thread it blocks the thread.
    ///
    /// # Errors
    /// [`JoinError`] if the fiber panicked, was cancelled, found no stack to start on, was ended by an overflow of its
    /// stack, or is the one that joins, which would wait for ever.
    ///
    /// # Panics
    /// On a worker's own stack (an async task spawned from a fiber, a waker, a destructor at
    /// shutdown): `.await` the handle there.
    ///
    /// # Cancellation
    /// A suspension point, also if the fiber has ended: a cancelled caller unwinds from here, and the fiber that it waits for goes on.
    ///
    /// ```
    /// sisal::run(|| {
    ///     let handle = sisal::fiber::spawn(|| "done");
    ///     assert_eq!(handle.join().unwrap(), "done");
    /// });
    /// ```
    ///
    /// There is one result, so it is given once:
    ///
    /// ```compile_fail,E0382
    /// let handle = sisal::fiber::spawn(|| "done");
    /// handle.join().unwrap();
    /// handle.join().unwrap();
    /// ```
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        self.raw.join()
    }

    /// Whether the fiber has ended, so that `join` will not wait.
    pub fn is_finished(&self) -> bool {
        self.raw.is_finished()
    }

    /// Asks the fiber to end: it unwinds, as by a panic but without the panic hook, from the wait that it is
    /// in or from the next, and its destructors run. From any thread, at any time; returns at once.
    ///
    /// [`join`](Self::join) then gives an error that [is cancelled](JoinError::is_cancelled). A fiber that has
    /// not started never runs its closure; one that ends without another wait gives its result; on
    /// one that has ended this does nothing. The fiber may hold it off by [`shield`](crate::fiber::shield); a scope
    /// in it passes it on to its children. All of the model: `docs/cancellation.md` in the repository.
    ///
    /// ```
    /// let child = sisal::spawn(|| {
    ///     loop {
    ///         sisal::fiber::yield_now();
    ///     }
    /// });
    /// child.cancel();
    /// let ended: Result<(), _> = child.join();
    /// assert!(ended.unwrap_err().is_cancelled());
    /// ```
    pub fn cancel(&self) {
        self.raw.cancel();
    }

    /// The fiber itself, to unpark it or to tell who it is.
    pub fn fiber(&self) -> &Fiber {
        &self.raw.fiber
    }

    /// [`fiber`](Self::fiber), under the name that code from `std::thread` knows.
    pub fn thread(&self) -> &Fiber {
        self.fiber()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    /// If polled again after it gave its result.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.raw.poll(cx.waker())
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("JoinHandle").field(self.fiber()).finish()
    }
}

/// What `JoinHandle` and `ScopedJoinHandle` share. The fiber's `HANDLE` bit is its.
pub(crate) struct RawJoin<T> {
    pub(crate) fiber: Fiber,
    /// The result was moved out: there is nothing left to drop.
    taken: bool,
    /// The result is handed over or dropped here: `Send` only if `T` is (S2).
    result: PhantomData<T>,
}

// SAFETY: sharing a `RawJoin` shares no `T`: the result comes out of `&mut self` or `self` only.
unsafe impl<T: Send> Sync for RawJoin<T> {}

// The result is not stored in here.
impl<T> Unpin for RawJoin<T> {}

// As std's: a handle shows the result to nobody before it is asked for it, and not twice.
impl<T> UnwindSafe for JoinHandle<T> {}
impl<T> RefUnwindSafe for JoinHandle<T> {}

impl<T> RawJoin<T> {
    /// # Safety
    /// `fiber` was made by `FiberRef::make` with result type `T`, and this is its only handle.
    pub(crate) unsafe fn new(fiber: FiberRef) -> RawJoin<T> {
        RawJoin {
            fiber: Fiber::from_ref(fiber),
            taken: false,
            result: PhantomData,
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.fiber.record().is_done()
    }

    pub(crate) fn cancel(&self) {
        self.fiber.record().wake(CANCEL | ASKED);
    }

    #[track_caller]
    pub(crate) fn join(self) -> Result<T, JoinError> {
        // First what is quick. A fiber that has ended is not the one that runs, and no waker need be made for it.
        if self.is_finished()
            && let ThreadState::Fiber(running) = current::state()
        {
            // Also when there is nothing to wait for: a loop of joins meets its cancellation.
            running.unwind_if_cancelled();
            return self.take_last();
        }
        self.join_others()
    }

    /// The result of a fiber that is done, and the end of its handle.
    #[inline(always)]
    fn take_last(self) -> Result<T, JoinError> {
        assert!(!self.taken, "`JoinHandle` polled after it gave its result");
        // The one word, and not the handle, which was just written in other pieces: the processor would wait for them.
        // SAFETY: moved out of what is not dropped.
        let fiber = unsafe { std::ptr::read(self.fiber.record()) };
        std::mem::forget(self);
        // SAFETY: the only handle; done, by its callers; the result type is `T`.
        match unsafe { fiber.take_result::<T>() } {
            Some(result) => result,
            None => unreachable!("it is taken by its one handle, once"),
        }
    }

    #[inline(never)]
    #[track_caller]
    fn join_others(mut self) -> Result<T, JoinError> {
        match current::state() {
            ThreadState::Fiber(running) => {
                if running.ptr() == self.fiber.record().ptr() {
                    return Err(JoinError::itself(self.fiber.record().identity()));
                }
                running.unwind_if_cancelled();
                // SAFETY: the waker is used in this frame only, and clones count.
                let waker = unsafe { waker::borrowed_plain(running) };
                loop {
                    // It is this fiber still: nothing in this loop calls anybody's code.
                    if let Poll::Ready(result) = self.poll_other(&waker) {
                        return result;
                    }
                    running.park_for_end();
                }
            }
            ThreadState::Worker => {
                current::refuse_worker("JoinHandle::join", "`.await` the handle instead")
            }
            ThreadState::Plain => block_on(std::future::poll_fn(|cx| self.poll(cx.waker()))),
        }
    }

    /// The fiber that is running would wait for its own end.
    fn refuse_itself(&self) -> Option<JoinError> {
        let record = self.fiber.record();
        match current::state() {
            ThreadState::Fiber(running) if running.ptr() == record.ptr() => {
                Some(JoinError::itself(record.identity()))
            }
            _ => None,
        }
    }

    fn poll(&mut self, waker: &Waker) -> Poll<Result<T, JoinError>> {
        if let Some(error) = self.refuse_itself() {
            return Poll::Ready(Err(error));
        }
        self.poll_other(waker)
    }

    /// The caller is another fiber, or none.
    fn poll_other(&mut self, waker: &Waker) -> Poll<Result<T, JoinError>> {
        let record = self.fiber.record();
        // SAFETY: this is the only handle, and `&mut self` makes this call the only one.
        if unsafe { record.is_done() || !record.watch(waker) } {
            return Poll::Ready(self.take());
        }
        Poll::Pending
    }

    /// The result of a fiber that is done.
    #[inline]
    fn take(&mut self) -> Result<T, JoinError> {
        assert!(!self.taken, "`JoinHandle` polled after it gave its result");
        self.taken = true;
        // SAFETY: the only handle; done, by its callers; the result type is `T`.
        match unsafe { self.fiber.record().take_result::<T>() } {
            Some(result) => result,
            None => unreachable!("it is taken by its one handle, once"),
        }
    }
}

impl<T> Drop for RawJoin<T> {
    fn drop(&mut self) {
        if !self.taken {
            // SAFETY: the only handle, made with result type `T`, goes away.
            unsafe { self.fiber.record().drop_handle::<T>() }
        }
    }
}
