//! The first frame of a fiber and its end.
//!
//! Panics stop here; the result is stored here; nothing unwinds out of here.

use std::any::Any;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};

use switch_asm::arch;
use switch_asm::stack::{SlabStack, Stack, StackPointer};

use super::after_switch::AfterSwitch;
use super::may_unwind::caught;
use super::record::{FiberPtr, FiberRef, Stage};
use super::state::{ASKED, CANCEL, HANDLE, JOIN_WAKER};
use super::unwind::Unwind;
use crate::error::JoinError;
use crate::keep::stays;

/// Switches to a fresh fiber on the given stack, and returns when it leaves that stack.
///
/// # Safety
/// On the stack of the worker that the fiber was just bound to.
pub(crate) unsafe fn start(fiber: FiberPtr, stack: SlabStack) -> AfterSwitch {
    // SAFETY: a fiber that has not ended is live; its worker may touch these cells (rule 2).
    let header = unsafe { fiber.header() };
    header.base.set(Some(stack.base()));
    // SAFETY: the stack is unused and big enough (the pool gives no smaller one), `entry` never
    // returns, and the pointer it gets is live until it ends.
    let sp = unsafe { arch::init_stack(&stack, entry, fiber) };
    header.sp.set(Some(sp));
    header.stack.set(MaybeUninit::new(stack));
    // SAFETY: by contract; `sp` was just made.
    unsafe { resume(fiber) }
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
    // SAFETY: both are there from the start on, and `sp` is until the switch by which the fiber ends.
    let (sp, base) = unsafe {
        let sp = header.sp.get().unwrap_unchecked();
        (sp, header.base.get().unwrap_unchecked())
    };
    // SAFETY: `sp` is where the fiber left its stack; it is used once, for the next is set below.
    let (word, sp) = unsafe { arch::switch_and_link(0, sp, base) };
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

/// A frame that aborts rather than let an unwind reach the worker: `extern "C"`.
extern "C" fn contained(fiber: FiberPtr) {
    // SAFETY: the fiber runs, so it is live, and its body is run here only.
    unsafe { (fiber.header().vtable.run)(fiber) }
}

/// # Safety
/// On the fiber's own stack, once.
pub(super) unsafe fn run<F, T>(fiber: FiberPtr)
where
    F: FnOnce() -> T,
{
    // SAFETY: the fiber runs, so it is live.
    let header = unsafe { fiber.header() };
    // SAFETY: the body owns the stage until `finish` (rule 4).
    let stage = unsafe { &mut *(*fiber.record::<F, T>()).stage.get() };
    let Stage::Closure(closure) = std::mem::replace(stage, Stage::Empty) else {
        unreachable!("a fiber runs once");
    };
    let result = if header.state.is_cancelled() {
        // It was asked before its first run: only its destructors run, shielded (S11).
        header.shield.set(1);
        drop_contained(closure);
        keep_if_left(header, 1);
        header.shield.set(0);
        Err(JoinError::cancelled(header.identity()))
    } else {
        header.root.set((&raw const header).addr());
        match caught(closure) {
            Ok(value) => Ok(value),
            Err(payload) if payload.is::<Unwind>() => Err(JoinError::cancelled(header.identity())),
            Err(payload) => Err(JoinError::panic(header.identity(), payload)),
        }
    };
    keep_if_left(header, 0);
    header.shield.set(1);
    // SAFETY: by contract.
    unsafe { end::<F, T>(fiber, result) }
}

/// User's code has run inside so many shields. If it left another, or a `timeout`, on the stack of a coroutine, that
/// frame points to the record: see `end`.
fn keep_if_left(header: &super::Header, shields: u32) {
    if header.shield.get() > shields || !header.frames.is_empty() {
        header.depth.set(header.depth.get() + 1);
    }
}

/// # Safety
/// Called once, by whoever holds the only right to start the fiber.
pub(super) unsafe fn refuse<F, T>(fiber: FiberPtr, error: JoinError)
where
    F: FnOnce() -> T,
{
    // SAFETY: nobody else can start the fiber, so its contents are ours (rule 4).
    let stage = unsafe { &mut *(*fiber.record::<F, T>()).stage.get() };
    if let Stage::Closure(closure) = std::mem::replace(stage, Stage::Empty) {
        drop_contained(closure);
    }
    // SAFETY: by contract.
    unsafe { end::<F, T>(fiber, Err(error)) }
}

/// Moves the result out for the join handle; `None` if it was moved out before.
///
/// # Safety
/// `out` is a place for an `Option<Result<T, JoinError>>`, the fiber is done, and the caller is
/// its join handle (rule 4).
pub(super) unsafe fn take<F, T>(fiber: FiberPtr, out: *mut ()) {
    // SAFETY: by contract.
    unsafe {
        let stage = &mut *(*fiber.record::<F, T>()).stage.get();
        let result = match std::mem::replace(stage, Stage::Empty) {
            Stage::Result(result) => Some(result),
            _ => None,
        };
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
        (header.vtable.refuse)(fiber, why(header.identity()));
        header.close_span();
        drop(FiberRef::adopt(fiber));
    }
}

/// Stores the result, tells whoever waits, or drops what nobody will ask for.
///
/// # Safety
/// As the body, once; the closure is gone.
#[inline(never)]
#[unsafe(link_section = "sisal_keep")] // see `overflow::kill`
unsafe fn end<F, T>(fiber: FiberPtr, result: Result<T, JoinError>) {
    // SAFETY: the fiber's own reference keeps it live until its worker gives that up.
    let header = unsafe { fiber.header() };
    let stage = {
        // SAFETY: the body owns the stage until `finish` (rule 4).
        let stage = unsafe { (*fiber.record::<F, T>()).stage.get() };
        // SAFETY: as above. The closure was moved out, and `Empty` left, so there is nothing to drop.
        unsafe { stage.write(Stage::Result(result)) };
        stage
    };
    if !header.state.has(HANDLE) {
        // Nobody will ask: its destructor still finds the fiber's locals, as in a thread that std
        // detached. SAFETY: the body still owns the stage (rule 4).
        if let Stage::Result(result) = unsafe { std::mem::replace(&mut *stage, Stage::Empty) } {
            drop_unseen(header, result);
        }
    }
    // Before anybody who joins sees the end, as std's threads do it.
    header.locals.destroy();
    let before = header.state.finish();
    if before & HANDLE == 0 {
        // SAFETY: without a handle the body still owns the stage (rule 4). Empty if that was known
        // before.
        if let Stage::Result(result) = unsafe { std::mem::replace(&mut *stage, Stage::Empty) } {
            drop_unseen(header, result);
        }
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

    /// Takes the stack of a fiber that has ended.
    ///
    /// # Safety
    /// On its worker's stack, after `AfterSwitch::FINISH`, once.
    #[inline]
    pub(crate) unsafe fn take_stack(&self) -> SlabStack {
        // SAFETY: by contract it was started, and its stack is there.
        unsafe { self.stack.replace(MaybeUninit::uninit()).assume_init() }
    }
}
