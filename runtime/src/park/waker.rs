//! Fibers and threads as `std::task::Waker`s.
//!
//! A fiber's waker is a counted pointer to its record: cloning counts, nothing is allocated.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::task::{RawWaker, RawWakerVTable, Waker};

use crate::fiber::{EXPIRED, FiberPtr, FiberRef, Running, WOKEN};

/// Of the outermost `block_on`: leaves `WOKEN` behind.
static POLL_AGAIN: RawWakerVTable = RawWakerVTable::new(
    |raw| clone(raw, &POLL_AGAIN),
    |raw| wake(raw, WOKEN),
    |raw| wake_by_ref(raw, WOKEN),
    drop_ref,
);

/// Of a wait that has a condition of its own: only makes the fiber runnable.
static PLAIN: RawWakerVTable = RawWakerVTable::new(
    |raw| clone(raw, &PLAIN),
    |raw| wake(raw, 0),
    |raw| wake_by_ref(raw, 0),
    drop_ref,
);

/// [`PLAIN`], of a wait that stays in its fiber's frame. It counts nothing even in a place ([`settle`]); clones do.
static IN_FRAME: RawWakerVTable = RawWakerVTable::new(
    |raw| clone(raw, &PLAIN),
    |raw| wake_by_ref(raw, 0),
    |raw| wake_by_ref(raw, 0),
    |_| {},
);

/// Of a `timeout`'s timer: leaves `EXPIRED` behind.
static EXPIRE: RawWakerVTable = RawWakerVTable::new(
    |raw| clone(raw, &EXPIRE),
    |raw| wake(raw, EXPIRED),
    |raw| wake_by_ref(raw, EXPIRED),
    drop_ref,
);

fn clone(raw: *const (), vtable: &'static RawWakerVTable) -> RawWaker {
    // SAFETY: a waker's pointer is to a live record, borrowed or counted.
    let fiber = unsafe { FiberRef::count(FiberPtr::from_raw(raw)) };
    RawWaker::new(fiber.release().as_raw(), vtable)
}

fn wake(raw: *const (), reason: u32) {
    // SAFETY: `wake` consumes the waker and with it the reference that it counted. The record,
    // and through it the scheduler, stay live until the call is over.
    unsafe { FiberRef::adopt(FiberPtr::from_raw(raw)) }.wake(reason);
}

fn wake_by_ref(raw: *const (), reason: u32) {
    // SAFETY: the waker is borrowed for this call, so the record is live.
    unsafe { FiberPtr::from_raw(raw).wake(reason) }
}

fn drop_ref(raw: *const ()) {
    // SAFETY: dropping a waker gives up the reference that it counted.
    drop(unsafe { FiberRef::adopt(FiberPtr::from_raw(raw)) });
}

/// A waker that counts nothing itself; its clones do.
pub(crate) struct BorrowedWaker(ManuallyDrop<Waker>);

impl Deref for BorrowedWaker {
    type Target = Waker;
    fn deref(&self) -> &Waker {
        &self.0
    }
}

/// # Safety
/// The result does not outlive the caller's frame, on the fiber's stack.
pub(crate) unsafe fn borrowed_poll_again(running: Running) -> BorrowedWaker {
    // SAFETY: by contract; the table keeps the rules of `RawWaker`.
    unsafe { borrowed(running, &POLL_AGAIN) }
}

/// # Safety
/// The result does not outlive the caller's frame, on the fiber's stack.
pub(crate) unsafe fn borrowed_plain(running: Running) -> BorrowedWaker {
    // SAFETY: by contract; the table keeps the rules of `RawWaker`.
    unsafe { borrowed(running, &PLAIN) }
}

/// # Safety
/// The result does not outlive the caller's frame, on the fiber's stack. It is for one future, pinned in frames of that fiber and
/// dropped before they are left.
pub(crate) unsafe fn in_frame(running: Running) -> BorrowedWaker {
    // SAFETY: by contract; the table keeps the rules of `RawWaker`.
    unsafe { borrowed(running, &IN_FRAME) }
}

/// A waker for a place in the future that is polled. An [`in_frame`] one is not counted: the fiber is there for as long as the place
/// is in its list.
///
/// # Safety
/// Nobody takes it out of the place but the future, or [`pick_up`]. From when the place is in its list to the end of the poll no user's
/// code is called: it could carry the frame, on a coroutine's stack, out of the fiber.
#[inline]
pub(crate) unsafe fn settle(waker: &Waker) -> Waker {
    if std::ptr::eq(waker.vtable(), &IN_FRAME) {
        reach();
        let raw = RawWaker::new(waker.data(), &IN_FRAME);
        // SAFETY: the table neither counts nor frees, and by contract whoever calls it does so while the fiber waits.
        return unsafe { Waker::from_raw(raw) };
    }
    waker.clone()
}

/// Touches the stack where a switch will. If it ends before that, it is here, with no place in a list, that an overflow may end the fiber.
#[inline(always)]
fn reach() {
    // SAFETY: a load from the stack, or a fault that says that it is full.
    #[cfg(not(miri))]
    unsafe {
        std::arch::asm!("test byte ptr [rsp - 128], 0", options(nostack, readonly));
    }
}

/// What was [settled](settle) in a place, under the lock of the place's list, before its owner is told. A fiber of the caller's worker, which cannot
/// run meanwhile, is woken on the spot. Any other is counted, since it may end as soon as it has been told.
#[inline]
pub(crate) fn pick_up(waker: Waker) -> Option<Waker> {
    if !std::ptr::eq(waker.vtable(), &IN_FRAME) {
        return Some(waker);
    }
    // It counts nothing: not to be dropped.
    let waker = ManuallyDrop::new(waker);
    // SAFETY: the place was in its list, so the fiber waits, or is about to.
    let fiber = unsafe { FiberPtr::from_raw(waker.data()) };
    // SAFETY: as above, and that one is not told yet.
    match unsafe { fiber.wake_here() } {
        true => None,
        false => Some(Waker::clone(&waker)),
    }
}

/// # Safety
/// The result does not outlive the caller's frame, on the fiber's stack.
pub(crate) unsafe fn borrowed_expire(running: Running) -> BorrowedWaker {
    // SAFETY: by contract; the table keeps the rules of `RawWaker`.
    unsafe { borrowed(running, &EXPIRE) }
}

/// # Safety
/// As above; `vtable` is one of those of this file.
unsafe fn borrowed(running: Running, vtable: &'static RawWakerVTable) -> BorrowedWaker {
    let raw = RawWaker::new(running.ptr().as_raw(), vtable);
    // SAFETY: by contract.
    BorrowedWaker(ManuallyDrop::new(unsafe { Waker::from_raw(raw) }))
}
