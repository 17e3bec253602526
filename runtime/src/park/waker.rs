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
