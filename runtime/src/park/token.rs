//! The user's park token: `fiber::park` and `Fiber::unpark`.

use std::future::Future;
use std::pin::pin;
use std::task::Context;
use std::time::Duration;

use crate::current::{self, ThreadState};
use crate::fiber::TOKEN;
use crate::park::waker;
use crate::time::timer;

/// Waits for the caller's park token and takes it: [`Fiber::unpark`](crate::fiber::Fiber::unpark) gives
/// it, before or after.
///
/// Never returns without a token in a fiber (on a plain thread it is [`std::thread::park`], which
/// may). Waits of other kinds that the fiber does meanwhile neither take the token nor leave one.
///
/// # Panics
/// On a worker's own stack: await a `tokio::sync::Notify` there.
///
/// # Cancellation
/// A suspension point: a cancelled fiber unwinds from here.
///
/// ```
/// sisal::run(|| {
///     let main = sisal::fiber::current();
///     let child = sisal::fiber::spawn(move || main.unpark());
///     sisal::fiber::park();
///     child.join().unwrap();
/// });
/// ```
#[inline(always)] // see `Running::suspend`
#[track_caller]
pub fn park() {
    match current::state() {
        ThreadState::Fiber(running) => {
            running.pace();
            while !running.header().take(TOKEN) {
                running.park();
            }
        }
        ThreadState::Worker => refuse("park"),
        ThreadState::Plain => std::thread::park(),
    }
}

/// [`park`] for at most `timeout` (resolution: 1 ms).
///
/// # Panics
/// On a worker's own stack: await a `tokio::sync::Notify` there.
///
/// # Cancellation
/// A suspension point: a cancelled fiber unwinds from here.
///
/// ```
/// use std::time::Duration;
/// sisal::run(|| sisal::fiber::park_timeout(Duration::from_millis(2))); // nobody unparks it
/// ```
#[track_caller]
pub fn park_timeout(timeout: Duration) {
    match current::state() {
        ThreadState::Fiber(running) => {
            running.pace();
            let header = running.header();
            if header.take(TOKEN) {
                return;
            }
            // SAFETY: the waker is used in this frame only, and clones count.
            let waker = unsafe { waker::borrowed_plain(running) };
            let mut cx = Context::from_waker(&waker);
            let mut sleep = pin!(timer::sleep_until(timer::after(timeout)));
            // The timer's state is the condition of this wait, beside the token.
            while sleep.as_mut().poll(&mut cx).is_pending() {
                running.park();
                if header.take(TOKEN) {
                    return;
                }
            }
        }
        ThreadState::Worker => refuse("park_timeout"),
        ThreadState::Plain => std::thread::park_timeout(timeout),
    }
}

/// [`park_timeout`] in milliseconds, as code older than `Duration` spells it.
///
/// # Panics
/// On a worker's own stack: await a `tokio::sync::Notify` there.
///
/// # Cancellation
/// A suspension point, as `park_timeout` is.
#[deprecated(note = "use `fiber::park_timeout`, as std says of its own")]
#[track_caller]
pub fn park_timeout_ms(ms: u32) {
    park_timeout(Duration::from_millis(ms.into()));
}

#[track_caller]
fn refuse(call: &str) -> ! {
    current::refuse_worker(call, "await a `tokio::sync::Notify` there")
}
