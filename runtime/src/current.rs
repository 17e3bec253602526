//! The one thread-local: on which worker this thread is, and on which fiber's stack.
//!
//! S8: reached through the never-inlined functions of this file only, and no borrow of it leaves
//! them. The compiler may cache a thread-local's address across a switch; started fibers never
//! change threads (S1), so even that would be harmless, but other crates' inlining is not ours
//! to reason about.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::driver::Reactor;
use crate::fiber::{Blocks, FiberId, FiberPtr, Running, Timers, Unwinding};
use crate::keep::stays;
use crate::overflow::Killer;
use crate::stall::Probe;

thread_local! {
    static CURRENT: Cell<*const Context> = const { Cell::new(std::ptr::null()) };
}

/// What a worker thread knows of itself. Lives in the worker, which outlives every fiber on it.
pub(crate) struct Context {
    /// The fiber whose stack is in use; `None` on the worker's own.
    pub(crate) fiber: Cell<Option<FiberPtr>>,
    /// Which fibers left their stacks in mid-unwind.
    pub(crate) unwinding: Unwinding,
    /// A fiber could not unwind because it ran beside one of those.
    pub(crate) cancel_deferred: Cell<bool>,
    /// Fibers of this worker that are parked until others have ended.
    pub(crate) awaiting_ends: Cell<usize>,
    /// Memory for records.
    pub(crate) blocks: Blocks,
    /// Its fibers that sleep.
    pub(crate) timers: Timers,
    /// There if an overflow may end just its fiber.
    pub(crate) killer: Option<Killer>,
    /// By which others ask this thread what it runs.
    pub(crate) probe: Arc<Probe>,
    /// Where this worker's timers and sockets register.
    pub(crate) reactor: Reactor,
    /// The scheduler's own two pointers; only it knows their types.
    pub(crate) runtime: *const (),
    pub(crate) worker: *const (),
}

/// S10: where the calling code is.
#[derive(Clone, Copy)]
pub(crate) enum ThreadState {
    /// On a fiber's stack: waiting parks the fiber.
    Fiber(Running),
    /// On a worker's own stack: waiting would stop the reactor that must end the wait.
    Worker,
    /// On a thread of somebody else's: waiting blocks it.
    Plain,
}

/// Installs `context` as this thread's while `f` runs.
pub(crate) fn enter<R>(context: &Context, f: impl FnOnce() -> R) -> R {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            set(std::ptr::null());
        }
    }
    set(context);
    let _leave = Leave;
    f()
}

#[inline(never)]
fn set(context: *const Context) {
    CURRENT.set(context);
}

#[inline(never)]
pub(crate) fn state() -> ThreadState {
    // SAFETY: a context that is set outlives its being set (`enter`).
    match unsafe { CURRENT.get().as_ref() } {
        None => ThreadState::Plain,
        Some(context) => match context.fiber.get() {
            None => ThreadState::Worker,
            // SAFETY: the worker sets `fiber` around the switch to it and nowhere else.
            Some(fiber) => ThreadState::Fiber(unsafe { Running::new(fiber) }),
        },
    }
}

/// The fiber whose stack the caller is on, for who need not tell the other two states apart.
#[inline(never)]
pub(crate) fn running() -> Option<Running> {
    // SAFETY: as in `state`.
    let fiber = unsafe { CURRENT.get().as_ref() }?.fiber.get();
    // SAFETY: as in `state`.
    fiber.map(|fiber| unsafe { Running::new(fiber) })
}

/// The worker pointer of this thread, if it is a worker of that runtime.
#[inline(never)]
pub(crate) fn worker_of(runtime: *const ()) -> Option<NonNull<()>> {
    // SAFETY: as in `state`.
    let context = unsafe { CURRENT.get().as_ref() }?;
    match context.runtime == runtime {
        true => NonNull::new(context.worker.cast_mut()),
        false => None,
    }
}

/// On a worker: what stays the same for as long as the caller is on the same stack there. (Ids are used once, addresses are not.)
#[inline(never)]
pub(crate) fn position() -> Option<(*const (), Option<FiberId>)> {
    // SAFETY: as in `state`.
    let context = unsafe { CURRENT.get().as_ref() }?;
    // SAFETY: the running fiber is live.
    let fiber = context
        .fiber
        .get()
        .map(|fiber| unsafe { fiber.header() }.id());
    Some((context.worker, fiber))
}

/// The worker pointer of this thread, if it is a worker.
#[inline(never)]
pub(crate) fn worker() -> Option<*const ()> {
    // SAFETY: as in `state`.
    unsafe { CURRENT.get().as_ref() }.map(|context| context.worker)
}

/// The runtime pointer of this thread, if it is a worker.
#[inline(never)]
pub(crate) fn runtime() -> Option<*const ()> {
    // SAFETY: as in `state`.
    unsafe { CURRENT.get().as_ref() }.map(|context| context.runtime)
}

/// Calls `f`, which does not switch, with this worker's memory for records, if this is a worker of that
/// runtime: a block of another's would keep that one's memory for as long as it is at hand here.
#[inline(never)]
#[unsafe(link_section = "sisal_keep")] // see `overflow::kill`
pub(crate) fn blocks<R>(runtime: *const (), f: impl FnOnce(&Blocks) -> R) -> Option<R> {
    // SAFETY: as in `state`.
    let context = unsafe { CURRENT.get().as_ref() }?;
    let result = (context.runtime == runtime).then(|| f(&context.blocks));
    stays();
    result
}

/// Calls `f`, which does not switch, with this worker's timers.
///
/// # Panics
/// Off a worker.
#[inline(never)]
#[unsafe(link_section = "sisal_keep")] // see `overflow::kill`
pub(crate) fn timers<R>(f: impl FnOnce(&Timers) -> R) -> R {
    // SAFETY: as in `state`.
    let context = unsafe { CURRENT.get().as_ref() };
    let result = f(&context.expect("only a worker has timers").timers);
    stays();
    result
}

/// Calls `f`, which does not switch, with all that this thread knows of itself, if it is a worker. For signal
/// handlers: it may have interrupted anything but the functions of this file, which leave `CURRENT` whole.
#[inline(never)]
pub(crate) fn with_context<R>(f: impl FnOnce(&Context) -> R) -> Option<R> {
    // SAFETY: as in `state`.
    unsafe { CURRENT.get().as_ref() }.map(f)
}

/// Runs `f`, which does not switch, with this worker's reactor as tokio's current one.
///
/// # Panics
/// Off a worker.
#[inline(never)]
#[unsafe(link_section = "sisal_keep")] // see `overflow::kill`
pub(crate) fn with_reactor<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: as in `state`.
    let context = unsafe { CURRENT.get().as_ref() };
    let context = context.expect("only a worker has a reactor");
    let result = context.reactor.enter(f);
    stays();
    result
}

/// The running fiber was asked to unwind, and may not begin now. If an unwind on this thread is why, the worker reminds
/// it when that is over.
#[inline(never)]
pub(crate) fn defer_cancel() {
    // SAFETY: as in `state`.
    if let Some(context) = unsafe { CURRENT.get().as_ref() }
        && std::thread::panicking()
    {
        context.cancel_deferred.set(true);
    }
}

/// Whether another fiber of this worker than the running one may be in mid-unwind.
#[inline(never)]
pub(crate) fn unwinding_beside(running: Running) -> bool {
    // SAFETY: as in `state`.
    let context = unsafe { CURRENT.get().as_ref() };
    context.is_none_or(|context| context.unwinding.beside(running.header()))
}

/// On a worker's own stack: whether a fiber of it may be in mid-unwind, so that the thread's count says nothing of the caller.
#[inline(never)]
pub(crate) fn worker_beside_unwinding() -> bool {
    // SAFETY: as in `state`.
    unsafe { CURRENT.get().as_ref() }
        .is_some_and(|context| context.fiber.get().is_none() && context.unwinding.has_marks())
}

/// Whether the running fiber may have been in mid-unwind when it last left its stack.
#[inline(never)]
pub(crate) fn left_unwinding(running: Running) -> bool {
    // SAFETY: as in `state`.
    let context = unsafe { CURRENT.get().as_ref() };
    context.is_none_or(|context| context.unwinding.has_marked(running.header()))
}

/// Adds to `Context::awaiting_ends`.
#[inline(never)]
pub(crate) fn awaits_end(change: isize) {
    // SAFETY: as in `state`.
    if let Some(context) = unsafe { CURRENT.get().as_ref() } {
        let count = &context.awaiting_ends;
        count.set(count.get().wrapping_add_signed(change));
    }
}

/// A fiber that was asked to unwinds here, unless that is held off.
pub(crate) fn unwind_if_cancelled() {
    if let ThreadState::Fiber(running) = state() {
        running.unwind_if_cancelled();
    }
}

/// S10: panics if the caller is on a worker's own stack.
#[track_caller]
pub(crate) fn forbid_worker(call: &str, instead: &str) {
    if let ThreadState::Worker = state() {
        refuse_worker(call, instead);
    }
}

#[cold]
#[track_caller]
pub(crate) fn refuse_worker(call: &str, instead: &str) -> ! {
    panic!(
        "`{call}` would block a worker's own stack (an async task, a waker or a destructor that \
         runs there), and with it the reactor that must end the wait: {instead}"
    )
}
