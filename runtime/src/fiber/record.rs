//! The one allocation of a fiber: state word, links, closure, then result.
//!
//! Knows layout and ownership; must not know queues or workers.
//!
//! # Who may touch what, when
//!
//! 1. `state`, `refs` and the fields without a cell: any thread that holds a reference.
//! 2. `home`, `sp`, `link`, `stack`, `base`, `pending`, `depth`, `shield`, `ready_ops`, `bound_at`, `timer_at`, `timer`, `frames`,
//!    `root`, `left_unwinding`, `unwound`, `locals`, `entered`: the fiber's worker, and the fiber itself while it runs
//!    there (which is the same thread, S1). The cells of `extra.span` too; whoever refuses or frees the
//!    record closes it.
//!    Exceptions: any thread reads `home`, where a worker finds its own number only if it wrote that itself;
//!    a dump between `State::scan_begin` and `scan_end` reads all of them.
//! 3. `next`: whoever has the duty to queue the fiber, until it is queued; then the queue's owner.
//! 4. `stage`: whoever may start the fiber, until it runs; the body until `State::finish`; then the join handle if `HANDLE` was set there,
//!    else the body. Nobody else, the deallocation included: it is `Empty` by then, or leaked
//!    with a leaked handle. Of a *local* fiber, whose closure and result need not be `Send`, all of them
//!    are its worker's thread: only that may start it (it is in that worker's own queue), the body
//!    runs there, and a join handle is where it was made, there, unless the result is `Send` (S2).
//! 5. `join_waker`: the join handle between `State::claim_waker` and `State::publish_waker`;
//!    the body after a `State::finish` that saw `JOIN_WAKER`.

mod plant;

use std::alloc::Layout;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::mem::MaybeUninit;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::Waker;

use switch_asm::arch::ApartFrame;
use switch_asm::stack::{SlabStack, StackPointer};

use super::block;
use super::id::{FiberId, Identity, Named};
use super::locals::Locals;
use super::schedule::{Lent, OnEnd};
use super::span::{Entered, TaskSpan};
use super::state::State;
use super::timers::{TimerPlace, TimerTimes};
use super::unwind::Frames;
use crate::error::JoinError;
use crate::keep::stays;
use crate::prefetch::{LINE, prefetch};
use crate::shim::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

pub(crate) use plant::plant;

/// The part of a record that does not depend on the closure: first what a switch touches, in 64
/// bytes, then the rest. (Not aligned to 64, though what is in a chunk is: an aligned allocation costs more than it gains.)
#[repr(C)]
pub(crate) struct Header {
    pub(super) state: State,
    /// Its place in its worker's list of bound fibers.
    pub(crate) bound_at: Cell<u32>,
    pub(super) sp: Cell<Option<StackPointer>>,
    /// How its stack leads to its worker: here, so that a switch need not touch the stack's base.
    pub(super) link: ApartFrame,
    /// `TOKEN` and `WOKEN` that `State::begin` handed over and nobody has used yet.
    pub(super) pending: Cell<u32>,
    /// How many `block_on` this fiber is inside.
    pub(crate) depth: Cell<u32>,
    /// How many shields this fiber is inside: what comes from outside of them does not unwind it.
    pub(crate) shield: Cell<u32>,
    /// Operations of ours that were ready at once, since it last parked.
    pub(crate) ready_ops: Cell<u32>,
    pub(crate) next: AtomicPtr<Header>,
    refs: AtomicUsize,

    /// From the end of its first run, which did not end it, until its own end takes it, or for ever. (No `Option`, for
    /// which it would be written in other pieces than it is read, so that the processor has to wait for them.)
    pub(super) stack: Cell<MaybeUninit<SlabStack>>,
    /// Beside `scheduler`, so that another worker looks at no line that this one's writes to before the state word: a read before a
    /// write brings it twice.
    home: AtomicU32,
    /// Its place in its worker's timers.
    pub(super) timer_at: TimerPlace,
    pub(super) timer: TimerTimes,
    /// Counted by whoever keeps the record's memory: see `block.rs`.
    pub(super) scheduler: Lent<'static>,

    /// The base of its stack.
    pub(super) base: Cell<Option<StackPointer>>,
    /// An address in the frame where every unwind of the fiber ends; set while its closure runs.
    pub(super) root: Cell<usize>,
    /// See `Unwinding`.
    pub(super) left_unwinding: Cell<u32>,
    /// An unwind was begun before.
    pub(super) unwound: Cell<bool>,
    pub(super) join_waker: UnsafeCell<Option<Waker>>,
    pub(super) id: FiberId,
    /// Spans that it is in while it is not on its stack.
    pub(super) entered: Entered,

    pub(super) vtable: &'static Vtable,
    /// The `timeout`s that it is inside, innermost first.
    pub(super) frames: Frames,
    pub(super) spawned_at: &'static Location<'static>,
    extra: Option<Box<Extra>>,
    pub(crate) locals: Locals,
}

/// Cache lines: what a switch touches; a timer and a wake; the rest; an end.
const _: () = assert!(
    cfg!(any(feature = "sanitizer", sisal_loom))
        || std::mem::offset_of!(Header, stack) == LINE
            && std::mem::offset_of!(Header, base) == 2 * LINE
            && std::mem::offset_of!(Header, vtable) == 3 * LINE
);

/// What few fibers have.
#[derive(Default)]
pub(crate) struct Extra {
    pub(crate) name: Option<Box<str>>,
    /// Bytes of stack, if not the runtime's default.
    pub(crate) stack_size: Option<usize>,
    pub(crate) on_end: Option<Arc<dyn OnEnd>>,
    /// The runtime's shutdown leaves this fiber alone: whoever waits for it decides.
    pub(crate) sheltered: bool,
    pub(crate) span: Option<TaskSpan>,
    /// It gets no span of its own.
    pub(crate) untracked: bool,
}

/// What the record does for its closure and result type.
pub(crate) struct Vtable {
    /// Runs the closure on the current (fiber) stack, and stores its result.
    pub(super) run: unsafe fn(FiberPtr),
    /// Stores an error as the result. The closure is dropped, if it is still there.
    pub(super) fail: unsafe fn(FiberPtr, JoinError),
    /// Drops a result that nobody asked for.
    pub(super) unseen: unsafe fn(FiberPtr),
    /// Moves the result out; see `body::take`.
    pub(super) take: unsafe fn(FiberPtr, *mut ()),
    /// Of the record.
    layout: Layout,
}

impl Vtable {
    #[inline]
    pub(crate) fn of<F, T>() -> &'static Vtable
    where
        F: FnOnce() -> T,
    {
        struct Of<F, T>(F, T);
        impl<F: FnOnce() -> T, T> Of<F, T> {
            const VTABLE: Vtable = Vtable {
                run: super::body::run::<F, T>,
                fail: super::body::fail_as::<F, T>,
                unseen: super::body::unseen::<F, T>,
                take: super::body::take::<F, T>,
                layout: Layout::new::<Record<F, T>>(),
            };
        }
        &Of::<F, T>::VTABLE
    }
}

/// The life of a record's contents.
pub(super) enum Stage<F, T> {
    Closure(F),
    Result(Result<T, JoinError>),
    Empty,
}

#[repr(C)]
pub(super) struct Record<F, T> {
    pub(super) header: Header,
    pub(super) stage: UnsafeCell<Stage<F, T>>,
}

/// How to make a fiber; see `fiber::Builder` for what users see of it.
pub(crate) struct Seed<'a> {
    pub(crate) id: FiberId,
    pub(crate) spawned_at: &'static Location<'static>,
    pub(crate) scheduler: Lent<'a>,
    /// It calls the scheduler's `on_switch` hooks.
    pub(crate) hooked: bool,
    pub(crate) extra: Option<Box<Extra>>,
}

/// A pointer to a live record: a fiber that has not ended, or one that somebody counts.
/// Queues hold these uncounted, because a fiber in a queue has not ended.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct FiberPtr(NonNull<Header>);

// SAFETY: the pointer gives access by the list at the top of this file, which says what each
// thread may touch. What it lets other threads than the fiber's own touch is Sync (rule 1), behind the
// state word (rules 3 and 5), or the closure and result, and these are Send unless the fiber is local
// (S2, asked for by every spawn); those of a local one, and a fiber's locals, are touched by its
// worker's thread alone (rules 2 and 4), or by whoever has the result's handle if that is Send.
unsafe impl Send for FiberPtr {}

impl FiberPtr {
    /// # Safety
    /// `raw` is a pointer to a live record.
    pub(crate) unsafe fn from_raw(raw: *const ()) -> FiberPtr {
        // SAFETY: a record's address is not null.
        FiberPtr(unsafe { NonNull::new_unchecked(raw.cast_mut().cast()) })
    }

    pub(crate) fn as_raw(self) -> *const () {
        self.0.as_ptr().cast_const().cast()
    }

    /// Asks for the part of the record that a switch touches.
    #[inline(always)]
    pub(crate) fn prefetch_record(self) {
        prefetch(self.0.as_ptr().addr());
    }

    /// Asks for what a timer and the wake that follows touch.
    #[inline(always)]
    pub(super) fn prefetch_timer(self) {
        self.prefetch_record();
        prefetch(self.0.as_ptr().addr() + std::mem::offset_of!(Header, timer_at));
    }

    /// Asks for so many lines of what is on the stack, the innermost first.
    ///
    /// # Safety
    /// The fiber is live, started, not running, and the caller is its worker.
    #[inline(always)]
    pub(crate) unsafe fn prefetch_stack(self, lines: usize) {
        // SAFETY: by contract.
        let header = unsafe { self.header() };
        let sp = header.sp.get().map_or(0, StackPointer::get);
        for line in 0..lines {
            prefetch(sp + LINE * line);
        }
    }

    pub(super) fn record<F, T>(self) -> *mut Record<F, T> {
        self.0.as_ptr().cast()
    }

    /// Calls for the fiber, from any thread; see [`State::notify`]. By pointer, because the pointer
    /// that is queued here is the one that the record will be freed by.
    ///
    /// # Safety
    /// The record is live during the call.
    #[inline(never)]
    #[unsafe(link_section = "sisal_keep")] // see `overflow::kill`
    pub(crate) unsafe fn wake(self, reason: u32) {
        // SAFETY: by contract.
        let header = unsafe { self.header() };
        if !header.scheduler.wake_here(self, reason) && header.notify(reason) {
            header.scheduler.schedule(self);
        }
        stays();
    }

    /// The same with no reason, if that calls nobody's code: see [`Schedule::wake_here`](super::schedule::Schedule::wake_here).
    ///
    /// # Safety
    /// The record is live during the call.
    #[inline]
    pub(crate) unsafe fn wake_here(self) -> bool {
        // SAFETY: by contract.
        unsafe { self.header() }.scheduler.wake_here(self, 0)
    }

    /// # Safety
    /// The record is live for as long as the result is used.
    #[inline(always)]
    pub(crate) unsafe fn header<'a>(self) -> &'a Header {
        // SAFETY: by contract. The header has no field that is changed but through cells.
        unsafe { self.0.as_ref() }
    }
}

/// A counted reference to a record.
pub(crate) struct FiberRef(FiberPtr);

// SAFETY: as for `FiberPtr`; the count is atomic.
unsafe impl Send for FiberRef {}
// SAFETY: shared access is by the list at the top of this file.
unsafe impl Sync for FiberRef {}

impl FiberRef {
    /// Makes a record. The two references are the fiber's own, which its end gives up
    /// (`FiberPtr`), and one for a join handle.
    ///
    /// # Safety
    /// The caller keeps everything that `F` and `T` borrow alive until the fiber has ended (S5),
    /// and either both are `Send`, or nobody but the calling thread, which is a worker, may start the
    /// fiber, and the join handle is `Send` only if `T` is (S2).
    #[cfg(test)]
    pub(crate) unsafe fn make<F, T>(seed: Seed<'_>, closure: F) -> (FiberPtr, FiberRef)
    where
        F: FnOnce() -> T,
    {
        // SAFETY: by contract; the vtable is of these types.
        unsafe { FiberRef::fill::<F, T>(plant(seed, None, Vtable::of::<F, T>()), closure) }
    }

    /// Puts the closure into a record that was [planted](plant): the second half of making one. The two references
    /// are the fiber's own, which its end gives up (`FiberPtr`), and one for a join handle.
    ///
    /// # Safety
    /// As for `make`. The record was planted with `Vtable::of::<F, T>()`, and nobody else knows it.
    #[inline]
    pub(crate) unsafe fn fill<F, T>(fiber: FiberPtr, closure: F) -> (FiberPtr, FiberRef)
    where
        F: FnOnce() -> T,
    {
        // SAFETY: memory for a record of these types, which nobody else uses yet.
        unsafe {
            let stage = &raw mut (*fiber.record::<F, T>()).stage;
            UnsafeCell::raw_get(stage).write(Stage::Closure(closure));
        }
        (fiber, FiberRef(fiber))
    }

    /// Counts another reference.
    ///
    /// # Safety
    /// The record is live.
    pub(crate) unsafe fn count(fiber: FiberPtr) -> FiberRef {
        // SAFETY: by contract. Relaxed: a new reference is made from one that exists.
        unsafe { fiber.header() }
            .refs
            .fetch_add(1, Ordering::Relaxed);
        FiberRef(fiber)
    }

    /// Takes over a reference that was counted before.
    ///
    /// # Safety
    /// The caller owned one count of a live record and gives it up.
    pub(crate) unsafe fn adopt(fiber: FiberPtr) -> FiberRef {
        FiberRef(fiber)
    }

    /// Gives the count to the caller.
    pub(crate) fn release(self) -> FiberPtr {
        std::mem::ManuallyDrop::new(self).0
    }

    #[inline]
    pub(crate) fn ptr(&self) -> FiberPtr {
        self.0
    }

    /// See [`FiberPtr::wake`].
    pub(crate) fn wake(&self, reason: u32) {
        // SAFETY: this reference is counted, so the record is live.
        unsafe { self.0.wake(reason) }
    }

    /// Whether nobody else counts the record.
    #[cfg(test)]
    pub(crate) fn is_last(&self) -> bool {
        // Acquire as in `drop`.
        self.refs.load(Ordering::Acquire) == 1
    }

    /// Calls `read` while the fiber is parked and held still; from any thread. `None`: it is not
    /// parked, or about to run. For the time being the models are its only user.
    #[cfg(test)]
    pub(crate) fn scan<R>(&self, read: impl FnOnce(&Header) -> R) -> Option<R> {
        /// Also when `read` panics: a fiber that is held for ever is a lost one.
        struct LetGo<'a>(&'a FiberRef);
        impl Drop for LetGo<'_> {
            fn drop(&mut self) {
                if self.0.state.scan_end() {
                    self.0.scheduler.schedule(self.0.ptr());
                }
            }
        }
        if !self.state.scan_begin() {
            return None;
        }
        let _let_go = LetGo(self);
        Some(read(self))
    }
}

impl std::ops::Deref for FiberRef {
    type Target = Header;
    #[inline(always)]
    fn deref(&self) -> &Header {
        // SAFETY: this reference is counted, so the record is live.
        unsafe { self.0.header() }
    }
}

impl Clone for FiberRef {
    fn clone(&self) -> FiberRef {
        // SAFETY: `self` keeps the record live.
        unsafe { FiberRef::count(self.0) }
    }
}

impl Drop for FiberRef {
    #[inline]
    fn drop(&mut self) {
        // A count of 1 is this holder's: nobody else can make it more, so it needs no decrement.
        // Acquire pairs with the Release of every other holder's decrement, Release says that what
        // this one did to the record comes before the end.
        if self.refs.load(Ordering::Acquire) == 1 || self.refs.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: that was the last reference.
            unsafe { dealloc(self.0) }
        }
    }
}

impl Header {
    pub(crate) fn name(&self) -> Option<&str> {
        self.extra.as_ref()?.name.as_deref()
    }

    #[inline]
    pub(crate) fn stack_size(&self) -> Option<usize> {
        self.extra.as_ref()?.stack_size
    }

    pub(crate) fn id(&self) -> FiberId {
        self.id
    }

    #[inline]
    pub(crate) fn spawned_at(&self) -> &'static Location<'static> {
        self.spawned_at
    }

    pub(super) fn task_span(&self) -> Option<&TaskSpan> {
        self.extra.as_ref()?.span.as_ref()
    }

    pub(super) fn on_end(&self) -> Option<&dyn OnEnd> {
        self.extra.as_ref()?.on_end.as_deref()
    }

    /// See `Extra::sheltered`.
    pub(crate) fn is_sheltered(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.sheltered)
    }

    /// Whether something is left that has a destructor. Every field with one is looked at here.
    #[inline]
    fn has_leftovers(&mut self) -> bool {
        self.extra.is_some()
            || self.join_waker.get_mut().is_some()
            || !self.entered.is_empty()
            || !self.locals.is_empty()
    }

    /// For messages while the fiber lives.
    pub(crate) fn named(&self) -> Named<'_> {
        Named {
            id: self.id,
            name: self.name(),
            spawned_at: self.spawned_at,
        }
    }

    /// For messages that may outlive the fiber.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            id: self.id,
            name: self.name().map(Box::from),
            spawned_at: self.spawned_at,
        }
    }

    /// The worker that this fiber is bound to.
    pub(crate) fn home(&self) -> u32 {
        self.home.load(Ordering::Relaxed)
    }

    /// Binds a fresh fiber to the worker that is about to run it (S1).
    pub(crate) fn bind(&self, worker: u32) {
        self.home.store(worker, Ordering::Relaxed);
    }

    /// [`State::notify`] for a caller that queues the fiber itself.
    #[must_use]
    pub(crate) fn notify(&self, reason: u32) -> bool {
        let queue = self.state.notify(reason);
        if queue {
            self.report_wake();
        }
        queue
    }

    /// Its worker: [`State::notify_here`] for a caller that queues the fiber itself. No subscriber is told.
    #[inline]
    #[must_use]
    pub(crate) fn notify_here(&self, reason: u32) -> bool {
        let calls = self.state.notify_here(reason);
        if let Some(calls) = calls {
            self.leave_calls(calls);
        }
        calls.is_some()
    }

    /// Its worker: calls for the fiber, whose word says nothing of its park, with `TOKEN`, `WOKEN` or neither.
    #[inline]
    pub(crate) fn leave_calls(&self, calls: u32) {
        self.pending.set(self.pending.get() | calls);
    }

    /// The running fiber: takes one kind of call out of the word.
    pub(crate) fn take(&self, reason: u32) -> bool {
        let pending = self.pending.get();
        self.pending.set(pending & !reason);
        // Both places are cleared: two calls before one `park` are one token.
        self.state.take(reason) | (pending & reason != 0)
    }

    /// The running fiber: whether such a call is there. It stays.
    pub(crate) fn has(&self, reason: u32) -> bool {
        self.pending.get() & reason != 0 || self.state.has(reason)
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.state.is_done()
    }

    /// See [`State::is_cut_short`].
    pub(crate) fn is_cut_short(&self) -> bool {
        self.state.is_cut_short()
    }

    /// Its worker, about to run it: see [`State::begin`].
    #[inline]
    pub(crate) fn begin(&self) {
        if let Some(calls) = self.state.begin() {
            self.leave_calls(calls);
        }
    }

    /// Its worker, after `AfterSwitch::PARK`: see [`State::park`].
    #[must_use]
    pub(crate) fn park(&self) -> bool {
        let queue = self.state.park();
        if queue {
            self.report_wake();
        }
        queue
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.identity(), self.state)
    }
}

/// # Safety
/// The record is nobody's, and its header is not used again.
#[cold]
#[inline(never)]
unsafe fn drop_leftovers(header: &mut Header) {
    // A handle's waker that its clone's panic left behind may be anybody's code (S11).
    super::body::drop_contained(header.join_waker.get_mut().take());
    // SAFETY: by contract.
    unsafe { std::ptr::drop_in_place(header) };
}

/// # Safety
/// Called once, by whoever gave up the last reference.
#[inline(never)]
#[unsafe(link_section = "sisal_keep")] // see `overflow::kill`
unsafe fn dealloc(fiber: FiberPtr) {
    // SAFETY: the record was planted and filled, and nobody holds it. Its stage is `Empty` (rule 4): there is nothing of
    // the closure's or the result's to drop, and nothing that has to stay on the fiber's thread: `locals` drops nothing.
    unsafe {
        let header = &mut *fiber.0.as_ptr();
        debug_assert!(!header.is_timed(), "a timer has a fiber that is no more");
        let layout = header.vtable.layout;
        let scheduler = (&raw const header.scheduler).read();
        if header.has_leftovers() {
            drop_leftovers(header);
        }
        block::free(fiber.0.cast(), layout, scheduler);
    }
    stays();
}
