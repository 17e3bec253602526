//! Panics at the root of a coroutine, and unwinding on request. The only place
//! that catches. Must not know how stacks are switched.
//!
//! On stable nothing may unwind through a switch: the assembly blocks are not
//! landing pads. So a panic is caught in the first frame of the coroutine,
//! crosses the switch as a value, and is resumed in the parent. A request to
//! unwind takes the opposite way: it crosses as a value and starts to unwind, in
//! ordinary code, where the coroutine was suspended.
//!
//! With `asm-unwind` panics pass the switch by themselves, so neither crosses as
//! a value: `CaughtPanic` and `Request` have no values then.
//!
//! `resume_unwind` runs no panic hook in any case.

#[cfg(feature = "unwind")]
use std::{any::Any, boxed::Box, panic};

use crate::stack::StackPointer;

/// The request to unwind, and the payload of that unwind. Holds the initial
/// stack pointer of the coroutine, which tells nested coroutines' requests
/// apart: no two live stacks share an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "unwind"), expect(dead_code, reason = "nobody asks"))]
pub(crate) struct ForcedUnwind(pub(crate) StackPointer);

/// The payload of any panic.
#[cfg(feature = "unwind")]
pub(crate) type Payload = Box<dyn Any + Send>;

cfg_if::cfg_if! {
    if #[cfg(all(feature = "unwind", not(feature = "asm-unwind")))] {
        /// A panic on its way to the parent.
        pub(crate) type CaughtPanic = Payload;
        /// What a resume sends instead of a value.
        pub(crate) type Request = ForcedUnwind;
    } else {
        /// Panics pass by themselves, or not at all.
        pub(crate) type CaughtPanic = core::convert::Infallible;
        /// So do requests.
        pub(crate) type Request = core::convert::Infallible;
    }
}

/// Runs `f` so that no panic leaves this function.
#[cfg(all(feature = "unwind", not(feature = "asm-unwind")))]
#[inline]
pub(crate) fn catch_at_root<T>(f: impl FnOnce() -> T) -> Result<T, CaughtPanic> {
    // Whoever resumes the panic in the parent decides what it may still touch,
    // exactly as if it had called `f` directly.
    panic::catch_unwind(panic::AssertUnwindSafe(f))
}

/// Runs `f`. A panic goes on through the switch.
#[cfg(feature = "asm-unwind")]
#[inline]
pub(crate) fn catch_at_root<T>(f: impl FnOnce() -> T) -> Result<T, CaughtPanic> {
    Ok(f())
}

/// Runs `f`; without a way to catch, a panic must not get past here.
#[cfg(not(feature = "unwind"))]
#[inline]
pub(crate) fn catch_at_root<T>(f: impl FnOnce() -> T) -> Result<T, CaughtPanic> {
    let guard = NoUnwind("a panic reached the root of a stack, and `unwind` is off");
    let value = f();
    core::mem::forget(guard);
    Ok(value)
}

/// Continues in the parent what [`catch_at_root`] stopped.
#[inline]
pub(crate) fn propagate<T>(result: Result<T, CaughtPanic>) -> T {
    match result {
        Ok(value) => value,
        #[cfg(all(feature = "unwind", not(feature = "asm-unwind")))]
        Err(payload) => panic::resume_unwind(payload),
        #[cfg(any(not(feature = "unwind"), feature = "asm-unwind"))]
        Err(never) => match never {},
    }
}

/// What a suspension gives back: the value, or the start of an unwind.
#[inline]
pub(crate) fn start_if_asked<T>(input: Result<T, Request>) -> T {
    match input {
        Ok(value) => value,
        #[cfg(all(feature = "unwind", not(feature = "asm-unwind")))]
        Err(request) => start(request),
        #[cfg(any(not(feature = "unwind"), feature = "asm-unwind"))]
        Err(never) => match never {},
    }
}

/// Starts the unwind that `request` asks for, in the coroutine.
#[cfg(feature = "unwind")]
#[cold]
pub(crate) fn start(request: ForcedUnwind) -> ! {
    panic::resume_unwind(Box::new(request))
}

/// Runs `f`, which switches to a coroutine, and stops a panic that passes.
#[cfg(feature = "asm-unwind")]
pub(crate) fn catch_at_parent<T>(f: impl FnOnce() -> T) -> Result<T, Payload> {
    panic::catch_unwind(panic::AssertUnwindSafe(f))
}

/// Ends a forced unwind: nothing is left to tell if `payload` is the request
/// that `sent` made, any other panic goes on in the parent.
#[cfg(feature = "unwind")]
pub(crate) fn finish(sent: ForcedUnwind, payload: Payload) {
    if payload.downcast_ref::<ForcedUnwind>() != Some(&sent) {
        panic::resume_unwind(payload);
    }
}

/// Aborts with its text if dropped by an unwind. Forget it to let go.
///
/// A second panic during the first one aborts, which is all that `no_std` can
/// do.
#[cfg(not(feature = "unwind"))]
#[derive(Debug)]
pub(crate) struct NoUnwind(pub(crate) &'static str);

#[cfg(not(feature = "unwind"))]
impl Drop for NoUnwind {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}
