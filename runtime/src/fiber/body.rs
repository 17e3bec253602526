//! The first frame of a fiber and its end.
//!
//! Panics stop here; the result is stored here; nothing unwinds out of here.

use std::any::Any;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

use switch_asm::arch;
use switch_asm::stack::{SlabStack, Stack, StackPointer};

use super::after_switch::AfterSwitch;
use super::may_unwind::caught_call;
use super::record::{FiberPtr, FiberRef, Stage};
use super::state::{ASKED, CANCEL, HANDLE, JOIN_WAKER};
use super::unwind::Unwind;
use crate::error::JoinError;
use crate::keep::stays;

/// Makes the stack that it is lent ready for a fresh fiber: for [`start`].
///
/// # Safety
/// By the worker that the fiber was just bound to. The stack is unused, and stays where it is until the fiber has
/// ended, or [keeps](super::Header::keep_stack) it.
#[inline]
pub(crate) unsafe fn prepare(fiber: FiberPtr, stack: &SlabStack) -> Prepared {
    let base = stack.base();
    // SAFETY: a fiber that has not ended is live; its worker may touch this cell (rule 2).
    unsafe { fiber.header() }.base.set(Some(base));
    // SAFETY: the stack is unused, a slab's and so what it has to be, and big enough (the pool gives no smaller one);
    // `entry` never returns, and the pointer it gets is live until it ends, and so is the record with its link.
    let sp = unsafe { arch::init_stack_apart(stack, &fiber.header().link, entry, fiber) };
    Prepared { fiber, sp }
}

/// A fresh fiber whose stack is ready.
pub(crate) struct Prepared {
    fiber: FiberPtr,
    sp: StackPointer,
}

/// Switches to a fresh fiber, and returns when it leaves its stack.
///
/// # Safety
/// On the stack of the worker that prepared it.
#[inline]
pub(crate) unsafe fn start(fresh: Prepared) -> AfterSwitch {
    let Prepared { fiber, sp } = fresh;
    // SAFETY: as in `prepare`; `sp` was made there, and is used once.
    unsafe { switch_to(fiber.header(), sp) }
}

/// Switches to a started fiber, and returns when it leaves its stack again.
///
/// # Safety
/// On the stack of the fiber's worker, which has begun the run if the fiber was parked; the fiber was never on its stack, or has left it
/// by `Running::suspend`.
#[inline]
pub(crate) unsafe fn resume(fiber: FiberPtr) -> AfterSwitch {
    // SAFETY: a fiber that has not ended is live; its worker may touch these cells (rule 2).
    let header = unsafe { fiber.header() };
    debug_assert!(header.sp.get().is_some(), "it has ended");
    // SAFETY: there from the start on until the switch by which the fiber ends.
    let sp = unsafe { header.sp.get().unwrap_unchecked() };
    // SAFETY: `sp` is where the fiber left its stack; it is used once, for the next is set below.
    unsafe { switch_to(header, sp) }
}

/// # Safety
/// On the stack of the fiber's worker. `sp` is where the fiber goes on, and is used once.
#[inline(always)]
unsafe fn switch_to(header: &super::Header, sp: StackPointer) -> AfterSwitch {
    // SAFETY: by contract; the stack was made ready with this link.
    let (word, sp) = unsafe { arch::switch_and_link(0, sp, header.link.end()) };
    header.sp.set(sp);
    AfterSwitch::decode(word)
}

/// The first function on a fiber's stack.
///
/// # Safety
/// Entered by the first switch to a stack that `start` made.
unsafe extern "C-unwind" fn entry(
    _: usize,
    parent_link: &mut StackPointer,
    fiber: *mut FiberPtr,
) -> ! {
    // SAFETY: `start` put it there.
    let fiber = unsafe { fiber.read() };
    contained(fiber);
    // SAFETY: this is the stack's first function, and nothing on it needs to be dropped.
    unsafe { arch::switch_and_reset(AfterSwitch::FINISH.encode(), parent_link) }
}

/// Runs the closure and ends the fiber. Of all types the same; what there is to do with theirs is behind the vtable. A
/// frame that aborts rather than let an unwind reach the worker: `extern "C"`.
extern "C" fn contained(fiber: FiberPtr) {
    // SAFETY: the fiber runs, so it is live.
    let header = unsafe { fiber.header() };
    if header.state.is_cancelled() {
        // SAFETY: the body owns the stage until `finish` (rule 4).
        unsafe { leave_unrun(fiber) };
    } else {
        header.root.set((&raw const header).addr());
        // SAFETY: as above; a body runs once.
        if let Err(payload) = caught_call(&mut || unsafe { (header.vtable.run)(fiber) }) {
            // SAFETY: as above.
            unsafe { fail(fiber, payload) };
        }
        keep_if_left(header, 0);
        header.shield.set(1);
    }
    // SAFETY: the body's end, once; the closure is gone.
    unsafe { end(fiber) }
}

/// Asked to unwind before its first run: only its destructors run, shielded (S11).
///
/// # Safety
/// By the body, in place of its closure.
#[cold]
#[inline(never)]
unsafe fn leave_unrun(fiber: FiberPtr) {
    // SAFETY: the fiber runs, so it is live.
    let header = unsafe { fiber.header() };
    header.shield.set(1);
    // SAFETY: the body owns the stage until `finish` (rule 4).
    unsafe { (header.vtable.fail)(fiber, JoinError::cancelled(header.identity())) };
}

/// # Safety
/// By the body, whose closure has unwound with that.
#[cold]
#[inline(never)]
unsafe fn fail(fiber: FiberPtr, payload: Box<dyn Any + Send>) {
    // SAFETY: the fiber runs, so it is live.
    let header = unsafe { fiber.header() };
    let error = match payload.is::<Unwind>() {
        true => JoinError::cancelled(header.identity()),
        false => JoinError::panic(header.identity(), payload),
    };
    // SAFETY: the body owns the stage until `finish` (rule 4).
    unsafe { (header.vtable.fail)(fiber, error) }
}

/// Calls the closure and stores its result.
///
/// # Safety
/// On the fiber's own stack, once.
pub(super) unsafe fn run<F, T>(fiber: FiberPtr)
where
    F: FnOnce() -> T,
{
    // SAFETY: the body owns the stage until `finish` (rule 4).
    let stage = unsafe { (*fiber.record::<F, T>()).stage.get() };
    // By a look first: what is taken out with all that is around it is written and read once more.
    // SAFETY: as above; no reference to it is kept while the closure runs.
    let closure = match unsafe { &*stage } {
        // SAFETY: moved out: it is overwritten, not dropped, before the closure can unwind.
        Stage::Closure(closure) => unsafe { std::ptr::read(closure) },
        _ => unreachable!("a fiber runs once"),
    };
    // SAFETY: as above.
    unsafe { stage.write(Stage::Empty) };
    let value = closure();
    // SAFETY: as above. `Empty` was left, so there is nothing to drop.
    unsafe { stage.write(Stage::Result(Ok(value))) };
}

/// Stores an error in place of a result. A closure that is still there is dropped.
///
/// # Safety
/// The caller owns the stage (rule 4).
pub(super) unsafe fn fail_as<F, T>(fiber: FiberPtr, error: JoinError)
where
    F: FnOnce() -> T,
{
    // SAFETY: by contract.
    let stage = unsafe { (*fiber.record::<F, T>()).stage.get() };
    // SAFETY: as above; no reference to it is kept while a destructor runs.
    unsafe {
        if let Stage::Closure(closure) = stage.replace(Stage::Empty) {
            drop_contained(closure);
        }
        stage.write(Stage::Result(Err(error)));
    }
}

/// Drops a result that nobody asked for, if it is there.
///
/// # Safety
/// The body, which owns the stage (rule 4).
pub(super) unsafe fn unseen<F, T>(fiber: FiberPtr)
where
    F: FnOnce() -> T,
{
    // SAFETY: by contract, and the fiber is live until its own reference is given up.
    let (stage, header) = unsafe { ((*fiber.record::<F, T>()).stage.get(), fiber.header()) };
    // SAFETY: by contract.
    if let Stage::Result(result) = unsafe { stage.replace(Stage::Empty) } {
        drop_unseen(header, result);
    }
}

/// User's code has run inside so many shields. If it left another, or a `timeout`, on the stack of a coroutine, that
/// frame points to the record: see `end`.
fn keep_if_left(header: &super::Header, shields: u32) {
    if header.shield.get() > shields || !header.frames.is_empty() {
        header.depth.set(header.depth.get() + 1);
    }
}

/// Ends a fiber that never ran, or whose body never comes back. Its own reference is still to be given up.
///
/// # Safety
/// Called once, by whoever holds the only right to start the fiber, or has all that its body had.
pub(super) unsafe fn refuse(fiber: FiberPtr, error: JoinError) {
    // SAFETY: by contract the stage is the caller's (rule 4), and the fiber has not ended.
    unsafe {
        (fiber.header().vtable.fail)(fiber, error);
        end(fiber);
    }
}

/// Moves the result out for the join handle; `None` if it was moved out before.
///
/// # Safety
/// `out` is a place for an `Option<Result<T, JoinError>>`, the fiber is done, and the caller is
/// its join handle (rule 4).
pub(super) unsafe fn take<F, T>(fiber: FiberPtr, out: *mut ()) {
    // SAFETY: by contract.
    unsafe {
        let stage = (*fiber.record::<F, T>()).stage.get();
        // By a look first, as in `run`; what is moved out is overwritten, not dropped.
        let result = match &*stage {
            Stage::Result(result) => Some(std::ptr::read(result)),
            _ => None,
        };
        stage.write(Stage::Empty);
        out.cast::<Option<Result<T, JoinError>>>().write(result);
    }
}

/// Ends a fresh fiber without running it: the runtime is closed, or there is no stack for it.
/// Gives up the fiber's own reference.
///
/// # Safety
/// The caller holds the only right to start the fiber, and does not use it again.
pub(crate) unsafe fn refuse_fresh(fiber: FiberPtr, why: impl FnOnce(super::Identity) -> JoinError) {
    // SAFETY: a fresh fiber is live, and the caller owns it.
    unsafe {
        let header = fiber.header();
        refuse(fiber, why(header.identity()));
        header.close_span();
        drop(FiberRef::adopt(fiber));
    }
}

/// The result is stored: tells whoever waits, or drops what nobody will ask for.
///
/// # Safety
/// As the body, once; the closure is gone.
#[inline(never)]
#[unsafe(link_section = "sisal_keep")] // see `overflow::kill`
unsafe fn end(fiber: FiberPtr) {
    // SAFETY: the fiber's own reference keeps it live until its worker gives that up.
    let header = unsafe { fiber.header() };
    if !header.state.has(HANDLE) {
        // Nobody will ask: its destructor still finds the fiber's locals, as in a thread that std
        // detached. SAFETY: the body still owns the stage (rule 4).
        unsafe { (header.vtable.unseen)(fiber) };
    }
    // Before anybody who joins sees the end, as std's threads do it.
    header.locals.destroy();
    let before = header.state.finish();
    if before & HANDLE == 0 {
        // SAFETY: without a handle the body still owns the stage (rule 4). Empty if that was known
        // before.
        unsafe { (header.vtable.unseen)(fiber) };
    }
    if before & JOIN_WAKER != 0 {
        // SAFETY: `finish` saw JOIN_WAKER, so the slot is the body's (rule 5).
        if let Some(waker) = unsafe { (*header.join_waker.get()).take() } {
            // The waker may be anybody's code.
            contain(|| waker.wake());
        }
    }
    if let Some(on_end) = header.on_end() {
        on_end.ended();
    }
    // What wakers, a subscriber or that result's destructor have made since.
    header.locals.free();
    keep_if_left(header, 1);
    if header.depth.get() > 0 {
        // A wait of this fiber is on the stack of a coroutine that was left suspended. Its frame
        // points here; it will find that out and abort, but not by reading freed memory.
        // SAFETY: live, as above.
        std::mem::forget(unsafe { FiberRef::count(fiber) });
    }
    stays();
}

/// Drops a result that nobody asked for, and says so if it was an error.
pub(super) fn drop_unseen<T>(header: &super::Header, result: Result<T, JoinError>) {
    if let Err(error) = &result {
        match header.on_end() {
            // Somebody wanted that.
            Some(_) if error.is_cancelled() && header.state.has(ASKED) => {}
            Some(on_end) => on_end.unseen(error),
            None if error.is_cancelled() => {}
            // A subscriber may be anybody's code.
            None => contain(|| tracing::error!("nobody joined: {error}")),
        }
    }
    drop_contained(result);
}

/// Drops a user's value; a panic of its destructor goes no further.
pub(super) fn drop_contained<V>(value: V) {
    contain(|| drop(value));
}

/// Calls a user's code; a panic goes no further, nor does one of its payload's destructor.
pub(super) fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f))
        && let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
    {
        std::mem::forget::<Box<dyn Any + Send>>(again);
    }
}

impl super::Header {
    /// Asks the fiber to unwind at its next suspension. True: queue it.
    #[must_use]
    pub(crate) fn cancel(&self) -> bool {
        self.notify(CANCEL)
    }

    /// Its worker: whether the fiber was asked to unwind, and is queued by this call.
    #[must_use]
    pub(crate) fn remind(&self) -> bool {
        self.state.is_cut_short() && self.notify(0)
    }

    /// Gives the fiber the stack that it was lent for its first run.
    #[inline]
    pub(crate) fn keep_stack(&self, stack: SlabStack) {
        self.stack.set(MaybeUninit::new(stack));
    }

    /// Takes the stack of a fiber that has ended.
    ///
    /// # Safety
    /// On its worker's stack, after `AfterSwitch::FINISH`, once, of a fiber that kept it.
    #[inline]
    pub(crate) unsafe fn take_stack(&self) -> SlabStack {
        // SAFETY: by contract it is there.
        unsafe { self.stack.replace(MaybeUninit::uninit()).assume_init() }
    }
}
